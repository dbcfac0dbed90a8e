//! What is looked at before anything is written: whether a backup can be copied now.
//!
//! A session in the place of a copy is not taken away again by who put it. One that were put for a backup that must wait would
//! keep what it waits for from being deleted; and a prune would give the backup up when the session is 7 days old. So what
//! waits, and what is seen to be damaged, puts none.

use std::collections::{BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::{
    super::{CopyRefused, Error, Manifest, layout, objects::get_exact, refs::Ref},
    Copier,
    meta::Lists,
    packs::Needed,
    said_of,
};
use crate::types::BackupId;

/// No copy of a backup commits when its session is older: the copy's prune may have given it up.
const MAX_SESSION: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The session is put so much later at most than what is looked at before it is judged: else it is judged again, and stays.
const AHEAD: SignedDuration = SignedDuration::from_hours(2);

impl Copier<'_> {
    /// Looks whether the backup can be copied as things are, and gives what is missing of it. Nothing is written.
    ///
    /// # Errors
    /// What [`Self::copy`] says of waits and of damage, as far as listings, lists and what earlier verifications noted show it.
    pub(super) async fn look(
        &self,
        manifest: &Manifest,
        refs: &[Ref],
        owners: &BTreeSet<BackupId>,
    ) -> Result<Needed, Error> {
        let (session, kept) = self.session_there(manifest, owners).await?;
        if let Some(session) = session {
            self.refuse_late(&manifest.backup, session)?;
        }
        let at = session.unwrap_or_else(|| self.options.clock.now() + AHEAD);
        let mut there = HashSet::new();
        let mut needed = match self.options.relies_on_all() {
            true => self.needed(refs, None).await?,
            false => {
                let known = self.owners(manifest, (owners, &kept), at).await?;
                let mut needed = self.needed(refs, Some(&known)).await?;
                self.cover(manifest, std::mem::take(&mut needed.doubtful), &known).await?;
                there = self.cover_lists(manifest, &known).await?;
                self.refuse_planted(manifest, refs, (&needed.missing, &known)).await?;
                if session.is_none() {
                    needed.ahead = Self::ahead(manifest, refs, (&needed.missing, &known));
                }
                needed
            }
        };
        self.refuse_damaged(manifest, refs, &needed.missing).await?;
        let lists = self.look_at_original(manifest, refs, &needed.missing).await?;
        needed.proven = self.prove_lists(manifest, &lists, |key| there.contains(key)).await?;
        if session.is_none() {
            self.prove_indexes(&lists).await?;
        }
        Ok(needed)
    }

    /// What is missing in the copy must be in the original. What a verification has found damaged there is read: it may have
    /// been put right since. Gives its lists.
    pub(super) async fn look_at_original(
        &self,
        manifest: &Manifest,
        refs: &[Ref],
        missing: &[usize],
    ) -> Result<Lists, Error> {
        let lists = self.lists(manifest).await.map_err(|error| said_of(error, &self.place_read()))?;
        let wanted: Vec<Ref> = missing.iter().filter_map(|at| refs.get(*at)).cloned().collect();
        let original = self.listed((self.from, &self.place_read()), &wanted, None).await?;
        if let Some(first) = original.missing.first().and_then(|at| wanted.get(*at)) {
            let gone = Error::Gone { object: layout::pack(&first.backup, &first.pack).to_string() };
            return Err(said_of(gone, &self.place_read()));
        }
        let wanted: Vec<&Ref> = wanted.iter().collect();
        for line in self.noted(self.from, manifest, &wanted).await? {
            let key = layout::pack(&line.backup, &line.pack);
            let found = get_exact(&**self.from.backend(), &key, line.size, line.pack).await;
            found.map_err(|error| said_of(error, &self.place_read()))?;
        }
        Ok(lists)
    }

    /// The time of the session that an earlier try has put. That of the run itself, where its manifest is lost, counts from
    /// the moment in which it is taken; the runs that it names are given, too.
    async fn session_there(
        &self,
        manifest: &Manifest,
        owners: &BTreeSet<BackupId>,
    ) -> Result<(Option<Timestamp>, Vec<BackupId>), Error> {
        let none = (None, Vec::new());
        match self.to.session(&manifest.policy, &manifest.backup).await {
            Ok(session) if session.copied.is_none() => {
                let is_named = |owner: &&BackupId| **owner == manifest.backup || session.parents.contains(owner);
                let unnamed: Vec<BackupId> = owners.iter().filter(|owner| !is_named(owner)).cloned().collect();
                self.must_stay(manifest, &unnamed).await?;
                return Ok((None, session.parents));
            }
            Ok(_) => {}
            Err(Error::Gone { .. }) => return Ok(none),
            Err(error) => return Err(error),
        }
        match self.to.backend().head(&layout::session(&manifest.policy, &manifest.backup)).await {
            Ok(meta) => Ok((Some(meta.modified), Vec::new())),
            Err(error) if error.is_not_found() => Ok(none),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a session that is too old to commit.
    pub(super) fn refuse_late(&self, backup: &BackupId, session: Timestamp) -> Result<(), Error> {
        let age = self.options.clock.now().duration_since(session);
        if age <= MAX_SESSION {
            return Ok(());
        }
        let (place, to_copy) = (self.place_written(), self.options.to_copy);
        Err(CopyRefused::TooLong { backup: backup.clone(), place, age, to_copy }.into())
    }
}
