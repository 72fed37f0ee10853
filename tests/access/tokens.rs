//! Tokens made, shown and revoked beside the running daemon, and the commands that show them.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::wait;

const QUEUES: &str = "[queues.maps]\n[queues.\"maps/render\"]\n[queues.search]\n";

/// Makes a token in the daemon's data directory.
pub(super) fn make(
    daemon: &Daemon,
    folder: &Path,
    name: &str,
    queues: &str,
    rights: &str,
) -> String {
    let data = folder.join("data").display().to_string();
    let made = daemon.cli(
        &[
            "token",
            "new",
            "--data-dir",
            &data,
            "--name",
            name,
            "--queues",
            queues,
            "--rights",
            rights,
        ],
        0,
    );
    made.trim().to_owned()
}

/// Runs a command line with this token.
fn run(daemon: &Daemon, token: &str, arguments: &[&str]) -> Output {
    let mut command = daemon.command(arguments);
    command.env("APPORTION_TOKEN", token).output().unwrap()
}

#[track_caller]
fn expect(output: &Output, code: i32, says: &str) {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(says), "{said}");
}

#[test]
fn tokens_are_made_and_revoked_beside_the_running_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), QUEUES);
    // Without tokens everybody may do everything.
    let _ = daemon.cli(&["run", "--queue", "search", "--", "true"], 0);
    let ci = make(
        &daemon,
        folder.path(),
        "ci",
        "maps,maps/*",
        "read,submit,cancel",
    );
    assert!(ci.starts_with("apportion_") && ci.len() > 60, "{ci}");
    expect(
        &daemon.command(&["tasks"]).output().unwrap(),
        3,
        "asks for a token",
    );
    expect(
        &run(
            &daemon,
            &ci,
            &["run", "--queue", "maps/render", "--", "echo", "hello"],
        ),
        0,
        "hello",
    );
    expect(&run(&daemon, &ci, &["queues"]), 0, "maps");
    expect(
        &run(&daemon, &ci, &["run", "--queue", "search", "--", "true"]),
        3,
        "may not submit in queue search",
    );
    expect(
        &run(&daemon, &ci, &["task", "1"]),
        3,
        "may not read what is in the queue of task 1",
    );
    expect(
        &run(&daemon, &format!("{ci}x"), &["tasks"]),
        3,
        "no token of this daemon",
    );
    let history = run(&daemon, &ci, &["audit", "--task", "2"]);
    expect(&history, 0, "submitted");
    expect(&history, 0, "ci ");
    expect(&run(&daemon, &ci, &["audit"]), 3, "may not administer");
    let flag = daemon.command(&["tasks", "--token", &ci]).output().unwrap();
    expect(&flag, 0, "maps/render");
    let file = folder.path().join("token");
    fs::write(&file, format!("{ci}\n")).unwrap();
    let file = file.display().to_string();
    let from_file = daemon
        .command(&["tasks", "--token-file", &file])
        .output()
        .unwrap();
    expect(&from_file, 0, "maps/render");

    let data = folder.path().join("data").display().to_string();
    let again = [
        "token",
        "new",
        "--data-dir",
        &data,
        "--name",
        "ci",
        "--queues",
        "*",
        "--rights",
        "read",
    ];
    let _ = daemon.cli(&again, 2);
    let listed = daemon.cli(&["token", "list", "--data-dir", &data], 0);
    assert!(
        listed.contains("maps,maps/*") && listed.contains("read,submit,cancel"),
        "{listed}"
    );
    // The secret is kept nowhere.
    let secret = ci.splitn(3, '_').nth(2).unwrap();
    let kept = fs::read_to_string(folder.path().join("data/tokens.json")).unwrap();
    assert!(!kept.contains(secret) && !listed.contains(secret) && !daemon.log().contains(secret));

    let _ = daemon.cli(&["token", "revoke", "--data-dir", &data, "ci"], 0);
    expect(&run(&daemon, &ci, &["tasks"]), 3, "was revoked");
    // The last one is revoked, and still nobody is let in without one.
    expect(
        &daemon.command(&["tasks"]).output().unwrap(),
        3,
        "asks for a token",
    );
    let listed = daemon.cli(&["token", "list", "--data-dir", &data, "--json"], 0);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["tokens"][0]["state"], "revoked");
    let _ = daemon.cli(&again, 0);
}

#[test]
fn a_token_expires() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), QUEUES);
    let data = folder.path().join("data").display().to_string();
    let made = daemon.cli(
        &[
            "token",
            "new",
            "--data-dir",
            &data,
            "--name",
            "soon",
            "--queues",
            "*",
            "--rights",
            "read",
            "--expires",
            "1s",
        ],
        0,
    );
    wait::for_true("the token to expire", || {
        let output = run(&daemon, made.trim(), &["tasks"]);
        String::from_utf8_lossy(&output.stderr).contains("token 'soon' has expired")
    });
}

#[test]
fn wrong_names_queues_and_rights_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    for (name, queues, rights) in [
        ("", "maps", "read"),
        ("a b", "maps", "read"),
        ("ci", "maps//x", "read"),
        ("ci", "maps", "write"),
        ("ci", "", "read"),
    ] {
        let output = std::process::Command::new(crate::support::daemon::program())
            .args(["token", "new", "--data-dir", &data, "--name", name])
            .args(["--queues", queues, "--rights", rights])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{name:?} {queues:?} {rights:?} {output:?}"
        );
    }
    assert!(!folder.path().join("tokens.json").exists());
}
