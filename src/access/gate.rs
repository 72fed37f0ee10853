//! Who calls: a presented token becomes a [`Caller`] with rights, or a reason why not.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::file::{self, TOKENS_FILE, TokenFileError};
use super::rights::{Queues, Right};
use super::token::{Kept, Secret, Standing, Tokens};
use crate::engine::Time;
use crate::engine::audit::Actor;

/// The tokens of a data directory as they are now.
#[derive(Debug)]
pub struct Access {
    data_dir: PathBuf,
    seen: Mutex<Seen>,
}

/// The file as it was read last.
#[derive(Debug)]
struct Seen {
    stamp: Option<Stamp>,
    /// `None` only where there has never been a file: then nobody is asked for a token.
    tokens: Option<Arc<Tokens>>,
}

/// What tells one state of a file from another. The file is replaced and never written in place, so its number
/// alone nearly does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    number: u64,
    n_bytes: u64,
    modified: (i64, i64),
}

/// Why a caller isn't let in. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// Nothing was presented.
    #[error(
        "this daemon asks for a token; give one with --token, APPORTION_TOKEN or the header 'authorization: Bearer …'. \
        Whoever runs the daemon makes them with `apportion token new`"
    )]
    Missing,
    /// What was presented is no token, or not exactly one.
    #[error("the authorization is no token; send one header, 'authorization: Bearer apportion_…'")]
    Malformed,
    /// It is no token of this daemon.
    #[error("this is no token of this daemon; check that it is complete, or ask for a new one")]
    Unknown,
    /// Its time is over.
    #[error("token '{name}' has expired; ask for a new one, made with `apportion token new`")]
    Expired {
        /// What it is called.
        name: Arc<str>,
    },
    /// It was revoked.
    #[error("token '{name}' was revoked; ask for a new one, made with `apportion token new`")]
    Revoked {
        /// What it is called.
        name: Arc<str>,
    },
}

/// Who calls, and what that one may do. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    token: Option<Arc<Kept>>,
    peer: Option<SocketAddr>,
}

impl Access {
    /// Reads the tokens of a data directory.
    ///
    /// # Errors
    /// The file is there, and can't be read or isn't as this program writes it.
    pub fn open(data_dir: &Path) -> Result<Self, TokenFileError> {
        // The stamp first: should the file change between the two, it is read again.
        let stamp = stamp(data_dir);
        let tokens = file::load(data_dir)?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            seen: Mutex::new(Seen {
                stamp: stamp.ok().flatten(),
                tokens: tokens.map(Arc::new),
            }),
        })
    }

    /// The tokens as they are now; `None` where none was ever made. Costs one system call where nothing has changed.
    ///
    /// A file that was damaged or taken away since leaves those that were read last: it must not open the door.
    #[must_use]
    pub fn tokens(&self) -> Option<Arc<Tokens>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match stamp(&self.data_dir) {
            Ok(found) if found == seen.stamp => {}
            Ok(found) => {
                seen.stamp = found;
                match file::load(&self.data_dir) {
                    Ok(Some(tokens)) => seen.tokens = Some(Arc::new(tokens)),
                    Ok(None) if seen.tokens.is_some() => {
                        tracing::error!(
                            "the file of tokens was taken away; those that it had count until the daemon is started again"
                        );
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(%error, "the tokens stay as they were");
                        seen.tokens.get_or_insert_default();
                    }
                }
            }
            Err(error) => {
                tracing::error!(%error, "the file of tokens can't be looked at; the tokens stay as they were");
                seen.tokens.get_or_insert_default();
            }
        }
        seen.tokens.clone()
    }

    /// Whether callers are asked for tokens.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.tokens().is_some()
    }

    /// Who presents this, where anything is presented.
    ///
    /// # Errors
    /// Tokens are asked for, and this is none that counts now.
    pub fn identify(&self, presented: Option<&str>, now: Time) -> Result<Caller, Denied> {
        let Some(tokens) = self.tokens() else {
            return Ok(Caller::ANYONE);
        };
        let presented = presented.ok_or(Denied::Missing)?;
        let presented = Secret::parse(presented).ok_or(Denied::Malformed)?;
        let kept = tokens.find(&presented).ok_or(Denied::Unknown)?;
        let name = || Arc::clone(&kept.name);
        match kept.standing(now) {
            Standing::Valid => Ok(Caller {
                token: Some(Arc::clone(kept)),
                peer: None,
            }),
            Standing::Expired => Err(Denied::Expired { name: name() }),
            Standing::Revoked => Err(Denied::Revoked { name: name() }),
        }
    }

    /// Whether a caller that was let in before still would be: for whoever keeps a stream open.
    #[must_use]
    pub fn still_counts(&self, caller: &Caller, now: Time) -> bool {
        match (self.tokens(), &caller.token) {
            (None, _) => true,
            // Let in while nobody was asked for a token.
            (Some(_), None) => false,
            (Some(tokens), Some(kept)) => tokens
                .get(&kept.id)
                .is_some_and(|kept| kept.standing(now) == Standing::Valid),
        }
    }
}

fn stamp(data_dir: &Path) -> io::Result<Option<Stamp>> {
    match fs::metadata(data_dir.join(TOKENS_FILE)) {
        Ok(found) => Ok(Some(Stamp {
            number: found.ino(),
            n_bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Caller {
    /// Anybody, where no tokens are asked for: may do everything.
    pub const ANYONE: Self = Self {
        token: None,
        peer: None,
    };

    /// The same, calling from there.
    #[must_use]
    pub fn at(self, peer: Option<SocketAddr>) -> Self {
        Self { peer, ..self }
    }

    /// Who that is for the audit trail.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor {
            token: self.name().cloned(),
            peer: self.peer.map(|peer| peer.to_string().into()),
        }
    }

    /// What its token is called; `None` for anybody.
    #[must_use]
    pub fn name(&self) -> Option<&Arc<str>> {
        self.token.as_ref().map(|kept| &kept.name)
    }

    /// Whether it has this right in this queue.
    #[must_use]
    pub fn may(&self, right: Right, queue: &str) -> bool {
        let allows = |kept: &Arc<Kept>| kept.rights.contains(right) && kept.queues.contains(queue);
        self.token.as_ref().is_none_or(allows)
    }

    /// Whether it has this right in any queue that there may be.
    #[must_use]
    pub fn may_somewhere(&self, right: Right) -> bool {
        self.token
            .as_ref()
            .is_none_or(|kept| kept.rights.contains(right))
    }

    /// Whether it has this right in every queue.
    #[must_use]
    pub fn may_everywhere(&self, right: Right) -> bool {
        let allows = |kept: &Arc<Kept>| kept.rights.contains(right) && kept.queues.are_all();
        self.token.as_ref().is_none_or(allows)
    }

    /// The queues in which it has this right; `None` for all.
    #[must_use]
    pub fn queues(&self, right: Right) -> Option<Queues> {
        let kept = self.token.as_ref()?;
        match kept.rights.contains(right) {
            true if kept.queues.are_all() => None,
            true => Some(kept.queues.clone()),
            false => Some(Queues::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::change;

    fn make(data_dir: &Path, name: &str, queues: &[&str], rights: &[Right]) -> String {
        let secret = Secret::generate().unwrap();
        let queues = Queues::new(queues.iter().map(|text| text.parse().unwrap()));
        let kept = Kept {
            expires_at_ms: Some(100),
            ..Kept::of(&secret, name, queues, rights, Time(0))
        };
        change(data_dir, |tokens| {
            tokens.push(kept);
            Ok::<_, TokenFileError>(())
        })
        .unwrap();
        secret.reveal()
    }

    fn revoke_all(data_dir: &Path) {
        change(data_dir, |tokens| {
            tokens
                .iter_mut()
                .for_each(|kept| kept.revoked_at_ms = Some(1));
            Ok::<_, TokenFileError>(())
        })
        .unwrap();
    }

    #[test]
    fn tokens_count_as_soon_as_they_are_made_and_no_longer_than_they_should() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::open(folder.path()).unwrap();
        assert_eq!(access.identify(None, Time(1)), Ok(Caller::ANYONE));
        assert!(access.still_counts(&Caller::ANYONE, Time(1)));
        let token = make(folder.path(), "ci", &["maps"], &[Right::Read]);
        assert_eq!(access.identify(None, Time(1)), Err(Denied::Missing));
        assert!(!access.still_counts(&Caller::ANYONE, Time(1)));
        let caller = access.identify(Some(&token), Time(1)).unwrap();
        assert_eq!(caller.name().map(|name| &**name), Some("ci"));
        assert!(access.still_counts(&caller, Time(99)));
        assert!(!access.still_counts(&caller, Time(100)));
        let name: Arc<str> = "ci".into();
        let expired = Denied::Expired { name: name.clone() };
        assert_eq!(access.identify(Some(&token), Time(100)), Err(expired));
        for wrong in ["", "x", "Bearer x", "apportion_", &token[1..]] {
            assert_eq!(
                access.identify(Some(wrong), Time(1)),
                Err(Denied::Malformed),
                "{wrong}"
            );
        }
        let unknown = Secret::generate().unwrap().reveal();
        assert_eq!(
            access.identify(Some(&unknown), Time(1)),
            Err(Denied::Unknown)
        );
        revoke_all(folder.path());
        assert_eq!(
            access.identify(Some(&token), Time(1)),
            Err(Denied::Revoked { name })
        );
        assert!(!access.still_counts(&caller, Time(1)));
        assert!(
            access.is_guarded(),
            "revoking the last token must not open the door"
        );
    }

    #[test]
    fn a_file_that_is_damaged_or_gone_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::open(folder.path()).unwrap();
        let token = make(folder.path(), "ci", &["*"], &[Right::Administer]);
        assert!(access.identify(Some(&token), Time(1)).is_ok());
        let path = folder.path().join(TOKENS_FILE);
        for break_it in [
            |path: &Path| fs::write(path, "no").unwrap(),
            |path: &Path| fs::remove_file(path).unwrap(),
        ] {
            break_it(&path);
            assert_eq!(access.identify(None, Time(1)), Err(Denied::Missing));
            assert!(access.identify(Some(&token), Time(1)).is_ok());
        }
        // The first file that is ever seen is a damaged one: nobody is let in.
        let other = tempfile::tempdir().unwrap();
        let access = Access::open(other.path()).unwrap();
        fs::write(other.path().join(TOKENS_FILE), "no").unwrap();
        assert_eq!(access.identify(None, Time(1)), Err(Denied::Missing));
        assert!(Access::open(other.path()).is_err());
    }

    #[test]
    fn rights_hold_where_the_token_says() {
        let folder = tempfile::tempdir().unwrap();
        let token = make(
            folder.path(),
            "ci",
            &["maps", "maps/*"],
            &[Right::Read, Right::Submit],
        );
        let access = Access::open(folder.path()).unwrap();
        let caller = access.identify(Some(&token), Time(1)).unwrap();
        assert!(caller.may(Right::Read, "maps/render") && caller.may(Right::Submit, "maps"));
        assert!(!caller.may(Right::Read, "search") && !caller.may(Right::Cancel, "maps"));
        assert!(caller.may_somewhere(Right::Submit) && !caller.may_somewhere(Right::Cancel));
        assert!(!caller.may_everywhere(Right::Read));
        assert!(caller.queues(Right::Read).unwrap().contains("maps"));
        assert_eq!(caller.queues(Right::Cancel), Some(Queues::default()));
        let all = make(folder.path(), "all", &["*"], &[Right::Read]);
        let all = access.identify(Some(&all), Time(1)).unwrap();
        assert!(all.may_everywhere(Right::Read) && !all.may_everywhere(Right::Administer));
        assert_eq!(all.queues(Right::Read), None);
        assert!(
            Right::ALL
                .into_iter()
                .all(|right| Caller::ANYONE.may_everywhere(right))
        );
    }
}
