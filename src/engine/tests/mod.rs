//! Tests of the engine as a whole, by family. Each step checks the invariants, and that an engine which
//! only follows the facts, and one that recovers from them, stand where the engine stands.

mod env;
mod ledger;
mod life;
mod standing;
