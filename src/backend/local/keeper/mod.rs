//! The keeper: the small process that starts all attempts and outlives nothing.
//!
//! ```text
//! daemon ── guard ── keeper ── attempt, attempt, …
//!    └────── pipes ────┘
//! ```
//! The daemon starts `apportion keeper`, which becomes the *guard* and starts itself again as the *keeper*.
//! The keeper does the work. Both are subreapers: what loses its parent falls to the keeper, and if that is
//! killed, to the guard. So there is always someone left to end everything:
//!
//! - the daemon dies: the keeper reads the end of its orders, SIGKILLs everything and exits;
//! - the keeper dies: the guard SIGKILLs everything and exits;
//! - the guard dies: the keeper gets SIGUSR1 from the kernel, SIGKILLs everything and exits.
//!
//! Guard and keeper both hold the pipe for reports, so its end tells the daemon that nothing is left.
//! Should all three be killed in one blow, the next start finds what was left by
//! `APPORTION_KEEPER` and by its cgroups.
//!
//! The keeper has no runtime, and decides everything on one thread, which alone waits for its children. Others only start
//! processes (`starters.rs`): starting processes from a small one is cheap.

mod attempt;
mod cgroup;
mod disk;
mod ending;
mod launch;
mod process;
mod python;
mod run;
mod spares;
mod spawn;
mod starters;
mod stub;
mod tree;
mod watch;
mod worker;
mod workers;

use std::ffi::{CStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::environment::MARK;

/// Who the keeper works for.
#[derive(Clone, Debug)]
pub(super) struct Home {
    /// Where the attempts' files go.
    pub(super) tasks_dir: PathBuf,
    /// What tells this daemon's processes and cgroups from others'.
    pub(super) identity: String,
}

/// Signals that reach whole groups of processes when a machine or a service stops. How the keeper ends is
/// for the daemon to say.
const UNHEARD: [i32; 4] = [
    nix::libc::SIGTERM,
    nix::libc::SIGINT,
    nix::libc::SIGHUP,
    nix::libc::SIGQUIT,
];

/// The body of `apportion keeper`, which only the daemon starts. Returns when nothing is left to keep.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(2).collect();
    let result = match args.as_slice() {
        [role, tasks_dir, identity] if role == "guard" => guard(tasks_dir, identity),
        [role, tasks_dir, identity, guard] if role == "keep" => keep(tasks_dir, identity, guard),
        [role, rest @ ..] if role == "become" => Err(stub::become_task(rest)),
        _ => Err(io::Error::other("this command is for the daemon's own use")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("apportion keeper: {error}");
            ExitCode::from(2)
        }
    }
}

/// The arguments with which the daemon starts the guard.
pub(super) fn guard_args(home: &Home) -> [OsString; 4] {
    [
        "keeper".into(),
        "guard".into(),
        home.tasks_dir.clone().into(),
        home.identity.clone().into(),
    ]
}

/// What stands in the command lines of a guard and a keeper with this home, next to each other.
fn keeper_args(home: &Home) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut args = home.tasks_dir.as_os_str().as_bytes().to_vec();
    args.push(0);
    args.extend(home.identity.as_bytes());
    args.push(0);
    args
}

/// Starts the keeper, waits for its end, and then ends what it left.
fn guard(tasks_dir: &OsString, identity: &OsString) -> io::Result<()> {
    close_inherited()?;
    set_up(c"task-guard")?;
    // Away from the daemon's terminal: its keys must not reach tasks, nor may tasks read from it.
    nix::unistd::setsid()?;
    let keeper = Command::new("/proc/self/exe")
        .arg0("apportion")
        .args(["keeper", "keep"])
        .args([tasks_dir, identity])
        .arg(std::process::id().to_string())
        .spawn();
    let ended = keeper.and_then(|mut keeper| keeper.wait());
    process::end_all_descendants();
    ended.map(|_| ())
}

/// Keeps.
fn keep(tasks_dir: &OsString, identity: &OsString, guard: &OsString) -> io::Result<()> {
    set_up(c"task-keeper")?;
    contain()?;
    let guard_died = Arc::new(AtomicBool::new(false));
    let wake = run::Wake::on_signals(&guard_died)?;
    prctl::set_pdeathsig(nix::sys::signal::Signal::SIGUSR1)?;
    let parent = std::os::unix::process::parent_id().to_string();
    if guard.to_str() != Some(parent.as_str()) {
        return Err(io::Error::other("the guard died first"));
    }
    let identity = identity.to_str().unwrap_or_default().to_owned();
    let home = Home {
        tasks_dir: PathBuf::from(tasks_dir),
        identity,
    };
    let result = run::run(home, wake, &guard_died);
    process::end_all_descendants();
    result
}

/// Closes what whoever started the daemon left open, so that no task inherits it. To be called first.
fn close_inherited() -> io::Result<()> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    let fds: Vec<i32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in fds.into_iter().filter(|fd| *fd > 2) {
        // The listing itself is among them, and closed by now.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// What guard and keeper have in common.
fn set_up(name: &CStr) -> io::Result<()> {
    // Another name than the daemon's, so that `pkill apportion` leaves someone to clear up.
    prctl::set_name(name)?;
    prctl::set_child_subreaper(true)?;
    for signal in UNHEARD {
        // A handler that does nothing, and not SIG_IGN, which tasks would inherit.
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// What holds for all tasks, which inherit it.
fn contain() -> io::Result<()> {
    // No set-user-id program, such as sudo, gives a task more than it has.
    prctl::set_no_new_privs()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard)?;
    Ok(())
}

/// How long an earlier guard and keeper may take to end by themselves.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(5);

/// How long what they left may take to be gone once it was killed.
const LEFTOVERS_WAIT: Duration = Duration::from_secs(10);

/// Ends what an earlier keeper with this identity left behind. Returns how many processes there were.
fn end_leftovers(home: &Home) -> usize {
    // A keeper that is still clearing up would take the cgroups away from under this one.
    process::outlast(&keeper_args(home), PREDECESSOR_WAIT);
    process::end_marked(MARK, &home.identity, LEFTOVERS_WAIT)
}
