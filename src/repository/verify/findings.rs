//! What is wrong, gathered by object.

use std::collections::{BTreeMap, BTreeSet};

use super::{Affected, BackupName, Finding, FindingKind};
use crate::{
    repository::Error,
    types::{BackupId, Name, for_terminal},
};

/// The most objects that are listed.
const MAX_FINDINGS: usize = 10_000;
/// The most streams that are named for an object and a backup.
const MAX_STREAMS: usize = 1_000;

/// Findings so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    by_object: BTreeMap<String, Entry>,
    omitted: Omitted,
}

/// What found no room.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Omitted {
    /// All of it.
    pub(super) findings: u64,
    /// What is missing or damaged, and not only unread.
    pub(super) damage: u64,
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

    /// Notes that `object` is wrong, and that nobody can tell which backup it belongs to.
    pub(super) fn add_alone(&mut self, object: String, kind: FindingKind, detail: String) {
        self.note(object, kind, detail);
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
        let Some(entry) = self.note(object, kind, detail) else { return };
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

    /// The entry of `object`; none if there are too many.
    fn note(&mut self, object: String, kind: FindingKind, detail: String) -> Option<&mut Entry> {
        let object = for_terminal(&object).into_owned();
        if !self.by_object.contains_key(&object) && self.by_object.len() >= MAX_FINDINGS {
            self.omitted.findings += 1;
            self.omitted.damage += u64::from(kind != FindingKind::NotChecked);
            return None;
        }
        let new = || Entry { kind, detail: detail.clone(), affects: BTreeMap::new() };
        let entry = self.by_object.entry(object).or_insert_with(new);
        if severity(kind) > severity(entry.kind) {
            (entry.kind, entry.detail) = (kind, detail);
        }
        Some(entry)
    }

    /// The objects that are damaged, each with the newest backup of each policy that needs it.
    pub(super) fn damaged(&self) -> impl Iterator<Item = (&str, Vec<(&Name, &BackupId)>)> {
        let damaged = self.by_object.iter().filter(|(_, entry)| entry.kind == FindingKind::Damaged);
        damaged.map(|(object, entry)| {
            let mut newest: BTreeMap<&Name, &BackupId> = BTreeMap::new();
            for (policy, _, backup) in entry.affects.keys() {
                let known = newest.entry(policy).or_insert(backup);
                *known = backup.max(known);
            }
            (object.as_str(), newest.into_iter().collect())
        })
    }

    /// All of them, by object, and how many were left out.
    pub(super) fn finish(self) -> (Vec<Finding>, Omitted) {
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

/// What is known to be wrong says more than what could not be read.
fn severity(kind: FindingKind) -> u8 {
    match kind {
        FindingKind::NotChecked => 0,
        FindingKind::Damaged => 1,
        FindingKind::Missing => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> BackupName {
        let name = |text| Name::new(text).unwrap();
        (name("orders"), name("daily"), BackupId::parse("20261120T020000Z-abcdef").unwrap())
    }

    fn found(kinds: &[FindingKind]) -> Finding {
        let mut findings = Findings::default();
        for kind in kinds {
            findings.add(&backup(), None, "data/x".to_owned(), *kind, format!("{kind:?}"));
        }
        let (mut found, omitted) = findings.finish();
        assert_eq!((found.len(), omitted), (1, Omitted::default()));
        found.remove(0)
    }

    #[test]
    fn the_worst_that_is_known_of_an_object_is_said() {
        use FindingKind::{Damaged, Missing, NotChecked};
        for (kinds, worst) in [
            ([NotChecked, Damaged], Damaged),
            ([Damaged, NotChecked], Damaged),
            ([NotChecked, Missing], Missing),
            ([Missing, NotChecked], Missing),
            ([NotChecked, NotChecked], NotChecked),
        ] {
            let found = found(&kinds);
            assert_eq!((found.kind, found.detail), (worst, format!("{worst:?}")), "{kinds:?}");
        }
    }

    #[test]
    fn damage_that_is_left_out_is_counted_apart_from_what_was_not_read() {
        let mut findings = Findings::default();
        for n in 0..MAX_FINDINGS + 5 {
            let kind = if n < MAX_FINDINGS + 3 { FindingKind::NotChecked } else { FindingKind::Damaged };
            findings.add(&backup(), None, format!("data/{n}"), kind, String::new());
        }
        let (found, omitted) = findings.finish();
        assert_eq!((found.len(), omitted), (MAX_FINDINGS, Omitted { findings: 5, damage: 2 }));
    }
}
