//! Tasks to submit, built word by word.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::env::{amounts, words};
use crate::engine::request::{After, NewTask};
use crate::engine::spec::{ArrayRange, Run};
use crate::engine::{TaskId, TaskSpec};

/// A task to submit, one cpu in queue `a` unless said otherwise.
#[derive(Clone, Debug)]
pub(super) struct Builder {
    pub(super) task: NewTask,
}

/// One cpu in this queue.
pub(super) fn task(queue: &str) -> Builder {
    let spec = TaskSpec {
        queue: Arc::from(queue),
        name: "".into(),
        key: None,
        inbox: None,
        demand: Arc::new(amounts("cpus=1")),
        run: Run::Command("true".into()),
        env: BTreeMap::new(),
        priority: 0,
        retries: 0,
        timeout: None,
        kill_grace: None,
        constraints: Arc::default(),
        array: None,
    };
    let digest = [0; 16];
    let after = Vec::new();
    Builder {
        task: NewTask {
            spec,
            after,
            digest,
        },
    }
}

impl Builder {
    pub(super) fn demand(mut self, text: &str) -> Self {
        self.task.spec.demand = Arc::new(amounts(text));
        self
    }

    pub(super) fn constraints(mut self, text: &str) -> Self {
        self.task.spec.constraints = Arc::new(words(text));
        self
    }

    pub(super) fn key(mut self, key: &str) -> Self {
        self.task.spec.key = Some(key.into());
        self
    }

    pub(super) fn digest(mut self, byte: u8) -> Self {
        self.task.digest = [byte; 16];
        self
    }

    pub(super) fn inbox(mut self, inbox: &str) -> Self {
        self.task.spec.inbox = Some(inbox.into());
        self
    }

    pub(super) fn array(mut self, count: u32) -> Self {
        self.task.spec.array = Some(ArrayRange {
            first: 0,
            last: count - 1,
            step: 1,
        });
        self
    }

    pub(super) fn retries(mut self, retries: u32) -> Self {
        self.task.spec.retries = retries;
        self
    }

    pub(super) fn timeout(mut self, seconds: u64) -> Self {
        self.task.spec.timeout = Some(Duration::from_secs(seconds));
        self
    }

    pub(super) fn kill_grace(mut self, seconds: u64) -> Self {
        self.task.spec.kill_grace = Some(Duration::from_secs(seconds));
        self
    }

    pub(super) fn priority(mut self, priority: i32) -> Self {
        self.task.spec.priority = priority;
        self
    }

    pub(super) fn after(mut self, task: u64) -> Self {
        self.task.after.push(After::Task(TaskId(task)));
        self
    }

    pub(super) fn after_key(mut self, key: &str) -> Self {
        self.task.after.push(After::Key(key.into()));
        self
    }
}
