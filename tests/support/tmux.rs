//! A real terminal: a tmux server of its own with one window.

use std::process::Command;

use super::{programs, wait};

/// A terminal in which a program runs. Ended on drop.
pub(crate) struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// Runs a command line in a terminal of this size, or says loudly that there is no tmux.
    #[track_caller]
    pub(crate) fn start(width: u16, height: u16, command: &str) -> Option<Self> {
        programs::find("tmux", "tmux")?;
        let terminal = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let (width, height) = (width.to_string(), height.to_string());
        let size = ["-x", &width, "-y", &height];
        // What the program leaves behind is looked at, so the terminal outlives it.
        let line = format!("{command}; echo ended with $?; exec sleep 1000");
        terminal.tmux(
            &[
                &["-f", "/dev/null", "new-session", "-d"],
                &size[..],
                &[&line],
            ]
            .concat(),
        );
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.path().join("socket"))
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "tmux {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the terminal shows.
    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Types keys, by tmux' names for them.
    pub(crate) fn type_keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until the terminal shows this.
    #[track_caller]
    pub(crate) fn until_shows(&self, wanted: &str) {
        let what = format!("the terminal to show {wanted:?}");
        let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait::for_true(&what, || self.screen().contains(wanted));
        }));
        assert!(shown.is_ok(), "{what}; it shows\n{}", self.screen());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.path().join("socket"))
            .arg("kill-server")
            .status();
    }
}
