//! A backup is whole or refused, whatever happens to it; a data directory is as it was, or whole.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::access::{self, Kept, Queues, Right, Secret};
use crate::backend::values::Values;
use crate::engine::{AttemptId, Fact, TaskId, Time};
use crate::store::Store as _;
use crate::store::sim::{spec, submission};
use crate::store::sqlite::{self, SqliteStore};

const NOW: Time = Time(1_700_000_000_000);

/// The attempt that left a value.
const VALUE: AttemptId = AttemptId {
    task: TaskId(1),
    number: 2,
};

fn quiet(_: Step, _: u64, _: u64) {}

/// A data directory with `n_tasks` tasks, a value, a token and the key of attempts.
fn filled(data_dir: &Path, n_tasks: u64) -> SqliteStore {
    let (mut store, _) = sqlite::open(data_dir).unwrap();
    let facts: Vec<_> = (1..=n_tasks).map(submitted).collect();
    store.commit(&facts).unwrap();
    let values = Values::new(data_dir.join(VALUES_DIR));
    values.write(VALUE, &mut &b"a value"[..]).unwrap();
    fs::write(values.path(VALUE).with_extension("3.part"), "half").unwrap();
    fs::write(data_dir.join(KEY_FILE), [7; 32]).unwrap();
    let secret = Secret::generate().unwrap();
    access::change::<_, access::TokenFileError>(data_dir, |tokens| {
        let queues = Queues::new(["*".parse().unwrap()]);
        tokens.push(Kept::of(&secret, "ci", queues, &[Right::Read], Time(0)));
        Ok(())
    })
    .unwrap();
    store
}

fn submitted(id: u64) -> Fact {
    Fact::Submitted {
        submission: submission(id, spec("maps", 1)),
        waiting: false,
    }
}

/// The files below a directory, but for locks.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_none_or(|ending| ending != "lock") {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn n_tasks(data_dir: &Path) -> usize {
    let (mut store, _) = sqlite::open(data_dir).unwrap();
    let mut n_tasks = 0;
    let mut count = |fact| n_tasks += usize::from(matches!(fact, Fact::Submitted { .. }));
    store.recover(&mut count).unwrap();
    n_tasks
}

#[test]
fn what_is_state_is_in_a_backup_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, to) = (folder.path().join("data"), folder.path().join("b.tar"));
    let store = filled(&data_dir, 20);
    fs::create_dir(data_dir.join("tasks")).unwrap();
    fs::write(data_dir.join("tasks/output"), "large").unwrap();
    let made = make(&data_dir, &to, NOW, &mut quiet).unwrap();
    assert_eq!(
        (made.n_values(), made.has_tokens(), made.schema),
        (1, true, sqlite::SCHEMA_VERSION)
    );
    assert_eq!(
        fs::metadata(&to).unwrap().permissions().mode() & 0o777,
        0o600
    );
    drop(store);
    let new = folder.path().join("new/place");
    let restored = restore(&to, &new, false, NOW, &mut quiet).unwrap();
    assert_eq!((&restored.manifest, restored.moved_aside), (&made, None));
    assert_eq!(n_tasks(&new), 20);
    for name in [TOKENS_FILE, KEY_FILE] {
        let (old, new) = (data_dir.join(name), new.join(name));
        assert_eq!(fs::read(old).unwrap(), fs::read(&new).unwrap(), "{name}");
    }
    let value = |directory: &Path| Values::new(directory.join(VALUES_DIR)).path(VALUE);
    assert_eq!(fs::read(value(&new)).unwrap(), b"a value");
    for name in SECRETS {
        let mode = fs::metadata(new.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(!new.join("tasks").exists() && !value(&new).with_extension("3.part").exists());
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "nothing is left behind: {left:?}");
}

#[test]
fn commits_go_on_while_a_backup_is_made_and_are_not_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, to) = (folder.path().join("data"), folder.path().join("b.tar"));
    let mut store = filled(&data_dir, 30_000);
    let mut next = 30_001;
    let mut n_steps = 0;
    make(&data_dir, &to, NOW, &mut |step, _, _| {
        if step == Step::Copying {
            n_steps += 1;
            store.commit(&[submitted(next)]).unwrap();
            next += 1;
        }
    })
    .unwrap();
    assert!(n_steps > 1, "it must be copied in more than one step");
    let new = folder.path().join("new");
    restore(&to, &new, false, NOW, &mut quiet).unwrap();
    assert_eq!(n_tasks(&new), 30_000);
    drop(store);
    assert_eq!(n_tasks(&data_dir), 30_000 + n_steps);
}

#[test]
fn a_damaged_backup_is_refused_and_nothing_is_left_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, to) = (folder.path().join("data"), folder.path().join("b.tar"));
    drop(filled(&data_dir, 20));
    make(&data_dir, &to, NOW, &mut quiet).unwrap();
    let whole = fs::read(&to).unwrap();
    let bad = folder.path().join("bad.tar");
    let new = folder.path().join("new");
    let mut random = fastrand::Rng::with_seed(3);
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&bad, bytes).unwrap();
        let error = restore(&bad, &new, false, NOW, &mut quiet).unwrap_err();
        assert!(error.to_string().contains("bad.tar"), "{what}: {error}");
        assert!(!new.exists() && !folder.path().join("new.restoring").exists());
    };
    refused(b"", "nothing");
    refused(b"my diary", "a text");
    refused(&vec![0; 10_240], "an empty archive");
    for _ in 0..40 {
        let cut = random.usize(0..whole.len() - 2048);
        refused(&whole[..cut], "cut short");
        // Bytes that pad what is in the archive mean nothing, so one of the database is changed.
        let mut flipped = whole.clone();
        flipped[512 + random.usize(0..90_000)] ^= 1 << random.u8(0..8);
        refused(&flipped, "a bit is flipped");
    }
    restore(&to, &new, false, NOW, &mut quiet).unwrap();
}

/// An archive with these entries.
fn archive(to: &Path, entries: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(fs::File::create(to).unwrap());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // `set_path` would refuse what a malicious archive has.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.finish().unwrap();
}

#[test]
fn an_archive_that_leads_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.tar");
    let new = folder.path().join("a/new");
    for name in [
        "../outside",
        "/outside",
        "values/../../outside",
        "values",
        "daemon.lock",
        "tasks/1",
    ] {
        archive(&bad, &[(name, b"x")]);
        let error = restore(&bad, &new, false, NOW, &mut quiet).unwrap_err();
        assert!(
            matches!(error, BackupError::Damaged { .. }),
            "{name}: {error}"
        );
        assert!(!folder.path().join("outside").exists() && !new.exists());
    }
}

#[test]
fn a_backup_of_a_later_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("later.tar");
    let new = folder.path().join("new");
    let manifest = br#"{"format": 2, "program": "apportion 9.0.0", "more": []}"#;
    archive(&bad, &[(MANIFEST, manifest)]);
    let error = restore(&bad, &new, false, NOW, &mut quiet).unwrap_err();
    assert!(
        error.to_string().contains("apportion 9.0.0")
            && matches!(error, BackupError::TooNew { .. }),
        "{error}"
    );
    // Of a later schema; made by hand, since a backup of such a directory isn't made either.
    let data_dir = folder.path().join("data");
    drop(filled(&data_dir, 3));
    let file = data_dir.join(DATABASE_FILE);
    let database = rusqlite::Connection::open(&file).unwrap();
    database
        .pragma_update(None, "journal_mode", "DELETE")
        .unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    database.close().unwrap();
    let to = folder.path().join("b.tar");
    let error = make(&data_dir, &to, NOW, &mut quiet).unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
    let bytes = fs::read(&file).unwrap();
    let mut hashing = Hashing::new(&*bytes);
    std::io::copy(&mut hashing, &mut std::io::sink()).unwrap();
    let manifest = Manifest {
        format: FORMAT,
        program: "apportion 9.0.0".into(),
        schema: 99,
        made_at_ms: 0,
        files: vec![hashing.listed(DATABASE_FILE.into())],
    };
    let manifest = serde_json::to_vec(&manifest).unwrap();
    archive(&bad, &[(DATABASE_FILE, &bytes), (MANIFEST, &manifest)]);
    let error = restore(&bad, &new, false, NOW, &mut quiet).unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
    assert!(!new.exists());
}

#[test]
fn a_directory_that_holds_something_is_refused_or_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, to) = (folder.path().join("data"), folder.path().join("b.tar"));
    let mut store = filled(&data_dir, 5);
    make(&data_dir, &to, NOW, &mut quiet).unwrap();
    assert!(matches!(
        make(&data_dir, &to, NOW, &mut quiet),
        Err(BackupError::Exists { .. })
    ));
    store.commit(&[submitted(6)]).unwrap();
    for force in [false, true] {
        let before = contents(&data_dir);
        let error = restore(&to, &data_dir, force, NOW, &mut quiet).unwrap_err();
        assert!(error.to_string().contains("in use"), "{error}");
        assert!(contents(&data_dir) == before);
    }
    drop(store);
    let before = contents(&data_dir);
    let error = restore(&to, &data_dir, false, NOW, &mut quiet).unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");
    assert!(contents(&data_dir) == before);
    let restored = restore(&to, &data_dir, true, NOW, &mut quiet).unwrap();
    let aside = restored.moved_aside.unwrap();
    assert_eq!((n_tasks(&data_dir), n_tasks(&aside)), (5, 6));
    // An empty directory is as good as none.
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    restore(&to, &empty, false, NOW, &mut quiet).unwrap();
    assert_eq!(n_tasks(&empty), 5);
}

#[test]
fn what_an_earlier_attempt_left_is_no_hindrance() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, to) = (folder.path().join("data"), folder.path().join("b.tar"));
    drop(filled(&data_dir, 5));
    for ending in [".part", ".part-db", ".part-db-journal"] {
        fs::write(folder.path().join(format!("b.tar{ending}")), "half").unwrap();
    }
    make(&data_dir, &to, NOW, &mut quiet).unwrap();
    let new = folder.path().join("new");
    let half = folder.path().join("new.restoring");
    fs::create_dir_all(half.join(VALUES_DIR)).unwrap();
    fs::write(half.join(DATABASE_FILE), "half").unwrap();
    // Somebody else is at it.
    let other = sqlite::lock(&half).unwrap();
    let error = restore(&to, &new, false, NOW, &mut quiet).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(other);
    restore(&to, &new, false, NOW, &mut quiet).unwrap();
    assert_eq!(n_tasks(&new), 5);
}

#[test]
fn where_there_is_no_room_or_no_database_nothing_is_left_behind() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let to = folder.path().join("b.tar");
    let error = make(&empty, &to, NOW, &mut quiet).unwrap_err();
    assert!(error.to_string().contains("data directory"), "{error}");
    let error = make(&empty, Path::new("/proc/nowhere/b.tar"), NOW, &mut quiet).unwrap_err();
    assert!(error.to_string().contains("/proc/nowhere"), "{error}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
