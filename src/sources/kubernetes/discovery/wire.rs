//! Discovery documents as servers send them: aggregated, and of each group version.

use std::collections::HashMap;

use serde::Deserialize;

use super::super::kind::Kind;

/// The forms that are understood, the best first. Servers before 1.26 only know the last.
pub(super) const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// The answer to `/api` or `/apis`, in whatever form the server has.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind")]
pub(super) enum Document {
    #[serde(rename = "APIGroupDiscoveryList")]
    Aggregated { items: Vec<Group> },
    #[serde(rename = "APIGroupList")]
    Groups { groups: Vec<PlainGroup> },
    #[serde(rename = "APIVersions")]
    CoreVersions { versions: Vec<String> },
}

#[derive(Debug, Deserialize)]
pub(super) struct Group {
    #[serde(default)]
    pub(super) metadata: Named,
    #[serde(default)]
    pub(super) versions: Vec<Version>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) version: String,
    #[serde(default)]
    pub(super) resources: Vec<Resource>,
    #[serde(default)]
    freshness: String,
}

impl Version {
    /// The server itself could read this group version lately.
    pub(super) fn is_fresh(&self) -> bool {
        // Absent in `/api`, which is never stale.
        self.freshness.is_empty() || self.freshness == "Current"
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource {
    resource: String,
    /// Absent where a kind has subresources only.
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    subresources: Vec<Subresource>,
}

#[derive(Debug, Deserialize)]
struct ResponseKind {
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Subresource {
    subresource: String,
}

impl Resource {
    pub(super) fn into_kind(self, group: &str, version: &str, aggregated: bool) -> Option<Kind> {
        Some(Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            name: self.response_kind.filter(|kind| !kind.kind.is_empty())?.kind,
            plural: self.resource,
            namespaced: self.scope == "Namespaced",
            aggregated,
            verbs: self.verbs,
            subresources: self.subresources.into_iter().map(|sub| sub.subresource).collect(),
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct PlainGroup {
    pub(super) name: String,
    pub(super) versions: Vec<PlainVersion>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PlainVersion {
    pub(super) version: String,
}

/// The answer to `/api/v1` or `/apis/<group>/<version>`.
#[derive(Debug, Deserialize)]
pub(super) struct PlainResources {
    resources: Vec<PlainResource>,
}

#[derive(Debug, Deserialize)]
struct PlainResource {
    name: String,
    kind: String,
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

impl PlainResources {
    pub(super) fn into_kinds(self, group: &str, version: &str, aggregated: bool) -> Vec<Kind> {
        let (subresources, resources): (Vec<_>, Vec<_>) =
            self.resources.into_iter().partition(|resource| resource.name.contains('/'));
        let of = |plural: &str| {
            let names = subresources.iter().filter_map(|sub| sub.name.split_once('/'));
            names.filter(|(parent, _)| *parent == plural).map(|(_, name)| name.to_owned()).collect()
        };
        let kinds = resources.into_iter().map(|resource| Kind {
            group: group.to_owned(),
            version: version.to_owned(),
            subresources: of(&resource.name),
            plural: resource.name,
            name: resource.kind,
            namespaced: resource.namespaced,
            aggregated,
            verbs: resource.verbs,
        });
        kinds.collect()
    }
}

/// A list of APIServices: which server answers for a group version.
#[derive(Debug, Deserialize)]
pub(super) struct ApiServices {
    pub(super) items: Vec<ApiService>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ApiService {
    #[serde(default)]
    metadata: Labelled,
    pub(super) spec: ApiServiceSpec,
}

#[derive(Debug, Default, Deserialize)]
struct Labelled {
    #[serde(default)]
    labels: HashMap<String, String>,
}

impl ApiService {
    /// The server has made it for CustomResourceDefinitions. Those of its own groups are marked `onstart`.
    pub(super) fn is_of_definitions(&self) -> bool {
        let mark = self.metadata.labels.get("kube-aggregator.kubernetes.io/automanaged");
        !self.spec.is_aggregated() && mark.is_some_and(|mark| mark == "true")
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ApiServiceSpec {
    #[serde(default)]
    pub(super) group: String,
    pub(super) version: String,
    service: Option<serde::de::IgnoredAny>,
}

impl ApiServiceSpec {
    pub(super) fn is_aggregated(&self) -> bool {
        self.service.is_some()
    }
}

/// A list of CustomResourceDefinitions, of which only the versions matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Definitions {
    pub(super) items: Vec<Definition>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Definition {
    pub(super) spec: DefinitionSpec,
}

#[derive(Debug, Deserialize)]
pub(super) struct DefinitionSpec {
    pub(super) versions: Vec<DefinitionVersion>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DefinitionVersion {
    pub(super) name: String,
    pub(super) served: bool,
    pub(super) storage: bool,
}
