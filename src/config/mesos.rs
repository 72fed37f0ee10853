//! The section `[backend.mesos]`, and what `[queues]` says for Mesos only: `isolation`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::errors::Problem;
use super::sections::{amounts, set, unknown_name};
use super::walk::{Field, Report, Section};
use super::{BackendConfig, Credentials, Masters, MesosConfig, ServerConfig};
use crate::engine::settings::{QueueConfig, ResourceSettings, Scope};

const KNOWN: [&str; 18] = [
    "masters",
    "zk",
    "scheme",
    "role",
    "user",
    "name",
    "advertise",
    "principal",
    "secret_file",
    "ca_file",
    "executor_ca_file",
    "failover_timeout",
    "heartbeat_timeout",
    "decline_for",
    "unreachable_for",
    "executor",
    "executor_idle",
    "hostname",
];

/// Mesos sends a heartbeat every 15 s.
const HEARTBEAT: RangeInclusive<Duration> =
    Duration::from_secs(16)..=Duration::from_secs(24 * 60 * 60);
/// Mesos caps a filter at a year.
const DECLINE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 60 * 60);
/// Ten years; Mesos refuses what it can't count in nanoseconds.
const FAILOVER: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Reads a key that names a file.
fn file(key: &str, section: &Section<'_>, report: &mut Report<'_>) -> Option<PathBuf> {
    let name = section.get(key)?.string(report)?;
    Some(PathBuf::from(name))
}

/// Reads `[backend.mesos]`. `parent` is `[backend]`.
pub(super) fn mesos(
    parent: &Section<'_>,
    resources: &[ResourceSettings],
    report: &mut Report<'_>,
) -> MesosConfig {
    let mut config = MesosConfig::default();
    let cluster = resources
        .iter()
        .filter(|resource| matches!(resource.scope, Scope::Cluster { .. }));
    config.placement.cluster_resources =
        cluster.map(|resource| Arc::clone(&resource.name)).collect();
    let Some(section) = parent.get("mesos") else {
        let example = "[backend.mesos] with masters = [\"http://10.0.0.1:5050\"] or zk = \"zk://10.0.0.1:2181/mesos\"";
        parent.report_missing("mesos", example, report);
        return config;
    };
    let Some(section) = section.section(report) else {
        return config;
    };
    section.refuse_others(&KNOWN, &[], report);
    if let Some(masters) = masters(&section, report) {
        config.masters = masters;
    }
    names(&mut config, &section, report);
    config.credentials = credentials(&section, report);
    config.ca_file = file("ca_file", &section, report);
    config.executor_ca_file = file("executor_ca_file", &section, report);
    let mut within = |key: &str, range: RangeInclusive<Duration>, target: &mut Duration| {
        if let Some(field) = section.get(key) {
            let words = format!(
                "from {} to {}",
                humantime::format_duration(*range.start()),
                humantime::format_duration(*range.end())
            );
            set(target, field.duration_within(&range, &words, report));
        }
    };
    let any = Duration::ZERO..=*FAILOVER.end();
    within("failover_timeout", FAILOVER, &mut config.failover_timeout);
    within(
        "heartbeat_timeout",
        HEARTBEAT,
        &mut config.heartbeat_timeout,
    );
    within("decline_for", DECLINE, &mut config.decline_for);
    within("unreachable_for", any.clone(), &mut config.unreachable_for);
    within("executor_idle", any, &mut config.executor_idle);
    if let Some(executor) = section
        .get("executor")
        .and_then(|field| field.section(report))
    {
        config
            .executor
            .extend(amounts(&executor, resources, report));
        for field in executor.fields() {
            let name: &str = field.name;
            if config.placement.cluster_resources.contains(name) {
                let what = format!("'{name}' is of cluster scope; an executor has none of it");
                field.report_key(report, Problem::Conflict(what));
            }
        }
    }
    config
}

/// Agents must be told an address of the daemon: one of the two keys has to say it.
pub(super) fn check_address(
    root: &Section<'_>,
    server: &ServerConfig,
    backend: &BackendConfig,
    report: &mut Report<'_>,
) {
    let BackendConfig::Mesos(mesos) = backend else {
        return;
    };
    if !server.listen.ip().is_unspecified() || mesos.advertise.is_some() {
        return;
    }
    let section = root.get("server").and_then(|field| field.section(report));
    if let Some(listen) = section.and_then(|section| section.get("listen")) {
        let what = "is every address of this machine, so agents of Mesos can't be told one; set backend.mesos.advertise to the URL under which they reach this daemon, such as \"http://10.0.0.1:7070\"";
        listen.report(report, Problem::Conflict(what.to_owned()));
    }
}

/// Words that must not be empty, and the role, whose rules are those of Mesos.
fn names(config: &mut MesosConfig, section: &Section<'_>, report: &mut Report<'_>) {
    let mut word = |key: &str| {
        let field = section.get(key)?;
        let word = field.string(report)?;
        if word.is_empty() {
            field.report(report, Problem::Conflict("is empty".into()));
            return None;
        }
        Some(word.to_owned())
    };
    if let Some(user) = word("user") {
        config.user = user;
    }
    if let Some(name) = word("name") {
        config.name = name;
    }
    config.hostname = word("hostname");
    if let Some(role) = word("role") {
        config.role = role.into();
    }
    if let Some(field) = section.get("role")
        && !is_role(&config.role)
    {
        field.report(
            report,
            Problem::NameSyntax {
                what: "name of a role",
                found: config.role.to_string(),
                rule: "write segments joined by /, without spaces, none of them ., .. or *, and none with - first".into(),
            },
        );
    }
    if let Some(field) = section.get("advertise")
        && let Some(url) = field.string(report)
    {
        config.advertise = base_url(&field, url, report);
    }
}

/// Whether Mesos takes it for a role.
fn is_role(role: &str) -> bool {
    let is_segment = |segment: &str| {
        !segment.is_empty()
            && !matches!(segment, "." | ".." | "*")
            && !segment.starts_with('-')
            && !segment.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    role == "*" || role.split('/').all(is_segment)
}

fn masters(section: &Section<'_>, report: &mut Report<'_>) -> Option<Masters> {
    let scheme = match section.get("scheme") {
        None => "http",
        Some(field) => match field.string(report)? {
            scheme @ ("http" | "https") => scheme,
            other => {
                field.report(report, unknown_name("scheme", other, &["http", "https"]));
                return None;
            }
        },
    };
    match (section.get("masters"), section.get("zk")) {
        (Some(field), None) => {
            let texts = field.strings(report)?;
            if texts.is_empty() {
                field.report(report, Problem::Conflict("names no master".into()));
            }
            let urls = texts.into_iter();
            let urls = urls.filter_map(|url| base_url(&field, url, report));
            Some(Masters::Urls(urls.collect()))
        }
        (None, Some(field)) => {
            let text = field.string(report)?;
            let masters = zookeeper(text, scheme);
            if masters.is_none() {
                field.report(report, Problem::NameSyntax {
                    what: "place in ZooKeeper",
                    found: text.to_owned(),
                    rule: "write zk://host1:2181,host2:2181/path, perhaps with user:password@ before the hosts".into(),
                });
            }
            masters
        }
        (Some(_), Some(field)) => {
            let what = "stands beside masters; keep one of the two".to_owned();
            field.report_key(report, Problem::Conflict(what));
            None
        }
        (None, None) => {
            let example =
                "masters = [\"http://10.0.0.1:5050\"], or zk = \"zk://10.0.0.1:2181/mesos\"";
            section.report_missing("masters", example, report);
            None
        }
    }
}

fn zookeeper(text: &str, scheme: &str) -> Option<Masters> {
    let rest = text.strip_prefix("zk://")?;
    let (auth, rest) = match rest.rsplit_once('@') {
        Some((auth, rest)) => (
            Some(auth).filter(|it| it.contains(':'))?.to_owned().into(),
            rest,
        ),
        None => (None, rest),
    };
    let (hosts, path) = rest.split_once('/')?;
    let is_host = |host: &str| !host.is_empty() && !host.contains(char::is_whitespace);
    let is_path = !path.is_empty() && path.split('/').all(|segment| !segment.is_empty());
    (hosts.split(',').all(is_host) && is_path).then(|| Masters::ZooKeeper {
        hosts: hosts.to_owned(),
        path: format!("/{path}"),
        auth,
        scheme: scheme.to_owned(),
    })
}

/// A URL of a server, without a path.
fn base_url(field: &Field<'_>, text: &str, report: &mut Report<'_>) -> Option<String> {
    let parsed = reqwest::Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some()
            && url.path() == "/"
            && url.query().is_none()
            && url.username().is_empty()
    });
    if parsed.is_none() {
        field.report(
            report,
            Problem::NameSyntax {
                what: "URL of a server",
                found: text.to_owned(),
                rule: "write it such as \"http://10.0.0.1:5050\" or \"https://[fd00::1]:5050\", without a path".into(),
            },
        );
    }
    parsed.map(|url| url.as_str().trim_end_matches('/').to_owned())
}

fn credentials(section: &Section<'_>, report: &mut Report<'_>) -> Option<Credentials> {
    let principal = section.get("principal");
    let secret = section.get("secret_file");
    match (principal, secret) {
        (None, None) => None,
        (None, Some(field)) => {
            let what = "needs a principal beside it".to_owned();
            field.report_key(report, Problem::Conflict(what));
            None
        }
        (Some(field), secret) => {
            let principal = field.string(report)?.to_owned();
            if principal.is_empty() || principal.contains(':') {
                let what = "must not be empty, and must not contain ':'".to_owned();
                field.report(report, Problem::Conflict(what));
            }
            let secret_file = secret.and_then(|field| field.string(report));
            Some(Credentials {
                principal,
                secret_file: secret_file.map(PathBuf::from),
            })
        }
    }
}

/// The leaves whose tasks have a container each: `isolation = "task"` of a queue holds for those below it too.
pub(super) fn isolated(
    field: Option<Field<'_>>,
    queues: &[QueueConfig],
    report: &mut Report<'_>,
) -> BTreeSet<Arc<str>> {
    let mut said: BTreeMap<&str, bool> = BTreeMap::new();
    let tables = field.filter(Field::is_table);
    let tables = tables.and_then(|field| field.section(report));
    for field in tables.iter().flat_map(Section::fields) {
        if !field.is_table() {
            continue;
        }
        let section = field.section(report);
        let Some(isolation) = section.and_then(|section| section.get("isolation")) else {
            continue;
        };
        match isolation.string(report) {
            Some("task") => drop(said.insert(field.name, true)),
            Some("shared") => drop(said.insert(field.name, false)),
            Some(other) => {
                let problem = unknown_name("isolation", other, &["shared", "task"]);
                isolation.report(report, problem);
            }
            None => {}
        }
    }
    let is_isolated = |path: &str| {
        let above = path.rmatch_indices('/').map(|(end, _)| &path[..end]);
        let said = [path]
            .into_iter()
            .chain(above)
            .find_map(|path| said.get(path));
        said.copied().unwrap_or(false)
    };
    queues
        .iter()
        .map(|queue| Arc::clone(&queue.path))
        .filter(|path| is_isolated(path))
        .collect()
}
