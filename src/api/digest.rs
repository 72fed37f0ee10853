//! The digest that tells a repeated submission from a reused key.

use std::io;

use serde::Serialize;

/// The first 16 bytes of BLAKE3 over the JSON of a canonical form. Whoever shapes that form takes care
/// that equal tasks give equal JSON: fields in a fixed order, names sorted, amounts and spans in one unit.
///
/// # Panics
/// If the form can't be written as JSON, such as a map whose keys are no texts.
#[must_use]
pub(super) fn of<T: Serialize>(canonical: &T) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    serde_json::to_writer(io::BufWriter::new(&mut hasher), canonical)
        .expect("a canonical form is plain data, and hashing it never fails");
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}
