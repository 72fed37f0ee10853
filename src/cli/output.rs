//! Where commands write: tables, JSON and notes, with colour only where a person looks.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Cell, CellAlignment, Color, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::wire::State;

/// Standard output and standard error, or what a test has in their place.
pub(super) struct Output<'a> {
    stdout: &'a mut dyn Write,
    stderr: &'a mut dyn Write,
    /// Whether standard output is shown to a person who may like colour.
    colour: bool,
    /// Whether standard error is shown to a person who likes to see progress.
    progress: bool,
    bar: Option<ProgressBar>,
}

impl<'a> Output<'a> {
    /// Writes to the process's own streams. `NO_COLOR` is honoured.
    pub(super) fn of_process(stdout: &'a mut io::Stdout, stderr: &'a mut io::Stderr) -> Self {
        let colour = stdout.is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let progress = stderr.is_terminal();
        Self {
            stdout,
            stderr,
            colour,
            progress,
            bar: None,
        }
    }

    /// Writes elsewhere, without colour and progress.
    #[cfg(test)]
    pub(super) fn plain(stdout: &'a mut dyn Write, stderr: &'a mut dyn Write) -> Self {
        Self {
            stdout,
            stderr,
            colour: false,
            progress: false,
            bar: None,
        }
    }

    /// A line for whoever reads the output.
    pub(super) fn line(&mut self, line: impl std::fmt::Display) -> io::Result<()> {
        self.stdout(format!("{line}\n").as_bytes())
    }

    /// A line about what happens, beside the output.
    pub(super) fn note(&mut self, line: impl std::fmt::Display) -> io::Result<()> {
        self.stderr(format!("apportion: {line}\n").as_bytes())
    }

    /// Bytes as they are, to standard output.
    pub(super) fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stdout = &mut *self.stdout;
        suspend(self.bar.as_ref(), || {
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        })
    }

    /// Bytes as they are, to standard error.
    pub(super) fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stderr = &mut *self.stderr;
        suspend(self.bar.as_ref(), || {
            stderr.write_all(bytes).and_then(|()| stderr.flush())
        })
    }

    /// A JSON value, indented.
    pub(super) fn json(&mut self, value: &Value) -> io::Result<()> {
        self.line(format_args!("{value:#}"))
    }

    /// A table.
    pub(super) fn table(&mut self, table: &mut Table) -> io::Result<()> {
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        self.line(table.trim_fmt())
    }

    /// Shows or updates progress on a terminal; `length` and `position` where they are known.
    pub(super) fn progress(&mut self, message: String, position: u64, length: Option<u64>) {
        if !self.progress {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
            let template = match length {
                Some(_) => "{spinner} {msg} {bar:30} {pos}/{len} {elapsed}",
                None => "{spinner} {msg} {elapsed}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(std::time::Duration::from_millis(100));
            bar
        });
        bar.set_message(message);
        bar.set_position(position);
    }

    /// Takes the progress away again.
    pub(super) fn end_progress(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn suspend<T>(bar: Option<&ProgressBar>, write: impl FnOnce() -> T) -> T {
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A table with these headings, without borders. Headings that begin with `>` head columns of numbers.
pub(super) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(
        headings
            .iter()
            .map(|heading| heading.trim_start_matches('>')),
    );
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if heading.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A table of names and values, without headings.
pub(super) fn pairs(rows: impl IntoIterator<Item = (&'static str, Cell)>) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for (name, value) in rows {
        table.add_row([Cell::new(name), value]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A state, in the colour of how glad one is to see it.
pub(super) fn state_cell(state: State) -> Cell {
    let cell = Cell::new(state.as_str());
    match state {
        State::Waiting | State::Queued => cell,
        State::Launching | State::Running => cell.fg(Color::Cyan),
        State::Cancelling | State::Cancelled => cell.fg(Color::Yellow),
        State::Succeeded => cell.fg(Color::Green),
        State::Failed => cell.fg(Color::Red),
    }
}
