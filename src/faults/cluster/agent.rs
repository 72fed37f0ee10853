//! A machine with its agent, executors, and the processes of tasks.

use std::collections::{BTreeMap, VecDeque};

use super::super::course::{Course, Millis, SECOND};
use super::super::happening::{Happening, Order, Report};
use super::super::script;
use super::super::truth::RunEnd;
use super::{Size, Surroundings};
use crate::backend::remote::ended::{self, Ended, Shown};
use crate::backend::remote::launch::{from_bytes, parse_attempt};
use crate::engine::outcome::{AttemptEnd, Usage, Value};
use crate::engine::spec::Run;
use crate::proto::mesos::v1::task_status::Reason;
use crate::proto::mesos::v1::{TaskInfo, TaskState, TaskStatus};

/// An executor without tasks ends after so long.
const EXECUTOR_IDLE: Millis = 60 * SECOND;

/// How far a task is on its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Until its executor is up.
    Waits,
    Runs,
    Over,
}

/// A task on a machine, until its last status is acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) framework: String,
    pub(super) executor: String,
    pub(super) info: TaskInfo,
    pub(super) phase: Phase,
    /// The state that was told last.
    pub(super) state: TaskState,
    /// Statuses that are not acknowledged, with their numbers.
    pub(super) updates: VecDeque<(u64, TaskStatus)>,
}

/// An executor.
#[derive(Clone, Debug)]
pub(super) struct Executor {
    pub(super) size: Size,
    pub(super) is_up: bool,
    pub(super) n_tasks: u64,
}

/// A machine.
pub(in super::super) struct Machine {
    pub(super) number: usize,
    /// Counts its starts.
    pub(in super::super) boot: u32,
    /// The id of its agent.
    pub(in super::super) agent: String,
    pub(in super::super) is_up: bool,
    pub(in super::super) is_reachable: bool,
    pub(super) size: Size,
    /// The master of which reign knows it.
    pub(super) reign: Option<u64>,
    pub(super) link: u64,
    pub(super) last_at: Millis,
    pub(super) executors: BTreeMap<String, Executor>,
    pub(super) tasks: BTreeMap<String, Held>,
    pub(super) n_updates: u64,
}

impl Machine {
    /// One that is up, and that no master knows.
    pub(in super::super) fn new(number: usize, size: Size) -> Self {
        Self {
            number,
            boot: 0,
            agent: format!("S{number}-0"),
            is_up: true,
            is_reachable: true,
            size,
            reign: None,
            link: 0,
            last_at: 0,
            executors: BTreeMap::new(),
            tasks: BTreeMap::new(),
            n_updates: 0,
        }
    }

    /// Whether its agent can be reached under this id.
    pub(in super::super) fn answers_as(&self, agent: &str) -> bool {
        self.is_up && self.is_reachable && self.agent == agent
    }

    /// Whether any process of a task runs.
    pub(in super::super) fn is_busy(&self) -> bool {
        self.tasks.values().any(|held| held.phase != Phase::Over)
    }

    /// Its executors that are up.
    pub(in super::super) fn executors(&self) -> Vec<String> {
        self.executors.keys().cloned().collect()
    }

    /// The master wants something.
    pub(in super::super) fn ordered(
        &mut self,
        around: &mut Surroundings<'_>,
        link: u64,
        order: Order,
    ) {
        if !self.is_up || !self.is_reachable || link != self.link {
            return;
        }
        match order {
            Order::Run {
                framework,
                task,
                starts_executor,
            } => self.run(around, framework, *task, starts_executor),
            Order::Kill { task, grace } => self.kill(around, &task, grace),
            Order::Acknowledged { task, uuid } => self.acknowledged(around.course, &task, uuid),
            Order::ShutDown { framework } => self.shut_down(around, &framework),
            Order::Registered { reign, tasks } => self.registered(around.course, reign, &tasks),
        }
    }

    fn run(
        &mut self,
        around: &mut Surroundings<'_>,
        framework: String,
        info: TaskInfo,
        starts_executor: bool,
    ) {
        let id = info.task_id.value.clone();
        let executor_info = info.executor.clone().unwrap_or_default();
        let executor = executor_info.executor_id.value.clone();
        let is_there = self.executors.contains_key(&executor);
        let held = Held {
            framework,
            executor: executor.clone(),
            info,
            phase: Phase::Waits,
            state: TaskState::TaskStaging,
            updates: VecDeque::new(),
        };
        self.tasks.insert(id.clone(), held);
        if !is_there && !starts_executor {
            // It ended while the launch was under way.
            self.end(
                around,
                &id,
                TaskState::TaskDropped,
                Some(Reason::ExecutorTerminated),
                None,
            );
            return;
        }
        let new = Executor {
            size: Size::of(&executor_info.resources),
            is_up: false,
            n_tasks: 0,
        };
        let entry = self.executors.entry(executor.clone()).or_insert(new);
        entry.n_tasks += 1;
        if entry.is_up {
            self.start(around, &id);
        } else if !is_there {
            let (machine, boot) = (self.number, self.boot);
            let wait = around.course.between(100, 3 * SECOND);
            let up = Happening::ExecutorUp {
                machine,
                boot,
                executor,
            };
            around.course.plan(wait, up);
        }
    }

    /// An executor is up, and starts what waits for it; or it never comes up.
    pub(in super::super) fn executor_up(
        &mut self,
        around: &mut Surroundings<'_>,
        boot: u32,
        executor: &str,
    ) {
        let Some(known) = self
            .executors
            .get_mut(executor)
            .filter(|_| boot == self.boot)
        else {
            return;
        };
        if around.course.fails(30) {
            self.lose_executor(around, executor, Reason::ContainerLaunchFailed);
            return;
        }
        known.is_up = true;
        let waiting: Vec<String> = (self.tasks.iter())
            .filter(|(_, held)| held.executor == executor && held.phase == Phase::Waits)
            .map(|(id, _)| id.clone())
            .collect();
        for id in waiting {
            self.start(around, &id);
        }
        self.watch_idle(around.course, executor);
    }

    /// An executor and all that it runs are no more.
    pub(in super::super) fn lose_executor(
        &mut self,
        around: &mut Surroundings<'_>,
        executor: &str,
        reason: Reason,
    ) {
        around
            .course
            .tell(&self.agent, || format!("loses executor {executor}"));
        self.executors.remove(executor);
        let of_it: Vec<String> = (self.tasks.iter())
            .filter(|(_, held)| held.executor == executor && held.phase != Phase::Over)
            .map(|(id, _)| id.clone())
            .collect();
        for id in of_it {
            self.over(around, &id, RunEnd::Died);
            self.end(around, &id, TaskState::TaskFailed, Some(reason), None);
        }
        if let Some(reign) = self.reign {
            let executor = executor.to_owned();
            self.report(around.course, reign, Report::ExecutorGone { executor });
        }
    }

    /// An executor has had nothing to do for long, and ends.
    pub(in super::super) fn executor_idle(
        &mut self,
        around: &mut Surroundings<'_>,
        boot: u32,
        executor: &str,
        n_tasks: u64,
    ) {
        let is_same = |known: &Executor| known.n_tasks == n_tasks && known.is_up;
        let is_idle = self.executors.get(executor).is_some_and(is_same);
        let mut tasks = self.tasks.values();
        let has_tasks = tasks.any(|held| held.executor == executor);
        if boot == self.boot && is_idle && !has_tasks {
            self.lose_executor(around, executor, Reason::ExecutorTerminated);
        }
    }

    pub(super) fn watch_idle(&self, course: &mut Course, executor: &str) {
        if let Some(known) = self.executors.get(executor) {
            let idle = Happening::ExecutorIdle {
                machine: self.number,
                boot: self.boot,
                executor: executor.to_owned(),
                n_tasks: known.n_tasks,
            };
            course.plan(EXECUTOR_IDLE, idle);
        }
    }

    /// The process of a task starts.
    fn start(&mut self, around: &mut Surroundings<'_>, id: &str) {
        let Some(held) = self.tasks.get_mut(id) else {
            return;
        };
        held.phase = Phase::Runs;
        let data = held.info.data.clone().unwrap_or_default();
        let act = match from_bytes(id, &data) {
            Ok(received) => match &received.launch.submission.spec.run {
                Run::Command(command) => script::act(command, received.launch.attempt.number),
                Run::Argv(_) | Run::Python(_) => None,
            },
            Err(_) => None,
        };
        let Some((act, attempt)) = act.zip(parse_attempt(id)) else {
            around
                .course
                .violate(format!("{id} can't be read by its executor"));
            return;
        };
        around.course.tell(&self.agent, || format!("runs {id}"));
        around.truth.started(around.course, attempt);
        let ends = Happening::ProcessEnds {
            machine: self.number,
            boot: self.boot,
            task: id.to_owned(),
            is_killed: false,
        };
        around.course.plan(act.runs, ends);
        self.update(around.course, id, TaskState::TaskRunning, None, None);
    }

    fn kill(&mut self, around: &mut Surroundings<'_>, id: &str, grace: Option<u64>) {
        let Some(held) = self.tasks.get(id) else {
            return;
        };
        around
            .course
            .tell(&self.agent, || format!("is to kill {id}"));
        match held.phase {
            Phase::Waits => {
                self.over(around, id, RunEnd::Killed);
                let reason = Some(Reason::TaskKilledDuringLaunch);
                self.end(around, id, TaskState::TaskKilled, reason, None);
            }
            Phase::Runs => {
                let wait = around.course.between(0, grace.unwrap_or(SECOND));
                let dies = Happening::ProcessEnds {
                    machine: self.number,
                    boot: self.boot,
                    task: id.to_owned(),
                    is_killed: true,
                };
                around.course.plan(wait, dies);
            }
            Phase::Over => {}
        }
    }

    /// A process ends, by itself or because it was told so.
    pub(in super::super) fn process_ends(
        &mut self,
        around: &mut Surroundings<'_>,
        boot: u32,
        id: &str,
        is_killed: bool,
    ) {
        let is_running = |held: &&mut Held| held.phase == Phase::Runs && boot == self.boot;
        let Some(held) = self.tasks.get_mut(id).filter(is_running) else {
            return;
        };
        let data = held.info.data.clone().unwrap_or_default();
        let code = from_bytes(id, &data).ok().and_then(|received| {
            let launch = received.launch;
            let Run::Command(command) = &launch.submission.spec.run else {
                return None;
            };
            script::act(command, launch.attempt.number)
        });
        let code = code.map_or(0, |act| act.code);
        let (state, run_end, end) = if is_killed {
            (TaskState::TaskKilled, RunEnd::Killed, AttemptEnd::Killed)
        } else if code == 0 {
            (
                TaskState::TaskFinished,
                RunEnd::Exited(0),
                AttemptEnd::Exited { code },
            )
        } else {
            (
                TaskState::TaskFailed,
                RunEnd::Exited(code),
                AttemptEnd::Exited { code },
            )
        };
        around
            .course
            .tell(&self.agent, || format!("ends {id}: {run_end:?}"));
        self.over(around, id, run_end);
        let ended = Ended {
            end,
            lost_because: None,
            usage: Usage::default(),
            shown: Shown::Inline(Value::default()),
        };
        self.end(around, id, state, None, Some(ended::to_bytes(&ended)));
    }

    fn over(&mut self, around: &mut Surroundings<'_>, id: &str, end: RunEnd) {
        if let Some(held) = self.tasks.get_mut(id) {
            held.phase = Phase::Over;
        }
        if let Some(attempt) = parse_attempt(id) {
            around.truth.ended(attempt, end);
        }
    }

    /// The last status of a task.
    fn end(
        &mut self,
        around: &mut Surroundings<'_>,
        id: &str,
        state: TaskState,
        reason: Option<Reason>,
        data: Option<Vec<u8>>,
    ) {
        if let Some(held) = self.tasks.get_mut(id) {
            if held.phase != Phase::Over {
                held.phase = Phase::Over;
                if let Some(attempt) = parse_attempt(id) {
                    around.truth.ended(attempt, RunEnd::Died);
                }
            }
            let executor = held.executor.clone();
            self.update(around.course, id, state, reason, data);
            self.watch_idle(around.course, &executor);
        }
    }

    /// Everything of a framework is ended.
    fn shut_down(&mut self, around: &mut Surroundings<'_>, framework: &str) {
        let of_it: Vec<String> = (self.tasks.iter())
            .filter(|(_, held)| held.framework == framework)
            .map(|(id, _)| id.clone())
            .collect();
        for id in of_it {
            if self
                .tasks
                .get(&id)
                .is_some_and(|held| held.phase != Phase::Over)
            {
                self.over(around, &id, RunEnd::Died);
            }
            self.tasks.remove(&id);
        }
        let left: Vec<String> = self
            .tasks
            .values()
            .map(|held| held.executor.clone())
            .collect();
        self.executors.retain(|id, _| left.contains(id));
    }

    /// Power is gone.
    pub(in super::super) fn crash(&mut self, around: &mut Surroundings<'_>) {
        around
            .course
            .tell(&self.agent, || "loses its power".to_owned());
        let running: Vec<String> = self.tasks.keys().cloned().collect();
        for id in running {
            if self.tasks[&id].phase != Phase::Over {
                self.over(around, &id, RunEnd::Died);
            }
        }
        around.truth.excuse_agent(&self.agent);
        self.is_up = false;
        self.boot += 1;
        self.agent = format!("S{}-{}", self.number, self.boot);
        self.tasks.clear();
        self.executors.clear();
        self.disconnect();
        let wait = around.course.between(5 * SECOND, 120 * SECOND);
        around.course.plan(wait, Happening::Boots(self.number));
    }

    /// Power is back.
    pub(in super::super) fn boots(&mut self, course: &mut Course) {
        self.is_up = true;
        let (machine, boot) = (self.number, self.boot);
        course.plan(SECOND, Happening::Registers { machine, boot });
    }
}
