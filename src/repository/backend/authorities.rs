//! The file of certificate authorities that a policy names for a store.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{ErrorKind, failure::Failure};

/// An authority's file is a few kilobytes.
const LARGEST: u64 = 4 << 20;

/// The PEM text of the file `path`, once every certificate in it is known to be one: some clients
/// would stop the program for one that is not.
pub(super) async fn read(path: PathBuf) -> Result<Vec<u8>, Failure> {
    let read = tokio::task::spawn_blocking(move || read_now(&path)).await;
    read.unwrap_or_else(|stopped| Err(Failure::new(ErrorKind::Other, stopped.to_string())))
}

fn read_now(path: &Path) -> Result<Vec<u8>, Failure> {
    let shown = path.display().to_string();
    let cannot = |why: String| Failure::new(ErrorKind::Other, format!("the file of authorities `{shown}` {why}"));
    let mut pem = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LARGEST).read_to_end(&mut pem))
        .map_err(|error| cannot(format!("cannot be read: {error}")))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| cannot(format!("is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| cannot(format!("holds what is no certificate: {error}")))?;
    }
    if roots.is_empty() { Err(cannot("holds no certificate".to_owned())) } else { Ok(pem) }
}
