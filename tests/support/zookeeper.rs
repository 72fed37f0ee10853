//! A real ZooKeeper: the server of the Debian package, with data of its own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{programs, wait};

/// Where the package has its server.
const SERVER: &str = "/usr/share/java/zookeeper.jar";

/// A running server. Killed on drop.
pub(crate) struct ZooKeeper {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl ZooKeeper {
    /// Starts a server on a free port of the loopback; `None` where there is none to be had.
    #[track_caller]
    #[must_use]
    pub(crate) fn start() -> Option<Self> {
        if !Path::new(SERVER).exists() {
            programs::missing("zookeeper", "install the package zookeeper");
            return None;
        }
        let java = programs::find("java", "default-jre-headless")?;
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let data = folder.path().join("data");
        let settings = format!(
            "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
            data.display()
        );
        fs::write(folder.path().join("zoo.cfg"), settings).unwrap();
        let child = spawn(&java, folder.path());
        let server = Self {
            child,
            port,
            folder,
        };
        server.wait_until_it_listens();
        Some(server)
    }

    /// `host:port`.
    #[must_use]
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL, and a new server with the same data and address.
    pub(crate) fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let java = programs::find("java", "default-jre-headless").expect("it was there before");
        self.child = spawn(&java, self.folder.path());
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&self) {
        wait::until("ZooKeeper to listen", Duration::from_secs(120), || {
            std::net::TcpStream::connect(self.address()).ok()
        });
    }
}

fn spawn(java: &Path, folder: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    Command::new(java)
        .args(["-Xmx128m", "-cp", SERVER])
        .arg("org.apache.zookeeper.server.ZooKeeperServerMain")
        .arg(folder.join("zoo.cfg"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
