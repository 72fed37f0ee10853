//! What can be wrong with a configuration: every error with its key path, its place and what to do.

use std::fmt;
use std::path::PathBuf;

use super::units::UnitError;

/// Everything that is wrong with a configuration, in the order of the file. Never empty.
///
/// Its text is one line for each error, `FILE:LINE:COLUMN: KEY: what is wrong; what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file; `None` where a text was given instead.
    pub file: Option<PathBuf>,
    /// The errors.
    pub errors: Vec<ConfigError>,
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, error) in self.errors.iter().enumerate() {
            if place > 0 {
                writeln!(f)?;
            }
            match &self.file {
                Some(file) => write!(f, "{}:{error}", file.display())?,
                None => write!(f, "{error}")?,
            }
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The path of the key, such as `queues."maps/render".weight`; empty where the file as a whole is wrong.
    pub key: String,
    /// Where, if it is at one place of the file.
    pub place: Option<Place>,
    /// What is wrong, and what to do.
    pub problem: Problem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(Place { line, column }) => write!(f, "{line}:{column}: ")?,
            None => f.write_str(" ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        self.problem.fmt(f)
    }
}

/// A place in a file, both numbers counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character of the line.
    pub column: usize,
}

impl Place {
    /// The place of a byte of a text. An offset beyond the end means the end.
    #[must_use]
    pub fn of(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset.min(text.len())];
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        Self {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_start..])
                .chars()
                .count()
                + 1,
        }
    }
}

/// What is wrong with a key, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file can't be read.
    #[error(
        "can't read the configuration: {message}; name an existing file with --config, or leave it away for the defaults"
    )]
    Unreadable {
        /// What the system said.
        message: String,
    },
    /// Another file than the configuration can't be read.
    #[error("can't read the {what}: {message}; name an existing file")]
    UnreadableFile {
        /// What is in the file.
        what: &'static str,
        /// What the system said.
        message: String,
    },
    /// The file isn't UTF-8.
    #[error("not UTF-8 from here on; save the file in UTF-8")]
    NotUtf8,
    /// The file isn't TOML.
    #[error("not TOML: {message}")]
    Syntax {
        /// What the parser said.
        message: String,
    },
    /// A key stands twice.
    #[error("stands twice; keep one of them")]
    DuplicateKey,
    /// A key that means nothing.
    #[error("unknown key{}; known here: {}", did_you_mean(.meant.as_deref()), .known.join(", "))]
    UnknownKey {
        /// The known key that is most like it.
        meant: Option<String>,
        /// All known keys of the table.
        known: Vec<&'static str>,
    },
    /// A key that belongs elsewhere.
    #[error("{0}")]
    Misplaced(String),
    /// A key that must be there isn't.
    #[error("missing; write {example}")]
    Missing {
        /// For instance so.
        example: &'static str,
    },
    /// A value of another type.
    #[error("must be {expected}, but is {found}")]
    WrongType {
        /// What it must be.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A size, duration or amount that can't be read.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// A weight that is none.
    #[error(
        "must be above 0 and at most 4294967, with at most three digits behind the point, but is {found}"
    )]
    Weight {
        /// What was found.
        found: String,
    },
    /// A number or duration outside of its range.
    #[error("must be {range}, but is {found}")]
    OutOfRange {
        /// The range, in words.
        range: String,
        /// What was found.
        found: String,
    },
    /// A name of nothing.
    #[error("unknown {what} '{found}'{}; {hint}", did_you_mean(.meant.as_deref()))]
    UnknownName {
        /// Of what.
        what: &'static str,
        /// The name.
        found: String,
        /// The known name that is most like it.
        meant: Option<String>,
        /// Which are known, or what to do.
        hint: String,
    },
    /// A name that doesn't follow the rules.
    #[error("'{found}' is no {what}: {rule}")]
    NameSyntax {
        /// Of what.
        what: &'static str,
        /// The name.
        found: String,
        /// The rules.
        rule: String,
    },
    /// Contradicts something else.
    #[error("{0}")]
    Conflict(String),
}

fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!("; did you mean '{name}'?"))
        .unwrap_or_default()
}

/// The candidate that is most like `found`, if one is like enough to be meant.
#[must_use]
pub fn nearest<'a>(found: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let found = found.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&found, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}
