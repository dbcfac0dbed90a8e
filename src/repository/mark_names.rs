//! Pins and tombstones under their names, of which each has several.
//!
//! Both are made, taken away, and made again. A bucket with versions keeps what was deleted under a deletion marker, which AWS
//! takes for nothing: the name is free. Some servers take it for an object, and refuse a create-only put for ever (versitygw
//! does). So a mark has more names (`<backup-id>.2.json`), each of which is used when the store gives none of those before it
//! although nothing is there; and that an object is there is believed only when it was seen, not because a put was refused.

use std::collections::HashMap;

use bytes::Bytes;
use futures::TryStreamExt;

use super::{
    Error, Repository,
    backend::{Key, ObjectMeta, PutOutcome},
    layout,
    listed::MAX_BACKUPS,
};
use crate::types::{BackupId, Name, for_terminal};

/// A policy and a backup of it.
pub(crate) type Mark = (Name, BackupId);

impl Repository {
    /// Marks (tombstones, pins, accepts, sessions) under `prefix`, by policy and backup: of several of one backup the newest.
    pub(crate) async fn marks(&self, prefix: &str) -> Result<HashMap<Mark, ObjectMeta>, Error> {
        let all = self.all_marks(prefix).await?;
        Ok(all.into_iter().filter_map(|(mark, metas)| Some((mark, newest(metas)?))).collect())
    }

    /// [`Self::marks`] with all of each.
    pub(crate) async fn all_marks(&self, prefix: &str) -> Result<HashMap<Mark, Vec<ObjectMeta>>, Error> {
        let mut marks: HashMap<Mark, Vec<ObjectMeta>> = HashMap::new();
        let mut objects = self.backend.list(prefix);
        let mut count = 0;
        while let Some(meta) = objects.try_next().await? {
            let Some(mark) = layout::parse_mark(&meta.key) else { continue };
            if count == MAX_BACKUPS {
                let what = format!("the number of objects under `{}`", for_terminal(prefix));
                return Err(Error::OverLimit { what, limit: MAX_BACKUPS.to_string() });
            }
            count += 1;
            marks.entry(mark).or_default().push(meta);
        }
        Ok(marks)
    }

    /// What is there of the mark whose first name is `first`, under whatever name.
    pub(super) async fn named(&self, first: &Key) -> Result<Vec<ObjectMeta>, Error> {
        let Some(wanted) = layout::parse_mark(first) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut objects = self.backend.list(&layout::names_of(first));
        while let Some(meta) = objects.try_next().await? {
            if layout::parse_mark(&meta.key).as_ref() == Some(&wanted) {
                found.push(meta);
            }
        }
        Ok(found)
    }

    /// Puts a mark, create-only, under the first of its names that the store gives. `Exists` says that something is there under
    /// the name that comes with it.
    ///
    /// # Errors
    /// [`Error::NameSpent`] if it gives none, or what the store says.
    pub(super) async fn put_mark(&self, first: &Key, bytes: &Bytes) -> Result<(Key, PutOutcome), Error> {
        for number in 1..=layout::MARK_NAMES {
            let key = layout::numbered(first, number);
            if self.backend.put_new(&key, bytes.clone()).await? == PutOutcome::Created {
                return Ok((key, PutOutcome::Created));
            }
            if !self.is_absent(&key).await? {
                return Ok((key, PutOutcome::Exists));
            }
        }
        Err(self.spent(first))
    }

    /// Whether nothing is under `key`.
    pub(super) async fn is_absent(&self, key: &Key) -> Result<bool, Error> {
        match self.backend.head(key).await {
            Ok(_) => Ok(false),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The store says that `key` is taken, and has nothing there.
    pub(super) fn spent(&self, key: &Key) -> Error {
        Error::spent(self.location(), key)
    }
}

/// The newest of these.
pub(crate) fn newest(metas: Vec<ObjectMeta>) -> Option<ObjectMeta> {
    metas.into_iter().max_by_key(|meta| meta.modified)
}
