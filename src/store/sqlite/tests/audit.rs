//! How long entries of the audit trail are kept.

use super::*;
use crate::engine::audit::{Action, Actor, Audited};
use crate::store::reader::AuditFilter;

fn audited(first: u64, count: u32, action: Action) -> Fact {
    Fact::Audited(Box::new(Audited {
        at: Time(1),
        actor: Actor {
            token: Some("ci".into()),
            peer: None,
        },
        action,
        tasks: (first > 0).then_some((TaskId(first), count)),
        detail: None,
    }))
}

#[test]
fn the_audit_trail_goes_with_the_tasks_that_it_tells_of() {
    let directory = tempfile::tempdir().unwrap();
    let (mut store, reader) = open(directory.path()).unwrap();
    let facts = [
        submitted(1, 2),
        submitted(3, 1),
        audited(1, 3, Action::Submitted),
        cancelled(1),
        audited(1, 1, Action::Cancelled),
        cancelled(2),
        cancelled(3),
        audited(3, 1, Action::Cancelled),
        submitted(4, 1),
        audited(4, 1, Action::Submitted),
        audited(0, 0, Action::Reloaded),
    ];
    store.commit(&facts).unwrap();
    let told = |task: Option<u64>| -> Vec<u64> {
        let filter = AuditFilter {
            task: task.map(TaskId),
            limit: 99,
            ..AuditFilter::default()
        };
        let records = reader.audit(&filter).unwrap();
        records.iter().map(|record| record.seq).collect()
    };
    assert_eq!(told(None), [5, 4, 3, 2, 1]);
    assert_eq!((told(Some(1)), told(Some(2))), (vec![2, 1], vec![1]));
    assert_eq!(told(Some(9)), [0; 0]);
    let ci = reader.submitter(TaskId(3)).unwrap().unwrap();
    assert_eq!(ci.token.as_deref(), Some("ci"));
    assert_eq!(reader.submitter(TaskId(9)).unwrap(), None);
    // The call submitted task 3 too, which is still kept; what tells of no task goes by its age.
    store.commit(&[forgotten(1)]).unwrap();
    assert_eq!(told(None), [4, 3, 1]);
    store.commit(&[forgotten(3)]).unwrap();
    assert_eq!(told(None), [4]);
}
