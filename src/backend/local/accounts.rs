//! The accounts under which tasks run, where that isn't the daemon's own.
//!
//! Only root may start processes as somebody else. It needs the capabilities to become another user (`NEEDED`), to
//! give files away, to reach and to end what that user has.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist, getuid};

use super::wire::WireUser;

/// What root must not have been deprived of, with the numbers of the kernel.
const NEEDED: [(&str, u32); 5] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
];

/// Why tasks can't run as somebody.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// Nobody is called so.
    #[error("there is no user '{0}' on this machine; make the account, or name another")]
    Unknown(String),
    /// The system's list of users or groups can't be read.
    #[error("the system can't say who '{user}' is: {source}")]
    Unreadable {
        /// Who.
        user: String,
        /// What the system said.
        source: io::Error,
    },
    /// This process is not root.
    #[error(
        "tasks can't run as '{user}': only root may start processes as somebody else, and this is user {own}; start the daemon as root, or leave this away"
    )]
    NotRoot {
        /// Who.
        user: String,
        /// The number of this process's user.
        own: u32,
    },
    /// This process is root, but may not do all that root may.
    #[error(
        "tasks can't run as '{user}': this process lacks {missing}; start the daemon with it, or leave this away"
    )]
    Deprived {
        /// Who.
        user: String,
        /// The capabilities.
        missing: String,
    },
}

/// Somebody as whom tasks can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
    /// All groups, the primary one among them.
    groups: Vec<Gid>,
    home: PathBuf,
    shell: PathBuf,
}

impl Account {
    /// Looks an account up, by its name or its number, and whether this process may start tasks as it.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn find(user: &str) -> Result<Self, AccountError> {
        let unreadable = |error: nix::errno::Errno| AccountError::Unreadable {
            user: user.to_owned(),
            source: error.into(),
        };
        let found = match user.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(user),
        };
        let found = found.map_err(unreadable)?;
        let found = found.ok_or_else(|| AccountError::Unknown(user.to_owned()))?;
        let name = CString::new(found.name.as_str()).unwrap_or_default();
        let mut groups = getgrouplist(&name, found.gid).map_err(unreadable)?;
        groups.sort_unstable_by_key(|gid| gid.as_raw());
        groups.dedup();
        let account = Self {
            name: found.name,
            uid: found.uid,
            gid: found.gid,
            groups,
            home: found.dir,
            shell: found.shell,
        };
        if !account.is_own() {
            account.check_allowed(user)?;
        }
        Ok(account)
    }

    /// Whether it is the one of this process.
    fn is_own(&self) -> bool {
        self.uid == geteuid() && self.uid == getuid() && self.gid == getegid()
    }

    fn check_allowed(&self, user: &str) -> Result<(), AccountError> {
        if !geteuid().is_root() || !getuid().is_root() {
            return Err(AccountError::NotRoot {
                user: user.to_owned(),
                own: geteuid().as_raw(),
            });
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let missing = missing_capabilities(&status);
        if missing.is_empty() {
            return Ok(());
        }
        Err(AccountError::Deprived {
            user: user.to_owned(),
            missing: missing.join(", "),
        })
    }

    /// The same for the keeper; `None` for this process's own account, for which nothing has to be done.
    pub(super) fn to_wire(&self) -> Option<WireUser> {
        (!self.is_own()).then(|| WireUser {
            name: self.name.clone(),
            uid: self.uid.as_raw(),
            gid: self.gid.as_raw(),
            groups: self.groups.iter().map(|gid| gid.as_raw()).collect(),
            home: self.home.to_string_lossy().into_owned(),
            shell: self.shell.to_string_lossy().into_owned(),
        })
    }

    /// The first directory on the way to `dir`, itself included, that this account can't pass through, as far as owner
    /// and permissions tell.
    pub(super) fn stopped_at(&self, dir: &Path) -> Option<PathBuf> {
        let mut way: Vec<&Path> = dir.ancestors().collect();
        way.reverse();
        let is_passable = |dir: &Path| {
            let Ok(found) = fs::metadata(dir) else {
                return false;
            };
            let mask = if found.uid() == self.uid.as_raw() {
                0o100
            } else if self.groups.iter().any(|gid| gid.as_raw() == found.gid()) {
                0o010
            } else {
                0o001
            };
            self.uid.is_root() || found.mode() & mask != 0
        };
        let stop = way.into_iter().find(|dir| !is_passable(dir));
        stop.map(Path::to_path_buf)
    }
}

/// Those of [`NEEDED`] that a process lacks whose `/proc/PID/status` this is.
fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    // A kernel that doesn't tell refuses by itself.
    let Some(effective) = effective else {
        return Vec::new();
    };
    let missing = NEEDED.iter().filter(|(_, bit)| effective >> bit & 1 == 0);
    missing.map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn own_account_needs_nothing() {
        let own = Account::find(&geteuid().to_string()).unwrap();
        assert_eq!(own.to_wire(), None);
        assert_eq!(Account::find(&own.name).unwrap(), own);
    }

    #[test]
    fn nobody_of_that_name_is_said_so() {
        for user in ["no-such-user-here", "4000000000"] {
            let error = Account::find(user).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("there is no user '{user}'")),
                "{error}"
            );
        }
    }

    #[test]
    fn what_root_was_deprived_of_is_named() {
        let status = |bits: &str| format!("Name:\tx\nCapEff:\t{bits}\nCapBnd:\t0\n");
        assert!(missing_capabilities(&status("000001ffffffffff")).is_empty());
        // All but the bits 5 and 6.
        assert_eq!(
            missing_capabilities(&status("000001ffffffff9f")),
            ["CAP_KILL", "CAP_SETGID"]
        );
        assert_eq!(missing_capabilities(&status("0")).len(), NEEDED.len());
        assert!(missing_capabilities("").is_empty());
    }

    #[test]
    fn a_way_that_is_barred_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(dir.path(), 0o711);
        set(&dir.path().join("a"), 0o711);
        set(&inner, 0o711);
        let stranger = Account {
            name: "x".into(),
            uid: Uid::from_raw(geteuid().as_raw() + 54_321),
            gid: Gid::from_raw(54_321),
            groups: vec![Gid::from_raw(54_321)],
            home: "/".into(),
            shell: "/bin/sh".into(),
        };
        if stranger.stopped_at(&std::env::temp_dir()).is_some() {
            eprintln!("NOT TESTED: others can't get to the directory for temporary files");
            return;
        }
        assert_eq!(stranger.stopped_at(&inner), None);
        set(&dir.path().join("a"), 0o700);
        assert_eq!(stranger.stopped_at(&inner), Some(dir.path().join("a")));
    }
}
