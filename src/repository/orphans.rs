//! A store in which everything is but what says what it is.

use futures::TryStreamExt;

use super::{Error, backend::Backend, layout};

/// Whether a store has no `repository.json` although something of a repository lies in it. To create
/// a repository there would make all its backups those of another one.
///
/// # Errors
/// What the store says.
pub async fn is_orphaned(backend: &dyn Backend) -> Result<bool, Error> {
    match backend.head(&layout::header()).await {
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Ok(false),
    }
    holds_something(backend).await
}

/// Whether something of a repository lies in a store, whatever its `repository.json` is.
///
/// # Errors
/// What the store says.
pub async fn holds_something(backend: &dyn Backend) -> Result<bool, Error> {
    for prefix in layout::EVERYTHING {
        if backend.list(prefix).try_next().await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::repository::backend::{Key, Memory};

    #[tokio::test]
    async fn only_a_store_with_contents_and_without_its_header_is_orphaned() {
        let store = Memory::default();
        assert!(!is_orphaned(&store).await.unwrap());
        store.put_new(&Key::new("notes.txt").unwrap(), Bytes::from_static(b"mine")).await.unwrap();
        assert!(!is_orphaned(&store).await.unwrap());
        let pack = Key::new("data/20261120T020000Z-k3x7pq/00").unwrap();
        store.put_new(&pack, Bytes::from_static(b"pack")).await.unwrap();
        assert!(is_orphaned(&store).await.unwrap());
        store.put_new(&layout::header(), Bytes::from_static(b"{}")).await.unwrap();
        assert!(!is_orphaned(&store).await.unwrap());
    }
}
