//! Faults, simulated: the daemon's own engine, driver, store protocol and Mesos session, on virtual time, against
//! a world that fails in every way that it may. Everything in a world follows from one seed.
//!
//! ```text
//! clients ─► daemon (driver::order, engine, session) ─► cluster (masters, agents, executors) or local machine
//!               │ facts                                     │ processes
//!               ▼                                           ▼
//!             disk ─────► model ◄── are compared ──►      truth
//! ```
//! After each step the engine's invariants hold, no process runs that may not, and what was committed follows
//! from what was before, as a naive model of a task's life sees it. When faults are over, everything must end:
//! each acknowledged task with one outcome, which its inbox has delivered, and nothing left running. [`hunt`]
//! tries seeds; a seed that fails is cut short and tells its history.
//!
//! That it can fail is tested: each [`Defect`] is planted between the parts of the product, which know nothing of it,
//! and must be found. The same holds for defects in the product itself. Take out the call of `start_round` where the
//! session is subscribed, or of `forget_offers` where it disconnects; let it `lose` what is unreachable, or
//! `may_be_under_way` be false; let `needs_record` in the driver be false: each is found within 100 seeds.
//!
//! The idea is that of the simulators of `FoundationDB` and `TigerBeetle`; what is asked of a scheduler is what the
//! Jepsen analysis of Chronos asked.

mod clients;
mod cluster;
mod course;
mod daemon;
mod disk;
mod files;
mod happening;
mod hunt;
mod judge;
mod life;
mod local;
mod model;
mod network;
mod planted;
mod promises;
mod script;
mod settings;
mod steps;
#[cfg(test)]
mod tests;
mod trouble;
mod truth;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use hunt::{Tried, hunt};

use trouble::Kinds;
use world::World;

/// How many steps a world has with faults, unless said otherwise.
pub const STEPS: u32 = 500;

/// What runs the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// A Mesos cluster.
    Mesos,
    /// The daemon's own machine.
    Local,
}

/// Defects that can be planted around the product, to see that they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A crash while a batch is written leaves half of it.
    HalfABatchIsKept,
    /// The store says that a batch is durable before it is.
    CommitsAreForgotten,
    /// After a restart nobody asks what became of the attempts that lived.
    AttemptsAreForgotten,
    /// Statuses are acknowledged before they are durable.
    StatusesAreAcknowledgedAtOnce,
    /// A decision of each batch is carried out twice.
    DecisionsAreRepeated,
    /// A new subscription is no reason to ask what became of the attempts.
    SubscriptionsAreNotReconciled,
    /// Offers of a subscription that is over are believed to stand.
    OffersOutliveTheirSubscription,
    /// What is out of contact counts as lost at once.
    UnreachableIsLost,
    /// That the master knows nothing of a launch of just now is taken for its end.
    EarlyAnswersAreBelieved,
    /// A retry is answered from what was stored before the batch that it is in.
    RetriesAreReadTooEarly,
}

/// One world to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Everything follows from it.
    pub seed: u64,
    /// For so many steps there are faults. Then they stop, and everything must end.
    pub steps: u32,
    /// What runs the tasks.
    pub backend: BackendKind,
    kinds: Kinds,
    defect: Option<Defect>,
    on_files: bool,
}

/// What became of a world.
#[derive(Debug)]
pub struct Outcome {
    /// What must never be and was.
    pub violation: Option<String>,
    /// What happened, where it was recorded.
    pub history: Vec<String>,
    /// How many steps it took, those after the faults included.
    pub n_steps: u64,
    /// Equal for two worlds only if they went alike.
    pub digest: u64,
}

/// A world that failed, as short as it could be made.
#[derive(Debug)]
pub struct Failure {
    /// How to see it again.
    pub trial: Trial,
    /// What must never be.
    pub violation: String,
    /// What happened.
    pub history: Vec<String>,
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--seed {} --steps {}", self.seed, self.steps)?;
        if let Some(without) = self.kinds.without() {
            write!(f, " --without {without}")?;
        }
        f.write_str(if self.on_files { " --files" } else { "" })
    }
}

impl Trial {
    /// The world of a seed: one in four has the local backend.
    #[must_use]
    pub fn new(seed: u64, steps: u32) -> Self {
        Self {
            seed,
            steps,
            backend: if seed % 4 == 3 {
                BackendKind::Local
            } else {
                BackendKind::Mesos
            },
            kinds: Kinds::all(),
            defect: None,
            on_files: false,
        }
    }

    /// With the daemon's own database as its disk, in the directory for temporary files: of a batch during which the
    /// daemon dies, any part of what is written may be there.
    #[must_use]
    pub fn on_files(mut self, on_files: bool) -> Self {
        self.on_files = on_files;
        self
    }

    /// Without these kinds of faults, by their names joined by commas.
    ///
    /// # Errors
    /// The name that isn't known, and those that are.
    pub fn without(mut self, names: &str) -> Result<Self, String> {
        for name in names.split(',').filter(|name| !name.is_empty()) {
            self.kinds = self.kinds.minus(name)?;
        }
        Ok(self)
    }

    /// With a defect planted around the product.
    #[must_use]
    pub fn with(mut self, defect: Defect) -> Self {
        self.defect = Some(defect);
        self
    }

    /// Lets the world run to its end. What panics in it is a violation.
    #[must_use]
    pub fn run(&self, is_recorded: bool) -> Outcome {
        let mut world = World::new(*self, is_recorded);
        let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
        let mut outcome = world.outcome();
        if let Err(panic) = ran {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let what = format!("panicked: {}", text.unwrap_or("without a word"));
            outcome.violation.get_or_insert(what);
        }
        outcome
    }

    /// The shortest failing world that cutting steps and kinds of faults leads to, with its history.
    #[must_use]
    pub fn shrink(self, violation: String) -> Failure {
        let (mut best, mut violation) = (self, violation);
        let kind = kind(&violation);
        let try_out = |trial: Self| {
            let found = trial.run(false).violation;
            let same = found.filter(|what| self::kind(what) == kind);
            same.map(|what| (trial, what))
        };
        for kinds in Kinds::all().each_left_out() {
            let fewer = Self {
                kinds: best.kinds.intersection(kinds),
                ..best
            };
            if let Some((trial, what)) = try_out(fewer) {
                (best, violation) = (trial, what);
            }
        }
        let mut cut = best.steps / 2;
        while cut > 0 {
            let shorter = Self {
                steps: best.steps.saturating_sub(cut),
                ..best
            };
            match try_out(shorter) {
                Some((trial, what)) => (best, violation) = (trial, what),
                None => cut /= 2,
            }
            cut = cut.min(best.steps);
        }
        let history = best.run(true).history;
        Failure {
            trial: best,
            violation,
            history,
        }
    }
}

/// The same for two violations that differ only in numbers, and in what follows.
fn kind(violation: &str) -> String {
    let words = violation.chars().filter(|word| !word.is_ascii_digit());
    words.take(40).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.history {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "violated: {}", self.violation)?;
        write!(f, "see it again by: apportion test-faults {}", self.trial)
    }
}
