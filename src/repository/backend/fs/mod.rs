//! A local folder, or one that is mounted: `file:///path`.
//!
//! An object is a file of the key's name. It is written under a name that begins with `.tmp-` in
//! the same folder, made durable, and then linked to its own name, which fails if that is taken:
//! so it is there whole or not at all, and is created once. A writer that dies may leave a
//! `.tmp-` file; it is never listed or read, and prune removes it when it is a day old.

mod files;
mod folder;
mod leftovers;
mod names;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use self::{folder::Folder, walk::Walk};
use super::{Backend, Error, ErrorKind, Key, Listing, ObjectMeta, PutOutcome, failure::Failure};
use crate::types::Location;

/// A store in a folder of a file system that has hard links.
#[derive(Debug, Clone)]
pub struct Directory {
    root: Arc<Path>,
    location: Arc<str>,
}

impl Directory {
    /// The store in the folder `path`, which must exist.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchStore`] if it does not, or what the file system says.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let store = Self::unchecked(path.into());
        store.blocking("open", "", |root| Folder::root(root).map(drop)).await?;
        Ok(store)
    }

    /// As [`Directory::open`]; makes the folder, and those above it, if they are missing.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn make(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let store = Self::unchecked(path.into());
        store.blocking("make", "", make).await?;
        Ok(store)
    }

    fn unchecked(path: PathBuf) -> Self {
        let location = Location::Directory(path.clone()).to_string();
        Self { root: path.into(), location: location.into() }
    }

    /// Does `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        act: &'static str,
        subject: &str,
        work: impl FnOnce(&Path) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let root = Arc::clone(&self.root);
        let done = tokio::task::spawn_blocking(move || work(&root)).await;
        done.unwrap_or_else(|stopped| {
            Err(Failure::new(ErrorKind::Other, "the thread that did it has stopped").because(stopped))
        })
        .map_err(|failure| failure.at(act, subject, &self.location))
    }
}

/// Makes the folder `path` and those above it, durably.
fn make(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;

    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(folder::io_failure)?;
    for made in missing.iter().rev() {
        let above = made.parent().unwrap_or(Path::new("/"));
        Folder::root(above)?.sync()?;
    }
    Folder::root(path).map(drop)
}

#[async_trait]
impl Backend for Directory {
    fn location(&self) -> &str {
        &self.location
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error> {
        let owned = key.clone();
        self.blocking("write", key.as_str(), move |root| files::put_new(root, &owned, &bytes)).await
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        let owned = key.clone();
        self.blocking("read", key.as_str(), move |root| files::get(root, &owned, limit)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        let owned = key.clone();
        self.blocking("read", key.as_str(), move |root| files::get_range(root, &owned, &range)).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error> {
        let owned = key.clone();
        let (size, modified) = self.blocking("look at", key.as_str(), move |root| files::head(root, &owned)).await?;
        Ok(ObjectMeta { key: key.clone(), size, modified })
    }

    fn list(&self, prefix: &str) -> Listing {
        let (store, prefix) = (self.clone(), prefix.to_owned());
        stream::try_unfold(None, move |walk: Option<Walk>| {
            let (store, prefix) = (store.clone(), prefix.clone());
            async move {
                let subject = prefix.clone();
                let step = move |root: &Path| {
                    let mut walk = walk.map_or_else(|| Walk::new(root, &prefix), Ok)?;
                    let batch = walk.step()?;
                    Ok((batch, walk))
                };
                let (batch, walk) = store.blocking("list", &subject, step).await?;
                Ok((!batch.is_empty()).then(|| (stream::iter(batch.into_iter().map(Ok)), Some(walk))))
            }
        })
        .try_flatten()
        .boxed()
    }

    async fn strangers(&self, prefix: &str) -> Result<Vec<Key>, Error> {
        let owned = prefix.to_owned();
        self.blocking("list", prefix, move |root| walk::links(root, &owned)).await
    }

    /// The folder may be another machine's.
    async fn clock(&self) -> Result<Option<Timestamp>, Error> {
        self.blocking("look at the clock of", "", files::clock).await.map(Some)
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        let owned = key.clone();
        self.blocking("delete", key.as_str(), move |root| files::delete(root, &owned)).await
    }

    async fn remove_leftovers(&self, before: Timestamp) -> Result<u64, Error> {
        self.blocking("delete unfinished writes in", "", move |root| leftovers::remove(root, before)).await
    }
}
