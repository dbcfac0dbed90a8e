//! What is wrong, gathered by object.

use std::collections::{BTreeMap, BTreeSet};

use super::{Affected, BackupName, Finding, FindingKind};
use crate::{repository::Error, types::for_terminal};

/// The most objects that are listed.
const MAX_FINDINGS: usize = 10_000;
/// The most streams that are named for an object and a backup.
const MAX_STREAMS: usize = 1_000;

/// Findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    by_object: BTreeMap<String, Entry>,
    omitted: u64,
}

#[derive(Debug)]
struct Entry {
    kind: FindingKind,
    detail: String,
    /// No stream: the whole backup.
    affects: BTreeMap<BackupName, BTreeSet<String>>,
}

impl Findings {
    /// Takes `error`, met when `object` was needed for a stream of a backup, or for all of it.
    pub(super) fn take(&mut self, backup: &BackupName, stream: Option<&str>, object: &str, error: &Error) {
        let (object, kind, detail) = match error {
            Error::Gone { object } => (object.clone(), FindingKind::Missing, "it is not in the store".to_owned()),
            Error::Damaged { object, reason } => (object.clone(), FindingKind::Damaged, reason.clone()),
            Error::Store(error) => (error.subject.clone(), FindingKind::NotChecked, error.to_string()),
            other => (for_terminal(object).into_owned(), FindingKind::NotChecked, other.to_string()),
        };
        self.add(backup, stream, object, kind, detail);
    }

    /// Notes that `object` is wrong.
    pub(super) fn add(
        &mut self,
        backup: &BackupName,
        stream: Option<&str>,
        object: String,
        kind: FindingKind,
        detail: String,
    ) {
        let object = for_terminal(&object).into_owned();
        if !self.by_object.contains_key(&object) && self.by_object.len() >= MAX_FINDINGS {
            self.omitted += 1;
            return;
        }
        let entry = self.by_object.entry(object).or_insert_with(|| Entry { kind, detail, affects: BTreeMap::new() });
        if let Some(streams) = entry.affects.get_mut(backup) {
            // Where the whole backup is touched, naming a stream would say less.
            match stream {
                Some(stream) if !streams.is_empty() && streams.len() < MAX_STREAMS => {
                    streams.insert(for_terminal(stream).into_owned());
                }
                Some(_) => {}
                None => streams.clear(),
            }
        } else {
            let streams = stream.map(|stream| for_terminal(stream).into_owned()).into_iter().collect();
            entry.affects.insert(backup.clone(), streams);
        }
    }

    /// All of them, by object, and how many were left out.
    pub(super) fn finish(self) -> (Vec<Finding>, u64) {
        let affected = |((policy, schedule, backup), streams): (BackupName, BTreeSet<String>)| Affected {
            policy,
            schedule,
            backup,
            streams: streams.into_iter().collect(),
        };
        let findings = self.by_object.into_iter().map(|(object, entry)| Finding {
            object,
            kind: entry.kind,
            detail: entry.detail,
            affects: entry.affects.into_iter().map(affected).collect(),
        });
        (findings.collect(), self.omitted)
    }
}
