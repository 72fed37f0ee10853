//! `apportion submit`: hands tasks in and prints their ids.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use serde_json::{Map, Value, json};

use super::client::{ClientError, Refused};
use super::ids::IdRange;
use super::task_options::TaskOptions;
use super::wire::{Accepted, AcceptedTask};
use super::{CliError, Context, exit};

/// The most tasks that the daemon takes in one call.
const CALL_TASKS_MAX: usize = 10_000;
/// About the most bytes sent in one call, well below the daemon's usual limit.
const CALL_BYTES_MAX: usize = 4 << 20;

/// Submit a task, an array of tasks, or a file of tasks, and print the ids.
///
/// An array prints the range of its ids, such as 7-106, which wait, cancel and retry take as it is.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    options: TaskOptions,
    /// Make an array of tasks, one for each index: 0-99, or 0-98:2 for every second.
    #[arg(long, value_name = "FIRST-LAST[:STEP]")]
    array: Option<String>,
    /// A file of task objects as JSON, one a line; - for standard input. The other options say what a line
    /// leaves away. Each call of up to 10,000 lines is taken in whole or not at all.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["command", "array"])]
    file: Option<String>,
    /// The command and its arguments; not seen by a shell. For a shell line: -- sh -c 'LINE'
    #[arg(required_unless_present = "file", value_name = "CMD")]
    #[arg(trailing_var_arg = true)]
    command: Vec<String>,
}

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    let mut object = args.options.to_object();
    match &args.file {
        Some(name) if name == "-" => {
            FileOfTasks::new("standard input", object)
                .submit(io::stdin().lock(), context)
                .await?;
        }
        Some(name) => {
            let file = File::open(name);
            let file = file.map_err(|source| CliError::Input {
                name: name.clone(),
                source,
            })?;
            FileOfTasks::new(name, object)
                .submit(BufReader::new(file), context)
                .await?;
        }
        None => {
            if let Some(array) = &args.array {
                object.insert("array".to_owned(), json!(array));
            }
            let object = with_command(object, &args.command);
            let answer = context
                .client
                .post("/v1/tasks", &Value::Object(object))
                .await?;
            print(answer, context)?;
        }
    }
    Ok(exit::DONE)
}

/// The task object with what it runs.
pub(super) fn with_command(
    mut object: Map<String, Value>,
    command: &[String],
) -> Map<String, Value> {
    object.insert("run".to_owned(), json!({"argv": command}));
    object
}

/// The id of a single task that was submitted.
pub(super) fn only(accepted: &Accepted, context: &mut Context<'_, '_>) -> Result<u64, CliError> {
    match accepted.tasks[..] {
        [task] => {
            note_known(task, context)?;
            Ok(task.id)
        }
        _ => Err(CliError::Usage(
            "the daemon answered with another number of tasks than one".into(),
        )),
    }
}

/// Prints the ids of an answer, one line for each task object.
fn print(answer: Value, context: &mut Context<'_, '_>) -> Result<(), CliError> {
    if context.json {
        return Ok(context.out.json(&answer)?);
    }
    let accepted: Accepted = context.client.read(answer)?;
    let mut lines = String::new();
    for task in &accepted.tasks {
        lines.push_str(&format!("{}\n", IdRange::of(task.id, task.count)));
    }
    context.out.stdout(lines.as_bytes())?;
    for task in accepted.tasks {
        note_known(task, context)?;
    }
    Ok(())
}

fn note_known(task: AcceptedTask, context: &mut Context<'_, '_>) -> io::Result<()> {
    if task.created {
        return Ok(());
    }
    context.out.note(format_args!(
        "task {} had been submitted before with the same key",
        task.id
    ))
}

/// A file with a task object on each line.
struct FileOfTasks<'a> {
    name: &'a str,
    /// What a line leaves away.
    defaults: Map<String, Value>,
    /// The task objects of the next call, each with its line.
    call: Vec<(usize, Value)>,
    call_bytes: usize,
    /// The last line that was submitted.
    line_submitted: usize,
}

impl<'a> FileOfTasks<'a> {
    fn new(name: &'a str, defaults: Map<String, Value>) -> Self {
        Self {
            name,
            defaults,
            call: Vec::new(),
            call_bytes: 0,
            line_submitted: 0,
        }
    }

    async fn submit(
        mut self,
        file: impl BufRead,
        context: &mut Context<'_, '_>,
    ) -> Result<(), CliError> {
        for (place, line) in file.lines().enumerate() {
            let line = line.map_err(|source| self.unreadable(place + 1, source))?;
            if line.trim().is_empty() {
                continue;
            }
            let object = serde_json::from_str::<Map<String, Value>>(&line);
            let mut object = object.map_err(|error| {
                let message = format!("not a task object in JSON: {}", without_line(&error));
                self.wrong(place + 1, message, false)
            })?;
            for (key, value) in &self.defaults {
                object.entry(key.as_str()).or_insert_with(|| value.clone());
            }
            if self.call.len() >= CALL_TASKS_MAX || self.call_bytes + line.len() > CALL_BYTES_MAX {
                self.send(context).await?;
            }
            self.call_bytes += line.len();
            self.call.push((place + 1, Value::Object(object)));
        }
        self.send(context).await
    }

    async fn send(&mut self, context: &mut Context<'_, '_>) -> Result<(), CliError> {
        self.call_bytes = 0;
        let (lines, objects): (Vec<usize>, Vec<Value>) = self.call.drain(..).unzip();
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            return Ok(());
        };
        match context
            .client
            .post("/v1/tasks", &json!({"tasks": objects}))
            .await
        {
            Ok(answer) => print(answer, context)?,
            Err(ClientError::Refused(refused)) => {
                let (place, message) = locate(&refused);
                let line = place.and_then(|place| lines.get(place)).unwrap_or(first);
                return Err(self.wrong(*line, message, true));
            }
            Err(error) => return Err(self.wrong(*first, error.to_string(), true)),
        }
        self.line_submitted = *last;
        Ok(())
    }

    fn wrong(&self, line: usize, message: String, refused: bool) -> CliError {
        let (name, line_submitted) = (self.name.to_owned(), self.line_submitted);
        CliError::Line {
            name,
            line,
            message,
            line_submitted,
            refused,
        }
    }

    fn unreadable(&self, line: usize, source: io::Error) -> CliError {
        if source.kind() == io::ErrorKind::InvalidData {
            return self.wrong(line, "not UTF-8".to_owned(), false);
        }
        CliError::Input {
            name: self.name.to_owned(),
            source,
        }
    }
}

/// Which of the task objects sent is meant, and the message without that.
fn locate(refused: &Refused) -> (Option<usize>, String) {
    let place = |text: &str| -> Option<usize> {
        text.strip_prefix("tasks[")?.split_once(']')?.0.parse().ok()
    };
    let path = refused.detail["path"].as_str().unwrap_or_default();
    let found = place(path).or_else(|| place(&refused.message));
    let prefix = found
        .map(|place| format!("tasks[{place}]"))
        .unwrap_or_default();
    let message = refused
        .message
        .strip_prefix(&prefix)
        .unwrap_or(&refused.message);
    (
        found,
        message.trim_start_matches(['.', ':', ' ']).to_owned(),
    )
}

/// The line is the file's, not the one of the text that was parsed.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.find(" at line ").unwrap_or(text.len());
    format!("{} at column {}", &text[..end], error.column())
}
