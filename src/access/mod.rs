//! Who may do what: tokens, the rights that they grant in parts of the queue tree, and the file that keeps them.
//!
//! A token is a long random text that is shown once, when it is made; only a hash of its secret part is kept. The
//! file of tokens in the data directory is looked at again at each call, so a token that was made or revoked beside
//! the running daemon counts from the next call on. Where that file has never been, everybody may do everything;
//! `serve` sees to it that a daemon like that is not reached from elsewhere.

mod file;
mod gate;
mod rights;
mod token;

pub use file::{TOKENS_FILE, TokenFileError, change, load};
pub use gate::{Access, Caller, Denied};
pub use rights::{Pattern, PatternError, Queues, Right, Rights};
pub use token::{Kept, Secret, Standing, Tokens};
