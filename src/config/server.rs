//! `[server]` and `[server.tls]`: where the daemon listens, under which names, and how it is kept safe there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::errors::Problem;
use super::sections::set;
use super::walk::{Field, Report, Section};
use super::{BackendConfig, ServerConfig, TlsConfig};

/// Bodies beyond this would make one call hold the whole daemon's memory.
const BODY_MAX_BYTES: std::ops::RangeInclusive<u64> = 1024..=1 << 30;

/// Each connection costs a file handle and a few tens of KiB.
const CONNECTIONS_MAX: std::ops::RangeInclusive<u64> = 16..=1_000_000;

/// A stream or a call that waits costs its connection and little more.
const LASTING_MAX: std::ops::RangeInclusive<u64> = 1..=1_000_000;

/// Shorter, and callers far away are cut off; longer, and whoever is slow on purpose holds connections for ever.
const TIMEOUT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);

const KEYS: [&str; 14] = [
    "listen",
    "data_dir",
    "retention",
    "body_max",
    "connections_max",
    "streams_max",
    "waits_max",
    "head_timeout",
    "body_timeout",
    "write_timeout",
    "names",
    "tls",
    "insecure",
    "reason",
];

/// Reads `[server]`.
pub(super) fn server(field: Option<Field<'_>>, report: &mut Report<'_>) -> ServerConfig {
    let mut server = ServerConfig::default();
    let Some(section) = field.and_then(|field| field.section(report)) else {
        return server;
    };
    section.refuse_others(&KEYS, &[], report);
    if let Some(field) = section.get("listen") {
        set(&mut server.listen, address(&field, report));
    }
    if let Some(field) = section.get("data_dir") {
        set(&mut server.data_dir, path(&field, "directory", report));
    }
    set(
        &mut server.retention,
        section
            .get("retention")
            .and_then(|field| field.duration(report)),
    );
    if let Some(field) = section.get("body_max") {
        match field.bytes(report) {
            Some(bytes) if BODY_MAX_BYTES.contains(&bytes) => {
                server.body_max_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            }
            Some(bytes) => field.report(
                report,
                Problem::OutOfRange {
                    range: "from 1KiB to 1GiB".into(),
                    found: format!("{bytes} bytes"),
                },
            ),
            None => {}
        }
    }
    limits(&mut server, &section, report);
    for field in section
        .get("names")
        .and_then(|field| field.items(report))
        .unwrap_or_default()
    {
        server.names.extend(host_name(&field, report));
    }
    server.tls = section.get("tls").and_then(|field| tls(&field, report));
    server.insecure = insecure(&section, report);
    server
}

/// What callers may take at most of connections and time.
fn limits(server: &mut ServerConfig, section: &Section<'_>, report: &mut Report<'_>) {
    for (name, range, limit) in [
        (
            "connections_max",
            CONNECTIONS_MAX,
            &mut server.connections_max,
        ),
        ("streams_max", LASTING_MAX, &mut server.streams_max),
        ("waits_max", LASTING_MAX, &mut server.waits_max),
    ] {
        if let Some(field) = section.get(name) {
            let number = field.whole(range, report);
            set(
                limit,
                number.and_then(|number| usize::try_from(number).ok()),
            );
        }
    }
    for (name, limit) in [
        ("head_timeout", &mut server.head_timeout),
        ("body_timeout", &mut server.body_timeout),
        ("write_timeout", &mut server.write_timeout),
    ] {
        if let Some(field) = section.get(name) {
            let time = field.duration_within(&TIMEOUT, "from 100ms to 1d", report);
            set(limit, time);
        }
    }
}

/// An IP address and a port.
pub(super) fn address(field: &Field<'_>, report: &mut Report<'_>) -> Option<SocketAddr> {
    let text = field.string(report)?;
    let address = text.parse().ok();
    if address.is_none() {
        field.report(report, Problem::NameSyntax {
            what: "address to listen on",
            found: text.to_owned(),
            rule: "write an IP address and a port, such as \"127.0.0.1:7070\", \"0.0.0.0:7070\" or \"[::1]:7070\"".into(),
        });
    }
    address
}

fn path(field: &Field<'_>, what: &str, report: &mut Report<'_>) -> Option<PathBuf> {
    match field.string(report)? {
        "" => {
            let problem = Problem::Conflict(format!("is empty; name a {what}"));
            field.report(report, problem);
            None
        }
        text => Some(PathBuf::from(text)),
    }
}

fn host_name(field: &Field<'_>, report: &mut Report<'_>) -> Option<String> {
    let name = field.string(report)?;
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if is_name {
        return Some(name.to_owned());
    }
    let problem = Problem::NameSyntax {
        what: "name of a host",
        found: name.to_owned(),
        rule: "write it as callers do, without a port, such as \"scheduler.example.org\"".into(),
    };
    field.report(report, problem);
    None
}

fn tls(field: &Field<'_>, report: &mut Report<'_>) -> Option<TlsConfig> {
    let section = field.section(report)?;
    section.refuse_others(&["cert_file", "key_file", "client_ca_file"], &[], report);
    let mut file = |name: &str, what: &'static str| match section.get(name) {
        Some(field) => path(&field, "file", report),
        None => {
            section.report_missing(name, what, report);
            None
        }
    };
    let cert_file = file(
        "cert_file",
        "the file with the certificate, and those between it and its authority",
    );
    let key_file = file("key_file", "the file with the certificate's private key");
    let client_ca_file = section
        .get("client_ca_file")
        .and_then(|field| path(&field, "file", report));
    Some(TlsConfig {
        cert_file: cert_file?,
        key_file: key_file?,
        client_ca_file,
    })
}

/// Why the daemon may be reached without tokens, where the file says that it may.
fn insecure(section: &Section<'_>, report: &mut Report<'_>) -> Option<String> {
    let wanted = section
        .get("insecure")
        .and_then(|field| field.boolean(report))
        .unwrap_or(false);
    match (wanted, section.get("reason")) {
        (true, Some(reason)) => match reason.string(report)? {
            "" => {
                let what = "is empty; say why it is safe that whoever reaches the daemon can run commands on it";
                reason.report(report, Problem::Conflict(what.into()));
                None
            }
            text => Some(text.to_owned()),
        },
        (true, None) => {
            let what = "why it is safe that whoever reaches the daemon can run commands on it";
            section.report_missing("reason", what, report);
            None
        }
        (false, Some(reason)) => {
            let what = "goes with insecure = true; leave it away";
            reason.report_key(report, Problem::Conflict(what.into()));
            None
        }
        (false, None) => None,
    }
}

/// The name under which agents are told to reach the daemon is one of its names.
pub(super) fn with_advertised(mut server: ServerConfig, backend: &BackendConfig) -> ServerConfig {
    if let BackendConfig::Mesos(mesos) = backend
        && let Some(url) = mesos.advertise.as_ref()
        && let Ok(url) = reqwest::Url::parse(url)
        && let Some(name) = url.host_str()
    {
        server.names.push(name.to_owned());
    }
    server
}
