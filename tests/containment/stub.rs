//! Tasks that are started by way of a stub are started as others are.

use serde_json::{Value, json};

use super::{folder, has_users, output_of, shell};
use crate::support::daemon::Daemon;
use crate::support::programs::missing;

const CONFIG: &str = "[tasks.limits]\nopen_files = 64\n[queues.a]\n[queues.b]\nuser = \"games\"\n";

fn argv(queue: &str, words: &[&str]) -> Value {
    json!({"queue": queue, "demand": {"cpus": 0.01}, "run": {"argv": words}})
}

#[test]
fn what_can_not_be_started_says_why() {
    if !has_users() {
        return;
    }
    let folder = folder();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let cases = [
        (
            "a",
            argv("a", &["no-such-program"]),
            "cannot start 'no-such-program': No such file",
        ),
        ("a", argv("a", &["/etc/passwd"]), "Permission denied"),
        // Only its owner may.
        ("b", argv("b", &["./file"]), "No such file"),
        ("b", argv("b", &["/root/x"]), "Permission denied"),
    ];
    for (queue, task, expected) in cases {
        let id = daemon.http.submit(&task);
        let ended = daemon.http.wait_ended(id);
        let cause = &ended["outcome"]["cause"];
        assert_eq!(cause["code"], "not_started", "{queue}: {ended}");
        let message = cause["message"].as_str().unwrap();
        assert!(message.contains(expected), "{queue}: {message}");
    }
}

#[test]
fn nothing_of_the_stub_is_left_in_the_task() {
    if !has_users() {
        return;
    }
    let folder = folder();
    let daemon = Daemon::start(folder.path(), CONFIG);
    for queue in ["a", "b"] {
        let line = "ls /proc/self/fd | wc -l; cat /proc/$$/cmdline | tr '\\0' ' '; cat /proc/$$/comm; echo $0";
        let said = output_of(&daemon, queue, line);
        // Three, and the listing itself.
        assert!(said.starts_with("4\n/bin/sh -c ls"), "{said}");
        assert!(said.ends_with("sh\n/bin/sh\n"), "{said}");
        let task = argv(queue, &["sh", "-c", "kill -9 $$"]);
        let ended = daemon.http.wait_ended(daemon.http.submit(&task));
        assert_eq!(ended["outcome"]["cause"]["code"], "signalled", "{ended}");
        let ended = daemon
            .http
            .wait_ended(daemon.http.submit(&shell(queue, "exit 7")));
        assert_eq!(ended["outcome"]["exit_code"], 7, "{ended}");
    }
}

#[test]
fn all_groups_of_an_account_are_its_tasks() {
    if !has_users() {
        return;
    }
    let Some((name, groups)) = account_with_groups() else {
        missing(
            "groups",
            "have an account that is in more than one group, such as postgres",
        );
        return;
    };
    let folder = folder();
    let daemon = Daemon::start(folder.path(), &format!("[queues.a]\nuser = \"{name}\"\n"));
    let said = output_of(&daemon, "a", "id -G; id -un; echo $USER");
    let mut lines = said.lines();
    let mut found: Vec<u32> = lines
        .next()
        .unwrap()
        .split(' ')
        .map(|gid| gid.parse().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, groups);
    assert_eq!(lines.collect::<Vec<_>>(), [&name, &name]);
}

/// An account with further groups, and all of its groups.
fn account_with_groups() -> Option<(String, Vec<u32>)> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let mut names = passwd.lines().filter_map(|line| line.split(':').next());
    names.find_map(|name| {
        let user = nix::unistd::User::from_name(name).ok()??;
        let c_name = std::ffi::CString::new(name).ok()?;
        let mut groups: Vec<u32> = nix::unistd::getgrouplist(&c_name, user.gid)
            .ok()?
            .into_iter()
            .map(|gid| gid.as_raw())
            .collect();
        groups.sort_unstable();
        groups.dedup();
        (groups.len() > 1 && !user.uid.is_root()).then(|| (name.to_owned(), groups))
    })
}
