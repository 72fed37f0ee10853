//! What people and the daemon itself want of it in between: to forget what ended long ago, to follow another
//! configuration, to stop in good order.

use std::time::Duration;

use super::course::SECOND;
use super::daemon::Side;
use super::happening::Happening;
use super::settings::Configured;
use super::world::World;
use crate::driver::{Message, RequestError};
use crate::engine::{Refusal, Reply, Request, Time};

impl World {
    /// What ended some time ago is forgotten.
    pub(super) fn forget(&mut self) {
        let kept = Duration::from_secs([0, 5, 60][self.course.dice.usize(0..3)]);
        let now = self.daemon_now();
        if let Some(daemon) = &mut self.daemon {
            self.course
                .tell("daemon", || format!("forgets what ended {kept:?} ago"));
            let ended_before = Time(now.0.saturating_sub(kept.as_millis() as u64));
            drop(daemon.ask_itself(&mut self.course, Request::Forget { ended_before }));
        }
    }

    /// The configuration changes; in the end to what it was at first, until that is in effect.
    pub(super) fn reload(&mut self) {
        let configured = if self.course.is_calm {
            self.course.plan(5 * SECOND, Happening::Reload);
            Configured::default()
        } else {
            Configured::changed(&mut self.course)
        };
        self.course.tell("operator", || {
            let queues = configured.engine.queues.iter();
            let queues: Vec<&str> = queues.map(|queue| &*queue.path).collect();
            format!("configures {}", queues.join(" "))
        });
        if let Some(daemon) = &mut self.daemon {
            let settings = Box::new(configured.engine.clone());
            let answered = daemon.ask_itself(&mut self.course, Request::Reload { settings });
            daemon.reloading = Some((configured.clone(), answered));
        }
        // Whatever the running daemon says of it, the next one reads it.
        self.configured = configured;
    }

    /// Looks whether the configuration has taken effect.
    pub(super) fn see_reloaded(&mut self) {
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        let Some((configured, mut answered)) = daemon.reloading.take() else {
            return;
        };
        match answered.try_recv() {
            Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {
                daemon.reloading = Some((configured, answered));
            }
            Ok(Ok(Reply::Done)) => {
                if let Side::Mesos { session, .. } = &mut daemon.side {
                    session.on_placement(configured.placement);
                }
            }
            Ok(Err(
                RequestError::Refused(Refusal::QueueInUse { .. })
                | RequestError::Store(_)
                | RequestError::Stopping,
            ))
            | Err(_) => {}
            Ok(other) => self
                .course
                .violate(format!("a configuration is answered by {other:?}")),
        }
    }

    /// Somebody wants the daemon to stop.
    pub(super) fn ask_to_stop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            self.course
                .tell("operator", || "stops the daemon".to_owned());
            daemon.core.messages.push(Message::Stop);
            daemon.drive_by(self.course.now, &mut self.course);
        }
    }

    /// The driver has closed its last batch, if the store works: the backend is shut down, and what still comes of
    /// it is taken in.
    pub(super) fn shut_down(&mut self, store_works: bool) {
        // What was decided reaches the backend before it is told to stop.
        self.shell();
        let now = self.daemon_now();
        let Some(daemon) = &mut self.daemon else {
            return;
        };
        daemon.core.turn_away(&RequestError::Stopping);
        let told = match &mut daemon.side {
            Side::Mesos { session, .. } => {
                session.stop();
                Vec::new()
            }
            Side::Local(local) => local.shut_down(&mut self.truth),
        };
        daemon.core.events.push(told);
        self.perform();
        if let Some(daemon) = self.daemon.as_mut().filter(|_| store_works) {
            daemon.core.take_in_events(now);
            // Should that fail, the next daemon finds out.
            let _ = daemon.core.close();
        }
        for facts in self.disk.take_committed() {
            self.committed(&facts);
        }
        if let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.fate.answers()) {
            for (ask, answer) in daemon.take_answered() {
                self.reply(ask, answer);
            }
        }
        self.die();
    }
}
