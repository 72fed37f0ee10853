//! Where the daemon listens, whom it lets in there, and how that is encrypted.

use std::fs;
use std::path::Path;
use std::process::Output;

use nix::sys::signal::Signal;

use super::tokens::make;
use crate::python;
use crate::support::authority::Authority;
use crate::support::daemon::Daemon;
use crate::support::http::Http;
use crate::support::wait;

#[test]
fn without_tokens_it_listens_on_the_loopback_only() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Daemon::try_start(folder.path(), "listen = \"0.0.0.0:0\"\n")
        .err()
        .expect("a daemon that others can reach must not start");
    assert!(
        refused.contains("no tokens are asked for") && refused.contains("token new"),
        "{refused}"
    );
    let insecure = "listen = \"0.0.0.0:0\"\ninsecure = true\nreason = \"a test\"\n";
    let daemon = Daemon::start(folder.path(), insecure);
    assert!(
        daemon.log().contains("whoever reaches it can run commands"),
        "{}",
        daemon.log()
    );
    let token = make(&daemon, folder.path(), "any", "*", "read");
    assert!(daemon.stop().success());
    // With a token it may, and says that tokens travel in the clear.
    let daemon = Daemon::start(folder.path(), "listen = \"0.0.0.0:0\"\n");
    assert!(
        daemon.log().contains("tokens can be read on the way"),
        "{}",
        daemon.log()
    );
    let mut command = daemon.command(&["tasks"]);
    assert!(
        command
            .env("APPORTION_TOKEN", token)
            .status()
            .unwrap()
            .success()
    );
}

/// An authority, and the file with its certificate.
struct Known {
    authority: Authority,
    file: String,
}

impl Known {
    fn make(folder: &Path, name: &str) -> Self {
        let authority = Authority::new();
        let file = folder.join(format!("{name}.pem"));
        fs::write(&file, authority.pem()).unwrap();
        Self {
            authority,
            file: file.display().to_string(),
        }
    }

    /// A certificate for this machine, and its key.
    fn sign(&self) -> (String, String) {
        self.authority.sign(&["127.0.0.1", "localhost"])
    }

    /// Puts a new certificate into the daemon's files.
    fn install(&self, folder: &Path) {
        let (certificate, key) = self.sign();
        fs::write(folder.join("cert.pem"), certificate).unwrap();
        fs::write(folder.join("key.pem"), key).unwrap();
    }

    /// A file with a certificate and its key.
    fn identity(&self, folder: &Path, name: &str) -> String {
        let (certificate, key) = self.sign();
        let file = folder.join(name);
        fs::write(&file, certificate + &key).unwrap();
        file.display().to_string()
    }
}

const TLS: &str = "[server.tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n";

fn queues(daemon: &Daemon, arguments: &[&str]) -> Output {
    let all = [&["queues"], arguments].concat();
    daemon.command(&all).output().unwrap()
}

#[test]
fn connections_are_encrypted_and_a_new_certificate_counts_at_sighup() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        Known::make(folder.path(), "first"),
        Known::make(folder.path(), "second"),
    );
    first.install(folder.path());
    let daemon = Daemon::start(folder.path(), TLS);
    assert!(daemon.url.starts_with("https://"), "{}", daemon.url);
    let known = queues(&daemon, &["--ca-file", &first.file]);
    assert!(known.status.success(), "{known:?}");
    for stranger in [&["--ca-file", &second.file][..], &[]] {
        assert_eq!(queues(&daemon, stranger).status.code(), Some(3));
    }
    let plain = daemon.url.replace("https://", "http://");
    assert!(Http::new(&plain).try_get("/healthz").is_err());
    // What can't be used changes nothing.
    let key = fs::read(folder.path().join("key.pem")).unwrap();
    fs::write(folder.path().join("key.pem"), "no key").unwrap();
    daemon.signal(Signal::SIGHUP);
    wait::for_true("the daemon to complain", || {
        daemon.log().contains("the certificate stays as it was")
    });
    fs::write(folder.path().join("key.pem"), key).unwrap();
    assert!(
        queues(&daemon, &["--ca-file", &first.file])
            .status
            .success()
    );
    second.install(folder.path());
    daemon.signal(Signal::SIGHUP);
    wait::for_true("the new certificate", || {
        queues(&daemon, &["--ca-file", &second.file])
            .status
            .success()
    });
    assert_eq!(
        queues(&daemon, &["--ca-file", &first.file]).status.code(),
        Some(3)
    );
}

#[test]
fn callers_without_a_certificate_stay_outside_where_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (
        Known::make(folder.path(), "own"),
        Known::make(folder.path(), "other"),
    );
    own.install(folder.path());
    let config = format!("{TLS}client_ca_file = \"own.pem\"\n");
    let daemon = Daemon::start(folder.path(), &config);
    let good = own.identity(folder.path(), "good.pem");
    let bad = other.identity(folder.path(), "bad.pem");
    let with = |file: &str| queues(&daemon, &["--ca-file", &own.file, "--cert-file", file]);
    assert!(with(&good).status.success(), "{:?}", with(&good));
    assert_eq!(with(&bad).status.code(), Some(3));
    assert_eq!(
        queues(&daemon, &["--ca-file", &own.file]).status.code(),
        Some(3)
    );
    let Some(python) = python::interpreter() else {
        return;
    };
    let run = |arguments: [&str; 2], names: [&str; 2]| {
        let script = format!("{PYTHON_CLIENTS}main({arguments:?}, {names:?})");
        python::run_with(&python, &["-c", &script], &[("DAEMON", &daemon.url)]);
    };
    // By what the caller gives, and by what stands in the environment.
    run([&own.file, &good], ["", ""]);
    run(["", ""], [&own.file, &good]);
}

/// Each client of the Python package, with and without what the daemon asks for.
const PYTHON_CLIENTS: &str = r#"
import asyncio, os, apportion
from apportion.errors import Unreachable

def main(given, named):
    url = os.environ["DAEMON"]
    ca, cert = (value or None for value in given)
    for name, value in zip(("APPORTION_CA_FILE", "APPORTION_CERT_FILE"), named):
        if value:
            os.environ[name] = value
    files = {"ca_file": ca, "cert_file": cert}
    with apportion.Client(url, **files) as client:
        assert client.queues()
    async def look():
        async with apportion.AsyncClient(url, **files) as client:
            assert await client.queues()
    asyncio.run(look())
    with apportion.Executor(url, **files) as pool:
        assert pool.submit(pow, 2, 5).result(timeout=120) == 32
    apportion.TaskExecuter(url, name="tls", **files).close()
    os.environ.pop("APPORTION_CERT_FILE", None)
    for less in ({"ca_file": ca}, {}):
        with apportion.Client(url, patience_seconds=0, **less) as client:
            try:
                client.queues()
            except Unreachable:
                continue
            raise SystemExit("a caller without a certificate was let in")
"#;

#[test]
fn a_certificate_that_cannot_be_used_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cert.pem"), "nothing").unwrap();
    let said = Daemon::try_start(folder.path(), TLS)
        .err()
        .expect("no certificate");
    assert!(
        said.contains("cert.pem") && said.contains("server.tls"),
        "{said}"
    );
}

#[test]
fn metrics_have_a_listener_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[metrics]\nlisten = \"127.0.0.1:0\"\n";
    let daemon = Daemon::start(folder.path(), config);
    let token = make(&daemon, folder.path(), "any", "*", "administer");
    let log = daemon.log();
    let (_, rest) = log.split_once("served to everybody at ").unwrap();
    let url = rest.split_once("/metrics").unwrap().0;
    let metrics = Http::new(url);
    assert!(
        metrics
            .get("/metrics")
            .text()
            .contains("apportion_queue_tasks")
    );
    let _ = metrics.get("/readyz").expect(200);
    for path in ["/v1/tasks", "/v1/queues", "/", "/openapi.json"] {
        let _ = metrics.get(path).expect_error(404, "not_found");
    }
    let _ = daemon
        .http
        .get("/metrics")
        .expect_error(401, "token_missing");
    let shown = daemon.http.get_as(&token, "/metrics");
    assert_eq!(shown.status, 200);
}
