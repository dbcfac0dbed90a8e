//! Which lists a capture consists of. Pure: from the selection and what the cluster says it has.

use super::super::{
    discovery::Discovery,
    kind::{Kind, segment},
    kinds::SEALED_SECRETS_KEY_LABEL,
    references::{APPLICATIONS, References},
    selection::{ClusterScoped, KubernetesSelection, Reach, Unanswered, is_pattern},
};

/// One kind to capture: one stream.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) lists: Vec<List>,
}

/// One list of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    /// Only objects of this namespace.
    pub(super) namespace: Option<String>,
    /// A selector, as a part of the query; or empty.
    pub(super) query: String,
    /// Which of the objects belong to the source.
    pub(super) keep: Keep,
    /// How an error calls what was to be listed.
    pub(super) what: String,
}

/// Which objects of a list belong to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All.
    All,
    /// Those in namespaces of the source.
    InNamespaces,
    /// Those in other namespaces.
    InOtherNamespaces,
    /// Namespaces of the source.
    Namespaces,
    /// What the source's objects refer to.
    Referenced,
    /// Those in other namespaces that deploy into the source's.
    Deploying,
}

/// The namespaces of the cluster, as far as they may be known.
#[derive(Debug, Clone)]
pub(super) enum Existing {
    /// They could be listed.
    Known(Vec<String>),
    /// They could not. Those that the policy names are taken to exist.
    Assumed(Vec<String>),
}

/// What to do, and what is already known to be missing.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// What can be read at once.
    pub(super) tasks: Vec<Task>,
    /// What depends on what was read, in the order of reading.
    pub(super) referenced: [Vec<&'a Kind>; 3],
    /// The namespaces to list one by one where the whole cluster may not be listed.
    pub(super) namespaces: Vec<String>,
    /// (what, why)
    pub(super) missing: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
}

pub(super) const NAMESPACES: &str = "namespaces";
const SECRETS: &str = "secrets";
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// More names than this are cheaper to find in the whole list.
const NAMES_ONE_BY_ONE: usize = 20;

impl Existing {
    pub(super) fn names(&self) -> &[String] {
        match self {
            Self::Known(names) | Self::Assumed(names) => names,
        }
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(selection: &KubernetesSelection, discovery: &'a Discovery, existing: &Existing) -> Self {
        let mut plan = Self { notes: discovery.notes().to_vec(), ..Self::default() };
        plan.namespaces = existing.names().iter().filter(|name| selection.takes_namespace(name)).cloned().collect();
        plan.judge_namespaces(selection, existing);
        plan.judge_unread(selection, discovery);
        let reach = selection.reach(existing.names());
        let kinds: Vec<&Kind> = discovery.kinds().into_iter().filter(|kind| can_be_restored(kind)).collect();
        plan.judge_included(selection, &kinds);
        plan.note_aggregated(selection, &kinds);
        for kind in &kinds {
            let id = kind.id();
            if id == NAMESPACES {
                plan.tasks.push(Task { kind: (*kind).clone(), lists: namespace_lists(&reach), id });
            } else if !selection.takes_kind(kind) {
                continue;
            } else if kind.namespaced {
                let mut lists = namespaced_lists(selection, kind, &reach);
                if id == APPLICATIONS && selection.cluster_scoped() == ClusterScoped::Referenced {
                    lists.push(deploying(&id));
                }
                if !lists.is_empty() {
                    plan.tasks.push(Task { kind: (*kind).clone(), lists, id });
                }
            } else {
                match selection.cluster_scoped() {
                    ClusterScoped::All => {
                        plan.tasks.push(Task { kind: (*kind).clone(), lists: vec![whole(&id, Keep::All)], id })
                    }
                    ClusterScoped::Referenced => plan.refer(kind, &id),
                    ClusterScoped::None => {}
                }
            }
        }
        plan.add_sealed_secrets_keys(&kinds);
        plan
    }

    /// Takes out the task that reads the Namespaces. It comes last: of a namespace that is made while
    /// the others are read, objects may be captured, and they need their Namespace.
    pub(super) fn take_namespaces(&mut self) -> Option<Task> {
        let place = self.tasks.iter().position(|task| task.id == NAMESPACES)?;
        Some(self.tasks.remove(place))
    }

    fn judge_namespaces(&mut self, selection: &KubernetesSelection, existing: &Existing) {
        match existing {
            Existing::Known(names) => {
                for name in selection.named_namespaces().filter(|name| !names.iter().any(|known| known == name)) {
                    let why = "the cluster has no such namespace".to_owned();
                    self.missing.push((format!("namespace {name}"), why));
                }
                for pattern in selection.namespaces.iter().filter(|pattern| pattern.contains(['*', '?'])) {
                    if !names.iter().any(|name| super::super::selection::matches(pattern, name)) {
                        self.notes.push(format!("no namespace matches `{pattern}`"));
                    }
                }
            }
            Existing::Assumed(_) => {
                let unknown = |pattern: &&String| pattern.contains(['*', '?']) && *pattern != "*";
                for pattern in selection.namespaces.iter().filter(unknown) {
                    let why = "namespaces may not be listed".to_owned();
                    self.missing.push((format!("namespaces like {pattern}"), why));
                }
            }
        }
    }

    fn judge_unread(&mut self, selection: &KubernetesSelection, discovery: &Discovery) {
        for unread in discovery.unread() {
            let group = format!("group {}/{}", unread.group, unread.version);
            match selection.judge_unread(unread) {
                Unanswered::Missing => self.missing.push((group, unread.why.clone())),
                Unanswered::Note => {
                    self.notes.push(format!("{group} belongs to another server and did not answer: {}", unread.why));
                }
                Unanswered::Nothing => {}
            }
        }
    }

    fn judge_included(&mut self, selection: &KubernetesSelection, kinds: &[&Kind]) {
        let names = selection.include.iter().flat_map(|rule| &rule.kinds);
        for name in names.filter(|name| !is_pattern(name)) {
            if !kinds.iter().any(|kind| kind.id() == *name) {
                let why = "the cluster serves no such kind that can be listed, got and created".to_owned();
                self.missing.push((format!("kind {name}"), why));
            }
        }
    }

    fn note_aggregated(&mut self, selection: &KubernetesSelection, kinds: &[&Kind]) {
        let left = kinds.iter().filter(|kind| kind.aggregated && !selection.takes_kind(kind));
        let names: Vec<_> = left.map(|kind| kind.id()).collect();
        if !names.is_empty() {
            self.notes.push(format!("kinds of other servers are left out unless included: {}", names.join(", ")));
        }
    }

    fn refer(&mut self, kind: &'a Kind, id: &str) {
        let [first, then, last] = &mut self.referenced;
        let wave = if References::is_first(id) {
            first
        } else if id == DEFINITIONS {
            last
        } else {
            then
        };
        wave.push(kind);
    }

    /// Without its keys no SealedSecret can be opened again, so they are taken wherever they are.
    fn add_sealed_secrets_keys(&mut self, kinds: &[&'a Kind]) {
        if !kinds.iter().any(|kind| kind.group == "bitnami.com" && kind.plural == "sealedsecrets") {
            return;
        }
        let Some(kind) = kinds.iter().find(|kind| kind.group.is_empty() && kind.plural == SECRETS) else { return };
        let keys = |keep| List {
            namespace: None,
            query: format!("labelSelector={}", segment(SEALED_SECRETS_KEY_LABEL)),
            keep,
            what: "the keys of sealed-secrets".to_owned(),
        };
        match self.tasks.iter_mut().find(|task| task.id == SECRETS) {
            Some(task) => task.lists.push(keys(Keep::InOtherNamespaces)),
            None => {
                self.tasks.push(Task { kind: (*kind).clone(), id: SECRETS.to_owned(), lists: vec![keys(Keep::All)] })
            }
        }
    }
}

/// The lists of a cluster-scoped kind of which only some objects are referred to. None: nothing is.
pub(super) fn referenced_lists(id: &str, references: &References) -> Vec<List> {
    match references.names_of(id) {
        Some(names) if names.len() <= NAMES_ONE_BY_ONE => {
            names.into_iter().map(|name| by_name(id, name, Keep::Referenced)).collect()
        }
        _ => vec![whole(id, Keep::Referenced)],
    }
}

/// The task of the Namespaces, and with them those in which something was captured that are not the
/// source's own.
pub(super) fn with_namespaces_of<'n>(
    mut task: Task,
    selection: &KubernetesSelection,
    found: impl Iterator<Item = &'n str>,
) -> Task {
    let strange = found.filter(|name| !name.is_empty() && !selection.takes_namespace(name));
    task.lists.extend(strange.map(|name| by_name(NAMESPACES, name, Keep::All)));
    task
}

/// All objects of a cluster-scoped kind.
pub(super) fn everything(id: &str) -> List {
    whole(id, Keep::All)
}

/// The lists of a namespaced kind, one for each namespace in which something of it may belong to the source.
pub(super) fn each_namespace(selection: &KubernetesSelection, kind: &Kind, namespaces: &[String]) -> Vec<List> {
    let id = kind.id();
    let list = |namespace: &String| List {
        namespace: Some(namespace.clone()),
        query: String::new(),
        keep: Keep::InNamespaces,
        what: format!("kind {id} in namespace {namespace}"),
    };
    namespaces.iter().filter(|namespace| selection.takes_kind_in(kind, namespace)).map(list).collect()
}

/// Only what can be listed, got and created is captured.
pub(in crate::sources::kubernetes) fn can_be_restored(kind: &Kind) -> bool {
    kind.can("list") && kind.can("get") && kind.can("create")
}

fn namespaced_lists(selection: &KubernetesSelection, kind: &Kind, reach: &Reach) -> Vec<List> {
    match reach {
        Reach::Each(namespaces) => each_namespace(selection, kind, namespaces),
        Reach::Cluster => vec![whole(&kind.id(), Keep::InNamespaces)],
    }
}

fn namespace_lists(reach: &Reach) -> Vec<List> {
    match reach {
        Reach::Each(namespaces) => namespaces.iter().map(|name| by_name(NAMESPACES, name, Keep::Namespaces)).collect(),
        Reach::Cluster => vec![whole(NAMESPACES, Keep::Namespaces)],
    }
}

fn deploying(id: &str) -> List {
    let what = format!("those of kind {id} in other namespaces that deploy into the source's");
    List { what, ..whole(id, Keep::Deploying) }
}

fn whole(id: &str, keep: Keep) -> List {
    List { namespace: None, query: String::new(), keep, what: format!("kind {id}") }
}

fn by_name(id: &str, name: &str, keep: Keep) -> List {
    List {
        namespace: None,
        query: format!("fieldSelector=metadata.name%3D{}", segment(name)),
        keep,
        what: format!("{name} of kind {id}"),
    }
}

#[cfg(test)]
mod tests;
