//! A backup that the copy has, and of which something is missing there, is made whole again.
//!
//! It needs no session: its manifest is there and has no tombstone, so no prune deletes what it needs, whether that is there or
//! not.

use std::collections::HashSet;

use super::{
    super::{CopyRefused, Error, Manifest, StoredManifest, backend::Key, crypt::MAX_SIGNATURE, layout, refs::Ref},
    Copier, CopyCounts, CopyOutcome, said_of,
};

/// What of a backup is missing in the copy, by listings.
struct Missing {
    packs: Vec<usize>,
    /// Of `meta/`.
    bytes: u64,
    signature: bool,
    /// Lists that are there, and were read.
    proven: HashSet<Key>,
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
            let lists = self.send_meta(manifest, &missing.proven, &mut counts).await?;
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
        let (bytes, proven) = self.meta_missing(manifest).await?;
        let key = layout::manifest(&manifest.policy, &manifest.schedule, &manifest.backup);
        let key = layout::signature(&key);
        Ok(Missing { packs, bytes, signature: self.lacks_signature(&key).await?, proven })
    }

    /// Whether the copy lacks a signature that the original has. One that is there must be it: no key is put twice.
    pub(super) async fn lacks_signature(&self, key: &Key) -> Result<bool, Error> {
        let own = match self.from.backend().get(key, MAX_SIGNATURE).await {
            Ok(own) => own,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(said_of(Error::reading(key, error), &self.place_read())),
        };
        match self.to.backend().get(key, MAX_SIGNATURE).await {
            Ok(found) if found == own => Ok(false),
            Ok(_) => Err(self.take_away(Error::damaged(key, "its bytes are not those of the original's"))),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(self.take_away(Error::reading(key, error))),
        }
    }

    /// Damage in the copy, with what to do about it: nothing is overwritten.
    pub(super) fn take_away(&self, error: Error) -> Error {
        match error {
            Error::Damaged { object, reason } => {
                let place = self.place_written();
                Error::Damaged {
                    object,
                    reason: format!("{reason}; it is in {place}: take it away there, and copy again"),
                }
            }
            error => error,
        }
    }
}
