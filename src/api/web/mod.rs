//! The web page at `/`: what `apportion top` shows, for a browser. Plain HTML, CSS and JavaScript modules, read by the
//! compiler from `page/`; nothing is built, and nothing is loaded from another host.
//!
//! The page may load only what this server gives it (its content security policy), and it puts whatever tasks say
//! into the document as text, so a script in a task's name stays a name.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{ApiError, Context};

/// What the page may load, and from where; styles are set by scripts through the object model, never in markup.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// One file of the page.
struct File {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! files {
    ($content_type:literal: $($name:literal),*) => {
        [$(File {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("page/", $name)),
        }),*]
    };
}

const INDEX: &str = include_str!("page/index.html");
const SCRIPTS: [File; 13] = files!("text/javascript; charset=utf-8":
    "cluster.js", "dom.js", "door.js", "explanation.js", "format.js", "live.js", "main.js", "output.js", "question.js",
    "queues.js", "server.js", "task.js", "tasks.js");
const STYLES: [File; 1] = files!("text/css; charset=utf-8": "style.css");
const IMAGES: [File; 1] = files!("image/svg+xml": "icon.svg");

/// The page's own routes, beside those of the API.
pub(super) fn routes() -> Router<Arc<Context>> {
    Router::new()
        .route("/", get(async || answer("text/html; charset=utf-8", INDEX)))
        .route("/web/{file}", get(file))
}

async fn file(Path(name): Path<String>) -> Response {
    let mut files = SCRIPTS.iter().chain(&STYLES).chain(&IMAGES);
    match files.find(|file| file.name == name) {
        Some(file) => answer(file.content_type, file.text),
        None => ApiError::NoRoute {
            path: format!("/web/{name}"),
        }
        .into_response(),
    }
}

fn answer(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        // Asked for again each time: a newer daemon brings a newer page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/web/page");
        let mut there: Vec<String> = (std::fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "index.html")
            .collect();
        there.sort();
        let all = SCRIPTS.iter().chain(&STYLES).chain(&IMAGES);
        let mut served: Vec<&str> = all.map(|file| file.name).collect();
        served.sort_unstable();
        assert_eq!(there, served);
    }

    #[test]
    fn the_page_makes_no_markup_of_texts_and_names_no_other_host() {
        for file in SCRIPTS.iter().chain(&STYLES) {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "http://",
                "https://",
            ] {
                assert!(!file.text.contains(word), "{} names {word}", file.name);
            }
        }
        assert!(!INDEX.contains("http://") && !INDEX.contains("https://"));
    }
}
