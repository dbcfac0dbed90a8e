//! Whether a backup is much smaller than it should be: the guard against an emptied or wrong
//! cluster becoming the newest good backup.

use std::collections::BTreeMap;

/// What a backup holds of one source, reduced to what the judgement needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Holdings {
    /// Namespaces (or databases) by name; an empty name holds what belongs to none.
    pub(super) groups: BTreeMap<String, Held>,
}

/// What a backup holds of one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    /// Objects, rows or documents.
    pub(super) count: u64,
    /// Of these, what a restore would create.
    pub(super) restorable: u64,
}

impl Holdings {
    fn total(&self) -> u64 {
        self.groups.values().map(|held| held.count).sum()
    }
}

/// Compares what a source holds `now` with the last good backup of it. `selected` says whether the
/// policy still names a group: what was taken out of the policy is not missed.
///
/// Each answer is one finding, a sentence without its full stop; none means that all is well. A
/// source is suspect if it holds less than half of what it held, or if a namespace that held
/// something is gone or holds nothing that a restore would create.
#[must_use]
pub(super) fn judge(source: &str, before: &Holdings, now: &Holdings, selected: impl Fn(&str) -> bool) -> Vec<String> {
    let kept: Holdings = Holdings {
        groups: before
            .groups
            .iter()
            .filter(|(name, _)| name.is_empty() || selected(name))
            .map(|(n, h)| (n.clone(), *h))
            .collect(),
    };
    let mut findings = Vec::new();
    let (old, new) = (kept.total(), now.total());
    if new.saturating_mul(2) < old {
        findings.push(format!("source `{source}` fell from {old} to {new} objects"));
    }
    for (name, held) in kept.groups.iter().filter(|(name, held)| held.restorable > 0 && !name.is_empty()) {
        let left = now.groups.get(name);
        let name = crate::types::for_terminal(name);
        match left {
            None => findings.push(format!("`{name}` of source `{source}` is gone (it held {} objects)", held.count)),
            Some(left) if left.restorable == 0 => findings.push(format!(
                "`{name}` of source `{source}` holds nothing that a restore would create (it held {})",
                held.restorable
            )),
            Some(_) => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holdings(groups: &[(&str, u64, u64)]) -> Holdings {
        let groups = groups
            .iter()
            .map(|(name, count, restorable)| ((*name).to_owned(), Held { count: *count, restorable: *restorable }));
        Holdings { groups: groups.collect() }
    }

    fn findings(before: &[(&str, u64, u64)], now: &[(&str, u64, u64)]) -> Vec<String> {
        judge("services", &holdings(before), &holdings(now), |_| true)
    }

    #[test]
    fn exactly_half_is_not_suspect_and_one_less_is() {
        assert!(findings(&[("a", 10, 10)], &[("a", 5, 5)]).is_empty());
        assert_eq!(findings(&[("a", 10, 10)], &[("a", 4, 4)]), ["source `services` fell from 10 to 4 objects"]);
    }

    #[test]
    fn a_namespace_that_is_gone_or_emptied_is_named_even_when_the_total_is_fine() {
        let before = [("a", 100, 90), ("b", 4, 2)];
        assert_eq!(findings(&before, &[("a", 100, 90)]), ["`b` of source `services` is gone (it held 4 objects)"]);
        assert_eq!(
            findings(&before, &[("a", 100, 90), ("b", 2, 0)]),
            ["`b` of source `services` holds nothing that a restore would create (it held 2)"]
        );
    }

    #[test]
    fn a_namespace_that_held_nothing_is_not_missed() {
        assert!(findings(&[("a", 9, 9), ("empty", 2, 0)], &[("a", 9, 9)]).is_empty());
    }

    #[test]
    fn what_the_policy_no_longer_names_is_not_missed() {
        let (before, now) = (holdings(&[("a", 10, 10), ("b", 90, 90)]), holdings(&[("a", 10, 10)]));
        assert!(judge("s", &before, &now, |name| name == "a").is_empty());
        assert_eq!(judge("s", &before, &now, |_| true).len(), 2);
    }

    #[test]
    fn a_first_backup_has_nothing_to_be_compared_with() {
        assert!(findings(&[], &[("a", 1, 0)]).is_empty());
    }

    proptest! {
        #[test]
        fn a_source_that_did_not_shrink_is_never_suspect(groups in proptest::collection::btree_map("[a-z]{0,3}", (1u64..50, 1u64..50), 0..6)) {
            let before = Holdings { groups: groups.iter().map(|(n, (c, r))| (n.clone(), Held { count: *c, restorable: *r })).collect() };
            let mut now = before.clone();
            now.groups.values_mut().for_each(|held| held.count += 1);
            prop_assert!(judge("s", &before, &now, |_| true).is_empty());
        }
    }
}
