//! A scenario: a small cluster, and what happens in it step by step. The policy test of this project and of
//! its users.
//!
//! Nothing launches without an offer, so a step of `offer` shows exactly who consumes it. Whatever a step
//! sets off outside is over when it is: attempts start at once, and end at once when asked to.

mod actual;
mod run;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::{Amount, Share};

pub use run::{Decided, Failure, Mismatch, Outcome, QueueLine, StepReport, run};

use super::AgentSpec;
use crate::engine::EngineSettings;
use crate::engine::request::{ByName, NewTask};

/// A scenario, read and checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Queues, policies and resources at its beginning.
    pub settings: EngineSettings,
    /// The agents that are there at its beginning, in the order in which they offer.
    pub agents: Vec<AgentSpec>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number, such as `3`, or `3.1` for the first step within a repeated one.
    pub number: String,
    /// The line of the file where it begins.
    pub line: usize,
    /// What happens.
    pub action: Action,
}

/// What happens in a step.
#[derive(Clone, Debug)]
pub enum Action {
    /// Somebody submits tasks.
    Submit {
        /// What, each as one call.
        task: Box<NewTask>,
        /// How many of it.
        count: u32,
        /// How long they run, where they end by themselves as time passes.
        run_time: Option<Duration>,
    },
    /// Agents offer what is free on them; `None` for all, in the order in which they were declared.
    Offer(Option<Vec<Arc<str>>>),
    /// What must be true now.
    Expect(Vec<Check>),
    /// Attempts end, those launched first before others.
    Finish {
        /// Which.
        pick: Pick,
        /// How.
        end: End,
    },
    /// Time passes; timers fire one by one.
    Advance(Duration),
    /// Others use so much of cluster resources.
    Outside(ByName<Amount>),
    /// Somebody cancels tasks, the oldest first.
    Cancel(Pick),
    /// The configuration is read again.
    Reload(Box<EngineSettings>),
    /// An agent joins, or has changed.
    Agent(AgentSpec),
    /// An agent that was lost is back as it was.
    AgentReturns(Arc<str>),
    /// An agent is lost, with all that runs on it.
    AgentLost(Arc<str>),
    /// Steps again and again.
    Repeat {
        /// How often.
        times: u32,
        /// What.
        steps: Vec<Step>,
    },
}

/// Which tasks or attempts are meant.
#[derive(Clone, Debug, Default)]
pub struct Pick {
    /// Only of this queue and the queues below it.
    pub queue: Option<Arc<str>>,
    /// Only with this name.
    pub name: Option<Box<str>>,
    /// Only on this agent.
    pub agent: Option<Arc<str>>,
    /// How many; `None` for all there are.
    pub count: Option<usize>,
}

/// How a step ends attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With exit code 0.
    Succeeded,
    /// With exit code 1.
    Failed,
    /// The infrastructure lost them.
    Lost,
}

/// Something that must be true.
#[derive(Clone, Debug)]
pub struct Check {
    /// What is looked at.
    pub subject: Subject,
    /// What must be seen.
    pub expected: Shown,
}

/// What a check looks at. Its name is the key of `expect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The queues of the tasks launched since the last `expect`, in order.
    Launched,
    /// The same as how many by queue.
    LaunchedCounts,
    /// The names of those tasks, in order.
    LaunchedNames,
    /// The agents on which they were launched, in order.
    LaunchedOn,
    /// How many attempts hold resources, by queue.
    Running,
    /// How many tasks are waiting or queued, by queue.
    Waiting,
    /// How many queued tasks can never run, by queue.
    Unsatisfiable,
    /// What attempts hold, by queue and resource.
    Used,
    /// Dominant shares, by queue.
    DominantShare,
    /// Shares, by queue and resource.
    Share,
    /// The dominant shares that queues are due, to the nearest thousandth.
    Entitlement,
    /// How far the queue with work that is furthest from what it is due is from it, to the nearest thousandth.
    FairnessError,
    /// On which agent the oldest task of a name has a claim, or `none`.
    Claims,
    /// The leaves with work in the order in which they would be served.
    Order,
    /// The codes of the refusals since the last `expect`, in order.
    Refused,
    /// The state of the oldest task of a name.
    State,
    /// The code of the first reason for which the oldest task of a name waits.
    Why,
    /// How many attempts run on an agent.
    Agents,
}

impl Subject {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Launched,
        Self::LaunchedCounts,
        Self::LaunchedNames,
        Self::LaunchedOn,
        Self::Running,
        Self::Waiting,
        Self::Unsatisfiable,
        Self::Used,
        Self::DominantShare,
        Self::Share,
        Self::Entitlement,
        Self::FairnessError,
        Self::Claims,
        Self::Order,
        Self::Refused,
        Self::State,
        Self::Why,
        Self::Agents,
    ];

    /// The key under which a scenario expects it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Launched => "launched",
            Self::LaunchedCounts => "launched_counts",
            Self::LaunchedNames => "launched_names",
            Self::LaunchedOn => "launched_on",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Unsatisfiable => "unsatisfiable",
            Self::Used => "used",
            Self::DominantShare => "dominant_share",
            Self::Share => "share",
            Self::Entitlement => "entitlement",
            Self::FairnessError => "fairness_error",
            Self::Claims => "claims",
            Self::Order => "order",
            Self::Refused => "refused",
            Self::State => "state",
            Self::Why => "why",
            Self::Agents => "agents",
        }
    }
}

/// A share to the nearest thousandth, as a decimal: what queues are due is itself rounded.
#[must_use]
pub fn rounded(share: Share) -> String {
    let (part, whole) = share.parts();
    let thousandths = (u128::from(part) * 1000 + whole / 2) / whole;
    let thousandths = u64::try_from(thousandths).ok();
    let amount = thousandths.and_then(Amount::from_milli);
    amount.unwrap_or(Amount::MAX).to_string()
}

/// What is expected or seen, in a form that is compared and shown: numbers as decimals without trailing
/// zeros, shares as reduced fractions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A number.
    Number(String),
    /// In order.
    List(Vec<String>),
    /// By name.
    ByName(BTreeMap<String, String>),
    /// By two names: a queue and a resource.
    ByNames(BTreeMap<String, BTreeMap<String, String>>),
}

impl fmt::Display for Shown {
    /// As a scenario writes it, but for quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = |map: &BTreeMap<String, String>| {
            let pairs = map.iter().map(|(name, value)| format!("{name} = {value}"));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        };
        match self {
            Self::Number(number) => f.write_str(number),
            Self::List(list) => write!(f, "[{}]", list.join(", ")),
            Self::ByName(map) => f.write_str(&pairs(map)),
            Self::ByNames(maps) => {
                let parts = maps
                    .iter()
                    .map(|(name, map)| format!("{name} = {}", pairs(map)));
                write!(f, "{{ {} }}", parts.collect::<Vec<_>>().join(", "))
            }
        }
    }
}
