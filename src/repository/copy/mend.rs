//! A backup that the copy has, and of which something is missing there, is made whole again.
//!
//! It needs no session: its manifest is there and has no tombstone, so no prune deletes what it needs, whether that is there or
//! not.

use super::{
    super::{CopyRefused, Error, Manifest, StoredManifest, layout, refs::Ref},
    Copier, CopyCounts, CopyOutcome,
};

/// What of a backup is missing in the copy, by listings.
struct Missing {
    packs: Vec<usize>,
    /// Of `meta/`.
    bytes: u64,
    signature: bool,
}

impl Copier<'_> {
    /// Looks for everything that a backup needs which is there, and sends again what is missing; `dry` only says it.
    pub(super) async fn mend(&self, original: &StoredManifest, dry: bool) -> Result<CopyOutcome, Error> {
        let manifest = &original.manifest;
        let backup = &manifest.backup;
        if self.to.tombstoned(&manifest.policy).await?.contains(backup) {
            return Err(CopyRefused::Goes { backup: backup.clone(), place: self.place_written() }.into());
        }
        let refs = self.from.refs_lines(backup, &manifest.refs).await?;
        let missing = self.missing(manifest, &refs).await?;
        self.refuse_damaged(manifest, &refs, &missing.packs).await?;
        if !missing.packs.is_empty() || missing.bytes > 0 {
            self.look_at_original(manifest, &refs, &missing.packs).await?;
        }
        let (packs, all) = (missing.packs.len() as u64, refs.len() as u64);
        let sizes: u64 = missing.packs.iter().filter_map(|at| refs.get(*at)).map(|line| line.size).sum();
        let mut counts = CopyCounts { packs, bytes: sizes, packs_there: all - packs };
        if dry {
            counts.bytes += missing.bytes;
            let lacks = packs > 0 || missing.bytes > 0 || missing.signature;
            return Ok(if lacks { CopyOutcome::Mended(counts) } else { CopyOutcome::There });
        }
        self.to.backend().lock_ready().await?;
        let work = async {
            self.options.monitor.phase(&format!("mending {backup}"), "bytes", Some(sizes));
            self.send_packs(&refs, &missing.packs).await?;
            let lists = self.send_meta(manifest, &mut counts).await?;
            let key = layout::manifest(&manifest.policy, &manifest.schedule, backup);
            let signature = self.send_signature(&key).await?;
            if missing.signature {
                counts.bytes += signature;
            }
            if packs > 0 || counts.bytes > 0 {
                self.check_presence(manifest, &refs, &lists).await?;
                self.to.lock_for_copy(&refs, &missing.packs, lists).await?;
            }
            Ok::<(), Error>(())
        };
        let writes = sizes > 0 || missing.bytes > 0 || missing.signature;
        work.await.map_err(|error| if writes { Error::begun(backup)(error) } else { error })?;
        Ok(if counts.packs > 0 || counts.bytes > 0 { CopyOutcome::Mended(counts) } else { CopyOutcome::There })
    }

    async fn missing(&self, manifest: &Manifest, refs: &[Ref]) -> Result<Missing, Error> {
        let packs = self.needed(refs, None).await?.missing;
        let bytes = self.meta_missing(manifest).await?;
        let key = layout::manifest(&manifest.policy, &manifest.schedule, &manifest.backup);
        let key = layout::signature(&key);
        let mut is_there = [false; 2];
        for (is_there, place) in is_there.iter_mut().zip([self.from, self.to]) {
            match place.backend().head(&key).await {
                Ok(_) => *is_there = true,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Missing { packs, bytes, signature: is_there == [true, false] })
    }
}
