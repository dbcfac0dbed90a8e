//! The least role for a policy, as Kubernetes objects.

use serde_json::{Value, json};

use super::repositories::kubernetes_selection;
use crate::{
    policy::{Policy, SourceSpec, Via},
    sources::kubernetes::{Rights, ServicePort},
};

/// How the role is made.
#[derive(Debug, Clone, Default)]
pub struct RbacOptions {
    /// What the names of its objects begin with.
    pub name: String,
    /// The ServiceAccount's namespace.
    pub namespace: String,
    /// The ServiceAccount.
    pub account: String,
    /// More kinds (`plural.group`) that may be listed everywhere.
    pub kinds: Vec<String>,
}

/// The roles that a backup of all sources of a policy needs, and their bindings.
#[derive(Debug, Clone, PartialEq)]
pub struct Rbac {
    /// The objects, in the order in which they are applied.
    pub objects: Vec<Value>,
    /// What a person should know beside.
    pub notes: Vec<String>,
}

const GROUP: &str = "rbac.authorization.k8s.io";

/// What an identity must be allowed for a complete backup of `policy`, and no more.
#[must_use]
pub fn rbac(policy: &Policy, options: &RbacOptions) -> Rbac {
    let mut rights = Rights::default();
    for spec in policy.sources.values() {
        match spec {
            SourceSpec::Kubernetes(spec) => rights.add_selection(&kubernetes_selection(spec)),
            SourceSpec::Postgres(spec) => {
                if let Some(Via::Kubernetes(via)) = &spec.via {
                    let (namespace, service) = (via.namespace.clone(), via.service.clone());
                    rights.add_forward(&ServicePort { namespace, service, port: via.port });
                }
            }
        }
    }
    rights.kinds.extend(options.kinds.iter().cloned());
    let mut objects = Vec::new();
    if !rights.is_empty() {
        cluster(&rights, options, &mut objects);
        namespaces(&rights, options, &mut objects);
        forwards(&rights, options, &mut objects);
    }
    Rbac { objects, notes: rights.notes.into_iter().collect() }
}

/// What may be listed in the whole cluster.
fn cluster(rights: &Rights, options: &RbacOptions, objects: &mut Vec<Value>) {
    let rules = if rights.everything {
        vec![json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]})]
    } else {
        let mut rules = Vec::new();
        if rights.identity && !rights.kinds.contains("namespaces") {
            let (names, resources) = (["kube-system"], ["namespaces"]);
            rules.push(json!({"apiGroups": [""], "resources": resources, "resourceNames": names, "verbs": ["list"]}));
        }
        rules.extend(by_group(rights));
        rules
    };
    objects.push(role("ClusterRole", &options.name, None, &rules));
    objects.push(binding("ClusterRoleBinding", &options.name, None, ("ClusterRole", &options.name), options));
}

/// The kinds that may be listed everywhere, a rule a group.
fn by_group(rights: &Rights) -> Vec<Value> {
    let mut groups: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for kind in &rights.kinds {
        let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
        groups.entry(group).or_default().push(plural);
    }
    let rule = |(group, plurals)| json!({"apiGroups": [group], "resources": plurals, "verbs": ["list"]});
    groups.into_iter().map(rule).collect()
}

/// What may be listed in the namespaces of the policy: one role, bound in each of them.
fn namespaces(rights: &Rights, options: &RbacOptions, objects: &mut Vec<Value>) {
    if rights.everything || rights.namespaces.is_empty() {
        return;
    }
    let name = format!("{}-namespace", options.name);
    let rules = [json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]})];
    objects.push(role("ClusterRole", &name, None, &rules));
    for namespace in &rights.namespaces {
        objects.push(binding("RoleBinding", &name, Some(namespace), ("ClusterRole", &name), options));
    }
}

/// Port-forwards, only where the policy names a Service.
fn forwards(rights: &Rights, options: &RbacOptions, objects: &mut Vec<Value>) {
    let name = format!("{}-port-forward", options.name);
    for (namespace, services) in &rights.forwards {
        let rules = [
            json!({"apiGroups": [""], "resources": ["services"], "resourceNames": services, "verbs": ["get"]}),
            json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}),
            // Over WebSocket it is a GET, for which servers from 1.35 on also want `create`.
            json!({"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]}),
        ];
        objects.push(role("Role", &name, Some(namespace), &rules));
        objects.push(binding("RoleBinding", &name, Some(namespace), ("Role", &name), options));
    }
}

fn metadata(name: &str, namespace: Option<&str>) -> Value {
    match namespace {
        Some(namespace) => json!({"name": name, "namespace": namespace}),
        None => json!({"name": name}),
    }
}

fn role(kind: &str, name: &str, namespace: Option<&str>, rules: &[Value]) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata(name, namespace), "rules": rules})
}

fn binding(kind: &str, name: &str, namespace: Option<&str>, role: (&str, &str), options: &RbacOptions) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": metadata(name, namespace),
        "roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1},
        "subjects": [{"kind": "ServiceAccount", "name": options.account, "namespace": options.namespace}],
    })
}
