//! Rights, and the parts of the queue tree in which they hold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Something that a token may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// To see tasks, their outputs, results and events, and queues.
    Read,
    /// To submit tasks, to acknowledge what inboxes delivered of them, and to cancel and retry one's own.
    Submit,
    /// To cancel and retry what others submitted.
    Cancel,
    /// All of these, and what concerns the whole daemon where it holds for every queue.
    Administer,
}

impl Right {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Read, Self::Submit, Self::Cancel, Self::Administer];

    /// Its word on the command line and in answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Cancel => "cancel",
            Self::Administer => "administer",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Right {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|right| right.as_str() == word);
        known.ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            format!("'{word}' is no right; known are {known}")
        })
    }
}

/// A set of rights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rights(Vec<Right>);

impl Rights {
    /// These.
    #[must_use]
    pub fn new(rights: impl IntoIterator<Item = Right>) -> Self {
        let mut rights: Vec<Right> = rights.into_iter().collect();
        rights.sort_unstable();
        rights.dedup();
        Self(rights)
    }

    /// Whether this one is among them; to administer is to have all.
    #[must_use]
    pub fn contains(&self, right: Right) -> bool {
        self.0.contains(&right) || self.0.contains(&Right::Administer)
    }

    /// In order.
    #[must_use]
    pub fn as_slice(&self) -> &[Right] {
        &self.0
    }
}

/// A part of the queue tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pattern {
    /// `*`: every queue.
    All,
    /// `maps`: this very queue.
    One(Box<str>),
    /// `maps/*`: every queue below it, at whatever depth, but not the queue itself.
    Below(Box<str>),
}

/// A text that is no [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' names no part of the queue tree; write a queue's path such as maps, maps/* for all below it, or * for all queues"
)]
pub struct PatternError(pub String);

impl Pattern {
    /// Whether a queue is in this part.
    #[must_use]
    pub fn contains(&self, queue: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(path) => **path == *queue,
            Self::Below(path) => queue
                .strip_prefix(&**path)
                .is_some_and(|rest| rest.starts_with('/')),
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::All);
        }
        let (path, is_below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text, false),
        };
        let is_path = path.split('/').all(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        });
        match is_path {
            false => Err(PatternError(text.to_owned())),
            true if is_below => Ok(Self::Below(path.into())),
            true => Ok(Self::One(path.into())),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::One(path) => f.write_str(path),
            Self::Below(path) => write!(f, "{path}/*"),
        }
    }
}

/// Several parts of the queue tree together. With few patterns a look costs a few comparisons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Queues(Vec<Pattern>);

impl Queues {
    /// These parts.
    #[must_use]
    pub fn new(patterns: impl IntoIterator<Item = Pattern>) -> Self {
        Self(patterns.into_iter().collect())
    }

    /// Whether a queue is in one of the parts.
    #[must_use]
    pub fn contains(&self, queue: &str) -> bool {
        self.0.iter().any(|pattern| pattern.contains(queue))
    }

    /// Whether that is every queue, whatever the configuration says.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.0.contains(&Pattern::All)
    }

    /// The parts.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(texts: &[&str]) -> Queues {
        Queues::new(texts.iter().map(|text| text.parse().unwrap()))
    }

    #[test]
    fn a_pattern_holds_for_whole_names_only() {
        let maps = queues(&["maps", "maps/*"]);
        for inside in ["maps", "maps/render", "maps/render/fast"] {
            assert!(maps.contains(inside), "{inside}");
        }
        for outside in [
            "",
            "map",
            "maps2",
            "maps2/render",
            "search",
            "search/maps",
            "MAPS",
            "maps/../search",
        ] {
            let is_below = outside.starts_with("maps/");
            assert_eq!(maps.contains(outside), is_below, "{outside}");
        }
        let below = queues(&["maps/*"]);
        assert!(!below.contains("maps") && below.contains("maps/a"));
        assert!(!below.contains("maps2/a"));
        assert!(queues(&["*"]).contains("anything/at/all") && queues(&["*"]).are_all());
        assert!(!queues(&[]).contains("maps"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for wrong in [
            "", "/", "/maps", "maps/", "maps//a", "ma*", "*/maps", "**", "maps/**", "maps/*/a",
            "a b", "ä",
        ] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
        for right in ["*", "maps", "maps/*", "maps/a.b-c_d/*"] {
            assert_eq!(right.parse::<Pattern>().unwrap().to_string(), right);
        }
    }

    #[test]
    fn to_administer_is_to_have_all_rights() {
        let administer = Rights::new([Right::Administer]);
        assert!(
            Right::ALL
                .into_iter()
                .all(|right| administer.contains(right))
        );
        let submit = Rights::new([Right::Submit, Right::Submit]);
        assert_eq!(submit.as_slice(), [Right::Submit]);
        assert!(!submit.contains(Right::Read) && !submit.contains(Right::Administer));
    }
}
