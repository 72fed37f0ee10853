//! How it looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, Wrap};

use super::super::wire::{Agent, Explanation, Queue, State, Task};
use super::super::{explain, format, tasks};
use super::bars::{bar, percent};
use super::model::{Model, Place};

/// The cells of a bar's column beside the bar itself: a percentage and a space.
const BESIDE_BAR: u16 = 6;
/// The least width of a bar that still tells something.
const BAR_MIN: u16 = 6;
/// The columns of a queue's row that aren't bars: name, running, queued.
const QUEUE_COLUMNS: [u16; 3] = [20, 8, 8];

const KEYS: &str = "\
  up, down, j, k    move            Enter, right   open
  PgUp, PgDn, g, G  far             Esc, left      back
  space             fold a queue    a              agents
  s                 live, ended, all tasks
  n, p              next and previous page of tasks
  c                 cancel          r              retry
  q                 quit            ?              these keys";

/// Draws everything.
pub(super) fn draw(model: &mut Model, frame: &mut Frame<'_>) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(header(model, head.width), head);
    match &model.place {
        Place::Queues => draw_queues(model, frame, body),
        Place::Tasks(_) => draw_tasks(model, frame, body),
        Place::Task(id) => {
            let text = model
                .task
                .as_ref()
                .map_or_else(|| Text::from(format!("task {id} …")), task_text);
            let most = n_lines(&text, body.width).saturating_sub(body.height);
            model.scroll = model.scroll.min(most);
            let wrapped = Paragraph::new(text).wrap(Wrap { trim: false });
            frame.render_widget(wrapped.scroll((model.scroll, 0)), body);
        }
        Place::Agents => draw_agents(model, frame, body),
    }
    frame.render_widget(footer(model), foot);
    if let Some(question) = &model.question {
        let text = format!("{}\n\ny  yes      any other key  no", question.text);
        popup(frame, " Sure? ", &text);
    } else if model.shows_keys {
        popup(frame, " Keys ", KEYS);
    }
}

/// How many lines a text takes when it is wrapped, or a few more: words aren't cut.
fn n_lines(text: &Text<'_>, width: u16) -> u16 {
    let wrapped = |line: &Line<'_>| match line.width().div_ceil(usize::from(width.max(1))) {
        0 | 1 => 1,
        several => several + 1,
    };
    let sum: usize = text.lines.iter().map(wrapped).sum();
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Where we are and what is going on, then what is used of each resource.
fn header(model: &Model, width: u16) -> Text<'static> {
    let place = match &model.place {
        Place::Queues => "queues".to_owned(),
        Place::Tasks(list) => format!("{} tasks of {}", list.kind.word(), list.queue),
        Place::Task(id) => format!("task {id}"),
        Place::Agents => format!("{} agents", model.agents.len()),
    };
    let top = || {
        model
            .queues
            .iter()
            .filter(|queue| !queue.path.contains('/'))
    };
    let count = |states: &[State]| top().map(|queue| count(queue, states)).sum::<u64>();
    let first = Line::from(vec![
        Span::styled("apportion", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!(
            "  {place}   {} running  {} queued  {} waiting",
            count(&[State::Launching, State::Running, State::Cancelling]),
            count(&[State::Queued]),
            count(&[State::Waiting]),
        )),
    ]);
    let used = model.resources.iter().map(|resource| {
        let (name, used) = (&resource.name, resource.used.0);
        let outside = if resource.outside.0.is_zero() {
            String::new()
        } else {
            format!("+{}", format::amount_of(name, resource.outside.0))
        };
        format!(
            "{name} {}{outside}/{}",
            format::amount_of(name, used),
            format::amount_of(name, resource.capacity.0)
        )
    });
    let mut second = used.collect::<Vec<_>>().join("  ");
    if second.chars().count() > usize::from(width) {
        second = second
            .chars()
            .take(usize::from(width.saturating_sub(1)))
            .collect();
        second.push('…');
    }
    Text::from(vec![
        first,
        Line::styled(second, Style::new().fg(Color::Gray)),
    ])
}

fn footer(model: &Model) -> Line<'static> {
    if let Some(note) = &model.note {
        let colour = if note.is_error {
            Color::Red
        } else {
            Color::Cyan
        };
        return Line::styled(note.text.clone(), Style::new().fg(colour));
    }
    let keys = match &model.place {
        Place::Queues => "Enter tasks  space fold  a agents  ? keys  q quit",
        Place::Tasks(_) => {
            "Enter open  Esc back  s live/ended/all  n p page  c cancel  r retry  q quit"
        }
        Place::Task(_) => "Esc back  j k scroll  c cancel  r retry  q quit",
        Place::Agents => "Esc back  ? keys  q quit",
    };
    Line::styled(keys, Style::new().fg(Color::Gray))
}

fn count(queue: &Queue, states: &[State]) -> u64 {
    let number = |state: &State| queue.tasks.get(state.as_str()).copied().unwrap_or(0);
    states.iter().map(number).sum()
}

/// The resources whose bars have room, most used first come, and the width of each bar.
fn bar_columns(model: &Model, width: u16) -> (Vec<&str>, u16) {
    let taken: u16 = QUEUE_COLUMNS.iter().map(|column| column + 1).sum();
    let room = width.saturating_sub(taken);
    let names = model
        .resources
        .iter()
        .filter(|one| !one.capacity.0.is_zero());
    let names: Vec<&str> = names.map(|one| one.name.as_str()).collect();
    let most = usize::from(room / (BAR_MIN + BESIDE_BAR + 1)).max(1);
    let shown = names.len().clamp(1, most);
    let each = room / u16::try_from(shown).unwrap_or(1);
    let names = names.into_iter().take(shown).collect();
    (names, each.saturating_sub(BESIDE_BAR + 1))
}

fn draw_queues(model: &mut Model, frame: &mut Frame<'_>, area: Rect) {
    let (resources, bar_width) = bar_columns(model, area.width);
    let hidden = model.resources.len() - resources.len().min(model.resources.len());
    let rows: Vec<Row<'_>> = (model.shown_queues().into_iter())
        .map(|(place, name)| queue_row(model, &model.queues[place], name, &resources, bar_width))
        .collect();
    let mut titles = vec![
        Cell::from("QUEUE"),
        Cell::from(Line::from("RUNNING").right_aligned()),
        Cell::from(Line::from("QUEUED").right_aligned()),
    ];
    titles.extend(resources.iter().map(|name| Cell::from(name.to_uppercase())));
    if let Some(last) = titles.last_mut().filter(|_| hidden > 0) {
        let name = resources.last().copied().unwrap_or_default().to_uppercase();
        *last = Cell::from(format!("{name} (+{hidden})"));
    }
    let mut widths: Vec<Constraint> = QUEUE_COLUMNS.map(Constraint::Length).into();
    widths[0] = Constraint::Min(QUEUE_COLUMNS[0]);
    widths.extend(
        resources
            .iter()
            .map(|_| Constraint::Length(bar_width + BESIDE_BAR)),
    );
    let table = table(rows, widths, titles);
    frame.render_stateful_widget(table, area, &mut model.rows);
}

fn queue_row<'a>(
    model: &Model,
    queue: &Queue,
    name: String,
    resources: &[&str],
    bar_width: u16,
) -> Row<'a> {
    let name = match (queue.is_leaf, model.folded.contains(&queue.path)) {
        (true, _) => name,
        (false, true) => format!("{name} +"),
        (false, false) => format!("{name}/"),
    };
    let running = count(
        queue,
        &[State::Launching, State::Running, State::Cancelling],
    );
    let queued = count(queue, &[State::Queued, State::Waiting]);
    let mut cells = vec![
        Cell::from(name),
        number(running),
        if queue.n_unsatisfiable > 0 {
            number(queue.n_unsatisfiable).style(Style::new().fg(Color::Red))
        } else {
            number(queued)
        },
    ];
    let due = Some(queue.entitlement.decimal);
    for name in resources {
        let share = queue.share.get(*name).map_or(0.0, |share| share.decimal);
        let mut spans = bar(share, due, usize::from(bar_width));
        spans.push(Span::raw(format!(" {}", percent(share))));
        cells.push(Cell::from(Line::from(spans)));
    }
    Row::new(cells)
}

fn number<'a>(number: u64) -> Cell<'a> {
    Cell::from(Line::from(number.to_string()).right_aligned())
}

fn table<'a>(rows: Vec<Row<'a>>, widths: Vec<Constraint>, titles: Vec<Cell<'a>>) -> Table<'a> {
    Table::new(rows, widths)
        .header(Row::new(titles).style(Style::new().fg(Color::Gray)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
}

fn draw_tasks(model: &mut Model, frame: &mut Frame<'_>, area: Rect) {
    let rows: Vec<Row<'_>> = model.tasks.iter().map(task_row).collect();
    let titles = ["ID", "STATE", "NAME", "QUEUE", "DEMAND"];
    let titles = titles.map(Cell::from).into();
    let widths = vec![
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Fill(3),
    ];
    if rows.is_empty() {
        frame.render_widget(Paragraph::new("no such tasks"), area);
    } else {
        frame.render_stateful_widget(table(rows, widths, titles), area, &mut model.rows);
    }
}

fn task_row<'a>(task: &Task) -> Row<'a> {
    Row::new([
        Cell::from(task.id.to_string()),
        Cell::from(Span::styled(task.state.as_str(), style_of(task.state))),
        Cell::from(tasks::title(task)),
        Cell::from(task.queue.clone()),
        Cell::from(format::amounts(&task.demand)),
    ])
}

fn style_of(state: State) -> Style {
    match state {
        State::Waiting | State::Queued => Style::new(),
        State::Launching | State::Running => Style::new().fg(Color::Cyan),
        State::Cancelling | State::Cancelled => Style::new().fg(Color::Yellow),
        State::Succeeded => Style::new().fg(Color::Green),
        State::Failed => Style::new().fg(Color::Red),
    }
}

fn task_text((task, explanation): &(Task, Explanation)) -> Text<'static> {
    let mut lines = Vec::new();
    let mut fact = |title: &str, value: String| {
        if !value.is_empty() && value != "-" {
            let title = Span::styled(format!("{title:<12}"), Style::new().fg(Color::Gray));
            lines.push(Line::from(vec![title, Span::raw(format::one_line(&value))]));
        }
    };
    fact("state", task.state.as_str().to_owned());
    fact("name", task.name.clone());
    fact("queue", task.queue.clone());
    fact("runs", tasks::command_line(&task.run));
    fact("demand", format::amounts(&task.demand));
    fact("submitted", format::point(task.submitted_at.as_deref()));
    fact("ended", format::point(task.ended_at.as_deref()));
    if let Some(outcome) = &task.outcome {
        let cause = outcome.cause.as_ref().map(|cause| cause.message.clone());
        fact("outcome", cause.unwrap_or_default());
        fact(
            "exit code",
            outcome
                .exit_code
                .map(|code| code.to_string())
                .unwrap_or_default(),
        );
    }
    for attempt in &task.attempts {
        let end = attempt.end.as_ref().map_or("", |end| end.message.as_str());
        let launched = format::point(attempt.launched_at.as_deref());
        fact(
            "attempt",
            format!(
                "{} on {}, launched {launched} {end}",
                attempt.attempt, attempt.agent
            ),
        );
    }
    lines.push(Line::default());
    lines.extend(explain::lines(explanation).into_iter().map(Line::from));
    Text::from(lines)
}

fn draw_agents(model: &mut Model, frame: &mut Frame<'_>, area: Rect) {
    let rows: Vec<Row<'_>> = model.agents.iter().map(agent_row).collect();
    let titles = [
        Cell::from("AGENT"),
        Cell::from(Line::from("RUNNING").right_aligned()),
        Cell::from("USED"),
        Cell::from("OF"),
    ];
    let widths = vec![
        Constraint::Fill(2),
        Constraint::Length(8),
        Constraint::Fill(3),
        Constraint::Fill(3),
    ];
    frame.render_stateful_widget(table(rows, widths, titles.into()), area, &mut model.rows);
}

fn agent_row<'a>(agent: &Agent) -> Row<'a> {
    Row::new([
        Cell::from(agent.name.clone()),
        number(agent.attempts.len() as u64),
        Cell::from(format::amounts(&agent.used)),
        Cell::from(format::amounts(&agent.total)),
    ])
}

/// A box in the middle, over what is there.
fn popup(frame: &mut Frame<'_>, title: &str, text: &str) {
    let area = frame.area();
    let widest = text
        .lines()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0);
    let width = u16::try_from(widest + 4)
        .unwrap_or(u16::MAX)
        .min(area.width);
    let inner = usize::from(width.saturating_sub(4)).max(1);
    let wrapped: usize = text
        .lines()
        .map(|line| line.chars().count().div_ceil(inner).max(1))
        .sum();
    let height = u16::try_from(wrapped + 2)
        .unwrap_or(u16::MAX)
        .min(area.height);
    let place = Rect {
        x: (area.width - width) / 2,
        y: (area.height - height) / 2,
        width,
        height,
    };
    let block = Block::bordered().title(title.to_owned());
    frame.render_widget(Clear, place);
    let text = Paragraph::new(text.to_owned()).wrap(Wrap { trim: false });
    frame.render_widget(
        text.block(block.padding(ratatui::widgets::Padding::horizontal(1))),
        place,
    );
}
