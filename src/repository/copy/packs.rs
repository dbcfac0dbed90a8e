//! Packs: which of them are there, and those that are not, sent.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{
    super::{
        CopyRefused, Error, Manifest, Repository,
        backend::Key,
        chunks::PackName,
        layout,
        objects::{get_exact, put_own},
        refs::Ref,
    },
    Copier, MEMORY_MIB, meta,
    safe::Owners,
    said_of,
};
use crate::types::{BackupId, Sha256Digest};

/// What a listing of the copy says of the packs that a backup needs.
#[derive(Debug, Default)]
pub(super) struct Needed {
    /// Those that are not there, as places in the refs.
    pub(super) missing: Vec<usize>,
    /// Those that may be gone in a moment, unless another backup needs them.
    pub(super) doubtful: Vec<PackName>,
    /// Those of the missing that can be sent before the session.
    pub(super) ahead: Vec<usize>,
    /// Lists that are there and were read: they are the original's.
    pub(super) proven: HashSet<Key>,
}

/// The runs that have written packs of `refs`.
pub(super) fn owners_of(refs: &[Ref]) -> BTreeSet<BackupId> {
    refs.iter().map(|line| line.backup.clone()).collect()
}

impl Copier<'_> {
    /// Lists the copy, one run after the other, and says what is missing of `refs`. A pack of another size is damage: no key
    /// is written twice.
    pub(super) async fn needed(&self, refs: &[Ref], owners: Option<&Owners>) -> Result<Needed, Error> {
        self.listed((self.to, &self.place_written()), refs, owners).await
    }

    /// [`Self::needed`] of a place.
    pub(super) async fn listed(
        &self,
        (of, place): (&Repository, &str),
        refs: &[Ref],
        owners: Option<&Owners>,
    ) -> Result<Needed, Error> {
        let mut needed = Needed::default();
        for range in runs_of(refs) {
            let Some(lines) = refs.get(range.clone()) else { continue };
            let Some(owner) = lines.first().map(|line| &line.backup) else { continue };
            let mut there: Vec<Option<Timestamp>> = vec![None; lines.len()];
            let mut objects = of.backend().list(&layout::packs_of(owner));
            while let Some(meta) = objects.try_next().await? {
                let Some((_, pack)) = layout::parse_pack(&meta.key) else { continue };
                let Ok(at) = lines.binary_search_by(|line| line.pack.cmp(&pack)) else {
                    if owners.is_some_and(|owners| owners.asks_for_all(owner)) {
                        needed.doubtful.push((owner.clone(), pack));
                    }
                    continue;
                };
                if lines.get(at).is_some_and(|line| line.size != meta.size) {
                    let reason = format!("it has {} bytes in {place}, and should have others", meta.size);
                    return Err(Error::damaged(&meta.key, reason));
                }
                if let Some(there) = there.get_mut(at) {
                    *there = Some(meta.modified);
                }
            }
            for (at, (line, modified)) in lines.iter().zip(there).enumerate() {
                if modified.is_none() {
                    needed.missing.push(range.start + at);
                }
                if owners.is_some_and(|owners| owners.is_doubtful(owner, modified)) {
                    needed.doubtful.push((line.backup.clone(), line.pack));
                }
            }
        }
        Ok(needed)
    }

    /// Sends the packs at these places of `refs`, several at once. Each is proven by its name on the way.
    pub(super) async fn send_packs(&self, refs: &[Ref], missing: &[usize]) -> Result<(), Error> {
        let memory = Semaphore::new(MEMORY_MIB);
        let sends = missing.iter().filter_map(|at| refs.get(*at)).map(|line| self.send_pack(line, &memory));
        stream::iter(sends).buffer_unordered(self.options.at_once.max(1)).try_collect::<()>().await
    }

    async fn send_pack(&self, line: &Ref, memory: &Semaphore) -> Result<(), Error> {
        let key = layout::pack(&line.backup, &line.pack);
        self.options.rate.pass(line.size).await;
        let mib = u32::try_from(line.size.div_ceil(1 << 20).max(1)).unwrap_or(u32::MAX);
        let closed = |_| Error::Internal("the bound on memory is gone".to_owned());
        let _held = memory.acquire_many(mib).await.map_err(closed)?;
        self.send_exact(&key, line.size, line.pack).await
    }

    /// Sends an object whose size and SHA-256 are known, unlimited by the rate.
    pub(super) async fn send_exact(&self, key: &Key, size: u64, sha256: Sha256Digest) -> Result<(), Error> {
        let bytes = get_exact(&**self.from.backend(), key, size, sha256).await;
        let bytes = bytes.map_err(|error| said_of(error, &self.place_read()))?;
        self.put(key, bytes).await
    }

    pub(super) async fn put(&self, key: &Key, bytes: Bytes) -> Result<(), Error> {
        let size = bytes.len() as u64;
        put_own(&**self.to.backend(), key, bytes).await.map_err(|error| said_of(error, &self.place_written()))?;
        self.options.monitor.advance(size);
        Ok(())
    }

    /// B5: lists once more what the backup needs, packs and these lists; something missing = no manifest.
    pub(super) async fn check_presence(&self, manifest: &Manifest, refs: &[Ref], lists: &[Key]) -> Result<(), Error> {
        let needed = self.needed(refs, None).await?;
        let missing = needed.missing.iter().filter_map(|at| refs.get(*at));
        let there = meta::listed(self.to, manifest).await?;
        let lists = lists.iter().filter(|key| !there.contains_key(*key)).cloned();
        let mut gone = missing.map(|line| layout::pack(&line.backup, &line.pack)).chain(lists);
        let Some(first) = gone.next() else { return Ok(()) };
        let (backup, place) = (manifest.backup.clone(), self.place_written());
        Err(CopyRefused::PacksGone { backup, place, count: 1 + gone.count(), first: first.to_string() }.into())
    }

    /// Refuses packs in the copy which a verification has found damaged, and still are: they cannot be sent again.
    pub(super) async fn refuse_damaged(
        &self,
        manifest: &Manifest,
        refs: &[Ref],
        missing: &[usize],
    ) -> Result<(), Error> {
        let there: Vec<&Ref> = {
            let missing: HashSet<usize> = missing.iter().copied().collect();
            refs.iter().enumerate().filter(|(at, _)| !missing.contains(at)).map(|(_, line)| line).collect()
        };
        let place = self.place_written();
        let damaged = |key: Key, error: Error| match error {
            Error::Damaged { .. } => {
                let reason =
                    format!("a verification of {place} has found it damaged there, and it is; take it away there");
                Error::damaged(key, reason)
            }
            error => error,
        };
        for line in self.noted(self.to, manifest, &there).await? {
            let key = layout::pack(&line.backup, &line.pack);
            if let Err(error) = get_exact(&**self.to.backend(), &key, line.size, line.pack).await {
                return Err(damaged(key, error));
            }
        }
        Ok(())
    }

    /// Of these packs, in order, those that a verification of a place has found damaged. They may have been put right since.
    pub(super) async fn noted<'r>(
        &self,
        of: &Repository,
        manifest: &Manifest,
        refs: &[&'r Ref],
    ) -> Result<Vec<&'r Ref>, Error> {
        if refs.is_empty() {
            return Ok(Vec::new());
        }
        let is_one = |(owner, pack): &PackName| {
            refs.binary_search_by(|line| (&line.backup, &line.pack).cmp(&(owner, pack))).is_ok()
        };
        let noted = of.damaged_packs(&manifest.policy, is_one, &mut Vec::new()).await?;
        Ok(refs.iter().copied().filter(|line| noted.contains(&(line.backup.clone(), line.pack))).collect())
    }
}

/// The runs of lines of one owner, in order.
fn runs_of(refs: &[Ref]) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let owner = &refs.get(begin)?.backup;
        let lines = refs.get(begin..)?.iter().take_while(|line| line.backup == *owner).count();
        let range = begin..begin + lines;
        begin = range.end;
        Some(range)
    })
}

impl Repository {
    /// Sees to it that packs which were there stay locked as long as those that are put now.
    pub(super) async fn lock_for_copy(&self, refs: &[Ref], sent: &[usize], more: Vec<Key>) -> Result<(), Error> {
        if self.backend().locks().is_none() {
            return Ok(());
        }
        let sent: HashSet<usize> = sent.iter().copied().collect();
        let there = refs.iter().enumerate().filter(|(at, _)| !sent.contains(at));
        let mut keys: Vec<Key> = there.map(|(_, line)| layout::pack(&line.backup, &line.pack)).collect();
        keys.extend(more);
        keys.push(layout::header());
        let mut files = self.backend().list(layout::KEYS);
        while let Some(meta) = files.try_next().await? {
            keys.push(meta.key);
        }
        let counts = self.keep_locked(keys).await?;
        tracing::debug!(looked_at = counts.looked_at, extended = counts.extended, "locks of what was there");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(owner: &str, name: &[u8]) -> Ref {
        let backup = BackupId::parse(owner).unwrap();
        Ref { backup, pack: Sha256Digest::of(name), size: 9, used: 9 }
    }

    #[test]
    fn lines_are_taken_by_their_owners() {
        let (one, other) = ("20261120T020000Z-aaaaaa", "20261121T020000Z-aaaaaa");
        let mut refs = vec![line(one, b"a"), line(one, b"b"), line(other, b"a"), line(other, b"c"), line(other, b"d")];
        refs.sort();
        assert_eq!(runs_of(&refs).collect::<Vec<_>>(), [0..2, 2..5]);
        assert_eq!(runs_of(&[]).count(), 0);
        assert_eq!(owners_of(&refs).len(), 2);
    }
}
