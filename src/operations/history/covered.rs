//! Whether a backup could hold an object at all: by the policy inside it, and by what is missing in it. Pure.

use super::HistoryOptions;
use crate::{
    operations::repositories::kubernetes_selection,
    policy::{Policy, SourceSpec},
    repository::Manifest,
    sources::kubernetes::{ClusterScoped, KubernetesSelection, Sought},
    types::Name,
};

/// What a backup says of an object that is not in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// A source of the backup takes such an object.
    pub(super) is_covered: bool,
    /// What is missing in the backup, and may be the object.
    pub(super) missing: Option<String>,
    /// What else is worth a line.
    pub(super) note: Option<String>,
}

/// Judges by a backup's manifest. `kind` is the object's kind, if the backup has some of it; `has_part`: objects of
/// its kind and namespace are in the backup.
pub(super) fn judge(manifest: &Manifest, options: &HistoryOptions, kind: Option<&str>, has_part: bool) -> Answer {
    let document = manifest.policy_document.as_ref();
    let policy = document.and_then(|document| Policy::from_embedded(document).ok());
    let judge = Judge { manifest, options, kind, policy };
    let missing = judge.missing();
    let (is_covered, note) = if has_part { (true, None) } else { judge.covered() };
    Answer { is_covered, missing, note }
}

struct Judge<'a> {
    manifest: &'a Manifest,
    options: &'a HistoryOptions,
    kind: Option<&'a str>,
    policy: Option<Policy>,
}

/// How a source takes an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Yes,
    /// Only where something refers to it.
    Referenced,
    No,
}

impl Judge<'_> {
    /// What is missing in the backup and may be the object.
    fn missing(&self) -> Option<String> {
        let sought = self.sought();
        let found = self.manifest.missing.iter().find(|missing| {
            self.may_hold(&missing.source) && sought.may_be_in(&missing.what, |kind| self.options.kind.means(kind))
        });
        let state = self.manifest.state;
        match found {
            Some(found) => Some(format!("the backup is {state}: missing: {}: {}", found.what, found.why)),
            None if self.manifest.missing_omitted > 0 => {
                let more = self.manifest.missing_omitted;
                Some(format!("the backup is {state}: {more} more things are missing in it than it lists"))
            }
            None => None,
        }
    }

    fn sought(&self) -> Sought<'_> {
        let name = &self.options.name;
        Sought { kind: self.kind, namespace: &name.namespace, name: &name.name }
    }

    /// Whether the source of this name may hold it, as far as the backup says what it is.
    fn may_hold(&self, source: &str) -> bool {
        let Some(spec) = self.spec(source) else {
            let entry = self.manifest.sources.iter().find(|entry| entry.name.as_str() == source);
            return entry.is_none_or(|entry| entry.kind == "kubernetes");
        };
        self.takes(spec) != Takes::No
    }

    fn spec(&self, source: &str) -> Option<&SourceSpec> {
        self.policy.as_ref()?.sources.iter().find(|(name, _)| name.as_str() == source).map(|(_, spec)| spec)
    }

    /// Whether a source of the backup takes such an object. Without the policy nobody can say that none does.
    fn covered(&self) -> (bool, Option<String>) {
        let schedule = self.policy.as_ref().and_then(|policy| policy.schedules.get(&self.manifest.schedule));
        let Some(schedule) = schedule else { return (true, None) };
        let takes = |name: &Name| self.spec(name.as_str()).map_or(Takes::Yes, |spec| self.takes(spec));
        let all: Vec<Takes> = schedule.sources.iter().map(takes).collect();
        let referenced =
            || "its sources take objects without a namespace only where something refers to them".to_owned();
        match (all.contains(&Takes::Yes), all.contains(&Takes::Referenced)) {
            (true, _) => (true, None),
            (false, true) => (true, Some(referenced())),
            (false, false) => (false, None),
        }
    }

    fn takes(&self, spec: &SourceSpec) -> Takes {
        let SourceSpec::Kubernetes(spec) = spec else { return Takes::No };
        let selection = kubernetes_selection(spec);
        if self.kind.is_some_and(|kind| selection.leaves_out_kind(kind)) {
            return Takes::No;
        }
        let name = &self.options.name;
        match name.namespace.as_str() {
            "" if self.is_namespace() => of_namespace(&selection, &name.name),
            "" => match selection.cluster_scoped() {
                ClusterScoped::All => Takes::Yes,
                ClusterScoped::Referenced => Takes::Referenced,
                ClusterScoped::None => Takes::No,
            },
            namespace if selection.takes_namespace(namespace) => Takes::Yes,
            // What refers to a source's namespace from another one, as an Argo CD Application does, is taken too.
            _ if selection.cluster_scoped() == ClusterScoped::Referenced && self.is_application() => Takes::Referenced,
            _ => Takes::No,
        }
    }

    fn is_namespace(&self) -> bool {
        self.kind.map_or_else(|| self.options.kind.means("namespaces"), |kind| kind == "namespaces")
    }

    fn is_application(&self) -> bool {
        let application = "applications.argoproj.io";
        self.kind.map_or_else(|| self.options.kind.means(application), |kind| kind == application)
    }
}

fn of_namespace(selection: &KubernetesSelection, name: &str) -> Takes {
    if selection.takes_namespace(name) { Takes::Yes } else { Takes::No }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::sources::kubernetes::objects::KindWord;

    fn manifest(schedule: &str, sources: &[&str], missing: Value) -> Manifest {
        let object = json!({"name": "x", "size": 1, "sha256": "0".repeat(64)});
        let source = |name: &&str| {
            let kind = if *name == "orders" { "postgres" } else { "kubernetes" };
            json!({"name": name, "kind": kind, "consistency": "per-kind", "server": "s", "groups": [],
                "total": {"count": 1, "restorable": 1, "bytes": 1}})
        };
        let schedule_of = |sources: Value| json!({"cron": "0 2 * * *", "timezone": "UTC", "sources": sources, "keep": {"within": "30d"}});
        let totals = json!({"streams": 1, "parts": 1, "objects": 1, "plainBytes": 1, "reusedBytes": 0, "chunks": 1,
            "newChunks": 1, "newPacks": 1, "newBytes": 1});
        let policy = json!({"apiVersion": "drctl/v1", "kind": "Policy", "metadata": {"name": "orders"},
            "repository": {"url": "file:///r", "encryption": "none"},
            "sources": {
                "services": {"kubernetes": {"namespaces": ["shop"], "exclude": ["events"]}},
                "teams": {"kubernetes": {"namespaces": ["team-*"], "clusterScoped": "none"}},
                "cluster": {"kubernetes": {"namespaces": ["*"], "excludeNamespaces": ["kube-*"]}},
                "orders": {"postgres": {"url": {"env": "URL"}}}},
            "schedules": {"daily": schedule_of(json!(["services", "teams", "orders"])), "weekly": schedule_of(json!(["cluster"]))}});
        let document = json!({"format": 1, "repository": "0".repeat(32), "policy": "orders", "schedule": schedule,
            "backup": "20261120T020000Z-abcdef", "state": "partial", "started": "2026-11-20T02:00:00Z",
            "finished": "2026-11-20T02:01:00Z", "parents": [], "fullSince": "2026-11-20T02:00:00Z",
            "sources": sources.iter().map(source).collect::<Vec<_>>(), "missing": missing, "tool": "drctl",
            "policyDocument": policy, "totals": totals, "streams": object, "refs": object});
        serde_json::from_value(document).unwrap()
    }

    fn asked(kind: &str, name: &str) -> HistoryOptions {
        HistoryOptions { kind: KindWord::new(kind), name: name.parse().unwrap(), since: None, reveal: false }
    }

    fn daily(missing: Value) -> Manifest {
        manifest("daily", &["services", "teams", "orders"], missing)
    }

    #[test]
    fn a_backup_whose_sources_do_not_take_the_namespace_does_not_cover_the_object() {
        let is_covered = |manifest: &Manifest, kind: &str, name: &str| {
            let answer = judge(manifest, &asked(kind, name), None, false);
            (answer.is_covered, answer.note.is_some())
        };
        let (daily, weekly) = (daily(json!([])), manifest("weekly", &["cluster"], json!([])));
        assert!(Policy::from_embedded(daily.policy_document.as_ref().unwrap()).is_ok());
        assert_eq!(is_covered(&daily, "secret", "default/weekly-only"), (false, false));
        assert_eq!(is_covered(&weekly, "secret", "default/weekly-only"), (true, false));
        assert_eq!(is_covered(&weekly, "secret", "kube-system/s"), (false, false));
        assert_eq!(is_covered(&daily, "secret", "team-a/s"), (true, false));
        assert_eq!(is_covered(&daily, "clusterrole", "reader"), (true, true), "only where something refers to it");
        assert_eq!(is_covered(&daily, "ns", "shop"), (true, false));
        assert_eq!(is_covered(&daily, "ns", "default"), (false, false));
        assert!(!judge(&daily, &asked("events", "shop/e"), Some("events"), false).is_covered);
        // What is there is covered, and without a policy nobody can say that it is not.
        assert!(judge(&daily, &asked("secret", "default/s"), Some("secrets"), true).is_covered);
        let bare = Manifest { policy_document: None, ..daily };
        assert_eq!(is_covered(&bare, "secret", "default/s"), (true, false));
    }

    #[test]
    fn what_is_missing_is_a_doubt_only_where_it_may_hold_the_object() {
        let one = |source: &str, what: &str| json!([{"source": source, "what": what, "why": "forbidden"}]);
        let missing =
            |manifest: &Manifest, kind: &str, name: &str| judge(manifest, &asked(kind, name), None, false).missing;
        let secrets = daily(one("services", "kind secrets in namespace shop"));
        let note = missing(&secrets, "secret", "shop/s1").unwrap();
        assert_eq!(note, "the backup is partial: missing: kind secrets in namespace shop: forbidden");
        assert_eq!(missing(&secrets, "secret", "team-a/s1"), None);
        assert_eq!(missing(&secrets, "configmap", "shop/s1"), None);
        // A whole source that is missing counts where it takes the namespace; a database never does.
        let source = daily(one("teams", "source teams"));
        assert!(missing(&source, "cm", "team-b/c").is_some() && missing(&source, "cm", "shop/c").is_none());
        assert_eq!(missing(&daily(one("orders", "table public.orders")), "cm", "shop/c"), None);
        let gone = daily(one("services", "namespace shop"));
        assert!(missing(&gone, "cm", "shop/c").is_some() && missing(&gone, "cm", "team-a/c").is_none());
        let many = Manifest { missing_omitted: 7, ..daily(json!([])) };
        assert!(missing(&many, "cm", "shop/c").unwrap().contains("7 more things are missing"));
        assert_eq!(missing(&daily(json!([])), "cm", "shop/c"), None);
    }
}
