//! Explanations are true: in random states, what a task is said to lack is given, and it starts.

use proptest::prelude::*;

use super::env::*;
use super::random;
use crate::engine::report::WaitReason;
use crate::engine::settings::Scope;
use crate::engine::{EngineSettings, TaskId, TaskState};

/// So often something new may stand in the way once what was named is gone: what can never fit hides what else is
/// lacking, and a pause ends into whatever is there then.
const ROUNDS_MAX: usize = 4;

/// Something that has room for everything and meets every constraint of these tests.
fn offer_plenty(env: &mut TestEnv) {
    env.agent_with("plenty", "cpus=1000 mem=1000", "rack=r1");
    env.offer("plenty", "cpus=1000 mem=1000");
}

fn lift_max(settings: &mut EngineSettings, queue: &str, resource: &str) {
    let found = settings.queues.iter_mut().find(|it| &*it.path == queue);
    let queue = found.expect("a queue with a max is configured");
    queue.max.retain(|(name, _)| &**name != resource);
}

fn raise_capacity(settings: &mut EngineSettings, name: &str) {
    let mut resources = settings.resources.iter_mut();
    let found = resources.find(|it| &*it.name == name).unwrap();
    found.scope = Scope::Cluster {
        capacity: units(1000),
    };
}

/// Removes one cause, and nothing else where that can be helped.
fn remove(env: &mut TestEnv, reason: &WaitReason) {
    let mut settings = env.engine.settings.clone();
    match reason {
        WaitReason::NeverFits {
            resource, limit, ..
        } => {
            if let Some(queue) = limit.strip_prefix("queue ") {
                lift_max(&mut settings, queue, resource);
                env.reload(settings).unwrap();
            } else if &**limit == "the cluster" {
                raise_capacity(&mut settings, resource);
                env.reload(settings).unwrap();
            } else {
                offer_plenty(env);
            }
        }
        WaitReason::QueueAtMax {
            queue, resource, ..
        } => {
            lift_max(&mut settings, queue, resource);
            env.reload(settings).unwrap();
        }
        WaitReason::Lacks {
            resource,
            agent: None,
            ..
        } => {
            raise_capacity(&mut settings, resource);
            env.reload(settings).unwrap();
        }
        WaitReason::Lacks { .. }
        | WaitReason::NoAgents
        | WaitReason::NoOffer
        | WaitReason::Claim(_)
        | WaitReason::NoAgentMatches { .. } => offer_plenty(env),
        WaitReason::Pause { until } => {
            let seconds = until.since(env.now).as_secs_f64();
            env.advance(seconds);
        }
        WaitReason::KeptForOther { task, .. } => {
            env.cancel(task.0);
        }
        WaitReason::After { tasks, .. } => {
            for task in tasks {
                succeed(env, *task);
            }
        }
        WaitReason::OthersFirst => panic!("nothing is passed over that fits"),
    }
}

/// Lets a task start and succeed, unless it is being cancelled or its time is over: then it ends as it must.
fn succeed(env: &mut TestEnv, task: TaskId) {
    while let Some(explained) = env.engine.explain(task) {
        match explained.attempts.last() {
            Some(live) => env.ends(live.attempt, OK),
            None => check(env, task),
        }
    }
}

/// Asks why a live task doesn't run, removes what is named, and insists that it starts.
fn check(env: &mut TestEnv, task: TaskId) {
    let mut removed: Vec<WaitReason> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let Some(explained) = env.engine.explain(task) else {
            break;
        };
        assert_eq!(env.state(task.0), Some(explained.state));
        match explained.state {
            TaskState::Waiting => assert_eq!(explained.reasons[0].code(), "after"),
            TaskState::Queued => {
                let offers = explained.offers.as_ref().unwrap();
                let n_refused: u64 = offers.refused.iter().map(|(_, number)| number).sum();
                assert_eq!(n_refused, offers.n_looked_at);
            }
            TaskState::Launching | TaskState::Running | TaskState::Cancelling => {
                assert_eq!((&explained.reasons, explained.n_ahead), (&Vec::new(), 0));
                assert!(!explained.attempts.is_empty(), "{explained:?}");
                break;
            }
            TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled => {
                panic!("the engine explains live tasks only: {explained:?}")
            }
        }
        assert!(!explained.reasons.is_empty(), "{explained:?}");
        for reason in explained.reasons {
            assert!(
                !removed.contains(&reason),
                "{reason:?} was removed: {removed:?}"
            );
            remove(env, &reason);
            removed.push(reason);
        }
        if env.state(task.0).is_some_and(|state| state.is_ended()) {
            break;
        }
        // Of what is free now, the rest is offered: a launch uses a whole offer up.
        env.offer("plenty", "cpus=1000 mem=1000");
    }
    let state = env.state(task.0).unwrap();
    // What it waited for may have been cancelled, and it with that.
    let was_waiting = || removed.iter().any(|reason| reason.code() == "after");
    let has_attempt = matches!(
        state,
        TaskState::Launching | TaskState::Running | TaskState::Cancelling
    );
    assert!(
        has_attempt || (state == TaskState::Cancelled && was_waiting()),
        "task {task} is {state:?} after {removed:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_to_be_lacking_is_all_that_is_lacking(
        steps in prop::collection::vec(random::step(), 1..60),
        choice in any::<prop::sample::Index>(),
    ) {
        let mut env = TestEnv::with(random::reloaded(130, 10));
        for step in &steps {
            random::take(&mut env, step);
        }
        let live: Vec<TaskId> = (1..env.engine.state.next_id.0)
            .map(TaskId)
            .filter(|task| env.engine.is_live(*task))
            .collect();
        if !live.is_empty() {
            check(&mut env, live[choice.index(live.len())]);
        }
    }
}

#[test]
fn the_steps_name_who_is_served_first_and_by_what() {
    let mut env = TestEnv::new(&["maps weight=3", "maps/a", "maps/b", "search"]);
    env.agent("m1", "cpus=8 mem=8");
    env.offer("m1", "cpus=8 mem=8");
    for queue in ["maps/a", "search", "maps/a", "search"] {
        env.submit(task(queue).demand("cpus=2"));
    }
    let waiting = env.submit(task("maps/b").demand("cpus=2"));
    env.submit(task("search").demand("cpus=2"));
    let course = env.engine.explain(TaskId(waiting)).unwrap().course.unwrap();
    assert_eq!(course.agent, None, "nothing is free");
    let shown: Vec<String> = (course.steps.iter())
        .map(|step| format!("{}: {:?} {:?}", step.queue, step.first, step.own))
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}
