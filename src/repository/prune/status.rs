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
    /// It has gone: its session is deleted after its packs, and only a mark is left. What is found of it since may have been
    /// brought by a copy, so each object goes when it is old enough; what marks it, at once.
    Swept,
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

    /// Whether what marks this run goes, once nothing else of it is left.
    pub(super) fn has_to_go(&self, backup: &BackupId) -> bool {
        matches!(self.of(backup), Fate::Goes | Fate::Swept)
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
        let goes =
            |policy: &Name, backup: &BackupId| match self.sessions.contains_key(&(policy.clone(), backup.clone())) {
                true => Fate::Goes,
                false => Fate::Swept,
            };
        for entry in &self.entries {
            let fate = match entry.listed {
                _ if entry.policy != options.policy => Fate::Stays,
                Listed::Aborted if self.is_buried(entry) => goes(&entry.policy, &entry.backup),
                Listed::Backup(_) | Listed::Newer(_) | Listed::Damaged(_) if due(&entry.backup) => Fate::Goes,
                _ => Fate::Stays,
            };
            fates.note(&entry.backup, fate);
        }
        for ((policy, backup), meta) in &self.tombstones {
            let has_manifest = fates.0.contains_key(backup);
            let waited = self.now.duration_since(meta.modified) >= WAIT;
            if !has_manifest {
                let is_over = *policy == options.policy && waited;
                fates.note(backup, if is_over { goes(policy, backup) } else { Fate::Stays });
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
