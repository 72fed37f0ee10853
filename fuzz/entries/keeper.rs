//! What the daemon and its keeper say to each other.

use apportion::backend::local::fuzzed;

pub(crate) fn run(bytes: &[u8]) {
    fuzzed::read(bytes);
}
