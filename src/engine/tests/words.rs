//! The words that last: the store, the interface and programs of others know them.

use std::sync::Arc;

use super::env::*;
use crate::engine::audit::Action;
use crate::engine::outcome::{LossReason, TaskLimit, Value, ValueFile};
use crate::engine::{Refusal, TaskId, TaskState};

#[test]
fn states_losses_limits_and_actions_keep_their_words() {
    assert_eq!(
        TaskState::ALL.map(TaskState::as_str).join(" "),
        "waiting queued launching running cancelling succeeded failed cancelled"
    );
    let losses = [
        LossReason::DaemonRestarted,
        LossReason::AgentLost,
        LossReason::ExecutorLost,
        LossReason::LaunchDropped,
        LossReason::BackendFailed,
    ];
    assert_eq!(
        losses.map(LossReason::as_str).join(" "),
        "daemon_restarted agent_lost executor_lost launch_dropped backend_failed"
    );
    assert_eq!(
        Action::ALL.map(Action::as_str).join(" "),
        "submitted cancelled retried outside_reported reloaded"
    );
    let limits = [
        (TaskLimit::Processes(5), "processes"),
        (TaskLimit::OutputBytes(6), "output"),
        (TaskLimit::DiskBytes(7), "disk"),
        (TaskLimit::FileBytes(8), "file_size"),
    ];
    for (limit, word) in limits {
        assert_eq!(limit.as_str(), word);
        let most = limit.most();
        assert!((5..=8).contains(&most), "{limit:?}");
        assert_eq!(TaskLimit::from_word(word, most), Some(limit));
    }
    assert_eq!(TaskLimit::from_word("luck", 7), None);
}

#[test]
fn refusals_keep_their_words() {
    let mut env = TestEnv::new(&["a", "a/x"]);
    let code = |env: &mut TestEnv, builder| env.refused(builder).code();
    assert_eq!(code(&mut env, task("b")), "unknown_queue");
    assert_eq!(code(&mut env, task("a")), "not_a_leaf");
    assert_eq!(
        code(&mut env, task("a/x").demand("luck=1")),
        "unknown_resource"
    );
    assert_eq!(code(&mut env, task("a/x").demand("db=11")), "never_fits");
    assert_eq!(code(&mut env, task("a/x").demand("")), "no_demand");
    assert_eq!(code(&mut env, task("a/x").after(7)), "unknown_dependency");
    env.submit(task("a/x").demand("mem=101").key("k"));
    assert_eq!(code(&mut env, task("a/x").key("k").digest(1)), "key_reused");
    assert_eq!(env.try_retry(1).unwrap_err().code(), "not_retryable");
    env.run(task("a/x"));
    env.ends(attempt(2, 1), OK);
    assert_eq!(env.try_cancel(2).unwrap_err().code(), "already_ended");
    let unknown = Refusal::UnknownTask { task: TaskId(9) };
    assert_eq!(unknown.code(), "unknown_task");
}

#[test]
fn an_attempt_is_written_by_its_task_and_number() {
    assert_eq!(attempt(12, 3).to_string(), "12.3");
}

#[test]
fn a_value_is_as_long_as_what_is_kept_of_it() {
    let mut value = Value {
        bytes: Arc::from(*b"four"),
        ..Value::default()
    };
    assert_eq!(value.n_bytes(), 4);
    (value.bytes, value.file) = (
        Arc::default(),
        Some(ValueFile {
            attempt: 1,
            n_bytes: 100_000,
        }),
    );
    assert_eq!(value.n_bytes(), 100_000);
}
