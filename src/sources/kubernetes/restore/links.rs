//! Whether live owner references lead to the owners that are there: one with the uid of an object
//! that is gone has its object collected as garbage, sooner or later.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::plan::{Plan, Uid};
use crate::sources::kubernetes::compare::{Difference, shortened};

/// The links of the objects that were compared so far. Owners may come after what they own.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Uids, in the backup, of the owners that the plan holds.
    planned: HashSet<Uid>,
    /// Live uids of the owners that were met, by their uids in the backup.
    met: HashMap<Uid, Uid>,
    waiting: Vec<Link>,
}

/// A live object's link to an owner of the plan.
#[derive(Debug)]
pub(super) struct Link {
    /// The place of the object's group in the report.
    pub(super) group: usize,
    /// The object's name.
    pub(super) name: Box<str>,
    owner: Box<str>,
    old: Uid,
    live: Uid,
}

impl Links {
    pub(super) fn of(plan: &Plan) -> Self {
        let parts = plan.kinds.iter().flat_map(|kind| &kind.parts);
        let uids = parts.flat_map(|part| &part.entries).map(|entry| entry.uid);
        Self { planned: uids.filter(|uid| plan.referenced.contains(uid)).collect(), ..Self::default() }
    }

    /// Takes note of a live object that the plan knows by `old`.
    pub(super) fn meet(&mut self, old: Uid, live: &Value) {
        if self.planned.contains(&old) && deletion(live).is_none() {
            self.met.insert(old, uid_of(live.pointer("/metadata/uid")));
        }
    }

    /// Takes note of the owners of a live object. Returns those that the plan does not hold, as
    /// (owner in the backup, live uid in the reference).
    pub(super) fn note<'o>(
        &mut self,
        group: usize,
        name: &str,
        owners: &'o [Value],
        live: &Value,
    ) -> Vec<(&'o Value, Uid)> {
        let references = live.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let references = references.map(Vec::as_slice).unwrap_or_default();
        let mut strange = Vec::new();
        for owner in owners {
            let same =
                |other: &&Value| ["apiVersion", "kind", "name"].iter().all(|key| owner.get(key) == other.get(key));
            let Some(reference) = references.iter().find(same) else { continue };
            let (old, live) = (uid_of(owner.get("uid")), uid_of(reference.get("uid")));
            if self.planned.contains(&old) {
                let owner = called(owner).into_boxed_str();
                self.waiting.push(Link { group, name: name.into(), owner, old, live });
            } else {
                strange.push((owner, live));
            }
        }
        strange
    }

    /// The links that lead to another object than the live owner, one for each object.
    pub(super) fn broken(self) -> Vec<(Link, Difference)> {
        let met = self.met;
        let mut found: Vec<(Link, Difference)> = Vec::new();
        for link in self.waiting {
            let is = met.get(&link.old).copied();
            let again = found.last().is_some_and(|(last, _)| last.group == link.group && last.name == link.name);
            if is != Some(link.live) && !again {
                let difference = broken_link(&link.owner, is.map(|uid| uid.to_string()), link.live);
                found.push((link, difference));
            }
        }
        found
    }
}

/// How a link to `owner` (kind and name) with the uid `live` is told, if the owner's uid is `is`.
pub(super) fn broken_link(owner: &str, is: Option<String>, live: Uid) -> Difference {
    let is = is.map_or_else(|| "no such object".to_owned(), |uid| shortened(&json!(uid)));
    Difference {
        path: format!("metadata.ownerReferences[{owner}].uid"),
        expected: Some(is),
        live: Some(shortened(&json!(live.to_string()))),
    }
}

/// An owner's kind and name.
pub(super) fn called(owner: &Value) -> String {
    let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}", text("kind"), text("name"))
}

/// The difference of a live object that is being deleted.
pub(super) fn deletion(live: &Value) -> Option<Difference> {
    let time = live.pointer("/metadata/deletionTimestamp").filter(|time| !time.is_null())?;
    Some(Difference { path: "metadata.deletionTimestamp".to_owned(), expected: None, live: Some(shortened(time)) })
}

fn uid_of(value: Option<&Value>) -> Uid {
    Uid::parse(value.and_then(Value::as_str).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(last: u8) -> String {
        format!("6f5f6e7a-0000-4000-8000-0000000000{last:02x}")
    }

    fn owner(last: u8) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": uid(last)})
    }

    fn child(last: u8) -> Value {
        json!({"metadata": {"name": "child", "ownerReferences": [owner(last)]}})
    }

    fn live(last: u8, more: Value) -> Value {
        json!({"metadata": {"uid": uid(last), "deletionTimestamp": more}})
    }

    /// The links of `child`, whose owner had the uid 1 in the backup.
    fn broken(child: &Value, parent: Option<Value>) -> Vec<String> {
        let mut links = Links { planned: HashSet::from([Uid::parse(&uid(1))]), ..Links::default() };
        assert!(links.note(0, "child", &[owner(1)], child).is_empty());
        if let Some(parent) = parent {
            links.meet(Uid::parse(&uid(1)), &parent);
        }
        links.broken().into_iter().map(|(_, difference)| difference.to_string()).collect()
    }

    #[test]
    fn a_link_to_another_object_of_the_owners_name_is_a_difference() {
        assert!(broken(&child(2), Some(live(2, Value::Null))).is_empty());
        let found = broken(&child(1), Some(live(2, Value::Null)));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("metadata.ownerReferences[ConfigMap parent].uid: expected"), "{found:?}");
        assert_eq!(broken(&child(2), None).len(), 1, "the owner is not there");
        assert_eq!(broken(&child(2), Some(live(2, json!("2026-11-21T11:52:43Z")))).len(), 1, "it is being deleted");
        assert!(broken(&json!({"metadata": {}}), None).is_empty(), "waived");
    }

    #[test]
    fn owners_that_the_plan_does_not_hold_are_given_back() {
        let owners = [owner(1)];
        let mut links = Links::default();
        let found = links.note(0, "child", &owners, &child(3));
        assert_eq!(found, [(&owners[0], Uid::parse(&uid(3)))]);
        assert!(links.broken().is_empty());
    }

    #[test]
    fn an_object_that_is_being_deleted_is_not_equal() {
        assert_eq!(deletion(&live(1, Value::Null)), None);
        assert_eq!(deletion(&live(1, json!("2026-11-21T11:52:43Z"))).unwrap().path, "metadata.deletionTimestamp");
    }
}
