//! What comes from outside, garbled: an error or an answer, never a panic, a hang, or memory without bound.

mod database;
mod http;
mod messages;
mod mutation;
mod texts;
