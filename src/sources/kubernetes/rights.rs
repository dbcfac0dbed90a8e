//! The least that an identity must be allowed, so that a capture is complete. Pure.
//!
//! Nothing but `list`: `get` on everything is no read-only right, because it includes `pods/exec` over WebSocket.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Discovery, ServicePort,
    capture::can_be_restored,
    kind::{Kind, is_built_in_group},
    kinds,
    references::{APPLICATIONS, referable_kinds},
    selection::{ClusterScoped, KubernetesSelection, ObjectRule, is_pattern},
};

/// Built-in cluster-scoped kinds that can be listed, got and created, beside those that others refer to.
const CLUSTER_SCOPED: &[&str] = &[
    "certificatesigningrequests.certificates.k8s.io",
    "clustertrustbundles.certificates.k8s.io",
    "csidrivers.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "flowschemas.flowcontrol.apiserver.k8s.io",
    "ipaddresses.networking.k8s.io",
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
    "nodes",
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
    "resourceslices.resource.k8s.io",
    "servicecidrs.networking.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "volumeattachments.storage.k8s.io",
];

/// What every capture looks at: which namespaces there are and which are being deleted, which APIs other servers answer
/// for, in which version custom resources are stored, and whether a kind that is not found is still defined.
const LOOKED_AT: &[&str] =
    &["apiservices.apiregistration.k8s.io", "customresourcedefinitions.apiextensions.k8s.io", NAMESPACES];

const NAMESPACES: &str = "namespaces";

/// Kinds that may be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kinds {
    /// These: `plural.group`, or `*.group` for all of a group.
    These(BTreeSet<String>),
    /// Every kind.
    All,
}

/// What an identity must be allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// To list these kinds everywhere.
    pub everywhere: Kinds,
    /// To read the cluster's uid: to list the one Namespace `kube-system`.
    pub identity: bool,
    /// To list these kinds in these namespaces.
    pub namespaces: BTreeMap<String, Kinds>,
    /// To open port-forwards to the Pods of these Services, by namespace.
    pub forwards: BTreeMap<String, BTreeSet<String>>,
    /// What a person should know beside.
    pub notes: BTreeSet<String>,
}

impl Default for Kinds {
    /// None.
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl Kinds {
    /// No kind at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// `kind` is among them.
    #[must_use]
    pub fn includes(&self, kind: &str) -> bool {
        match self {
            Self::These(these) => these.contains(kind),
            Self::All => true,
        }
    }

    /// Adds kinds.
    pub fn add(&mut self, kinds: impl IntoIterator<Item = String>) {
        if let Self::These(these) = self {
            these.extend(kinds);
        }
    }

    fn merge(&mut self, other: Self) {
        match other {
            Self::These(these) => self.add(these),
            Self::All => *self = Self::All,
        }
    }
}

impl Rights {
    /// Adds what a capture of `selection` needs. With what the cluster serves, each kind is named; without it, kinds are
    /// named only where the selection names all that it takes, because rights know no "all but".
    pub fn add_selection(&mut self, selection: &KubernetesSelection, served: Option<&Discovery>) {
        // Without all namespaces, one that is gone or going could not be told from an empty one.
        self.everywhere.add(LOOKED_AT.iter().map(|kind| (*kind).to_owned()));
        let by_name = selection.namespaces.iter().all(|name| !is_pattern(name));
        match served {
            Some(discovery) => self.add_served(selection, discovery, by_name),
            None => self.add_written(selection, by_name),
        }
    }

    fn add_served(&mut self, selection: &KubernetesSelection, discovery: &Discovery, by_name: bool) {
        for unread in discovery.unread() {
            self.notes.insert(format!(
                "group {}/{} did not answer: what it serves is not in these roles",
                unread.group, unread.version
            ));
        }
        let kinds = discovery.kinds().into_iter().filter(|kind| can_be_restored(kind));
        let (namespaced, clusterwide): (Vec<&Kind>, Vec<&Kind>) =
            kinds.filter(|kind| selection.takes_kind(kind)).partition(|kind| kind.namespaced);
        // Patterns are no words of rights, and all of a cluster may belong to such a source tomorrow.
        if !by_name {
            self.everywhere.add(namespaced.iter().map(|kind| kind.id()));
        }
        for namespace in selection.named_namespaces().filter(|_| by_name) {
            let of_it = namespaced.iter().filter(|kind| selection.takes_kind_in(kind, namespace));
            self.namespaces.entry(namespace.to_owned()).or_default().add(of_it.map(|kind| kind.id()));
        }
        let scope = selection.cluster_scoped();
        let referable = |kind: &&&Kind| {
            scope == ClusterScoped::All
                || !is_built_in_group(&kind.group)
                || referable_kinds().any(|known| known == kind.id())
        };
        if scope != ClusterScoped::None {
            self.everywhere.add(clusterwide.iter().filter(referable).map(|kind| kind.id()));
        }
        if scope == ClusterScoped::Referenced {
            self.everywhere.add(namespaced.iter().map(|kind| kind.id()).filter(|id| id == APPLICATIONS));
        }
        // Without its keys no SealedSecret can be opened again, so they are looked for everywhere.
        if discovery.ids().any(|id| id == "sealedsecrets.bitnami.com") {
            self.everywhere.add(["secrets".to_owned()]);
        }
    }

    fn add_written(&mut self, selection: &KubernetesSelection, by_name: bool) {
        if by_name {
            for namespace in selection.named_namespaces() {
                let kinds = self.written(selection, Some(namespace));
                self.namespaces.entry(namespace.to_owned()).or_default().merge(kinds);
            }
        } else {
            let kinds = self.written(selection, None);
            self.everywhere.merge(kinds);
        }
        let may_hold = |id: &&str| selection.may_hold(id, kinds::left_out(id).is_none(), "");
        let to_own = |id: &str| id.to_owned();
        match selection.cluster_scoped() {
            ClusterScoped::None => {}
            ClusterScoped::Referenced => self.everywhere.add(referable_kinds().filter(may_hold).map(to_own)),
            ClusterScoped::All => {
                let known = referable_kinds().chain(CLUSTER_SCOPED.iter().copied());
                self.everywhere.add(known.filter(may_hold).map(to_own));
                if by_name {
                    self.note(
                        "the policy takes all cluster-scoped objects: name custom cluster-scoped kinds with --kind or let \
                         --from-cluster find them, or the backup is partial and names them",
                    );
                }
            }
        }
    }

    /// The kinds of which `namespace` may hold something of the source, as far as the selection writes them down.
    fn written(&mut self, selection: &KubernetesSelection, namespace: Option<&str>) -> Kinds {
        let reaches = |rule: &&ObjectRule| match namespace {
            Some(namespace) => rule.reaches(namespace),
            None => rule.namespaces.is_empty(),
        };
        let left_out: Vec<&str> = selection
            .exclude
            .iter()
            .filter(|rule| rule.selector.is_none() && reaches(rule))
            .flat_map(|rule| if rule.kinds.is_empty() { vec!["*"] } else { strs(&rule.kinds) })
            .collect();
        if !left_out.contains(&"*") {
            if !left_out.is_empty() {
                self.note(format!(
                    "roles cannot say \"all but\": these let {} be listed, which the policy leaves out; with \
                     --from-cluster each kind is named, and they do not",
                    left_out.join(", ")
                ));
            }
            return Kinds::All;
        }
        let mut found = Kinds::default();
        let included = |rule: &&ObjectRule| namespace.is_none_or(|namespace| rule.reaches(namespace));
        for rule in selection.include.iter().filter(included) {
            let named = |kind: &str| !is_pattern(kind.strip_prefix("*.").unwrap_or(kind));
            if rule.kinds.is_empty() || !rule.kinds.iter().all(|kind| named(kind)) {
                return Kinds::All;
            }
            found.add(rule.kinds.iter().filter(|kind| !is_known_cluster_scoped(kind)).cloned());
        }
        found
    }

    /// Adds what a port-forward needs.
    pub fn add_forward(&mut self, to: &ServicePort) {
        self.identity = true;
        self.forwards.entry(to.namespace.clone()).or_default().insert(to.service.clone());
    }

    /// Whether nothing of a cluster is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.insert(text.into());
    }
}

fn strs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// No namespace can hold an object of this kind.
fn is_known_cluster_scoped(kind: &str) -> bool {
    let mut known = referable_kinds().filter(|known| *known != APPLICATIONS).chain(CLUSTER_SCOPED.iter().copied());
    kind == NAMESPACES || known.any(|known| known == kind)
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    fn rules(kinds: &[&str]) -> Vec<ObjectRule> {
        kinds.iter().map(|kind| ObjectRule::of_kind(*kind)).collect()
    }

    fn selection(namespaces: &[&str], exclude: &[&str], include: &[&str]) -> KubernetesSelection {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        let (exclude, include) = (rules(exclude), rules(include));
        KubernetesSelection { namespaces, exclude, include, ..KubernetesSelection::default() }
    }

    fn of(selection: &KubernetesSelection) -> Rights {
        let mut rights = Rights::default();
        rights.add_selection(selection, None);
        rights
    }

    fn these(kinds: &Kinds) -> Vec<&str> {
        match kinds {
            Kinds::These(these) => these.iter().map(String::as_str).collect(),
            Kinds::All => vec!["every kind"],
        }
    }

    fn everywhere(rights: &Rights) -> Vec<&str> {
        these(&rights.everywhere).into_iter().filter(|kind| !LOOKED_AT.contains(kind)).collect()
    }

    #[test]
    fn namespaces_by_name_need_no_right_in_any_other() {
        let rights = of(&selection(&["a", "b"], &[], &[]));
        assert_eq!(rights.namespaces, BTreeMap::from(["a", "b"].map(|name| (name.to_owned(), Kinds::All))));
        let listed = everywhere(&rights);
        assert!(listed.contains(&"clusterrolebindings.rbac.authorization.k8s.io") && !listed.contains(&"secrets"));
        let scoped = |scope| KubernetesSelection { cluster_scoped: Some(scope), ..selection(&["a"], &[], &[]) };
        assert!(everywhere(&of(&scoped(ClusterScoped::None))).is_empty());
        let all = of(&scoped(ClusterScoped::All));
        assert!(everywhere(&all).contains(&"csidrivers.storage.k8s.io"));
        assert!(!everywhere(&all).contains(&"nodes"), "they are left out unless they are included");
        let with_nodes = KubernetesSelection { include: rules(&["nodes"]), ..scoped(ClusterScoped::All) };
        assert!(everywhere(&of(&with_nodes)).contains(&"nodes"));
    }

    #[test]
    fn a_pattern_of_namespaces_needs_its_right_everywhere() {
        for pattern in ["*", "team-*", "team-?"] {
            assert_eq!(of(&selection(&["a", pattern], &[], &[])).everywhere, Kinds::All, "{pattern}");
        }
        let narrow = KubernetesSelection {
            cluster_scoped: Some(ClusterScoped::None),
            ..selection(&["*"], &["*"], &["secrets", "*.example.com"])
        };
        assert_eq!(everywhere(&of(&narrow)), ["*.example.com", "secrets"]);
    }

    #[test]
    fn a_selection_that_names_its_kinds_needs_these_and_no_others() {
        let rights = of(&selection(&["a"], &["*"], &["secrets", "deployments.apps", "storageclasses.storage.k8s.io"]));
        assert_eq!(these(&rights.namespaces["a"]), ["deployments.apps", "secrets"]);
        assert_eq!(everywhere(&rights), ["storageclasses.storage.k8s.io"]);
        assert!(rights.notes.is_empty());

        let mut by_namespace = selection(&["a", "b", "c"], &[], &["configmaps"]);
        by_namespace.exclude = vec![ObjectRule { namespaces: vec!["a".into(), "b".into()], ..ObjectRule::default() }];
        by_namespace.include[0].namespaces = vec!["a".to_owned()];
        let rights = of(&by_namespace);
        assert_eq!(these(&rights.namespaces["a"]), ["configmaps"]);
        assert!(rights.namespaces["b"].is_none());
        assert_eq!(rights.namespaces["c"], Kinds::All);

        // Who says what is left out, and not what is taken, must be told that roles cannot say it.
        let rights = of(&selection(&["a"], &["secrets"], &[]));
        assert_eq!(rights.namespaces["a"], Kinds::All);
        assert!(rights.notes.iter().any(|note| note.contains("let secrets be listed")), "{:?}", rights.notes);
        // A label may be on any kind.
        let mut labelled = selection(&["a"], &["*"], &[]);
        labelled.include = vec![ObjectRule { selector: Some("app=web".parse().unwrap()), ..ObjectRule::default() }];
        assert_eq!(of(&labelled).namespaces["a"], Kinds::All);
    }

    #[test]
    fn with_what_the_cluster_serves_each_kind_is_named() {
        let kind = |id: &str, namespaced: bool, verbs: &str| {
            let verbs = verbs.split(' ').map(str::to_owned).collect();
            Kind { namespaced, verbs, ..testing::kind(id) }
        };
        let all = "create get list";
        let served = vec![
            kind("bindings", true, "create"),
            kind("configmaps", true, all),
            kind("gateways.example.org", false, all),
            kind("nodes", false, all),
            kind("secrets", true, all),
            kind("storageclasses.storage.k8s.io", false, all),
            kind("csidrivers.storage.k8s.io", false, all),
            kind("widgets.example.org", true, all),
        ];
        let discovery = Discovery::of(served.clone(), Vec::new());
        let mut rights = Rights::default();
        rights.add_selection(&selection(&["a"], &["secrets"], &[]), Some(&discovery));
        assert_eq!(these(&rights.namespaces["a"]), ["configmaps", "widgets.example.org"]);
        assert_eq!(everywhere(&rights), ["gateways.example.org", "storageclasses.storage.k8s.io"]);
        assert!(rights.notes.is_empty());
        let mut rights = Rights::default();
        rights.add_selection(&selection(&["*"], &["secrets", "*.example.org"], &[]), Some(&discovery));
        let expected = ["configmaps", "csidrivers.storage.k8s.io", "storageclasses.storage.k8s.io"];
        assert_eq!(everywhere(&rights), expected);

        let sealed = served.into_iter().chain([kind("sealedsecrets.bitnami.com", true, all)]).collect();
        let mut rights = Rights::default();
        rights.add_selection(&selection(&["a"], &["secrets"], &[]), Some(&Discovery::of(sealed, Vec::new())));
        assert!(everywhere(&rights).contains(&"secrets"), "their keys are looked for everywhere");
    }
}
