//! What the configuration says of what tasks may do to their neighbours.

use super::*;
use crate::config::{Containment, Containments, TaskLimits};

fn containments(text: &str) -> Containments {
    let config = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
    match config.backend {
        BackendConfig::Local(local) => local.containments,
        BackendConfig::Mesos(mesos) => mesos.placement.containments,
    }
}

#[test]
fn what_a_queue_does_not_say_is_as_above_it_each_entry_by_itself() {
    let text = r#"
        [tasks]
        user = "batch"
        limits = { processes = 500, disk = "20GiB" }
        [queues.maps]
        limits = { disk = "unlimited", core_dumps = true }
        [queues."maps/render/fine"]
        user = 1000
        limits = { open_files = 64, file_size = "1MiB", output = "2MiB" }
        [queues.search]
        weight = 2
    "#;
    let found = containments(text);
    let all = Containment {
        user: Some("batch".into()),
        limits: TaskLimits {
            processes: Some(500),
            disk_bytes: Some(20 << 30),
            output_bytes: Some(1 << 30),
            ..TaskLimits::NONE
        },
    };
    let mut maps = all.clone();
    maps.limits.disk_bytes = None;
    maps.limits.core_dumps = true;
    let fine = Containment {
        user: Some("1000".into()),
        limits: TaskLimits {
            open_files: Some(64),
            file_size_bytes: Some(1 << 20),
            output_bytes: Some(2 << 20),
            ..maps.limits.clone()
        },
    };
    assert_eq!(*found.of("search"), all);
    assert_eq!(*found.of("maps"), maps);
    assert_eq!(*found.of("maps/render"), maps);
    assert_eq!(*found.of("maps/render/fine"), fine);
    assert_eq!(*found.of("maps/render/fine/lost"), fine);
    assert_eq!(*found.of("lost"), all);
    let users = found.users();
    assert_eq!(users["batch"], None);
    assert_eq!(users["1000"].as_deref(), Some("maps/render/fine"));
}

#[test]
fn wrong_limits_and_users_say_what_to_write() {
    let text = "[tasks]\nuser = \"\"\nlimits = { processes = 0, disk = 5 }\n\
                [queues.a]\nuser = []\nlimits = { open_files = \"many\", core = true }\n";
    let said = errors(text);
    for expected in [
        "tasks.user: is empty; name an account such as \"batch\"",
        "tasks.limits.processes: ",
        "from 1 to 4194304",
        "tasks.limits.disk: ",
        "queues.a.user: ",
        "queues.a.limits.open_files: ",
        "queues.a.limits.core: unknown key",
        "known here: processes, open_files, file_size, output, disk, core_dumps",
    ] {
        assert!(said.contains(expected), "{expected} is missing in\n{said}");
    }
    assert_eq!(said.trim().lines().count(), 6, "{said}");
}

#[test]
fn on_mesos_limits_are_for_executors_and_users_are_its_own() {
    let mesos =
        "[backend]\nkind = \"mesos\"\n[backend.mesos]\nmasters = [\"http://10.0.0.1:5050\"]\n";
    let found = containments(&format!(
        "[queues.a]\nlimits = {{ processes = 7 }}\n{mesos}"
    ));
    assert_eq!(found.of("a").limits.processes, Some(7));
    let text = format!("[queues.a]\nuser = \"batch\"\n{mesos}");
    let said = errors(&text);
    let expected =
        "queues.a.user: is for kind = \"local\"; on Mesos tasks run as backend.mesos.user says";
    assert!(said.contains(expected), "{said}");
}
