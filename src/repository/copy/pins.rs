//! Pins on the way back: what people keep in a copy is not given to prune by bringing the repository back from it.

use std::collections::HashSet;

use super::{
    super::{Error, Manifest, Repository, backend::ObjectMeta, control, layout, prune::Pin},
    Copier,
};
use crate::types::{BackupId, Name};

impl Copier<'_> {
    /// Sends the pin of a backup that is brought back, if it has one: before its manifest, so that it is never there without.
    /// What is no pin of this backup is not sent; one that is there stays as it is.
    pub(super) async fn send_pin(&self, manifest: &Manifest) -> Result<(), Error> {
        let first = layout::pin(&manifest.policy, &manifest.backup);
        for ObjectMeta { key, .. } in self.from.named(&first).await? {
            let bytes = match self.from.backend().get(&key, control::MAX_CONTROL as u64).await {
                Ok(bytes) => bytes,
                Err(error) => match Error::reading(&key, error) {
                    error if error.is_damage() => continue,
                    error => return Err(error),
                },
            };
            match control::decode::<Pin>(&bytes) {
                Ok(pin) if (&pin.policy, &pin.backup) == (&manifest.policy, &manifest.backup) => {
                    self.to.put_mark(&first, &bytes).await?;
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Repository {
    /// The backups of a policy that are pinned here, whether they are there or not.
    ///
    /// # Errors
    /// What the store says.
    pub async fn pinned(&self, policy: &Name) -> Result<HashSet<BackupId>, Error> {
        let pins = self.marks(&layout::pins_of(Some(policy))).await?;
        Ok(pins.into_keys().map(|(_, backup)| backup).collect())
    }
}
