//! What is told of decisions: the log, the course that one would take, and what became of the offers at hand.

use super::env::*;
use crate::engine::report::{ChoiceReport, Explanation};
use crate::engine::{Event, Output, Request, TaskId};

fn explain(env: &TestEnv, task: u64) -> Explanation {
    env.engine.explain(TaskId(task)).unwrap()
}

/// Why offers don't launch a task, with how many.
fn refused(env: &TestEnv, task: u64) -> Vec<(String, u64)> {
    let offers = explain(env, task).offers.unwrap();
    let n_refused: u64 = offers.refused.iter().map(|(_, number)| number).sum();
    assert_eq!(n_refused, offers.n_looked_at);
    offers.refused
}

fn reasons(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    let pairs = pairs.iter();
    pairs.map(|(word, n)| ((*word).to_owned(), *n)).collect()
}

/// The queues of the decisions that were told, with how many others could have gone at each step.
fn told(env: &TestEnv) -> Vec<(String, Vec<usize>)> {
    let one = |choice: &ChoiceReport| {
        let n_others = choice.steps.iter().map(|step| step.others.len());
        (choice.queue.to_string(), n_others.collect())
    };
    env.choices.iter().map(one).collect()
}

const LOGGED: [&str; 9] = [
    "x log=true",
    "x/a",
    "x/b",
    "y1",
    "y2",
    "y3",
    "y4",
    "y5",
    "y6",
];

/// One task waits in each leaf of [`LOGGED`]; then all are launched in one turn.
fn launch_each(env: &mut TestEnv) {
    let leaves = LOGGED.iter().skip(1);
    let tasks: Vec<_> = leaves.map(|queue| task(queue)).collect();
    env.try_submit(&tasks).unwrap();
    env.launched();
    env.agent("m", "cpus=100");
    env.offer("m", "cpus=100");
    assert_eq!(env.launched().len(), 8);
}

#[test]
fn decisions_are_told_where_a_queue_has_a_log_with_a_few_of_the_others() {
    let mut env = TestEnv::new(&LOGGED);
    launch_each(&mut env);
    // The second goes last, when nobody else waits any more.
    let of_log = [
        ("x/a".to_owned(), vec![4, 1]),
        ("x/b".to_owned(), vec![0, 0]),
    ];
    assert_eq!(told(&env), of_log);
    env.reload(settings(&[
        "x", "x/a", "x/b", "y1", "y2", "y3", "y4", "y5", "y6",
    ]))
    .unwrap();
    launch_each(&mut env);
    assert_eq!(told(&env), []);
}

#[test]
fn where_all_decisions_are_told_so_are_all_others() {
    let mut env = TestEnv::new(&LOGGED);
    env.engine.report_all_choices(true);
    launch_each(&mut env);
    let at_top: Vec<(String, usize)> = told(&env)
        .into_iter()
        .map(|(queue, n_others)| (queue, n_others[0]))
        .collect();
    let order = ["x/a", "y1", "y2", "y3", "y4", "y5", "y6", "x/b"];
    let n_others = [6, 6, 5, 4, 3, 2, 1, 0];
    let expected = order.iter().map(|queue| (*queue).to_owned()).zip(n_others);
    assert_eq!(at_top, expected.collect::<Vec<_>>());
    env.engine.report_all_choices(false);
    launch_each(&mut env);
    assert_eq!(told(&env).len(), 2);
}

#[test]
fn only_what_is_queued_and_could_run_has_a_course() {
    let mut env = TestEnv::new(&["a"]);
    env.agent("m", "cpus=2");
    env.offer("m", "cpus=2");
    let runs = env.submit(task("a").demand("cpus=1"));
    let waits = env.submit(task("a").demand("cpus=2"));
    let never = env.submit(task("a").demand("cpus=3"));
    assert!(explain(&env, waits).course.is_some());
    for other in [runs, never] {
        assert!(explain(&env, other).course.is_none(), "{other}");
    }
    assert!(explain(&env, runs).offers.is_none());
}

/// Until the turn that ends a batch, the policy hasn't seen what happened in it.
#[test]
fn no_course_is_told_in_the_middle_of_a_batch() {
    let env = || {
        let mut env = TestEnv::new(&["a", "b"]);
        env.agent("m", "cpus=2");
        env.offer("m", "cpus=2");
        env.submit(task("a").demand("cpus=2").array(2));
        assert!(explain(&env, 2).course.is_some());
        env
    };
    let mut submitted = env();
    let tasks = vec![task("b").demand("cpus=1").task];
    let mut out = Output::default();
    let request = Request::Submit { tasks };
    let engine = &mut submitted.engine;
    engine.on_request(submitted.now, request, &mut out).unwrap();
    assert!(explain(&submitted, 2).course.is_none());

    let mut ended = env();
    let event = TestEnv::end_of(attempt(1, 1));
    ended.engine.on_event(ended.now, event, &mut out);
    assert!(explain(&ended, 2).course.is_none());

    let mut seen = env();
    let event = Event::AgentSeen {
        agent: "n".into(),
        total: amounts("cpus=8"),
        attributes: words(""),
    };
    seen.engine.on_event(seen.now, event, &mut out);
    assert!(explain(&seen, 2).course.is_none());

    let mut restarted = env();
    restarted.crash();
    assert!(explain(&restarted, 2).course.is_none());
}

#[test]
fn each_offer_at_hand_is_told_with_what_it_lacks() {
    let mut env = TestEnv::new(&["a"]);
    for (agent, rack, free) in [
        ("m1", "rack=r2", "cpus=4 mem=4"),
        ("m2", "", "cpus=4 mem=4"),
        ("m3", "rack=r1", "cpus=1 mem=4"),
        ("m4", "rack=r1", "cpus=2 mem=1"),
    ] {
        env.agent_with(agent, "cpus=4 mem=4", rack);
        env.offer(agent, free);
    }
    env.agent_with("m5", "cpus=4 mem=4", "rack=r1");
    let wanted = task("a").demand("cpus=2 mem=2").constraints("rack=r1");
    let waits = env.submit(wanted);
    let lacking = [("lacks cpus", 1), ("lacks mem", 1), ("no_agent_matches", 2)];
    assert_eq!(refused(&env, waits), reasons(&lacking));
    let offers = explain(&env, waits).offers.unwrap();
    assert_eq!((offers.n_offering, offers.n_looked_at), (4, 4));
}

#[test]
fn an_offer_that_would_hold_a_task_is_told_with_who_is_in_the_way() {
    let mut env = TestEnv::new(&["a max:db=1", "b"]);
    env.agent("m", "cpus=4");
    env.offer("m", "cpus=4");
    env.submit(task("a").demand("cpus=1 db=1"));
    env.offer("m", "cpus=3");
    let stopped = env.submit(task("a").demand("cpus=1 db=1"));
    assert_eq!(refused(&env, stopped), reasons(&[("queue_at_max", 1)]));
    // Before the turn nobody has been chosen yet.
    let tasks = vec![task("b").task];
    let mut out = Output::default();
    let request = Request::Submit { tasks };
    let engine = &mut env.engine;
    engine.on_request(env.now, request, &mut out).unwrap();
    assert_eq!(refused(&env, stopped + 1), reasons(&[("others_first", 1)]));
}

#[test]
fn of_many_offers_a_part_is_looked_at() {
    let mut env = TestEnv::new(&["a"]);
    let names: Vec<String> = (0..514).map(|number| format!("m{number}")).collect();
    let seen = names.iter().map(|name| Event::AgentSeen {
        agent: name.as_str().into(),
        total: amounts("cpus=2"),
        attributes: words(""),
    });
    let mut events: Vec<Event> = seen.collect();
    events.extend(names.iter().map(|name| env.offer_of(name, "cpus=1")));
    env.events(events);
    let waits = env.submit(task("a").demand("cpus=2"));
    let offers = explain(&env, waits).offers.unwrap();
    assert_eq!((offers.n_offering, offers.n_looked_at), (514, 512));
    assert_eq!(offers.refused, reasons(&[("lacks cpus", 512)]));
}

#[test]
fn what_a_task_has_kept_for_itself_it_does_not_lack() {
    let mut env = TestEnv::new(&["small patience=100000", "big patience=60"]);
    let (resource, used) = ("db".into(), units(8));
    env.request(Request::ReportOutside { resource, used })
        .unwrap();
    env.agent("m1", "cpus=4 mem=4");
    env.submit(task("small").demand("cpus=1 mem=1").array(3));
    env.offer("m1", "cpus=4 mem=4");
    // They hold too little of memory or cpus for it, whatever runs there.
    env.agent("m2", "cpus=0.5 mem=4");
    env.agent("m3", "cpus=1 mem=1");
    let big = env.submit(task("big").demand("cpus=1 db=2 mem=4"));
    env.advance(60.0);
    env.submit(task("small").demand("cpus=1 mem=1").array(9));
    env.offer("m1", "cpus=1 mem=1");
    assert_eq!(explain(&env, big).reasons[0].code(), "claim");
    let offers = [("m2", "cpus=0.5 mem=4"), ("m3", "cpus=1 mem=0.5")];
    let offers = offers.map(|(agent, free)| env.offer_of(agent, free));
    env.events(offers.into());
    let lacking = [("lacks cpus", 1), ("lacks mem", 2)];
    assert_eq!(refused(&env, big), reasons(&lacking));
}
