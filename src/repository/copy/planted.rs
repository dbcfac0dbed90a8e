//! Packs that are there before they were sent: left by an earlier try, or put there by somebody under their names.
//!
//! A listing shows names and sizes, and whoever may put packs can choose both. What other backups of the copy need was put, or
//! looked at, when they were copied. The rest is proven by the checksum that the store itself keeps of it, where it keeps any
//! (S3 does of everything that drctl puts): what has another one, or none, is read.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    super::{Error, Manifest, chunks::PackName, layout, objects::get_exact, refs::Ref},
    Copier,
    safe::Owners,
};

/// Objects looked at at once.
const LOOKS: usize = 16;

impl Copier<'_> {
    /// Refuses packs in the copy that nobody there needs yet, and whose bytes are others than their names say. A store that keeps no
    /// checksums is believed: to read what is there would cost what not sending it again saves.
    pub(super) async fn refuse_planted(
        &self,
        manifest: &Manifest,
        refs: &[Ref],
        (missing, known): (&[usize], &Owners),
    ) -> Result<(), Error> {
        let missing: HashSet<usize> = missing.iter().copied().collect();
        let is_loose = |(at, line): &(usize, &Ref)| !missing.contains(at) && !known.stays(&line.backup);
        let there = refs.iter().enumerate().filter(is_loose);
        let names: HashSet<PackName> = there.map(|(_, line)| (line.backup.clone(), line.pack)).collect();
        if names.is_empty() || self.to.backend().sha256_of(&layout::header()).await?.is_none() {
            return Ok(());
        }
        let loose = self.not_needed(&manifest.policy, names).await?;
        let looked = refs.iter().filter(|line| loose.contains(&(line.backup.clone(), line.pack)));
        let looks = looked.map(|line| self.prove_there(line)).collect::<Vec<_>>();
        stream::iter(looks).buffer_unordered(LOOKS).try_collect().await
    }

    async fn prove_there(&self, line: &Ref) -> Result<(), Error> {
        let key = layout::pack(&line.backup, &line.pack);
        let backend = self.to.backend();
        if backend.sha256_of(&key).await? == Some(line.pack) {
            return Ok(());
        }
        match get_exact(&**backend, &key, line.size, line.pack).await {
            Ok(_) => Ok(()),
            Err(Error::Damaged { .. }) => {
                let place = self.place_written();
                let reason = format!(
                    "its bytes in {place} are not those that its name says, and no copy was ever made with them: somebody has put it \
                     there, or it has rotted; take it away there"
                );
                Err(Error::damaged(key, reason))
            }
            Err(error) => Err(error),
        }
    }
}
