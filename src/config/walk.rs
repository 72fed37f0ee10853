//! Walks the parsed TOML with the place of every value at hand, and collects every error on the way.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use apportion_policies::{Amount, Registry, Share, Weight};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::errors::{ConfigError, Place, Problem, nearest};
use super::units::{self, UnitError};
use crate::engine::settings::Deadline;

/// The errors found so far in one text, with what its names of policies are looked up in.
pub(super) struct Report<'t> {
    text: &'t str,
    pub(super) registry: &'t Registry,
    errors: Vec<(usize, ConfigError)>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str, registry: &'t Registry) -> Self {
        Self {
            text,
            registry,
            errors: Vec::new(),
        }
    }

    /// Adds an error at a byte of the text.
    pub(super) fn push(
        &mut self,
        key: impl Into<String>,
        offset: usize,
        problem: impl Into<Problem>,
    ) {
        let place = Some(Place::of(self.text.as_bytes(), offset));
        self.errors.push((
            offset,
            ConfigError {
                key: key.into(),
                place,
                problem: problem.into(),
            },
        ));
    }

    /// Adds what the parser says. Of real syntax errors only the first counts: the others may follow from it.
    /// False where the text isn't TOML, so that the rest of it means nothing.
    pub(super) fn push_syntax(&mut self, errors: &[toml::de::Error]) -> bool {
        let mut is_toml = true;
        for error in errors {
            let span = error.span().unwrap_or(self.text.len()..self.text.len());
            if error.message().contains("duplicate key") {
                let key = self.text.get(span.clone()).unwrap_or_default().to_owned();
                self.push(key, span.start, Problem::DuplicateKey);
            } else if is_toml {
                is_toml = false;
                // The parser counts bytes, and may point into the middle of a character.
                let at = self.text.floor_char_boundary(span.start);
                let line_start = self.text[..at].rfind('\n').map_or(0, |end| end + 1);
                let line = self.text[line_start..].lines().next().unwrap_or_default();
                let mut message = error.message().to_owned();
                if line.starts_with("[queues.") && line.contains('/') && !line.contains('"') {
                    message.push_str(
                        "; write a path with slashes in quotes: [queues.\"maps/render\"]",
                    );
                }
                self.push("", span.start, Problem::Syntax { message });
            }
        }
        is_toml
    }

    /// The errors in the order of the text.
    pub(super) fn into_errors(mut self) -> Vec<ConfigError> {
        self.errors.sort_by_key(|(offset, _)| *offset);
        self.errors.into_iter().map(|(_, error)| error).collect()
    }
}

/// A table with the path that leads to it.
pub(super) struct Section<'a> {
    table: &'a DeTable<'a>,
    path: String,
    at: usize,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a DeTable<'a>) -> Self {
        Self {
            table,
            path: String::new(),
            at: 0,
        }
    }

    /// Reports every key that is neither known nor reported by the caller.
    pub(super) fn refuse_others(
        &self,
        known: &[&'static str],
        reported: &[&str],
        report: &mut Report<'_>,
    ) {
        for field in self.fields() {
            if !known.contains(&field.name) && !reported.contains(&field.name) {
                let meant = nearest(field.name, known.iter().copied());
                let problem = Problem::UnknownKey {
                    meant,
                    known: known.to_vec(),
                };
                report.push(field.key, field.key_at, problem);
            }
        }
    }

    /// All values, in the order of the text.
    pub(super) fn fields(&self) -> Vec<Field<'a>> {
        let table = self.table;
        let mut fields: Vec<_> = table
            .iter()
            .map(|(key, value)| self.field(key, value))
            .collect();
        fields.sort_by_key(|field| field.key_at);
        fields
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        let table = self.table;
        table
            .get_key_value(name)
            .map(|(key, value)| self.field(key, value))
    }

    /// Reports that a key is missing.
    pub(super) fn report_missing(
        &self,
        name: &str,
        example: &'static str,
        report: &mut Report<'_>,
    ) {
        report.push(
            join(&self.path, name),
            self.at,
            Problem::Missing { example },
        );
    }

    /// The keys that are there, in the order of the text.
    pub(super) fn names(&self) -> Vec<&'a str> {
        self.fields().iter().map(|field| field.name).collect()
    }

    fn field(&self, key: &'a Spanned<DeString<'a>>, value: &'a Spanned<DeValue<'a>>) -> Field<'a> {
        Field {
            name: key.get_ref(),
            key: join(&self.path, key.get_ref()),
            key_at: key.span().start,
            span: value.span(),
            value: value.get_ref(),
        }
    }
}

/// A value with the path that leads to it. Each reader gives `None` where it has reported an error.
pub(super) struct Field<'a> {
    /// The last key.
    pub(super) name: &'a str,
    /// The whole path.
    pub(super) key: String,
    /// Where the key stands.
    pub(super) key_at: usize,
    span: Range<usize>,
    value: &'a DeValue<'a>,
}

impl<'a> Field<'a> {
    /// Adds an error about the value.
    pub(super) fn report(&self, report: &mut Report<'_>, problem: impl Into<Problem>) {
        report.push(self.key.clone(), self.value_at(), problem);
    }

    /// Adds an error about the key.
    pub(super) fn report_key(&self, report: &mut Report<'_>, problem: impl Into<Problem>) {
        report.push(self.key.clone(), self.key_at, problem);
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(super) fn section(&self, report: &mut Report<'_>) -> Option<Section<'a>> {
        match self.value.as_table() {
            Some(table) => Some(Section {
                table,
                path: self.key.clone(),
                at: self.key_at,
            }),
            None => self.wrong_type("a table", report),
        }
    }

    pub(super) fn string(&self, report: &mut Report<'_>) -> Option<&'a str> {
        match self.value.as_str() {
            Some(text) => Some(text),
            None => self.wrong_type("a string", report),
        }
    }

    /// Whether it is an array.
    pub(super) fn is_array(&self) -> bool {
        self.value.is_array()
    }

    /// The elements of an array, each with its place in it as its key.
    pub(super) fn items(&self, report: &mut Report<'_>) -> Option<Vec<Field<'a>>> {
        let Some(array) = self.value.as_array() else {
            return self.wrong_type("an array", report);
        };
        let items = array.iter().enumerate().map(|(place, value)| Field {
            name: "",
            key: format!("{}[{place}]", self.key),
            key_at: value.span().start,
            span: value.span(),
            value: value.get_ref(),
        });
        Some(items.collect())
    }

    /// An array of strings.
    pub(super) fn strings(&self, report: &mut Report<'_>) -> Option<Vec<&'a str>> {
        let items = self.items(report)?;
        let strings = items.iter().map(|item| item.string(report));
        strings.collect::<Vec<_>>().into_iter().collect()
    }

    /// A whole number that may be below zero.
    pub(super) fn signed(&self, report: &mut Report<'_>) -> Option<i32> {
        let number = self.value.as_integer();
        let Some(integer) = number else {
            return self.wrong_type("a whole number", report);
        };
        let parsed = i32::from_str_radix(integer.as_str(), integer.radix());
        parsed.map_or_else(
            |_| {
                let range = format!("from {} to {}", i32::MIN, i32::MAX);
                let found = self.found(report);
                self.refuse(Problem::OutOfRange { range, found }, report)
            },
            Some,
        )
    }

    /// The line where it begins, from 1.
    pub(super) fn line(&self, report: &Report<'_>) -> usize {
        Place::of(report.text.as_bytes(), self.key_at).line
    }

    /// A whole number, or `None` for this word.
    #[allow(clippy::option_option, reason = "an error, the word, or a number")]
    pub(super) fn whole_or(
        &self,
        word: &str,
        range: RangeInclusive<u64>,
        report: &mut Report<'_>,
    ) -> Option<Option<u64>> {
        if self.value.as_str() == Some(word) {
            return Some(None);
        }
        self.whole(range, report).map(Some)
    }

    /// A share, exactly: a number, or a fraction such as `"2/3"`.
    pub(super) fn share(&self, report: &mut Report<'_>) -> Option<Share> {
        let text = match self.value.as_str() {
            Some(text) => text.to_owned(),
            None => self.number("a number, or a fraction such as \"2/3\"", report)?,
        };
        let (part, whole) = text.split_once('/').unwrap_or((&text, "1"));
        let (part, whole) = (part.trim().parse(), whole.trim().parse());
        match (part, whole) {
            (Ok(part), Ok(whole)) if whole != Amount::ZERO => Some(Share::new(part, whole)),
            _ => {
                let expected = "a number, or a fraction such as \"2/3\"";
                self.wrong_type(expected, report)
            }
        }
    }

    /// A string, number, boolean or date: a string's content, or else the value as it is written.
    pub(super) fn scalar(&self, report: &mut Report<'_>) -> Option<String> {
        match self.value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => Some(report.text.get(self.span.clone())?.to_owned()),
            DeValue::Array(_) | DeValue::Table(_) => {
                self.wrong_type("a string, a number, a boolean or a date", report)
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, report: &mut Report<'_>) -> Option<bool> {
        match self.value.as_bool() {
            Some(value) => Some(value),
            None => self.wrong_type("true or false", report),
        }
    }

    /// A whole number.
    pub(super) fn whole(&self, range: RangeInclusive<u64>, report: &mut Report<'_>) -> Option<u64> {
        let DeValue::Integer(integer) = self.value else {
            return self.wrong_type("a whole number", report);
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(number);
        }
        let range = format!("from {} to {}", range.start(), range.end());
        self.report(
            report,
            Problem::OutOfRange {
                range,
                found: self.found(report),
            },
        );
        None
    }

    /// A duration such as `"10s"`.
    pub(super) fn duration(&self, report: &mut Report<'_>) -> Option<Duration> {
        let parsed = match (self.value.as_str(), self.value.as_integer()) {
            (Some(text), _) => units::parse_duration(text),
            (None, Some(integer)) => Err(UnitError::DurationWithoutUnit(integer.to_string())),
            (None, None) => return self.wrong_type("a duration such as \"10s\"", report),
        };
        parsed.map_or_else(|error| self.refuse(error, report), Some)
    }

    /// A duration in this range, which `words` name.
    pub(super) fn duration_within(
        &self,
        range: &RangeInclusive<Duration>,
        words: &str,
        report: &mut Report<'_>,
    ) -> Option<Duration> {
        let span = self.duration(report)?;
        self.within(span, range, words, report)
    }

    /// The duration that was read here, if it is in this range, which `words` name.
    pub(super) fn within(
        &self,
        span: Duration,
        range: &RangeInclusive<Duration>,
        words: &str,
        report: &mut Report<'_>,
    ) -> Option<Duration> {
        if range.contains(&span) {
            return Some(span);
        }
        let problem = Problem::OutOfRange {
            range: words.to_owned(),
            found: humantime::format_duration(span).to_string(),
        };
        self.report(report, problem);
        None
    }

    /// A duration, or `"never"`.
    pub(super) fn deadline(&self, report: &mut Report<'_>) -> Option<Deadline> {
        if self.value.as_str() == Some("never") {
            return Some(Deadline::Never);
        }
        self.duration(report).map(Deadline::After)
    }

    /// Whether it is this word, in quotes.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.value.as_str() == Some(word)
    }

    /// A size in bytes such as `"16MiB"`.
    pub(super) fn bytes(&self, report: &mut Report<'_>) -> Option<u64> {
        let parsed = match (self.value.as_str(), self.value.as_integer()) {
            (Some(text), _) => units::parse_bytes(text),
            (None, Some(integer)) => Err(UnitError::SizeWithoutUnit(integer.to_string())),
            (None, None) => return self.wrong_type("a size such as \"16MiB\"", report),
        };
        parsed.map_or_else(|error| self.refuse(error, report), Some)
    }

    /// An amount of a resource: a number, for sizes also a string such as `"4GiB"`.
    pub(super) fn amount(&self, resource: &str, report: &mut Report<'_>) -> Option<Amount> {
        let parsed = match self.value.as_str() {
            Some(text) if units::is_size(resource) => units::parse_mib(text),
            Some(_) => return self.wrong_type("a number without quotes", report),
            None => units::parse_amount("", &self.number("a number", report)?),
        };
        parsed.map_or_else(|error| self.refuse(error, report), Some)
    }

    /// A weight.
    pub(super) fn weight(&self, report: &mut Report<'_>) -> Option<Weight> {
        let parsed = self.number("a number", report)?.parse();
        parsed.map_or_else(
            |_| {
                self.refuse(
                    Problem::Weight {
                        found: self.found(report),
                    },
                    report,
                )
            },
            Some,
        )
    }

    /// The digits of a number, as they are written, so that decimals stay exact.
    fn number(&self, expected: &'static str, report: &mut Report<'_>) -> Option<String> {
        if let Some(integer) = self.value.as_integer() {
            let number = i128::from_str_radix(integer.as_str(), integer.radix());
            return Some(number.map_or_else(|_| integer.to_string(), |number| number.to_string()));
        }
        if let Some(float) = self.value.as_float() {
            return Some(float.as_str().trim_start_matches('+').to_owned());
        }
        self.wrong_type(expected, report)
    }

    /// The value as the text has it, shortened.
    fn found(&self, report: &Report<'_>) -> String {
        const LENGTH_MAX: usize = 40;
        let source = report.text.get(self.span.clone()).unwrap_or_default();
        let line = source.lines().next().unwrap_or_default();
        let mut found: String = line.chars().take(LENGTH_MAX).collect();
        if found.len() < source.len() {
            found.push('…');
        }
        found
    }

    fn wrong_type<T>(&self, expected: &'static str, report: &mut Report<'_>) -> Option<T> {
        let found = match self.value {
            DeValue::Table(_) => "a table".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::String(_) => format!("the string {}", self.found(report)),
            DeValue::Integer(_) | DeValue::Float(_) => format!("the number {}", self.found(report)),
            DeValue::Boolean(_) => format!("the boolean {}", self.found(report)),
            DeValue::Datetime(_) => format!("the date {}", self.found(report)),
        };
        self.refuse(Problem::WrongType { expected, found }, report)
    }

    fn refuse<T>(&self, problem: impl Into<Problem>, report: &mut Report<'_>) -> Option<T> {
        self.report(report, problem);
        None
    }

    /// Tables written with a header have no place of their own; then the key's counts.
    fn value_at(&self) -> usize {
        if self.value.is_table() {
            self.key_at
        } else {
            self.span.start
        }
    }
}

/// Appends a key to a path, quoted where TOML wants it so.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let dot = if path.is_empty() { "" } else { "." };
    if bare {
        format!("{path}{dot}{key}")
    } else {
        format!("{path}{dot}{key:?}")
    }
}
