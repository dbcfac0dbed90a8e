//! What the parents hold that need not be stored again (step B3 of the protocol).

use std::collections::{BTreeSet, HashMap, HashSet};

use futures::TryStreamExt;

use super::{
    Error, Repository,
    backend::Key,
    catalog::StoredManifest,
    chunks::PackName,
    crypt::Cipher,
    index::{self, MAX_INDEX},
    known::{KnownBuilder, Place},
    layout,
    objects::{check_ref, get_exact},
    pack::MAX_PACK,
    parents::{Choice, Parent},
    pipeline::{PackEntry, Reusable},
    refs::{self, MAX_PACKS},
    streams::Streams,
};
use crate::types::{BackupId, Name, Sha256Digest, counted};

/// A pack that parents hold chunks in.
#[derive(Debug)]
struct Candidate {
    /// By a parent's refs; unknown for a run that has not committed.
    size: Option<u64>,
    /// Some parent used at least half of it.
    worth: bool,
    /// Where its last known frame ends.
    end: u64,
}

/// The known frames of a pack.
#[derive(Debug, Clone, Copy, Default)]
struct Frames {
    used: u64,
    /// Where the last one ends.
    end: u64,
    /// Two of them share bytes: no writer does that.
    overlap: bool,
}

/// Gathers what the parents hold.
#[derive(Debug)]
struct Gatherer<'a> {
    repository: &'a Repository,
    cipher: &'a Cipher,
    packs: Vec<PackEntry>,
    candidates: Vec<Candidate>,
    places: HashMap<(BackupId, Sha256Digest), u32>,
    chunks: KnownBuilder,
}

impl Repository {
    /// Loads the indexes of the parents, without what lies in packs that are not worth it, that are
    /// missing or have another size, or that a verification of `policy` has found damaged. `limit`
    /// bounds the number of chunks.
    pub(crate) async fn gather(
        &self,
        policy: &Name,
        choice: &mut Choice,
        (cipher, limit): (&Cipher, usize),
    ) -> Result<Reusable, Error> {
        let chunks = KnownBuilder::new(limit);
        let mut gatherer = Gatherer {
            repository: self,
            cipher,
            packs: Vec::new(),
            candidates: Vec::new(),
            places: HashMap::new(),
            chunks,
        };
        // Backups first: what they vouch for may be found in the indexes of sessions too.
        for parent in &choice.parents {
            if let Parent::Backup(stored) = parent
                && let Err(error) = gatherer.take_backup(stored).await
            {
                note(&mut choice.notes, parent.id(), error)?;
            }
        }
        let named = named_runs(choice);
        for parent in &choice.parents {
            if let Parent::Session(session) = parent
                && let Err(error) = gatherer.take_session(&session.backup, &named).await
            {
                note(&mut choice.notes, parent.id(), error)?;
            }
        }
        let damaged = self.damaged_packs(policy, |name| gatherer.places.contains_key(name), &mut choice.notes).await?;
        gatherer.finish(&damaged, &mut choice.notes).await
    }
}

/// Runs that have not committed and whose packs may be reused: those that the own session names as
/// parents, and those that these name. Prune looks no further.
fn named_runs(choice: &Choice) -> HashSet<BackupId> {
    let mut named = HashSet::new();
    for parent in &choice.parents {
        if let Parent::Session(session) = parent {
            named.insert(session.backup.clone());
            named.extend(session.parents.iter().filter(|id| choice.open.contains(*id)).cloned());
        }
    }
    named
}

/// Damage of a parent is no failure of the new backup: it stores that data anew.
fn note(notes: &mut Vec<String>, parent: &BackupId, error: Error) -> Result<(), Error> {
    if !error.is_damage() {
        return Err(error);
    }
    notes.push(format!("not everything of {parent} is reused: {error}"));
    Ok(())
}

impl Gatherer<'_> {
    async fn take_backup(&mut self, stored: &StoredManifest) -> Result<(), Error> {
        let manifest = &stored.manifest;
        let backend = &**self.repository.backend();
        let key = layout::refs(&manifest.backup);
        check_ref(&manifest.backup, &key, &manifest.refs)?;
        let bytes = get_exact(backend, &key, manifest.refs.size, manifest.refs.sha256).await?;
        let refs = blocking(&key, move || refs::decode(bytes)).await?;
        for line in refs {
            self.take_pack(line.backup, line.pack, Some(line.size), line.used.saturating_mul(2) >= line.size);
        }
        let sealed = self.cipher.is_sealed();
        let key = layout::streams(&manifest.backup, sealed);
        check_ref(&manifest.backup, &key, &manifest.streams)?;
        let bytes = get_exact(backend, &key, manifest.streams.size, manifest.streams.sha256).await?;
        let cipher = self.cipher.clone();
        let indexes = blocking(&key, move || Streams::decode_indexes(cipher.open_list(bytes)?)).await?;
        for record in indexes {
            let key = layout::index(&manifest.backup, record.index, sealed);
            let bytes = get_exact(backend, &key, record.size, record.sha256).await?;
            self.take_index(&key, bytes, |_| false).await?;
        }
        Ok(())
    }

    /// Takes what a run has stored that has not committed. Nothing says which indexes are its own: one that is damaged, or that
    /// somebody has put there, keeps nobody from the others.
    async fn take_session(&mut self, session: &BackupId, named: &HashSet<BackupId>) -> Result<(), Error> {
        let mut damaged = None;
        for meta in self.repository.indexes_of(session).await? {
            match self.take_listed(&meta.key, named).await {
                Err(error) if error.is_damage() => damaged = damaged.or(Some(error)),
                taken => taken?,
            }
        }
        damaged.map_or(Ok(()), Err)
    }

    async fn take_listed(&mut self, key: &Key, named: &HashSet<BackupId>) -> Result<(), Error> {
        let bytes = self.repository.backend().get(key, MAX_INDEX).await;
        let bytes = bytes.map_err(|error| Error::reading(key, error))?;
        // Packs of committed backups are taken only if a parent's refs keep prune from them.
        self.take_index(key, bytes, |backup| named.contains(backup)).await
    }

    /// Takes an index's lines whose packs are known, or may become known by `may_add`.
    async fn take_index(
        &mut self,
        key: &Key,
        bytes: bytes::Bytes,
        may_add: impl Fn(&BackupId) -> bool,
    ) -> Result<(), Error> {
        let cipher = self.cipher.clone();
        let lines = blocking(key, move || {
            let mut lines = Vec::new();
            index::decode(cipher.open_list(bytes)?, |line| lines.push(line)).map(|()| lines)
        })
        .await?;
        for line in lines {
            let name = (line.backup, line.pack);
            let pack = match self.places.get(&name) {
                Some(pack) => *pack,
                None if may_add(&name.0) => match self.take_pack(name.0, name.1, None, false) {
                    Some(pack) => pack,
                    None => continue,
                },
                None => continue,
            };
            if let Some(candidate) = self.candidates.get_mut(pack as usize) {
                candidate.end = candidate.end.max(u64::from(line.offset) + u64::from(line.length));
            }
            self.chunks.add(&line.id, Place { pack, offset: line.offset, length: line.length });
        }
        Ok(())
    }

    fn take_pack(&mut self, backup: BackupId, sha256: Sha256Digest, size: Option<u64>, worth: bool) -> Option<u32> {
        let name = (backup, sha256);
        if let Some(pack) = self.places.get(&name) {
            if let Some(candidate) = self.candidates.get_mut(*pack as usize) {
                candidate.worth |= worth;
            }
            return Some(*pack);
        }
        // Half of what a backup may have: the other half is for its own packs.
        if self.packs.len() >= MAX_PACKS / 2 {
            return None;
        }
        let pack = u32::try_from(self.packs.len()).ok()?;
        self.packs.push(PackEntry { backup: name.0.clone(), sha256, size: 0, used: 0 });
        self.candidates.push(Candidate { size, worth, end: 0 });
        self.places.insert(name, pack);
        Some(pack)
    }

    /// What the indexes say of the frames of each pack.
    fn sum_frames(&mut self) -> Vec<Frames> {
        let mut all = vec![Frames::default(); self.packs.len()];
        self.chunks.frames(|Place { pack, offset, length }| {
            if let Some(frames) = all.get_mut(pack as usize) {
                frames.overlap |= u64::from(offset) < frames.end;
                frames.end = u64::from(offset) + u64::from(length);
                frames.used += u64::from(length);
            }
        });
        all
    }

    async fn finish(mut self, damaged: &HashSet<PackName>, notes: &mut Vec<String>) -> Result<Reusable, Error> {
        if self.chunks.left_out() > 0 {
            notes.push(format!(
                "the table of known chunks is full: {} chunks of the parents count as new",
                self.chunks.left_out()
            ));
        }
        let frames = self.sum_frames();
        let backups = self.packs.iter().map(|pack| &pack.backup);
        let present = self.repository.present(backups, |name| self.places.contains_key(name)).await?;
        let (mut gone, mut overlapping) = (0_u64, 0_u64);
        let mut keep = vec![false; self.packs.len()];
        for (at, (pack, candidate)) in self.packs.iter_mut().zip(&self.candidates).enumerate() {
            let name = (pack.backup.clone(), pack.sha256);
            let size = present.get(&name).copied();
            let expected = candidate.size.is_none_or(|expected| size == Some(expected));
            let Some(size) = size.filter(|size| expected && *size >= candidate.end && *size <= MAX_PACK) else {
                gone += 1;
                continue;
            };
            pack.size = size;
            let Frames { used, overlap, .. } = frames.get(at).copied().unwrap_or_default();
            if damaged.contains(&name) {
                continue;
            }
            if overlap {
                overlapping += 1;
                continue;
            }
            if let Some(keep) = keep.get_mut(at) {
                // A run that has not committed has no refs: there the sum of its frames tells.
                *keep = candidate.worth || (candidate.size.is_none() && used.saturating_mul(2) >= size);
            }
        }
        if !damaged.is_empty() {
            notes.push(format!(
                "found damaged by a verify: {} of the parents; what was in it is stored anew",
                counted(damaged.len() as u64, "pack")
            ));
        }
        if gone > 0 {
            notes.push(format!(
                "missing or of another size: {} of the parents; what was in it is stored anew",
                counted(gone, "pack")
            ));
        }
        if overlapping > 0 {
            notes.push(format!(
                "with frames that overlap, by their indexes: {} of the parents; what was in it is stored anew",
                counted(overlapping, "pack")
            ));
        }
        let known = self.chunks.build(|place| keep.get(place.pack as usize).copied().unwrap_or_default());
        Ok(Reusable { known, packs: self.packs })
    }
}

impl Repository {
    /// Which of the packs that `wanted` names, written by `backups`, are there, and their sizes.
    pub(crate) async fn present<'a>(
        &self,
        backups: impl Iterator<Item = &'a BackupId>,
        wanted: impl Fn(&(BackupId, Sha256Digest)) -> bool,
    ) -> Result<HashMap<(BackupId, Sha256Digest), u64>, Error> {
        let distinct: BTreeSet<_> = backups.collect();
        let mut present = HashMap::new();
        for backup in distinct {
            let mut objects = self.backend().list(&layout::packs_of(backup));
            while let Some(meta) = objects.try_next().await? {
                if let Some(name) = layout::parse_pack(&meta.key).filter(&wanted) {
                    present.insert(name, meta.size);
                }
            }
        }
        Ok(present)
    }
}

/// Decodes an object on a thread where that may take its time.
pub(crate) async fn blocking<T: Send + 'static>(
    key: &Key,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await?.map_err(|reason| Error::damaged(key, reason))
}
