//! Which backups there are: manifests listed, loaded and found by name.

use std::collections::BTreeSet;

use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ABORT, Abort, Error, Manifest, Repository,
    backend::{Key, ObjectMeta},
    control::{self, Control},
    crypt::{Signature, signature},
    layout,
    listed::{Listing, MAX_BACKUPS},
    spread,
    summary::Summary,
};
use crate::types::{BackupId, Name, Sha256Digest, State};

/// Which backups are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of the repository.
    All,
    /// Those of a policy.
    Policy(Name),
    /// Those of one schedule of a policy.
    Schedule(Name, Name),
}

impl Scope {
    pub(crate) fn prefix(&self) -> String {
        match self {
            Self::All => layout::manifests_of(None, None),
            Self::Policy(policy) => layout::manifests_of(Some(policy), None),
            Self::Schedule(policy, schedule) => layout::manifests_of(Some(policy), Some(schedule)),
        }
    }

    pub(crate) fn policy(&self) -> Option<&Name> {
        match self {
            Self::All => None,
            Self::Policy(policy) | Self::Schedule(policy, _) => Some(policy),
        }
    }
}

/// A backup in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupEntry {
    /// The key of its manifest.
    pub key: Key,
    /// The policy, by the key.
    pub policy: Name,
    /// The schedule, by the key.
    pub schedule: Name,
    /// The backup, by the key.
    pub backup: BackupId,
    /// When the manifest was written, by the store's clock.
    pub modified: Timestamp,
    /// What is under the key.
    pub listed: Listed,
    /// Prune is about to delete it.
    pub tombstoned: bool,
    /// It has a tombstone that does not count, because none of the signers that are pinned has signed it: why not, for
    /// people.
    pub disbelieved: Option<String>,
}

/// What a manifest's key holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Listed {
    /// A backup.
    Backup(Box<Summary>),
    /// The mark that it was fenced: there is no backup.
    Aborted,
    /// A backup in a later format, which this program cannot read; how it is called, for people.
    Newer(String),
    /// An object that is not what was written; why, for people.
    Damaged(String),
}

impl BackupEntry {
    /// Whether it counts as a good backup: complete, or suspect and accepted; and signed, where signers are pinned.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match &self.listed {
            Listed::Backup(summary) => {
                let by_state =
                    summary.state == State::Complete || (summary.state == State::Suspect && summary.accepted);
                by_state && summary.signature.counts()
            }
            Listed::Aborted | Listed::Newer(_) | Listed::Damaged(_) => false,
        }
    }

    /// The summary, if there is a backup.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        match &self.listed {
            Listed::Backup(summary) => Some(summary),
            Listed::Aborted | Listed::Newer(_) | Listed::Damaged(_) => None,
        }
    }
}

/// A manifest together with what proves that it is this one.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// SHA-256 of it as stored, both lines.
    pub sha256: Sha256Digest,
    /// Whether one has signed it whose signatures are believed.
    pub signature: Signature,
}

/// What is under a manifest's key.
#[derive(Debug)]
pub(crate) enum Marker {
    Manifest(Box<StoredManifest>),
    Aborted,
}

/// The one field of a manifest that is looked at before all others.
#[derive(Debug, Serialize, Deserialize)]
struct Versioned {
    format: u32,
}

impl Control for Versioned {
    const KIND: &'static str = Manifest::KIND;
}

impl Repository {
    /// All backups of `scope`, oldest first. A damaged manifest is an entry, not an error; one that is
    /// pruned meanwhile is none.
    ///
    /// # Errors
    /// What the store says.
    pub async fn backups(&self, scope: &Scope) -> Result<Vec<BackupEntry>, Error> {
        self.entries_of(scope, self.list_manifests(scope).await?).await
    }

    /// [`Self::backups`] of manifests that were listed just now.
    pub(crate) async fn entries_of(&self, scope: &Scope, listings: Vec<Listing>) -> Result<Vec<BackupEntry>, Error> {
        let tombstones = self.all_marks(&layout::tombstones_of(scope.policy())).await?;
        let accepts = self.marks(&layout::accepts_of(scope.policy())).await?;
        let marked = listings.into_iter().map(|listing| {
            // One id may be under two schedules, if somebody has put it there.
            let mark = (listing.policy.clone(), listing.backup.clone());
            (listing, tombstones.get(&mark).cloned().unwrap_or_default(), accepts.get(&mark).cloned())
        });
        let repository = self.clone();
        let entries = spread::in_order(marked.collect(), move |(listing, tombstones, accepted)| {
            let repository = repository.clone();
            async move { repository.entry(listing, tombstones, accepted).await }
        });
        Ok(entries.await?.into_iter().flatten().collect())
    }

    /// All backups of `scope`, newest first, each read when it is asked for; and how many keys there are. A
    /// damaged manifest is an entry, as in [`Self::backups`].
    ///
    /// # Errors
    /// What the store says.
    pub async fn newest_first(
        &self,
        scope: &Scope,
    ) -> Result<(usize, BoxStream<'_, Result<BackupEntry, Error>>), Error> {
        let tombstones = self.all_marks(&layout::tombstones_of(scope.policy())).await?;
        let accepts = self.marks(&layout::accepts_of(scope.policy())).await?;
        let listings = self.list_manifests(scope).await?;
        let count = listings.len();
        let entries = stream::iter(listings.into_iter().rev()).filter_map(move |listing| {
            let mark = (listing.policy.clone(), listing.backup.clone());
            let (tombstones, accepted) =
                (tombstones.get(&mark).cloned().unwrap_or_default(), accepts.get(&mark).cloned());
            async move { self.entry(listing, tombstones, accepted).await.transpose() }
        });
        Ok((count, entries.boxed()))
    }

    /// The schedules of `scope` that have a manifest, as policy and schedule, in order.
    ///
    /// # Errors
    /// What the store says.
    pub async fn schedules(&self, scope: &Scope) -> Result<BTreeSet<(Name, Name)>, Error> {
        let listings = self.list_manifests(scope).await?;
        Ok(listings.into_iter().map(|listing| (listing.policy, listing.schedule)).collect())
    }

    /// The policies that have a backup which can be read, in order.
    ///
    /// # Errors
    /// What the store says.
    pub async fn policies(&self) -> Result<Vec<Name>, Error> {
        let listed: BTreeSet<Name> =
            self.list_manifests(&Scope::All).await?.into_iter().map(|listing| listing.policy).collect();
        let mut policies = Vec::new();
        for policy in listed {
            if self.newest(&Scope::Policy(policy.clone())).await?.is_some() {
                policies.push(policy);
            }
        }
        Ok(policies)
    }

    /// Loads a backup's manifest.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::Damaged`], [`Error::Aborted`], or what the store says.
    pub async fn manifest(&self, policy: &Name, schedule: &Name, backup: &BackupId) -> Result<StoredManifest, Error> {
        match self.marker(policy, schedule, backup).await? {
            Marker::Manifest(stored) => Ok(*stored),
            Marker::Aborted => Err(Error::Aborted { backup: backup.clone() }),
        }
    }

    /// The newest good backup ([`BackupEntry::is_good`]) of `scope` that is not about to be
    /// deleted. Damaged and aborted ones are passed over.
    ///
    /// # Errors
    /// What the store says.
    pub async fn newest_good(&self, scope: &Scope) -> Result<Option<StoredManifest>, Error> {
        let (_, mut entries) = self.newest_first(scope).await?;
        while let Some(entry) = entries.try_next().await? {
            if entry.is_good() && !entry.tombstoned {
                return self.manifest(&entry.policy, &entry.schedule, &entry.backup).await.map(Some);
            }
        }
        Ok(None)
    }

    /// The newest backup of `scope` that was committed and counts, whatever its state.
    ///
    /// # Errors
    /// What the store says.
    pub async fn newest(&self, scope: &Scope) -> Result<Option<StoredManifest>, Error> {
        self.newest_that(scope, |_| true).await
    }

    /// The newest backup of `scope` that was committed, counts and that `fits`, whatever its state.
    ///
    /// # Errors
    /// What the store says.
    pub async fn newest_that(
        &self,
        scope: &Scope,
        fits: impl Fn(&Manifest) -> bool,
    ) -> Result<Option<StoredManifest>, Error> {
        for listing in self.list_manifests(scope).await?.into_iter().rev() {
            match self.marker(&listing.policy, &listing.schedule, &listing.backup).await {
                Ok(Marker::Manifest(stored)) if stored.counts() && fits(&stored.manifest) => return Ok(Some(*stored)),
                Ok(Marker::Manifest(_) | Marker::Aborted) => {}
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    pub(crate) async fn marker(&self, policy: &Name, schedule: &Name, backup: &BackupId) -> Result<Marker, Error> {
        let key = layout::manifest(policy, schedule, backup);
        let (bytes, signature) = self.get_signed(&key, signature::MANIFEST, control::MAX_CONTROL as u64).await?;
        let mut marker = self.parse_marker(&key, (policy, schedule, backup), &bytes)?;
        if let Marker::Manifest(stored) = &mut marker {
            stored.signature = signature;
        }
        Ok(marker)
    }

    /// Reads what a manifest's key holds, and checks that it belongs there.
    pub(crate) fn parse_marker(
        &self,
        key: &Key,
        (policy, schedule, backup): (&Name, &Name, &BackupId),
        bytes: &[u8],
    ) -> Result<Marker, Error> {
        let damaged = |refusal: control::Refusal| refusal.into_error(key);
        let elsewhere = || Error::damaged(key, "it is the object of another backup or repository");
        let checked = control::checked(bytes).map_err(damaged)?;
        if checked.kind().map_err(damaged)? == ABORT {
            let abort: Abort = checked.decode().map_err(damaged)?;
            let here = (&abort.policy, &abort.schedule, &abort.backup) == (policy, schedule, backup);
            return if here { Ok(Marker::Aborted) } else { Err(elsewhere()) };
        }
        let newer =
            |format| Error::NewerFormat { location: self.location().to_owned(), format, supported: super::FORMAT };
        // One of a later format may be no manifest as this program knows it; then its format alone is looked at.
        let manifest: Manifest = match checked.decode() {
            Ok(manifest) => manifest,
            Err(refusal) => match checked.decode::<Versioned>() {
                Ok(Versioned { format }) if format > super::FORMAT => return Err(newer(format)),
                _ => return Err(damaged(refusal)),
            },
        };
        if manifest.format > super::FORMAT {
            return Err(newer(manifest.format));
        }
        let here = (&manifest.policy, &manifest.schedule, &manifest.backup) == (policy, schedule, backup);
        if !here || manifest.repository != self.header.id {
            return Err(elsewhere());
        }
        let (sha256, signature) = (Sha256Digest::of(bytes), Signature::NotAsked);
        Ok(Marker::Manifest(Box::new(StoredManifest { manifest, sha256, signature })))
    }

    async fn entry(
        &self,
        listing: Listing,
        tombstones: Vec<ObjectMeta>,
        accepted: Option<ObjectMeta>,
    ) -> Result<Option<BackupEntry>, Error> {
        let Listing { meta, policy, schedule, backup } = listing;
        let listed = match self.marker(&policy, &schedule, &backup).await {
            Ok(Marker::Aborted) => Listed::Aborted,
            Ok(Marker::Manifest(stored)) => {
                let accepted = match accepted {
                    Some(meta) => self.accept_holds(&meta.key, &stored).await?,
                    None => false,
                };
                Listed::Backup(Box::new(Summary::of(&stored, accepted)))
            }
            Err(Error::Store(error)) => return Err(error.into()),
            // Pruned after it was listed.
            Err(Error::Gone { .. }) => return Ok(None),
            Err(error @ Error::NewerFormat { .. }) => Listed::Newer(error.to_string()),
            Err(error) => Listed::Damaged(error.to_string()),
        };
        let (tombstone, disbelieved) = self.that_holds((&policy, &backup), tombstones).await?;
        let tombstoned = tombstone.is_some();
        let (key, modified) = (meta.key, meta.modified);
        Ok(Some(BackupEntry { key, policy, schedule, backup, modified, listed, tombstoned, disbelieved }))
    }

    /// The index objects of `backup`, in no order. In an encrypted repository a plain one is none, and the other way round: somebody
    /// else has put it.
    pub(crate) async fn indexes_of(&self, backup: &BackupId) -> Result<Vec<ObjectMeta>, Error> {
        let mut indexes = Vec::new();
        let mut objects = self.backend.list(&layout::indexes_of(backup));
        while let Some(meta) = objects.try_next().await? {
            let Some((_, n)) = layout::parse_index(&meta.key) else { continue };
            if meta.key != layout::index(backup, n, self.is_encrypted()) {
                continue;
            }
            if indexes.len() == MAX_BACKUPS {
                let what = format!("the number of indexes of backup {backup}");
                return Err(Error::OverLimit { what, limit: MAX_BACKUPS.to_string() });
            }
            indexes.push(meta);
        }
        Ok(indexes)
    }
}
