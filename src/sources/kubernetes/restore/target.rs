//! What the target cluster serves and has: kinds and namespaces.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{
    RestoreError,
    conflicts::is_going,
    guards::is_secured,
    live::{LiveList, get},
    plan::Target,
    terminating::held_by,
};
use crate::sources::kubernetes::{Cluster, Discovery, Kind};

/// The cluster to restore into, as a plan needs to know it.
#[derive(Debug)]
pub(super) struct TargetCluster {
    pub(super) identity: Target,
    discovery: Discovery,
    /// Live namespaces that are not being deleted.
    pub(super) namespaces: HashSet<String>,
    /// Those of them whose labels say which Pods they take.
    pub(super) secured: HashSet<String>,
    /// Those that are, and what holds them.
    pub(super) terminating: HashMap<String, String>,
    /// Kinds that the backup's own definitions will add, by group and plural.
    promised: Promised,
}

/// Kinds that definitions bring, by group and plural.
pub(super) type Promised = HashMap<(String, String), Vec<Kind>>;

/// The kinds that a CustomResourceDefinition brings: a version each.
pub(super) fn kinds_of(definition: &Value) -> ((String, String), Vec<Kind>) {
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (group, plural) = (text("/spec/group"), text("/spec/names/plural"));
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let served = versions.filter(|version| version.get("served") == Some(&Value::Bool(true)));
    let kinds = served.filter_map(|version| version.get("name")?.as_str()).map(|version| Kind {
        group: group.clone(),
        version: version.to_owned(),
        plural: plural.clone(),
        name: text("/spec/names/kind"),
        namespaced: text("/spec/scope") == "Namespaced",
        aggregated: false,
        verbs: Vec::new(),
        subresources: Vec::new(),
    });
    let kinds = kinds.collect();
    ((group, plural), kinds)
}

/// The uid of the live object that an owner reference of the backup names, by kind and name.
pub(super) async fn live_uid(
    cluster: &Cluster,
    target: &TargetCluster,
    owner: &Value,
    namespace: &str,
) -> Result<Option<String>, RestoreError> {
    let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
    let Some(kind) = target.kind_of(text("apiVersion"), text("kind")) else { return Ok(None) };
    let namespace = if kind.namespaced { namespace } else { "" };
    let live = get(cluster, kind, namespace, text("name")).await?;
    let live = live.filter(|live| live.pointer("/metadata/deletionTimestamp").is_none());
    Ok(live.and_then(|live| live.pointer("/metadata/uid")?.as_str().map(str::to_owned)))
}

/// Whether objects of a kind can be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Service {
    /// It is served.
    Served(Kind),
    /// A definition in the backup brings it.
    Promised(Kind),
    /// It cannot be created; why.
    Not(String),
}

impl Service {
    /// As what the objects are created, if they can be.
    pub(super) fn kind(&self) -> Option<&Kind> {
        match self {
            Self::Served(kind) | Self::Promised(kind) => Some(kind),
            Self::Not(_) => None,
        }
    }
}

impl TargetCluster {
    pub(super) async fn read(cluster: &Cluster) -> Result<Self, RestoreError> {
        let (identity, discovery) = tokio::try_join!(cluster.identity(), Discovery::read(cluster))?;
        let identity = Target { uid: identity.uid, name: identity.name, version: identity.version };
        let mut target = Self {
            identity,
            discovery,
            namespaces: HashSet::new(),
            secured: HashSet::new(),
            terminating: HashMap::new(),
            promised: HashMap::new(),
        };
        if let Some(kind) = target.discovery.find("v1", "Namespace").cloned() {
            let mut list = LiveList::new(cluster, &kind, None);
            while let Some(item) = list.next().await? {
                let namespace = item.parse(&kind)?;
                if is_going(&namespace) {
                    target.terminating.insert(item.key, held_by(&namespace));
                } else {
                    if is_secured(&namespace) {
                        target.secured.insert(item.key.clone());
                    }
                    target.namespaces.insert(item.key);
                }
            }
        }
        Ok(target)
    }

    /// Remembers the kinds that a CustomResourceDefinition of the backup brings.
    pub(super) fn promise(&mut self, definition: &Value) {
        let (name, kinds) = kinds_of(definition);
        self.promised.insert(name, kinds);
    }

    /// Remembers what other sources of the backup bring.
    pub(super) fn promise_kinds(&mut self, kinds: &Promised) {
        self.promised.extend(kinds.iter().map(|(name, kinds)| (name.clone(), kinds.clone())));
    }

    /// How objects of `api_version` and `name`, which the backup calls `plural` of `group`, can be
    /// created.
    pub(super) fn service_of(&self, api_version: &str, name: &str, group: &str, plural: &str) -> Service {
        if let Some(kind) =
            self.discovery.find(api_version, name).filter(|kind| kind.group == group && kind.plural == plural)
        {
            return if kind.can("create") {
                Service::Served(kind.clone())
            } else {
                Service::Not("the cluster serves it, but lets nobody create it".to_owned())
            };
        }
        let promised = self.promised.get(&(group.to_owned(), plural.to_owned()));
        let promised =
            promised.and_then(|kinds| kinds.iter().find(|kind| kind.api_version() == api_version && kind.name == name));
        if let Some(kind) = promised {
            return Service::Promised(kind.clone());
        }
        let versions: Vec<&str> = self.discovery.versions(group, plural).map(|kind| kind.version.as_str()).collect();
        if !versions.is_empty() {
            let versions = versions.join(", ");
            return Service::Not(format!(
                "the cluster does not serve {api_version} {name}; it serves version {versions}"
            ));
        }
        let unread = self.discovery.unread().iter().find(|unread| unread.group == group);
        Service::Not(match unread {
            Some(unread) => format!("the server of {api_version} does not answer: {}", unread.why),
            None => self.not_served(api_version, name, plural),
        })
    }

    /// What is said of a kind of which the cluster serves no version in its group.
    fn not_served(&self, api_version: &str, name: &str, plural: &str) -> String {
        // Ingresses were `extensions/v1beta1`, PodSecurityPolicies are gone: no operator brings them back.
        let mut elsewhere: Vec<String> = self
            .discovery
            .kinds()
            .into_iter()
            .filter(|kind| kind.name == name && kind.plural == plural)
            .map(Kind::api_version)
            .collect();
        elsewhere.sort_unstable();
        if elsewhere.is_empty() {
            format!("the cluster does not serve {api_version} {name}; install its operator or definition first")
        } else {
            let elsewhere = elsewhere.join(", ");
            format!(
                "the cluster does not serve {api_version} {name}, and serves {name} of {elsewhere}: drctl does not take \
                 one for the other; write it anew there, or install its operator or definition first"
            )
        }
    }

    /// The versions of the kind `plural` of `group` that the cluster serves now.
    pub(super) fn versions<'a>(&'a self, group: &'a str, plural: &'a str) -> impl Iterator<Item = &'a Kind> {
        self.discovery.versions(group, plural)
    }

    /// Whether the cluster serves this kind now, at this version.
    pub(super) fn serves(&self, kind: &Kind) -> bool {
        self.discovery.find(&kind.api_version(), &kind.name).is_some()
    }

    /// The kind of an owner.
    pub(super) fn kind_of(&self, api_version: &str, name: &str) -> Option<&Kind> {
        let promised =
            || self.promised.values().flatten().find(|kind| kind.api_version() == api_version && kind.name == name);
        self.discovery.find(api_version, name).or_else(promised)
    }
}
