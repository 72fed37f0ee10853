//! Finding the leading master: a fixed list, or what ZooKeeper says.
//!
//! Masters write themselves into ZooKeeper as `json.info_NNNNNNNNNN`; the one with the lowest number leads.
//! Trouble with ZooKeeper takes no master away: a subscription that works goes on.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc::Sender;
use zookeeper_client::Client;

use super::talk::Heard;
use crate::backend::settings::Masters;

/// What a master's entry begins with.
const ENTRY: &str = "json.info_";

/// Beside the watch, ZooKeeper is asked after so long: watches have been lost before.
const POLL: Duration = Duration::from_secs(60);

/// Between two tries to reach ZooKeeper.
const RETRY: Duration = Duration::from_secs(2);

/// Tells of the masters, and of each change, until nobody listens.
pub(super) async fn run(masters: Masters, heard: Sender<Heard>) {
    match masters {
        Masters::Urls(urls) => {
            let urls = urls.into_iter().map(Arc::from).collect();
            let _ = heard.send(Heard::Masters(urls)).await;
        }
        Masters::ZooKeeper {
            hosts,
            path,
            auth,
            scheme,
        } => {
            let watched = Watched {
                hosts,
                path,
                auth,
                scheme,
            };
            while !heard.is_closed() {
                if let Err(error) = watched.follow(&heard).await {
                    let hosts = &watched.hosts;
                    let why = format!(
                        "ZooKeeper at {hosts} can't be asked which Mesos master leads: {error}; see backend.mesos.zk"
                    );
                    let _ = heard.send(Heard::NoMasters(why)).await;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

struct Watched {
    hosts: String,
    path: String,
    auth: Option<String>,
    scheme: String,
}

impl Watched {
    /// Tells of the leader until the session with ZooKeeper ends.
    async fn follow(&self, heard: &Sender<Heard>) -> Result<(), zookeeper_client::Error> {
        let mut connector = Client::connector();
        if let Some(auth) = &self.auth {
            connector = connector.with_auth("digest", auth.as_bytes());
        }
        let client = connector.connect(&self.hosts).await?;
        let mut told: Option<Option<Arc<str>>> = None;
        while !heard.is_closed() {
            let (children, watcher) = match client.list_and_watch_children(&self.path).await {
                Ok((children, watcher)) => (children, Some(watcher)),
                // No master has ever been there.
                Err(zookeeper_client::Error::NoNode) => (Vec::new(), None),
                Err(error) => return Err(error),
            };
            let leader = match first(&children) {
                Some(child) => match self.leader(&client, child).await? {
                    Some(leader) => Some(leader),
                    // It went away meanwhile.
                    None => continue,
                },
                None => None,
            };
            if told.as_ref() != Some(&leader) {
                let masters = leader.iter().cloned().collect();
                let _ = heard.send(Heard::Masters(masters)).await;
                told = Some(leader);
            }
            match watcher {
                Some(watcher) => {
                    let _ = tokio::time::timeout(POLL, watcher.changed()).await;
                }
                None => tokio::time::sleep(RETRY).await,
            }
        }
        Ok(())
    }

    /// The URL that a master's entry names; `None` if the entry is gone.
    async fn leader(
        &self,
        client: &Client,
        child: &str,
    ) -> Result<Option<Arc<str>>, zookeeper_client::Error> {
        match client.get_data(&format!("{}/{child}", self.path)).await {
            Ok((data, _)) => match address(&data) {
                Some(address) => Ok(Some(format!("{}://{address}", self.scheme).into())),
                None => {
                    tracing::warn!(child, "an entry of a master in ZooKeeper can't be read");
                    Err(zookeeper_client::Error::UnexpectedError(
                        "an entry without an address".to_owned(),
                    ))
                }
            },
            Err(zookeeper_client::Error::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The entry of the master that leads.
fn first(children: &[String]) -> Option<&str> {
    let entries = children.iter().filter_map(|child| {
        let number = child.strip_prefix(ENTRY)?;
        Some((number.parse::<u64>().ok()?, child.as_str()))
    });
    entries.min().map(|(_, child)| child)
}

/// What of a master's entry is read.
#[derive(Deserialize)]
struct MasterInfo {
    address: Address,
}

#[derive(Deserialize)]
struct Address {
    ip: Option<String>,
    hostname: Option<String>,
    port: u16,
}

/// `host:port`, by address where there is one: names that masters give themselves may mean nothing here.
fn address(data: &[u8]) -> Option<String> {
    let info: MasterInfo = serde_json::from_slice(data).ok()?;
    let host = info.address.ip.or(info.address.hostname)?;
    let port = info.address.port;
    if host.contains(':') {
        Some(format!("[{host}]:{port}"))
    } else {
        Some(format!("{host}:{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_leads() {
        let children = ["log_replicas", "json.info_0000000012", "info_0000000001"];
        let mut children: Vec<String> = children.map(str::to_owned).into();
        assert_eq!(first(&children), Some("json.info_0000000012"));
        children.push("json.info_0000000003".to_owned());
        assert_eq!(first(&children), Some("json.info_0000000003"));
        assert_eq!(first(&[]), None);
    }

    #[test]
    fn an_entry_is_read() {
        let data = br#"{"id":"x","ip":16777343,"port":5050,"address":{"hostname":"m1","ip":"127.0.0.1","port":5050}}"#;
        assert_eq!(address(data).as_deref(), Some("127.0.0.1:5050"));
        let data = br#"{"address":{"ip":"fd00::1","port":5051}}"#;
        assert_eq!(address(data).as_deref(), Some("[fd00::1]:5051"));
        assert_eq!(address(b"{}"), None);
    }
}
