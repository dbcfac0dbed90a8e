//! Which earlier runs a backup may share packs with (step B2 of the protocol).
//!
//! The choice is no part of the format: a reader never asks why a pack is shared.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Error, Repository, Scope, Session,
    catalog::{Marker, StoredManifest},
    crypt::Signature,
    layout,
    listed::Listing,
};
use crate::types::{BackupId, Name, State};

/// The most parents of a backup.
const MAX_PARENTS: usize = 3;
/// How many manifests are read at most to find parents and the previous backup.
const MAX_READ: usize = 64;
/// How many open sessions are looked at.
const MAX_SESSIONS: usize = 8;
/// A session may be reused so long: prune may sweep its packs when it is 7 days old.
const SESSION_REUSE: SignedDuration = SignedDuration::from_hours(6 * 24);

/// What the choice is made for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) policy: &'a Name,
    pub(crate) schedule: &'a Name,
    pub(crate) backup: &'a BackupId,
    pub(crate) sources: &'a [Name],
    pub(crate) full_every: Duration,
    /// The epoch that the new backup is encrypted to: others' lists cannot be read, and their chunks have other names.
    pub(crate) epoch: Option<String>,
}

/// An earlier run.
#[derive(Debug, Clone)]
pub(crate) enum Parent {
    /// A backup.
    Backup(Box<StoredManifest>),
    /// A run that has not committed: it died, or still runs.
    Session(Box<Session>),
}

impl Parent {
    pub(crate) fn id(&self) -> &BackupId {
        match self {
            Self::Backup(stored) => &stored.manifest.backup,
            Self::Session(session) => &session.backup,
        }
    }

    fn full_since(&self) -> Timestamp {
        match self {
            Self::Backup(stored) => stored.manifest.full_since,
            Self::Session(session) => session.full_since,
        }
    }
}

/// The parents of a new backup.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub(crate) parents: Vec<Parent>,
    /// The newest backup of the same schedule.
    pub(crate) previous: Option<Box<StoredManifest>>,
    /// Runs that have not committed and are young enough: packs of theirs may be reused too.
    pub(crate) open: HashSet<BackupId>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

impl Choice {
    /// When the line of backups that the new one belongs to began.
    pub(crate) fn full_since(&self, own: Timestamp) -> Timestamp {
        self.parents.iter().map(Parent::full_since).min().unwrap_or(own).min(own)
    }
}

impl Repository {
    /// Chooses parents: a run to resume, and for each source the newest good backup; then, where there
    /// is room, newer partial ones.
    pub(crate) async fn choose_parents(&self, wanted: &Wanted<'_>) -> Result<Choice, Error> {
        let listings = self.list_manifests(&Scope::Policy(wanted.policy.clone())).await?;
        let mut choice = Choice::default();
        // In a plain repository whoever may write can leave a session and an index that lie about packs. In an encrypted
        // one the chunks' names need the id key.
        let lies = self.asks_for_signatures() && !self.is_encrypted();
        let sessions = if lies { Vec::new() } else { self.resumable(wanted, &listings, &mut choice).await? };
        let room = MAX_PARENTS - usize::from(!sessions.is_empty());
        self.choose_backups(wanted, listings, room, &mut choice).await?;
        for session in sessions {
            if choice.parents.len() < MAX_PARENTS {
                choice.parents.push(Parent::Session(Box::new(session)));
            }
        }
        Ok(choice)
    }

    async fn choose_backups(
        &self,
        wanted: &Wanted<'_>,
        mut listings: Vec<Listing>,
        room: usize,
        choice: &mut Choice,
    ) -> Result<(), Error> {
        let accepted = self.marks(&layout::accepts_of(Some(wanted.policy))).await?;
        // With nothing to share, only the previous backup is looked for.
        let sources = if wanted.full_every.is_zero() { &[] } else { wanted.sources };
        let mut uncovered: Vec<&Name> = sources.iter().collect();
        let mut partial = Vec::new();
        let mut need_previous = listings.iter().any(|listing| listing.schedule == *wanted.schedule);
        let mut read = 0;
        while let Some(listing) = listings.pop() {
            let wants_data = !uncovered.is_empty() && choice.parents.len() < room;
            let wants_this = wants_data || (need_previous && listing.schedule == *wanted.schedule);
            if read >= MAX_READ || (!wants_data && !need_previous) {
                break;
            }
            if !wants_this {
                continue;
            }
            read += 1;
            let stored = match self.marker(&listing.policy, &listing.schedule, &listing.backup).await {
                Ok(Marker::Manifest(stored)) => stored,
                Ok(Marker::Aborted) => continue,
                Err(Error::Store(error)) => return Err(error.into()),
                Err(error) => {
                    choice.notes.push(format!("backup {} is passed over: {error}", listing.backup));
                    continue;
                }
            };
            if let Signature::Bad(why) = &stored.signature {
                choice
                    .notes
                    .push(format!("backup {} does not count, and nothing is shared with it: {why}", listing.backup));
                continue;
            }
            let manifest = &stored.manifest;
            let has = |name: &&Name| manifest.sources.iter().any(|s| s.name == **name && s.total.bytes > 0);
            if wants_data
                && manifest.epoch == wanted.epoch
                && is_young(wanted, manifest.full_since)
                && uncovered.iter().any(has)
            {
                let mark = accepted.get(&(listing.policy.clone(), listing.backup.clone()));
                let is_good = match (manifest.state, mark) {
                    (State::Complete, _) => true,
                    (State::Suspect, Some(mark)) => self.accept_holds(&mark.key, &stored).await?,
                    _ => false,
                };
                if is_good {
                    uncovered.retain(|name| !has(name));
                    choice.parents.push(Parent::Backup(stored.clone()));
                } else if manifest.state == State::Partial && partial.len() < room {
                    partial.push(Parent::Backup(stored.clone()));
                }
            }
            if need_previous && listing.schedule == *wanted.schedule {
                need_previous = false;
                choice.previous = Some(stored);
            }
        }
        // Newer than the good one of a source that they have; what they have beside it is shared too.
        choice.parents.extend(partial.into_iter().take(room.saturating_sub(choice.parents.len())));
        Ok(())
    }

    /// The newest runs of the policy that have not committed and have left a checkpoint.
    async fn resumable(
        &self,
        wanted: &Wanted<'_>,
        listings: &[Listing],
        choice: &mut Choice,
    ) -> Result<Vec<Session>, Error> {
        let ended: HashSet<_> = listings.iter().map(|listing| &listing.backup).collect();
        let sessions: HashMap<_, _> = self.marks(&layout::sessions_of(Some(wanted.policy))).await?;
        let now = wanted.backup.time();
        let recent = |id: &BackupId| {
            let age = now.duration_since(id.time());
            age > -SESSION_REUSE && age < SESSION_REUSE
        };
        let mut open: Vec<_> = sessions.into_keys().map(|(_, id)| id).collect();
        open.retain(|id| !ended.contains(id) && id != wanted.backup && recent(id));
        open.sort_unstable();
        choice.open = open.iter().cloned().collect();
        let mut resumable = Vec::new();
        for id in open.iter().rev().take(MAX_SESSIONS) {
            if self.indexes_of(id).await?.is_empty() {
                continue;
            }
            match self.session(wanted.policy, id).await {
                Ok(session) if is_young(wanted, session.full_since) => resumable.push(session),
                Ok(_) => {}
                Err(Error::Store(error)) => return Err(error.into()),
                Err(error) => choice.notes.push(format!("the run {id} is not resumed: {error}")),
            }
            if resumable.len() == MAX_PARENTS {
                break;
            }
        }
        Ok(resumable)
    }

    /// Looks at the parents once more, now that the session is written: what prune has marked, or
    /// fenced, may not be used (step B3). Tombstones that readers would not believe count here, too.
    pub(crate) async fn confirm_parents(&self, policy: &Name, choice: &mut Choice) -> Result<(), Error> {
        let tombstones = self.marks(&layout::tombstones_of(Some(policy))).await?;
        let mut confirmed = Vec::new();
        for parent in std::mem::take(&mut choice.parents) {
            let id = parent.id().clone();
            let reason = if tombstones.contains_key(&(policy.clone(), id.clone())) {
                Some("prune is about to delete it".to_owned())
            } else {
                self.refuted(policy, &parent).await?
            };
            match reason {
                None => confirmed.push(parent),
                Some(reason) => {
                    choice.open.remove(&id);
                    choice.notes.push(format!("nothing is shared with {id}: {reason}"));
                }
            }
        }
        choice.open.retain(|id| !tombstones.contains_key(&(policy.clone(), id.clone())));
        choice.parents = confirmed;
        Ok(())
    }

    /// Why a parent is not what it was a moment ago.
    async fn refuted(&self, policy: &Name, parent: &Parent) -> Result<Option<String>, Error> {
        let (schedule, id) = match parent {
            Parent::Backup(stored) => (&stored.manifest.schedule, &stored.manifest.backup),
            Parent::Session(session) => (&session.schedule, &session.backup),
        };
        Ok(match (self.marker(policy, schedule, id).await, parent) {
            (Ok(Marker::Manifest(now)), Parent::Backup(then)) if now.sha256 == then.sha256 => None,
            (Ok(Marker::Manifest(_)), Parent::Backup(_)) => Some("its manifest was replaced".to_owned()),
            (Ok(Marker::Manifest(_)), Parent::Session(_)) | (Err(Error::Gone { .. }), Parent::Session(_)) => None,
            (Ok(Marker::Aborted), _) => Some("it was fenced".to_owned()),
            (Err(Error::Store(error)), _) => return Err(error.into()),
            (Err(error), _) => Some(error.to_string()),
        })
    }
}

/// Whether the line that began at `full_since` may go on, or everything is due to be stored anew.
fn is_young(wanted: &Wanted<'_>, full_since: Timestamp) -> bool {
    let age = wanted.backup.time().duration_since(full_since);
    // A line that began in the future is young, but not if nothing at all may be shared.
    !wanted.full_every.is_zero() && SignedDuration::try_from(wanted.full_every).is_ok_and(|every| age < every)
}
