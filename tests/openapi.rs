//! The OpenAPI document against the daemon: Schemathesis makes calls up from the one and holds the answers of the
//! other against it.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::programs::missing;

const CONFIG: &str = r#"
[resources.licences]
scope = "cluster"
capacity = 10
[queues.default]
[queues."maps/render"]
[backend]
kind = "mesos"
[backend.mesos]
# Nobody answers there: what calls make up must not run anywhere.
masters = ["http://127.0.0.1:1"]
"#;

/// Calls that are not made: a stream that never ends, those that wait as long as they are told to, and one that
/// says that there is no master.
const NOT_CALLED: [&str; 5] = [
    "/v1/events",
    "/v1/inboxes/{name}/pop",
    "/v1/tasks/{id}/logs/stdout",
    "/v1/tasks/{id}/logs/stderr",
    "/readyz",
];

/// The most calls for each operation and kind of test.
const EXAMPLES_MAX: &str = "20";

/// What isn't checked. Not every value that fits a schema is one that the daemon takes: names of queues, sums of
/// demands, tasks waited for, all these only the daemon knows. And a wrong name in a path is told before a missing
/// token.
const NOT_CHECKED: &str = "positive_data_acceptance,missing_required_header";

#[test]
fn schemathesis() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/schemathesis");
    if !program.exists() {
        missing(
            "schemathesis",
            "python3 -m venv target/python && target/python/bin/pip install schemathesis",
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONFIG);
    // Something to look at.
    let _ = daemon
        .http
        .submit(&json!({"inbox": "release", "run": {"argv": ["true"]}}));
    let output = Command::new(program)
        .args(["run", &format!("{}/openapi.json", daemon.url)])
        .args(["--phases", "examples,coverage,fuzzing", "--seed", "1"])
        .args(["--max-examples", EXAMPLES_MAX])
        .args(["--exclude-checks", NOT_CHECKED, "--warnings", "off"])
        .args(NOT_CALLED.iter().flat_map(|path| ["--exclude-path", *path]))
        .args(["--continue-on-failure", "--no-color"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        daemon.log()
    );
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
