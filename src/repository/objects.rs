//! Whole objects put and fetched with the checks that every one of them needs.

use bytes::Bytes;

use super::{
    Error, ObjectRef,
    backend::{Backend, ErrorKind, Key, PutOutcome},
    refs, streams,
};
use crate::types::{BackupId, Sha256Digest};

/// Puts an object that nobody else writes. One that is there already must be equal: then it is our
/// own put, whose acknowledgement was lost.
pub(crate) async fn put_own(backend: &dyn Backend, key: &Key, bytes: Bytes) -> Result<(), Error> {
    // What was there may have been deleted since. What is not there twice is what the store will never take.
    for _ in 0..2 {
        if backend.put_new(key, bytes.clone()).await? == PutOutcome::Created {
            return Ok(());
        }
        match backend.get(key, bytes.len() as u64).await {
            Ok(found) if found == bytes => return Ok(()),
            Ok(_) => return Err(Error::damaged(key, "somebody else has put another object there")),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(Error::reading(key, error)),
        }
    }
    Err(Error::spent(backend.location(), key))
}

/// Fetches an object whose size and SHA-256 are known.
pub(crate) async fn get_exact(
    backend: &dyn Backend,
    key: &Key,
    size: u64,
    sha256: Sha256Digest,
) -> Result<Bytes, Error> {
    let bytes = backend.get(key, size).await.map_err(|error| match error.kind {
        ErrorKind::TooLarge => wrong_size(key, size),
        _ => Error::reading(key, error),
    })?;
    if bytes.len() as u64 != size {
        return Err(wrong_size(key, size));
    }
    let digest = {
        let bytes = bytes.clone();
        tokio::task::spawn_blocking(move || Sha256Digest::of(&bytes)).await?
    };
    if digest == sha256 {
        Ok(bytes)
    } else {
        Err(Error::damaged(key, "its bytes do not have the SHA-256 that is recorded"))
    }
}

fn wrong_size(key: &Key, size: u64) -> Error {
    Error::damaged(key, format!("it does not have the {size} bytes that are recorded"))
}

/// Checks what a manifest says of one of its own objects, before it is fetched.
pub(crate) fn check_ref(backup: &BackupId, key: &Key, object: &ObjectRef) -> Result<(), Error> {
    let limit = if object.name.starts_with("refs") { refs::MAX_REFS } else { streams::MAX_STREAMS_OBJECT };
    if key.as_str() == format!("meta/{backup}/{}", object.name) && object.size <= limit {
        Ok(())
    } else {
        Err(Error::damaged(key, "the manifest names another object, or one that is too large"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::backend::Memory;

    #[tokio::test]
    async fn an_object_is_taken_only_with_the_size_and_the_digest_that_are_recorded() {
        let (store, key) = (Memory::default(), Key::new("meta/x").unwrap());
        store.put_new(&key, Bytes::from_static(b"abcd")).await.unwrap();
        let digest = |bytes: &[u8]| Sha256Digest::of(bytes);
        assert_eq!(get_exact(&store, &key, 4, digest(b"abcd")).await.unwrap(), "abcd");
        for (size, digest) in [(4, digest(b"abce")), (5, digest(b"abcd")), (3, digest(b"abc"))] {
            let error = get_exact(&store, &key, size, digest).await.unwrap_err();
            assert!(error.is_damage(), "{error}");
        }
    }
}
