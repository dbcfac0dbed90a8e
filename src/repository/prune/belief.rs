//! Which tombstones are believed: where signers are pinned, those that one of them has signed.
//!
//! Whoever may put objects could hide a backup by a tombstone, or have it deleted. So readers and prune pass over one that
//! is not believed, and name it. A backup that looks for parents does not: to share nothing with a backup that has a
//! tombstone costs an upload, and prune relies on it, whoever its own signers are (`docs/adr/0014-signed-tombstones.md`).

use std::collections::HashMap;

use futures::future;
use jiff::{SignedDuration, Timestamp};

use super::{
    super::{
        Error, Repository, RepositoryId,
        backend::{ErrorKind, ObjectMeta},
        control,
        crypt::signature,
        layout,
        mark_names::{Mark, newest},
    },
    Tombstone, TombstoneBy,
};
use crate::types::{BackupId, Name};

/// The store's time of a tombstone is at most so much later than the one that it says itself: one that was taken away, and that
/// somebody who had kept it puts back later, is none.
const LATER: SignedDuration = SignedDuration::from_mins(15);
/// Two times of one object, of which a store may tell one to the second alone.
const A_SECOND: SignedDuration = SignedDuration::from_secs(1);
/// Tombstones read at once.
const FETCHES: usize = 32;

/// What a tombstone is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Belief {
    /// It counts, and this is who wants its backup to go.
    Holds(TombstoneBy),
    /// Nobody who is pinned has signed it: why not, for people.
    Not(String),
}

impl Tombstone {
    /// What its signature is over.
    pub(super) fn statement(&self, repository: &RepositoryId, place: Timestamp) -> String {
        let Self { policy, schedule, backup, at, by, .. } = self;
        let by = by.as_str();
        format!(
            "drctl tombstone\nrepository {repository}\nplace {place}\npolicy {policy}\nschedule {schedule}\nbackup {backup}\nat {at}\n\
             by {by}\n"
        )
    }
}

impl Repository {
    /// Whether the tombstone under the key of `meta` counts. Where no signers are pinned, each does, also one whose contents
    /// are damaged: nobody in particular wrote it.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn belief(
        &self,
        (policy, backup): (&Name, &BackupId),
        meta: &ObjectMeta,
    ) -> Result<Belief, Error> {
        let tombstone = match self.read_tombstone((policy, backup), meta).await? {
            Ok(tombstone) => tombstone,
            Err(belief) => return Ok(belief),
        };
        if !self.asks_for_signatures() {
            return Ok(Belief::Holds(tombstone.by));
        }
        let not = |why: &str| Ok(Belief::Not(why.to_owned()));
        match tombstone.place {
            // The repository has other places, and what was given up in one of them is kept in this one.
            Some(place) if !self.is_here(place).await? => not("it was signed for another place of this repository"),
            _ if meta.modified.duration_since(tombstone.at) > LATER => {
                not("it was signed long before it was put: somebody may have put back one that was taken away")
            }
            _ => Ok(Belief::Holds(tombstone.by)),
        }
    }

    /// The tombstone under the key of `meta`; or what it is worth, if nobody who is pinned has signed it as one of this backup.
    async fn read_tombstone(
        &self,
        (policy, backup): (&Name, &BackupId),
        meta: &ObjectMeta,
    ) -> Result<Result<Tombstone, Belief>, Error> {
        let bytes = match self.backend.get(&meta.key, control::MAX_CONTROL as u64).await {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::TooLarge | ErrorKind::NotAnObject) => {
                return Ok(Err(self.unread("it cannot be read")));
            }
            Err(error) => return Err(error.into()),
        };
        let Ok(tombstone) = control::decode::<Tombstone>(&bytes) else {
            return Ok(Err(self.unread("it is damaged")));
        };
        if !self.asks_for_signatures() {
            return Ok(Ok(tombstone));
        }
        let not = |why: &str| Ok(Err(Belief::Not(why.to_owned())));
        if (&tombstone.policy, &tombstone.backup) != (policy, backup) {
            return not("it is the tombstone of another backup");
        }
        let Some(signed) = &tombstone.signature else { return not("it is not signed") };
        let Some(place) = tombstone.place else { return not("it does not say for which place it was signed") };
        let statement = tombstone.statement(&self.header.id, place);
        match signature::check(signed.as_bytes(), signature::TOMBSTONE, statement.as_bytes(), &self.access.signers) {
            Err(why) => Ok(Err(Belief::Not(why))),
            Ok(_) => Ok(Ok(tombstone)),
        }
    }

    /// Whether one of these tombstones was signed for a place in which the repository was before it came to this one: its
    /// `repository.json` is younger here than the one that the signer saw. It deletes nothing any more, and still tells what a prune did
    /// there. Those of a copy name a younger place than that of its original.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn is_from_before(
        &self,
        mark: (&Name, &BackupId),
        tombstones: &[ObjectMeta],
    ) -> Result<bool, Error> {
        let came = self.place().await?;
        for meta in tombstones {
            if let Ok(Tombstone { place: Some(place), at, .. }) = self.read_tombstone(mark, meta).await?
                && came.duration_since(place) > A_SECOND
                && at < came
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// [`Self::belief`] for who asks no more than whether the backup goes; `None` if it does.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn disbelief(&self, mark: (&Name, &BackupId), meta: &ObjectMeta) -> Result<Option<String>, Error> {
        if !self.asks_for_signatures() {
            return Ok(None);
        }
        Ok(match self.belief(mark, meta).await? {
            Belief::Holds(_) => None,
            Belief::Not(why) => Some(why),
        })
    }

    /// Of the tombstones of one backup the newest that counts; or why none does.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn that_holds(
        &self,
        mark: (&Name, &BackupId),
        tombstones: Vec<ObjectMeta>,
    ) -> Result<(Option<ObjectMeta>, Option<String>), Error> {
        let (mut hold, mut why) = (Vec::new(), None);
        for meta in tombstones {
            match self.disbelief(mark, &meta).await? {
                None => hold.push(meta),
                not => why = not,
            }
        }
        let newest = newest(hold);
        let why = why.filter(|_| newest.is_none());
        Ok((newest, why))
    }

    /// Of these tombstones the newest of each backup that counts.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn that_hold(
        &self,
        all: HashMap<Mark, Vec<ObjectMeta>>,
    ) -> Result<HashMap<Mark, ObjectMeta>, Error> {
        if !self.asks_for_signatures() {
            return Ok(all.into_iter().filter_map(|(mark, metas)| Some((mark, newest(metas)?))).collect());
        }
        let all: Vec<(Mark, ObjectMeta)> =
            all.into_iter().flat_map(|(mark, metas)| metas.into_iter().map(move |meta| (mark.clone(), meta))).collect();
        let mut hold: HashMap<Mark, ObjectMeta> = HashMap::new();
        for group in all.chunks(FETCHES) {
            let mut reads = Vec::with_capacity(FETCHES);
            for ((policy, backup), meta) in group {
                reads.push(self.disbelief((policy, backup), meta));
            }
            for ((mark, meta), not) in group.iter().zip(future::try_join_all(reads).await?) {
                let is_newer = hold.get(mark).is_none_or(|other| other.modified < meta.modified);
                if not.is_none() && is_newer {
                    hold.insert(mark.clone(), meta.clone());
                }
            }
        }
        Ok(hold)
    }

    /// The tombstones of a policy that count.
    ///
    /// # Errors
    /// What the store says.
    pub(in super::super) async fn believed_tombstones(
        &self,
        policy: &Name,
    ) -> Result<HashMap<Mark, ObjectMeta>, Error> {
        self.that_hold(self.all_marks(&layout::tombstones_of(Some(policy))).await?).await
    }

    /// Whether something that was signed for `place` was signed for this one.
    pub(in super::super) async fn is_here(&self, place: Timestamp) -> Result<bool, Error> {
        Ok(self.place().await?.duration_since(place).abs() <= A_SECOND)
    }

    /// What tombstones and evidence of this place are signed for: the time of its `repository.json`, to the second.
    pub(in super::super) async fn place(&self) -> Result<Timestamp, Error> {
        let came = self.came().await?;
        Ok(Timestamp::from_second(came.as_second()).unwrap_or(came))
    }

    fn unread(&self, why: &str) -> Belief {
        if self.asks_for_signatures() { Belief::Not(why.to_owned()) } else { Belief::Holds(TombstoneBy::Other) }
    }
}
