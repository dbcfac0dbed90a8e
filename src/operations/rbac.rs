//! The least role for a policy, as Kubernetes objects.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Error, Run, repositories::kubernetes_selection};
use crate::{
    policy::{Policy, SourceSpec},
    sources::kubernetes::{Cluster, ConnectOptions, Discovery, Kinds, Rights, ServicePort},
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

/// What an identity must be allowed for a complete backup of `policy`, and no more: as far as the policy alone says it.
#[must_use]
pub fn rbac(policy: &Policy, options: &RbacOptions) -> Rbac {
    of_rights(policy, options, None)
}

/// As [`rbac`], with each kind by name that the cluster serves today.
///
/// # Errors
/// [`Error::Kubernetes`] if the cluster cannot be reached or does not say what it serves, [`Error::Interrupted`].
pub async fn rbac_of_cluster(
    policy: &Policy,
    options: &RbacOptions,
    connect: &ConnectOptions,
    run: &Run,
) -> Result<Rbac, Error> {
    let served = async {
        let cluster = Cluster::connect(connect).await?;
        Ok::<_, Error>(Discovery::read(&cluster).await?)
    };
    let served = tokio::select! {
        biased;
        () = run.cancel.cancelled() => return Err(Error::Interrupted),
        served = served => served?,
    };
    Ok(of_rights(policy, options, Some(&served)))
}

fn of_rights(policy: &Policy, options: &RbacOptions, served: Option<&Discovery>) -> Rbac {
    let mut rights = Rights::default();
    for spec in policy.sources.values() {
        match spec {
            SourceSpec::Kubernetes(spec) => rights.add_selection(&kubernetes_selection(spec), served),
            SourceSpec::Postgres(_) | SourceSpec::Mongodb(_) => {
                if let Some(via) = spec.via() {
                    let (namespace, service) = (via.namespace.clone(), via.service.clone());
                    rights.add_forward(&ServicePort { namespace, service, port: via.port });
                }
            }
        }
    }
    rights.everywhere.add(options.kinds.iter().cloned());
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
    let mut rules = lists(&rights.everywhere);
    if rights.identity && !rights.everywhere.includes("namespaces") {
        let (names, resources) = (["kube-system"], ["namespaces"]);
        rules.push(json!({"apiGroups": [""], "resources": resources, "resourceNames": names, "verbs": ["list"]}));
    }
    objects.push(role("ClusterRole", &options.name, None, &rules));
    objects.push(binding("ClusterRoleBinding", &options.name, None, ("ClusterRole", &options.name), options));
}

/// The right to list kinds, a rule a group.
fn lists(kinds: &Kinds) -> Vec<Value> {
    let Kinds::These(kinds) = kinds else {
        return vec![json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]})];
    };
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in kinds {
        let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
        groups.entry(group).or_default().push(plural);
    }
    let rule = |(group, plurals): (&str, Vec<&str>)| {
        let plurals = if plurals.contains(&"*") { vec!["*"] } else { plurals };
        json!({"apiGroups": [group], "resources": plurals, "verbs": ["list"]})
    };
    groups.into_iter().map(rule).collect()
}

/// What may be listed in the namespaces of the policy: a role in each of them.
fn namespaces(rights: &Rights, options: &RbacOptions, objects: &mut Vec<Value>) {
    if rights.everywhere == Kinds::All {
        return;
    }
    let name = &options.name;
    for (namespace, kinds) in rights.namespaces.iter().filter(|(_, kinds)| !kinds.is_none()) {
        objects.push(role("Role", name, Some(namespace), &lists(kinds)));
        objects.push(binding("RoleBinding", name, Some(namespace), ("Role", name), options));
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
