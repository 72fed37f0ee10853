//! Those who submit, cancel, retry, pop and vanish, and remember what they were told.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each part of a world takes what is its own, and hands the rest on"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;

use super::course::{Course, Millis, SECOND};
use super::script::{self, Act};
use super::settings::Configured;
use crate::driver::RequestError;
use crate::engine::request::{Accepted, After, NewTask};
use crate::engine::spec::{ArrayRange, Run};
use crate::engine::{Refusal, Reply, Request, TaskId, TaskSpec};
use crate::store::reader::Reader;

/// How many there are.
pub(super) const N_CLIENTS: usize = 3;

/// Longer than any world lasts.
const ENDLESS: Millis = 1000 * 3600 * SECOND;

/// The command of a task that never ends by itself.
fn endless() -> String {
    script::command(&[Act {
        runs: ENDLESS,
        code: 0,
    }])
}

/// Leaf queues.
const QUEUES: [&str; 4] = ["a", "b", "c/x", "c/y"];

/// Something asked of the daemon, and by whom.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) client: usize,
    pub(super) what: What,
    /// Whether it was asked when faults were over: nobody asks for the contrary any more.
    pub(super) is_last: bool,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum What {
    Submit(Box<NewTask>),
    Cancel(TaskId),
    Retry(TaskId),
    Acknowledge(u64),
}

/// What whoever asked knows: an answer, or nothing because the connection broke.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) ask: Ask,
    pub(super) answer: Option<Result<Reply, RequestError>>,
}

/// Somebody with an inbox.
#[derive(Debug, Default)]
struct Client {
    /// Tasks of which it was told.
    known: Vec<TaskId>,
    /// Submissions whose answer it doesn't know, to be repeated under their keys.
    unanswered: Vec<NewTask>,
    /// Tasks that never end by themselves; it cancels them when faults are over.
    endless: Vec<TaskId>,
    n_submitted: u32,
    /// Deliveries that it has seen.
    seen: BTreeMap<u64, TaskId>,
    /// Up to which delivery it knows to have acknowledged.
    acknowledged: u64,
}

/// All of them.
pub(super) struct Clients {
    list: Vec<Client>,
    /// What was told under a key.
    by_key: BTreeMap<Box<str>, TaskId>,
    /// Tasks that were acknowledged to somebody.
    pub(super) acknowledged: BTreeSet<TaskId>,
    /// How many submissions there may be.
    budget: u32,
    /// Tasks that ended so long ago that nothing of them is kept.
    forgotten: BTreeSet<TaskId>,
}

impl Ask {
    /// In words.
    pub(super) fn words(&self) -> String {
        match &self.what {
            What::Submit(task) => format!("submit {}", task.spec.name),
            What::Cancel(task) => format!("cancel {task}"),
            What::Retry(task) => format!("retry {task}"),
            What::Acknowledge(upto) => format!("acknowledge {upto}"),
        }
    }

    /// As the daemon gets it.
    pub(super) fn request(&self) -> Request {
        match self.what.clone() {
            What::Submit(task) => Request::Submit { tasks: vec![*task] },
            What::Cancel(task) => Request::Cancel { task, reason: None },
            What::Retry(task) => Request::Retry { task, stored: None },
            What::Acknowledge(upto) => Request::AcknowledgeInbox {
                inbox: inbox(self.client),
                upto,
                only: None,
            },
        }
    }
}

/// The inbox of a client.
pub(super) fn inbox(client: usize) -> Arc<str> {
    format!("inbox-{client}").into()
}

impl Clients {
    /// With so many submissions to make.
    pub(super) fn new(budget: u32) -> Self {
        Self {
            list: (0..N_CLIENTS).map(|_| Client::default()).collect(),
            by_key: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            budget,
            forgotten: BTreeSet::new(),
        }
    }

    /// These are no longer kept, and their keys are free.
    pub(super) fn forget(&mut self, forgotten: BTreeSet<TaskId>) {
        self.by_key.retain(|_, task| !forgotten.contains(task));
        self.forgotten = forgotten;
    }

    /// Whether somebody still has something to submit.
    pub(super) fn is_done(&self) -> bool {
        let is_done = |client: &Client| client.unanswered.is_empty() && client.endless.is_empty();
        self.list.iter().all(is_done)
    }

    /// A client does something; perhaps it asks the daemon for it, or for two things at once. Says after how long it
    /// does the next thing.
    pub(super) fn act(
        &mut self,
        course: &mut Course,
        number: usize,
        store: &dyn Reader,
    ) -> (Vec<Ask>, Millis) {
        let choice = course.dice.u32(0..100);
        let what = if course.is_calm {
            self.finish(number)
        } else {
            match choice {
                0..=39 => self.submit(course, number),
                40..=54 => self.pick(course, number).map(What::Cancel),
                55..=58 => self.pick(course, number).map(What::Retry),
                59..=62 => {
                    let again = self.pick(course, number);
                    let asks = again.into_iter().flat_map(|task| {
                        let both = [What::Cancel(task), What::Retry(task)];
                        both.map(|what| Ask {
                            client: number,
                            what,
                            is_last: false,
                        })
                    });
                    return (asks.collect(), course.between(100, 3 * SECOND));
                }
                63..=94 => None,
                // It vanishes for a while.
                _ => return (Vec::new(), course.between(30 * SECOND, 120 * SECOND)),
            }
        };
        let what = what.or_else(|| self.pop(course, number, store));
        let pause = course.between(100, 3 * SECOND);
        let ask = what.map(|what| Ask {
            client: number,
            what,
            is_last: course.is_calm,
        });
        (ask.into_iter().collect(), pause)
    }

    /// Repeats what it doesn't know the answer of.
    fn repeat(&mut self, number: usize) -> Option<What> {
        let task = self.list[number].unanswered.pop()?;
        Some(What::Submit(Box::new(task)))
    }

    /// The same; and cancels what doesn't end by itself, until it is told that it has.
    fn finish(&mut self, number: usize) -> Option<What> {
        let endless = self.list[number].endless.first().copied();
        self.repeat(number).or(endless.map(What::Cancel))
    }

    fn pick(&self, course: &mut Course, number: usize) -> Option<TaskId> {
        let known = &self.list[number].known;
        let choice = course.dice.usize(0..known.len().max(1));
        known.get(choice).copied()
    }

    fn submit(&mut self, course: &mut Course, number: usize) -> Option<What> {
        if let Some(what) = self.repeat(number) {
            return Some(what);
        }
        self.budget = self.budget.checked_sub(1)?;
        let client = &mut self.list[number];
        client.n_submitted += 1;
        let dice = &mut course.dice;
        let name = format!("{number}-{}", client.n_submitted);
        let mut acts = Vec::new();
        for _ in 0..dice.u32(1..=3) {
            acts.push(Act {
                runs: [dice.u64(0..2000), dice.u64(0..60_000)][usize::from(dice.u32(0..4) == 0)],
                code: i32::from(dice.u32(0..4) == 0),
            });
        }
        let is_endless = dice.u32(0..10) == 0;
        if is_endless {
            acts = vec![Act {
                runs: ENDLESS,
                code: 0,
            }];
        }
        let milli = |milli| Amount::from_milli(milli).unwrap_or_default();
        let mut demand = BTreeMap::from([("cpus".into(), milli(dice.u64(1..=4) * 500))]);
        if dice.bool() {
            demand.insert("mem".into(), milli(dice.u64(1..=256) * 1000));
        }
        if dice.u32(0..4) == 0 {
            demand.insert("db".into(), milli(dice.u64(1..=2) * 1000));
        }
        let last = dice.u32(1..=3);
        let spec = TaskSpec {
            queue: QUEUES[dice.usize(0..QUEUES.len())].into(),
            name: name.clone().into(),
            // What nobody knows of can't be cancelled.
            key: (dice.u32(0..10) < 7 || is_endless).then(|| name.into()),
            inbox: (dice.u32(0..10) < 9).then(|| inbox(number)),
            demand: Arc::new(demand),
            run: Run::Command(script::command(&acts).into()),
            env: BTreeMap::new(),
            priority: dice.i32(-1..=1),
            retries: dice.u32(0..3),
            timeout: (dice.u32(0..5) == 0).then(|| Duration::from_millis(dice.u64(500..20_000))),
            kill_grace: None,
            constraints: Arc::default(),
            array: (dice.u32(0..6) == 0).then_some(ArrayRange {
                first: 0,
                last,
                step: 1,
            }),
        };
        let waits = dice.u32(0..6) == 0;
        let after = waits.then(|| self.pick(course, number)).flatten();
        let digest = blake3::hash(format!("{spec:?} {after:?}").as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        Some(What::Submit(Box::new(NewTask {
            spec,
            after: after.map(After::Task).into_iter().collect(),
            digest: bytes,
        })))
    }

    /// Looks into its inbox; perhaps acknowledges what it saw, or what it saw long ago.
    fn pop(&mut self, course: &mut Course, number: usize, store: &dyn Reader) -> Option<What> {
        let client = &mut self.list[number];
        let limit = if course.is_calm {
            usize::MAX
        } else {
            course.dice.usize(1..5)
        };
        let Ok(deliveries) = store.inbox(&inbox(number), None, limit) else {
            return None;
        };
        for delivery in &deliveries {
            if delivery.token <= client.acknowledged {
                let what = format!(
                    "delivery {} comes again though acknowledged",
                    delivery.token
                );
                course.violate(what);
            }
            if self.forgotten.contains(&delivery.record.task) {
                course.violate(format!(
                    "{} is delivered and forgotten",
                    delivery.record.task
                ));
            }
            if !delivery.record.state.is_ended() {
                course.violate(format!("{} is delivered and lives", delivery.record.task));
            }
            client.seen.insert(delivery.token, delivery.record.task);
        }
        let last = deliveries.last()?.token;
        match course.dice.u32(0..4) {
            0 if !course.is_calm => None,
            1 if !course.is_calm => {
                let place = course.dice.usize(0..client.seen.len());
                client
                    .seen
                    .keys()
                    .nth(place)
                    .copied()
                    .map(What::Acknowledge)
            }
            _ => Some(What::Acknowledge(last)),
        }
    }

    /// A client learns what became of what it asked for.
    pub(super) fn answered(&mut self, course: &mut Course, answered: Answered) {
        let Answered { ask, answer } = answered;
        let is_last = ask.is_last;
        let client = &mut self.list[ask.client];
        match (ask.what, answer) {
            (What::Submit(task), Some(Ok(Reply::Submitted(accepted)))) => {
                self.accepted(course, ask.client, *task, &accepted);
            }
            (
                What::Submit(task),
                None | Some(Err(RequestError::Store(_) | RequestError::Stopping)),
            ) => {
                if task.spec.key.is_some() {
                    client.unanswered.push(*task);
                }
            }
            (What::Acknowledge(upto), Some(Ok(_))) => {
                client.acknowledged = client.acknowledged.max(upto);
            }
            (
                What::Cancel(task),
                Some(
                    Ok(_)
                    | Err(RequestError::Refused(
                        Refusal::AlreadyEnded { .. } | Refusal::UnknownTask { .. },
                    )),
                ),
            ) if is_last => client.endless.retain(|endless| *endless != task),
            (
                What::Cancel(_) | What::Retry(_),
                Some(
                    Ok(Reply::State(_))
                    | Err(RequestError::Refused(
                        Refusal::AlreadyEnded { .. } | Refusal::NotRetryable { .. },
                    )),
                ),
            )
            | (_, None | Some(Err(RequestError::Store(_) | RequestError::Stopping))) => {}
            (
                What::Cancel(task) | What::Retry(task),
                Some(Err(RequestError::Refused(Refusal::UnknownTask { .. }))),
            ) if self.forgotten.contains(&task) => {}
            (
                What::Submit(_) | What::Retry(_),
                Some(Err(RequestError::Refused(Refusal::UnknownQueue { queue, .. }))),
            ) if Configured::is_removable(&queue) => {}
            (
                What::Submit(task),
                Some(Err(RequestError::Refused(Refusal::UnknownDependency { .. }))),
            ) if task.after.iter().any(|after| match after {
                After::Task(task) => self.forgotten.contains(task),
                After::Key(_) => false,
            }) => {}
            (what, Some(answer)) => course.violate(format!("{what:?} is answered by {answer:?}")),
        }
    }

    /// A client learns which ids its task got.
    fn accepted(
        &mut self,
        course: &mut Course,
        client: usize,
        task: NewTask,
        accepted: &[Accepted],
    ) {
        let client = &mut self.list[client];
        let Some(accepted) = accepted.first() else {
            course.violate("an empty answer to a submission".to_owned());
            return;
        };
        let ids = (accepted.first.0..)
            .take(accepted.count as usize)
            .map(TaskId);
        let is_endless = task.spec.run == Run::Command(endless().into());
        for id in ids {
            if is_endless && !client.endless.contains(&id) {
                client.endless.push(id);
            }
            client.known.push(id);
            self.acknowledged.insert(id);
        }
        let is_kept = !self.forgotten.contains(&accepted.first);
        if let Some(key) = task.spec.key.filter(|_| is_kept) {
            let first = *self.by_key.entry(key.clone()).or_insert(accepted.first);
            if first != accepted.first {
                let now = accepted.first;
                course.violate(format!("key {key} was {first} and is {now}"));
            }
        }
    }

    /// How many times the end of a task was seen in an inbox.
    pub(super) fn n_seen(&self, task: TaskId) -> u32 {
        let seen = self.list.iter().flat_map(|client| client.seen.values());
        u32::try_from(seen.filter(|seen| **seen == task).count()).unwrap_or(u32::MAX)
    }

    /// What was told under each key.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, TaskId)> {
        self.by_key.iter().map(|(key, task)| (&**key, *task))
    }
}
