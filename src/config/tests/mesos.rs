//! `[backend.mesos]` and `isolation`: what is read, and a wrong text for every rule.

use super::*;
use crate::config::{Masters, MesosConfig};

fn mesos(text: &str) -> MesosConfig {
    let text = format!("[backend]\nkind = \"mesos\"\n{text}");
    match parse(&text).unwrap().backend {
        BackendConfig::Mesos(config) => *config,
        BackendConfig::Local(_) => panic!("another backend"),
    }
}

fn wrong(text: &str) -> String {
    errors(&format!("[backend]\nkind = \"mesos\"\n{text}"))
}

const MASTERS: &str = "[backend.mesos]\nmasters = [\"http://m1:5050\"]\n";

#[test]
fn what_is_documented_is_what_holds() {
    let text = include_str!("../../../config/apportion.toml");
    let (_, text) = text.split_once("# [backend.mesos]").unwrap();
    let (text, _) = text.split_once("\n[").unwrap();
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix("# ")?;
        let (key, _) = line.split_once(" = ")?;
        let is_key = key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let has_default = !matches!(
            key,
            "zk" | "hostname"
                | "advertise"
                | "principal"
                | "secret_file"
                | "ca_file"
                | "executor_ca_file"
        );
        (is_key && has_default).then_some(line)
    });
    let text = lines.collect::<Vec<&str>>().join("\n");
    let mut documented = mesos(&format!("[backend.mesos]\n{text}"));
    documented.masters = Masters::Urls(vec!["http://m1:5050".to_owned()]);
    assert_eq!(documented, mesos(MASTERS));
}

#[test]
fn everything_is_read() {
    let config = mesos(
        r#"
        [backend.mesos]
        masters = ["https://m1:5050/", "http://[fd00::1]:5050"]
        role = "eng/batch"
        user = "nobody"
        name = "batch"
        hostname = "s1"
        advertise = "http://[fd00::5]:7070"
        principal = "me"
        secret_file = "/etc/secret"
        ca_file = "/etc/ca.pem"
        executor_ca_file = "/etc/own.pem"
        failover_timeout = "1h"
        heartbeat_timeout = "30s"
        decline_for = "10m"
        unreachable_for = "0s"
        executor = { cpus = 0.1, mem = "32MiB" }
        executor_idle = "10s"
        [resources.db]
        scope = "cluster"
        capacity = 4
        [queues.a]
        isolation = "task"
        [queues."a/x"]
        isolation = "shared"
        [queues."a/y/z"]
        [queues.b]
        "#,
    );
    let urls = ["https://m1:5050", "http://[fd00::1]:5050"];
    assert_eq!(
        config.masters,
        Masters::Urls(urls.map(str::to_owned).into())
    );
    assert_eq!((&*config.role, &*config.user), ("eng/batch", "nobody"));
    assert_eq!(config.hostname.as_deref(), Some("s1"));
    assert_eq!(config.advertise.as_deref(), Some("http://[fd00::5]:7070"));
    assert_eq!(
        config.executor_ca_file.as_deref(),
        Some(Path::new("/etc/own.pem"))
    );
    let credentials = config.credentials.unwrap();
    assert_eq!(credentials.principal, "me");
    assert_eq!(
        credentials.secret_file.as_deref(),
        Some(Path::new("/etc/secret"))
    );
    assert_eq!(config.failover_timeout, Duration::from_secs(3600));
    assert_eq!(config.unreachable_for, Duration::ZERO);
    assert_eq!(config.executor["mem"], units(32));
    let isolated: Vec<&str> = config
        .placement
        .isolated_queues
        .iter()
        .map(|path| &**path)
        .collect();
    assert_eq!(isolated, ["a", "a/y", "a/y/z"]);
    assert!(config.placement.cluster_resources.contains("db"));
}

#[test]
fn a_place_in_zookeeper_is_read() {
    let config = mesos(
        "[backend.mesos]\nzk = \"zk://u:p@h1:2181,[::1]:2181/mesos/prod\"\nscheme = \"https\"",
    );
    let expected = Masters::ZooKeeper {
        hosts: "h1:2181,[::1]:2181".to_owned(),
        path: "/mesos/prod".to_owned(),
        auth: Some("u:p".to_owned()),
        scheme: "https".to_owned(),
    };
    assert_eq!(config.masters, expected);
}

#[test]
fn what_is_wrong_is_refused() {
    let cases = [
        ("", "backend.mesos: missing"),
        ("[backend.mesos]\n", "backend.mesos.masters: missing"),
        ("[backend.mesos]\nmasters = []", "names no master"),
        ("[backend.mesos]\nmasters = [1]", "must be a string"),
        (
            "[backend.mesos]\nmasters = [\"m1:5050\"]",
            "is no URL of a server",
        ),
        (
            "[backend.mesos]\nmasters = [\"http://m1/mesos\"]",
            "is no URL of a server",
        ),
        (
            "[backend.mesos]\nzk = \"h1:2181/mesos\"",
            "is no place in ZooKeeper",
        ),
        (
            "[backend.mesos]\nzk = \"zk://h1:2181\"",
            "is no place in ZooKeeper",
        ),
        (
            "[backend.mesos]\nzk = \"zk://u@h1:2181/m\"",
            "is no place in ZooKeeper",
        ),
        (
            "[backend.mesos]\nmasters = [\"http://m1\"]\nzk = \"zk://h1/m\"",
            "stands beside masters",
        ),
        (
            "limits = \"off\"\n",
            "backend.limits: is for kind = \"local\"",
        ),
    ];
    for (text, expected) in cases {
        let errors = wrong(text);
        assert!(errors.contains(expected), "{text}\n{errors}");
    }
    let everywhere =
        format!("[server]\nlisten = \"[::]:7070\"\n[backend]\nkind = \"mesos\"\n{MASTERS}");
    let refused = errors(&everywhere);
    assert!(refused.contains("server.listen"), "{refused}");
    assert!(refused.contains("set backend.mesos.advertise"), "{refused}");
    let advertised = format!("{everywhere}advertise = \"http://10.0.0.1:7070\"");
    assert!(parse(&advertised).is_ok());
    let cases = [
        ("role = \"a b\"", "is no name of a role"),
        ("role = \"a/../b\"", "is no name of a role"),
        ("user = \"\"", "is empty"),
        ("advertise = \"10.0.0.1:7070\"", "is no URL of a server"),
        ("secret_file = \"/s\"", "needs a principal"),
        ("principal = \"a:b\"", "must not contain ':'"),
        ("heartbeat_timeout = \"15s\"", "must be from 16s"),
        ("decline_for = \"2years\"", "must be from 1s"),
        ("failover_timeout = \"0s\"", "must be from 1s"),
        ("scheme = \"ftp\"", "unknown scheme 'ftp'"),
        ("executor = { gpus = 1 }", "unknown resource 'gpus'"),
        ("masters_ = 1", "unknown key"),
    ];
    for (text, expected) in cases {
        let errors = wrong(&format!("{MASTERS}{text}"));
        assert!(errors.contains(expected), "{text}\n{errors}");
    }
    let isolation = errors("[queues.a]\nisolation = \"pod\"");
    assert!(isolation.contains("unknown isolation 'pod'"), "{isolation}");
    let misplaced = errors("[backend.mesos]\nmasters = [\"http://m1\"]");
    assert!(misplaced.contains("is for kind = \"mesos\""), "{misplaced}");
}
