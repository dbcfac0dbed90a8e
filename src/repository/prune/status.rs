//! What becomes of everything that a run has stored, by its id.

use std::collections::HashMap;

use super::{
    super::{BackupEntry, Listed},
    GARBAGE, PruneOptions, Survey, WAIT,
};
use crate::types::{BackupId, Name};

/// What becomes of a run's objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// A backup that is kept, a run that has not ended, or something that such a run may share packs with.
    Stays,
    /// Its packs go, but those that others need; and all the rest.
    Goes,
    /// Nothing is known of it: each object goes when it is old enough.
    Unknown,
}

/// The fates of all runs that something is known of.
#[derive(Debug)]
pub(super) struct Fates(HashMap<BackupId, Fate>);

impl Fates {
    pub(super) fn of(&self, backup: &BackupId) -> Fate {
        self.0.get(backup).copied().unwrap_or(Fate::Unknown)
    }

    /// Whether a pack of this run may go, so that it matters who needs it.
    pub(super) fn may_go(&self, backup: &BackupId) -> bool {
        self.of(backup) != Fate::Stays
    }

    /// Staying wins, where one id is found twice.
    fn note(&mut self, backup: &BackupId, fate: Fate) {
        let known = self.0.entry(backup.clone()).or_insert(fate);
        if fate == Fate::Stays {
            *known = fate;
        }
    }
}

impl Survey {
    /// What becomes of what. `due` are the backups of the policy that are deleted now.
    pub(super) fn fates(&self, options: &PruneOptions, due: impl Fn(&BackupId) -> bool) -> Fates {
        let mut fates = Fates(HashMap::new());
        for backup in &self.protected {
            fates.note(backup, Fate::Stays);
        }
        for entry in &self.entries {
            let goes = entry.policy == options.policy
                && match entry.listed {
                    Listed::Aborted => self.is_buried(entry),
                    Listed::Backup(_) | Listed::Newer(_) | Listed::Damaged(_) => due(&entry.backup),
                };
            fates.note(&entry.backup, if goes { Fate::Goes } else { Fate::Stays });
        }
        for ((policy, backup), meta) in &self.tombstones {
            let has_manifest = fates.0.contains_key(backup);
            let waited = self.now.duration_since(meta.modified) >= WAIT;
            if !has_manifest {
                fates.note(backup, if *policy == options.policy && waited { Fate::Goes } else { Fate::Stays });
            }
        }
        fates
    }

    /// Whether a run was fenced so long ago that nobody shares packs with it but who is known to, and is old enough.
    fn is_buried(&self, abort: &BackupEntry) -> bool {
        let session = self.sessions.get(&(abort.policy.clone(), abort.backup.clone()));
        self.now.duration_since(abort.modified) >= WAIT
            && session.is_none_or(|session| self.now.duration_since(session.modified) >= GARBAGE)
    }

    /// Whether a backup that stays names `backup` as the one before it.
    pub(super) fn is_named(&self, policy: &Name, backup: &BackupId, fates: &Fates) -> bool {
        let stays = |entry: &&BackupEntry| entry.policy == *policy && fates.of(&entry.backup) == Fate::Stays;
        self.entries
            .iter()
            .filter(stays)
            .filter_map(BackupEntry::summary)
            .any(|summary| summary.previous.as_ref().is_some_and(|previous| previous.id == *backup))
    }
}
