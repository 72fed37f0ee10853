//! `apportion token`: makes, lists and revokes tokens, in the data directory and beside a running daemon.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apportion_policies::Registry;
use clap::Subcommand;
use serde_json::{Value, json};

use super::data_dir::DataDir;
use super::output::{Output, table};
use super::{CliError, exit, format};
use crate::access::{self, Kept, Pattern, Queues, Right, Secret, Standing, TokenFileError};
use crate::clock;
use crate::engine::Time;

/// The most characters of a name.
const NAME_MAX: usize = 64;

/// Make, list and revoke tokens: who may do what in which queues. Run it on the daemon's machine, as its user; it
/// takes effect at once. As soon as there is a token, every call needs one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    of: DataDir,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(New),
    List(List),
    Revoke(Revoke),
}

/// Make a token and print it. It is shown this once; only a hash of it is kept.
#[derive(Debug, clap::Args)]
struct New {
    /// What it is called, in lists and in the audit trail.
    #[arg(long, value_parser = parse_name)]
    name: String,
    /// Where its rights hold: queues such as maps, maps/* for all below it, * for all; with commas between.
    #[arg(long, value_delimiter = ',', required = true, value_name = "QUEUES")]
    queues: Vec<Pattern>,
    /// What it allows: read, submit, cancel (also what others submitted), administer; with commas between.
    #[arg(long, value_delimiter = ',', required = true, value_name = "RIGHTS")]
    rights: Vec<Right>,
    /// After how long it counts no more, such as 30d; without it, it counts until it is revoked.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    expires: Option<Duration>,
}

/// Show all tokens: what they are called, what they allow, and whether they count.
#[derive(Debug, clap::Args)]
struct List {}

/// Revoke a token: from now on it counts no more, and streams that it opened end.
#[derive(Debug, clap::Args)]
struct Revoke {
    /// What it is called, or its id.
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) fn execute(
    args: &Args,
    registry: &Registry,
    json: bool,
    out: &mut Output<'_>,
    now: SystemTime,
) -> Result<u8, CliError> {
    let data_dir = args.of.find(registry)?;
    match &args.command {
        Command::New(new) => {
            let (secret, kept) = make(new)?;
            access::change(&data_dir, |tokens| add(tokens, kept.clone()))?;
            if json {
                let mut shown = token_json(&kept);
                shown["token"] = secret.reveal().into();
                out.json(&shown)?;
            } else {
                out.line(secret.reveal())?;
                out.note(format_args!(
                    "token '{}' may {} in {}; keep it, it is not shown again",
                    kept.name,
                    words(kept.rights.as_slice()),
                    words(kept.queues.patterns()),
                ))?;
            }
        }
        Command::List(_) => {
            let tokens = access::load(&data_dir)?;
            let mut all: Vec<&Kept> = tokens.iter().flat_map(|tokens| tokens.iter()).collect();
            all.sort_by_key(|kept| (kept.made_at_ms, &kept.id));
            if json {
                let all: Vec<Value> = all.into_iter().map(token_json).collect();
                out.json(&json!({"guarded": tokens.is_some(), "tokens": all}))?;
            } else if tokens.is_none() {
                out.note("there are no tokens: whoever reaches the daemon may do everything. Make one with `apportion token new`")?;
            } else {
                print(&all, out, now)?;
            }
        }
        Command::Revoke(revoke) => {
            let revoked = access::change(&data_dir, |tokens| mark_revoked(tokens, &revoke.name))?;
            if json {
                out.json(&token_json(&revoked))?;
            } else {
                out.line(format_args!("token '{}' is revoked", revoked.name))?;
            }
        }
    }
    Ok(exit::DONE)
}

fn make(new: &New) -> Result<(Secret, Kept), CliError> {
    let secret = Secret::generate().map_err(|error| {
        CliError::Serve(format!("the system gives no randomness: {error}").into())
    })?;
    let now = clock::now();
    let queues = Queues::new(new.queues.iter().cloned());
    let kept = Kept {
        expires_at_ms: new.expires.map(|span| now.after(span).0),
        ..Kept::of(&secret, &new.name, queues, &new.rights, now)
    };
    Ok((secret, kept))
}

fn add(tokens: &mut Vec<Kept>, new: Kept) -> Result<(), CliError> {
    let counts = |kept: &&Kept| kept.standing(clock::now()) == Standing::Valid;
    if tokens
        .iter()
        .filter(counts)
        .any(|kept| kept.name == new.name)
    {
        return Err(CliError::Usage(format!(
            "there is a token '{}' already; revoke it first, or choose another name",
            new.name
        )));
    }
    tokens.push(new);
    Ok(())
}

fn mark_revoked(tokens: &mut [Kept], name: &str) -> Result<Kept, CliError> {
    let now = clock::now();
    let is_meant =
        |kept: &&mut Kept| (*kept.name == *name || kept.id == name) && kept.revoked_at_ms.is_none();
    // Of several of one name the last one is the one that may still count.
    let Some(found) = tokens.iter_mut().rev().find(is_meant) else {
        return Err(CliError::Usage(format!(
            "there is no token '{name}' that is not revoked; `apportion token list` shows all"
        )));
    };
    found.revoked_at_ms = Some(now.0);
    Ok(found.clone())
}

fn print(tokens: &[&Kept], out: &mut Output<'_>, now: SystemTime) -> Result<(), CliError> {
    let mut rows = table(&["NAME", "ID", "QUEUES", "RIGHTS", "MADE", "EXPIRES", "STATE"]);
    for kept in tokens {
        let time = |at_ms: u64| format::point(Some(&format::rfc3339(at_ms)));
        rows.add_row(vec![
            kept.name.to_string(),
            kept.id.clone(),
            words(kept.queues.patterns()),
            words(kept.rights.as_slice()),
            time(kept.made_at_ms),
            kept.expires_at_ms.map_or_else(|| "never".to_owned(), time),
            kept.standing(time_of(now)).as_str().to_owned(),
        ]);
    }
    out.table(&mut rows)?;
    Ok(())
}

fn time_of(now: SystemTime) -> Time {
    let since_epoch = now.duration_since(UNIX_EPOCH);
    Time::default().after(since_epoch.unwrap_or_default())
}

fn token_json(kept: &Kept) -> Value {
    json!({
        "id": kept.id,
        "name": kept.name,
        "queues": kept.queues,
        "rights": kept.rights,
        "made_at": format::rfc3339(kept.made_at_ms),
        "expires_at": kept.expires_at_ms.map(format::rfc3339),
        "revoked_at": kept.revoked_at_ms.map(format::rfc3339),
        "state": kept.standing(clock::now()).as_str(),
    })
}

fn words(parts: &[impl ToString]) -> String {
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    parts.join(",")
}

fn parse_name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty()
        && text.len() <= NAME_MAX
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '/' | '+'));
    match is_name {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "write letters, digits and . - _ @ / +, at most {NAME_MAX}"
        )),
    }
}

impl From<TokenFileError> for CliError {
    fn from(error: TokenFileError) -> Self {
        Self::Serve(Box::new(error))
    }
}
