//! Bytes that are almost right: a good sample with a few edits, among them words that are known for trouble.

use proptest::prelude::*;

/// One edit. Numbers choose a place in what is there.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Flip(u16, u8),
    Remove(u16, u8),
    Repeat(u16, u8, u8),
    Insert(u16, Vec<u8>),
    Cut(u16),
    /// A piece of the sample replaces another place.
    Move(u16, u16, u8),
}

/// Words that break careless readers.
const WORDS: [&str; 22] = [
    "-1",
    "0",
    "1e999",
    "NaN",
    "18446744073709551615",
    "18446744073709551616",
    "281474976710656",
    "0.0001",
    "999999999999GiB",
    "\"\"",
    "[[",
    "]]",
    "{",
    "}",
    "= \"",
    "..",
    "../..",
    "\u{0}",
    "ü",
    "\u{202e}",
    "\n",
    ";",
];

fn edit() -> impl Strategy<Value = Edit> {
    let word = prop::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec());
    let bytes = prop::collection::vec(any::<u8>(), 1..9);
    prop_oneof![
        3 => (any::<u16>(), any::<u8>()).prop_map(|(at, by)| Edit::Flip(at, by)),
        2 => (any::<u16>(), any::<u8>()).prop_map(|(at, length)| Edit::Remove(at, length)),
        1 => (any::<u16>(), any::<u8>(), 2..20_u8).prop_map(|(at, length, times)| Edit::Repeat(at, length, times)),
        5 => (any::<u16>(), word).prop_map(|(at, word)| Edit::Insert(at, word)),
        1 => (any::<u16>(), bytes).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => any::<u16>().prop_map(Edit::Cut),
        3 => (any::<u16>(), any::<u16>(), any::<u8>()).prop_map(|(from, to, length)| Edit::Move(from, to, length)),
    ]
}

fn place(choice: u16, length: usize) -> usize {
    usize::from(choice) * (length + 1) / (usize::from(u16::MAX) + 1)
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    let length = bytes.len();
    let range = |at: u16, n: u8| {
        let start = place(at, length);
        start..length.min(start + usize::from(n))
    };
    match edit {
        Edit::Flip(at, by) => {
            if let Some(byte) = bytes.get_mut(place(*at, length)) {
                *byte ^= by;
            }
        }
        Edit::Remove(at, n) => drop(bytes.drain(range(*at, *n))),
        Edit::Repeat(at, n, times) => {
            let range = range(*at, *n);
            let piece = bytes[range.clone()].repeat(usize::from(*times));
            drop(bytes.splice(range.end..range.end, piece));
        }
        Edit::Insert(at, piece) => {
            let at = place(*at, length);
            drop(bytes.splice(at..at, piece.iter().copied()));
        }
        Edit::Cut(at) => bytes.truncate(place(*at, length)),
        Edit::Move(from, to, n) => {
            let piece = bytes[range(*from, *n)].to_vec();
            drop(bytes.splice(range(*to, *n), piece));
        }
    }
}

/// One of these with up to eight edits, or anything at all.
pub(super) fn garbled(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edited = (
        prop::sample::select(samples),
        prop::collection::vec(edit(), 0..9),
    );
    let edited = edited.prop_map(|(mut bytes, edits)| {
        for edit in &edits {
            apply(&mut bytes, edit);
        }
        bytes
    });
    prop_oneof![
        9 => edited,
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}
