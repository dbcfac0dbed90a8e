//! On which packs of the copy a backup can rely.
//!
//! A prune of the copy that began before the copy's session was put knows nothing of it, and may still be deleting. By the
//! store's clock it began before the session's time, and it never deletes a pack
//! - of a backup without a tombstone, or with one that was younger than a day then;
//! - of a run that had not ended then, or whose abort marker was younger than a day, or its session than 7 days;
//! - that a backup without a tombstone needs;
//! - that was put after the session of its run, which has not ended, or was there then;
//! - that is younger than 7 days, of a run that has been swept (its packs, then its session are gone, and only the mark is
//!   left that says so, which stays for long), or of which nothing is known.
//!
//! A prune that begins later sees the session, and leaves alone what belongs to the runs that it names. So a session that is
//! there has not to wait for what was marked after it.
//!
//! A tombstone that no pinned signer has signed is none here: no prune deletes because of it, and a copy that gave way to it
//! could be held up by whoever may put one.
//!
//! What is read here is read after the session was put, and that decides. Before it, the same is asked of a time that is a
//! little ahead: a backup that must wait puts no session, because its session would keep alive what it waits for.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};

use super::{
    super::{
        CopyRefused, Error, Listed, Manifest, Repository, Scope, WaitEnds,
        backend::{Key, ObjectMeta},
        catalog::Marker,
        chunks::PackName,
        layout,
        mark_names::Mark,
        objects::{check_ref, get_exact},
        refs::{self, Ref},
        reuse::blocking,
    },
    Copier,
};
use crate::types::{BackupId, Name};

/// What a prune of the copy takes for garbage is older than this, by an hour at least.
const YOUNG: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A mark (tombstone, abort marker) on which a prune of the copy acts is older than this, by ten minutes.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// What the copy knows of a run whose packs are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// No prune deletes of it: a backup, or a run that a session names which was there before.
    Stays,
    /// No prune deletes of it yet: its mark is too young to be acted on.
    Young,
    /// A run that has not ended, with a session of this time: a prune that began before that may take what is older for
    /// garbage.
    Open(Timestamp),
    /// Nothing.
    Unknown,
    /// A mark says that it had to go, and its session is gone, which is deleted after its packs.
    Swept,
    /// The same, but that a lock keeps the session, and its lists are gone, which are deleted after the packs: whatever of its packs
    /// is there, others need, or the deletion has not come to its end.
    Locked,
    /// It may be deleted right now.
    Going,
}

/// What the copy knows of all runs whose packs are needed.
#[derive(Debug)]
pub(super) struct Owners {
    known: HashMap<BackupId, Owner>,
    /// The time of the session by the copy's clock: every prune that does not know of it began before.
    session: Timestamp,
}

impl Owners {
    /// Whether a pack can be gone although it was listed just now (`modified`), or was put just now (`None`), unless a
    /// backup that stays needs it.
    pub(super) fn is_doubtful(&self, owner: &BackupId, modified: Option<Timestamp>) -> bool {
        let is_old = |modified: Timestamp| self.session.duration_since(modified) >= YOUNG;
        match self.known.get(owner).copied().unwrap_or(Owner::Unknown) {
            Owner::Stays | Owner::Young => false,
            Owner::Open(began) => modified.is_some_and(|modified| modified < began && is_old(modified)),
            Owner::Going => true,
            Owner::Locked => modified.is_some(),
            Owner::Swept | Owner::Unknown => modified.is_some_and(is_old),
        }
    }

    /// What ends the wait for what is doubtful of a run. `own` is the backup that is copied: what is left of an earlier attempt is
    /// garbage that a prune takes.
    fn wait_ends(&self, owner: &BackupId, own: &BackupId) -> WaitEnds {
        match self.known.get(owner) {
            Some(Owner::Open(_)) if owner != own => WaitEnds::Run,
            Some(Owner::Locked) => WaitEnds::Lock,
            Some(Owner::Open(_) | Owner::Stays | Owner::Young | Owner::Unknown | Owner::Swept | Owner::Going)
            | None => WaitEnds::Prune,
        }
    }

    /// Whether the copy knows nothing of a run.
    pub(super) fn is_unknown(&self, owner: &BackupId) -> bool {
        self.known.get(owner) == Some(&Owner::Unknown)
    }

    /// Whether a run is a backup that stays: what is there of it was put, or proven, when that was copied.
    pub(super) fn stays(&self, owner: &BackupId) -> bool {
        self.known.get(owner) == Some(&Owner::Stays)
    }

    /// Whether all packs that are there of this run say whether its deletion has come to its end, not those alone that are
    /// needed now.
    pub(super) fn asks_for_all(&self, owner: &BackupId) -> bool {
        self.known.get(owner) == Some(&Owner::Locked)
    }
}

/// The marks of a policy in the copy, in the order in which they must be read.
struct Marks {
    tombstones: HashMap<Mark, ObjectMeta>,
    sessions: HashMap<Mark, ObjectMeta>,
    manifests: HashMap<BackupId, (Name, Timestamp)>,
}

impl Marks {
    /// What is known of a run in whose manifest's place there is no backup: a tombstone or an abort marker of the time `mark`
    /// says that it goes.
    fn of_gone(&self, run: &Mark, mark: Timestamp, session: Timestamp) -> Owner {
        match self.sessions.get(run) {
            _ if session.duration_since(mark) < A_DAY => Owner::Young,
            None => Owner::Swept,
            Some(_) => Owner::Going,
        }
    }
}

impl Copier<'_> {
    /// What the copy knows of `owners`, as prunes see it that began before `session`. The backup's own packs are guarded by
    /// its session and by the key of its manifest, and those of `kept` by its run's own session, which has been there ever since
    /// they were needed.
    pub(super) async fn owners(
        &self,
        manifest: &Manifest,
        (owners, kept): (&BTreeSet<BackupId>, &[BackupId]),
        session: Timestamp,
    ) -> Result<Owners, Error> {
        let policy = &manifest.policy;
        let tombstones = self.to.believed_tombstones(policy).await?;
        // A tombstone outlives its backup, and a prune takes what it finds of that for the rest of a deletion: the session
        // that was put just now, and the lists.
        let is_marked = tombstones.contains_key(&(policy.clone(), manifest.backup.clone()));
        if is_marked && !self.options.ignores_marks() {
            let (backup, place) = (manifest.backup.clone(), self.place_written());
            return Err(CopyRefused::Marked { backup, place }.into());
        }
        let sessions = self.to.marks(&layout::sessions_of(Some(policy))).await?;
        let listed = self.to.list_manifests(&Scope::Policy(policy.clone())).await?;
        let manifests = listed.into_iter().map(|one| (one.backup, (one.schedule, one.meta.modified))).collect();
        let marks = Marks { tombstones, sessions, manifests };
        let own = marks.sessions.get(&(policy.clone(), manifest.backup.clone())).map_or(session, |meta| meta.modified);
        let mut known = HashMap::from([(manifest.backup.clone(), Owner::Open(own))]);
        for owner in owners.iter().filter(|owner| **owner != manifest.backup) {
            let is = match kept.contains(owner) {
                true => Owner::Stays,
                false => self.owner(&(policy.clone(), owner.clone()), &marks, session).await?,
            };
            known.insert(owner.clone(), is);
        }
        Ok(Owners { known, session })
    }

    async fn owner(&self, run: &Mark, marks: &Marks, session: Timestamp) -> Result<Owner, Error> {
        let found = marks.manifests.get(&run.1);
        if let Some(tombstone) = marks.tombstones.get(run).map(|meta| meta.modified) {
            let is = marks.of_gone(run, tombstone, session);
            // With a manifest the deletion has not begun, or only just.
            return match found {
                Some(_) if is == Owner::Swept => Ok(Owner::Going),
                Some(_) => Ok(is),
                None => self.unless_locked(run, marks, is).await,
            };
        }
        let Some((schedule, written)) = found else {
            return Ok(marks.sessions.get(run).map_or(Owner::Unknown, |meta| Owner::Open(meta.modified)));
        };
        match self.to.marker(&run.0, schedule, &run.1).await {
            Ok(Marker::Manifest(_)) => Ok(Owner::Stays),
            Ok(Marker::Aborted) => {
                let is_young = |meta: &ObjectMeta| session.duration_since(meta.modified) < YOUNG;
                match marks.sessions.get(run).is_some_and(is_young) {
                    true => Ok(Owner::Young),
                    false => self.unless_locked(run, marks, marks.of_gone(run, *written, session)).await,
                }
            }
            // Deleted since it was listed.
            Err(Error::Gone { .. }) => Ok(Owner::Going),
            // While it is there, and nobody has marked it, prune deletes nothing at all.
            Err(Error::NewerFormat { .. }) => Ok(Owner::Stays),
            Err(error) if error.is_damage() => Ok(Owner::Stays),
            Err(error) => Err(error),
        }
    }

    /// A run that goes as long as its session is there: a lock may keep that, when all the rest has gone.
    async fn unless_locked(&self, run: &Mark, marks: &Marks, is: Owner) -> Result<Owner, Error> {
        let (Owner::Going, Some(session)) = (is, marks.sessions.get(run)) else { return Ok(is) };
        // Who may not look, or a store that knows no locks, says nothing of one.
        let until = self.to.backend().locked_until(&session.key).await.ok().flatten();
        if until.is_none_or(|until| until <= self.options.clock.now()) {
            return Ok(is);
        }
        let lists = self.to.backend().list(&layout::meta_of(&run.1)).try_next().await?;
        Ok(if lists.is_none() { Owner::Locked } else { is })
    }

    /// Refuses if one of `doubtful` is needed by no backup of the copy that stays.
    pub(super) async fn cover(
        &self,
        manifest: &Manifest,
        doubtful: Vec<PackName>,
        owners: &Owners,
    ) -> Result<(), Error> {
        let doubtful = self.not_needed(&manifest.policy, doubtful.into_iter().collect()).await?;
        let Some((owner, pack)) = doubtful.iter().min() else { return Ok(()) };
        let ends = owners.wait_ends(owner, &manifest.backup);
        Err(self.waits(manifest, doubtful.len(), &layout::pack(owner, pack), ends))
    }

    /// Those of these packs that no backup of the copy needs which stays.
    pub(super) async fn not_needed(
        &self,
        policy: &Name,
        mut doubtful: HashSet<PackName>,
    ) -> Result<HashSet<PackName>, Error> {
        if doubtful.is_empty() {
            return Ok(doubtful);
        }
        // Which backups stay is asked each time; what each of them needs never changes.
        let mut entries = self.to.backups(&Scope::Policy(policy.clone())).await?;
        let mut read = self.read.lock().await;
        while let (false, Some(entry)) = (doubtful.is_empty(), entries.pop()) {
            if let (Listed::Backup(summary), false) = (&entry.listed, entry.tombstoned) {
                if !read.knows(&entry.backup, &summary.refs) {
                    let lines = self.to.refs_lines(&entry.backup, &summary.refs).await?;
                    read.keep(&entry.backup, &summary.refs, &lines);
                }
                read.cover(&entry.backup, &mut doubtful);
            }
        }
        Ok(doubtful)
    }

    /// Refuses if lists of the backup are there that a prune may take for garbage. No other backup needs them. Gives what is there.
    pub(super) async fn cover_lists(&self, manifest: &Manifest, owners: &Owners) -> Result<HashSet<Key>, Error> {
        let (mut doubtful, mut there) = (Vec::new(), HashSet::new());
        let mut objects = self.to.backend().list(&layout::meta_of(&manifest.backup));
        while let Some(meta) = objects.try_next().await? {
            if owners.is_doubtful(&manifest.backup, Some(meta.modified)) {
                doubtful.push(meta.key.clone());
            }
            there.insert(meta.key);
        }
        match doubtful.first() {
            Some(first) => {
                let ends = owners.wait_ends(&manifest.backup, &manifest.backup);
                Err(self.waits(manifest, doubtful.len(), first, ends))
            }
            None => Ok(there),
        }
    }

    fn waits(&self, manifest: &Manifest, count: usize, first: &Key, ends: WaitEnds) -> Error {
        CopyRefused::Waits {
            backup: manifest.backup.clone(),
            place: self.place_written(),
            count,
            first: first.to_string(),
            ends,
            to_copy: self.options.to_copy,
        }
        .into()
    }
}

impl Repository {
    /// The backups of a policy that have a tombstone here which counts, whether they are still there or not.
    ///
    /// # Errors
    /// What the store says.
    pub async fn tombstoned(&self, policy: &Name) -> Result<HashSet<BackupId>, Error> {
        Ok(self.believed_tombstones(policy).await?.into_keys().map(|(_, backup)| backup).collect())
    }

    /// The packs that a backup needs.
    pub(super) async fn refs_lines(
        &self,
        backup: &BackupId,
        object: &super::super::ObjectRef,
    ) -> Result<Vec<Ref>, Error> {
        let key = layout::refs(backup);
        check_ref(backup, &key, object)?;
        let bytes = get_exact(&**self.backend(), &key, object.size, object.sha256).await?;
        blocking(&key, move || refs::decode(bytes)).await
    }
}
