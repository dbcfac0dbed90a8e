//! P2: all that prune decides by, read in the order that the protocol needs.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::{
    super::{
        BackupEntry, Error, Listed, Repository, Scope, Session, backend::ObjectMeta, catalog::Marker, layout,
        mark_names::Mark, proof,
    },
    Belief, GARBAGE, IDLE, PruneOptions, TombstoneBy, WAIT,
    began::is_apart,
    marks,
};
use crate::types::{BackupId, Name};

/// Sessions fetched at once.
const FETCHES: usize = 32;

/// All that prune decides by.
#[derive(Debug)]
pub struct Survey {
    /// The store's time before anything was listed. Every age is measured at this time, however long the rest takes.
    pub now: Timestamp,
    /// The backups of the policy, oldest first; those that were fenced are none.
    pub backups: Vec<Surveyed>,
    /// Runs of the policy that have not ended and have given no sign of life for 6 hours.
    pub idle: Vec<IdleRun>,
    /// Runs of any policy that have not ended.
    pub active: usize,
    /// All manifests and abort markers, of every policy.
    pub(super) entries: Vec<BackupEntry>,
    /// Signatures without manifests: of a deletion that was killed between the two, or of runs that have not committed.
    pub(super) strays: Vec<(BackupId, ObjectMeta)>,
    pub(super) sessions: HashMap<Mark, ObjectMeta>,
    pub(super) tombstones: HashMap<Mark, ObjectMeta>,
    pub(super) pins: HashMap<Mark, ObjectMeta>,
    /// Runs that have not ended, what they may share packs with, and what that may share packs with.
    pub(super) protected: HashSet<BackupId>,
}

/// A backup of the policy, and what is known of it.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// The backup.
    pub entry: BackupEntry,
    /// Its id and the store's time of its session differ by over 15 minutes, or it has no session. In a copy the original's
    /// session counts, as that of the copy says it, where that is believed.
    pub time_in_doubt: bool,
    /// Somebody has pinned it.
    pub pinned: bool,
    /// A drill has proven that it restores.
    pub proven: bool,
    /// When its tombstone was written, by the store's clock.
    pub tombstone: Option<Timestamp>,
    /// Who wrote it.
    pub by: Option<TombstoneBy>,
    /// How long the tombstone can still be undone.
    pub undo_left: Option<jiff::SignedDuration>,
    /// A run that has not ended may share packs with it.
    pub in_use: bool,
    /// Its tombstone is old enough, no run uses it and nobody has pinned it: prune deletes it.
    pub due: bool,
}

/// A run that gives no sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleRun {
    /// Its schedule.
    pub schedule: Name,
    /// Its backup.
    pub backup: BackupId,
    /// Its last sign of life, by the store's clock.
    pub last_sign: Timestamp,
}

impl Repository {
    /// Proves the store (P1), unless `look_only`, and reads sessions, then manifests, marks and evidence (P2).
    ///
    /// # Errors
    /// [`Error::CreateOnlyIgnored`], [`Error::ListingLags`], [`Error::ClockSkew`]; [`Error::Damaged`] if something cannot
    /// be read that says which packs are needed: then nothing can be pruned; or what the store says.
    pub async fn survey(&self, options: &PruneOptions, look_only: bool) -> Result<Survey, Error> {
        let now = match look_only {
            true => self.backend.clock().await?.unwrap_or_else(|| options.clock.now()),
            false => self.probe(options).await?,
        };
        let (sessions, (entries, strays)) = if options.planted(|it| it.sessions_last) {
            let all = self.all_backups().await?;
            (self.still_open(self.all_sessions().await?, &all.0).await?, all)
        } else {
            let sessions = self.all_sessions().await?;
            (sessions, self.all_backups().await?)
        };
        let tombstones = self.that_hold(self.all_marks(&layout::tombstones_of(None)).await?).await?;
        let pins = self.marks(&layout::pins_of(None)).await?;
        let proven = self.proven(&options.policy).await?;
        let open = self.open_runs(&sessions, (&entries, &tombstones), now).await?;
        let protected = self.protected(&sessions, &open).await?;
        let mut survey = Survey {
            now,
            backups: Vec::new(),
            idle: self.idle(&open, options, now).await?,
            active: open.len(),
            entries,
            strays,
            sessions,
            tombstones,
            pins,
            protected,
        };
        let began = self.began(&survey, options).await?;
        for entry in &survey.entries {
            if entry.policy == options.policy && !matches!(entry.listed, Listed::Aborted) {
                survey.backups.push(self.surveyed(&survey, entry, (&proven, &began), options).await?);
            }
        }
        survey.spare_the_last();
        Ok(survey)
    }

    async fn all_backups(&self) -> Result<(Vec<BackupEntry>, Vec<(BackupId, ObjectMeta)>), Error> {
        let (listings, strays) = self.list_with_strays(&Scope::All).await?;
        Ok((self.entries_of(&Scope::All, listings).await?, strays))
    }

    async fn all_sessions(&self) -> Result<HashMap<Mark, ObjectMeta>, Error> {
        let mut sessions = self.marks(&layout::sessions_of(None)).await?;
        sessions.retain(|(_, backup), _| !proof::is_proof(backup));
        Ok(sessions)
    }

    /// What the planted fault does: sessions that have ended by now are forgotten, although their manifests were not read.
    async fn still_open(
        &self,
        mut sessions: HashMap<Mark, ObjectMeta>,
        entries: &[BackupEntry],
    ) -> Result<HashMap<Mark, ObjectMeta>, Error> {
        let mut marks: Vec<Mark> = sessions.keys().cloned().collect();
        marks.sort();
        for mark in marks {
            if entries.iter().any(|entry| (&entry.policy, &entry.backup) == (&mark.0, &mark.1)) {
                continue;
            }
            let session = self.session(&mark.0, &mark.1).await?;
            if let Ok(Marker::Manifest(_)) = self.marker(&mark.0, &session.schedule, &mark.1).await {
                sessions.remove(&mark);
            }
        }
        Ok(sessions)
    }

    /// The sessions at whose manifest key nothing was listed, and nothing was before: what has a tombstone had committed,
    /// and a prune has begun to delete it. A session that another prune deletes meanwhile had ended, too; its tombstone goes
    /// only after it.
    async fn open_runs(
        &self,
        sessions: &HashMap<Mark, ObjectMeta>,
        (entries, tombstones): (&[BackupEntry], &HashMap<Mark, ObjectMeta>),
        now: Timestamp,
    ) -> Result<Vec<(Session, Timestamp)>, Error> {
        let ended: HashSet<_> = entries.iter().map(|entry| (&entry.policy, &entry.backup)).collect();
        let mut open: Vec<(Mark, Timestamp)> = sessions
            .iter()
            .filter(|(mark, _)| !ended.contains(&(&mark.0, &mark.1)) && !tombstones.contains_key(*mark))
            .map(|(mark, meta)| (mark.clone(), meta.modified))
            .collect();
        open.sort();
        let read = open.into_iter().map(|(mark, began)| self.open_run(mark, began, now));
        stream::iter(read).buffered(FETCHES).try_filter_map(|one| std::future::ready(Ok(one))).try_collect().await
    }

    async fn open_run(
        &self,
        (policy, backup): Mark,
        began: Timestamp,
        now: Timestamp,
    ) -> Result<Option<(Session, Timestamp)>, Error> {
        match self.session(&policy, &backup).await {
            Ok(session) => {
                self.refuse_lag(&session, now).await?;
                Ok(Some((session, began)))
            }
            Err(Error::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What was in a manifest's place before anything was listed must have been listed.
    async fn refuse_lag(&self, session: &Session, now: Timestamp) -> Result<(), Error> {
        let key = layout::manifest(&session.policy, &session.schedule, &session.backup);
        match self.backend.head(&key).await {
            Ok(meta) if meta.modified < now => Err(self.lags(&format!("`{key}` is there since {:.0}", meta.modified))),
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs that have not ended, their parents, and the parents of those of them that are runs: a backup looks no further.
    async fn protected(
        &self,
        sessions: &HashMap<Mark, ObjectMeta>,
        open: &[(Session, Timestamp)],
    ) -> Result<HashSet<BackupId>, Error> {
        let mut protected = HashSet::new();
        for (session, _) in open {
            protected.insert(session.backup.clone());
            for parent in &session.parents {
                let mark = (session.policy.clone(), parent.clone());
                if protected.insert(parent.clone()) && sessions.contains_key(&mark) {
                    match self.session(&mark.0, &mark.1).await {
                        Ok(theirs) => protected.extend(theirs.parents),
                        Err(Error::Gone { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(protected)
    }

    async fn idle(
        &self,
        open: &[(Session, Timestamp)],
        options: &PruneOptions,
        now: Timestamp,
    ) -> Result<Vec<IdleRun>, Error> {
        let mut idle = Vec::new();
        for (session, began) in open.iter().filter(|(session, _)| session.policy == options.policy) {
            // A copy that has stopped is run again and goes on, which a fence would forbid for ever: it is given up only
            // when it may not commit any more. Whoever says falsely that it is one wins some days and nothing else.
            let patience = if session.copied.is_some() { GARBAGE } else { IDLE };
            if now.duration_since(*began) <= patience {
                continue;
            }
            let signs = self.indexes_of(&session.backup).await?.into_iter().map(|meta| meta.modified);
            let last_sign = signs.fold(*began, Timestamp::max);
            if now.duration_since(last_sign) > IDLE {
                let (schedule, backup) = (session.schedule.clone(), session.backup.clone());
                idle.push(IdleRun { schedule, backup, last_sign });
            }
        }
        Ok(idle)
    }

    async fn surveyed(
        &self,
        survey: &Survey,
        entry: &BackupEntry,
        (proven, began): (&HashSet<BackupId>, &HashMap<BackupId, Timestamp>),
        options: &PruneOptions,
    ) -> Result<Surveyed, Error> {
        let mark = (entry.policy.clone(), entry.backup.clone());
        let began = began.get(&entry.backup).copied();
        let tombstone = survey.tombstones.get(&mark);
        let by = match tombstone {
            Some(meta) => match self.belief((&mark.0, &mark.1), meta).await? {
                Belief::Holds(by) => Some(by),
                Belief::Not(_) => Some(TombstoneBy::Other),
            },
            None => None,
        };
        let waited = |meta: &ObjectMeta| survey.now.duration_since(meta.modified) >= WAIT;
        let pinned = survey.pins.contains_key(&mark);
        let in_use = survey.protected.contains(&entry.backup);
        let waits = options.planted(|it| it.no_wait) || tombstone.is_some_and(waited);
        Ok(Surveyed {
            time_in_doubt: began.is_none_or(|began| is_apart(&entry.backup, began)),
            pinned,
            proven: proven.contains(&entry.backup),
            tombstone: tombstone.map(|meta| meta.modified),
            by,
            undo_left: tombstone.map(|meta| marks::undo_left(meta.modified, survey.now)),
            in_use,
            due: tombstone.is_some() && waits && !pinned && !in_use,
            entry: BackupEntry {
                tombstoned: tombstone.is_some(),
                disbelieved: entry.disbelieved.clone().filter(|_| tombstone.is_none()),
                ..entry.clone()
            },
        })
    }
}

impl Survey {
    /// A schedule's last good backup is not deleted by rules that no longer see what they saw: newer ones were there
    /// when its tombstone was written. What a person asked for goes.
    fn spare_the_last(&mut self) {
        let mut good_left: HashSet<Name> = HashSet::new();
        for one in self.backups.iter().filter(|one| one.entry.is_good() && one.tombstone.is_none()) {
            good_left.insert(one.entry.schedule.clone());
        }
        for one in self.backups.iter_mut().rev().filter(|one| one.entry.is_good()) {
            if one.due && one.by != Some(TombstoneBy::Asked) && !good_left.contains(&one.entry.schedule) {
                one.due = false;
                good_left.insert(one.entry.schedule.clone());
            }
        }
    }

    /// Whether an object of a run that nothing else is known of is old enough to be garbage.
    pub(super) fn is_old_garbage(&self, meta: &ObjectMeta) -> bool {
        self.now.duration_since(meta.modified) >= GARBAGE
    }
}
