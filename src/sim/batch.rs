//! One batch as the driver makes it: what happened, what is asked for, the engine's turn.

use crate::engine::report::ChoiceReport;
use crate::engine::{Decision, Engine, Event, Fact, Output, Refusal, Reply, Request, Time};

/// What a batch brought about, in order.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) facts: Vec<Fact>,
    pub(super) decisions: Vec<Decision>,
    pub(super) replies: Vec<Result<Reply, Refusal>>,
    /// How decisions fell, where the engine reports it.
    pub(super) choices: Vec<ChoiceReport>,
}

/// Gives the engine a batch. Facts are durable at once here, so what comes of them may be acted on.
pub(super) fn run(
    engine: &mut Engine,
    now: Time,
    events: impl IntoIterator<Item = Event>,
    requests: impl IntoIterator<Item = Request>,
) -> Done {
    let (mut out, mut replies) = (Output::default(), Vec::new());
    run_into(engine, now, events, requests, &mut out, &mut replies);
    Done {
        facts: out.facts,
        decisions: out.decisions,
        choices: out.choices,
        replies,
    }
}

/// The same, in room that is used again: what a batch brought about is added to `out` and `replies`.
pub(super) fn run_into(
    engine: &mut Engine,
    now: Time,
    events: impl IntoIterator<Item = Event>,
    requests: impl IntoIterator<Item = Request>,
    out: &mut Output,
    replies: &mut Vec<Result<Reply, Refusal>>,
) {
    for event in events {
        engine.on_event(now, event, out);
    }
    for request in requests {
        replies.push(engine.on_request(now, request, out));
    }
    engine.turn(now, out);
}
