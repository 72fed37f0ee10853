//! The books of this machine's offers, and what the keeper is told: decisions become orders, reports become events.
//!
//! The driver does its part here itself, and the [`super::clerk`] the keeper's, each with the desk locked for the
//! moment: a thread in between would make every launch wait for one more wake-up. So nothing here waits for anybody
//! or reads and writes files.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{PipeWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::books::{self, Books, Resources};
use super::link::{Link, Recipe};
use super::profiles::{Profile, Profiles};
use super::wire::{LaunchOrder, Order, PythonOrder, Report, WireEnd, WireUsage, WireUser, millis};
use super::{environment, layout};
use crate::clock::Stopwatch;
use crate::engine::decision::Launch;
use crate::engine::event::OfferId;
use crate::engine::outcome::{TaskLimit, Value};
use crate::engine::spec::Run;
use crate::engine::{AttemptEnd, AttemptId, Decision, Event, Usage, outcome::LossReason};

/// Between two attempts to start a keeper.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The longest pickle that travels in an order, in bytes; longer ones are files.
const CALL_INLINE_BYTES_MAX: usize = 64 << 10;

/// See the module's text.
pub(super) struct Desk {
    pub(super) agent: Arc<str>,
    pub(super) recipe: Arc<Recipe>,
    pub(super) books: Books,
    pub(super) profiles: Profiles,
    pub(super) link: Option<Link>,
    /// Wakes the clerk.
    pub(super) bell: PipeWriter,
    /// The clerk was woken and has not come yet.
    pub(super) has_rung: bool,
    /// What each attempt holds that has been launched and has not ended.
    pub(super) held: BTreeMap<AttemptId, Resources>,
    /// Launches that wait for a keeper, or for the clerk to write what they run to a file; in order.
    pub(super) waiting: Vec<Launch>,
    /// What has become free since the last offer.
    pub(super) freed: Resources,
    /// Events that the clerk is to hand over, together: so what has ended and what came free by it are one
    /// batch of the driver's too, and one commit.
    pub(super) told: Vec<Event>,
    /// Events that nobody needs to be woken for: the driver takes them when it is awake, or the clerk with others.
    pub(super) aside: Vec<Event>,
    pub(super) last_start: Stopwatch,
    pub(super) shutting_down: bool,
}

impl Desk {
    /// Does what the driver has decided. What the clerk has to do for it, it is woken for.
    pub(super) fn act(&mut self, decision: Decision) {
        match decision {
            Decision::Accept {
                agent,
                offers,
                launches,
            } => self.accept(&agent, &offers, launches),
            Decision::Kill { attempt, grace } => self.kill(attempt, grace),
            // Only for backends that are guests of a cluster, or ask for receipts.
            Decision::Decline { .. }
            | Decision::Suppress
            | Decision::Revive
            | Decision::Acknowledge { .. } => {}
        }
        self.flush();
        let left = self.offer_freed();
        self.aside.extend(left);
        if !self.told.is_empty() || self.has_backlog() || self.next_errand().is_some() {
            self.ring();
        }
    }

    /// Wakes the clerk.
    pub(super) fn ring(&mut self) {
        if !std::mem::replace(&mut self.has_rung, true) {
            // It fails only if the clerk has gone, and then nobody is left who could do anything.
            let _ = self.bell.write_all(b"!");
        }
    }

    /// Whether there are orders that the keeper has yet to make room for.
    pub(super) fn has_backlog(&self) -> bool {
        self.link.as_ref().is_some_and(Link::has_backlog)
    }

    /// How long until a keeper is to be started; `None` while there is one.
    pub(super) fn restart_in(&self) -> Option<Duration> {
        let pause = RESTART_PAUSE.saturating_sub(self.last_start.elapsed());
        self.link.is_none().then_some(pause)
    }

    /// The first launch that waits though there is a keeper.
    pub(super) fn next_errand(&self) -> Option<&Launch> {
        self.link.as_ref().and(self.waiting.first())
    }

    /// Orders a launch that has waited, if it still does: what it runs has been [`write_call`]ed.
    pub(super) fn launch_waiting(&mut self, attempt: AttemptId, written: std::io::Result<()>) {
        let mut waiting = self.waiting.iter();
        let Some(place) = waiting.position(|launch| launch.attempt == attempt) else {
            return;
        };
        let launch = self.waiting.remove(place);
        match written {
            Ok(()) => self.order(launch),
            Err(error) => self.cannot_hand_over(attempt, &error),
        }
    }

    fn cannot_hand_over(&mut self, attempt: AttemptId, error: &std::io::Error) {
        tracing::error!(%attempt, %error, "cannot hand a pickle over");
        let reason = LossReason::BackendFailed;
        self.end(attempt, AttemptEnd::Lost { reason });
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

    /// Orders a launch, or keeps it for the clerk.
    fn launch(&mut self, launch: Launch) {
        if self.link.is_none() || large_call(&launch).is_some() {
            self.waiting.push(launch);
        } else {
            self.order(launch);
        }
    }

    /// Orders a launch, or keeps it until there is a keeper.
    fn order(&mut self, launch: Launch) {
        let Some(link) = &mut self.link else {
            self.waiting.push(launch);
            return;
        };
        let spec = &launch.submission.spec;
        let profile = match self.profiles.of(&spec.queue, |order| link.push(order)) {
            Ok(profile) => profile,
            Err(error) => {
                let message = error.into();
                self.end(launch.attempt, AttemptEnd::NotStarted { message });
                return;
            }
        };
        let python = match &spec.run {
            Run::Python(pickle) => match python_order(&self.recipe, &launch, pickle, profile) {
                Ok(order) => Some(order),
                Err(error) => {
                    self.cannot_hand_over(launch.attempt, &error);
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
            profile: profile.number,
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
    pub(super) fn reconcile(&mut self, attempts: Vec<AttemptId>) {
        for attempt in attempts {
            self.tell_lost(attempt, LossReason::DaemonRestarted);
        }
        // Only now, for until then the engine counts what those attempts held.
        let total = self.books.total().clone();
        books::add(&mut self.freed, total);
        let offer = self.offer_freed();
        self.told.extend(offer);
        self.ring();
    }

    /// Takes in what the keeper says, with what an attempt that has ended has to show.
    pub(super) fn on_report(&mut self, report: Report, value: Value) {
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
                value: _,
            } => {
                let attempt = AttemptId::from(attempt);
                let end = end_of(attempt, end);
                self.end_with(attempt, end, usage_of(usage), value);
            }
        }
    }

    /// Everything that the keeper kept is gone. Gives what is left of the link, to be dropped once the desk is free.
    pub(super) fn on_keeper_gone(&mut self) -> Option<Link> {
        let link = self.link.take();
        self.profiles.forget_told();
        if self.shutting_down {
            return link;
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
        link
    }

    /// Asks for everything to end, SIGKILL after the grace.
    pub(super) fn shut_down(&mut self, grace: Duration) {
        self.shutting_down = true;
        if let Some(link) = &mut self.link {
            let order = Order::ShutDown {
                grace_millis: millis(grace),
            };
            // If the keeper is gone, its last word says so.
            let _ = link.push(&order).and_then(|()| link.flush());
        }
        self.ring();
    }

    /// Lets go of everything, at once.
    pub(super) fn abandon(&mut self) {
        self.shutting_down = true;
        if let Some(link) = &mut self.link {
            link.hang_up();
        }
        self.ring();
    }

    /// Sends orders as far as there is room for them.
    pub(super) fn flush(&mut self) {
        if let Some(link) = &mut self.link {
            // If the keeper is gone, its last word says so, and what it was to launch is lost.
            let _ = link.flush();
        }
    }

    /// The offer of what came free, if something did. While the daemon stops, nobody listens.
    fn offer_freed(&mut self) -> Option<Event> {
        let (offer, free) = self.books.offer(std::mem::take(&mut self.freed))?;
        let event = Event::OfferReceived {
            offer,
            agent: Arc::clone(&self.agent),
            free,
        };
        (!self.shutting_down).then_some(event)
    }

    /// Everything to hand over to the driver now, with the offer of what came free.
    pub(super) fn take_told(&mut self) -> Vec<Event> {
        let offer = self.offer_freed();
        self.told.extend(offer);
        if self.told.is_empty() {
            return Vec::new();
        }
        let mut told = std::mem::take(&mut self.aside);
        told.append(&mut self.told);
        told
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

/// The pickle of a launch that is too long for an order.
fn large_call(launch: &Launch) -> Option<&[u8]> {
    match &launch.submission.spec.run {
        Run::Python(pickle) if pickle.len() > CALL_INLINE_BYTES_MAX => Some(pickle),
        Run::Python(_) | Run::Command(_) | Run::Argv(_) => None,
    }
}

/// Writes what a launch runs to a file that only its `user` can read, where it is too long for an order.
///
/// # Errors
/// What the file system says.
pub(super) fn write_call(
    recipe: &Recipe,
    launch: &Launch,
    user: Option<&WireUser>,
) -> std::io::Result<()> {
    let Some(pickle) = large_call(launch) else {
        return Ok(());
    };
    let file = layout::call_file(&recipe.home.tasks_dir, launch.attempt);
    file.parent().map_or(Ok(()), layout::make_passable_dirs)?;
    let _ = std::fs::remove_file(&file);
    let mut options = File::options();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(&file)?;
    file.write_all(pickle)?;
    user.map_or(Ok(()), |user| {
        std::os::unix::fs::fchown(&file, Some(user.uid), Some(user.gid))
    })
}

/// Hands a pickle over, in the order itself or as the file that [`write_call`] has made.
fn python_order<'a>(
    recipe: &Recipe,
    launch: &'a Launch,
    pickle: &[u8],
    profile: &Profile,
) -> std::io::Result<PythonOrder<'a>> {
    // Somebody else can write to the directory of its attempt only.
    let value = match profile.user() {
        None => recipe.values.prepare(launch.attempt)?,
        Some(_) => layout::left_value(&recipe.home.tasks_dir, launch.attempt),
    };
    let call = large_call(launch).is_none();
    Ok(PythonOrder {
        call: call.then(|| STANDARD.encode(pickle).into()),
        value: value.to_string_lossy().into_owned().into(),
        queue: (&*launch.submission.spec.queue).into(),
    })
}

fn end_of(attempt: AttemptId, end: WireEnd) -> AttemptEnd {
    match end {
        WireEnd::Exited(code) => AttemptEnd::Exited { code },
        WireEnd::Signalled(signal) => AttemptEnd::Signalled { signal },
        WireEnd::OutOfMemory => AttemptEnd::OutOfMemory,
        WireEnd::OverLimit(what, max) => match TaskLimit::from_word(&what, max) {
            Some(limit) => AttemptEnd::OverLimit { limit },
            None => AttemptEnd::Killed,
        },
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
