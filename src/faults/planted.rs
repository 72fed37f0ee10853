//! Defects planted around the product, to see that they are found: what passes between its parts is altered on its
//! way, as if the part that says it, or the one that hears it, were wrong.

use super::Defect;
use super::course::{Millis, SECOND};
use super::world::World;
use crate::backend::mesos::session::OutCall;
use crate::proto::mesos::v1::scheduler::Event;
use crate::proto::mesos::v1::{TaskState, TaskStatus};

/// Before this the next round of questions is not due by itself.
const ROUND: Millis = 590 * SECOND;

impl World {
    /// What the session hears instead of a status.
    pub(super) fn alter_status(&self, status: &mut TaskStatus) {
        let is = |state: TaskState| status.state == state as i32;
        if self.defect == Some(Defect::UnreachableIsLost) && is(TaskState::TaskUnreachable) {
            status.state = TaskState::TaskGone as i32;
            status.reason = None;
        } else if self.defect == Some(Defect::EarlyAnswersAreBelieved) && is(TaskState::TaskGone) {
            // No answer any more, but the agent's own word.
            status.reason = None;
        }
    }

    /// Whether a call of the session never leaves it.
    pub(super) fn swallows(&self, call: &OutCall) -> bool {
        self.defect == Some(Defect::SubscriptionsAreNotReconciled)
            && call.body.reconcile.is_some()
            && self.course.now < self.subscribed_at + ROUND
    }

    /// What the session hears besides an event: offers of an earlier subscription, on a new one.
    pub(super) fn stale_offers(&mut self, event: &Event) -> Option<Event> {
        if self.defect != Some(Defect::OffersOutliveTheirSubscription) {
            return None;
        }
        if event.offers.is_some() {
            self.last_offers = Some(event.clone());
        }
        event
            .subscribed
            .as_ref()
            .and_then(|_| self.last_offers.take())
    }
}
