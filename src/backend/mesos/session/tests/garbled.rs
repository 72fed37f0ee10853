//! Events of a master, garbled: the session goes on, whatever is said.

use proptest::prelude::*;
use prost::Message as _;

use super::env::*;
use super::mutation::garbled;
use crate::engine::Decision;
use crate::proto::mesos::v1::scheduler::{Event, event};
use crate::proto::mesos::v1::{self, TaskState, TaskStatus};

/// One of each kind that matters, as bytes.
fn samples() -> Vec<Vec<u8>> {
    let agent_id = v1::AgentId {
        value: "A".to_owned(),
    };
    let offer = v1::Offer {
        id: v1::OfferId {
            value: "O7".to_owned(),
        },
        agent_id: agent_id.clone(),
        resources: vec![crate::backend::mesos::resources::scalar(
            "cpus", 4000, "eng",
        )],
        ..v1::Offer::default()
    };
    let status = TaskStatus {
        task_id: v1::TaskId {
            value: "1.1".to_owned(),
        },
        state: TaskState::TaskFinished as i32,
        agent_id: Some(agent_id.clone()),
        uuid: Some(vec![7; 16].into()),
        data: Some(vec![8, 1].into()),
        ..TaskStatus::default()
    };
    let subscribed = event::Subscribed {
        framework_id: v1::FrameworkId {
            value: "F".to_owned(),
        },
        heartbeat_interval_seconds: Some(15.0),
        master_info: None,
    };
    let all = [
        Event {
            subscribed: Some(subscribed),
            ..kind(event::Type::Subscribed)
        },
        Event {
            offers: Some(event::Offers {
                offers: vec![offer.clone(), offer],
            }),
            ..kind(event::Type::Offers)
        },
        Event {
            update: Some(event::Update { status }),
            ..kind(event::Type::Update)
        },
        Event {
            failure: Some(event::Failure {
                agent_id: Some(agent_id),
                executor_id: None,
                status: None,
            }),
            ..kind(event::Type::Failure)
        },
        Event {
            error: Some(event::Error {
                message: "Framework has been removed".to_owned(),
            }),
            ..kind(event::Type::Error)
        },
        kind(event::Type::Heartbeat),
    ];
    all.iter().map(prost::Message::encode_to_vec).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_a_master_says_the_session_goes_on(
        words in prop::collection::vec((garbled(samples()), 0..200_u64), 1..40),
    ) {
        let mut env = Env::subscribed();
        env.launched(1);
        for (bytes, pause) in words {
            env.advance(pause);
            env.subscribe();
            if let Ok(event) = Event::decode(&*bytes) {
                env.event(event);
            }
            env.decide(Decision::Acknowledge { receipt: u64::MAX });
            env.actions.clear();
        }
        // It still takes and makes calls.
        env.subscribe();
        env.decide(Decision::Revive);
    }
}
