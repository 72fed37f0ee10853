//! Configurations.

use apportion::config;
use apportion::policies::Registry;

pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(errors) = config::parse(&text, &Registry::default()) {
        assert!(!errors.errors.is_empty() && !errors.to_string().is_empty());
    }
}
