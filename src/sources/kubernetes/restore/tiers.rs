//! In what order kinds are restored: what others need comes first.

use serde::{Deserialize, Serialize};

/// A step of the order. Objects of one tier are created at once, and a tier begins when the one
/// before it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// CustomResourceDefinitions; the next tier waits until they are established.
    Definitions,
    /// Namespaces.
    Namespaces,
    /// Storage, priority, runtime, ingress and other classes.
    Classes,
    /// ServiceAccounts, Roles and ClusterRoles.
    Accounts,
    /// RoleBindings and ClusterRoleBindings: the server looks at the role that they name.
    Bindings,
    /// Secrets, ConfigMaps, LimitRanges, NetworkPolicies.
    Configuration,
    /// Services, and the Endpoints and EndpointSlices that people wrote.
    Services,
    /// PersistentVolumeClaims and ResourceClaims.
    Claims,
    /// Deployments, StatefulSets, DaemonSets, bare ReplicaSets and Pods, Jobs.
    Workloads,
    /// Every kind that this table does not name: custom resources.
    CustomResources,
    /// CronJobs, HorizontalPodAutoscalers, PodDisruptionBudgets, Ingresses: what acts on workloads.
    Routing,
    /// ResourceQuotas, which would refuse what comes before them.
    Quotas,
    /// Webhooks, admission policies, APIServices: each may refuse requests while its server is not up.
    Admission,
}

impl Tier {
    /// What a person calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Definitions => "custom resource definitions",
            Self::Namespaces => "namespaces",
            Self::Classes => "classes",
            Self::Accounts => "accounts and roles",
            Self::Bindings => "role bindings",
            Self::Configuration => "configuration",
            Self::Services => "services",
            Self::Claims => "claims",
            Self::Workloads => "workloads",
            Self::CustomResources => "custom resources",
            Self::Routing => "routing and scaling",
            Self::Quotas => "quotas",
            Self::Admission => "admission",
        }
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The tier of the kind `plural` of `group` (empty: the core group).
#[must_use]
pub(super) fn tier_of(group: &str, plural: &str) -> Tier {
    match (group, plural) {
        ("apiextensions.k8s.io", "customresourcedefinitions") => Tier::Definitions,
        ("", "namespaces") => Tier::Namespaces,
        ("storage.k8s.io", "storageclasses" | "csidrivers" | "volumeattributesclasses")
        | ("scheduling.k8s.io", "priorityclasses")
        | ("node.k8s.io", "runtimeclasses")
        | ("networking.k8s.io", "ingressclasses" | "servicecidrs")
        | ("resource.k8s.io", "deviceclasses")
        | ("flowcontrol.apiserver.k8s.io", _)
        | ("certificates.k8s.io", "clustertrustbundles") => Tier::Classes,
        ("", "serviceaccounts") | ("rbac.authorization.k8s.io", "roles" | "clusterroles") => Tier::Accounts,
        ("rbac.authorization.k8s.io", _) => Tier::Bindings,
        ("", "secrets" | "configmaps" | "limitranges" | "podtemplates") | ("networking.k8s.io", "networkpolicies") => {
            Tier::Configuration
        }
        ("", "services" | "endpoints") | ("discovery.k8s.io", "endpointslices") => Tier::Services,
        ("", "persistentvolumes" | "persistentvolumeclaims") | ("resource.k8s.io", _) => Tier::Claims,
        ("", "pods" | "replicationcontrollers")
        | ("apps", "deployments" | "statefulsets" | "daemonsets" | "replicasets")
        | ("batch", "jobs") => Tier::Workloads,
        ("batch", "cronjobs")
        | ("autoscaling", "horizontalpodautoscalers")
        | ("policy", "poddisruptionbudgets")
        | ("networking.k8s.io", "ingresses") => Tier::Routing,
        ("", "resourcequotas") => Tier::Quotas,
        ("admissionregistration.k8s.io", _) | ("apiregistration.k8s.io", "apiservices") => Tier::Admission,
        _ => Tier::CustomResources,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_comes_first() {
        let order = [
            ("apiextensions.k8s.io", "customresourcedefinitions"),
            ("", "namespaces"),
            ("storage.k8s.io", "storageclasses"),
            ("", "serviceaccounts"),
            ("rbac.authorization.k8s.io", "rolebindings"),
            ("", "secrets"),
            ("", "services"),
            ("", "persistentvolumeclaims"),
            ("apps", "deployments"),
            ("example.org", "widgets"),
            ("batch", "cronjobs"),
            ("", "resourcequotas"),
            ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ];
        let tiers: Vec<Tier> = order.iter().map(|(group, plural)| tier_of(group, plural)).collect();
        assert!(tiers.is_sorted_by(|left, right| left < right), "{tiers:?}");
    }

    #[test]
    fn a_custom_kind_with_a_built_in_name_is_a_custom_resource() {
        assert_eq!(tier_of("serving.knative.dev", "services"), Tier::CustomResources);
    }
}
