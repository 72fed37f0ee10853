//! Keys and pictures of `top`, without a terminal and a daemon.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::model::{Answer, Effect, List, Model, Place};
use super::view;

fn queue(path: &str, is_leaf: bool, tasks: Value, cpus: f64, db: f64) -> Value {
    json!({
        "path": path, "is_leaf": is_leaf, "weight": 1, "policy": "drf", "tasks": tasks,
        "used": {"cpus": cpus * 8.0, "db": db * 10.0},
        "share": {"cpus": {"decimal": cpus}, "db": {"decimal": db}, "mem": {"decimal": 0}},
        "dominant_share": {"decimal": cpus.max(db)}, "entitlement": {"decimal": 0.5},
    })
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn answer(place: Place) -> Answer {
    let queues = json!([
        queue(
            "maps",
            false,
            json!({"running": 3, "queued": 120}),
            0.375,
            0.6
        ),
        queue(
            "maps/render",
            true,
            json!({"running": 2, "queued": 1}),
            0.25,
            0.4
        ),
        queue(
            "maps/index",
            true,
            json!({"running": 1, "queued": 119}),
            0.125,
            0.2
        ),
        queue(
            "search",
            true,
            json!({"running": 1, "waiting": 4}),
            0.125,
            0.3
        ),
    ]);
    let resources = json!([
        {"name": "cpus", "scope": "host", "capacity": 8, "used": 4},
        {"name": "db", "scope": "cluster", "capacity": 10, "used": 9, "outside": 1},
        {"name": "mem", "scope": "host", "capacity": 4096, "used": 0},
    ]);
    Answer {
        place,
        queues: read(queues),
        resources: read(resources),
        ..Answer::default()
    }
}

fn task(id: u64, state: &str, name: &str) -> Value {
    json!({
        "id": id, "queue": "maps/render", "name": name, "state": state, "demand": {"cpus": 2, "db": 4},
        "run": {"command": "render --tile 7/3"}, "submitted_at": "2026-11-22T13:05:00.500Z",
    })
}

fn tasks() -> Answer {
    let list = List {
        queue: "maps/render".to_owned(),
        ..List::default()
    };
    let mut answer = answer(Place::Tasks(list));
    let page = [
        task(3, "running", "tile 7/3"),
        task(5, "queued", "tile \u{1b}[31m7/4"),
        task(6, "failed", ""),
    ];
    answer.tasks = Some(read(json!({"tasks": page, "next_after": 6})));
    answer
}

fn one_task(state: &str) -> Answer {
    let mut answer = answer(Place::Task(5));
    answer.task = Some(read(task(5, state, "tile 7/4")));
    let reasons = [
        json!({"code": "lacks", "message": "lacks db: it demands 4, and 1 is free in the cluster"}),
    ];
    answer.explanation = Some(read(json!({
        "id": 5, "state": state, "queue": "maps/render", "n_ahead": 2, "ahead": [3, 4], "reasons": reasons,
    })));
    answer
}

fn press(model: &mut Model, keys: &str) -> Option<Effect> {
    let mut effect = None;
    for key in keys.chars() {
        let code = match key {
            '⏎' => KeyCode::Enter,
            '⎋' => KeyCode::Esc,
            '↓' => KeyCode::Down,
            other => KeyCode::Char(other),
        };
        effect = model.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
    effect
}

fn picture(model: &mut Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(model, frame)).unwrap();
    terminal.backend().to_string()
}

/// A model that shows the queues.
fn at_queues() -> Model {
    let mut model = Model::default();
    assert_eq!(model.take(answer(Place::Queues)), None);
    model
}

/// A model that shows the tasks of a queue.
fn at_tasks() -> Model {
    let mut model = at_queues();
    assert_eq!(press(&mut model, "↓⏎"), Some(Effect::Load));
    model.take(tasks());
    model
}

#[test]
fn queues_on_a_small_terminal() {
    insta::assert_snapshot!(picture(&mut at_queues(), 80, 24));
}

#[test]
fn queues_on_a_large_terminal() {
    insta::assert_snapshot!(picture(&mut at_queues(), 140, 12));
}

#[test]
fn tasks_of_a_queue() {
    insta::assert_snapshot!(picture(&mut at_tasks(), 80, 12));
}

#[test]
fn a_task_with_its_explanation() {
    let mut model = at_tasks();
    assert_eq!(press(&mut model, "↓⏎"), Some(Effect::Load));
    assert_eq!(model.place, Place::Task(5));
    model.take(one_task("queued"));
    insta::assert_snapshot!(picture(&mut model, 80, 16));
}

#[test]
fn a_question_before_a_task_is_cancelled() {
    let mut model = at_tasks();
    assert_eq!(press(&mut model, "c"), None);
    insta::assert_snapshot!(picture(&mut model, 80, 12));
    assert_eq!(press(&mut model, "n"), None);
    assert_eq!(model.question, None);
    assert_eq!(press(&mut model, "c⏎"), None, "only y means yes");
    assert_eq!(press(&mut model, "cy"), Some(Effect::Cancel(3)));
}

#[test]
fn only_what_ended_badly_is_retried_and_what_ended_is_not_cancelled() {
    let mut model = at_tasks();
    assert_eq!(press(&mut model, "r"), None);
    assert!(model.question.is_none() && model.note.is_some());
    assert_eq!(press(&mut model, "↓↓c"), None);
    assert!(model.question.is_none() && model.note.is_some());
    assert_eq!(press(&mut model, "ry"), Some(Effect::Retry(6)));
}

#[test]
fn escape_leads_back_to_the_row_that_was_left() {
    let mut model = at_tasks();
    press(&mut model, "↓⏎");
    press(&mut model, "⎋");
    assert_eq!(model.rows.selected(), Some(1));
    press(&mut model, "⎋");
    assert_eq!(
        (model.rows.selected(), &model.place),
        (Some(1), &Place::Queues)
    );
    assert_eq!(press(&mut model, "⎋"), None);
    assert_eq!(press(&mut model, "q"), Some(Effect::Quit));
}

#[test]
fn an_answer_for_a_place_that_was_left_is_dropped() {
    let mut model = at_tasks();
    press(&mut model, "⎋");
    model.take(tasks());
    assert!(model.tasks.is_empty());
    picture(&mut model, 80, 24);
}

#[test]
fn queues_fold_and_pages_turn() {
    let mut model = at_queues();
    press(&mut model, " ");
    assert_eq!(model.n_rows(), 2);
    press(&mut model, " ");
    assert_eq!(model.n_rows(), 4);
    let mut model = at_tasks();
    assert_eq!(press(&mut model, "n"), Some(Effect::Load));
    let Place::Tasks(list) = &model.place else {
        panic!("{:?}", model.place)
    };
    assert_eq!(list.after, [6]);
    assert_eq!(press(&mut model, "p"), Some(Effect::Load));
    assert_eq!(press(&mut model, "s"), Some(Effect::Load));
}

#[test]
fn no_size_is_too_small() {
    for (width, height) in [(1, 1), (2, 3), (10, 4), (41, 5)] {
        picture(&mut at_queues(), width, height);
        let mut model = at_tasks();
        press(&mut model, "c");
        picture(&mut model, width, height);
        press(&mut model, "n?");
        picture(&mut model, width, height);
    }
}
