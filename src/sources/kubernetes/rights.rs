//! The least that an identity must be allowed, so that a capture is complete. Pure.
//!
//! Nothing but `list`: `get` on everything is no read-only right, because it includes `pods/exec` over WebSocket.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ServicePort,
    references::referable_kinds,
    selection::{ClusterScoped, KubernetesSelection},
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

/// What every capture of namespaces by name looks at: which namespaces there are and which are being deleted, which
/// APIs other servers answer for, and in which version custom resources are stored.
const LOOKED_AT: &[&str] =
    &["apiservices.apiregistration.k8s.io", "customresourcedefinitions.apiextensions.k8s.io", NAMESPACES];

/// What tools keep outside the namespaces that it is about: cert-manager's issuers, and in Argo CD's own namespace
/// the Applications that deploy into others. A cluster without them loses nothing by the right.
const REFERRED_BY_TOOLS: &[&str] = &["applications.argoproj.io", "clusterissuers.cert-manager.io"];

const NAMESPACES: &str = "namespaces";

/// What an identity must be allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// To list every kind, everywhere.
    pub everything: bool,
    /// To read the cluster's uid: to list the one Namespace `kube-system`.
    pub identity: bool,
    /// To list these kinds (`plural.group`) everywhere.
    pub kinds: BTreeSet<String>,
    /// To list every kind in these namespaces.
    pub namespaces: BTreeSet<String>,
    /// To open port-forwards to the Pods of these Services, by namespace.
    pub forwards: BTreeMap<String, BTreeSet<String>>,
    /// What a person should know beside.
    pub notes: BTreeSet<String>,
}

impl Rights {
    /// Adds what a capture of `selection` needs.
    pub fn add_selection(&mut self, selection: &KubernetesSelection) {
        let by_name = selection.namespaces.iter().all(|name| !name.contains(['*', '?']));
        if !by_name {
            // Rights know no patterns, and all of a cluster may belong to such a source tomorrow.
            self.everything = true;
            return;
        }
        self.namespaces.extend(selection.named_namespaces().map(str::to_owned));
        // Without all of them, a namespace that is gone or going could not be told from an empty one.
        self.kinds.extend(LOOKED_AT.iter().map(|kind| (*kind).to_owned()));
        match selection.cluster_scoped() {
            ClusterScoped::None => {}
            ClusterScoped::Referenced => {
                self.kinds.extend(referable_kinds().chain(REFERRED_BY_TOOLS.iter().copied()).map(str::to_owned));
            }
            ClusterScoped::All => {
                self.kinds.extend(referable_kinds().chain(CLUSTER_SCOPED.iter().copied()).map(str::to_owned));
                self.notes.insert(
                    "the policy takes all cluster-scoped objects: name custom cluster-scoped kinds with --kind, or the \
                     backup is partial and names them"
                        .to_owned(),
                );
            }
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(namespaces: &[&str], cluster_scoped: Option<ClusterScoped>) -> Rights {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        let mut rights = Rights::default();
        rights.add_selection(&KubernetesSelection { namespaces, cluster_scoped, ..KubernetesSelection::default() });
        rights
    }

    #[test]
    fn namespaces_by_name_need_no_right_in_any_other() {
        let rights = of(&["a", "b"], None);
        assert!(!rights.everything);
        assert_eq!(rights.namespaces, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert!(rights.kinds.contains("clusterrolebindings.rbac.authorization.k8s.io"));
        assert!(rights.kinds.contains("namespaces") && !rights.kinds.contains("secrets"));
        let none = of(&["a"], Some(ClusterScoped::None));
        assert!(!none.kinds.contains("clusterrolebindings.rbac.authorization.k8s.io"));
        assert!(of(&["a"], Some(ClusterScoped::All)).kinds.contains("nodes"));
    }

    #[test]
    fn a_pattern_needs_the_right_to_list_everything() {
        for pattern in ["*", "team-*", "team-?"] {
            assert!(of(&["a", pattern], None).everything, "{pattern}");
        }
    }
}
