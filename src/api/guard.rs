//! What every call passes before anything else looks at it: is it meant for this daemon, does a page of another
//! site send it, is its body what it seems.
//!
//! A person who reaches the daemon visits other sites too. Such a page can make the browser post forms to any
//! address, and, by having its own name lead to the daemon's address, take the answers for its own ("DNS rebinding").
//! Both show in headers that a page has no hand in.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use super::ApiError;
use crate::config::Config;

/// Says from where a browser's request comes; other clients don't send it.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what should not be here, and keeps browsers from guessing content types: a task's output must not become
/// a page.
pub(super) async fn guard(
    State(config): State<watch::Receiver<Arc<Config>>>,
    request: Request,
    next: Next,
) -> Response {
    let checked = {
        let config = config.borrow();
        check(&request, &config.server.names)
    };
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let nosniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn check(request: &Request, names: &[String]) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = host(request)?;
    if let Some(host) = &host
        && !is_own(host.host(), names)
    {
        return Err(ApiError::WrongHost {
            host: host.host().to_owned(),
        });
    }
    if !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) && is_foreign(headers, host.as_ref())
    {
        return Err(ApiError::CrossSite);
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(found) if !found.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(ApiError::ContentEncoding {
                found: String::from_utf8_lossy(found.as_bytes()).into_owned(),
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// The one host that a call names; before HTTP/1.1 it need not name any.
fn host(request: &Request) -> Result<Option<Authority>, ApiError> {
    let mut all = request.headers().get_all(header::HOST).iter();
    let (first, second) = (all.next(), all.next());
    let in_header = match (first, second) {
        (None, None) if request.version() < Version::HTTP_11 => return Ok(None),
        (Some(host), None) => host.to_str().ok().and_then(|host| host.parse().ok()),
        (Some(_), Some(_)) | (None, _) => None,
    };
    // What stands in the first line, as for a proxy, must say the same.
    let in_line = request.uri().authority();
    match in_header {
        Some(host) if in_line.is_none_or(|line| *line == host) => Ok(Some(host)),
        Some(_) | None => Err(ApiError::NoHost),
    }
}

/// Whether a host is this daemon: an address, which no page can make its own, a name of the loopback, or a name from
/// the configuration.
fn is_own(host: &str, names: &[String]) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.trim_end_matches('.');
    address.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

/// Whether a page of another site sent it.
fn is_foreign(headers: &HeaderMap, host: Option<&Authority>) -> bool {
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    if let Some(site) = site {
        return site != b"same-origin" && site != b"none";
    }
    // Older browsers say only where the page is from.
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority != host.map(Authority::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_are_own() {
        let names = ["sched.example.org".to_owned()];
        for own in [
            "127.0.0.1",
            "10.0.0.5",
            "[::1]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "sched.example.org",
            "Sched.Example.Org.",
        ] {
            assert!(is_own(own, &names), "{own}");
        }
        for other in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "xsched.example.org",
            "",
            ".",
        ] {
            assert!(!is_own(other, &names), "{other}");
        }
    }
}
