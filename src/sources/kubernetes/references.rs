//! What namespaced objects refer to outside their namespaces.
//!
//! References are collected while the namespaced kinds stream by, so that no object has to be kept
//! or read twice; the cluster-scoped kinds are read afterwards, and only what was referred to is
//! taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    kind::{Kind, is_built_in_group},
    kinds::Meta,
    selection::KubernetesSelection,
};

/// Applications of Argo CD live in its own namespace, and say where they deploy to.
pub(super) const APPLICATIONS: &str = "applications.argoproj.io";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";
const CLUSTER_ISSUERS: &str = "clusterissuers.cert-manager.io";
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
const INGRESS_CLASSES: &str = "ingressclasses.networking.k8s.io";

/// Fields that end in `ClassName`, as (what stands before it, the kind of what it names).
const CLASS_FIELDS: &[(&str, &str)] = &[
    ("device", "deviceclasses.resource.k8s.io"),
    ("gateway", "gatewayclasses.gateway.networking.k8s.io"),
    ("ingress", INGRESS_CLASSES),
    ("priority", "priorityclasses.scheduling.k8s.io"),
    ("runtime", "runtimeclasses.node.k8s.io"),
    ("storage", "storageclasses.storage.k8s.io"),
    ("volumeAttributes", "volumeattributesclasses.storage.k8s.io"),
    ("volumeSnapshot", "volumesnapshotclasses.snapshot.storage.k8s.io"),
];

/// Kinds whose objects refer to nothing that is cluster-scoped. They are the large ones.
const WITHOUT_REFERENCES: &[&str] =
    &["configmaps", "endpoints", "endpointslices.discovery.k8s.io", "secrets", "serviceaccounts", "services"];

/// Kinds that send requests to a Service, as (kind, where its objects name that Service).
const SERVED_BY: &[(&str, Callers)] = &[
    ("apiservices.apiregistration.k8s.io", Callers::Service),
    ("mutatingwebhookconfigurations.admissionregistration.k8s.io", Callers::Webhooks),
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", Callers::Webhooks),
];

#[derive(Debug, Clone, Copy)]
enum Callers {
    /// `spec.service`
    Service,
    /// `webhooks[].clientConfig.service`
    Webhooks,
}

/// The cluster-scoped kinds (`plural.group`) that namespaced objects may refer to by what they are; owners beside. And
/// Applications, which are looked for in every namespace.
pub(super) fn referable_kinds() -> impl Iterator<Item = &'static str> {
    let classes = CLASS_FIELDS.iter().map(|(_, kind)| *kind);
    let served = SERVED_BY.iter().map(|(kind, _)| *kind);
    let others =
        [APPLICATIONS, CLUSTER_ISSUERS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS, DEFINITIONS, "persistentvolumes"];
    classes.chain(served).chain(others)
}

/// Names of cluster-scoped objects, by kind (`plural.group`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct References {
    named: BTreeMap<String, BTreeSet<String>>,
    /// Labels of ClusterRoles that an aggregated ClusterRole is put together from.
    role_labels: BTreeSet<BTreeMap<String, String>>,
    /// The ids of the cluster-scoped kinds, by group and kind, to know owners by.
    scoped: Arc<BTreeMap<(String, String), String>>,
}

impl References {
    /// Nothing is referred to yet. Owners of `kinds` will be.
    pub(super) fn to<'k>(kinds: impl Iterator<Item = &'k Kind>) -> Self {
        let scoped = kinds.map(|kind| ((kind.group.clone(), kind.name.clone()), kind.id())).collect();
        Self { scoped: Arc::new(scoped), ..Self::default() }
    }

    /// Adds what one namespaced object refers to. `json` is the whole object.
    pub(super) fn collect(&mut self, kind: &Kind, meta: &Meta, json: &str) {
        let id = kind.id();
        self.collect_definition(&kind.group, &id);
        self.collect_owners(meta);
        if WITHOUT_REFERENCES.contains(&id.as_str()) {
            return;
        }
        for (at, suffix) in json.match_indices("ClassName\":\"") {
            let (before, after) =
                (json.get(..at).unwrap_or_default(), json.get(at + suffix.len()..).unwrap_or_default());
            let field = CLASS_FIELDS
                .iter()
                .find(|(prefix, _)| before.strip_suffix(prefix).is_some_and(|rest| rest.ends_with('"')));
            if let (Some((_, target)), Some((name, _))) = (field, after.split_once('"')) {
                self.add(target, name);
            }
        }
        if let Some(issuer) = meta.annotations.get("cert-manager.io/cluster-issuer") {
            self.add(CLUSTER_ISSUERS, issuer);
        }
        if !is_built_in_group(&kind.group) {
            self.collect_named(json);
        }
        match id.as_str() {
            "persistentvolumeclaims" => self.collect_claim(meta, json),
            "ingresses.networking.k8s.io" => {
                if let Some(class) = meta.annotations.get("kubernetes.io/ingress.class") {
                    self.add(INGRESS_CLASSES, class);
                }
            }
            "rolebindings.rbac.authorization.k8s.io" => self.collect_role(json),
            _ => {}
        }
    }

    fn collect_definition(&mut self, group: &str, kind_id: &str) {
        if !is_built_in_group(group) {
            self.add(DEFINITIONS, kind_id);
        }
    }

    fn collect_owners(&mut self, meta: &Meta) {
        let scoped = Arc::clone(&self.scoped);
        for owner in &meta.owner_references {
            if let Some(id) = scoped.get(&(owner.group().to_owned(), owner.kind.clone())) {
                self.add(id, &owner.name);
            }
        }
    }

    /// The cluster-scoped custom resources that a custom resource names by kind and name, wherever in its `spec`: a
    /// ClusterIssuer, a ClusterSecretStore.
    fn collect_named(&mut self, json: &str) {
        let scoped = Arc::clone(&self.scoped);
        let custom: Vec<_> = scoped.iter().filter(|((group, _), _)| !is_built_in_group(group)).collect();
        if custom.is_empty() {
            return;
        }
        let Ok(object) = serde_json::from_str::<Value>(json) else { return };
        let mut places: Vec<&Value> = object.get("spec").into_iter().collect();
        while let Some(place) = places.pop() {
            match place {
                Value::Array(items) => places.extend(items),
                Value::Object(fields) => {
                    let text = |field: &str| fields.get(field).and_then(Value::as_str);
                    if let (Some(kind), Some(name)) = (text("kind"), text("name")) {
                        let group = text("group").or_else(|| text("apiGroup"));
                        let group =
                            group.or_else(|| text("apiVersion").map(|api| api.split('/').next().unwrap_or(api)));
                        let meant = |group_of: &str| group.is_none_or(|group| group == group_of);
                        let found = custom.iter().filter(|((group, name), _)| name == kind && meant(group));
                        found.for_each(|(_, id)| self.add(id, name));
                    }
                    places.extend(fields.values());
                }
                _ => {}
            }
        }
    }

    fn collect_claim(&mut self, meta: &Meta, json: &str) {
        #[derive(Deserialize)]
        struct Claim {
            spec: ClaimSpec,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ClaimSpec {
            #[serde(default)]
            volume_name: Option<String>,
        }
        if let Some(class) = meta.annotations.get("volume.beta.kubernetes.io/storage-class") {
            self.add("storageclasses.storage.k8s.io", class);
        }
        if let Ok(Claim { spec: ClaimSpec { volume_name: Some(volume) } }) = serde_json::from_str(json) {
            self.add("persistentvolumes", &volume);
        }
    }

    fn collect_role(&mut self, json: &str) {
        if let Ok(binding) = serde_json::from_str::<Binding>(json)
            && binding.role_ref.kind == "ClusterRole"
        {
            self.add(CLUSTER_ROLES, &binding.role_ref.name);
        }
    }

    /// Whether a cluster-scoped object is referred to. What it refers to itself is collected.
    pub(super) fn takes(&mut self, selection: &KubernetesSelection, kind_id: &str, meta: &Meta, json: &str) -> bool {
        match kind_id {
            CLUSTER_ROLE_BINDINGS => {
                let taken = serde_json::from_str::<Binding>(json).is_ok_and(|binding| binding.is_for(selection));
                if taken {
                    self.collect_role(json);
                }
                taken
            }
            CLUSTER_ROLES => {
                let has = |labels: &BTreeMap<String, String>| {
                    labels.iter().all(|(key, value)| meta.labels.get(key) == Some(value))
                };
                let taken = self.names(kind_id, &meta.name) || self.role_labels.iter().any(has);
                if taken {
                    self.collect_aggregation(json);
                }
                taken
            }
            _ => {
                let callers = SERVED_BY.iter().find(|(id, _)| *id == kind_id).map(|(_, callers)| *callers);
                let taken = self.names(kind_id, &meta.name)
                    || callers.is_some_and(|callers| callers.call_into(selection, json));
                if let (true, Some((_, group))) = (taken, kind_id.split_once('.')) {
                    self.collect_definition(group, kind_id);
                }
                taken
            }
        }
    }

    fn collect_aggregation(&mut self, json: &str) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Role {
            aggregation_rule: Option<Rule>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Rule {
            #[serde(default)]
            cluster_role_selectors: Vec<Selector>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Selector {
            #[serde(default)]
            match_labels: BTreeMap<String, String>,
        }
        let Ok(Role { aggregation_rule: Some(rule) }) = serde_json::from_str(json) else { return };
        let selectors = rule.cluster_role_selectors.into_iter().map(|selector| selector.match_labels);
        self.role_labels.extend(selectors.filter(|labels| !labels.is_empty()));
    }

    /// The names that are referred to, if names alone decide for this kind.
    #[must_use]
    pub(super) fn names_of(&self, kind_id: &str) -> Option<Vec<&str>> {
        if matches!(kind_id, CLUSTER_ROLES | CLUSTER_ROLE_BINDINGS) || SERVED_BY.iter().any(|(id, _)| *id == kind_id) {
            return None;
        }
        Some(self.named.get(kind_id).map(|names| names.iter().map(String::as_str).collect()).unwrap_or_default())
    }

    /// The kinds to read first, because they refer to others.
    #[must_use]
    pub(super) fn is_first(kind_id: &str) -> bool {
        kind_id == CLUSTER_ROLE_BINDINGS
    }

    /// Adds what others have collected.
    pub(super) fn merge(&mut self, other: Self) {
        for (kind, names) in other.named {
            self.named.entry(kind).or_default().extend(names);
        }
        self.role_labels.extend(other.role_labels);
    }

    fn names(&self, kind_id: &str, name: &str) -> bool {
        self.named.get(kind_id).is_some_and(|names| names.contains(name))
    }

    fn add(&mut self, kind_id: &str, name: &str) {
        let names = self.named.entry(kind_id.to_owned()).or_default();
        if !name.is_empty() && !names.contains(name) {
            names.insert(name.to_owned());
        }
    }
}

impl Callers {
    /// The object sends requests to a Service in the source's namespaces.
    fn call_into(self, selection: &KubernetesSelection, json: &str) -> bool {
        let Ok(object) = serde_json::from_str::<Value>(json) else { return false };
        let within = |service: &Value| {
            service.get("namespace").and_then(Value::as_str).is_some_and(|name| selection.takes_namespace(name))
        };
        match self {
            Self::Service => object.pointer("/spec/service").is_some_and(within),
            Self::Webhooks => object.get("webhooks").and_then(Value::as_array).is_some_and(|webhooks| {
                webhooks.iter().any(|webhook| webhook.pointer("/clientConfig/service").is_some_and(within))
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    role_ref: RoleRef,
    #[serde(default)]
    subjects: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct RoleRef {
    kind: String,
    name: String,
}

impl Binding {
    /// It gives rights to a service account of the source's namespaces.
    fn is_for(&self, selection: &KubernetesSelection) -> bool {
        self.subjects.iter().flatten().any(|subject| {
            let text = |field: &str| subject.get(field).and_then(Value::as_str).unwrap_or_default();
            let namespace = match text("kind") {
                "ServiceAccount" => Some(text("namespace")),
                "Group" => text("name").strip_prefix("system:serviceaccounts:"),
                "User" => text("name").strip_prefix("system:serviceaccount:").and_then(|rest| rest.split(':').next()),
                _ => None,
            };
            namespace.is_some_and(|namespace| selection.takes_namespace(namespace))
        })
    }
}

/// An Application of Argo CD deploys into one of the source's namespaces, and in this cluster.
pub(super) fn deploys_into(selection: &KubernetesSelection, json: &str) -> bool {
    #[derive(Deserialize)]
    struct Application {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        destination: Destination,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Destination {
        namespace: String,
        server: String,
        name: String,
    }
    let Ok(Application { spec: Spec { destination: to } }) = serde_json::from_str(json) else { return false };
    let here = to.server == "https://kubernetes.default.svc" || (to.server.is_empty() && to.name == "in-cluster");
    here && selection.takes_namespace(&to.namespace)
}

#[cfg(test)]
mod tests;
