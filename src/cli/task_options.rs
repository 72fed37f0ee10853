//! The options that describe a task, shared by `submit` and `run`.

use apportion_policies::Amount;
use serde_json::{Map, Value, json};

use crate::config::units;

/// What a task is like. What is left away is decided by the daemon's configuration.
#[derive(Debug, clap::Args)]
pub(super) struct TaskOptions {
    /// The path of a leaf queue, such as maps/render [default: default].
    #[arg(long, short, value_name = "PATH")]
    queue: Option<String>,
    /// A name for people.
    #[arg(long, short, value_name = "TEXT")]
    name: Option<String>,
    /// How many cpus it consumes, such as 2 or 0.5.
    #[arg(long, value_name = "N", value_parser = parse_cpus)]
    cpus: Option<Amount>,
    /// How much memory it consumes: 4GiB, 512MiB, or a plain number of MiB.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
    mem: Option<Amount>,
    /// How much of another resource it consumes, such as db_connections=3; may be repeated.
    #[arg(long, short, value_name = "NAME=AMOUNT", value_parser = parse_resource)]
    resource: Vec<(String, Amount)>,
    /// Higher goes first within the queue.
    #[arg(long, short, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// How many failures of its own are followed by another attempt.
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// The longest an attempt may run, such as 2h or 90s.
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    timeout: Option<String>,
    /// The time between SIGTERM and SIGKILL when it is ended.
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    kill_grace: Option<String>,
    /// A variable for its environment; may be repeated. Nothing of this environment is passed on by itself.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = parse_pair)]
    env: Vec<(String, String)>,
    /// A task that must succeed first, by its id or its key; may be repeated.
    #[arg(long, value_name = "ID|KEY")]
    after: Vec<String>,
    /// Makes the submission idempotent: the same task with the same key is taken in once.
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// Where the finished task waits for whoever pops it.
    #[arg(long, value_name = "NAME")]
    inbox: Option<String>,
    /// An attribute that the agent must have, such as rack=r1; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    constraint: Vec<(String, String)>,
}

impl TaskOptions {
    /// The task object of the API that says the same, without what is to run.
    pub(super) fn to_object(&self) -> Map<String, Value> {
        let mut object = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        put("queue", text(&self.queue));
        put("name", text(&self.name));
        put("key", text(&self.key));
        put("inbox", text(&self.inbox));
        put("timeout", text(&self.timeout));
        put("kill_grace", text(&self.kill_grace));
        put("priority", self.priority.map(|number| json!(number)));
        put("retries", self.retries.map(|number| json!(number)));
        put("demand", filled(self.demand()));
        put("env", filled(texts(&self.env)));
        put("constraints", filled(texts(&self.constraint)));
        let after: Vec<Value> = self.after.iter().map(|after| dependency(after)).collect();
        put("after", (!after.is_empty()).then_some(Value::Array(after)));
        object
    }

    fn demand(&self) -> Map<String, Value> {
        let cpus = self.cpus.map(|amount| ("cpus", amount));
        let mem = self.mem.map(|amount| ("mem", amount));
        let others = self
            .resource
            .iter()
            .map(|(name, amount)| (name.as_str(), *amount));
        let amounts = others.chain(cpus).chain(mem);
        amounts
            .map(|(name, amount)| (name.to_owned(), quantity(name, amount)))
            .collect()
    }
}

/// A number, for sizes a text with its unit.
fn quantity(resource: &str, amount: Amount) -> Value {
    if units::is_size(resource) {
        return json!(units::format_amount(resource, amount));
    }
    match amount.milli() {
        milli if milli.is_multiple_of(1000) => json!(milli / 1000),
        // An amount has at most 15 digits, so the nearest float is written as the amount itself.
        milli => json!(milli as f64 / 1000.0),
    }
}

/// What consists of digits is an id, everything else a key.
fn dependency(after: &str) -> Value {
    after
        .parse::<u64>()
        .map_or_else(|_| json!(after), |id| json!(id))
}

fn texts(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect()
}

fn filled(map: Map<String, Value>) -> Option<Value> {
    (!map.is_empty()).then_some(Value::Object(map))
}

fn parse_cpus(text: &str) -> Result<Amount, units::UnitError> {
    units::parse_amount("cpus", text)
}

fn parse_resource(text: &str) -> Result<(String, Amount), String> {
    let (name, amount) = parse_pair(text)?;
    let amount = units::parse_amount(&name, &amount).map_err(|error| error.to_string())?;
    Ok((name, amount))
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// The daemon reads durations itself; here they are only checked.
fn parse_span(text: &str) -> Result<String, units::UnitError> {
    units::parse_duration(text).map(|_| text.to_owned())
}
