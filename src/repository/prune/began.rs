//! When the runs of backups began, by a store's clock.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{
    super::{BackupEntry, Error, Repository, crypt::Signature},
    IN_DOUBT, PruneOptions, Survey,
};
use crate::types::BackupId;

/// Sessions fetched at once.
const FETCHES: usize = 32;

impl Repository {
    /// When the runs of the backups of the policy began: the time of the session, or, where that is believed, what the
    /// session of a copy says of the original's, which nobody can have written later than the copy's.
    pub(super) async fn began(
        &self,
        survey: &Survey,
        options: &PruneOptions,
    ) -> Result<HashMap<BackupId, Timestamp>, Error> {
        let policy = &options.policy;
        let (mut began, mut apart) = (HashMap::new(), Vec::new());
        for entry in survey.entries.iter().filter(|entry| entry.policy == *policy) {
            let Some(meta) = survey.sessions.get(&(policy.clone(), entry.backup.clone())) else { continue };
            if is_apart(&entry.backup, meta.modified) {
                apart.push((entry, meta.modified));
            } else {
                began.insert(entry.backup.clone(), meta.modified);
            }
        }
        if apart.is_empty() {
            return Ok(began);
        }
        let vouched = self.vouched(options.is_copy).await?;
        let read = apart.into_iter().map(|(entry, written)| async move {
            let backup = &entry.backup;
            let said = match self.session(policy, backup).await {
                Ok(session) => match session.copied {
                    Some(copied) if vouched.of(backup, written, &signature_of(entry)) => copied.session,
                    _ => Some(written),
                },
                Err(error) if error.is_damage() => None,
                Err(error) => return Err(error),
            };
            Ok(said.filter(|said| *said <= written + IN_DOUBT).map(|said| (backup.clone(), said)))
        });
        let read: Vec<_> = stream::iter(read.collect::<Vec<_>>()).buffered(FETCHES).try_collect().await?;
        began.extend(read.into_iter().flatten());
        Ok(began)
    }
}

fn signature_of(entry: &BackupEntry) -> Signature {
    entry.summary().map(|summary| summary.signature.clone()).unwrap_or_default()
}

/// Whether a backup's id is of another time than this one.
pub(super) fn is_apart(backup: &BackupId, time: Timestamp) -> bool {
    backup.time().duration_since(time).abs() > IN_DOUBT
}
