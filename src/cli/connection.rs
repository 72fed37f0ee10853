//! How the daemon is reached: its URL, the token that callers show, and whom they trust.

use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity};

use crate::http_client;

/// What every command that talks to the daemon takes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Connection {
    /// The URL of the daemon.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "APPORTION_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7070"
    )]
    pub(super) server: String,
    /// The token to show. On a machine with other users take APPORTION_TOKEN or --token-file: they see command lines.
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "APPORTION_TOKEN",
        hide_env_values = true,
        hide_default_value = true
    )]
    token: Option<Token>,
    /// A file with the token to show.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "APPORTION_TOKEN_FILE",
        hide_env_values = true
    )]
    token_file: Option<PathBuf>,
    /// For https: a file in PEM with the certificates of the authorities to trust, instead of the system's.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "APPORTION_CA_FILE",
        hide_env_values = true
    )]
    ca_file: Option<PathBuf>,
    /// For https: a file in PEM with a certificate and its private key, where the daemon asks for one.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "APPORTION_CERT_FILE",
        hide_env_values = true
    )]
    cert_file: Option<PathBuf>,
}

/// A token on the command line or in the environment, which no log shows.
#[derive(Clone)]
struct Token(String);

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Connection {
    /// A client that shows the token and trusts whom it should.
    ///
    /// # Errors
    /// A file can't be read or holds something else, as a text that says what to do.
    pub(super) fn builder(&self) -> Result<ClientBuilder, String> {
        let mut builder = http_client::builder();
        if let Some(token) = self.token()? {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| "the token holds characters that no token has".to_owned())?;
            value.set_sensitive(true);
            builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
        }
        if let Some(file) = &self.ca_file {
            let found = Certificate::from_pem_bundle(&read(file)?)
                .map_err(|error| format!("--ca-file {}: {error}", file.display()))?;
            if found.is_empty() {
                let file = file.display();
                return Err(format!("--ca-file {file}: it holds no certificate in PEM"));
            }
            builder = builder.tls_certs_only(found);
        }
        if let Some(file) = &self.cert_file {
            let identity = Identity::from_pem(&read(file)?)
                .map_err(|error| format!("--cert-file {}: {error}", file.display()))?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }

    /// The token; what is given itself goes before a file.
    fn token(&self) -> Result<Option<String>, String> {
        if let Some(Token(text)) = &self.token {
            return Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()));
        }
        let Some(file) = &self.token_file else {
            return Ok(None);
        };
        let text = String::from_utf8(read(file)?)
            .map_err(|_| format!("{} holds no token", file.display()))?;
        match text.trim() {
            "" => Err(format!(
                "{} is empty; write the token into it",
                file.display()
            )),
            text => Ok(Some(text.to_owned())),
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("can't read {}: {error}", file.display()))
}
