//! The packs that backups of the copy need: each of their refs is read once for all the backups that have to wait or not.

use std::collections::{HashMap, HashSet};

use super::super::{ObjectRef, chunks::PackName, refs::Ref};
use crate::types::{BackupId, Sha256Digest};

/// Packs that are remembered: 40 bytes each, and at most so many besides those of the backup that is looked at.
const MAX_KEPT: usize = 400_000;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The runs, by the numbers that stand for them.
    runs: HashMap<BackupId, u32>,
    backups: HashMap<BackupId, Needs>,
    packs: usize,
}

#[derive(Debug)]
struct Needs {
    refs: ObjectRef,
    packs: HashSet<(u32, Sha256Digest)>,
}

impl Read {
    /// Whether these refs were read.
    pub(super) fn knows(&self, backup: &BackupId, refs: &ObjectRef) -> bool {
        self.backups.get(backup).is_some_and(|needs| needs.refs == *refs)
    }

    /// Keeps what was read. What there is no room for any more is read again when it is asked for.
    pub(super) fn keep(&mut self, backup: &BackupId, refs: &ObjectRef, lines: &[Ref]) {
        if self.packs > MAX_KEPT {
            *self = Self::default();
        }
        let mut packs = HashSet::with_capacity(lines.len());
        for line in lines {
            let next = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
            let run = *self.runs.entry(line.backup.clone()).or_insert(next);
            packs.insert((run, line.pack));
        }
        self.packs += packs.len();
        self.backups.insert(backup.clone(), Needs { refs: refs.clone(), packs });
    }

    /// Takes out of `doubtful` what this backup needs.
    pub(super) fn cover(&self, backup: &BackupId, doubtful: &mut HashSet<PackName>) {
        let Some(needs) = self.backups.get(backup) else { return };
        let is_needed =
            |(run, pack): &PackName| self.runs.get(run).is_some_and(|number| needs.packs.contains(&(*number, *pack)));
        doubtful.retain(|name| !is_needed(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_is_covered_by_the_backup_that_needs_it_under_its_own_run_alone() {
        let id = |text: &str| BackupId::parse(text).unwrap();
        let (one, two) = (id("20261120T020000Z-aaaaaa"), id("20261121T020000Z-aaaaaa"));
        let (a, b) = (Sha256Digest::of(b"a"), Sha256Digest::of(b"b"));
        let refs = |size| ObjectRef { name: "refs.tsv.zst".to_owned(), size, sha256: a };
        let line = |run: &BackupId, pack| Ref { backup: run.clone(), pack, size: 1, used: 1 };
        let mut read = Read::default();
        read.keep(&two, &refs(1), &[line(&one, a), line(&two, b)]);
        assert!(read.knows(&two, &refs(1)) && !read.knows(&two, &refs(2)) && !read.knows(&one, &refs(1)));
        let all = [(one.clone(), a), (one.clone(), b), (two.clone(), a), (two.clone(), b)];
        let mut doubtful = HashSet::from(all.clone());
        read.cover(&one, &mut doubtful);
        assert_eq!(doubtful.len(), 4, "nothing is known of this one");
        read.cover(&two, &mut doubtful);
        assert_eq!(doubtful, HashSet::from([all[1].clone(), all[2].clone()]));
    }
}
