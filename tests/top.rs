//! `apportion top` in a real terminal on the real daemon.

use serde_json::json;

use crate::support::daemon::{Daemon, program};
use crate::support::tmux::Terminal;

const CONFIG: &str = r#"
[resources.db_connections]
scope = "cluster"
capacity = 10
[queues."maps/render"]
[queues.search]
[backend]
resources = { cpus = 8, mem = "4GiB" }
limits = "off"
"#;

#[test]
fn it_shows_queues_tasks_and_explanations_and_cancels_after_a_question() {
    for (width, height) in [(80, 24), (150, 45)] {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(folder.path(), CONFIG);
        let task = json!({
            "queue": "maps/render", "name": "tile 7/3", "demand": {"cpus": 2, "db_connections": 6},
            "run": {"command": "sleep 1000"},
        });
        let running = daemon.http.submit(&task);
        let queued = daemon.http.submit(&task);
        daemon.http.wait_state(running, "running");
        let command = format!("{} --server {} top --interval 200ms", program(), daemon.url);
        let Some(terminal) = Terminal::start(width, height, &command) else {
            return;
        };
        for shown in [
            "60%",
            "maps/",
            "  render",
            "search",
            "1 running  1 queued",
            "db_connections 6/10",
        ] {
            terminal.until_shows(shown);
        }
        // Live: what is submitted now is seen without a key.
        let other = json!({"queue": "search", "run": {"command": "sleep 1000"}});
        daemon
            .http
            .wait_state(daemon.http.submit(&other), "running");
        terminal.until_shows("2 running");
        terminal.type_keys(&["Down", "Enter"]);
        terminal.until_shows("live tasks of maps/render");
        terminal.until_shows("queued     tile 7/3");
        terminal.until_shows("running    tile 7/3");
        terminal.type_keys(&["Down", "Enter"]);
        terminal.until_shows("lacks db_connections: it demands 6, and 4 is free in the cluster");
        terminal.type_keys(&["c"]);
        terminal.until_shows(&format!("Cancel task {queued} (tile 7/3)?"));
        terminal.type_keys(&["n"]);
        terminal.until_shows("Esc back");
        assert_eq!(daemon.http.task(queued)["state"], "queued");
        terminal.type_keys(&["c", "y"]);
        daemon.http.wait_state(queued, "cancelled");
        terminal.until_shows("state       cancelled");
        terminal.type_keys(&["Escape", "Escape", "a"]);
        terminal.until_shows("1 agents");
        terminal.type_keys(&["q"]);
        terminal.until_shows("ended with 0");
    }
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let output = daemon.command(&["top"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("top needs a terminal"), "{said}");
}
