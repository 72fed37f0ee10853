//! Tests of the configuration: what is read, and a wrong text for every rule.

use super::*;
use crate::engine::settings::{PolicyConfig, Scope};

mod containment;
mod fairness;
mod keys;
mod mesos;
mod server;

/// A text with the built-in policies.
fn parse(text: &str) -> Result<Config, ConfigErrors> {
    super::parse(text, &Registry::default())
}

/// The errors of a text, one line each.
fn errors(text: &str) -> String {
    parse(text).expect_err("the text is wrong").to_string()
}

fn units(units: u64) -> Amount {
    Amount::from_units(units).unwrap()
}

fn queue_paths(config: &Config) -> Vec<&str> {
    config
        .engine
        .queues
        .iter()
        .map(|queue| &*queue.path)
        .collect()
}

#[test]
fn the_documented_file_says_the_defaults() {
    let text = include_str!("../../config/apportion.toml");
    assert_eq!(parse(text), Ok(Config::default_local()));
}

/// The tables of `[queues]` and `[resources]` are all alike.
fn section_of(table: &str) -> String {
    match table {
        "backend.mesos" | "server.tls" | "tasks.limits" => table.to_owned(),
        _ => table.split('.').next().unwrap().to_owned(),
    }
}

/// With the comments in front of its examples taken away, the documented file names every key there is.
#[test]
fn the_documented_file_is_complete() {
    let text = include_str!("../../config/apportion.toml");
    let mut keys = Vec::new();
    let mut section = String::new();
    for line in text.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(header) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = section_of(header);
            keys.extend(Some(section.clone()).filter(|section| section.contains('.')));
            if let Some(part) = header.split('.').nth(2) {
                keys.push(format!("{section}.{part}"));
            }
        } else if let Some((key, _)) = line.split_once(" = ")
            && key
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        {
            keys.push(format!("{section}.{key}"));
        }
    }
    // The errors about a wrong key list what is known, so they can't forget one.
    let every_section = "[server]\n?=1\n[server.tls]\n?=1\n[policy]\n?=1\n[tasks]\n?=1\n[tasks.limits]\n?=1\n[resources.r]\n?=1\n[resources.o]\nscope=\"cluster\"\ncapacity=1\n[resources.o.outside]\n?=1\n[queues.q]\n?=1\n[backend]\nkind=\"mesos\"\n?=1\n[backend.mesos]\n?=1\n[metrics]\n?=1\n[traces]\n?=1\n[python]\n?=1\n";
    let mut known = Vec::new();
    for error in parse(&every_section.replace('?', "zzzzzz"))
        .unwrap_err()
        .errors
    {
        if let Problem::UnknownKey { known: keys, .. } = error.problem {
            let (table, _) = error.key.rsplit_once('.').unwrap();
            let section = section_of(table);
            known.extend(keys.iter().map(|key| format!("{section}.{key}")));
        }
    }
    keys.sort();
    known.sort();
    assert_eq!(keys, known);
    assert_eq!(
        known.len(),
        14 + 3 + 6 + 8 + 6 + 3 + 6 + 11 + 5 + 18 + 3 + 2 + 5
    );
}

const EVERYTHING: &str = r#"
    policy = "fifo"
    [server]
    listen = "[::1]:0"
    data_dir = "/data"
    retention = "1d"
    body_max = "1MiB"
    [tasks]
    demand = { cpus = 0.5, mem = "2GiB", licence = 0 }
    live_max = 5
    [resources.licence]
    scope = "cluster"
    capacity = 3
    [resources.gpus]
    scope = "host"
    [queues."maps/render"]
    weight = 2.5
    max = { licence = 1, mem = 1024 }
    [queues.maps]
    policy = { name = "weighted", resource = "cpus" }
    [queues.search]
    policy = { name = "weighted", resource = "tasks" }
    [backend]
    resources = { gpus = 2, mem = "1TiB" }
    attributes = { rack = "r1" }
    limits = "watch"
"#;

#[test]
fn server_tasks_and_backend_are_read() {
    let config = parse(EVERYTHING).unwrap();
    assert_eq!(config.server.listen, "[::1]:0".parse().unwrap());
    assert_eq!(config.server.data_dir, Path::new("/data"));
    assert_eq!(config.server.retention, Duration::from_secs(86_400));
    assert_eq!(config.server.body_max_bytes, 1 << 20);
    assert_eq!(config.engine.live_max, 5);
    let half = "0.5".parse().unwrap();
    assert_eq!(
        config.defaults.demand,
        BTreeMap::from([("cpus".into(), half), ("mem".into(), units(2048))])
    );
    let BackendConfig::Local(local) = config.backend else {
        panic!("another backend")
    };
    assert_eq!(local.limits, LimitMode::Watch);
    assert_eq!(
        local.resources,
        BTreeMap::from([("gpus".into(), units(2)), ("mem".into(), units(1 << 20))])
    );
    assert_eq!(
        local.attributes,
        BTreeMap::from([("rack".into(), "r1".into())])
    );
}

#[test]
fn resources_queues_and_policies_are_read() {
    let config = parse(EVERYTHING).unwrap();
    let resources = config.engine.resources.iter();
    let licence = Scope::Cluster { capacity: units(3) };
    assert_eq!(
        resources
            .map(|it| (&*it.name, it.scope))
            .collect::<Vec<_>>(),
        [
            ("cpus", Scope::Host),
            ("gpus", Scope::Host),
            ("licence", licence),
            ("mem", Scope::Host)
        ]
    );
    assert_eq!(queue_paths(&config), ["maps", "maps/render", "search"]);
    let [maps, render, search] = &config.engine.queues[..] else {
        panic!("three queues")
    };
    let weighted = |resource: Option<&str>| {
        Some(PolicyConfig {
            half_life: None,
            name: "weighted".into(),
            resource: resource.map(Into::into),
        })
    };
    assert_eq!(maps.policy, weighted(Some("cpus")));
    assert_eq!(search.policy, weighted(None));
    assert_eq!(render.weight.milli(), 2500);
    assert_eq!(
        render.max,
        [("licence".into(), units(1)), ("mem".into(), units(1024))]
    );
    assert_eq!(config.engine.policy.name.as_ref(), "fifo");
}

#[test]
fn parents_come_before_children_and_otherwise_the_order_of_the_text_holds() {
    let config =
        parse("[queues]\n\"z/y/x\" = {}\nb = {}\n\"a/1\" = {}\na = {weight = 3}\n\"z/w\" = {}")
            .unwrap();
    assert_eq!(
        queue_paths(&config),
        ["z", "z/y", "z/y/x", "b", "a", "a/1", "z/w"]
    );
    assert_eq!(config.engine.queues[4].weight.milli(), 3000);
    assert_eq!(queue_paths(&parse("[queues]").unwrap()), ["default"]);
}

#[test]
fn all_errors_come_at_once_in_the_order_of_the_file() {
    let text = "[server]\nlisten = 7070\nretenton = \"7d\"\n[queues.a]\nweight = 0\nmax = { cpus = -1, gpus = 1 }\n";
    insta::assert_snapshot!(errors(text), @r#"
    2:10: server.listen: must be a string, but is the number 7070
    3:1: server.retenton: unknown key; did you mean 'retention'?; known here: listen, data_dir, retention, body_max, connections_max, streams_max, waits_max, head_timeout, body_timeout, write_timeout, names, tls, insecure, reason
    5:10: queues.a.weight: must be above 0 and at most 4294967, with at most three digits behind the point, but is 0
    6:16: queues.a.max.cpus: '-1' is negative
    6:27: queues.a.max.gpus: unknown resource 'gpus'; did you mean 'cpus'?; known are cpus, mem; others are declared in [resources]
    "#);
}

#[test]
fn wrong_types() {
    insta::assert_snapshot!(errors("server = 1\nqueues = []\n[tasks]\ndemand = 1\nkill_grace = true\nlost_max = \"many\"\nlive_max = 1.5\n[resources]\nr = 3\n[backend]\nattributes = { rack = 1 }\nlimits = 1979-05-27\n"), @r#"
    1:10: server: must be a table, but is the number 1
    2:10: queues: must be a table, but is an array
    4:10: tasks.demand: must be a table, but is the number 1
    5:14: tasks.kill_grace: must be a duration such as "10s", but is the boolean true
    6:12: tasks.lost_max: must be a whole number, but is the string "many"
    7:12: tasks.live_max: must be a whole number, but is the number 1.5
    9:5: resources.r: must be a table, but is the number 3
    11:23: backend.attributes.rack: must be a string, but is the number 1
    12:10: backend.limits: must be a string, but is the date 1979-05-27
    "#);
    insta::assert_snapshot!(errors("[queues.q]\nweight = \"2\"\nmax = { cpus = \"2\" }\npolicy = 3\n"), @r#"
    2:10: queues.q.weight: must be a number, but is the string "2"
    3:16: queues.q.max.cpus: must be a number without quotes, but is the string "2"
    4:10: queues.q.policy: must be a string, but is the number 3
    "#);
}

#[test]
fn wrong_units_and_ranges() {
    insta::assert_snapshot!(errors("[server]\nretention = 7\nbody_max = \"1GB\"\n[tasks]\ndemand = { mem = \"4GB\", cpus = 0.0001 }\nkill_grace = \"10 parsecs\"\nretry_pause = \"10m\"\nlost_max = -1\nlive_max = 0\n"), @r#"
    2:13: server.retention: '7' has no unit; write one of ms, s, m, h, d, such as "7s"
    3:12: server.body_max: unknown unit 'GB'; write GiB (powers of 1024), such as "4GiB"
    5:18: tasks.demand.mem: unknown unit 'GB'; write GiB (powers of 1024), such as "4GiB"
    5:32: tasks.demand.cpus: '0.0001' has more than three digits behind the point
    6:14: tasks.kill_grace: '10 parsecs' is not a duration; write a number with ms, s, m, h or d, such as "10s" or "1h 30m"
    7:15: tasks.retry_pause: the longest pause (5m) must not be shorter than the first, retry_pause (10m)
    8:12: tasks.lost_max: must be from 0 to 4294967295, but is -1
    9:12: tasks.live_max: must be from 1 to 4294967295, but is 0
    "#);
    insta::assert_snapshot!(errors("[server]\nbody_max = \"2GiB\"\n[tasks]\ndemand = { mem = 1e3, cpus = 281474976711 }\nretry_pause_max = \"10ms\"\n[backend]\nresources = { cpus = 0, mem = 0.0 }\n"), @r#"
    2:12: server.body_max: must be from 1KiB to 1GiB, but is 2147483648 bytes
    4:18: tasks.demand.mem: '1e3' is not a number such as 2 or 0.5
    4:30: tasks.demand.cpus: '281474976711' is too large
    5:19: tasks.retry_pause_max: the longest pause (10ms) must not be shorter than the first, retry_pause (1s)
    7:22: backend.resources.cpus: must be above 0, but is 0
    7:31: backend.resources.mem: must be above 0, but is 0
    "#);
}

#[test]
fn weights() {
    for weight in ["0", "0.0", "-1", "0.0001", "5000000", "inf", "nan", "1e2"] {
        let rule =
            "must be above 0 and at most 4294967, with at most three digits behind the point";
        assert_eq!(
            errors(&format!("[queues.a]\nweight = {weight}\n")),
            format!("2:10: queues.a.weight: {rule}, but is {weight}")
        );
    }
}

#[test]
fn keys_that_stand_twice_do_not_hide_other_errors() {
    insta::assert_snapshot!(errors("[queues.a]\nweight = 1\nweight = 2\n[queues.b]\nweight = 0\n[queues.a]\n"), @r#"
    3:1: weight: stands twice; keep one of them
    5:10: queues.b.weight: must be above 0 and at most 4294967, with at most three digits behind the point, but is 0
    6:9: a: stands twice; keep one of them
    "#);
}

#[test]
fn resources() {
    insta::assert_snapshot!(errors("[resources.cpus]\nscope = \"cluster\"\ncapacity = 3\n[resources.DB]\nscope = \"cluster\"\ncapacity = 3\n[resources.db]\nscope = \"host\"\ncapacity = 1\n[resources.none]\nscope = \"cluster\"\n[resources.some]\ncapacity = 1\n[resources.odd]\nscope = \"hots\"\n[resources.tasks]\nscope = \"host\"\n[resources.\"a-b\"]\nscope = \"host\"\n[resources.Mem]\nscope = \"host\"\n"), @r#"
    1:12: resources.cpus: 'cpus' is always of host scope: agents bring it; give a cluster resource another name
    7:12: resources.db: differs from 'DB' only by case; tasks couldn't tell the two apart in their environment, so choose another name
    9:1: resources.db.capacity: a host resource has no capacity of its own: agents bring it; leave this away, or write scope = "cluster"
    10:12: resources.none.capacity: missing; write how much the whole cluster has of it, such as capacity = 40
    12:12: resources.some.scope: missing; write scope = "host" where agents bring it, or scope = "cluster"
    15:9: resources.odd.scope: unknown scope 'hots'; did you mean 'host'?; known are host, cluster
    16:12: resources.tasks: 'tasks' is no name of a resource: the policy 'weighted' counts running tasks by that name; choose another
    18:12: resources.a-b: 'a-b' is no name of a resource: write letters, digits and _, a letter first, at most 64
    20:12: resources.Mem: differs from 'mem' only by case; tasks couldn't tell the two apart in their environment, so choose another name
    "#);
    assert!(parse("[resources.cpus]\nscope = \"host\"").is_ok());
    assert!(parse("[resources.db]\nscope = \"cluster\"\ncapacity = 0").is_ok());
}

#[test]
fn names_of_resources_in_use() {
    insta::assert_snapshot!(errors("[resources.db]\nscope = \"cluster\"\ncapacity = 1\n[tasks]\ndemand = { cpu = 1 }\n[queues.q]\nmax = { dp = 1 }\n[backend]\nresources = { db = 1, gpus = 1 }\n"), @r#"
    5:18: tasks.demand.cpu: unknown resource 'cpu'; did you mean 'cpus'?; known are cpus, db, mem; others are declared in [resources]
    7:14: queues.q.max.dp: unknown resource 'dp'; did you mean 'db'?; known are cpus, db, mem; others are declared in [resources]
    9:15: backend.resources.db: 'db' is of cluster scope; its amount is resources.db.capacity, so leave this away
    9:30: backend.resources.gpus: unknown resource 'gpus'; did you mean 'cpus'?; known are cpus, db, mem; others are declared in [resources]
    "#);
}

#[test]
fn paths_of_queues() {
    let long = "x".repeat(256);
    let deep = ["d"; 17].join("/");
    insta::assert_snapshot!(errors(&format!("[queues]\n\"a//b\" = {{}}\n\"/a\" = {{}}\n\"\" = {{}}\n\"a b\" = {{}}\n\"..\" = {{}}\n\"é\" = {{}}\n\"{long}\" = {{}}\n\"{deep}\" = {{}}\n")).replace(&long, "LONG"), @r#"
    2:1: queues."a//b": 'a//b' is no path of a queue: a segment between the slashes is empty; write it such as maps or maps/render
    3:1: queues."/a": '/a' is no path of a queue: a segment between the slashes is empty; write it such as maps or maps/render
    4:1: queues."": '' is no path of a queue: a segment between the slashes is empty; write it such as maps or maps/render
    5:1: queues."a b": 'a b' is no path of a queue: 'a b' has other characters than letters, digits, _, . and -, or only dots
    6:1: queues."..": '..' is no path of a queue: '..' has other characters than letters, digits, _, . and -, or only dots
    7:1: queues."é": 'é' is no path of a queue: 'é' has other characters than letters, digits, _, . and -, or only dots
    8:1: queues.LONG: 'LONG' is no path of a queue: it has 256 characters, at most 255 are allowed
    9:1: queues."d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d": 'd/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d' is no path of a queue: it has 17 segments, at most 16 are allowed
    "#);
}

#[test]
fn policies() {
    insta::assert_snapshot!(errors("[policy]\nname = \"dfr\"\n[queues.a]\npolicy = { name = \"drf\", resource = \"cpus\" }\n[queues.b]\npolicy = { name = \"weighted\", resource = \"cpu\" }\n[queues.c]\npolicy = { resource = \"cpus\" }\n[queues.d]\npolicy = \"fair\"\n"), @r#"
    2:8: policy.name: unknown policy 'dfr'; did you mean 'drf'?; known are drf, fifo, weighted
    4:26: queues.a.policy.resource: the policy 'drf' takes no resource; leave this away, or write name = "weighted"
    6:42: queues.b.policy.resource: unknown resource 'cpu'; did you mean 'cpus'?; known are cpus, mem; others are declared in [resources]
    8:1: queues.c.policy.name: missing; write the policy's name, such as name = "drf"
    10:10: queues.d.policy: unknown policy 'fair'; known are drf, fifo, weighted
    "#);
}

#[test]
fn server_and_backend() {
    insta::assert_snapshot!(errors("[server]\nlisten = \"localhost:7070\"\ndata_dir = \"\"\n[backend]\nkind = \"kubernetes\"\nlimits = \"cgroups\"\nattributes = { \"a b\" = \"c\" }\n"), @r#"
    2:10: server.listen: 'localhost:7070' is no address to listen on: write an IP address and a port, such as "127.0.0.1:7070", "0.0.0.0:7070" or "[::1]:7070"
    3:12: server.data_dir: is empty; name a directory
    5:8: backend.kind: unknown kind of backend 'kubernetes'; known are local, mesos
    6:10: backend.limits: unknown mode of limits 'cgroups'; did you mean 'cgroup'?; known are auto, cgroup, watch, off
    7:16: backend.attributes."a b": 'a b' is no name of an attribute: write letters, digits, _, . and -, at most 64
    "#);
}

#[test]
fn syntax_errors_have_a_place() {
    insta::assert_snapshot!(errors("[server]\nlisten = \n"), @"2:10: not TOML: string values must be quoted, expected literal string");
    insta::assert_snapshot!(errors("[queues.maps/render]\nweight = 1\n"), @r#"1:13: not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`; write a path with slashes in quotes: [queues."maps/render"]"#);
}

/// Whatever stands in the file, it is read or refused, and the refusal can be written down.
#[test]
fn no_text_is_a_panic() {
    let text = "[queues.\"kärten/ö\"]\nweight = 2 # é\n[resources]\nmem = \"4GiB\"\n";
    let odd = [
        "é", "🗺", "\"", "'''", "[", "=", "\\u", "\0", "\r", "-9e99", "{",
    ];
    let places = text.char_indices().map(|(place, _)| place);
    for place in places.chain([text.len()]) {
        let (before, behind) = text.split_at(place);
        for odd in odd {
            for text in [format!("{before}{odd}{behind}"), format!("{before}{odd}")] {
                if let Err(errors) = parse(&text) {
                    assert!(!errors.to_string().is_empty(), "{text}");
                }
            }
        }
    }
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let said = |path: &Path| {
        load(Some(path), &Registry::default())
            .unwrap_err()
            .to_string()
            .replace(&*dir.path().to_string_lossy(), "DIR")
    };
    insta::assert_snapshot!(said(&dir.path().join("none.toml")), @"DIR/none.toml: can't read the configuration: No such file or directory (os error 2); name an existing file with --config, or leave it away for the defaults");
    insta::assert_snapshot!(said(dir.path()), @"DIR: can't read the configuration: it is a directory; name an existing file with --config, or leave it away for the defaults");
    let latin = dir.path().join("latin.toml");
    std::fs::write(&latin, b"[server]\n# caf\xe9\n").unwrap();
    insta::assert_snapshot!(said(&latin), @"DIR/latin.toml:2:6: not UTF-8 from here on; save the file in UTF-8");
    std::fs::write(&latin, "[server]\nx = 1").unwrap();
    insta::assert_snapshot!(said(&latin), @"DIR/latin.toml:2:1: server.x: unknown key; known here: listen, data_dir, retention, body_max, connections_max, streams_max, waits_max, head_timeout, body_timeout, write_timeout, names, tls, insecure, reason");
}

#[test]
fn the_data_directory_counts_from_the_current_directory() {
    let expected = std::env::current_dir().unwrap().join("apportion-data");
    assert_eq!(
        load(None, &Registry::default()).unwrap().server.data_dir,
        expected
    );
}

#[test]
fn the_examples_are_valid() {
    for text in [
        include_str!("../../config/examples/team.toml"),
        include_str!("../../config/examples/db_connections.toml"),
    ] {
        assert_eq!(parse(text).map(|_| ()), Ok(()));
    }
}

#[test]
fn parameters_of_a_queue_are_kept_as_they_are_written() {
    let config = parse(
        "[queues.a]\nparameters = { due = 2026-12-01, factor = 1.50, team = \"maps\", urgent = true }",
    );
    let parameters = &config.unwrap().engine.queues[0].parameters;
    let shown: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        shown,
        ["due=2026-12-01", "factor=1.50", "team=maps", "urgent=true"]
    );
    assert_eq!(
        errors("[queues.a]\nparameters = { due = [1] }"),
        "2:22: queues.a.parameters.due: must be a string, a number, a boolean or a date, but is an array"
    );
}

#[test]
fn policies_are_those_of_the_registry() {
    let mut registry = Registry::default();
    registry.register("edf", |_| Arc::new(apportion_policies::Fifo));
    let text = "policy = { name = \"edf\" }";
    assert_eq!(
        &*super::parse(text, &registry).unwrap().engine.policy.name,
        "edf"
    );
    assert!(errors(text).contains("unknown policy 'edf'"));
}

#[test]
fn what_others_use_may_be_asked_of_a_command_or_a_url() {
    let text = "[resources.db]\nscope = \"cluster\"\ncapacity = 9\n[resources.db.outside]\ncommand = \"echo 3\"\nevery = \"20s\"\n[resources.api]\nscope = \"cluster\"\ncapacity = 9\n[resources.api.outside]\nurl = \"http://h/used\"\npointer = \"/a/0\"\n";
    let outside = parse(text).unwrap().outside;
    let db = &outside["db"];
    assert_eq!(db.source, OutsideSource::Command("echo 3".into()));
    assert_eq!(
        (db.every, db.timeout, db.stale_after),
        (
            Duration::from_secs(20),
            Duration::from_secs(5),
            Duration::from_secs(120)
        )
    );
    let pointer = Some("/a/0".into());
    let url = "http://h/used".into();
    assert_eq!(outside["api"].source, OutsideSource::Url { url, pointer });
    insta::assert_snapshot!(errors("[resources.a]\nscope = \"host\"\noutside = { command = \"x\" }\n[resources.b]\nscope = \"cluster\"\ncapacity = 1\noutside = { command = \"x\", url = \"http://h\" }\n[resources.c]\nscope = \"cluster\"\ncapacity = 1\noutside = { every = \"1ms\" }\n[resources.d]\nscope = \"cluster\"\ncapacity = 1\noutside = { url = \"h\", stale_after = \"1s\" }\n"), @r#"
    3:1: resources.a.outside: only a cluster resource is used from outside; leave this away, or write scope = "cluster"
    7:28: resources.b.outside.url: stands beside a command; keep one of them
    11:1: resources.c.outside: needs a command that prints the number, or a url that answers it
    11:21: resources.c.outside.every: must be from 100ms to 1d, but is 1ms
    15:19: resources.d.outside.url: must begin with http:// or https://
    15:38: resources.d.outside.stale_after: must not be shorter than every: each answer would be stale before the next
    "#);
}

#[test]
fn python_workers() {
    let config = parse(
        "[python]\ninterpreter = \"/opt/python/bin/python3\"\ntasks_max = 7\nmemory_growth = \"1GiB\"\nidle_max = 0\n\
         idle_time = \"5s\"\n",
    )
    .unwrap();
    let BackendConfig::Local(local) = config.backend else {
        panic!("the local backend is the default");
    };
    let expected = PythonConfig {
        interpreter: "/opt/python/bin/python3".into(),
        tasks_max: 7,
        memory_growth_bytes: 1 << 30,
        idle_max: 0,
        idle_time: Duration::from_secs(5),
    };
    assert_eq!(local.python, expected);
    insta::assert_snapshot!(errors("[python]\ninterpreter = \"\"\ntasks_max = 0\nidle_max = 20000\nidle_time = 5\n"), @r#"
    2:15: python.interpreter: is empty; name a program such as "python3"
    3:13: python.tasks_max: must be from 1 to 4294967295, but is 0
    4:12: python.idle_max: must be from 0 to 10000, but is 20000
    5:13: python.idle_time: '5' has no unit; write one of ms, s, m, h, d, such as "5s"
    "#);
}
