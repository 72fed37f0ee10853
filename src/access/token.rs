//! Tokens: what they look like, what is kept of them, and how one is known again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::rights::{Queues, Right, Rights};
use crate::engine::Time;

/// How a token begins, so that people and programs that look for leaked secrets know it.
const PREFIX: &str = "apportion_";
/// Random bytes of the part by which a token's record is found. It is no secret.
const ID_BYTES: usize = 8;
/// Random bytes of the secret part: as many as its hash has, so that guessing either is out of reach.
const SECRET_BYTES: usize = 32;

/// What is compared where no token has the id: no known secret has this hash.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A token as its owner holds it: `apportion_ID_SECRET`. Never kept and never shown by `Debug`.
pub struct Secret {
    id: String,
    secret: String,
}

impl Secret {
    /// A new one, from the system's randomness.
    ///
    /// # Errors
    /// The system gives none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        Ok(Self {
            id: format!("{:016x}", u64::from_be_bytes(id)),
            secret: URL_SAFE_NO_PAD.encode(secret),
        })
    }

    /// Reads one; `None` where the text can't be a token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        (!id.is_empty() && !secret.is_empty()).then(|| Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// The part by which its record is found.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is kept in place of the secret part. A fast hash does: there are too many secrets to try any.
    #[must_use]
    pub fn hash(&self) -> blake3::Hash {
        blake3::hash(self.secret.as_bytes())
    }

    /// The whole text, for whoever asked for the token.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({PREFIX}{}_…)", self.id)
    }
}

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The part of the token that is no secret.
    pub id: String,
    /// What people call it; no two that still count have the same.
    pub name: Arc<str>,
    /// [`Secret::hash`] in hexadecimal digits.
    pub hash: String,
    /// Where its rights hold.
    pub queues: Queues,
    /// What it allows.
    pub rights: Rights,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_at_ms: u64,
    /// From when on it counts no more.
    pub expires_at_ms: Option<u64>,
    /// When it was revoked.
    pub revoked_at_ms: Option<u64>,
}

/// Whether a token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Valid,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl Standing {
    /// For tables and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Kept {
    /// What is kept of a token that is made now, and counts for ever.
    #[must_use]
    pub fn of(secret: &Secret, name: &str, queues: Queues, rights: &[Right], now: Time) -> Self {
        Self {
            id: secret.id().to_owned(),
            name: name.into(),
            hash: secret.hash().to_hex().to_string(),
            queues,
            rights: Rights::new(rights.iter().copied()),
            made_at_ms: now.0,
            expires_at_ms: None,
            revoked_at_ms: None,
        }
    }

    /// Whether it counts at this time.
    #[must_use]
    pub fn standing(&self, now: Time) -> Standing {
        if self.revoked_at_ms.is_some() {
            Standing::Revoked
        } else if self.expires_at_ms.is_some_and(|at| at <= now.0) {
            Standing::Expired
        } else {
            Standing::Valid
        }
    }
}

/// All tokens, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(BTreeMap<String, Arc<Kept>>);

impl Tokens {
    /// These.
    #[must_use]
    pub fn new(kept: impl IntoIterator<Item = Kept>) -> Self {
        let by_id = |kept: Kept| (kept.id.clone(), Arc::new(kept));
        Self(kept.into_iter().map(by_id).collect())
    }

    /// By id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Kept>> {
        self.0.get(id)
    }

    /// In order of ids.
    pub fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.0.values().map(|kept| &**kept)
    }

    /// The record of this token, if its secret is right. The time that it takes doesn't depend on where the secret
    /// differs, for hashes are compared, and in a constant time; nor on whether the id is known, for one is read and
    /// compared in any case.
    #[must_use]
    pub fn find(&self, presented: &Secret) -> Option<&Arc<Kept>> {
        let kept = self.get(presented.id());
        let expected = blake3::Hash::from_hex(kept.map_or(NO_HASH, |kept| &kept.hash));
        let is_right = expected.is_ok_and(|expected| expected == presented.hash());
        kept.filter(|_| is_right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(secret: &Secret) -> Kept {
        Kept {
            expires_at_ms: Some(10),
            ..Kept::of(secret, "ci", Queues::default(), &[], Time(5))
        }
    }

    #[test]
    fn only_the_very_token_is_found() {
        let (own, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        let tokens = Tokens::new([kept(&own), kept(&other)]);
        let again = Secret::parse(&own.reveal()).unwrap();
        assert_eq!(tokens.find(&again).unwrap().id, own.id());
        let crossed = Secret {
            id: own.id.clone(),
            secret: other.secret.clone(),
        };
        assert_eq!(tokens.find(&crossed), None);
        let unknown = Secret::generate().unwrap();
        assert_eq!(tokens.find(&unknown), None);
        let cut = own.reveal();
        let cut = Secret::parse(&cut[..cut.len() - 1]).unwrap();
        assert_eq!(tokens.find(&cut), None);
        // A damaged hash fits nothing, also not the hash that stands in for unknown tokens.
        let mut damaged = kept(&own);
        damaged.hash = "0".repeat(63);
        assert_eq!(Tokens::new([damaged]).find(&own), None);
    }

    #[test]
    fn a_secret_is_long_and_never_shown_by_accident() {
        let (secret, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(secret.reveal(), other.reveal());
        assert_eq!(secret.secret.len(), 43);
        assert!(!format!("{secret:?}").contains(&secret.secret));
        for wrong in [
            "",
            "apportion_",
            "apportion_1",
            "apportion_1_",
            "apportion__x",
            "Apportion_1_x",
            "1_x",
        ] {
            assert!(Secret::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_token_counts_until_its_time_is_over_or_it_is_revoked() {
        let mut kept = kept(&Secret::generate().unwrap());
        assert_eq!(kept.standing(Time(9)), Standing::Valid);
        assert_eq!(kept.standing(Time(10)), Standing::Expired);
        kept.expires_at_ms = None;
        assert_eq!(kept.standing(Time(u64::MAX)), Standing::Valid);
        kept.revoked_at_ms = Some(7);
        assert_eq!(kept.standing(Time(9)), Standing::Revoked);
    }
}
