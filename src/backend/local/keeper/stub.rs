//! The stub: a process that bounds itself and then becomes the task. Where the standard library's own ways to start a
//! process suffice, there is none: it costs the start of a program.
//!
//! It is this program again, `apportion keeper become FD BOUNDS PROGRAM NAME ARGUMENTS…`, born in its directory,
//! process group and cgroup. What goes wrong it says through a pipe that closes when it has become the task.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::unistd::{Gid, Uid, close, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};

use super::super::wire::{WireBounds, WireUser};

/// What the stub sees to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bounds {
    user: Option<User>,
    open_files: Option<u64>,
    file_size_bytes: Option<u64>,
    /// Of all that the user runs, so only where there is one.
    processes: Option<u64>,
    core_dumps: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// A stub that was started.
#[derive(Debug)]
pub(super) struct Stub {
    trouble: PipeReader,
    /// Its end of the pipe, until it has one.
    its_end: Option<PipeWriter>,
}

/// The command that starts `program` within bounds, and the stub, where one is needed.
///
/// # Errors
/// There is no pipe to be had.
pub(super) fn command<'a>(
    bounds: &WireBounds,
    counts_processes: bool,
    program: OsString,
    name: &str,
    arguments: impl Iterator<Item = &'a Cow<'a, str>>,
) -> io::Result<(Command, Option<Stub>)> {
    let arguments = arguments.map(|argument| OsStr::new(&**argument));
    let Some(wanted) = wanted(bounds, counts_processes) else {
        let mut command = Command::new(program);
        command.arg0(name).args(arguments);
        if let Some(user) = &bounds.user {
            // Without further groups: for them there would be a stub.
            command.gid(user.gid).uid(user.uid);
        }
        return Ok((command, None));
    };
    let (trouble, its_end) = io::pipe()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("apportion")
        .args(["keeper", "become"])
        .arg(its_end.as_raw_fd().to_string())
        .arg(serde_json::to_string(&wanted)?)
        .arg(program)
        .arg(name)
        .args(arguments);
    let stub = Stub {
        trouble,
        its_end: Some(its_end),
    };
    Ok((command, Some(stub)))
}

/// Of all that a user runs one more than an attempt may have, so that one that has too many is seen to.
const PROCESSES_MARGIN: u64 = 1;

/// What a stub has to do; `None` where nothing is left for one.
fn wanted(bounds: &WireBounds, counts_processes: bool) -> Option<Bounds> {
    let has_groups = |user: &WireUser| user.groups.iter().any(|gid| *gid != user.gid);
    let processes = bounds
        .limits
        .processes
        .filter(|_| !counts_processes && bounds.user.is_some())
        .map(|max| max + PROCESSES_MARGIN);
    let is_needed = bounds.user.as_ref().is_some_and(has_groups)
        || bounds.limits.open_files.is_some()
        || bounds.limits.file_size_bytes.is_some()
        || processes.is_some()
        || bounds.limits.core_dumps;
    is_needed.then(|| Bounds {
        user: bounds.user.as_ref().map(|user| User {
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.clone(),
        }),
        open_files: bounds.limits.open_files,
        file_size_bytes: bounds.limits.file_size_bytes,
        processes,
        core_dumps: bounds.limits.core_dumps,
    })
}

impl Stub {
    /// From now on whatever is started inherits the stub's end of the pipe. To be called only while nothing else is.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn let_inherit(&self) -> io::Result<()> {
        if let Some(its_end) = &self.its_end {
            fcntl(its_end, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    }

    /// Closes the keeper's own copy of the stub's end.
    pub(super) fn close(&mut self) {
        self.its_end = None;
    }

    /// Waits until the stub has become the task. To be called once it runs and its end is closed here.
    ///
    /// # Errors
    /// Why it could not, as if the task itself had been started.
    pub(super) fn became(&mut self) -> io::Result<()> {
        let mut said = String::new();
        self.trouble.read_to_string(&mut said)?;
        if said.is_empty() {
            return Ok(());
        }
        Err(match said.parse() {
            Ok(code) => io::Error::from_raw_os_error(code),
            Err(_) => io::Error::other(said),
        })
    }
}

/// The body of `apportion keeper become`. Returns only if it can't.
pub(super) fn become_task(args: &[OsString]) -> io::Error {
    let [fd, bounds, program, name, arguments @ ..] = args else {
        return io::Error::other("this command is for the keeper's own use");
    };
    let fd = fd.to_str().and_then(|fd| fd.parse::<i32>().ok());
    let Some(fd) = fd.filter(|fd| *fd > 2) else {
        return io::Error::other("no pipe to the keeper");
    };
    // The same pipe again, but one that closes when this becomes the task.
    let opened = File::options()
        .write(true)
        .open(format!("/proc/self/fd/{fd}"));
    let closed = close(fd);
    let mut keeper = match opened {
        Ok(keeper) => keeper,
        Err(error) => return error,
    };
    let bound = closed.map_err(io::Error::from).and_then(|()| {
        let bounds: Bounds = serde_json::from_str(bounds.to_str().unwrap_or_default())?;
        bounds.set()
    });
    let error = match bound {
        Ok(()) => Command::new(program).arg0(name).args(arguments).exec(),
        Err(error) => io::Error::other(format!("cannot bound itself: {error}")),
    };
    let said = match error.raw_os_error() {
        Some(code) => code.to_string(),
        None => error.to_string(),
    };
    // If the keeper is gone, so is this.
    let _ = keeper.write_all(said.as_bytes());
    error
}

impl Bounds {
    /// Puts them into effect for this process.
    fn set(&self) -> io::Result<()> {
        if self.core_dumps {
            let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
            setrlimit(Resource::RLIMIT_CORE, hard, hard)?;
        }
        let limits = [
            (Resource::RLIMIT_NOFILE, self.open_files),
            (Resource::RLIMIT_FSIZE, self.file_size_bytes),
            (Resource::RLIMIT_NPROC, self.processes),
        ];
        for (resource, max) in limits {
            if let Some(max) = max {
                lower(resource, max)?;
            }
        }
        if let Some(user) = &self.user {
            let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
            setgroups(&groups)?;
            setgid(Gid::from_raw(user.gid))?;
            setuid(Uid::from_raw(user.uid))?;
        }
        Ok(())
    }
}

/// Sets a limit that can't be raised again; one that is lower already stays.
fn lower(resource: Resource, max: rlim_t) -> io::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    let max = max.min(hard);
    Ok(setrlimit(resource, max, max)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::settings::TaskLimits;

    fn user(groups: &[u32]) -> WireUser {
        WireUser {
            name: "batch".into(),
            uid: 1000,
            gid: 100,
            groups: groups.to_vec(),
            home: "/home/batch".into(),
            shell: "/bin/sh".into(),
        }
    }

    #[test]
    fn a_stub_is_started_only_for_what_cannot_be_had_without() {
        let none = WireBounds {
            user: None,
            limits: TaskLimits::NONE,
        };
        let free = WireBounds {
            user: Some(user(&[100])),
            limits: TaskLimits {
                output_bytes: Some(1),
                disk_bytes: Some(1),
                processes: Some(1),
                ..TaskLimits::NONE
            },
        };
        assert_eq!(wanted(&none, false), None);
        assert_eq!(wanted(&free, true), None, "a cgroup counts processes");
        assert_eq!(wanted(&free, false).unwrap().processes, Some(2));
        let own = WireBounds {
            user: None,
            ..free.clone()
        };
        assert_eq!(wanted(&own, false), None, "they would be the daemon's too");
        let with = |change: fn(&mut WireBounds)| {
            let mut bounds = none.clone();
            change(&mut bounds);
            wanted(&bounds, true).is_some()
        };
        assert!(with(|bounds| bounds.limits.open_files = Some(64)));
        assert!(with(|bounds| bounds.limits.file_size_bytes = Some(64)));
        assert!(with(|bounds| bounds.limits.core_dumps = true));
        assert!(with(|bounds| bounds.user = Some(user(&[100, 7]))));
    }
}
