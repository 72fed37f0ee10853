//! Keys that make submissions idempotent.

use rustc_hash::FxHashMap;

use super::super::spec::TaskId;

/// A digest of a key. The keys themselves may be long, and a map of a million of them is not small.
type KeyDigest = [u8; 16];

/// Whose a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyOwner {
    /// Its first task.
    pub(crate) first: TaskId,
    /// How many tasks.
    pub(crate) count: u32,
    /// The digest of the task object.
    pub(crate) digest: [u8; 16],
}

/// The keys of all submissions that are kept, live or ended.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    owners: FxHashMap<KeyDigest, KeyOwner>,
    /// The keys of ended submissions, whose text the engine doesn't hold any more.
    of_ended: FxHashMap<TaskId, KeyDigest>,
}

impl Keys {
    /// Whose a key is.
    pub(crate) fn find(&self, key: &str) -> Option<KeyOwner> {
        self.owners.get(&digest(key)).copied()
    }

    /// A live submission has this key.
    pub(crate) fn insert(&mut self, key: &str, owner: KeyOwner) {
        self.owners.insert(digest(key), owner);
        self.of_ended.remove(&owner.first);
    }

    /// The submission with this key has ended.
    pub(crate) fn ended(&mut self, key: &str, first: TaskId) {
        self.of_ended.insert(first, digest(key));
    }

    /// In recovery: a key of a submission that, until told otherwise, has ended.
    pub(crate) fn restore(&mut self, key: &str, owner: KeyOwner) {
        self.owners.insert(digest(key), owner);
        self.of_ended.insert(owner.first, digest(key));
    }

    /// An ended submission is forgotten; its key may be used again.
    pub(crate) fn forget(&mut self, first: TaskId) {
        if let Some(key) = self.of_ended.remove(&first) {
            self.owners.remove(&key);
        }
    }
}

fn digest(key: &str) -> KeyDigest {
    let mut digest = KeyDigest::default();
    digest.copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..16]);
    digest
}
