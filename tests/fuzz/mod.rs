//! What comes from outside, garbled: an error or an answer, never a panic, a hang, or memory without bound. Here by
//! inputs that are almost right; `tests/fuzz.sh` looks in the same entries for inputs that reach code which none has reached.

mod database;
mod entries;
mod http;
mod mutation;
