//! Facts to rows. One commit is one transaction; each fact costs a few statements on indexed rows.

use std::sync::Arc;

use apportion_policies::Amount;
use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Transaction, TransactionBehavior, params,
};

use super::audit;
use super::codec::{self, SpecTexts, duration_ms, duration_us, int, millis};
use super::error::unreadable;
use super::forget;
use crate::engine::{
    AttemptEnd, AttemptId, Fact, Outcome, Submission, TaskId, TaskState, Time, Usage,
};

/// Makes the facts durable, all or none. Says whether there is more to sweep of what was forgotten.
pub(super) fn commit(
    connection: &mut Connection,
    facts: &[Fact],
    sweeping: bool,
) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let writer = Writer {
        transaction: &transaction,
    };
    let mut rest = facts;
    while let [fact, after @ ..] = rest {
        rest = if writer.write_short(rest)? {
            &rest[2..]
        } else {
            writer.write(fact)?;
            after
        };
    }
    writer.write_next_id(facts)?;
    let left = sweeping && forget::sweep(&transaction)?;
    transaction.commit()?;
    Ok(left)
}

/// What the row of a submission tells about those of its tasks that have no row.
struct Unstarted {
    submission: i64,
    count: i64,
    queue: Arc<str>,
    state: String,
}

struct Writer<'a> {
    transaction: &'a Transaction<'a>,
}

impl Writer<'_> {
    fn statement(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        self.transaction.prepare_cached(sql)
    }

    /// Writes the first two of these facts at once, where they tell start and end of one attempt and the next tells
    /// what becomes of its task: most short tasks end so, and the state between would be overwritten by the same commit.
    fn write_short(&self, facts: &[Fact]) -> rusqlite::Result<bool> {
        let [
            Fact::Started {
                attempt,
                at: started_at,
            },
            Fact::AttemptEnded {
                attempt: ended,
                end,
                usage,
                at,
            },
            Fact::Ended { task, .. } | Fact::Requeued { task, .. },
            ..,
        ] = facts
        else {
            return Ok(false);
        };
        if attempt != ended || attempt.task != *task {
            return Ok(false);
        }
        self.attempt_ended(*attempt, Some(*started_at), end, *usage, *at)?;
        Ok(true)
    }

    fn write(&self, fact: &Fact) -> rusqlite::Result<()> {
        match fact {
            Fact::Submitted {
                submission,
                waiting,
            } => self.submitted(submission, *waiting),
            Fact::Unblocked { first, at: _ } => self.unblocked(*first),
            Fact::Launched {
                attempt,
                agent,
                queue: _,
                waited: _,
                at,
            } => self.launched(*attempt, agent, *at),
            Fact::Started { attempt, at } => self.started(*attempt, *at),
            Fact::TimedOut { attempt, at } => self.timed_out(*attempt, *at),
            Fact::AttemptEnded {
                attempt,
                end,
                usage,
                at,
            } => self.attempt_ended(*attempt, None, end, *usage, *at),
            Fact::Requeued {
                task,
                own_failure,
                not_before,
                at: _,
            } => self.requeued(*task, *own_failure, *not_before),
            Fact::Cancelling {
                task,
                reason,
                at: _,
            } => self.cancelling(*task, reason.as_deref()),
            Fact::Ended {
                task,
                outcome,
                queue: _,
                inbox,
                at,
            } => self.ended(*task, outcome, inbox.as_deref(), *at),
            Fact::Retried {
                task,
                submission: _,
                n_attempts,
                at: _,
            } => self.retried(*task, *n_attempts),
            Fact::InboxAcknowledged { inbox, upto, only } => {
                self.acknowledged(inbox, *upto, only.as_deref())
            }
            Fact::OutsideReported { resource, used, at } => self.outside(resource, *used, *at),
            Fact::BackendNoted { name, value } => self.noted(name, value.as_deref()),
            Fact::Audited(entry) => audit::write(self.transaction, entry),
            Fact::Forgotten {
                ended_before,
                firsts,
            } => {
                audit::forget_before(self.transaction, *ended_before)?;
                forget::mark(self.transaction, firsts)
            }
            // These only tell what is stored already.
            Fact::Restored(_)
            | Fact::RestoredEnded { .. }
            | Fact::RestoredDying { .. }
            | Fact::RestoredKey { .. }
            | Fact::RestoredNextId(_) => Ok(()),
        }
    }

    fn acknowledged(&self, inbox: &str, upto: u64, only: Option<&[u64]>) -> rusqlite::Result<()> {
        let Some(only) = only else {
            self.statement("DELETE FROM inbox WHERE inbox = ?1 AND seq <= ?2")?
                .execute(params![inbox, int(upto)])?;
            return Ok(());
        };
        let mut delete = self.statement("DELETE FROM inbox WHERE inbox = ?1 AND seq = ?2")?;
        for seq in only.iter().filter(|seq| **seq <= upto) {
            delete.execute(params![inbox, int(*seq)])?;
        }
        Ok(())
    }

    fn outside(&self, resource: &str, used: Amount, at: Time) -> rusqlite::Result<()> {
        self.statement(
            "INSERT OR REPLACE INTO outside(resource, used_milli, at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![resource, int(used.milli()), millis(at)])?;
        Ok(())
    }

    fn noted(&self, name: &str, value: Option<&str>) -> rusqlite::Result<()> {
        match value {
            Some(value) => self
                .statement("INSERT OR REPLACE INTO backend_notes(name, value) VALUES (?1, ?2)")?
                .execute(params![name, value])?,
            None => self
                .statement("DELETE FROM backend_notes WHERE name = ?1")?
                .execute(params![name])?,
        };
        Ok(())
    }

    /// Keeps the next id, which must grow even when the last submission is forgotten.
    fn write_next_id(&self, facts: &[Fact]) -> rusqlite::Result<()> {
        let ends = facts.iter().filter_map(|fact| {
            let Fact::Submitted { submission, .. } = fact else {
                return None;
            };
            Some(submission.end().0)
        });
        if let Some(next) = ends.max() {
            self.statement("UPDATE meta SET value = max(value, ?1) WHERE name = 'next_id'")?
                .execute([int(next)])?;
        }
        Ok(())
    }

    fn submitted(&self, submission: &Submission, waiting: bool) -> rusqlite::Result<()> {
        let spec = &submission.spec;
        let texts = SpecTexts::of(submission)?;
        let state = if waiting {
            TaskState::Waiting
        } else {
            TaskState::Queued
        };
        let first = int(submission.first.0);
        let count = i64::from(spec.count());
        self.statement(
            "INSERT INTO submissions(first, count, queue, state, name, key, inbox, demand, run, env, priority, \
             retries, timeout_ms, kill_grace_ms, constraints, array, after, digest, submitted_at, python) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        )?
        .execute(params![
            first,
            count,
            &*spec.queue,
            state.as_str(),
            &*spec.name,
            spec.key.as_deref(),
            spec.inbox.as_deref(),
            texts.demand,
            texts.run,
            texts.env,
            spec.priority,
            spec.retries,
            spec.timeout.map(duration_ms),
            spec.kill_grace.map(duration_ms),
            texts.constraints,
            texts.array,
            texts.after,
            submission.digest,
            millis(submission.submitted_at),
            texts.python,
        ])?;
        self.insert_unstarted(&spec.queue, state.as_str(), first, first + count - 1, first)
    }

    fn insert_unstarted(
        &self,
        queue: &str,
        state: &str,
        first: i64,
        last: i64,
        submission: i64,
    ) -> rusqlite::Result<()> {
        self.statement(
            "INSERT INTO unstarted(queue, state, first, last, submission) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![queue, state, first, last, submission])?;
        Ok(())
    }

    fn unblocked(&self, first: TaskId) -> rusqlite::Result<()> {
        let first = int(first.0);
        let Some(all) = self.find_unstarted(first)? else {
            return Err(no_submission(first));
        };
        self.statement("UPDATE submissions SET state = 'queued' WHERE first = ?1")?
            .execute([all.submission])?;
        self.statement(
            "UPDATE unstarted SET state = 'queued' \
             WHERE queue = ?1 AND state = 'waiting' AND first BETWEEN ?2 AND ?3",
        )?
        .execute(params![
            &*all.queue,
            all.submission,
            all.submission + all.count - 1
        ])?;
        self.statement(
            "UPDATE tasks SET state = 'queued' WHERE id BETWEEN ?1 AND ?2 AND state = 'waiting'",
        )?
        .execute([all.submission, all.submission + all.count - 1])?;
        Ok(())
    }

    /// The submission that a task belongs to.
    fn find_unstarted(&self, task: i64) -> rusqlite::Result<Option<Unstarted>> {
        self.statement(
            "SELECT first, count, queue, state FROM submissions WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
        )?
        .query_row([task], |row| {
            let queue: String = row.get(2)?;
            Ok(Unstarted { submission: row.get(0)?, count: row.get(1)?, queue: queue.into(), state: row.get(3)? })
        })
        .optional()
        .map(|found| found.filter(|all| task < all.submission + all.count))
    }

    /// Gives a task a row of its own. It must not have one.
    fn start(&self, task: i64, state: TaskState, n_attempts: u32) -> rusqlite::Result<()> {
        let Some(all) = self.find_unstarted(task)? else {
            return Err(no_submission(task));
        };
        self.statement(
            "INSERT INTO tasks(id, submission, queue, state, n_attempts) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![task, all.submission, &*all.queue, state.as_str(), n_attempts])?;
        if self.leave_range_first(task, &all)? {
            return Ok(());
        }
        let range = self
            .statement(
                "SELECT first, last FROM unstarted \
                 WHERE queue = ?1 AND state = ?2 AND first <= ?3 ORDER BY first DESC LIMIT 1",
            )?
            .query_row(params![&*all.queue, all.state, task], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((first, last)) = range.filter(|(_, last): &(i64, i64)| task <= *last) else {
            return Err(unreadable("unstarted", format!("without task {task}")));
        };
        self.statement("DELETE FROM unstarted WHERE queue = ?1 AND state = ?2 AND first = ?3")?
            .execute(params![&*all.queue, all.state, first])?;
        if first < task {
            self.insert_unstarted(&all.queue, &all.state, first, task - 1, all.submission)?;
        }
        if task < last {
            self.insert_unstarted(&all.queue, &all.state, task + 1, last, all.submission)?;
        }
        Ok(())
    }

    /// Takes a task from the range of unstarted ones that it is the first of, as most are. False if it is of none.
    fn leave_range_first(&self, task: i64, all: &Unstarted) -> rusqlite::Result<bool> {
        let sql = if all.count == 1 {
            "DELETE FROM unstarted WHERE queue = ?1 AND state = ?2 AND first = ?3 AND last = ?3"
        } else {
            "UPDATE unstarted SET first = ?3 + 1 WHERE queue = ?1 AND state = ?2 AND first = ?3 AND last > ?3"
        };
        let changed = self
            .statement(sql)?
            .execute(params![&*all.queue, all.state, task])?;
        Ok(changed > 0)
    }

    fn launched(&self, attempt: AttemptId, agent: &str, at: Time) -> rusqlite::Result<()> {
        let task = int(attempt.task.0);
        let changed = self
            .statement("UPDATE tasks SET state = 'launching', n_attempts = ?2, not_before = NULL WHERE id = ?1")?
            .execute(params![task, attempt.number])?;
        if changed == 0 {
            self.start(task, TaskState::Launching, attempt.number)?;
        }
        self.statement(
            "INSERT INTO attempts(task, number, agent, launched_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![task, attempt.number, agent, millis(at)])?;
        Ok(())
    }

    fn started(&self, attempt: AttemptId, at: Time) -> rusqlite::Result<()> {
        let task = int(attempt.task.0);
        self.statement(
            "UPDATE tasks SET state = 'running' WHERE id = ?1 AND n_attempts = ?2 AND state = 'launching'",
        )?
        .execute(params![task, attempt.number])?;
        self.statement("UPDATE attempts SET started_at = ?3 WHERE task = ?1 AND number = ?2")?
            .execute(params![task, attempt.number, millis(at)])?;
        Ok(())
    }

    fn timed_out(&self, attempt: AttemptId, at: Time) -> rusqlite::Result<()> {
        self.statement("UPDATE attempts SET timed_out_at = ?3 WHERE task = ?1 AND number = ?2")?
            .execute(params![int(attempt.task.0), attempt.number, millis(at)])?;
        Ok(())
    }

    fn attempt_ended(
        &self,
        attempt: AttemptId,
        started_at: Option<Time>,
        end: &AttemptEnd,
        usage: Usage,
        at: Time,
    ) -> rusqlite::Result<()> {
        let (ending, detail) = codec::write_end(end);
        self.statement(
            "UPDATE attempts SET ended_at = ?3, ending = ?4, ending_detail = ?5, wall_us = ?6, cpu_us = ?7, \
             memory_peak_bytes = ?8, started_at = coalesce(?9, started_at) WHERE task = ?1 AND number = ?2",
        )?
        .execute(params![
            int(attempt.task.0),
            attempt.number,
            millis(at),
            ending,
            detail,
            duration_us(usage.wall),
            duration_us(usage.cpu),
            int(usage.memory_peak_bytes),
            started_at.map(millis),
        ])?;
        Ok(())
    }

    fn requeued(&self, task: TaskId, own_failure: bool, not_before: Time) -> rusqlite::Result<()> {
        self.statement(
            "UPDATE tasks SET state = 'queued', n_failures = n_failures + ?2, n_losses = n_losses + ?3, \
             not_before = ?4 WHERE id = ?1",
        )?
        .execute(params![int(task.0), own_failure, !own_failure, millis(not_before)])?;
        Ok(())
    }

    fn cancelling(&self, task: TaskId, reason: Option<&str>) -> rusqlite::Result<()> {
        self.statement("UPDATE tasks SET state = 'cancelling', cancel_reason = ?2 WHERE id = ?1")?
            .execute(params![int(task.0), reason])?;
        Ok(())
    }

    fn ended(
        &self,
        task: TaskId,
        outcome: &Outcome,
        inbox: Option<&str>,
        at: Time,
    ) -> rusqlite::Result<()> {
        let id = int(task.0);
        let state = TaskState::from(outcome.kind);
        if self.write_outcome(id, state, outcome, at)? == 0 {
            self.start(id, state, 0)?;
            self.write_outcome(id, state, outcome, at)?;
        }
        if let Some(inbox) = inbox {
            self.statement("INSERT INTO inbox(inbox, task) VALUES (?1, ?2)")?
                .execute(params![inbox, id])?;
        }
        Ok(())
    }

    fn write_outcome(
        &self,
        task: i64,
        state: TaskState,
        outcome: &Outcome,
        at: Time,
    ) -> rusqlite::Result<usize> {
        let (cause, detail) = outcome.cause.as_ref().map(codec::write_cause).unzip();
        self.statement(
            "UPDATE tasks SET state = ?2, not_before = NULL, cancel_reason = NULL, ended_at = ?3, cause = ?4, \
             cause_detail = ?5, exit_code = ?6, wall_us = ?7, cpu_us = ?8, memory_peak_bytes = ?9, \
             value_truncated = ?10, value = ?11, value_attempt = ?12, value_bytes = ?13 WHERE id = ?1",
        )?
        .execute(params![
            task,
            state.as_str(),
            millis(at),
            cause,
            detail.flatten(),
            outcome.exit_code,
            duration_us(outcome.usage.wall),
            duration_us(outcome.usage.cpu),
            int(outcome.usage.memory_peak_bytes),
            outcome.value.truncated,
            &*outcome.value.bytes,
            outcome.value.file.map(|file| file.attempt),
            outcome.value.file.map(|file| int(file.n_bytes)),
        ])
    }

    fn retried(&self, task: TaskId, n_attempts: u32) -> rusqlite::Result<()> {
        let id = int(task.0);
        // What was delivered and not yet acknowledged stays as it was delivered.
        self.statement(
            "UPDATE inbox SET (state, n_attempts, ended_at, cause, cause_detail, exit_code, wall_us, cpu_us, \
             memory_peak_bytes, value_truncated, value, value_attempt, value_bytes) = (SELECT state, n_attempts, \
             ended_at, cause, cause_detail, exit_code, wall_us, cpu_us, memory_peak_bytes, value_truncated, value, \
             value_attempt, value_bytes FROM tasks WHERE id = ?1) \
             WHERE task = ?1 AND ended_at IS NULL",
        )?
        .execute([id])?;
        self.statement(
            "UPDATE tasks SET state = 'queued', n_attempts = ?2, n_failures = 0, n_losses = 0, not_before = NULL, \
             cancel_reason = NULL, ended_at = NULL, cause = NULL, cause_detail = NULL, exit_code = NULL, \
             wall_us = NULL, cpu_us = NULL, memory_peak_bytes = NULL, value_truncated = NULL, value = NULL, \
             value_attempt = NULL, value_bytes = NULL WHERE id = ?1",
        )?
        .execute(params![id, n_attempts])?;
        Ok(())
    }
}

/// The engine tells of a task that was never submitted, or the file has lost a row.
fn no_submission(task: i64) -> rusqlite::Error {
    unreadable("submissions", format!("without task {task}"))
}
