//! The kinds of faults, and how each is brought about.

use super::course::{Millis, SECOND};
use super::disk::Crash;
use super::happening::{Ailment, Happening};
use super::world::World;
use crate::proto::mesos::v1::task_status::Reason;

/// A kind of fault with its name and how often it comes, in relation to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Crash,
    Loss,
    Stream,
    Cut,
    Partition,
    Power,
    Executor,
    Failover,
    Rescind,
    Remove,
    Clock,
    Disk,
    Forget,
    Reload,
    Stop,
}

const KINDS: [(Kind, &str, u32); 15] = [
    (Kind::Crash, "crash", 30),
    (Kind::Loss, "loss", 0),
    (Kind::Stream, "stream", 12),
    (Kind::Cut, "cut", 4),
    (Kind::Partition, "partition", 10),
    (Kind::Power, "power", 4),
    (Kind::Executor, "executor", 8),
    (Kind::Failover, "failover", 6),
    (Kind::Rescind, "rescind", 15),
    (Kind::Remove, "remove", 1),
    (Kind::Clock, "clock", 8),
    (Kind::Disk, "disk", 8),
    (Kind::Forget, "forget", 10),
    (Kind::Reload, "reload", 10),
    (Kind::Stop, "stop", 5),
];

/// Some kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    /// All of them.
    pub(super) fn all() -> Self {
        Self((1 << KINDS.len()) - 1)
    }

    fn place(name: &str) -> Option<usize> {
        KINDS.iter().position(|(_, known, _)| *known == name)
    }

    /// Without this one.
    ///
    /// # Errors
    /// There is none of that name.
    pub(super) fn minus(self, name: &str) -> Result<Self, String> {
        let known = KINDS.map(|(_, name, _)| name).join(", ");
        let place = Self::place(name);
        let place =
            place.ok_or_else(|| format!("no faults are called '{name}'; there are {known}"))?;
        Ok(Self(self.0 & !(1 << place)))
    }

    /// All of them but one, for each.
    pub(super) fn each_left_out(self) -> impl Iterator<Item = Self> {
        (0..KINDS.len()).map(move |place| Self(self.0 & !(1 << place)))
    }

    /// What is in both.
    pub(super) fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The names of those that are not there; `None` where all are.
    pub(super) fn without(self) -> Option<String> {
        let missing = (0..KINDS.len()).filter(|place| self.0 & (1 << place) == 0);
        let names: Vec<&str> = missing.map(|place| KINDS[place].1).collect();
        (!names.is_empty()).then(|| names.join(","))
    }

    fn has(self, kind: Kind) -> bool {
        let place = KINDS.iter().position(|(known, _, _)| *known == kind);
        place.is_some_and(|place| self.0 & (1 << place) != 0)
    }

    /// Whether messages are lost and repeated.
    pub(super) fn loses(self) -> bool {
        self.has(Kind::Loss)
    }
}

impl World {
    /// Something goes wrong; and something else later.
    pub(super) fn fault(&mut self) {
        let sum = KINDS.iter().map(|(_, _, often)| often).sum();
        let mut choice = self.course.dice.u32(0..sum);
        let kind = KINDS.iter().find(|(_, _, often)| {
            let is_it = choice < *often;
            choice = choice.saturating_sub(*often);
            is_it
        });
        let wait = self.course.between(100, 8 * SECOND);
        self.course.plan(wait, Happening::Fault);
        let Some((kind, _, _)) = kind.filter(|(kind, _, _)| self.kinds.has(*kind)) else {
            return;
        };
        match kind {
            Kind::Crash => self.crash_somewhere(),
            Kind::Loss => {}
            Kind::Stream => self.cluster.master.break_stream(&mut self.course),
            Kind::Cut => self.cut(),
            Kind::Partition => self.partition(),
            Kind::Power => self.lose_power(),
            Kind::Executor => self.lose_executor(),
            Kind::Failover => {
                if self.cluster.master.leader.is_some() {
                    for machine in &mut self.cluster.machines {
                        machine.disconnect();
                    }
                    self.cluster.master.fall(&mut self.course);
                }
            }
            Kind::Rescind => self.rescind(),
            Kind::Remove => {
                let (cluster, mut around) = self.split();
                cluster.master.remove_framework(&mut around);
            }
            Kind::Clock => self.jump(),
            Kind::Forget => self.forget(),
            Kind::Reload => self.reload(),
            Kind::Stop => self.ask_to_stop(),
            Kind::Disk => {
                self.course.tell("disk", || "is full".to_owned());
                self.disk.set_full(true);
                let wait = self.course.between(SECOND, 20 * SECOND);
                self.course.plan(wait, Happening::Heal(Ailment::DiskFull));
            }
        }
    }

    fn crash_somewhere(&mut self) {
        let dice = &mut self.course.dice;
        let crash = match dice.u32(0..5) {
            0 => {
                self.die();
                return;
            }
            1 => Crash::BeforeCommit,
            2 => Crash::AfterCommit,
            3 => Crash::Acting(dice.u32(0..4)),
            _ => Crash::BeforeAnswers,
        };
        if let Some(daemon) = &self.daemon {
            self.course
                .tell("daemon", || format!("is to die: {crash:?}"));
            daemon.fate.doom(crash);
        }
    }

    fn some_machine(&mut self) -> Option<usize> {
        let n = self.cluster.machines.len();
        (n > 0).then(|| self.course.dice.usize(0..n))
    }

    fn partition(&mut self) {
        let Some(number) = self.some_machine() else {
            return;
        };
        let machine = &mut self.cluster.machines[number];
        if !machine.is_reachable || !machine.is_up {
            return;
        }
        machine.is_reachable = false;
        machine.disconnect();
        let agent = machine.agent.clone();
        self.course.tell("network", || format!("cuts {agent} off"));
        self.truth.excuse_agent(&agent);
        let (cluster, mut around) = self.split();
        cluster.master.miss(&mut around, &agent);
        let longest: Millis = [10 * SECOND, 300 * SECOND][self.course.dice.usize(0..2)];
        let wait = self.course.between(SECOND, longest);
        self.course
            .plan(wait, Happening::Heal(Ailment::Partition(number)));
    }

    /// The scheduler reaches no master for a while.
    fn cut(&mut self) {
        if std::mem::replace(&mut self.is_cut, true) {
            return;
        }
        self.course
            .tell("network", || "cuts the scheduler off".to_owned());
        self.cluster.master.break_stream(&mut self.course);
        let longest: Millis = [10 * SECOND, 300 * SECOND][self.course.dice.usize(0..2)];
        let wait = self.course.between(SECOND, longest);
        self.course.plan(wait, Happening::Heal(Ailment::Cut));
    }

    fn lose_power(&mut self) {
        let Some(number) = self.some_machine() else {
            return;
        };
        if !self.cluster.machines[number].is_up {
            return;
        }
        let agent = self.cluster.machines[number].agent.clone();
        let (cluster, mut around) = self.split();
        cluster.machines[number].crash(&mut around);
        cluster.master.miss(&mut around, &agent);
    }

    fn lose_executor(&mut self) {
        let Some(number) = self.some_machine() else {
            return;
        };
        let executors = self.cluster.machines[number].executors();
        if executors.is_empty() {
            return;
        }
        let executor = &executors[self.course.dice.usize(0..executors.len())];
        let (cluster, mut around) = self.split();
        cluster.machines[number].lose_executor(&mut around, executor, Reason::ExecutorTerminated);
    }

    fn rescind(&mut self) {
        let offers = self.cluster.master.offer_ids();
        if !offers.is_empty() {
            let offer = &offers[self.course.dice.usize(0..offers.len())];
            self.course.tell("master", || format!("rescinds {offer}"));
            self.cluster.master.rescind(&mut self.course, offer);
        }
    }

    /// The daemon's clock is set.
    fn jump(&mut self) {
        let far = [10 * SECOND, 3600 * SECOND][self.course.dice.usize(0..2)] as i64;
        let by = self.course.dice.i64(-far..=far);
        self.course
            .tell("clock", || format!("jumps by {} s", by / 1000));
        self.skew += by;
    }

    /// A fault that lasted ends.
    pub(super) fn heal(&mut self, ailment: Ailment) {
        match ailment {
            Ailment::Partition(number) => {
                let machine = &mut self.cluster.machines[number];
                if std::mem::replace(&mut machine.is_reachable, true) {
                    return;
                }
                let (agent, boot) = (machine.agent.clone(), machine.boot);
                self.course.tell("network", || format!("has {agent} again"));
                let machine = number;
                self.course
                    .plan(100, Happening::Registers { machine, boot });
            }
            Ailment::Cut => {
                if std::mem::replace(&mut self.is_cut, false) {
                    let what = || "has the scheduler again".to_owned();
                    self.course.tell("network", what);
                }
            }
            Ailment::DiskFull => {
                self.course.tell("disk", || "has space again".to_owned());
                self.disk.set_full(false);
            }
        }
    }
}
