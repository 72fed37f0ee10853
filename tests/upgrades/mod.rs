//! A data directory of every earlier version opens in today's daemon, and every task in it is accounted for.

mod account;
mod fixture;
mod make;
mod story;

use apportion::store::sqlite::SCHEMA_VERSION;

use crate::support::daemon::Daemon;

#[test]
fn every_version_of_the_schema_has_a_fixture() {
    for version in 1..=SCHEMA_VERSION {
        assert!(
            fixture::folder(version).join(fixture::DUMP).exists(),
            "there is no fixture of schema {version}: make it with the program that writes this schema, by `{}`",
            make::HOW
        );
    }
    let beyond = fixture::folder(SCHEMA_VERSION + 1);
    assert!(!beyond.exists(), "{}: not a version yet", beyond.display());
}

#[test]
fn a_data_directory_of_every_earlier_version_opens_and_every_task_is_accounted_for() {
    for version in 1..=SCHEMA_VERSION {
        println!("schema {version}");
        let folder = tempfile::tempdir().unwrap();
        fixture::unpack(version, &folder.path().join("data"));
        let daemon = Daemon::start(folder.path(), &story::config("36500d"));
        assert_eq!(fixture::schema_version(folder.path()), SCHEMA_VERSION);
        account::check(&daemon.http, &fixture::told(version), version);
        // What was brought to the present version opens again like any other.
        assert!(daemon.stop().success());
        let daemon = Daemon::start(folder.path(), &story::config("36500d"));
        account::check_ended(&daemon.http, &fixture::told(version));
    }
}
