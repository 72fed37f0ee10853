//! The integration tests, in one binary.

mod local_backend;
