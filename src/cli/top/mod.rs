//! `apportion top`: a live view in the terminal. `model` is what is known and where the person is, `update` what a
//! key or an answer changes, `view` how it looks; only this file touches the terminal and the daemon.

use std::io::IsTerminal;
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures::StreamExt;
use ratatui::DefaultTerminal;
use serde_json::json;
use tokio::sync::mpsc;

use self::model::{Answer, Effect, Model, Place};
use super::client::{Client, ClientError};
use super::wire::{Agents, Queues, Resources, TaskStateAnswer, Tasks};
use super::{CliError, Context, exit};

mod bars;
mod model;
#[cfg(test)]
mod tests;
mod update;
mod view;

/// Watch queues, tasks and agents live; cancel and retry with a key.
///
/// Keys: arrows or j and k move, Enter opens, Esc goes back, c cancels, r retries, a shows agents, ? all keys, q quits.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How long to wait between two looks.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    interval: Duration,
}

/// The shortest pause between two looks: each costs the daemon a look at the whole tree.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Keys and answers that are on their way; more than a person types between two pictures.
const ANSWERS_MAX: usize = 16;
/// How many tasks a page has.
const PAGE: u32 = 200;

pub(super) async fn execute(args: &Args, context: &mut Context<'_, '_>) -> Result<u8, CliError> {
    if context.json || !std::io::stdout().is_terminal() {
        return Err(CliError::Usage(
            "top needs a terminal; for programs there are `queues`, `tasks`, `agents` and `resources` with --json"
                .to_owned(),
        ));
    }
    let mut model = Model::default();
    // What can't be reached at all is told as by any other command, not in a picture.
    model.take(load(&context.client, &Place::default()).await?);
    let mut terminal = ratatui::try_init()?;
    let ended = watch(args, &context.client, &mut model, &mut terminal).await;
    ratatui::try_restore()?;
    ended
}

/// Shows, and answers to keys, until the person has seen enough.
async fn watch(
    args: &Args,
    client: &Client,
    model: &mut Model,
    terminal: &mut DefaultTerminal,
) -> Result<u8, CliError> {
    let mut keys = EventStream::new();
    let mut clock = tokio::time::interval(args.interval.max(INTERVAL_MIN));
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (answer, mut answers) = mpsc::channel(ANSWERS_MAX);
    let mut is_loading = false;
    loop {
        terminal.draw(|frame| view::draw(model, frame))?;
        let effect = tokio::select! {
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) if key.kind == KeyEventKind::Press => model.press(key),
                Some(Ok(_)) => None,
                Some(Err(error)) => return Err(error.into()),
                None => Some(Effect::Quit),
            },
            _ = clock.tick() => (!is_loading).then_some(Effect::Load),
            Some(told) = answers.recv() => {
                is_loading = false;
                match told {
                    Ok(answer) => model.take(answer),
                    Err(error) => model.fail(&error),
                }
            }
        };
        let Some(effect) = effect else { continue };
        let (client, answer, place) = (client.clone(), answer.clone(), model.place.clone());
        match effect {
            Effect::Quit => return Ok(exit::DONE),
            Effect::Load => {
                is_loading = true;
                tokio::spawn(async move { answer.send(load(&client, &place).await).await });
            }
            Effect::Cancel(task) => {
                let path = format!("/v1/tasks/{task}/cancel");
                tokio::spawn(async move { answer.send(change(&client, &path).await).await });
            }
            Effect::Retry(task) => {
                let path = format!("/v1/tasks/{task}/retry");
                tokio::spawn(async move { answer.send(change(&client, &path).await).await });
            }
        }
    }
}

/// Reads what a place shows, and what stands above every place.
async fn load(client: &Client, place: &Place) -> Result<Answer, ClientError> {
    let resources: Resources = client.get_as("/v1/resources", &[]).await?;
    let queues: Queues = client.get_as("/v1/queues", &[]).await?;
    let mut answer = Answer {
        place: place.clone(),
        queues: queues.queues,
        resources: resources.resources,
        ..Answer::default()
    };
    match place {
        Place::Queues => {}
        Place::Agents => {
            let agents: Agents = client.get_as("/v1/agents", &[]).await?;
            answer.agents = agents.agents;
        }
        Place::Tasks(list) => {
            let mut query = vec![("limit", PAGE.to_string()), ("queue", list.queue.clone())];
            query.extend(
                list.kind
                    .states()
                    .map(|states| ("state", states.to_owned())),
            );
            query.extend(list.after.last().map(|after| ("after", after.to_string())));
            answer.tasks = Some(client.get_as::<Tasks>("/v1/tasks", &query).await?);
        }
        Place::Task(id) => {
            answer.task = Some(client.get_as(&format!("/v1/tasks/{id}"), &[]).await?);
            let path = format!("/v1/tasks/{id}/explain");
            answer.explanation = Some(client.get_as(&path, &[]).await?);
        }
    }
    Ok(answer)
}

/// Cancels or retries, and says what came of it.
async fn change(client: &Client, path: &str) -> Result<Answer, ClientError> {
    let body = client.post(path, &json!({})).await?;
    let state: TaskStateAnswer = client.read(body)?;
    Ok(Answer {
        changed: Some(state),
        ..Answer::default()
    })
}
