//! What may stand in single fields of a task object. Each refusal says what to write instead.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use apportion_policies::Amount;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::amount::AmountText;
use super::new_task::ARGUMENT_BYTES_MAX;
use crate::engine::TaskId;
use crate::engine::request::After;
use crate::engine::spec::ArrayRange;

/// Texts by name.
pub type Texts = BTreeMap<String, String>;

/// The most bytes of a queue's path.
const QUEUE_BYTES_MAX: usize = 512;
/// The most bytes of a name, a key, an inbox.
pub const LABEL_BYTES_MAX: usize = 256;
/// The most entries of a demand or of the constraints.
const ENTRIES_MAX: usize = 100;
/// The most variables of an environment.
const VARIABLES_MAX: usize = 10_000;
/// The most tasks and keys to wait for.
const AFTER_MAX: usize = 10_000;
/// The most arguments of a command.
const ARGUMENTS_MAX: usize = 10_000;
/// The most retries.
const RETRIES_MAX: u32 = 1000;
/// The most tasks of an array.
const ARRAY_MAX: u32 = 10_000_000;

/// Amounts by resource, read with the units that the resource has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand(pub BTreeMap<String, Amount>);

fn label<E: Error>(text: String, bytes_max: usize) -> Result<String, E> {
    if text.len() > bytes_max {
        return Err(E::custom(format_args!(
            "{} bytes are too long; at most {bytes_max}",
            text.len()
        )));
    }
    if let Some(character) = text.chars().find(|character| character.is_control()) {
        return Err(E::custom(format_args!(
            "the control character {character:?} may not stand here"
        )));
    }
    Ok(text)
}

fn filled_label<E: Error>(text: String, bytes_max: usize) -> Result<String, E> {
    if text.is_empty() {
        Err(E::custom("may not be empty"))
    } else {
        label(text, bytes_max)
    }
}

pub(super) fn queue<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    filled_label(String::deserialize(deserializer)?, QUEUE_BYTES_MAX)
}

pub(super) fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    label(String::deserialize(deserializer)?, LABEL_BYTES_MAX)
}

pub(super) fn key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let key = Option::<String>::deserialize(deserializer)?;
    key.map(|key| filled_label(key, LABEL_BYTES_MAX))
        .transpose()
}

pub(super) fn inbox<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let inbox = Option::<String>::deserialize(deserializer)?;
    inbox
        .as_deref()
        .map(check_inbox)
        .transpose()
        .map_err(Error::custom)?;
    Ok(inbox)
}

/// Whether an inbox may have this name.
///
/// # Errors
/// What to do instead.
pub fn check_inbox(inbox: &str) -> Result<(), String> {
    label::<de::value::Error>(inbox.to_owned(), LABEL_BYTES_MAX)
        .map_err(|error| error.to_string())?;
    match inbox {
        "" => Err("may not be empty".to_owned()),
        // Both would vanish from a URL on the way.
        "." | ".." => Err(format!("an inbox can't be called '{inbox}'")),
        _ if inbox.contains('/') => Err("an inbox's name has no '/'".to_owned()),
        _ => Ok(()),
    }
}

pub(super) fn retries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        retries if retries > RETRIES_MAX => Err(Error::custom(format_args!(
            "{retries} are too many; at most {RETRIES_MAX}"
        ))),
        retries => Ok(retries),
    }
}

fn argument<E: Error>(text: String) -> Result<String, E> {
    if text.contains('\0') {
        return Err(E::custom("the character NUL can't be passed to a program"));
    }
    if text.len() > ARGUMENT_BYTES_MAX {
        return Err(E::custom(format_args!(
            "{} bytes are too long for the system, which takes {ARGUMENT_BYTES_MAX}; put them into a file",
            text.len()
        )));
    }
    Ok(text)
}

pub(super) fn command<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let Some(line) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    if line.trim().is_empty() {
        return Err(Error::custom(
            "an empty command runs nothing; give a shell line",
        ));
    }
    argument(line).map(Some)
}

pub(super) fn argv<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    Ok(Option::<Argv>::deserialize(deserializer)?.map(|Argv(argv)| argv))
}

pub(super) fn python<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<[u8]>>, D::Error> {
    let Some(text) = Option::<Cow<'de, str>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let pickle = STANDARD
        .decode(text.as_bytes())
        .map_err(|error| Error::custom(format_args!("is not base64: {error}")))?;
    if pickle.is_empty() {
        return Err(Error::custom(
            "an empty pickle runs nothing; give a pickled object with a method run()",
        ));
    }
    Ok(Some(pickle.into()))
}

pub(super) fn after<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<After>, D::Error> {
    let list = ListOf::<AfterEntry>::new(AFTER_MAX, "task ids and keys");
    let entries = deserializer.deserialize_seq(list)?;
    Ok(entries.into_iter().map(|AfterEntry(after)| after).collect())
}

pub(super) fn array<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ArrayRange>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.as_deref()
        .map(parse_array)
        .transpose()
        .map_err(Error::custom)
}

/// Reads `0-99` or `0-99:2`. The last index is brought down to the one that is reached.
///
/// # Errors
/// What to write instead.
pub fn parse_array(text: &str) -> Result<ArrayRange, String> {
    let wrong = || {
        format!(
            "'{text}' is no array; write FIRST-LAST or FIRST-LAST:STEP, such as \"0-99\" or \"0-98:2\""
        )
    };
    let number = |part: &str| match part.bytes().all(|byte| byte.is_ascii_digit()) {
        true => part.parse::<u32>().map_err(|_| wrong()),
        false => Err(wrong()),
    };
    let (range, step) = text
        .split_once(':')
        .map_or((text, "1"), |(range, step)| (range, step));
    let (first, last) = range.split_once('-').ok_or_else(wrong)?;
    let (first, last, step) = (number(first)?, number(last)?, number(step)?);
    if step == 0 {
        return Err(format!("'{text}': the step must be above 0"));
    }
    let distance = last
        .checked_sub(first)
        .ok_or_else(|| format!("'{text}': the first index lies behind the last"))?;
    let n_steps = distance / step;
    if n_steps >= ARRAY_MAX {
        return Err(format!("'{text}': an array has at most {ARRAY_MAX} tasks"));
    }
    Ok(ArrayRange {
        first,
        last: first + n_steps * step,
        step,
    })
}

pub(super) fn env<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Texts, D::Error> {
    let visitor = MapOf {
        entries_max: VARIABLES_MAX,
        check_name: check_variable,
        value: PhantomData,
    };
    let variables: BTreeMap<String, Argument> = deserializer.deserialize_map(visitor)?;
    variables
        .into_iter()
        .map(|(name, Argument(value))| match name.len() + value.len() < ARGUMENT_BYTES_MAX {
            true => Ok((name, value)),
            false => Err(Error::custom(format_args!(
                "the variable {name} is too long for the system, which takes {ARGUMENT_BYTES_MAX} bytes with its name"
            ))),
        })
        .collect()
}

fn check_variable(name: &str) -> Result<(), String> {
    match name {
        "" => Err("a variable needs a name".to_owned()),
        _ if name.contains('=') => Err(format!("the variable name {name:?} may not contain '='")),
        _ if name.contains('\0') => Err(format!("the variable name {name:?} may not contain NUL")),
        _ => Ok(()),
    }
}

pub(super) fn constraints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Texts, D::Error> {
    let visitor = MapOf {
        entries_max: ENTRIES_MAX,
        check_name: check_label,
        value: PhantomData,
    };
    let constraints: BTreeMap<String, Label> = deserializer.deserialize_map(visitor)?;
    Ok(constraints
        .into_iter()
        .map(|(name, Label(value))| (name, value))
        .collect())
}

fn check_label(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name may not be empty".to_owned());
    }
    label::<de::value::Error>(name.to_owned(), LABEL_BYTES_MAX)
        .map(drop)
        .map_err(|error| error.to_string())
}

impl<'de> Deserialize<'de> for Demand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DemandVisitor)
    }
}

struct DemandVisitor;

impl<'de> Visitor<'de> for DemandVisitor {
    type Value = Demand;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of amounts by resource, such as {\"cpus\": 2, \"mem\": \"4GiB\"}")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Demand, M::Error> {
        let mut demand = BTreeMap::new();
        while let Some(resource) = map.next_key::<String>()? {
            check_entry(&resource, demand.len(), ENTRIES_MAX, check_label)?;
            let amount = map.next_value_seed(AmountOf {
                resource: &resource,
            })?;
            if demand.insert(resource.clone(), amount).is_some() {
                return Err(Error::custom(format_args!(
                    "'{resource}' stands here twice"
                )));
            }
        }
        Ok(Demand(demand))
    }
}

/// Reads the amount of one resource, inside its value so that an error's path names the resource.
struct AmountOf<'a> {
    resource: &'a str,
}

impl<'de> de::DeserializeSeed<'de> for AmountOf<'_> {
    type Value = Amount;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Amount, D::Error> {
        AmountText::deserialize(deserializer)?
            .parse(self.resource)
            .map_err(Error::custom)
    }
}

fn check_entry<E: Error>(
    name: &str,
    n_before: usize,
    entries_max: usize,
    check_name: fn(&str) -> Result<(), String>,
) -> Result<(), E> {
    if n_before >= entries_max {
        return Err(E::custom(format_args!("more than {entries_max} entries")));
    }
    check_name(name).map_err(E::custom)
}

/// An object of checked names, none of them twice.
struct MapOf<T> {
    entries_max: usize,
    check_name: fn(&str) -> Result<(), String>,
    value: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for MapOf<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts by name")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut entries = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            check_entry(&name, entries.len(), self.entries_max, self.check_name)?;
            let value = map.next_value()?;
            if entries.insert(name.clone(), value).is_some() {
                return Err(Error::custom(format_args!("'{name}' stands here twice")));
            }
        }
        Ok(entries)
    }
}

/// A structure that is written as an object. By itself, serde would take an array of its fields as well.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Object<T>, M::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

pub(super) fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Object::deserialize(deserializer).map(|Object(value)| value)
}

pub(super) fn objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|Object(value)| value).collect())
}

/// An array of bounded length.
struct ListOf<T> {
    entries_max: usize,
    what: &'static str,
    value: PhantomData<T>,
}

impl<T> ListOf<T> {
    fn new(entries_max: usize, what: &'static str) -> Self {
        Self {
            entries_max,
            what,
            value: PhantomData,
        }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListOf<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of {}", self.what)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Vec<T>, S::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = seq.next_element()? {
            if entries.len() >= self.entries_max {
                return Err(Error::custom(format_args!(
                    "more than {} entries",
                    self.entries_max
                )));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

struct Argument(String);

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        argument(String::deserialize(deserializer)?).map(Self)
    }
}

struct Argv(Vec<String>);

impl<'de> Deserialize<'de> for Argv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let argv = deserializer.deserialize_seq(ListOf::<Argument>::new(ARGUMENTS_MAX, "texts"))?;
        let argv: Vec<String> = argv.into_iter().map(|Argument(text)| text).collect();
        if argv.first().is_none_or(String::is_empty) {
            return Err(Error::custom(
                "the first entry names the program and may not be missing or empty",
            ));
        }
        Ok(Self(argv))
    }
}

struct Label(String);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        label(String::deserialize(deserializer)?, LABEL_BYTES_MAX).map(Self)
    }
}

struct AfterEntry(After);

impl<'de> Deserialize<'de> for AfterEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;

        impl Visitor<'_> for Entry {
            type Value = AfterEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the id of a task (a positive integer) or the key of one (a text)")
            }

            fn visit_u64<E: Error>(self, task: u64) -> Result<AfterEntry, E> {
                match task {
                    0 => Err(E::invalid_value(de::Unexpected::Unsigned(0), &self)),
                    task => Ok(AfterEntry(After::Task(TaskId(task)))),
                }
            }

            fn visit_str<E: Error>(self, key: &str) -> Result<AfterEntry, E> {
                Ok(AfterEntry(After::Key(key.into())))
            }
        }

        deserializer.deserialize_any(Entry)
    }
}
