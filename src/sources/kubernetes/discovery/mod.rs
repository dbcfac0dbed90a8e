//! Which kinds a cluster serves, and which parts of that it cannot say.
//!
//! The aggregated document is read by hand, because in it a group whose server does not answer
//! looks like a group without kinds: only its `freshness` tells, and a backup that overlooks it
//! misses data without a word.

mod wire;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use serde::de::DeserializeOwned;

use super::{
    Error, ErrorKind,
    client::{Call, Cluster, Patience, malformed},
    kind::{Kind, is_built_in_group, segment},
    kinds::NEWER_GROUP,
};
use wire::{ApiServices, DefinitionSpec, Definitions, Document, PlainResources};

/// All that a cluster serves.
#[derive(Debug, Clone, Default)]
pub struct Discovery {
    /// Each kind at each served version, the server's preferred versions first.
    served: Vec<Kind>,
    /// `(plural, group)` of custom resources, where the version in storage is not the preferred one.
    storage: HashMap<(String, String), String>,
    unread: Vec<Unread>,
    notes: Vec<String>,
}

/// A group version that exists and whose kinds are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The API group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Another server answers for it (its APIService has a Service).
    pub aggregated: bool,
    /// Why, in the server's words where it said something.
    pub why: String,
}

/// Discovery of a cluster with a thousand custom kinds is some 2 MB.
const LIMIT: usize = 16 << 20;
const AT_ONCE: usize = 16;
/// How long a group that the server calls stale may take to answer for itself.
const STALE_DEADLINE: Duration = Duration::from_secs(10);
const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// How long a kind whose list is not found may still be announced.
const GONE_DEADLINE: Duration = Duration::from_secs(5);
const GONE_INTERVAL: Duration = Duration::from_millis(200);

impl Discovery {
    /// Asks the cluster.
    ///
    /// # Errors
    /// If the cluster cannot be asked at all. Single groups that do not answer are [`Self::unread`].
    pub async fn read(cluster: &Cluster) -> Result<Self, Error> {
        let act = "read which kinds the cluster serves";
        let (core, groups, services) = tokio::join!(
            document(cluster, act, "/api"),
            document(cluster, act, "/apis"),
            read_json::<ApiServices>(cluster, "list apiservices", API_SERVICES),
        );
        let mut discovery = Self::default();
        let mut aggregated = HashSet::new();
        let mut announced = Vec::new();
        match services {
            Ok(services) => {
                for spec in services.items.into_iter().map(|service| service.spec) {
                    if spec.is_aggregated() {
                        aggregated.insert((spec.group.clone(), spec.version.clone()));
                    }
                    announced.push((spec.group, spec.version));
                }
            }
            Err(error) => discovery.notes.push(format!("which APIs are aggregated is not known: {error}")),
        }
        let mut unanswered = discovery.take(core?, &aggregated);
        unanswered.extend(discovery.take(groups?, &aggregated));
        // What an APIService announces and discovery does not show is as good as stale.
        let known: HashSet<_> =
            discovery.served.iter().map(|kind| (kind.group.clone(), kind.version.clone())).collect();
        let asked: HashSet<_> = unanswered.iter().cloned().collect();
        unanswered.extend(announced.into_iter().filter(|both| !known.contains(both) && !asked.contains(both)));
        discovery.ask_each(cluster, unanswered, &aggregated).await;
        discovery.read_storage_versions(cluster).await;
        Ok(discovery)
    }

    /// A cluster that serves these kinds.
    #[cfg(test)]
    pub(super) fn of(served: Vec<Kind>, unread: Vec<Unread>) -> Self {
        Self { served, unread, ..Self::default() }
    }

    /// Every kind once, at the version to capture: the preferred one, and a custom resource's
    /// version in storage. A kind that lives in two groups is there under the newer one only.
    #[must_use]
    pub fn kinds(&self) -> Vec<&Kind> {
        let mut seen = HashSet::new();
        let mut kinds = Vec::new();
        for kind in &self.served {
            let key = (kind.plural.as_str(), kind.group.as_str());
            if seen.contains(&key) || self.has_newer(kind) {
                continue;
            }
            let storage = self.storage.get(&(kind.plural.clone(), kind.group.clone()));
            let storage =
                storage.filter(|version| self.versions(&kind.group, &kind.plural).any(|it| it.version == **version));
            if storage.is_none_or(|version| *version == kind.version) {
                seen.insert(key);
                kinds.push(kind);
            }
        }
        kinds
    }

    /// The kind that objects of `api_version` and `name` (`Deployment`) belong to, if it is served.
    #[must_use]
    pub fn find(&self, api_version: &str, name: &str) -> Option<&Kind> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.served.iter().find(|kind| kind.group == group && kind.version == version && kind.name == name)
    }

    /// Every served version of the kind `plural` of `group`, the server's preferred one first.
    pub fn versions<'a>(&'a self, group: &'a str, plural: &'a str) -> impl Iterator<Item = &'a Kind> {
        self.served.iter().filter(move |kind| kind.group == group && kind.plural == plural)
    }

    /// The ids (`plural.group`) of all that is served, those of older groups included.
    pub fn ids(&self) -> impl Iterator<Item = String> {
        let ids: std::collections::BTreeSet<String> = self.served.iter().map(Kind::id).collect();
        ids.into_iter()
    }

    /// Group versions that exist and did not answer.
    #[must_use]
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// What a person should know about this discovery.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn has_newer(&self, kind: &Kind) -> bool {
        let newer = NEWER_GROUP.iter().find(|row| row.plural == kind.plural && row.old == kind.group);
        newer.is_some_and(|row| self.served.iter().any(|other| other.plural == row.plural && other.group == row.new))
    }

    /// Takes what a document says, and gives the group versions that must be asked one by one.
    fn take(&mut self, document: Document, aggregated: &HashSet<(String, String)>) -> Vec<(String, String)> {
        let mut unanswered = Vec::new();
        match document {
            Document::Aggregated { items } => {
                for group in items {
                    let name = group.metadata.name;
                    for version in group.versions {
                        let key = (name.clone(), version.version.clone());
                        if !version.is_fresh() {
                            unanswered.push(key);
                            continue;
                        }
                        let foreign = aggregated.contains(&key);
                        let kinds = version.resources.into_iter();
                        self.served.extend(kinds.filter_map(|resource| resource.into_kind(&key.0, &key.1, foreign)));
                    }
                }
            }
            Document::Groups { groups } => {
                for group in groups {
                    unanswered.extend(group.versions.into_iter().map(|version| (group.name.clone(), version.version)));
                }
            }
            Document::CoreVersions { versions } => {
                unanswered.extend(versions.into_iter().map(|version| (String::new(), version)));
            }
        }
        unanswered
    }

    async fn ask_each(
        &mut self,
        cluster: &Cluster,
        groups: Vec<(String, String)>,
        aggregated: &HashSet<(String, String)>,
    ) {
        let answers = stream::iter(groups).map(|(group, version)| async move {
            let answer = ask_one(cluster, &group, &version).await;
            (group, version, answer)
        });
        let answers: Vec<_> = answers.buffered(AT_ONCE).collect().await;
        for (group, version, answer) in answers {
            let foreign = aggregated.contains(&(group.clone(), version.clone()));
            match answer {
                Ok(resources) => self.served.extend(resources.into_kinds(&group, &version, foreign)),
                // Announced and gone: there is nothing of this kind to capture.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => self.unread.push(Unread { group, version, aggregated: foreign, why: error.reason }),
            }
        }
    }

    /// A custom resource is read at the version that it is stored in: any other goes through a
    /// conversion, which may fail or lose something. Only kinds with a choice are asked for.
    async fn read_storage_versions(&mut self, cluster: &Cluster) {
        let mut versions: HashMap<(&str, &str), u32> = HashMap::new();
        for kind in self.served.iter().filter(|kind| !kind.aggregated && !is_built_in_group(&kind.group)) {
            *versions.entry((&kind.plural, &kind.group)).or_default() += 1;
        }
        let several: Vec<(String, String)> = versions
            .into_iter()
            .filter(|(_, count)| *count > 1)
            .map(|((plural, group), _)| (plural.to_owned(), group.to_owned()))
            .collect();
        let answers = stream::iter(several).map(|(plural, group)| async move {
            let act = format!("read the stored version of {plural}.{group}");
            let answer = definition(cluster, &act, &plural, &group).await;
            (plural, group, answer)
        });
        let answers: Vec<_> = answers.buffer_unordered(AT_ONCE).collect().await;
        for (plural, group, answer) in answers {
            match answer {
                Ok(definition) => {
                    let versions = definition.into_iter().flat_map(|definition| definition.versions);
                    if let Some(stored) = versions.into_iter().find(|version| version.storage && version.served) {
                        self.storage.insert((plural, group), stored.name);
                    }
                }
                Err(error) => self.notes.push(format!("{plural}.{group} is read at its preferred version: {error}")),
            }
        }
    }
}

/// Whether a kind is served no more, whose list was answered with 404: somebody has removed its definition meanwhile.
///
/// The definition itself says it at once, and says it still where the kind has only lost the version that was asked for:
/// its objects are there, and are not captured. Discovery is asked where it cannot be.
pub(super) async fn is_gone(cluster: &Cluster, kind: &Kind) -> bool {
    if kind.aggregated || is_built_in_group(&kind.group) {
        return is_announced_no_more(cluster, kind).await;
    }
    let act = format!("read whether {} is still defined", kind.id());
    match definition(cluster, &act, &kind.plural, &kind.group).await {
        Ok(Some(_)) => false,
        Ok(None) => had_a_definition(cluster, kind).await || is_announced_no_more(cluster, kind).await,
        // Not allowed to look, or a server that knows no definitions.
        Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::NotFound) => {
            is_announced_no_more(cluster, kind).await
        }
        Err(_) => false,
    }
}

/// The definition of the custom resources `plural.group`, if there is one now: a list that names no `resourceVersion` is
/// never answered from a cache that lags behind.
async fn definition(cluster: &Cluster, act: &str, plural: &str, group: &str) -> Result<Option<DefinitionSpec>, Error> {
    let name = segment(&format!("{plural}.{group}"));
    let definitions =
        read_json::<Definitions>(cluster, act, &format!("{DEFINITIONS}?fieldSelector=metadata.name%3D{name}")).await?;
    Ok(definitions.items.into_iter().next().map(|definition| definition.spec))
}

/// Whether a kind that has no definition had one. A group of the server itself that is too new to be known here never
/// had any, nor had one of another server that is not known as such.
async fn had_a_definition(cluster: &Cluster, kind: &Kind) -> bool {
    let name = segment(&format!("{}.{}", kind.version, kind.group));
    let act = format!("read who answers for {}/{}", kind.group, kind.version);
    let path = format!("{API_SERVICES}?fieldSelector=metadata.name%3D{name}");
    let services = read_json::<ApiServices>(cluster, &act, &path).await;
    // It goes with the last definition of its group and version.
    services.is_ok_and(|services| services.items.iter().all(wire::ApiService::is_of_definitions))
}

/// What the server says of its kinds may lag behind a removal by a moment.
async fn is_announced_no_more(cluster: &Cluster, kind: &Kind) -> bool {
    let served = async {
        loop {
            match ask_one(cluster, &kind.group, &kind.version).await {
                Ok(resources) => {
                    let served = resources.into_kinds(&kind.group, &kind.version, kind.aggregated);
                    if !served.iter().any(|other| other.plural == kind.plural) {
                        return true;
                    }
                }
                Err(error) => return error.kind == ErrorKind::NotFound,
            }
            tokio::time::sleep(GONE_INTERVAL).await;
        }
    };
    tokio::time::timeout(GONE_DEADLINE, served).await.unwrap_or(false)
}

async fn document(cluster: &Cluster, act: &str, path: &str) -> Result<Document, Error> {
    let call = Call { accept: Some(wire::ACCEPT), ..Call::get(act, path, LIMIT) };
    let reply = cluster.read(&call, Patience::default()).await.map_err(|error| error.into_error(&call))?;
    parse(act, &reply.success(act)?)
}

async fn ask_one(cluster: &Cluster, group: &str, version: &str) -> Result<PlainResources, Error> {
    let path = if group.is_empty() {
        format!("/api/{}", segment(version))
    } else {
        format!("/apis/{}/{}", segment(group), segment(version))
    };
    let act = format!("read which kinds {group}/{version} has");
    let call = Call::get(&act, &path, LIMIT);
    let patience = Patience { tries: 2, ..Patience::default() };
    match tokio::time::timeout(STALE_DEADLINE, cluster.read(&call, patience)).await {
        Ok(outcome) => parse(&act, &outcome.map_err(|error| error.into_error(&call))?.success(&act)?),
        Err(_) => Err(Error::new(ErrorKind::Unreachable, act, format!("no answer in {} s", STALE_DEADLINE.as_secs()))),
    }
}

async fn read_json<T: DeserializeOwned>(cluster: &Cluster, act: &str, path: &str) -> Result<T, Error> {
    parse(act, &cluster.get(act, path, LIMIT).await?)
}

fn parse<T: DeserializeOwned>(act: &str, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| malformed(act, &error))
}

#[cfg(test)]
mod tests;
