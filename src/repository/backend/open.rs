//! From a place to its backend.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Azure, AzureOptions, Backend, Directory, Error, ErrorKind, S3, S3Options, failure::Failure};
use crate::types::Location;

/// How to reach a store, beside its place.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    /// Of an `s3://` store.
    pub s3: S3Options,
    /// Of an `az://` store.
    pub azure: AzureOptions,
    /// The store as it was at this time, to be read only; absent: as it is.
    pub as_of: Option<Timestamp>,
}

const NO_VERSIONS: &str = "drctl reads earlier versions in S3 buckets only";

/// The backend of `location`. A folder must exist, and a bucket or a container too: nothing is created.
///
/// # Errors
/// [`NoSuchStore`](super::ErrorKind::NoSuchStore) if a folder does not exist, `Unauthenticated` if
/// credentials are half said, `Unsupported` if the store as it was is asked for and it keeps no versions. The network is not used before the first call.
pub async fn open(location: &Location, options: &StoreOptions) -> Result<Arc<dyn Backend>, Error> {
    match location {
        Location::S3 { bucket, prefix } if let Some(time) = options.as_of => {
            Ok(Arc::new(S3::open(bucket, prefix, &options.s3).await?.as_of(time).await?))
        }
        other if options.as_of.is_some() => {
            Err(Failure::new(ErrorKind::Unsupported, NO_VERSIONS).at("read versions of", "", &other.to_string()))
        }
        Location::Directory(path) => Ok(Arc::new(Directory::open(path).await?)),
        Location::S3 { bucket, prefix } => Ok(Arc::new(S3::open(bucket, prefix, &options.s3).await?)),
        Location::Azure { account, container, prefix } => {
            Ok(Arc::new(Azure::open(account, container, prefix, &options.azure).await?))
        }
    }
}

/// As [`open`], for `repository init`: a folder that does not exist is made, with those above it.
/// A bucket or a container is never made.
///
/// # Errors
/// As [`open`], and what the file system says.
pub async fn open_or_make(location: &Location, options: &StoreOptions) -> Result<Arc<dyn Backend>, Error> {
    if let Location::Directory(path) = location {
        return Ok(Arc::new(Directory::make(path).await?));
    }
    open(location, options).await
}

#[cfg(test)]
mod tests {
    use super::*;

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
