//! What names a backup, held against the backups that there are: nothing but prune takes one away,
//! and prune leaves a tombstone.

use std::collections::{BTreeMap, HashMap};

use super::{BackupName, FindingKind, backup::Verifier};
use crate::{
    repository::{
        Accept, Error, Listed, Scope,
        backend::ObjectMeta,
        catalog::{BackupEntry, Marker},
        control, layout,
    },
    types::{BackupId, Name},
};

impl Verifier<'_> {
    /// Everything beside the backups themselves that tells of damage.
    pub(super) async fn surroundings(&mut self, scope: &Scope, entries: &[BackupEntry]) -> Result<(), Error> {
        let known: HashMap<_, _> =
            entries.iter().map(|entry| ((&entry.policy, &entry.backup), (&entry.schedule, &entry.listed))).collect();
        self.predecessors(entries, &known).await?;
        self.accepts(scope, &known).await?;
        self.uncommitted(scope, &known).await
    }

    /// The backup before each one, by its id and the SHA-256 of its manifest.
    async fn predecessors(&mut self, entries: &[BackupEntry], known: &Known<'_>) -> Result<(), Error> {
        for entry in entries {
            let Some(previous) = entry.summary().and_then(|summary| summary.previous.as_ref()) else { continue };
            let name = (entry.policy.clone(), entry.schedule.clone(), previous.id.clone());
            match known.get(&(&name.0, &name.2)) {
                // A damaged one is a finding already.
                Some((_, Listed::Damaged(_) | Listed::Newer(_))) => {}
                Some((schedule, Listed::Backup(found)))
                    if found.sha256 == previous.sha256 && **schedule == entry.schedule => {}
                // A copy need not have the one before.
                Some((_, Listed::Aborted)) | None if self.is_copied(entry).await? => self.report.notes.push(format!(
                    "{}, which backup {} names as the one before it, is not in this copy: it was not copied, or somebody \
                     deleted it",
                    previous.id, entry.backup
                )),
                Some(_) => {
                    let detail =
                        format!("it is not the object that backup {} names as the one before it", entry.backup);
                    let object = layout::manifest(&name.0, &name.1, &name.2).to_string();
                    self.findings.add(&name, None, object, FindingKind::Damaged, detail);
                }
                None => self.gone(&name, &format!("backup {} names it as the one before it", entry.backup)).await?,
            }
        }
        Ok(())
    }

    /// Whether a backup was brought here by a copy, by its session.
    async fn is_copied(&self, entry: &BackupEntry) -> Result<bool, Error> {
        match self.repository.session(&entry.policy, &entry.backup).await {
            Ok(session) => Ok(session.copied.is_some()),
            // A finding already.
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A backup that something names and no listing has shown.
    async fn gone(&mut self, backup: &BackupName, by: &str) -> Result<(), Error> {
        let (policy, schedule, id) = backup;
        let key = layout::manifest(policy, schedule, id);
        match self.repository.marker(policy, schedule, id).await {
            Err(Error::Gone { .. }) => {}
            Err(error) => return self.whole(backup, key.as_str(), error),
            // It was committed after the listing.
            Ok(_) => return Ok(()),
        }
        let tombstones = match self.repository.named(&layout::tombstone(policy, id)).await {
            Ok(tombstones) => tombstones,
            Err(error) => return self.whole(backup, key.as_str(), error),
        };
        let detail = match self.repository.that_holds((policy, id), tombstones.clone()).await? {
            (Some(_), _) => return Ok(()),
            (None, Some(_)) if self.repository.is_from_before((policy, id), &tombstones).await? => {
                self.report.notes.push(format!(
                    "{id} is not in the store, and {by}: a prune took it away before the repository came to this place, by its \
                     tombstone, which was signed before `repository.json` was put here"
                ));
                return Ok(());
            }
            (None, Some(why)) => format!("it is not in the store, and {by}; its tombstone does not count: {why}"),
            (None, None) => format!("it is not in the store, and {by}; prune has left no tombstone"),
        };
        self.findings.add(backup, None, key.to_string(), FindingKind::Missing, detail);
        Ok(())
    }

    /// Marks that accept a backup: without theirs, a suspect one counts as good no more.
    async fn accepts(&mut self, scope: &Scope, known: &Known<'_>) -> Result<(), Error> {
        let marks: BTreeMap<_, _> =
            self.repository.marks(&layout::accepts_of(scope.policy())).await?.into_iter().collect();
        for ((policy, backup), ObjectMeta { key, .. }) in marks {
            let read = self.repository.backend().get(&key, control::MAX_CONTROL as u64).await;
            let read = read.map_err(|error| Error::reading(&key, error)).and_then(|bytes| {
                let mark: Accept = control::decode(&bytes).map_err(|refusal| refusal.into_error(&key))?;
                if (&mark.policy, &mark.backup) == (&policy, &backup) {
                    return Ok(mark);
                }
                Err(Error::damaged(&key, "it is the mark of another backup"))
            });
            let listed = known.get(&(&policy, &backup)).copied();
            match (read, listed) {
                (Ok(mark), None) => {
                    let name = (policy.clone(), mark.schedule, backup.clone());
                    self.gone(&name, "a mark accepts it").await?;
                }
                (Ok(mark), Some((schedule, Listed::Backup(found)))) if mark.manifest != found.sha256 => {
                    let name = (policy.clone(), schedule.clone(), backup.clone());
                    let detail = "it accepts another manifest than the one that is there, and so nothing".to_owned();
                    self.findings.add(&name, None, key.to_string(), FindingKind::Damaged, detail);
                }
                (Ok(_), Some(_)) => {}
                // Pruned meanwhile, with its backup.
                (Err(Error::Gone { .. }), None) => {}
                (Err(error), Some((schedule, _))) => {
                    let name = (policy.clone(), schedule.clone(), backup.clone());
                    self.whole(&name, key.as_str(), error)?;
                }
                (Err(error), None) if error.is_damage() => {
                    self.findings.add_alone(key.to_string(), FindingKind::Damaged, error.reason());
                }
                (Err(error), None) => return Err(error),
            }
        }
        Ok(())
    }

    /// Runs that stored all that belongs to a backup but the manifest. Which of them died at that moment,
    /// and whose manifest was deleted, nothing tells.
    async fn uncommitted(&mut self, scope: &Scope, known: &Known<'_>) -> Result<(), Error> {
        let sessions = self.repository.marks(&layout::sessions_of(scope.policy())).await?;
        let mut open: Vec<_> = sessions.into_keys().filter(|(policy, id)| !known.contains_key(&(policy, id))).collect();
        open.sort_unstable();
        for (policy, backup) in open {
            match self.repository.backend().head(&layout::refs(&backup)).await {
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
            // Committed since the manifests were listed?
            if let Ok(session) = self.repository.session(&policy, &backup).await
                && let Ok(Marker::Manifest(_) | Marker::Aborted) =
                    self.repository.marker(&policy, &session.schedule, &backup).await
            {
                continue;
            }
            self.report.notes.push(format!(
                "the run {backup} of policy {policy} has stored everything and has no manifest: it ended before its \
                 commit, or somebody deleted the manifest"
            ));
        }
        Ok(())
    }

    /// What lies in the repository's folders and is no object.
    pub(super) async fn strangers(&mut self) -> Result<(), Error> {
        for prefix in layout::FOLDERS {
            let folder = prefix.trim_end_matches('/');
            for key in self.repository.backend().strangers(folder).await? {
                if key.as_str() == folder || key.as_str().starts_with(prefix) {
                    let detail = "it is a symbolic link, which is never followed inside a repository: replace it by \
                                  what it points to"
                        .to_owned();
                    self.findings.add_alone(key.to_string(), FindingKind::Damaged, detail);
                }
            }
        }
        Ok(())
    }
}

/// What was listed, by policy and backup.
type Known<'e> = HashMap<(&'e Name, &'e BackupId), (&'e Name, &'e Listed)>;
