//! The daemon's life in a world: its starts, batches and ends, and what is looked at after each.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each part of a world takes what is its own, and hands the rest on"
)]

use super::cluster;
use super::course::SECOND;
use super::daemon::{Daemon, Side};
use super::happening::{Happening, Life};
use super::world::World;
use super::{BackendKind, Defect};
use crate::driver::RequestError;
use crate::engine::{AttemptId, Event, Fact};
use crate::store::StoreError;

impl World {
    /// The daemon starts, if it doesn't run.
    pub(super) fn start(&mut self) {
        if self.daemon.is_some() {
            return;
        }
        self.life += 1;
        self.promises.start();
        let now = self.daemon_now();
        let started = Daemon::start(
            self.life,
            &self.disk,
            self.backend,
            &mut self.course,
            now,
            &self.configured,
            self.defect,
        );
        let skew = self.skew;
        let mut daemon = match started {
            Ok(daemon) => daemon,
            Err(error) => {
                self.course
                    .violate(format!("the daemon can't start: {error}"));
                return;
            }
        };
        daemon.skew = skew;
        let masters = cluster::masters();
        let mut told = Vec::new();
        match &mut daemon.side {
            Side::Mesos { session, .. } => session.on_masters(now, masters),
            Side::Local(local) => told = local.begin(),
        }
        for event in told {
            daemon.tell(&mut self.course, event);
        }
        daemon.drive_by(self.course.now, &mut self.course);
        self.daemon = Some(daemon);
        self.perform();
    }

    /// The daemon is gone, with everything that it had not made durable. Another one follows.
    pub(super) fn die(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        self.course.tell("daemon", || "is dead".to_owned());
        self.disk.kill();
        for ask in daemon.take_asked() {
            self.reply(ask, None);
        }
        if self.backend == BackendKind::Local {
            self.truth.all_die();
        }
        self.leave_stream();
        let wait = self.course.between(100, 20 * SECOND);
        self.course.plan(wait, Happening::Start);
    }

    /// The driver makes a batch.
    pub(super) fn drive(&mut self) {
        let now = self.daemon_now();
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let closed = daemon.core.work(now);
        if let Err(error) = &closed {
            daemon.core.suffer(error);
        }
        self.driven(closed.is_ok());
    }

    /// The driver tries to commit again.
    pub(super) fn commit_again(&mut self, life: Life) {
        let now = self.daemon_now();
        let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.life == life) else {
            return;
        };
        let full = StoreError::Full {
            path: "disk".into(),
        };
        daemon.core.turn_away(&RequestError::Store(full));
        let mut closed = daemon.core.close();
        if closed.is_ok() {
            daemon.core.works_again();
            closed = daemon.core.resume(now);
        }
        if let Err(error) = &closed {
            daemon.core.suffer(error);
        }
        self.driven(closed.is_ok());
    }

    /// Looks at what a batch brought about.
    pub(super) fn driven(&mut self, is_closed: bool) {
        for facts in self.disk.take_committed() {
            self.committed(&facts);
        }
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let answers = daemon.fate.answers();
        if answers {
            for (ask, answer) in daemon.take_answered() {
                self.reply(ask, answer);
            }
        }
        self.see_reloaded();
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        if daemon.fate.is_dead() || daemon.fate.is_dying() {
            self.die();
            return;
        }
        if daemon.core.stopping {
            self.shut_down(is_closed);
            return;
        }
        daemon.is_stalled = !is_closed;
        if !is_closed {
            let again = Happening::CommitAgain(daemon.life);
            self.course.plan(SECOND, again);
            return;
        }
        daemon.core.engine.check_invariants();
        let wake_at = daemon.core.engine.wake_at();
        let wake_at = wake_at.map(|at| self.when_daemon_sees(at).max(self.course.now + 1));
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        if let Some(at) = wake_at {
            daemon.drive_by(at, &mut self.course);
        }
        if !daemon.core.messages.is_empty() || !daemon.core.events.is_empty() {
            daemon.drive_by(self.course.now, &mut self.course);
        }
        let soon = self.course.between(0, 5);
        daemon.shell_by(self.course.now + soon, &mut self.course);
    }

    /// A batch is durable.
    pub(super) fn committed(&mut self, facts: &[Fact]) {
        self.course.tell("daemon", || {
            let facts: Vec<String> = facts.iter().map(brief).collect();
            format!("commits {}", facts.join(", "))
        });
        if let Err(what) = self.model.take(facts) {
            self.course.violate(what);
        }
        let now = self.session_now();
        for fact in facts {
            if let Some(what) = self.promises.committed(now, fact) {
                self.course.violate(what);
            }
            match fact {
                Fact::AttemptEnded { attempt, end, .. } => {
                    self.truth.told(&mut self.course, *attempt, end);
                }
                Fact::Retried {
                    task, n_attempts, ..
                } => self.truth.retried(*task, *n_attempts),
                Fact::Forgotten { .. } => {
                    let forgotten = self.model.all_forgotten();
                    self.clients.forget(forgotten);
                }
                Fact::TimedOut { attempt, .. } => self.truth.timed_out(*attempt),
                _ => {}
            }
        }
    }

    /// The backend's shell carries decisions out and does what is due.
    pub(super) fn shell(&mut self) {
        let now = self.session_now();
        let is_repeated = self.defect == Some(Defect::DecisionsAreRepeated);
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let life = daemon.life;
        let mut told: Vec<Event> = Vec::new();
        while let Some(decision) = daemon.next_decision() {
            let n_times = 1 + usize::from(is_repeated);
            for _ in 0..n_times {
                let decision = decision.clone();
                match &mut daemon.side {
                    Side::Mesos { session, .. } => session.on_decision(now, decision),
                    Side::Local(local) => {
                        let (course, truth) = (&mut self.course, &mut self.truth);
                        told.extend(local.act(course, truth, life, decision));
                    }
                }
            }
        }
        for event in told {
            daemon.tell(&mut self.course, event);
        }
        self.perform();
    }

    /// Plans when the session does what is due.
    pub(super) fn wake_shell(&mut self) {
        let Some(daemon) = &self.daemon else {
            return;
        };
        let Side::Mesos { session, .. } = &daemon.side else {
            return;
        };
        let due = session.wake_at().map(|at| self.when_session_sees(at));
        let at = due.map(|at| at.max(self.course.now + 10));
        if let (Some(at), Some(daemon)) = (at, &mut self.daemon) {
            daemon.shell_by(at, &mut self.course);
        }
    }

    pub(super) fn local_ends(&mut self, life: Life, attempt: AttemptId, is_killed: bool) {
        let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.life == life) else {
            return;
        };
        if let Side::Local(local) = &mut daemon.side {
            let told = local.ends(&mut self.course, &mut self.truth, attempt, is_killed);
            for event in told {
                daemon.tell(&mut self.course, event);
            }
        }
    }
}

/// A fact in a few words.
fn brief(fact: &Fact) -> String {
    match fact {
        Fact::Submitted { submission, .. } => {
            let spec = &submission.spec;
            format!(
                "submitted {}+{} {:?}",
                submission.first,
                spec.count(),
                spec.run
            )
        }
        Fact::Ended { task, outcome, .. } => format!("{task} ended {:?}", outcome.kind),
        Fact::AttemptEnded { attempt, end, .. } => format!("{attempt} ended {end:?}"),
        Fact::Launched { attempt, agent, .. } => format!("{attempt} launched on {agent}"),
        Fact::Retried { task, .. } => format!("{task} retried"),
        other => format!("{other:?}"),
    }
}
