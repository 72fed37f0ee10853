//! What is checked once a world has come to its end.

use super::world::World;
use crate::engine::TaskState;
use crate::store::reader::Reader;

impl World {
    /// Everything has ended, or should have: each task with one outcome, which its inbox delivered.
    pub(super) fn judge(&mut self) {
        if !self.model.all_ended() {
            let left = self.model.left();
            self.course
                .violate(format!("faults are over for hours, and {left}"));
            return;
        }
        for task in self.clients.acknowledged.clone() {
            let kept = self.disk.memory.find(task).ok().flatten();
            let state = kept.as_ref().map(|record| record.state);
            let model = self.model.state(task);
            let model = model.filter(|_| !self.model.is_forgotten(task));
            if state != model {
                self.course.violate(format!(
                    "{task} was acknowledged; it is {state:?}, not {model:?}"
                ));
            }
        }
        let keys: Vec<(String, crate::engine::TaskId)> = (self.clients.keys())
            .map(|(key, task)| (key.to_owned(), task))
            .collect();
        for (key, task) in keys {
            if self.model.by_key(&key) != Some(task) && !self.model.is_forgotten(task) {
                self.course.violate(format!("key {key} is not of {task}"));
            }
        }
        let cancelled: Vec<_> = self.truth.all_cancelled().collect();
        for task in cancelled {
            let state = self.model.state(task);
            if state != Some(TaskState::Cancelled) {
                self.course
                    .violate(format!("{task} was cancelled and ended as {state:?}"));
            }
        }
        let wrong: Vec<String> = (self.model.ends())
            .filter_map(|(task, n_ends, inbox)| {
                let n_seen = self.clients.n_seen(task);
                let n_due = if inbox.is_some() { n_ends } else { 0 };
                let may_miss = self.model.is_forgotten(task) && n_seen < n_due;
                (n_seen != n_due && !may_miss)
                    .then(|| format!("{task} ended {n_due} times and was delivered {n_seen} times"))
            })
            .collect();
        for what in wrong {
            self.course.violate(what);
        }
        let busy = self
            .cluster
            .machines
            .iter()
            .filter(|machine| machine.is_busy());
        let busy: Vec<&str> = busy.map(|machine| machine.agent.as_str()).collect();
        if !busy.is_empty() {
            let what = format!("processes still run on {}", busy.join(", "));
            self.course.violate(what);
        }
    }
}
