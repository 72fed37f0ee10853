//! `apportion run`: submits a task, shows what it writes while it runs, and ends as it ended.

use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::follow::{Follower, LogName, Step};
use super::output::Output;
use super::task_options::TaskOptions;
use super::wire::{Accepted, Task};
use super::{CliError, Context, exit, format, submit};
use crate::engine::TaskState;

/// What a shell adds to a signal's number to make an exit code.
const SIGNAL_BASE: i32 = 128;

/// Run a command as a task, show its output, and exit as it did.
///
/// The exit code is the task's own, or 128 and the number of the signal that ended it. A task that ended in
/// another way (cancelled, timed out, out of memory, not started) gives 1, and the reason on standard error.
/// Ctrl-C cancels the task; a second one leaves at once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    options: TaskOptions,
    /// The command and its arguments; not seen by a shell. For a shell line: -- sh -c 'LINE'
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    command: Vec<String>,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let mut interrupts = Interrupts::listen()?;
    let object = submit::with_command(args.options.to_object(), &args.command);
    let answer = context
        .client
        .post("/v1/tasks", &Value::Object(object))
        .await?;
    let accepted: Accepted = context.client.read(answer)?;
    let id = submit::only(&accepted, context)?;
    let logs: &[LogName] = if context.json {
        &[]
    } else {
        &[LogName::Stdout, LogName::Stderr]
    };
    let mut follower = Follower::new(&context.client, id, logs, 0).await;
    let mut was_interrupted = false;
    let task = loop {
        let step = tokio::select! {
            step = follower.next() => step?,
            () = interrupts.next() => {
                if was_interrupted {
                    context.out.note(format_args!("task {id} is being cancelled; `apportion task {id}` shows it"))?;
                    return Ok(exit::INTERRUPTED);
                }
                was_interrupted = true;
                cancel(id, context).await?;
                continue;
            }
        };
        match step {
            Step::Changed(task) => show_progress(&task, context.out),
            Step::Wrote(LogName::Stdout, bytes) => context.out.stdout(&bytes)?,
            Step::Wrote(LogName::Stderr, bytes) => context.out.stderr(&bytes)?,
            Step::Ended(task) => break task,
        }
    };
    context.out.end_progress();
    if context.json {
        let task = context.client.get(&format!("/v1/tasks/{id}"), &[]).await?;
        context.out.json(&task)?;
    }
    let code = exit_code(&task, context.out)?;
    Ok(if was_interrupted && task.state.0 == TaskState::Cancelled {
        exit::INTERRUPTED
    } else {
        code
    })
}

/// Ctrl-C and SIGTERM.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            interrupt,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn cancel(id: u64, context: &mut Context<'_, '_>) -> Result<(), CliError> {
    context
        .out
        .note(format_args!("interrupted; cancelling task {id}"))?;
    let reason = serde_json::json!({"reason": "`apportion run` was interrupted"});
    match context
        .client
        .post(&format!("/v1/tasks/{id}/cancel"), &reason)
        .await
    {
        // It ended in the meantime; how, the next step tells.
        Err(super::client::ClientError::Refused(refused)) if refused.code == "already_ended" => {
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

fn show_progress(task: &Task, out: &mut Output<'_>) {
    let (id, state) = (task.id, task.state.0.as_str());
    let message = match task
        .attempts
        .last()
        .filter(|attempt| attempt.ended_at.is_none())
    {
        Some(attempt) if attempt.attempt > 1 => {
            format!(
                "task {id} {state} on {}, attempt {}",
                attempt.agent, attempt.attempt
            )
        }
        Some(attempt) => format!("task {id} {state} on {}", attempt.agent),
        None => format!("task {id} {state} in {}", task.queue),
    };
    out.progress(message, 0, None);
}

/// The exit code that repeats how the task ended; what the code can't say is said on standard error.
fn exit_code(task: &Task, out: &mut Output<'_>) -> Result<u8, CliError> {
    if task.state.0 == TaskState::Succeeded {
        return Ok(exit::DONE);
    }
    let outcome = task.outcome.as_ref();
    let cause = outcome.and_then(|outcome| outcome.cause.as_ref());
    let word = cause.map_or("", |cause| cause.code.as_str());
    let code = match (
        word,
        outcome.and_then(|it| it.exit_code),
        outcome.and_then(|it| it.signal),
    ) {
        // The command has spoken for itself.
        ("exited", Some(code), _) => {
            return Ok(u8::try_from(code & 0xff).unwrap_or(exit::TASK_FAILED));
        }
        ("signalled", _, Some(signal)) => {
            u8::try_from(SIGNAL_BASE + signal).unwrap_or(exit::TASK_FAILED)
        }
        _ => exit::TASK_FAILED,
    };
    out.note(ending(task))?;
    Ok(code)
}

/// `task 7 failed: ran longer than its timeout`
pub(super) fn ending(task: &Task) -> String {
    let (id, state) = (task.id, task.state.0.as_str());
    let cause = task
        .outcome
        .as_ref()
        .and_then(|outcome| outcome.cause.as_ref());
    match cause.map(|cause| cause.message.as_str()) {
        // A cause that begins with the state's own word would only repeat it.
        Some(message) if message.starts_with(state) => format!("task {id} {message}"),
        Some(message) => format!("task {id} {state}: {message}"),
        None => match task
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.wall_seconds)
        {
            Some(wall) => format!("task {id} {state} in {}", format::seconds(wall)),
            None => format!("task {id} {state}"),
        },
    }
}
