//! A real Prometheus that scrapes one daemon each second.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::rules;
use crate::support::daemon::Daemon;
use crate::support::http::Http;
use crate::support::{programs, wait};

/// A running Prometheus. Ended on drop.
pub(super) struct Prometheus {
    child: Child,
    http: Http,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it with the rules of this repository, or says loudly that there is none.
    #[track_caller]
    pub(super) fn start(daemon: &Daemon) -> Option<Self> {
        let program = programs::find("prometheus", "prometheus")?;
        let folder = tempfile::tempdir().unwrap();
        let config = fs::read_to_string(rules::folder().join("prometheus.yml")).unwrap();
        let target = daemon.url.trim_start_matches("http://");
        let config = config
            .replace("15s", "1s")
            .replace("127.0.0.1:7070", target)
            .replace(
                "  - recording.yml",
                &format!("  - {}", rules::folder().join("recording.yml").display()),
            )
            .replace(
                "  - alerts.yml",
                &format!("  - {}", rules::folder().join("alerts.yml").display()),
            );
        let config_file = folder.path().join("prometheus.yml");
        fs::write(&config_file, config).unwrap();
        // A port that was free a moment ago; Prometheus can't tell which one it took.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let log = folder.path().join("log");
        let child = Command::new(program)
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let prometheus = Self {
            child,
            http: Http::new(&format!("http://127.0.0.1:{port}")),
            _folder: folder,
        };
        wait::until("Prometheus to be ready", Duration::from_secs(60), || {
            let answer = prometheus.http.try_get("/-/ready").ok()?;
            (answer.status == 200).then_some(())
        });
        Some(prometheus)
    }

    /// The series that a query gives now.
    ///
    /// # Panics
    /// If it doesn't parse.
    #[track_caller]
    pub(super) fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = (expression.bytes())
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let answer = self.http.get(&format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer.status, 200, "{expression}: {}", answer.text());
        let body = answer.json();
        assert!(body["warnings"].is_null(), "{expression}: {body}");
        body["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// What it says of its rules.
    pub(super) fn rules(&self) -> Vec<Value> {
        let body = self.http.get("/api/v1/rules").expect(200);
        let groups = body["data"]["groups"].as_array().unwrap();
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().unwrap().clone());
        rules.collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
