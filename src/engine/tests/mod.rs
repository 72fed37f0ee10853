//! Tests of the engine as a whole, by family. Each step checks the invariants, and that an engine which
//! only follows the facts, and one that recovers from them, stand where the engine stands.

mod arrays;
mod build;
mod cancel;
mod claims;
mod claims_place;
mod decided;
mod dependencies;
mod env;
mod explain;
mod half_life;
mod keys;
mod ledger;
mod life;
mod matching;
mod offers;
mod random;
mod recovery;
mod reload;
mod reports;
mod retry;
mod standing;
mod starvation;
mod truth;
mod words;
