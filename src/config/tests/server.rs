//! `[server]`: names, encryption, and when it may be reached without tokens.

use super::*;

#[test]
fn names_certificates_and_limits_are_read() {
    let server = parse(
        r#"
        [server]
        names = ["sched.example.org"]
        connections_max = 16
        streams_max = 1
        waits_max = 2
        head_timeout = "100ms"
        body_timeout = "2m"
        write_timeout = "1d"
        insecure = true
        reason = "a network of one"
        [server.tls]
        cert_file = "cert.pem"
        key_file = "key.pem"
        [metrics]
        listen = "127.0.0.1:0"
        "#,
    )
    .unwrap();
    assert_eq!(server.metrics.listen, "127.0.0.1:0".parse().ok());
    let server = server.server;
    assert_eq!(server.names, ["sched.example.org"]);
    assert_eq!(
        (server.connections_max, server.streams_max, server.waits_max),
        (16, 1, 2)
    );
    let seconds = [
        server.head_timeout,
        server.body_timeout,
        server.write_timeout,
    ]
    .map(|time| time.as_secs_f64());
    assert_eq!(seconds, [0.1, 120.0, 86_400.0]);
    assert_eq!(server.insecure.as_deref(), Some("a network of one"));
    let tls = server.tls.unwrap();
    assert_eq!(tls.cert_file, Path::new("cert.pem"));
    assert_eq!(tls.client_ca_file, None);
    assert_eq!(
        parse("[server]\ninsecure = false").unwrap().server.insecure,
        None
    );
}

#[test]
fn the_name_that_agents_are_told_is_one_of_the_daemons() {
    let text = "[backend]\nkind = \"mesos\"\n[backend.mesos]\nmasters = [\"http://m:5050\"]\nadvertise = \"http://sched:7070\"";
    assert_eq!(parse(text).unwrap().server.names, ["sched"]);
}

#[test]
fn every_wrong_thing_says_what_to_write() {
    let text = r#"
[server]
names = ["sched:7070", "ok", ""]
connections_max = 3
streams_max = 0
head_timeout = "2d"
reason = "none"
[server.tls]
cert_file = ""
"#;
    insta::assert_snapshot!(errors(text), @r#"
    3:10: server.names[0]: 'sched:7070' is no name of a host: write it as callers do, without a port, such as "scheduler.example.org"
    3:30: server.names[2]: '' is no name of a host: write it as callers do, without a port, such as "scheduler.example.org"
    4:19: server.connections_max: must be from 16 to 1000000, but is 3
    5:15: server.streams_max: must be from 1 to 1000000, but is 0
    6:16: server.head_timeout: must be from 100ms to 1d, but is 2days
    7:1: server.reason: goes with insecure = true; leave it away
    8:9: server.tls.key_file: missing; write the file with the certificate's private key
    9:13: server.tls.cert_file: is empty; name a file
    "#);
    for (text, says) in [
        (
            "insecure = true",
            "server.reason: missing; write why it is safe",
        ),
        (
            "insecure = \"yes\"",
            "server.insecure: must be true or false",
        ),
        (
            "insecure = true\nreason = \"\"",
            "server.reason: is empty; say why",
        ),
    ] {
        let said = errors(&format!("[server]\n{text}"));
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn the_most_queued_tasks_of_a_queue_are_read_and_queues_are_counted() {
    let text = "[queues.maps]\nqueued_max = 7\n[queues.search]\n";
    let queues = parse(text).unwrap().engine.queues;
    let found: Vec<_> = queues.iter().map(|queue| queue.queued_max).collect();
    assert_eq!(found, [Some(7), None]);
    let said = errors("[queues.maps]\nqueued_max = 0\n");
    assert!(
        said.contains("queues.maps.queued_max: must be from 1 to"),
        "{said}"
    );
    let many: String = (0..=100_000).map(|n| format!("q{n} = {{}}\n")).collect();
    let said = errors(&format!("[queues]\n{many}"));
    assert!(
        said.contains("queues: declares 100001 queues; at most 100000"),
        "{said}"
    );
}
