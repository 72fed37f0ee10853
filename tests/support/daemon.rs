//! The real daemon as a process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::http::Http;
use super::wait;

/// The program under test.
#[must_use]
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_apportion")
}

/// A running daemon. Killed on drop.
pub(crate) struct Daemon {
    child: Child,
    folder: PathBuf,
    /// Where it listens.
    pub(crate) url: String,
    /// A client for it.
    pub(crate) http: Http,
}

impl Daemon {
    /// Starts a daemon in `folder` (data in `folder/data`) on a free port of the loopback. `config` is what
    /// stands below `[server]`; it may go on with keys of that section.
    #[track_caller]
    #[must_use]
    pub(crate) fn start(folder: &Path, config: &str) -> Self {
        Self::try_start(folder, config)
            .unwrap_or_else(|log| panic!("the daemon did not start:\n{log}"))
    }

    /// The same, where it may fail: then what it said, ending in its exit status.
    ///
    /// # Errors
    /// It ended before it listened.
    pub(crate) fn try_start(folder: &Path, config: &str) -> Result<Self, String> {
        Self::try_start_with(folder, config, |_| {})
    }

    /// The same, where something of the command is to be changed.
    ///
    /// # Errors
    /// It ended before it listened.
    pub(crate) fn try_start_with(
        folder: &Path,
        config: &str,
        change: impl FnOnce(&mut Command),
    ) -> Result<Self, String> {
        Self::try_start_program(Path::new(program()), folder, config, change)
    }

    /// The same with another program, such as that of an earlier version.
    ///
    /// # Errors
    /// It ended before it listened.
    pub(crate) fn try_start_program(
        program: &Path,
        folder: &Path,
        config: &str,
        change: impl FnOnce(&mut Command),
    ) -> Result<Self, String> {
        let config_file = write_config(folder, config);
        let log_file = folder.join("daemon.log");
        // A new one: the keeper of a daemon that was killed may still write to the old.
        let _ = fs::remove_file(&log_file);
        let log = File::create(&log_file).unwrap();
        let mut command = Command::new(program);
        command
            .args(["serve", "--config"])
            .arg(&config_file)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let url = wait::until("the daemon to listen", Duration::from_secs(60), || {
            let said = fs::read_to_string(&log_file).unwrap_or_default();
            if let Some(status) = child.try_wait().unwrap() {
                return Some(Err(format!("{said}{status}")));
            }
            let address = said.split("listening on ").nth(1)?.split_once('\n')?.0;
            Some(Ok(address.trim().to_owned()))
        })?;
        Ok(Self {
            child,
            folder: folder.to_owned(),
            http: Http::new(&url),
            url,
        })
    }

    /// What it has said so far.
    #[must_use]
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("daemon.log")).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits until it is gone.
    #[must_use]
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        wait::until("the daemon to stop", Duration::from_secs(60), || {
            self.child.try_wait().unwrap()
        })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// A command line against this daemon.
    #[must_use]
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env("APPORTION_SERVER", &self.url)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line against this daemon and insists on its exit code; gives its standard output.
    #[track_caller]
    #[must_use]
    pub(crate) fn cli(&self, arguments: &[&str], exit_code: i32) -> String {
        let output = self.command(arguments).output().unwrap();
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert_eq!(
            output.status.code(),
            Some(exit_code),
            "{arguments:?}\nstdout: {stdout}\nstderr: {stderr}"
        );
        stdout.into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("what the daemon logged:\n{}", self.log());
        }
    }
}

/// Writes `folder/apportion.toml`. The daemon listens on the loopback, unless `config` begins with where.
#[must_use]
pub(crate) fn write_config(folder: &Path, config: &str) -> PathBuf {
    let file = folder.join("apportion.toml");
    let data = folder.join("data");
    let listen = match config.starts_with("listen =") {
        true => "",
        false => "listen = \"127.0.0.1:0\"\n",
    };
    let text = format!(
        "[server]\ndata_dir = \"{}\"\n{listen}{config}",
        data.display()
    );
    fs::write(&file, text).unwrap();
    file
}
