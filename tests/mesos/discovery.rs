//! Where the master is, and by which way it is reached: ZooKeeper, TLS, IPv6.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::Duration;

use serde_json::json;

use super::support::{config, wait_ready};
use crate::support::authority::Authority;
use crate::support::daemon::Daemon;
use crate::support::mesos::{Part, Setup};
use crate::support::proxy::Proxy;
use crate::support::wait;
use crate::support::zookeeper::ZooKeeper;

/// A loaded machine takes its time.
const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until the daemon isn't ready, for a reason with these words.
fn wait_trouble(daemon: &Daemon, words: &str) -> String {
    wait::until(&format!("trouble: {words}"), DEADLINE, || {
        let answer = daemon.http.get("/readyz");
        let why = (answer.status == 503).then(|| answer.expect_error(503, "not_connected"))?;
        why.contains(words).then_some(why)
    })
}

fn run_one(daemon: &Daemon) {
    let id = daemon.http.submit(&json!({"run": {"command": "echo yes"}}));
    daemon.http.wait_state(id, "succeeded");
    let value = daemon.http.get(&format!("/v1/tasks/{id}/result"));
    assert_eq!(value.text(), "yes\n");
}

#[test]
fn the_leading_master_is_found_in_zookeeper_and_followed() {
    let Some(mut zookeeper) = ZooKeeper::start() else {
        return;
    };
    let place = format!("zk://{}/mesos", zookeeper.address());
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[backend]\nkind = \"mesos\"\n[backend.mesos]\nzk = \"{place}\"\nunreachable_for = \"1s\"\n"
    );
    // Nobody leads yet.
    let daemon = Daemon::start(folder.path(), &text);
    wait_trouble(&daemon, "no Mesos master is leading");
    // Masters write themselves into ZooKeeper, the first of them leads.
    let Some(mut first) = Setup::agents(1).flag("BOX_ZK", &place).start() else {
        return;
    };
    wait_ready(&daemon);
    run_one(&daemon);
    let second = Setup::agents(1).flag("BOX_ZK", &place).start().unwrap();
    // ZooKeeper starts again: nothing is to be seen of that.
    zookeeper.restart();
    run_one(&daemon);
    assert!(second.find_framework("apportion").is_none());
    // The leader dies, and with its session in ZooKeeper its entry: the next one leads.
    first.kill(Part::Master);
    wait::until("the daemon to follow the new leader", DEADLINE, || {
        second.find_framework("apportion").map(drop)
    });
    wait_ready(&daemon);
    run_one(&daemon);
    drop(second);
    wait_trouble(&daemon, "Mesos master");
    first.start(Part::Master);
    wait_ready(&daemon);
    run_one(&daemon);
}

#[test]
fn without_zookeeper_readyz_says_so_and_what_to_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[backend]\nkind = \"mesos\"\n[backend.mesos]\nzk = \"zk://127.0.0.1:1/mesos\"\n";
    let daemon = Daemon::start(folder.path(), text);
    let why = wait_trouble(&daemon, "ZooKeeper");
    assert!(why.contains("127.0.0.1:1"), "{why}");
    assert!(why.contains("backend.mesos.zk"), "{why}");
}

#[test]
fn a_master_behind_tls_and_ipv6_is_reached_where_its_authority_is_trusted() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let authority = Authority::new();
    let master = mesos.master_address();
    let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for address in addresses {
        let names = [address.to_string()];
        let tls = authority.server(&[&*names[0]]);
        let proxy = Proxy::start_tls(address, &master, tls);
        let folder = tempfile::tempdir().unwrap();
        let url = format!("https://{}", proxy.address());
        // An authority that nobody knows.
        let daemon = Daemon::start(folder.path(), &config(&url, "", ""));
        let why = wait_trouble(&daemon, "certificate");
        assert!(why.contains("backend.mesos.ca_file"), "{why}");
        daemon.kill();
        let ca_file = folder.path().join("ca.pem");
        fs::write(&ca_file, authority.pem()).unwrap();
        let trusts = format!("ca_file = \"{}\"", ca_file.display());
        let daemon = Daemon::start(folder.path(), &config(&url, &trusts, ""));
        wait_ready(&daemon);
        run_one(&daemon);
        daemon.kill();
    }
    // A certificate of somebody else.
    let tls = authority.server(&["somebody.example"]);
    let proxy = Proxy::start_tls(Ipv4Addr::LOCALHOST.into(), &master, tls);
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, authority.pem()).unwrap();
    let trusts = format!("ca_file = \"{}\"", ca_file.display());
    let url = format!("https://{}", proxy.address());
    let daemon = Daemon::start(folder.path(), &config(&url, &trusts, ""));
    let why = wait_trouble(&daemon, "certificate");
    assert!(why.contains("not valid for name"), "{why}");
}

#[test]
fn a_master_and_agents_are_reached_by_ipv6() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let proxy = Proxy::start(Ipv6Addr::LOCALHOST.into(), &mesos.master_address());
    let url = format!("http://{}", proxy.address());
    assert!(url.starts_with("http://[::1]:"));
    let folder = tempfile::tempdir().unwrap();
    // And agents reach the daemon by one.
    let text = format!("listen = \"[::1]:0\"\n{}", config(&url, "", ""));
    let daemon = Daemon::start(folder.path(), &text);
    assert!(daemon.url.starts_with("http://[::1]:"), "{}", daemon.url);
    wait_ready(&daemon);
    run_one(&daemon);
}

/// Answers whoever comes as a master does that doesn't lead, with the one that does.
fn redirect_to(leader: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: //{leader}/api/v1/scheduler\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(answer.as_bytes());
        }
    });
    url
}

#[test]
fn of_several_masters_the_one_that_leads_is_found() {
    let Some(mesos) = Setup::agents(1).start() else {
        return;
    };
    let follower = redirect_to(&mesos.master_address());
    // The first one is away.
    let masters = format!("http://127.0.0.1:1\", \"{follower}");
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &config(&masters, "", ""));
    wait_ready(&daemon);
    run_one(&daemon);
}
