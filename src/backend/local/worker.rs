//! The thread that carries decisions out: it keeps the books of this machine's offers, gives orders to
//! the keeper, and turns the keeper's reports into events.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::books::{self, Books, Resources};
use super::link::{Link, Recipe};
use super::wire::{LaunchOrder, Order, PythonOrder, Report, WireEnd, WireUsage, WireValue, millis};
use super::{environment, layout, logs};
use crate::clock::Stopwatch;
use crate::engine::decision::Launch;
use crate::engine::event::OfferId;
use crate::engine::outcome::{Value, ValueFile};
use crate::engine::spec::Run;
use crate::engine::{AttemptEnd, AttemptId, Decision, Event, Usage, outcome::LossReason};

/// Between two attempts to start a keeper.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How many messages are worked off before their orders and events go out together.
const BATCH_MAX: usize = 4096;

/// The longest pickle that travels in an order, in bytes; longer ones are files.
const CALL_INLINE_BYTES_MAX: usize = 64 << 10;

/// What reaches the worker.
pub(super) enum Message {
    /// From the driver.
    Act(Decision),
    /// From the driver, once at the beginning.
    Reconcile(Vec<AttemptId>),
    /// End everything; answered by the worker's own end.
    ShutDown { grace: Duration },
    /// Let go of everything at once.
    Abandon,
    /// From the keeper with this number. `None`: it is gone, and so is all that it kept.
    Reported(u64, Option<Vec<Report>>),
}

/// See the module's text.
pub(super) struct Worker {
    pub(super) agent: Arc<str>,
    pub(super) recipe: Recipe,
    pub(super) books: Books,
    pub(super) link: Option<Link>,
    /// Keepers are numbered, so that a late word of an old one isn't taken for the new one's.
    pub(super) n_keepers: u64,
    pub(super) messages: Receiver<Message>,
    pub(super) own: Sender<Message>,
    /// To the thread that waits for the driver in this one's stead.
    pub(super) events: Sender<Vec<Event>>,
    /// What each attempt holds that has been launched and has not ended.
    pub(super) held: BTreeMap<AttemptId, Resources>,
    /// Launches that wait for a keeper, in order.
    pub(super) waiting: Vec<Launch>,
    /// What has become free since the last offer.
    pub(super) freed: Resources,
    /// Events of this batch, which go out together: so what has ended and what came free by it are one
    /// batch of the driver's too, and one commit.
    pub(super) told: Vec<Event>,
    pub(super) last_start: Stopwatch,
    pub(super) shutting_down: bool,
}

impl Worker {
    /// Works until told to end.
    pub(super) fn run(mut self) {
        loop {
            let first = if self.link.is_none() {
                match self
                    .messages
                    .recv_timeout(RESTART_PAUSE.saturating_sub(self.last_start.elapsed()))
                {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                match self.messages.recv() {
                    Ok(message) => Some(message),
                    Err(_) => return,
                }
            };
            let mut n_left = BATCH_MAX;
            let mut next = first;
            while let Some(message) = next {
                if !self.take_in(message) {
                    return;
                }
                n_left -= 1;
                next = if n_left > 0 {
                    self.messages.try_recv().ok()
                } else {
                    None
                };
            }
            if self.link.is_none() && self.last_start.elapsed() >= RESTART_PAUSE {
                self.restart_keeper();
            }
            self.finish_batch();
        }
    }

    /// False to end.
    fn take_in(&mut self, message: Message) -> bool {
        match message {
            Message::Act(Decision::Accept {
                agent,
                offers,
                launches,
            }) => self.accept(&agent, &offers, launches),
            Message::Act(Decision::Kill { attempt, grace }) => self.kill(attempt, grace),
            // Only for backends that are guests of a cluster, or ask for receipts.
            Message::Act(
                Decision::Decline { .. }
                | Decision::Suppress
                | Decision::Revive
                | Decision::Acknowledge { .. },
            ) => {}
            Message::Reconcile(attempts) => self.reconcile(attempts),
            Message::ShutDown { grace } => return self.shut_down(grace),
            Message::Abandon => return false,
            Message::Reported(keeper, report) if keeper == self.n_keepers => match report {
                Some(reports) => {
                    for report in reports {
                        self.on_report(report);
                    }
                }
                None => return self.on_keeper_gone(),
            },
            Message::Reported(..) => {}
        }
        true
    }

    fn accept(&mut self, agent: &str, offers: &[OfferId], launches: Vec<Launch>) {
        if self.shutting_down {
            return;
        }
        let mut free = if agent == &*self.agent {
            self.books.accept(offers)
        } else {
            Resources::new()
        };
        for launch in launches {
            let demand = self.books.host_part(&launch.submission.spec.demand);
            if self.held.contains_key(&launch.attempt) || !books::take(&mut free, &demand) {
                // The engine launches what was offered, and each attempt once; if not, nothing may run beyond what there is.
                tracing::error!(attempt = %launch.attempt, agent, "a launch that no offer bears");
                self.tell_lost(launch.attempt, LossReason::LaunchDropped);
                continue;
            }
            self.held.insert(launch.attempt, demand);
            self.launch(launch);
        }
        books::add(&mut self.freed, free);
    }

    /// Orders a launch, or keeps it until there is a keeper.
    fn launch(&mut self, launch: Launch) {
        let Some(link) = &mut self.link else {
            self.waiting.push(launch);
            return;
        };
        let spec = &launch.submission.spec;
        let python = match &spec.run {
            Run::Python(pickle) => match python_order(&self.recipe, &launch, pickle) {
                Ok(order) => Some(order),
                Err(error) => {
                    tracing::error!(attempt = %launch.attempt, %error, "cannot hand a pickle over");
                    let reason = LossReason::BackendFailed;
                    self.end(launch.attempt, AttemptEnd::Lost { reason });
                    return;
                }
            },
            Run::Command(_) | Run::Argv(_) => None,
        };
        let argv: Vec<Cow<'_, str>> = match &spec.run {
            Run::Command(line) => vec!["/bin/sh".into(), "-c".into(), (&**line).into()],
            Run::Argv(argv) => argv.iter().map(|arg| (&**arg).into()).collect(),
            Run::Python(_) => Vec::new(),
        };
        let amount = |name: &str| spec.demand.get(name).map(|amount| amount.milli());
        let order = Order::Launch(LaunchOrder {
            attempt: launch.attempt.into(),
            argv,
            env: environment::of_attempt(
                launch.attempt,
                &launch.submission,
                &self.recipe.home.identity,
            ),
            cpu_milli: amount("cpus"),
            // Thousandths of a MiB.
            mem_bytes: amount("mem").map(|milli| (u128::from(milli) * (1 << 20) / 1000) as u64),
            python,
        });
        if let Err(error) = link.push(&order) {
            let end = AttemptEnd::NotStarted {
                message: error.to_string().into(),
            };
            self.end(launch.attempt, end);
        }
    }

    fn kill(&mut self, attempt: AttemptId, grace: Duration) {
        if let Some(place) = self
            .waiting
            .iter()
            .position(|launch| launch.attempt == attempt)
        {
            self.waiting.remove(place);
            self.end(attempt, AttemptEnd::Killed);
            return;
        }
        match &mut self.link {
            Some(link) if self.held.contains_key(&attempt) => {
                // A message of this size is never too long.
                let _ = link.push(&Order::Kill {
                    attempt: attempt.into(),
                    grace_millis: millis(grace),
                });
            }
            // Without a keeper nothing runs.
            Some(_) | None => self.end(attempt, AttemptEnd::Killed),
        }
    }

    /// No attempt outlives its daemon, and the keeper has made sure of that before it was ready.
    fn reconcile(&mut self, attempts: Vec<AttemptId>) {
        for attempt in attempts {
            self.tell_lost(attempt, LossReason::DaemonRestarted);
        }
        // Only now, for until then the engine counts what those attempts held.
        let total = self.books.total().clone();
        books::add(&mut self.freed, total);
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Ready {
                limits,
                instead_because,
            } => tell_limits(&limits, instead_because.as_deref()),
            Report::Refused { message } => tracing::error!(message, "the keeper refuses to work"),
            Report::Warning { message } => tracing::warn!("{message}"),
            Report::Started { attempt } => self.tell(Event::AttemptStarted {
                attempt: attempt.into(),
            }),
            Report::Ended {
                attempt,
                end,
                usage,
                value,
            } => {
                let attempt = AttemptId::from(attempt);
                let end = end_of(attempt, end);
                let value = value_of(&self.recipe.home.tasks_dir, attempt, value);
                self.end_with(attempt, end, usage_of(usage), value);
            }
        }
    }

    /// Everything that the keeper kept is gone. False to end.
    fn on_keeper_gone(&mut self) -> bool {
        self.link = None;
        if self.shutting_down {
            return false;
        }
        tracing::error!(
            n_attempts = self.held.len(),
            "the keeper is gone, and with it all attempts; starting another"
        );
        let waiting: Vec<AttemptId> = self.waiting.iter().map(|launch| launch.attempt).collect();
        let lost: Vec<AttemptId> = self
            .held
            .keys()
            .filter(|id| !waiting.contains(id))
            .copied()
            .collect();
        for attempt in lost {
            let end = AttemptEnd::Lost {
                reason: LossReason::BackendFailed,
            };
            self.end(attempt, end);
        }
        true
    }

    /// Starts a keeper and gives it what has waited.
    fn restart_keeper(&mut self) {
        self.last_start = Stopwatch::start();
        match self.start_keeper() {
            Ok(()) => {
                for launch in std::mem::take(&mut self.waiting) {
                    self.launch(launch);
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot start a keeper; nothing can be launched until one starts")
            }
        }
    }

    /// Starts a keeper.
    ///
    /// # Errors
    /// There is no process to be had.
    pub(super) fn start_keeper(&mut self) -> std::io::Result<()> {
        self.n_keepers += 1;
        let (number, own) = (self.n_keepers, self.own.clone());
        // If this worker has ended, nobody needs to know.
        let on_reports = move |reports| drop(own.send(Message::Reported(number, reports)));
        self.link = Some(Link::start(&self.recipe, on_reports)?);
        Ok(())
    }

    /// False to end at once: there is nothing to wait for.
    fn shut_down(&mut self, grace: Duration) -> bool {
        self.shutting_down = true;
        let Some(link) = &mut self.link else {
            return false;
        };
        let order = Order::ShutDown {
            grace_millis: millis(grace),
        };
        // If the keeper is gone, its last word says so.
        let _ = link.push(&order).and_then(|()| link.flush());
        true
    }

    /// Sends orders and offers of a whole batch.
    fn finish_batch(&mut self) {
        if let Some(link) = &mut self.link {
            // If the keeper is gone, its last word says so, and what it was to launch is lost.
            let _ = link.flush();
        }
        if let Some((offer, free)) = self.books.offer(std::mem::take(&mut self.freed)) {
            self.tell(Event::OfferReceived {
                offer,
                agent: Arc::clone(&self.agent),
                free,
            });
        }
        if !self.told.is_empty() {
            let _ = self.events.send(std::mem::take(&mut self.told));
        }
    }

    /// An attempt has ended without ever having run.
    fn end(&mut self, attempt: AttemptId, end: AttemptEnd) {
        self.end_with(attempt, end, Usage::default(), Value::default());
    }

    /// An attempt has ended; tells so, and makes ready to offer what it held.
    fn end_with(&mut self, attempt: AttemptId, end: AttemptEnd, usage: Usage, value: Value) {
        self.tell(Event::AttemptEnded {
            attempt,
            end,
            usage,
            value,
        });
        if let Some(held) = self.held.remove(&attempt) {
            books::add(&mut self.freed, held);
        }
    }

    fn tell_lost(&mut self, attempt: AttemptId, reason: LossReason) {
        let end = AttemptEnd::Lost { reason };
        self.tell(Event::AttemptEnded {
            attempt,
            end,
            usage: Usage::default(),
            value: Value::default(),
        });
    }

    /// Tells the engine, unless the daemon stops: then nobody listens, and what ends now is found lost at the next start.
    fn tell(&mut self, event: Event) {
        if !self.shutting_down {
            self.told.push(event);
        }
    }
}

/// Says how demands are enforced, and where that isn't the best way, why.
pub(super) fn tell_limits(limits: &str, instead_because: Option<&str>) {
    match instead_because {
        None => tracing::info!(limits, "how cpu and memory demands are enforced"),
        Some(reason) => tracing::warn!(
            limits,
            reason,
            "cpu and memory demands cannot be enforced through cgroups"
        ),
    }
}

/// What an attempt has to show.
fn value_of(tasks_dir: &Path, attempt: AttemptId, value: WireValue) -> Value {
    match value {
        WireValue::Nothing => Value::default(),
        WireValue::Output => logs::read_value(tasks_dir, attempt).unwrap_or_else(|error| {
            tracing::error!(%attempt, %error, "cannot read the output of an attempt; its value is empty");
            Value::default()
        }),
        WireValue::Inline(text) => Value {
            bytes: STANDARD.decode(text).unwrap_or_default().into(),
            ..Value::default()
        },
        WireValue::File(n_bytes) => Value {
            file: Some(ValueFile {
                attempt: attempt.number,
                n_bytes,
            }),
            ..Value::default()
        },
    }
}

/// Hands a pickle over, in the order itself or as a file.
fn python_order<'a>(
    recipe: &Recipe,
    launch: &'a Launch,
    pickle: &[u8],
) -> std::io::Result<PythonOrder<'a>> {
    let value = recipe.values.prepare(launch.attempt)?;
    let call = if pickle.len() <= CALL_INLINE_BYTES_MAX {
        Some(STANDARD.encode(pickle).into())
    } else {
        let file = layout::call_file(&recipe.home.tasks_dir, launch.attempt);
        file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(file, pickle)?;
        None
    };
    Ok(PythonOrder {
        call,
        value: value.to_string_lossy().into_owned().into(),
        queue: (&*launch.submission.spec.queue).into(),
    })
}

fn end_of(attempt: AttemptId, end: WireEnd) -> AttemptEnd {
    match end {
        WireEnd::Exited(code) => AttemptEnd::Exited { code },
        WireEnd::Signalled(signal) => AttemptEnd::Signalled { signal },
        WireEnd::OutOfMemory => AttemptEnd::OutOfMemory,
        WireEnd::Killed => AttemptEnd::Killed,
        WireEnd::NotStarted(message) => AttemptEnd::NotStarted {
            message: message.into(),
        },
        WireEnd::Raised(message) => AttemptEnd::Raised {
            message: message.into(),
        },
        WireEnd::Failed(message) => {
            tracing::error!(%attempt, message, "an attempt could not be started");
            AttemptEnd::Lost {
                reason: LossReason::BackendFailed,
            }
        }
    }
}

fn usage_of(usage: WireUsage) -> Usage {
    Usage {
        wall: Duration::from_micros(usage.wall_micros),
        cpu: Duration::from_micros(usage.cpu_micros),
        memory_peak_bytes: usage.memory_peak_bytes,
    }
}
