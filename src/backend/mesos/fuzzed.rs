//! For fuzzing alone: what masters send, through the framing into a session with an engine behind it. No part of the
//! program.

use std::sync::Arc;
use std::time::Duration;

use apportion_policies::Amount;
use prost::Message as _;

use super::session::{Action, CallEnd, OutCall, Session, SessionSettings};
use crate::backend::remote::launch::Upload;
use crate::backend::settings::MesosConfig;
use crate::engine::request::NewTask;
use crate::engine::spec::{ArrayRange, Run, TaskSpec};
use crate::engine::{Engine, EngineSettings, Event, Output, Request, Time};
use crate::proto::mesos::v1::scheduler;
use crate::proto::recordio::Decoder;

/// The largest record that is taken.
const RECORD_BYTES_MAX: usize = 1 << 16;

/// Lets a scheduler with some tasks hear a stream that comes in pieces of `piece` bytes, with a pause of `pause` between
/// two. Calls are answered, some by a failure, and a subscription that ends is made again until the stream is over.
///
/// # Panics
/// If what was heard breaks the session or the engine.
pub fn hear(
    config: MesosConfig,
    settings: EngineSettings,
    stream: &[u8],
    piece: usize,
    pause: Duration,
) {
    let mut world = World::new(config, settings);
    world.settle();
    for bytes in stream.chunks(piece.max(1)) {
        world.hear(bytes);
        world.now = world.now.after(pause);
        world.session.tick(world.now);
        world.settle();
    }
}

struct World {
    now: Time,
    session: Session,
    engine: Engine,
    decoder: Decoder,
    generation: u64,
    n_calls: u64,
}

impl World {
    fn new(config: MesosConfig, settings: EngineSettings) -> Self {
        let now = Time(1_000_000);
        let settings_of_session = SessionSettings {
            config,
            program_url: "http://scheduler/v1/executor/hash".to_owned(),
            executor_ca: None,
            webui_url: String::new(),
            upload: Box::new(|_| Upload {
                url: String::new(),
                token: String::new(),
            }),
        };
        let mut session = Session::new(settings_of_session, None, Vec::new(), 7, now);
        session.on_masters(now, vec!["http://master".into()]);
        let mut engine = Engine::new(settings);
        engine.recovered(now);
        let mut world = Self {
            now,
            session,
            engine,
            decoder: Decoder::new(RECORD_BYTES_MAX),
            generation: 0,
            n_calls: 0,
        };
        world.turn(Vec::new(), Some(submit()));
        world
    }

    /// Does what is wanted until nothing is.
    fn settle(&mut self) {
        loop {
            let actions = self.session.take_actions();
            if actions.is_empty() {
                break;
            }
            let mut events = Vec::new();
            for action in actions {
                match action {
                    Action::Subscribe { generation, .. } => {
                        self.generation = generation;
                        self.decoder = Decoder::new(RECORD_BYTES_MAX);
                        self.session
                            .on_stream_opened(self.now, generation, "stream");
                    }
                    Action::Call(call) => self.answer(&call),
                    Action::Tell(event) => events.push(event.0),
                    Action::Close
                    | Action::AskAgents(_)
                    | Action::Known { .. }
                    | Action::Health(_)
                    | Action::OfferEnded(..)
                    | Action::OffersHeld(_) => {}
                }
            }
            self.turn(events, None);
        }
        if self.engine.wake_at().is_some_and(|at| at <= self.now) {
            self.turn(Vec::new(), None);
        }
    }

    fn answer(&mut self, call: &OutCall) {
        self.n_calls += 1;
        let end = match self.n_calls % 16 {
            0 => CallEnd::Unknown("broken".to_owned()),
            8 => CallEnd::Refused {
                code: 400,
                text: "no".to_owned(),
            },
            _ => CallEnd::Accepted,
        };
        self.session
            .on_call_done(self.now, call.id, call.generation, end);
    }

    fn turn(&mut self, events: Vec<Event>, request: Option<Request>) {
        let mut out = Output::default();
        for event in events {
            self.engine.on_event(self.now, event, &mut out);
        }
        if let Some(request) = request {
            let reply = self.engine.on_request(self.now, request, &mut out);
            reply.expect("the tasks are good");
        }
        self.engine.turn(self.now, &mut out);
        for decision in out.decisions {
            self.session.on_decision(self.now, decision);
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.session.on_stream_bytes(self.now, self.generation);
        self.decoder.push(bytes);
        loop {
            match self.decoder.next_record() {
                Ok(Some(record)) => match scheduler::Event::decode(record) {
                    Ok(event) => self.session.on_event(self.now, self.generation, event),
                    Err(_) => self.end_stream(),
                },
                Ok(None) => break,
                Err(_) => {
                    self.end_stream();
                    break;
                }
            }
        }
    }

    fn end_stream(&mut self) {
        self.session
            .on_stream_closed(self.now, self.generation, "garbled");
    }
}

/// Some tasks, which are tried again, and killed where they run too long.
fn submit() -> Request {
    let demand = [("cpus", 1), ("mem", 64)]
        .map(|(name, units)| (name.into(), Amount::from_units(units).unwrap_or_default()));
    let spec = TaskSpec {
        queue: "default".into(),
        name: "".into(),
        key: None,
        inbox: None,
        demand: Arc::new(demand.into()),
        run: Run::Command("true".into()),
        env: [].into(),
        priority: 0,
        retries: 3,
        timeout: Some(Duration::from_secs(30)),
        kill_grace: None,
        constraints: Arc::default(),
        array: Some(ArrayRange {
            first: 0,
            last: 9,
            step: 1,
        }),
    };
    let task = NewTask {
        spec,
        after: Vec::new(),
        digest: [0; 16],
    };
    Request::Submit { tasks: vec![task] }
}
