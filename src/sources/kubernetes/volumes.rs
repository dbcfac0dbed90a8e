//! Who has the data of a source's claims: what the policy says of them, and what follows from its databases.
//!
//! The claims, the Services of databases and the workloads behind them stream by in any order, several kinds at
//! once. What is needed of each is kept until all of them were seen.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{kinds::Meta, selection::matches};
use crate::types::{Name, Protection, Volume, for_terminal};

/// What a policy says of claims.
#[derive(Debug, Clone, Default)]
pub struct VolumeRules {
    /// The first that matches a claim decides.
    pub rules: Vec<VolumeRule>,
    /// Services that lead to databases which are sources of their own: the claims behind them are covered by those.
    pub databases: Vec<DatabaseService>,
}

/// What is said of some claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRule {
    /// Their namespace, or a pattern of it.
    pub namespace: String,
    /// Their name, or a pattern of it; absent: any.
    pub name: Option<String>,
    /// Labels that they have.
    pub selector: BTreeMap<String, String>,
    /// Who has their data.
    pub protection: Protection,
}

/// A Service that leads to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// The source that captures the database.
    pub source: Name,
}

type Labels = BTreeMap<String, String>;

/// What was seen of a source's claims and of those who use them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    claims: Vec<Claim>,
    /// Selectors of the databases' Services, by the place of the Service in the rules.
    selectors: Vec<(usize, Labels)>,
    /// Who uses which claims, in the namespaces of those Services.
    users: Vec<User>,
}

#[derive(Debug)]
struct Claim {
    namespace: String,
    name: String,
    size: String,
    labels: Labels,
}

/// A workload, or a Pod.
#[derive(Debug)]
struct User {
    namespace: String,
    /// The labels of its Pods.
    labels: Labels,
    claims: Vec<Used>,
}

#[derive(Debug)]
enum Used {
    Named(String),
    /// Those that a StatefulSet makes: this, and a number.
    Numbered(String),
}

impl VolumeRule {
    fn takes(&self, claim: &Claim) -> bool {
        matches(&self.namespace, &claim.namespace)
            && self.name.as_ref().is_none_or(|name| matches(name, &claim.name))
            && selects(&self.selector, &claim.labels)
    }

    fn shown(&self) -> String {
        let name = self.name.as_deref().unwrap_or("*");
        let labels: Vec<_> = self.selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!(" with {}", labels.join(",")) };
        for_terminal(&format!("{}/{name}{labels}", self.namespace)).into_owned()
    }
}

fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl Used {
    fn is(&self, name: &str) -> bool {
        match self {
            Self::Named(named) => named == name,
            Self::Numbered(start) => name
                .strip_prefix(start.as_str())
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())),
        }
    }
}

impl Seen {
    /// Looks at an object of the source. `json` is all of it.
    pub(super) fn see(&mut self, rules: &VolumeRules, kind_id: &str, meta: &Meta, json: &str) {
        match kind_id {
            "persistentvolumeclaims" => self.claims.push(Claim {
                namespace: meta.namespace.clone(),
                name: meta.name.clone(),
                size: serde_json::from_str(json).map(|claim: wire::Claim| claim.size()).unwrap_or_default(),
                labels: meta.labels.clone(),
            }),
            "services" => {
                let here = rules.databases.iter().enumerate();
                let wanted = here.filter(|(_, it)| it.namespace == meta.namespace && it.service == meta.name);
                for (place, _) in wanted {
                    let selector = serde_json::from_str::<wire::Service>(json).map(|service| service.spec.selector);
                    // One without a selector leads to no workload.
                    let selector = selector.ok().flatten().filter(|selector| !selector.is_empty());
                    self.selectors.extend(selector.map(|selector| (place, selector)));
                }
            }
            "pods" | "deployments.apps" | "replicasets.apps" | "statefulsets.apps" | "daemonsets.apps"
                if rules.databases.iter().any(|service| service.namespace == meta.namespace) =>
            {
                self.users.extend(wire::user(kind_id, meta, json));
            }
            _ => {}
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.claims.extend(other.claims);
        self.selectors.extend(other.selectors);
        self.users.extend(other.users);
    }

    /// Who has the data of each claim; and notes on rules that are about none. `source` is the source's name.
    pub(super) fn judge(self, rules: &VolumeRules, source: &Name) -> (Vec<Volume>, Vec<String>) {
        let mut idle: Vec<bool> = rules.rules.iter().map(|_| true).collect();
        let mut volumes = Vec::with_capacity(self.claims.len());
        for claim in &self.claims {
            let rule = rules.rules.iter().zip(&mut idle).find(|(rule, _)| rule.takes(claim));
            let protection = match rule {
                Some((rule, idle)) => {
                    *idle = false;
                    rule.protection.clone()
                }
                None => match self.database_of(claim, rules) {
                    Some(source) => Protection::Covered { covered_by: source.clone() },
                    None => Protection::Unprotected,
                },
            };
            let Claim { namespace, name, size, .. } = claim;
            volumes.push(Volume { namespace: namespace.clone(), name: name.clone(), size: size.clone(), protection });
        }
        volumes.sort();
        let idle = rules.rules.iter().zip(idle).filter(|(_, idle)| *idle);
        let note = |rule: &VolumeRule| {
            format!("`volumes` of source `{source}` says something of {}, and there is no such claim", rule.shown())
        };
        (volumes, idle.map(|(rule, _)| note(rule)).collect())
    }

    /// The source that captures the database whose workload uses the claim.
    fn database_of<'r>(&self, claim: &Claim, rules: &'r VolumeRules) -> Option<&'r Name> {
        let mut users = self
            .users
            .iter()
            .filter(|user| user.namespace == claim.namespace)
            .filter(|user| user.claims.iter().any(|used| used.is(&claim.name)));
        users.find_map(|user| {
            let mut behind = self.selectors.iter().filter_map(|(place, selector)| {
                let service = rules.databases.get(*place)?;
                (service.namespace == user.namespace && selects(selector, &user.labels)).then_some(&service.source)
            });
            behind.next()
        })
    }
}

/// The few fields that are looked at.
mod wire {
    use super::{BTreeMap, Deserialize, Labels, Meta, Used, User};

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    pub(super) struct Claim {
        spec: ClaimSpec,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct ClaimSpec {
        resources: Option<Resources>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Resources {
        requests: Option<BTreeMap<String, String>>,
    }

    impl Claim {
        pub(super) fn size(self) -> String {
            let requests = self.spec.resources.and_then(|resources| resources.requests);
            requests.and_then(|mut requests| requests.remove("storage")).unwrap_or_default()
        }
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    pub(super) struct Service {
        pub(super) spec: ServiceSpec,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    pub(super) struct ServiceSpec {
        pub(super) selector: Option<Labels>,
    }

    #[derive(Debug, Deserialize)]
    struct Pod {
        spec: PodSpec,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Workload {
        spec: WorkloadSpec,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct WorkloadSpec {
        template: Template,
        #[serde(default)]
        volume_claim_templates: Option<Vec<Named>>,
    }

    #[derive(Debug, Deserialize)]
    struct Named {
        metadata: Meta,
    }

    #[derive(Debug, Deserialize)]
    struct Template {
        #[serde(default)]
        metadata: Meta,
        spec: PodSpec,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct PodSpec {
        volumes: Option<Vec<PodVolume>>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct PodVolume {
        persistent_volume_claim: Option<ClaimName>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct ClaimName {
        claim_name: String,
    }

    impl PodSpec {
        fn claims(self) -> impl Iterator<Item = Used> {
            let volumes = self.volumes.into_iter().flatten();
            volumes.filter_map(|volume| volume.persistent_volume_claim).map(|claim| Used::Named(claim.claim_name))
        }
    }

    /// Who uses which claims, if the object has any. One that cannot be understood has none.
    pub(super) fn user(kind_id: &str, meta: &Meta, json: &str) -> Option<User> {
        let (labels, claims): (Labels, Vec<Used>) = if kind_id == "pods" {
            let pod: Pod = serde_json::from_str(json).ok()?;
            (meta.labels.clone(), pod.spec.claims().collect())
        } else {
            let Workload { spec } = serde_json::from_str(json).ok()?;
            let numbered = spec.volume_claim_templates.into_iter().flatten();
            let numbered = numbered.map(|claim| Used::Numbered(format!("{}-{}-", claim.metadata.name, meta.name)));
            (spec.template.metadata.labels, spec.template.spec.claims().chain(numbered).collect())
        };
        (!claims.is_empty()).then(|| User { namespace: meta.namespace.clone(), labels, claims })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn covered(source: &str) -> Protection {
        Protection::Covered { covered_by: name(source) }
    }

    fn rule(namespace: &str, of: Option<&str>, labels: &[(&str, &str)], protection: Protection) -> VolumeRule {
        let selector = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        VolumeRule { namespace: namespace.to_owned(), name: of.map(str::to_owned), selector, protection }
    }

    fn rules(rules: Vec<VolumeRule>) -> VolumeRules {
        let databases =
            vec![DatabaseService { namespace: "shop".to_owned(), service: "db".to_owned(), source: name("orders-db") }];
        VolumeRules { rules, databases }
    }

    fn claim(namespace: &str, claim: &str) -> (&'static str, Value) {
        let spec = json!({"resources": {"requests": {"storage": "10Gi"}}});
        let meta = json!({"namespace": namespace, "name": claim, "labels": {"app": "web"}});
        ("persistentvolumeclaims", json!({"metadata": meta, "spec": spec}))
    }

    fn service(selector: Value) -> (&'static str, Value) {
        ("services", json!({"metadata": {"namespace": "shop", "name": "db"}, "spec": {"selector": selector}}))
    }

    fn stateful_set(namespace: &str, labels: Value) -> (&'static str, Value) {
        let spec = json!({"template": {"metadata": {"labels": labels}, "spec": {"volumes": [{"name": "x"},
            {"persistentVolumeClaim": {"claimName": "extra"}}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}]});
        ("statefulsets.apps", json!({"metadata": {"namespace": namespace, "name": "postgres"}, "spec": spec}))
    }

    /// `namespace/name: protection` of each claim, and the notes.
    fn judged(rules: &VolumeRules, objects: &[(&str, Value)]) -> (Vec<String>, Vec<String>) {
        let mut all = Seen::default();
        for (kind, object) in objects {
            let mut seen = Seen::default();
            let meta = Meta::deserialize(&object["metadata"]).unwrap();
            seen.see(rules, kind, &meta, &object.to_string());
            all.merge(seen);
        }
        let (volumes, notes) = all.judge(rules, &name("services"));
        let shown = volumes.iter().map(|volume| {
            let protection = match &volume.protection {
                Protection::Covered { covered_by } => covered_by.as_str(),
                Protection::Disposable => "disposable",
                Protection::Unprotected => "UNPROTECTED",
            };
            format!("{}/{} {}: {protection}", volume.namespace, volume.name, volume.size)
        });
        (shown.collect(), notes)
    }

    #[test]
    fn the_claims_behind_a_databases_service_are_covered_by_it_whatever_comes_first() {
        let mut objects = vec![
            claim("shop", "data-postgres-0"),
            claim("shop", "data-postgres-12"),
            claim("shop", "data-postgres-x"),
            claim("shop", "extra"),
            claim("shop", "uploads"),
            claim("other", "data-postgres-0"),
            service(json!({"app": "postgres"})),
            stateful_set("shop", json!({"app": "postgres", "more": "x"})),
            stateful_set("other", json!({"app": "postgres"})),
        ];
        let expected = [
            "other/data-postgres-0 10Gi: UNPROTECTED",
            "shop/data-postgres-0 10Gi: orders-db",
            "shop/data-postgres-12 10Gi: orders-db",
            "shop/data-postgres-x 10Gi: UNPROTECTED",
            "shop/extra 10Gi: orders-db",
            "shop/uploads 10Gi: UNPROTECTED",
        ];
        assert_eq!(judged(&rules(Vec::new()), &objects).0, expected);
        objects.reverse();
        assert_eq!(judged(&rules(Vec::new()), &objects).0, expected);
    }

    #[test]
    fn a_service_that_selects_something_else_or_nothing_covers_nothing() {
        for selector in [json!({"app": "web"}), json!({}), Value::Null] {
            let objects =
                [claim("shop", "data-postgres-0"), service(selector), stateful_set("shop", json!({"app": "postgres"}))];
            assert_eq!(judged(&rules(Vec::new()), &objects).0, ["shop/data-postgres-0 10Gi: UNPROTECTED"]);
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides_also_over_a_database() {
        let rules = rules(vec![
            rule("shop", Some("data-*"), &[], Protection::Disposable),
            rule("sh*", Some("uploads"), &[("app", "web")], covered("media")),
            rule("shop", Some("uploads"), &[], Protection::Disposable),
            rule("shop", None, &[("app", "other")], Protection::Disposable),
        ]);
        let objects = [
            claim("shop", "data-postgres-0"),
            claim("shop", "uploads"),
            claim("shop", "rest"),
            service(json!({"app": "postgres"})),
            stateful_set("shop", json!({"app": "postgres"})),
        ];
        let (volumes, notes) = judged(&rules, &objects);
        let expected =
            ["shop/data-postgres-0 10Gi: disposable", "shop/rest 10Gi: UNPROTECTED", "shop/uploads 10Gi: media"];
        assert_eq!(volumes, expected);
        assert_eq!(
            notes,
            [
                "`volumes` of source `services` says something of shop/uploads, and there is no such claim",
                "`volumes` of source `services` says something of shop/* with app=other, and there is no such claim",
            ]
        );
    }

    #[test]
    fn what_cannot_be_understood_uses_no_claim() {
        let odd = [
            ("statefulsets.apps", json!({"metadata": {"namespace": "shop", "name": "a"}, "spec": 3})),
            ("pods", json!({"metadata": {"namespace": "shop", "name": "a"}})),
            ("services", json!({"metadata": {"namespace": "shop", "name": "db"}, "spec": []})),
            ("persistentvolumeclaims", json!({"metadata": {"namespace": "shop", "name": "a"}, "spec": 1})),
        ];
        assert_eq!(judged(&rules(Vec::new()), &odd).0, ["shop/a : UNPROTECTED"]);
    }
}
