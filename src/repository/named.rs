//! Which backup an id, or the beginning of one, names.

use futures::{StreamExt, stream};

use super::{Error, Repository, Scope, StoredManifest, catalog::Marker, listed::Listing};

/// Manifests fetched at once.
const FETCHES: usize = 32;

impl Repository {
    /// Loads the manifest of the backup that `text` names: its id, or the beginning of it if only
    /// one backup of `scope` begins so. Of several the only one that can be read and counts is meant: nobody makes a
    /// backup unnameable by putting something beside it.
    ///
    /// # Errors
    /// [`Error::NoSuchBackup`], [`Error::AmbiguousBackup`], and those of [`Self::manifest`].
    pub async fn find(&self, scope: &Scope, text: &str) -> Result<StoredManifest, Error> {
        let mut found = self.list_manifests(scope).await?;
        found.retain(|listing| listing.backup.as_str().starts_with(text) && !text.is_empty());
        match found.as_slice() {
            [] => Err(Error::NoSuchBackup { location: self.location().to_owned(), text: text.to_owned() }),
            [one] => self.manifest(&one.policy, &one.schedule, &one.backup).await,
            [first, second, ..] => self.only_one_that_counts(&found).await?.ok_or_else(|| Error::AmbiguousBackup {
                text: text.to_owned(),
                count: found.len(),
                first: first.backup.clone(),
                second: second.backup.clone(),
            }),
        }
    }

    /// The only one of `found` that can be read and counts, if there is just one.
    async fn only_one_that_counts(&self, found: &[Listing]) -> Result<Option<StoredManifest>, Error> {
        let read = found.iter().map(|one| self.marker(&one.policy, &one.schedule, &one.backup));
        let mut read = stream::iter(read).buffered(FETCHES);
        let mut counts = None;
        while let Some(marker) = read.next().await {
            match marker {
                Ok(Marker::Manifest(stored)) if stored.counts() => {
                    if counts.replace(*stored).is_some() {
                        return Ok(None);
                    }
                }
                Ok(Marker::Manifest(_) | Marker::Aborted) => {}
                Err(Error::Store(error)) => return Err(error.into()),
                Err(_) => {}
            }
        }
        Ok(counts)
    }
}
