//! What a key changes.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;

use super::super::wire::State;
use super::model::{Effect, Kind, List, Model, Place, Question};

/// How many rows a page key moves.
const PAGE_ROWS: i32 = 15;

impl Model {
    /// Takes in a key, and says what is to be done outside.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "most keys mean nothing here"
    )]
    pub(super) fn press(&mut self, key: KeyEvent) -> Option<Effect> {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(Effect::Quit);
        }
        if let Some(question) = self.question.take() {
            return matches!(key.code, KeyCode::Char('y' | 'Y')).then_some(question.effect);
        }
        if self.shows_keys {
            self.shows_keys = false;
            return None;
        }
        self.note = None;
        match key.code {
            KeyCode::Char('q') => Some(Effect::Quit),
            KeyCode::Char('?') => {
                self.shows_keys = true;
                None
            }
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::PageDown => self.move_by(PAGE_ROWS),
            KeyCode::PageUp => self.move_by(-PAGE_ROWS),
            KeyCode::Home | KeyCode::Char('g') => self.move_by(i32::MIN),
            KeyCode::End | KeyCode::Char('G') => self.move_by(i32::MAX),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.open(),
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('h') => self.back(),
            KeyCode::Char(' ') => self.fold(),
            KeyCode::Char('a') => self.go(Place::Agents),
            KeyCode::Char('s') => self.change_list(|list| {
                list.kind = list.kind.next();
                list.after.clear();
            }),
            KeyCode::Char('n') => {
                let next = self.next_after?;
                self.change_list(|list| list.after.push(next))
            }
            KeyCode::Char('p') => self.change_list(|list| {
                list.after.pop();
            }),
            KeyCode::Char('c') => self.ask_to_cancel(),
            KeyCode::Char('r') => self.ask_to_retry(),
            _ => None,
        }
    }

    fn move_by(&mut self, rows: i32) -> Option<Effect> {
        if let Place::Task(_) = self.place {
            let step =
                u16::try_from(rows.unsigned_abs().min(u32::from(u16::MAX))).unwrap_or(u16::MAX);
            self.scroll = if rows < 0 {
                self.scroll.saturating_sub(step)
            } else {
                self.scroll.saturating_add(step)
            };
            return None;
        }
        let here = i64::try_from(self.rows.selected().unwrap_or(0)).unwrap_or(i64::MAX);
        let there = here.saturating_add(i64::from(rows)).max(0);
        self.rows
            .select(Some(usize::try_from(there).unwrap_or(usize::MAX)));
        self.keep_row();
        None
    }

    fn open(&mut self) -> Option<Effect> {
        match &self.place {
            Place::Queues => {
                let queue = self.chosen_queue()?.path.clone();
                self.go(Place::Tasks(List {
                    queue,
                    kind: Kind::Live,
                    after: Vec::new(),
                }))
            }
            Place::Tasks(_) => {
                let (task, ..) = self.chosen_task()?;
                self.go(Place::Task(task))
            }
            Place::Task(_) | Place::Agents => None,
        }
    }

    fn go(&mut self, place: Place) -> Option<Effect> {
        if self.place == place {
            return None;
        }
        let left = std::mem::replace(&mut self.place, place);
        self.earlier.push((left, std::mem::take(&mut self.rows)));
        self.forget();
        Some(Effect::Load)
    }

    fn back(&mut self) -> Option<Effect> {
        let (place, rows) = self.earlier.pop()?;
        self.place = place;
        self.forget();
        self.rows = rows;
        Some(Effect::Load)
    }

    /// What another place showed is not shown here.
    fn forget(&mut self) {
        self.tasks.clear();
        self.next_after = None;
        self.task = None;
        self.scroll = 0;
    }

    fn fold(&mut self) -> Option<Effect> {
        if self.place != Place::Queues {
            return None;
        }
        let queue = self.chosen_queue().filter(|queue| !queue.is_leaf)?;
        let path = queue.path.clone();
        if !self.folded.remove(&path) {
            self.folded.insert(path);
        }
        self.keep_row();
        None
    }

    fn change_list(&mut self, change: impl FnOnce(&mut List)) -> Option<Effect> {
        let Place::Tasks(list) = &mut self.place else {
            return None;
        };
        change(list);
        self.rows = TableState::default();
        self.forget();
        Some(Effect::Load)
    }

    fn ask_to_cancel(&mut self) -> Option<Effect> {
        let (id, name, state) = self.chosen_task()?;
        if state.is_ended() {
            self.say(format!("task {id} has ended: it can't be cancelled"));
            return None;
        }
        let text = format!("Cancel task {id}{}?", named(name));
        let effect = Effect::Cancel(id);
        self.question = Some(Question { text, effect });
        None
    }

    fn ask_to_retry(&mut self) -> Option<Effect> {
        let (id, name, state) = self.chosen_task()?;
        if !matches!(state, State::Failed | State::Cancelled | State::Cancelling) {
            let state = state.as_str();
            self.say(format!(
                "task {id} is {state}: only what failed or was cancelled is tried again"
            ));
            return None;
        }
        let text = format!("Give task {id}{} a new attempt?", named(name));
        let effect = Effect::Retry(id);
        self.question = Some(Question { text, effect });
        None
    }
}

fn named(name: &str) -> String {
    if name.is_empty() {
        String::new()
    } else {
        format!(" ({name})")
    }
}
