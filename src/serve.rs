//! Puts the parts of the daemon together, runs them, and takes them down in good order.
