//! From a place to its backend.

use std::sync::Arc;

use super::{Backend, Directory, Error, ErrorKind, S3, S3Options, failure::Failure};
use crate::types::Location;

/// How to reach a store, beside its place.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Of an `s3://` store.
    pub s3: S3Options,
}

/// The backend of `location`. A folder must exist, and a bucket too: nothing is created.
///
/// # Errors
/// [`ErrorKind::NoSuchStore`] if a folder does not exist, `Unauthenticated` if no credentials are
/// found, [`ErrorKind::Unsupported`] for a kind of store that this version cannot use. The
/// network is not used before the first call.
pub async fn open(location: &Location, options: &StoreOptions) -> Result<Arc<dyn Backend>, Error> {
    match location {
        Location::Directory(path) => Ok(Arc::new(Directory::open(path).await?)),
        Location::S3 { bucket, prefix } => Ok(Arc::new(S3::open(bucket, prefix, &options.s3).await?)),
        Location::Azure { .. } => {
            Err(unsupported(location, "Azure Blob storage is not built into this version: use s3:// or file://"))
        }
    }
}

/// As [`open`], for `repository init`: a folder that does not exist is made, with those above it.
/// A bucket is never made.
///
/// # Errors
/// As [`open`], and what the file system says.
pub async fn open_or_make(location: &Location, options: &StoreOptions) -> Result<Arc<dyn Backend>, Error> {
    if let Location::Directory(path) = location {
        return Ok(Arc::new(Directory::make(path).await?));
    }
    open(location, options).await
}

fn unsupported(location: &Location, reason: &str) -> Error {
    Failure::new(ErrorKind::Unsupported, reason).at("open", "", &location.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kind_of_store_that_is_not_built_in_is_said_so() {
        let location: Location = "az://account/container/prod".parse().unwrap();
        for opened in
            [open(&location, &StoreOptions::default()).await, open_or_make(&location, &StoreOptions::default()).await]
        {
            let error = opened.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unsupported);
            assert_eq!(
                error.to_string(),
                "cannot open az://account/container/prod: Azure Blob storage is not built into this version: use s3:// or file://"
            );
        }
    }

    #[tokio::test]
    async fn a_folder_is_made_only_for_a_new_repository() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::directory(folder.path().join("new")).unwrap();
        assert_eq!(open(&location, &StoreOptions::default()).await.unwrap_err().kind, ErrorKind::NoSuchStore);
        let made = open_or_make(&location, &StoreOptions::default()).await.unwrap();
        assert_eq!(made.location(), location.to_string());
        open(&location, &StoreOptions::default()).await.unwrap();
    }
}
