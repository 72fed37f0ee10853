//! What `top` knows, and where the person is in it.

use std::collections::BTreeSet;

use ratatui::widgets::TableState;

use super::super::client::ClientError;
use super::super::wire::{
    Agent, Explanation, Queue, Resource, State, Task, TaskStateAnswer, Tasks,
};

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// The tree of queues.
    #[default]
    Queues,
    /// A page of a queue's tasks.
    Tasks(List),
    /// One task.
    Task(u64),
    /// The agents.
    Agents,
}

/// Which tasks are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) queue: String,
    pub(super) kind: Kind,
    /// Where each page so far but the first began; the last is the page shown.
    pub(super) after: Vec<u64>,
}

/// Which states are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Live,
    Ended,
    All,
}

impl Kind {
    /// As the API wants them.
    pub(super) fn states(self) -> Option<&'static str> {
        match self {
            Self::Live => Some("waiting,queued,launching,running,cancelling"),
            Self::Ended => Some("succeeded,failed,cancelled"),
            Self::All => None,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ended => "ended",
            Self::All => "all",
        }
    }

    pub(super) fn next(self) -> Self {
        match self {
            Self::Live => Self::Ended,
            Self::Ended => Self::All,
            Self::All => Self::Live,
        }
    }
}

/// What the daemon told.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// What it was asked for; an answer for a place that was left is dropped.
    pub(super) place: Place,
    pub(super) queues: Vec<Queue>,
    pub(super) resources: Vec<Resource>,
    pub(super) agents: Vec<Agent>,
    pub(super) tasks: Option<Tasks>,
    pub(super) task: Option<Task>,
    pub(super) explanation: Option<Explanation>,
    /// The answer to cancel or retry; nothing else was asked for then.
    pub(super) changed: Option<TaskStateAnswer>,
}

/// What is to be done outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    Load,
    Cancel(u64),
    Retry(u64),
}

/// A question that waits for yes or no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) text: String,
    pub(super) effect: Effect,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) place: Place,
    /// The places that Esc leads back to, each with the row that was chosen there.
    pub(super) earlier: Vec<(Place, TableState)>,
    pub(super) rows: TableState,
    pub(super) folded: BTreeSet<String>,
    pub(super) queues: Vec<Queue>,
    pub(super) resources: Vec<Resource>,
    pub(super) agents: Vec<Agent>,
    pub(super) tasks: Vec<Task>,
    pub(super) next_after: Option<u64>,
    pub(super) task: Option<(Task, Explanation)>,
    pub(super) question: Option<Question>,
    pub(super) shows_keys: bool,
    /// What went wrong, or what was done last.
    pub(super) note: Option<Note>,
    /// How far a task's page was scrolled.
    pub(super) scroll: u16,
}

/// A line at the bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) text: String,
    pub(super) is_error: bool,
}

impl Model {
    /// The queues that no folded queue hides: their places, with the name as it is shown.
    pub(super) fn shown_queues(&self) -> Vec<(usize, String)> {
        let paths: Vec<&str> = self
            .queues
            .iter()
            .map(|queue| queue.path.as_str())
            .collect();
        let hidden = |path: &str| {
            path.match_indices('/')
                .any(|(end, _)| self.folded.contains(&path[..end]))
        };
        super::super::queues::in_tree_order(&paths)
            .into_iter()
            .filter(|(place, _)| !hidden(paths[*place]))
            .collect()
    }

    /// How many rows the place has.
    pub(super) fn n_rows(&self) -> usize {
        match &self.place {
            Place::Queues => self.shown_queues().len(),
            Place::Tasks(_) => self.tasks.len(),
            Place::Agents => self.agents.len(),
            Place::Task(_) => 0,
        }
    }

    /// The queue of the chosen row.
    pub(super) fn chosen_queue(&self) -> Option<&Queue> {
        let row = self.rows.selected()?;
        let (place, _) = self.shown_queues().into_iter().nth(row)?;
        self.queues.get(place)
    }

    /// The task that is shown, or that of the chosen row: its id, name and state.
    pub(super) fn chosen_task(&self) -> Option<(u64, &str, State)> {
        let task = match &self.place {
            Place::Task(_) => self.task.as_ref().map(|(task, _)| task),
            Place::Tasks(_) => self.tasks.get(self.rows.selected()?),
            Place::Queues | Place::Agents => None,
        }?;
        Some((task.id, task.name.as_str(), task.state))
    }

    /// Takes in what the daemon told.
    pub(super) fn take(&mut self, answer: Answer) -> Option<Effect> {
        if let Some(changed) = answer.changed {
            self.say(format!(
                "task {} is {} now",
                changed.id,
                changed.state.as_str()
            ));
            return Some(Effect::Load);
        }
        if self.note.as_ref().is_some_and(|note| note.is_error) {
            self.note = None;
        }
        self.queues = answer.queues;
        self.resources = answer.resources;
        if answer.place == self.place {
            self.agents = answer.agents;
            if let Some(page) = answer.tasks {
                self.tasks = page.tasks;
                self.next_after = page.next_after;
            }
            self.task = answer.task.zip(answer.explanation);
        }
        self.keep_row();
        None
    }

    /// The daemon didn't answer, or refused.
    pub(super) fn fail(&mut self, error: &ClientError) -> Option<Effect> {
        self.note = Some(Note {
            text: error.to_string(),
            is_error: true,
        });
        None
    }

    pub(super) fn say(&mut self, text: String) {
        let is_error = false;
        self.note = Some(Note { text, is_error });
    }

    /// A row is chosen wherever there are any.
    pub(super) fn keep_row(&mut self) {
        let n_rows = self.n_rows();
        let row = self.rows.selected().unwrap_or(0);
        self.rows
            .select((n_rows > 0).then(|| row.min(n_rows.saturating_sub(1))));
    }
}
