//! Where HTTP clients are made: with TLS by rustls, over HTTP/1.1, and without proxies of the environment.

use std::sync::Once;
use std::time::Duration;

/// A host that doesn't answer at all is given up after so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client to be made. Every client of this program starts here: rustls has to be told once who does its
/// cryptography.
pub fn builder() -> reqwest::ClientBuilder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that whoever embeds this library has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
}
