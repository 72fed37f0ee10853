//! Who is let in: tokens, encryption and listeners of the real daemon, and what intruders try.

mod intruders;
mod limits;
mod tls;
mod tokens;
