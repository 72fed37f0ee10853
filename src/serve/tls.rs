//! The daemon's certificate and key, from files in PEM, and who else must show one.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::ServeError;
use crate::config::TlsConfig;

/// Reads the files. Costs a few reads; to be called where waiting for the disk is fine.
///
/// # Errors
/// A file can't be read, or holds something else.
pub(super) fn load(config: &TlsConfig) -> Result<Arc<ServerConfig>, ServeError> {
    let certificates = certificates(&config.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&config.key_file)
        .map_err(|error| unusable(&config.key_file, &error))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&config.cert_file, &error))?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|error| unusable(file, &error))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unusable(file, &error))?)
        }
    };
    let mut server = builder
        .with_single_cert(certificates, key)
        .map_err(|error| unusable(&config.cert_file, &error))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .map_err(|error| unusable(file, &error))?
        .collect();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(file, &"it holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(file, &error)),
    }
}

fn unusable(file: &Path, said: &dyn std::fmt::Display) -> ServeError {
    ServeError::Tls {
        file: file.to_owned(),
        message: said.to_string(),
    }
}
