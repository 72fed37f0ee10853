//! Tests of scenario files: what is read, and a wrong text for every rule.

use super::*;
use crate::sim::scenario::Action;

fn read(text: &str) -> Scenario {
    parse(text, &Registry::default()).expect("the text is right")
}

/// The errors of a text, one line each.
fn errors(text: &str) -> String {
    let read = parse(text, &Registry::default());
    read.expect_err("the text is wrong").to_string()
}

#[test]
fn resources_come_from_capacity_and_agents() {
    let scenario = read(
        "capacity = { db = 3 }\nagents = [{ name = \"m\", resources = { cpus = 1, gpus = 2 } }]\nsteps = [{ offer = \"all\" }]",
    );
    let names = scenario.settings.resources.iter();
    let names: Vec<&str> = names.map(|resource| &*resource.name).collect();
    assert_eq!(names, ["cpus", "db", "gpus", "mem"]);
    assert_eq!(scenario.agents[0].resources["gpus"].to_string(), "2");
}

#[test]
fn queues_may_be_written_as_in_the_configuration() {
    let list = read("queues = [{ path = \"a/b\", weight = 2 }]\nsteps = [{ offer = \"all\" }]");
    let table = read("[queues.\"a/b\"]\nweight = 2\n[[steps]]\noffer = \"all\"");
    assert_eq!(list.settings, table.settings);
    assert_eq!(list.settings.queues.len(), 2, "the parent, too");
}

#[test]
fn a_reload_changes_what_it_names_and_nothing_else() {
    let scenario = read(
        "queues = [{ path = \"a\", weight = 2, max = { cpus = 1 } }, { path = \"b\" }]\nsteps = [{ reload = { queues = [{ path = \"a\", weight = 3 }], policy = \"fifo\" } }]",
    );
    let Action::Reload(settings) = &scenario.steps[0].action else {
        panic!("another step");
    };
    let mut expected = scenario.settings.clone();
    expected.queues[0].weight = "3".parse().unwrap();
    expected.policy.name = "fifo".into();
    assert_eq!(**settings, expected);
}

#[test]
fn steps_know_their_number_and_line() {
    let scenario = read(
        "[[steps]]\noffer = \"all\"\n\n[[steps]]\nrepeat = { times = 2, steps = [\n{ offer = \"all\" },\n{ advance = \"1s\" } ] }",
    );
    let Action::Repeat { steps, .. } = &scenario.steps[1].action else {
        panic!("another step");
    };
    let all = scenario.steps.iter().chain(steps);
    let all: Vec<_> = all.map(|step| (&*step.number, step.line)).collect();
    assert_eq!(all, [("1", 2), ("2", 5), ("2.1", 6), ("2.2", 7)]);
}

#[test]
fn wrong_keys_and_names() {
    insta::assert_snapshot!(errors("agents = [{ name = \"m1\", resources = { cpus = 1 } }, { name = \"m1\" }, { resources = {} }]\nqueues = [{ path = \"a\", wieght = 1 }, { weight = 1 }, { path = \"a\" }, { path = \"a//b\" }]\n[capacity]\ncpus = 3\n[[steps]]\noffer = [\"m2\"]\n[[steps]]\nagent_lost = \"m9\"\n"), @r#"
    1:54: agents[1].resources: missing; write what it has, such as resources = { cpus = 8, mem = "16GiB" }
    1:54: agents[1]: there is an agent 'm1' already; choose another name
    1:71: agents[2].name: missing; write the agent's name, such as name = "m1"
    2:25: queues[0].wieght: unknown key; did you mean 'weight'?; known here: path, weight, min, max, policy, patience, queued_max, isolation, parameters, decision_log, user, limits
    2:39: queues[1].path: missing; write the queue's path, such as path = "maps"
    2:64: queues[2].path: stands twice; keep one of them
    2:73: queues[3].path: 'a//b' is no path of a queue: a segment between the slashes is empty; write it such as maps or maps/render
    4:1: capacity.cpus: is of host scope: agents bring it; give a cluster resource another name
    6:10: steps[0].offer[0]: unknown agent 'm2'; did you mean 'm1'?; known are m1
    8:14: steps[1].agent_lost: unknown agent 'm9'; did you mean 'm1'?; known are m1
    "#);
}

#[test]
fn wrong_steps() {
    insta::assert_snapshot!(errors("capacity = { db = 1 }\nsteps = [\n{ submit = { count = 1 } },\n{ submit = { queue = \"a\", demand = { gpus = 1 }, count = 0 } },\n{ offer = \"all\", expect = {} },\n{},\n{ expect = { runing = { a = 1 }, dominant_share = { a = \"1/0\" } } },\n{ expect = { share = { a = { gpus = 1 } } } },\n{ finish = { outcome = \"gone\" } },\n{ finish = { count = \"some\" } },\n{ advance = 5 },\n{ outside = { cpus = 1 } },\n{ repeat = { times = 2 } },\n3,\n]"), @r#"
    3:3: steps[0].submit.queue: missing; write the queue's path, such as queue = "maps"
    4:45: steps[1].submit.demand.gpus: unknown resource 'gpus'; did you mean 'cpus'?; known are cpus, db, mem; others are declared in [resources]
    4:58: steps[1].submit.count: must be from 1 to 1000000, but is 0
    5:1: steps[2]: a step has exactly one of submit, offer, expect, finish, advance, outside, cancel, reload, agent, agent_lost, repeat; this one has 2
    6:1: steps[3]: a step has exactly one of submit, offer, expect, finish, advance, outside, cancel, reload, agent, agent_lost, repeat; this one has 0
    7:14: steps[4].expect.runing: unknown key; did you mean 'running'?; known here: launched, launched_counts, launched_names, launched_on, running, waiting, unsatisfiable, used, dominant_share, share, entitlement, fairness_error, claims, order, refused, state, why, agents
    7:57: steps[4].expect.dominant_share.a: must be a number, or a fraction such as "2/3", but is the string "1/0"
    8:37: steps[5].expect.share.a.gpus: unknown resource 'gpus'; did you mean 'cpus'?; known are cpus, db, mem; others are declared in [resources]
    9:24: steps[6].finish.outcome: unknown outcome 'gone'; known are succeeded, failed, lost
    10:22: steps[7].finish.count: must be a whole number, but is the string "some"
    11:13: steps[8].advance: '5' has no unit; write one of ms, s, m, h, d, such as "5s"
    12:15: steps[9].outside.cpus: is of host scope; write the name of one of [capacity]
    13:3: steps[10].repeat.times: missing; write how often and what, such as { times = 3, steps = [{ offer = "all" }] }
    14:1: steps[11]: must be a table, but is the number 3
    "#);
}

#[test]
fn there_must_be_steps() {
    assert_eq!(
        errors("policy = \"drf\""),
        "1:1: steps: missing; write at least one step, such as [[steps]] and below it offer = \"all\""
    );
}
