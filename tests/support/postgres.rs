//! A real PostgreSQL server on a socket of its own, with few connections.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{programs, wait};

/// A running server, stopped on drop.
pub(crate) struct Postgres {
    server: Child,
    folder: tempfile::TempDir,
    programs: PathBuf,
}

/// PostgreSQL refuses to run as root; there it runs as the user that its package made.
fn as_postgres(program: &Path) -> Command {
    if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .arg(program);
        return command;
    }
    Command::new(program)
}

impl Postgres {
    /// Starts a server that grants `n_connections` connections to ordinary users; `None` where PostgreSQL is
    /// not installed.
    #[track_caller]
    #[must_use]
    pub(crate) fn start(n_connections: u32) -> Option<Self> {
        let programs = programs::find_postgres()?;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        let made = as_postgres(&programs.join("initdb"))
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--pgdata",
            ])
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let server = as_postgres(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "superuser_reserved_connections=3",
            ])
            .args(["-c", &format!("max_connections={}", n_connections + 3)])
            .args(["-c", "max_wal_senders=0", "-c", "autovacuum=off"])
            .args([
                "-c",
                &format!("unix_socket_directories={}", folder.path().display()),
            ])
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let postgres = Self {
            server,
            folder,
            programs,
        };
        wait::until("PostgreSQL to answer", Duration::from_secs(60), || {
            postgres.query("select 1").filter(|answer| answer == "1")
        });
        postgres.query("create role tiles login").unwrap();
        Some(postgres)
    }

    /// Asks as superuser; `None` where that fails.
    #[must_use]
    pub(crate) fn query(&self, sql: &str) -> Option<String> {
        let output = Command::new(self.psql())
            .args([
                "-h",
                self.socket(),
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-qAtc",
                sql,
            ])
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The client program.
    #[must_use]
    pub(crate) fn psql(&self) -> PathBuf {
        let beside = self.programs.join("psql");
        if beside.exists() {
            beside
        } else {
            "psql".into()
        }
    }

    /// The folder of its socket, for `-h`.
    #[must_use]
    pub(crate) fn socket(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// What the server logged.
    #[must_use]
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.server.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        let _ = self.server.wait();
    }
}
