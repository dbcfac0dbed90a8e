//! Evidence of verifications: which packs were found damaged, so that no later backup shares them.

use std::collections::{BTreeMap, HashSet};

use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Error, Repository,
    backend::{ErrorKind, PutOutcome},
    chunks::PackName,
    control::{self, Control},
    crypt::signature,
    header::RepositoryId,
    layout, tool,
    verify::Level,
};
use crate::types::{BackupId, Name, Sha256Digest};

/// The newest marks that are read.
const MAX_MARKS: usize = 1_000;
/// The most packs that one mark names: then it is within the bound of control objects.
const MAX_NAMED: usize = 8_000;
/// Two marks of one second: the later one takes one of the next seconds.
const MAX_SECONDS: i64 = 5;

/// `evidence/<policy>/<backup-id>/<time>-verify-damaged/packs.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DamagedPacks {
    repository: RepositoryId,
    policy: Name,
    backup: BackupId,
    level: String,
    at: Timestamp,
    packs: Vec<DamagedPack>,
    packs_omitted: u64,
    tool: String,
    #[serde(flatten)]
    unknown: Map<String, Value>,
}

impl Control for DamagedPacks {
    const KIND: &'static str = "evidence";
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct DamagedPack {
    backup: BackupId,
    sha256: Sha256Digest,
}

impl Repository {
    /// Notes that `packs`, which a backup needs, were read and are damaged.
    pub(crate) async fn mark_damaged(
        &self,
        (policy, backup): (&Name, &BackupId),
        packs: &[PackName],
        level: Level,
        at: Timestamp,
    ) -> Result<(), Error> {
        let named = packs.iter().take(MAX_NAMED);
        let mark = DamagedPacks {
            repository: self.header.id.clone(),
            policy: policy.clone(),
            backup: backup.clone(),
            level: level.as_str().to_owned(),
            at,
            packs: named.map(|(backup, sha256)| DamagedPack { backup: backup.clone(), sha256: *sha256 }).collect(),
            packs_omitted: packs.len().saturating_sub(MAX_NAMED) as u64,
            tool: tool(),
            unknown: Map::new(),
        };
        let bytes = control::encode(&mark)?;
        for second in 0..MAX_SECONDS {
            let key = layout::damaged_packs(policy, backup, at + SignedDuration::from_secs(second));
            if self.backend.put_new(&key, bytes.clone()).await? == PutOutcome::Created {
                return self.put_signature(&key, signature::EVIDENCE, &bytes).await;
            }
        }
        Err(Error::Internal(format!("{MAX_SECONDS} marks of damaged packs in one second")))
    }

    /// The packs that a verification of `policy` has found damaged, of those that `wanted` takes.
    pub(crate) async fn damaged_packs(
        &self,
        policy: &Name,
        wanted: impl Fn(&PackName) -> bool,
        notes: &mut Vec<String>,
    ) -> Result<HashSet<PackName>, Error> {
        let mut newest = BTreeMap::new();
        let mut objects = self.backend.list(&layout::evidence_of(policy));
        while let Some(meta) = objects.try_next().await? {
            let Some(time) = layout::parse_damaged_packs(&meta.key) else { continue };
            newest.insert((time.to_owned(), meta.key.as_str().to_owned()), meta.key);
            if newest.len() > MAX_MARKS {
                newest.pop_first();
            }
        }
        let mut damaged = HashSet::new();
        for key in newest.into_values() {
            let bytes = match self.backend.get(&key, control::MAX_CONTROL as u64).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_found() => continue,
                Err(error) if matches!(error.kind, ErrorKind::TooLarge | ErrorKind::NotAnObject) => {
                    notes.push(format!("`{key}` is no mark of damaged packs, and is ignored: {}", error.reason));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match control::decode::<DamagedPacks>(&bytes) {
                Ok(mark) => {
                    let names = mark.packs.into_iter().map(|pack| (pack.backup, pack.sha256));
                    damaged.extend(names.filter(&wanted));
                }
                Err(refusal) => notes.push(refusal.into_error(&key).to_string()),
            }
        }
        Ok(damaged)
    }
}
