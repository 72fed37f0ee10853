//! Tasks that run as other users: what they are, what they reach, and when that is refused.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{folder, has_users, mode, output_of, shell};
use crate::support::daemon::{Daemon, program, write_config};
use crate::support::programs;
use crate::support::wait;

const CONFIG: &str = "[queues.maps]\nuser = \"games\"\n[queues.\"maps/render\"]\n[queues.search]\nuser = 33\n\
                      [queues.own]\n";

#[test]
fn a_task_is_who_its_queue_says_with_a_home_and_files_of_its_own() {
    if !has_users() {
        return;
    }
    let folder = folder();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let line = "id -u; id -g; id -G; echo $HOME:$USER:$LOGNAME:$SHELL:$TMPDIR; \
                echo mine > file && cat $PWD/file; echo said > /dev/stderr; echo done";
    for (queue, uid, gid, home) in [
        ("maps/render", 5, 60, "/usr/games:games:games"),
        ("search", 33, 33, "/var/www:www-data:www-data"),
    ] {
        let said = output_of(&daemon, queue, line);
        let expected = format!("{uid}\n{gid}\n{gid}\n{home}:/usr/sbin/nologin:\nmine\ndone\n");
        assert_eq!(said, expected, "{queue}");
    }
    let own = output_of(&daemon, "own", "id -u; echo $HOME");
    assert!(own.starts_with("0\n"), "{own}");
    // What the first wrote and left.
    let dir = folder.path().join("data/tasks/0/00/1.1");
    let stdout = dir.with_extension("1.stdout");
    assert_eq!((mode(&dir), mode(&stdout)), (0o700, 0o600));
    assert_eq!(stdout.metadata().unwrap().uid(), 5);
    assert_eq!(mode(&folder.path().join("data")) & 0o007, 0o001);
    assert_eq!(mode(&folder.path().join("data/apportion.db")) & 0o007, 0);
    // Nothing is kept of one that writes nothing.
    let id = daemon.http.submit(&shell("maps/render", "true"));
    daemon.http.wait_ended(id);
    let left = folder.path().join(format!("data/tasks/0/00/{id}.1"));
    wait::for_true("the empty directory to go", || !left.exists());
    assert!(!left.with_extension("1.stdout").exists());
}

#[test]
fn a_task_reaches_nothing_of_another_user_s_tasks_nor_of_the_daemon() {
    if !has_users() {
        return;
    }
    let folder = folder();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let data = folder.path().join("data");
    let hold = "echo secret; echo secret > file; echo $$ > pid; sleep 1000";
    let victim = daemon.http.submit(&shell("search", hold));
    let dir = data.join(format!("tasks/0/00/{victim}.1"));
    let pid = wait::until("the victim", std::time::Duration::from_secs(60), || {
        let pid = std::fs::read_to_string(dir.join("pid")).ok()?;
        pid.trim().parse::<i32>().ok()
    });
    // Once its outputs have their names.
    wait::for_true("its output", || dir.with_extension("1.stdout").exists());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let keeper = stat
        .rsplit_once(") ")
        .unwrap()
        .1
        .split(' ')
        .nth(1)
        .unwrap()
        .to_owned();
    let attack = format!(
        "t() {{ if \"$@\" >/dev/null 2>&1; then echo reached: \"$@\"; fi; }}; \
         t cat {dir}.stdout; t cat {dir}/file; t ls {dir}; t touch {dir}/x; t ls {data}; t ls {data}/tasks; \
         t ls {data}/tasks/0/00; t touch {data}/tasks/0/00/x; t cat {data}/apportion.db; t cat {data}/apportion.db-wal; \
         t cat {data}/lock; t ls {data}/values; t ls {data}/tasks/spare; \
         for p in {pid} {keeper} {daemon}; do t kill -0 $p; t cat /proc/$p/environ; t ls /proc/$p/fd; t cat /proc/$p/cwd/.; done; \
         t cat /etc/shadow; echo tried",
        dir = dir.display(),
        data = data.display(),
        daemon = daemon.pid(),
    );
    assert_eq!(output_of(&daemon, "maps/render", &attack), "tried\n");
    // The attack itself works where there is no such wall.
    let own = output_of(&daemon, "own", &attack);
    assert!(own.matches("reached").count() > 15, "{own}");
    assert_eq!(daemon.http.task(victim)["state"], "running");
}

#[test]
fn a_set_user_id_program_gives_nothing() {
    if !has_users() {
        return;
    }
    let folder = folder();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let suid = folder.path().join("id");
    std::fs::copy("/usr/bin/id", &suid).unwrap();
    std::fs::set_permissions(&suid, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let line = format!("{} -u; grep NoNewPrivs /proc/self/status", suid.display());
    let said = output_of(&daemon, "maps/render", &line);
    assert_eq!(said, "5\nNoNewPrivs:\t1\n");
    // Also where tasks run as the daemon's own user.
    let said = output_of(&daemon, "own", "grep NoNewPrivs /proc/self/status");
    assert_eq!(said, "NoNewPrivs:\t1\n");
}

#[test]
fn an_account_that_is_not_there_is_refused_and_a_reload_with_it_changes_nothing() {
    let folder = folder();
    let wrong = "[queues.maps]\nuser = \"no-such-user\"\n[queues.\"maps/x\"]\n[queues.b]\nuser = \"nor-this\"\n";
    let error = Daemon::try_start(folder.path(), wrong).err().unwrap();
    for expected in [
        "queues.maps.user: there is no user 'no-such-user' on this machine",
        "queues.b.user: there is no user 'nor-this'",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    let check = Command::new(program())
        .args(["check", "--config"])
        .arg(folder.path().join("apportion.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(2), "{said}");
    assert!(
        said.contains("queues.maps.user: there is no user"),
        "{said}"
    );
    let daemon = Daemon::start(folder.path(), "[queues.maps]\n[queues.b]\n");
    let _ = write_config(folder.path(), wrong);
    daemon.signal(Signal::SIGHUP);
    wait::for_true("the refusal", || {
        daemon.log().contains("the configuration stays as it was")
    });
    let _ = output_of(&daemon, "maps", "true");
}

#[test]
fn a_reload_changes_who_runs_what_is_launched_from_then_on() {
    if !has_users() {
        return;
    }
    let folder = folder();
    let daemon = Daemon::start(folder.path(), CONFIG);
    assert_eq!(output_of(&daemon, "maps/render", "id -u"), "5\n");
    let changed = CONFIG.replace("games", "www-data").replace(
        "[queues.own]\n",
        "[queues.own]\nlimits = { open_files = 77 }\n",
    );
    let _ = write_config(folder.path(), &changed);
    daemon.signal(Signal::SIGHUP);
    wait::for_true("the reload", || daemon.log().contains("is in effect"));
    assert_eq!(output_of(&daemon, "maps/render", "id -u"), "33\n");
    assert_eq!(output_of(&daemon, "own", "ulimit -n"), "77\n");
}

#[test]
fn where_the_daemon_may_not_become_another_it_says_what_it_lacks() {
    if !has_users() {
        return;
    }
    let Some(setpriv) = programs::find("setpriv", "util-linux") else {
        return;
    };
    let folder = folder();
    let config = write_config(folder.path(), CONFIG);
    let check = Command::new(setpriv)
        .args([
            "--bounding-set=-setuid,-kill",
            program(),
            "check",
            "--config",
        ])
        .arg(config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(2), "{said}");
    assert!(
        said.contains("tasks can't run as 'games': this process lacks CAP_KILL, CAP_SETUID"),
        "{said}"
    );
}

#[test]
fn a_data_directory_out_of_the_users_reach_is_refused_by_name() {
    if !has_users() {
        return;
    }
    let folder = folder();
    let barred = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(folder.path(), barred).unwrap();
    let error = Daemon::try_start(folder.path(), CONFIG).err().unwrap();
    let barred = folder.path().canonicalize().unwrap();
    let expected = format!("can't pass through {} on the way", barred.display());
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn on_mesos_users_are_the_framework_s() {
    let folder = folder();
    let config = format!(
        "{CONFIG}[backend]\nkind = \"mesos\"\n[backend.mesos]\nmasters = [\"http://127.0.0.1:1\"]\n"
    );
    let error = Daemon::try_start(folder.path(), &config).err().unwrap();
    assert!(
        error.contains("queues.maps.user: is for kind = \"local\"; on Mesos"),
        "{error}"
    );
}

/// The system's interpreter, which every user can start; those of virtual environments may be closed to others.
const PYTHON: &str = "/usr/bin/python3";

/// A folder to import cloudpickle from that every user can read, where it is to be had.
fn with_cloudpickle(folder: &Path) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let script = "import cloudpickle, os; print(os.path.dirname(cloudpickle.__file__))";
    let found = [own.as_path(), Path::new("python3")]
        .into_iter()
        .find_map(|python| {
            let asked = Command::new(python).args(["-c", script]).output().ok()?;
            let dir = String::from_utf8(asked.stdout).ok()?;
            asked.status.success().then(|| dir.trim().to_owned())
        });
    let Some(found) = found.filter(|_| Path::new(PYTHON).exists()) else {
        programs::missing("python", "install python3 and its package cloudpickle");
        return None;
    };
    let modules = folder.join("modules");
    let copy = modules.join("cloudpickle");
    std::fs::create_dir_all(&copy).unwrap();
    for entry in std::fs::read_dir(found).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|ending| ending == "py") {
            std::fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
        }
    }
    Some(modules)
}

/// A pickled object that carries so many bytes, in base64.
fn pickle_of(modules: &Path, n_bytes: usize) -> String {
    let script = format!(
        "import base64, cloudpickle\n\
         class T:\n  def __init__(self): self.load = b'x' * {n_bytes}\n  def run(self):\n    import os\n    \
         return (os.getuid(), os.environ['HOME'], 'x' * 200000)\n\
         print(base64.b64encode(cloudpickle.dumps(T())).decode())"
    );
    let mut command = Command::new(PYTHON);
    let pickled = command.args(["-c", &script]).env("PYTHONPATH", modules);
    String::from_utf8(pickled.output().unwrap().stdout).unwrap()
}

#[test]
fn a_python_task_runs_as_its_queue_s_user_and_gives_a_long_value() {
    if !has_users() {
        return;
    }
    let folder = folder();
    let Some(modules) = with_cloudpickle(folder.path()) else {
        return;
    };
    let config = format!("{CONFIG}[python]\ninterpreter = \"{PYTHON}\"\n");
    let daemon = Daemon::start(folder.path(), &config);
    // The second one is so long that it travels as a file.
    for pickled in [pickle_of(&modules, 0), pickle_of(&modules, 200_000)] {
        let task = json!({"queue": "maps/render", "demand": {"cpus": 0.01}, "run": {"python": pickled.trim()},
            "env": {"PYTHONPATH": modules}});
        let id = daemon.http.submit(&task);
        let ended = daemon.http.wait_ended(id);
        assert_eq!(ended["state"], "succeeded", "{ended}");
        let value = daemon.http.get(&format!("/v1/tasks/{id}/result"));
        assert!(value.body.len() > 200_000, "{}", value.body.len());
        assert!(value.text().contains("/usr/games"));
        let file = folder.path().join(format!("data/values/0/00/{id}.1"));
        assert_eq!(file.metadata().unwrap().uid(), 0);
    }
}
