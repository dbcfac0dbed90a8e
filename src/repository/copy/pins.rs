//! Pins on the way back: what people keep in a copy is not given to prune by bringing the repository back from it.

use std::collections::HashSet;

use super::{
    super::{Error, Repository, control, layout, prune::Pin},
    Copier,
};
use crate::types::{BackupId, Name};

impl Copier<'_> {
    /// Sends the pins of `policy` whose backups are there. Gives how many.
    ///
    /// # Errors
    /// What the stores say. What is no pin of its backup is not sent.
    pub async fn send_pins(&self, policy: &Name) -> Result<u64, Error> {
        let there = self.to.marks(&layout::pins_of(Some(policy))).await?;
        let mut pins: Vec<_> = self.from.marks(&layout::pins_of(Some(policy))).await?.into_iter().collect();
        pins.sort_by(|a, b| a.0.cmp(&b.0));
        let mut sent = 0;
        for (mark, meta) in pins.into_iter().filter(|(mark, _)| !there.contains_key(mark)) {
            let bytes = match self.from.backend().get(&meta.key, control::MAX_CONTROL as u64).await {
                Ok(bytes) => bytes,
                Err(error) => match Error::reading(&meta.key, error) {
                    error if error.is_damage() => continue,
                    error => return Err(error),
                },
            };
            let Ok(pin) = control::decode::<Pin>(&bytes) else { continue };
            if (&pin.policy, &pin.backup) != (&mark.0, &mark.1) {
                continue;
            }
            match self.to.backend().head(&layout::manifest(&pin.policy, &pin.schedule, &pin.backup)).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            }
            self.put(&meta.key, bytes).await?;
            sent += 1;
        }
        Ok(sent)
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
