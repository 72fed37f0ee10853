//! The command line: one file per command. Commands that talk to the daemon do so over its HTTP API.
//!
//! Exit codes: 0 done, 1 the task failed, 2 usage, 3 the daemon refused or can't be reached. `run` ends
//! with its task's own exit code, or 128 and the signal's number.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};

mod agents;
mod audit;
mod backup;
mod cancel;
mod check;
mod client;
mod completions;
mod connection;
mod data_dir;
mod error;
mod events;
mod executor;
mod explain;
mod follow;
mod format;
mod ids;
mod logs;
mod output;
mod queues;
mod resources;
mod restore;
mod result;
mod retry;
mod run;
mod serve;
mod simulate;
mod submit;
mod task;
mod task_options;
mod tasks;
mod test_faults;
mod token;
mod top;
mod wait;
mod wire;

use apportion_policies::Registry;

use self::client::Client;
use self::connection::Connection;
use self::error::{CliError, exit};
use self::output::Output;
use crate::clock;

const EXAMPLES: &str = "\
Examples:
  apportion serve                                        start the daemon with its defaults
  apportion run -- make -j4                              run a command as a task and show its output
  apportion submit --queue maps --cpus 2 -- render 7 3   submit a task and print its id
  apportion submit --array 0-99 -- sh -c 'work $APPORTION_ARRAY_INDEX'
  apportion wait 7 && apportion result 7                 wait for a task and print its value
  apportion queues                                       who uses what
  apportion top                                          the same, live
  apportion simulate scenario.toml                       what the policies do in a scripted case

Exit codes: 0 done, 1 the task failed, 2 usage, 3 the daemon refused or can't be reached;
`run` ends with its task's own exit code, or with 128 and the number of the signal that ended it.";

/// A fair-share, multi-queue batch scheduler.
#[derive(Debug, Parser)]
#[command(name = "apportion", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    connection: Connection,
    /// Print JSON instead of text.
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it in a process")]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    #[command(hide = true)]
    Executor(executor::Args),
    Simulate(simulate::Args),
    Token(token::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    #[command(flatten)]
    Client(ClientCommand),
    #[command(hide = true)]
    TestFaults(test_faults::Args),
    Completions(completions::Args),
}

/// The commands that talk to the daemon.
#[derive(Debug, Subcommand)]
enum ClientCommand {
    Run(run::Args),
    Submit(submit::Args),
    Tasks(tasks::Args),
    Task(task::Args),
    Queues(queues::Args),
    Agents(agents::Args),
    Resources(resources::Args),
    Wait(wait::Args),
    Result(result::Args),
    Logs(logs::Args),
    Cancel(cancel::Args),
    Retry(retry::Args),
    Explain(explain::Args),
    Audit(audit::Args),
    Top(top::Args),
}

/// What every command that talks to the daemon works with.
struct Context<'a, 'o> {
    client: Client,
    out: &'a mut Output<'o>,
    /// Whether to print JSON.
    json: bool,
    /// When the command began, for ages.
    now: SystemTime,
}

/// Runs the command line of this process, with these policies.
#[must_use]
pub fn main(registry: &Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell where even this fails.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                exit::USAGE
            } else {
                exit::DONE
            });
        }
    };
    let now = UNIX_EPOCH + Duration::from_millis(clock::now().0);
    let (mut stdout, mut stderr) = (std::io::stdout(), std::io::stderr());
    let mut out = Output::of_process(&mut stdout, &mut stderr);
    ExitCode::from(execute(cli, registry, &mut out, now))
}

/// Runs a command and gives its exit code; what went wrong has been told then.
fn execute(cli: Cli, registry: &Registry, out: &mut Output<'_>, now: SystemTime) -> u8 {
    let done = dispatch(cli, registry, out, now);
    out.end_progress();
    done.unwrap_or_else(|error| {
        if !error.is_broken_pipe() {
            // Nobody is left to tell where even this fails.
            let _ = if let CliError::Config(errors) = &error {
                // Each line of it begins with its place, as of a compiler.
                out.stderr(format!("{errors}\n").as_bytes())
            } else {
                out.note(&error)
            };
        }
        error.exit_code()
    })
}

fn dispatch(
    cli: Cli,
    registry: &Registry,
    out: &mut Output<'_>,
    now: SystemTime,
) -> Result<u8, CliError> {
    let command = match &cli.command {
        Command::Serve(args) => return serve::execute(args, registry),
        Command::Check(args) => return check::execute(args, registry, cli.json, out),
        Command::Executor(args) => return executor::execute(args),
        Command::Simulate(args) => return simulate::execute(args, registry, cli.json, out),
        Command::Token(args) => return token::execute(args, registry, cli.json, out, now),
        Command::Backup(args) => return backup::execute(args, registry, cli.json, out, now),
        Command::Restore(args) => return restore::execute(args, registry, cli.json, out),
        Command::TestFaults(args) => return test_faults::execute(args, cli.json, out),
        Command::Completions(args) => return completions::execute(args, out),
        Command::Client(command) => command,
    };
    let client = Client::new(&cli.connection).map_err(CliError::Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(talk(
        command,
        &mut Context {
            client,
            out,
            json: cli.json,
            now,
        },
    ))
}

/// Runs a command that talks to the daemon.
async fn talk(command: &ClientCommand, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    match command {
        ClientCommand::Run(args) => run::execute(args, context).await,
        ClientCommand::Submit(args) => submit::execute(args, context).await,
        ClientCommand::Tasks(args) => tasks::execute(args, context).await,
        ClientCommand::Task(args) => task::execute(args, context).await,
        ClientCommand::Queues(args) => queues::execute(args, context).await,
        ClientCommand::Agents(args) => agents::execute(args, context).await,
        ClientCommand::Resources(args) => resources::execute(args, context).await,
        ClientCommand::Wait(args) => wait::execute(args, context).await,
        ClientCommand::Result(args) => result::execute(args, context).await,
        ClientCommand::Logs(args) => logs::execute(args, context).await,
        ClientCommand::Cancel(args) => cancel::execute(args, context).await,
        ClientCommand::Retry(args) => retry::execute(args, context).await,
        ClientCommand::Explain(args) => explain::execute(args, context).await,
        ClientCommand::Audit(args) => audit::execute(args, context).await,
        ClientCommand::Top(args) => top::execute(args, context).await,
    }
}

#[cfg(test)]
mod tests;
