//! Which objects a controller makes again by itself.

use std::fmt;

use super::Meta;

/// Objects that are made again by a controller after a restore, and are therefore neither captured
/// nor restored.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// `plural.group` of the kinds that it is about.
    pub kinds: &'static [&'static str],
    /// Which of their objects.
    pub when: When,
    /// Who makes them again.
    pub why: &'static str,
}

/// What is true of an object.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// Its controller (the owner reference with `controller: true`) is of one of these kinds, as
    /// (group, kind). An owner that does not control it does not count.
    ControlledBy(&'static [(&'static str, &'static str)]),
    /// It has this name, in any namespace.
    Named(&'static str),
    /// It is this object, as (namespace, name).
    Is(&'static str, &'static str),
    /// Its name begins so.
    NameBegins(&'static str),
    /// It has this label with one of these values.
    Labelled(&'static str, &'static [&'static str]),
    /// It has this annotation with this value.
    Annotated(&'static str, &'static str),
    /// The server recorded who wrote its fields, and it was none but these.
    WrittenBy(&'static [&'static str]),
    /// No other than these has written a field of it, as far as the server recorded who did.
    WrittenByNoneBut(&'static [&'static str]),
    /// It has an annotation with this key.
    HasAnnotation(&'static str),
    /// It has no annotation with this key.
    LacksAnnotation(&'static str),
    /// All of these.
    All(&'static [When]),
}

const REPLICATION: &[(&str, &str)] = &[
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("batch", "Job"),
    ("", "ReplicationController"),
];
const RBAC: &[&str] = &[
    "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
];
/// How managed fields name the controller manager. Where one program is the whole control plane, it
/// goes by that program's name.
const CONTROLLER_MANAGER: &[&str] = &["kube-controller-manager", "hyperkube", "k3s", "kubelite"];
const SLICE_CONTROLLERS: &[&str] = &["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// Kinds whose objects are made again with new uids, as (group, kind). What such an object controls
/// goes with it: its maker makes that again, too, or it was for that one object only. Restored by
/// itself, it would have no owner: a claim without its Pod keeps that Pod's successor from starting.
pub const MADE_AGAIN_OWNERS: &[(&str, &str)] =
    &[("", "Pod"), ("apps", "ControllerRevision"), ("apps", "ReplicaSet"), ("batch", "Job")];

/// The table. What matches no row is captured and restored.
pub const MADE_AGAIN: &[Rule] = &[
    Rule {
        kinds: &["replicasets.apps"],
        when: When::ControlledBy(&[("apps", "Deployment")]),
        why: "made by its Deployment",
    },
    Rule { kinds: &["pods"], when: When::ControlledBy(REPLICATION), why: "made by its workload" },
    Rule {
        kinds: &["pods"],
        when: When::HasAnnotation("kubernetes.io/config.mirror"),
        why: "shows a static Pod, which its node's kubelet runs from a file",
    },
    // A Job that a person started from a CronJob is controlled by it, too, and nobody starts it again.
    Rule {
        kinds: &["jobs.batch"],
        when: When::All(&[
            When::ControlledBy(&[("batch", "CronJob")]),
            When::LacksAnnotation("cronjob.kubernetes.io/instantiate"),
        ]),
        why: "made by its CronJob",
    },
    Rule {
        kinds: &["controllerrevisions.apps"],
        when: When::ControlledBy(&[("apps", "DaemonSet"), ("apps", "StatefulSet")]),
        why: "made by its workload",
    },
    Rule {
        kinds: &["endpointslices.discovery.k8s.io"],
        when: When::All(&[
            When::Labelled("endpointslice.kubernetes.io/managed-by", SLICE_CONTROLLERS),
            When::WrittenByNoneBut(CONTROLLER_MANAGER),
        ]),
        why: "made by the endpoint slice controllers",
    },
    Rule {
        kinds: &["endpointslices.discovery.k8s.io", "endpoints", "services"],
        when: When::Is("default", "kubernetes"),
        why: "made by the API server for itself",
    },
    // A Service's selector is not in its Endpoints. Who wrote them is. Marks alone say little: a copy
    // that was made by hand carries them, too.
    Rule {
        kinds: &["endpoints"],
        when: When::All(&[
            When::Labelled("endpoints.kubernetes.io/managed-by", &["endpoint-controller"]),
            When::WrittenByNoneBut(CONTROLLER_MANAGER),
        ]),
        why: "made by the endpoints controller for a Service with a selector",
    },
    Rule {
        kinds: &["endpoints"],
        when: When::All(&[
            When::HasAnnotation("endpoints.kubernetes.io/last-change-trigger-time"),
            When::WrittenByNoneBut(CONTROLLER_MANAGER),
        ]),
        why: "made by the endpoints controller for a Service with a selector",
    },
    Rule {
        kinds: &["endpoints"],
        when: When::WrittenBy(CONTROLLER_MANAGER),
        why: "made by the endpoints controller for a Service with a selector",
    },
    Rule {
        kinds: &["configmaps"],
        when: When::Named("kube-root-ca.crt"),
        why: "made in every namespace by the controller manager",
    },
    Rule {
        kinds: &["configmaps"],
        when: When::Is("kube-system", "extension-apiserver-authentication"),
        why: "made by the API server for itself",
    },
    Rule {
        kinds: &["configmaps"],
        when: When::Is("kube-system", "kube-apiserver-legacy-service-account-token-tracking"),
        why: "made by the API server: since when it has watched who uses old tokens",
    },
    // The API server puts missing defaults back, but not what a person added to them.
    Rule {
        kinds: RBAC,
        when: When::All(&[
            When::Labelled("kubernetes.io/bootstrapping", &["rbac-defaults"]),
            When::Annotated("rbac.authorization.kubernetes.io/autoupdate", "true"),
            When::WrittenByNoneBut(&[
                "kube-apiserver",
                "clusterrole-aggregation-controller",
                "kube-controller-manager",
            ]),
        ]),
        why: "made by the API server, and as it made it",
    },
    Rule {
        kinds: &[
            "flowschemas.flowcontrol.apiserver.k8s.io",
            "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        ],
        when: When::Annotated("apf.kubernetes.io/autoupdate-spec", "true"),
        why: "made and kept by the API server",
    },
    Rule {
        kinds: &["priorityclasses.scheduling.k8s.io"],
        when: When::NameBegins("system-"),
        why: "made by the API server, which lets nobody else use this prefix",
    },
    Rule {
        kinds: &["apiservices.apiregistration.k8s.io"],
        when: When::Labelled("kube-aggregator.kubernetes.io/automanaged", &["onstart", "true"]),
        why: "made by the API server for its own groups and those of custom resources",
    },
    Rule {
        kinds: &["servicecidrs.networking.k8s.io"],
        when: When::Named("kubernetes"),
        why: "made by the API server from its own settings",
    },
];

impl When {
    /// It is true of the object with this metadata.
    #[must_use]
    pub fn holds(&self, meta: &Meta) -> bool {
        match self {
            Self::ControlledBy(kinds) => meta
                .controller()
                .is_some_and(|owner| kinds.iter().any(|(group, kind)| *group == owner.group() && *kind == owner.kind)),
            Self::Named(name) => meta.name == *name,
            Self::Is(namespace, name) => meta.namespace == *namespace && meta.name == *name,
            Self::NameBegins(start) => meta.name.starts_with(start),
            Self::Labelled(key, values) => meta.labels.get(*key).is_some_and(|value| values.contains(&value.as_str())),
            Self::Annotated(key, value) => meta.annotations.get(*key).is_some_and(|found| found == value),
            Self::WrittenBy(managers) => {
                meta.managers().next().is_some() && meta.managers().all(|manager| managers.contains(&manager))
            }
            Self::WrittenByNoneBut(managers) => meta.managers().all(|manager| managers.contains(&manager)),
            Self::HasAnnotation(key) => meta.annotations.contains_key(*key),
            Self::LacksAnnotation(key) => !meta.annotations.contains_key(*key),
            Self::All(all) => all.iter().all(|one| one.holds(meta)),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlledBy(kinds) => {
                let names: Vec<_> = kinds.iter().map(|(_, kind)| *kind).collect();
                write!(f, "controlled by a {}", names.join(", "))
            }
            Self::Named(name) => write!(f, "named `{name}`"),
            Self::Is("", name) => write!(f, "`{name}`"),
            Self::Is(namespace, name) => write!(f, "`{namespace}/{name}`"),
            Self::NameBegins(start) => write!(f, "named `{start}…`"),
            Self::Labelled(key, values) => write!(f, "label `{key}` = `{}`", values.join("` or `")),
            Self::Annotated(key, value) => write!(f, "annotation `{key}` = `{value}`"),
            Self::WrittenBy(managers) => write!(f, "known to be written only by `{}`", managers.join("`, `")),
            Self::WrittenByNoneBut(managers) => write!(f, "not written by others than `{}`", managers.join("`, `")),
            Self::HasAnnotation(key) => write!(f, "has annotation `{key}`"),
            Self::LacksAnnotation(key) => write!(f, "without annotation `{key}`"),
            Self::All(all) => {
                let texts: Vec<_> = all.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(", and "))
            }
        }
    }
}
