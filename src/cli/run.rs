//! `apportion run`: submits a task, shows what it writes while it runs, and ends as it ended.

use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::follow::{Follower, LogName, Step};
use super::output::Output;
use super::task_options::TaskOptions;
use super::wire::{Accepted, State, Task};
use super::{CliError, Context, exit, format, submit};

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
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    // Before the submission, so that no task is left behind by an interrupt in between.
    let mut interrupts = Interrupts::listen()?;
    let object = submit::with_command(args.options.to_object(), &args.command);
    let answer = context
        .client
        .post("/v1/tasks", &Value::Object(object))
        .await?;
    let accepted: Accepted = context.client.read(answer)?;
    let id = submit::only(&accepted, context)?;
    let shown = show(id, &mut interrupts, context).await;
    context.out.end_progress();
    match &shown {
        // Whoever read the output has gone away, so the work is for nobody.
        Err(error) if error.is_broken_pipe() => {
            cancel(id, "nobody reads its output", context).await?
        }
        Err(_) => context.out.note(format_args!(
            "task {id} was submitted; `apportion wait {id}` waits for it"
        ))?,
        Ok(_) => {}
    }
    shown
}

/// Shows the output of a task until its end, and gives the exit code.
async fn show(
    id: u64,
    interrupts: &mut Interrupts,
    context: &mut Context<'_, '_>,
) -> Result<u8, CliError> {
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
                    let hint = format!("task {id} is being cancelled; `apportion task {id}` shows it");
                    context.out.note(hint)?;
                    return Ok(exit::INTERRUPTED);
                }
                was_interrupted = true;
                context.out.note(format_args!("interrupted; cancelling task {id}"))?;
                cancel(id, "`apportion run` was interrupted", context).await?;
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
    let was_cancelled = was_interrupted && task.state == State::Cancelled;
    Ok(if was_cancelled {
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

async fn cancel(id: u64, reason: &str, context: &Context<'_, '_>) -> Result<(), CliError> {
    let reason = serde_json::json!({"reason": reason});
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
    let (id, state) = (task.id, task.state.as_str());
    let message = match task
        .attempts
        .last()
        .filter(|attempt| attempt.ended_at.is_none())
    {
        // Whether it is still launching or runs already isn't looked at again while its output is read.
        Some(attempt) if attempt.attempt > 1 => {
            format!(
                "task {id} on {}, attempt {}",
                attempt.agent, attempt.attempt
            )
        }
        Some(attempt) => format!("task {id} on {}", attempt.agent),
        None => format!("task {id} {state} in {}", task.queue),
    };
    out.progress(message, 0, None);
}

/// The exit code that repeats how the task ended; what the code can't say is said on standard error.
fn exit_code(task: &Task, out: &mut Output<'_>) -> Result<u8, CliError> {
    if task.state == State::Succeeded {
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
            u8::try_from(SIGNAL_BASE.saturating_add(signal)).unwrap_or(exit::TASK_FAILED)
        }
        _ => exit::TASK_FAILED,
    };
    out.note(ending(task))?;
    Ok(code)
}

/// `task 7 failed: ran longer than its timeout`
pub(super) fn ending(task: &Task) -> String {
    let (id, state) = (task.id, task.state.as_str());
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
