//! Status updates that the agent has not acknowledged yet, in the order in which they were made.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::Time;
use crate::proto::mesos::v1::TaskStatus;

/// What tells updates apart, for ever.
pub type Uuid = [u8; 16];

/// Where an update is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody has it.
    Kept,
    /// It was given to the connection.
    Sent,
    /// The agent took it, at this time; its acknowledgement follows.
    Taken(Time),
}

#[derive(Debug)]
struct Pending {
    status: TaskStatus,
    uuid: Uuid,
    stage: Stage,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: BTreeMap<u64, Pending>,
    by_uuid: BTreeMap<Uuid, u64>,
    n_ever: u64,
}

impl Outbox {
    /// Keeps an update until it is acknowledged.
    pub(super) fn keep(&mut self, uuid: Uuid, status: TaskStatus) {
        self.n_ever += 1;
        self.by_uuid.insert(uuid, self.n_ever);
        let pending = Pending {
            status,
            uuid,
            stage: Stage::Kept,
        };
        self.pending.insert(self.n_ever, pending);
    }

    /// Those that nobody has, in order, to be sent now.
    pub(super) fn send_kept(&mut self) -> Vec<(Uuid, TaskStatus)> {
        let kept = self
            .pending
            .values_mut()
            .filter(|pending| pending.stage == Stage::Kept);
        kept.map(|pending| {
            pending.stage = Stage::Sent;
            (pending.uuid, pending.status.clone())
        })
        .collect()
    }

    /// The agent has this one.
    pub(super) fn taken(&mut self, uuid: &Uuid, now: Time) {
        if let Some(pending) = self.find(uuid) {
            pending.stage = Stage::Taken(now);
        }
    }

    /// It is not known whether the agent has this one.
    pub(super) fn failed(&mut self, uuid: &Uuid) {
        if let Some(pending) = self.find(uuid) {
            pending.stage = Stage::Kept;
        }
    }

    /// All of them, for a new subscription, which hands them over.
    pub(super) fn all(&self) -> Vec<TaskStatus> {
        let all = self.pending.values();
        all.map(|pending| pending.status.clone()).collect()
    }

    /// Counts all that were ever kept, to tell those of now from later ones.
    pub(super) fn mark(&self) -> u64 {
        self.n_ever
    }

    /// The agent has all that were kept up to a mark: a subscription handed them over.
    pub(super) fn all_taken(&mut self, mark: u64, now: Time) {
        for pending in self.pending.range_mut(..=mark) {
            pending.1.stage = Stage::Taken(now);
        }
    }

    /// Those that the agent took longer ago than this and has not acknowledged are to be sent again.
    pub(super) fn keep_overdue(&mut self, now: Time, acknowledge_max: Duration) {
        for pending in self.pending.values_mut() {
            if matches!(pending.stage, Stage::Taken(at) if now.since(at) >= acknowledge_max) {
                pending.stage = Stage::Kept;
            }
        }
    }

    /// Acknowledged, or given up: gives the update, unless it is unknown.
    pub(super) fn remove(&mut self, uuid: &Uuid) -> Option<TaskStatus> {
        let number = self.by_uuid.remove(uuid)?;
        Some(self.pending.remove(&number)?.status)
    }

    /// Whether all are acknowledged.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn find(&mut self, uuid: &Uuid) -> Option<&mut Pending> {
        self.pending.get_mut(self.by_uuid.get(uuid)?)
    }
}
