//! The packs that must stay, by the refs of every backup that stays.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    super::{
        Error, Listed, ObjectRef, Repository, layout,
        objects::{check_ref, get_exact},
        refs,
        reuse::blocking,
    },
    Survey,
    status::{Fate, Fates},
};
use crate::types::{BackupId, Sha256Digest};

/// Refs fetched at once, of those that are small.
const FETCHES: usize = 16;
/// Refs that are larger are fetched one after the other.
const SMALL: u64 = 256 << 10;
/// The most packs that are remembered: 24 bytes each, 48 MiB in all.
const MAX_LIVE: usize = 2_000_000;

/// Packs that somebody needs, of the runs whose packs may go: 24 bytes each. A part of a pack's name is enough: two
/// packs that have it in common would only both stay.
#[derive(Debug, Default)]
pub(super) struct LivePacks {
    runs: HashMap<BackupId, u32>,
    packs: HashSet<[u8; 24]>,
}

impl LivePacks {
    fn entry(run: u32, pack: &Sha256Digest) -> [u8; 24] {
        let mut entry = [0; 24];
        let (number, name) = entry.split_at_mut(4);
        number.copy_from_slice(&run.to_be_bytes());
        name.copy_from_slice(pack.as_bytes().first_chunk::<20>().unwrap_or(&[0; 20]));
        entry
    }

    fn insert(&mut self, backup: BackupId, pack: &Sha256Digest) {
        let next = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        let run = *self.runs.entry(backup).or_insert(next);
        self.packs.insert(Self::entry(run, pack));
    }

    pub(super) fn contains(&self, backup: &BackupId, pack: &Sha256Digest) -> bool {
        self.runs.get(backup).is_some_and(|run| self.packs.contains(&Self::entry(*run, pack)))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.packs.len()
    }
}

impl Repository {
    /// The packs of runs that may go which a backup needs that stays.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the refs of one cannot be read: then nobody knows what is garbage.
    pub(super) async fn live_packs(&self, survey: &Survey, fates: &Fates) -> Result<LivePacks, Error> {
        let mut staying: Vec<(BackupId, ObjectRef)> = Vec::new();
        for entry in survey.entries.iter().filter(|entry| fates.of(&entry.backup) == Fate::Stays) {
            match &entry.listed {
                Listed::Backup(summary) => staying.push((entry.backup.clone(), summary.refs.clone())),
                Listed::Aborted => {}
                Listed::Damaged(why) | Listed::Newer(why) => return Err(Error::damaged(&entry.key, why.clone())),
            }
        }
        let (small, large): (Vec<_>, Vec<_>) = staying.into_iter().partition(|(_, refs)| refs.size <= SMALL);
        let mut live = LivePacks::default();
        for (backups, at_once) in [(small, FETCHES), (large, 1)] {
            let fetched = backups.into_iter().map(|(backup, object)| self.refs_of(backup, object, fates));
            let mut fetched = stream::iter(fetched).buffered(at_once);
            while let Some(packs) = fetched.try_next().await? {
                for (backup, pack) in packs {
                    live.insert(backup, &pack);
                }
                if live.len() > MAX_LIVE {
                    let what = format!("the number of packs of {} that prune must remember", self.location());
                    return Err(Error::OverLimit { what, limit: MAX_LIVE.to_string() });
                }
            }
        }
        Ok(live)
    }

    async fn refs_of(
        &self,
        backup: BackupId,
        object: ObjectRef,
        fates: &Fates,
    ) -> Result<Vec<(BackupId, Sha256Digest)>, Error> {
        let key = layout::refs(&backup);
        check_ref(&backup, &key, &object)?;
        let bytes = get_exact(&*self.backend, &key, object.size, object.sha256).await?;
        let lines = blocking(&key, move || refs::decode(bytes)).await?;
        Ok(lines.into_iter().filter(|line| fates.may_go(&line.backup)).map(|line| (line.backup, line.pack)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_is_known_by_its_run_and_its_name_in_24_bytes() {
        let id = |text: &str| BackupId::parse(text).unwrap();
        let (one, other) = (id("20261120T020000Z-aaaaaa"), id("20261121T020000Z-aaaaaa"));
        let mut live = LivePacks::default();
        live.insert(one.clone(), &Sha256Digest::of(b"a"));
        live.insert(one.clone(), &Sha256Digest::of(b"a"));
        live.insert(other.clone(), &Sha256Digest::of(b"b"));
        assert_eq!(live.len(), 2);
        assert!(live.contains(&one, &Sha256Digest::of(b"a")) && live.contains(&other, &Sha256Digest::of(b"b")));
        assert!(!live.contains(&one, &Sha256Digest::of(b"b")) && !live.contains(&other, &Sha256Digest::of(b"a")));
        assert!(!live.contains(&id("20261122T020000Z-aaaaaa"), &Sha256Digest::of(b"a")));
        assert_eq!(size_of::<[u8; 24]>(), 24);
    }
}
