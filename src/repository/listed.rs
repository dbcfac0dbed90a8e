//! The manifests of a repository by their keys, without reading them.

use futures::TryStreamExt;

use super::{Error, Repository, Scope, backend::ObjectMeta, layout};
use crate::types::{BackupId, Name};

/// The most manifests a listing takes: years of hourly backups, and a bound for a hostile store.
pub(crate) const MAX_BACKUPS: usize = 200_000;

/// A manifest's key and what it says, without reading the object.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    pub(crate) meta: ObjectMeta,
    pub(crate) policy: Name,
    pub(crate) schedule: Name,
    pub(crate) backup: BackupId,
}

impl Repository {
    /// The keys of all manifests of `scope`, oldest backup first.
    pub(crate) async fn list_manifests(&self, scope: &Scope) -> Result<Vec<Listing>, Error> {
        Ok(self.list_with_strays(scope).await?.0)
    }

    /// [`Self::list_manifests`], and the signatures of which no manifest is there, each with its run.
    pub(crate) async fn list_with_strays(
        &self,
        scope: &Scope,
    ) -> Result<(Vec<Listing>, Vec<(BackupId, ObjectMeta)>), Error> {
        let (mut listings, mut strays) = (Vec::<Listing>::new(), Vec::new());
        let mut objects = self.backend.list(&scope.prefix());
        while let Some(meta) = objects.try_next().await? {
            let Some((policy, schedule, backup)) = layout::parse_manifest(&meta.key) else {
                // A listing is in the order of the keys: the manifest comes right before its signature.
                let before = listings.last().map(|listing| layout::signature(&listing.meta.key));
                let run = layout::parse_signature(&meta.key).filter(|_| before.as_ref() != Some(&meta.key));
                strays.extend(run.filter(|_| strays.len() < MAX_BACKUPS).map(|run| (run, meta)));
                continue;
            };
            if listings.len() == MAX_BACKUPS {
                let what = format!("the number of backups in {}", self.location());
                return Err(Error::OverLimit { what, limit: MAX_BACKUPS.to_string() });
            }
            listings.push(Listing { meta, policy, schedule, backup });
        }
        listings.sort_by(|a, b| a.backup.cmp(&b.backup));
        Ok((listings, strays))
    }
}
