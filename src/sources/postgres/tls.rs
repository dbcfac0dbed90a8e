//! TLS as libpq's `sslmode` means it, and the file of authorities that drctl and libpq's programs both read.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

use super::url::{ConnectionUrl, SslMode};

const NO_AUTHORITIES: &str =
    "this system has no file of certificate authorities; name the server's by `tls: {caFile: ...}` in the policy";
/// Where distributions keep the authorities that the system trusts.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The file of authorities for `url`, if its mode needs one: what it names, else the system's, if it has one.
pub(super) fn root_file(url: &ConnectionUrl) -> Option<PathBuf> {
    if !matches!(url.encryption(), SslMode::VerifyCa | SslMode::VerifyFull) {
        return None;
    }
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let system = SYSTEM_BUNDLES.iter().map(PathBuf::from);
    let found = named.into_iter().chain(system).find(|file| file.is_file());
    url.root_cert.clone().or(found)
}

/// What rustls needs for `mode`.
pub(super) fn client_config(url: &ConnectionUrl, roots: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match (url.encryption(), roots) {
        (SslMode::VerifyFull, Some(file)) => builder.with_root_certificates(read_roots(file)?),
        (SslMode::VerifyCa, Some(file)) => {
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(read_roots(file)?), Arc::clone(&provider))
                .build()
                .map_err(|error| format!("`{}`: {error}", file.display()))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient { provider, inner: Some(inner) }))
        }
        (SslMode::VerifyFull | SslMode::VerifyCa, None) => return Err(NO_AUTHORITIES.to_owned()),
        (SslMode::Require | SslMode::Prefer | SslMode::Disable, _) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient { provider, inner: None }))
        }
    };
    match &url.client_cert {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => {
            let certs = read_certificates(cert)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("cannot read the client's key `{}`: {error}", key.display()))?;
            builder.with_client_auth_cert(certs, key).map_err(|error| format!("the client's certificate: {error}"))
        }
    }
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: String| format!("cannot read the certificates in `{}`: {error}", file.display());
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() { Err(failed("there is none".to_owned())) } else { Ok(certificates) }
}

fn read_roots(file: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(read_certificates(file)?);
    if added == 0 { Err(format!("`{}` holds no certificate that can be used", file.display())) } else { Ok(store) }
}

/// A verifier for the modes that libpq checks less for: `verify-ca` (not the name), `require` and `prefer` (nothing).
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    inner: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_verified_is_never_taken_unverified() {
        for (mode, refused) in [("verify-full", true), ("verify-ca", true), ("require", false), ("prefer", false)] {
            let url = ConnectionUrl::parse(&format!("postgresql://u@db.example.com/d?sslmode={mode}")).unwrap();
            assert_eq!(client_config(&url, None).is_err(), refused, "{mode}");
        }
        let url = ConnectionUrl::parse("postgresql://u@db.example.com/d").unwrap();
        assert_eq!(client_config(&url, None).unwrap_err(), NO_AUTHORITIES);
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "nothing").unwrap();
        let url = ConnectionUrl::parse("postgresql://u@db.example.com/d").unwrap();
        let error = client_config(&url, Some(&file)).unwrap_err();
        assert!(error.contains("ca.pem"), "{error}");
    }
}
