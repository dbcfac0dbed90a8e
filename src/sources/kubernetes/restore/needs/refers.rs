//! What an object needs to work, and names: Secrets, ConfigMaps, accounts, claims, classes, roles.

use serde_json::Value;

use super::super::recipe::pod_spec;
use crate::sources::kubernetes::compare::GroupKind;

/// A kind that others name: its id, its `apiVersion`, its `kind`, and whether it lives in a namespace.
pub(super) type Needed = (&'static str, &'static str, &'static str, bool);

const CONFIG_MAP: Needed = ("configmaps", "v1", "ConfigMap", true);
const SECRET: Needed = ("secrets", "v1", "Secret", true);
const ACCOUNT: Needed = ("serviceaccounts", "v1", "ServiceAccount", true);
const CLAIM: Needed = ("persistentvolumeclaims", "v1", "PersistentVolumeClaim", true);
const SERVICE: Needed = ("services", "v1", "Service", true);
const ROLE: Needed = ("roles.rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1", "Role", true);
const CLUSTER_ROLE: Needed =
    ("clusterroles.rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1", "ClusterRole", false);
const PRIORITY: Needed = ("priorityclasses.scheduling.k8s.io", "scheduling.k8s.io/v1", "PriorityClass", false);
const RUNTIME: Needed = ("runtimeclasses.node.k8s.io", "node.k8s.io/v1", "RuntimeClass", false);
const STORAGE: Needed = ("storageclasses.storage.k8s.io", "storage.k8s.io/v1", "StorageClass", false);
const INGRESS: Needed = ("ingressclasses.networking.k8s.io", "networking.k8s.io/v1", "IngressClass", false);

/// What is made in every namespace.
const EVERYWHERE: &[(&str, &str)] = &[("configmaps", "kube-root-ca.crt"), ("serviceaccounts", "default")];

/// What `object` names and cannot do without.
pub(super) fn references(object: &Value) -> Vec<(Needed, String)> {
    let mut found = Found::default();
    let kind = GroupKind::of(object);
    if let Some(spec) = pod_spec(kind).and_then(|pointer| object.pointer(pointer)) {
        found.pod(spec);
    }
    match (kind.group, kind.kind) {
        ("", "PersistentVolumeClaim") => found.add(STORAGE, object, "/spec/storageClassName"),
        ("", "ServiceAccount") => found.each(SECRET, object, "/imagePullSecrets", "/name"),
        ("apps", "StatefulSet") => found.each(STORAGE, object, "/spec/volumeClaimTemplates", "/spec/storageClassName"),
        ("networking.k8s.io", "Ingress") => found.ingress(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => found.binding(object),
        _ => {}
    }
    let mut all = found.0;
    all.retain(|((id, ..), name)| !name.is_empty() && !EVERYWHERE.contains(&(id, name)));
    all
}

#[derive(Default)]
struct Found(Vec<(Needed, String)>);

impl Found {
    fn add(&mut self, needed: Needed, value: &Value, pointer: &str) {
        if let Some(name) = value.pointer(pointer).and_then(Value::as_str) {
            self.0.push((needed, name.to_owned()));
        }
    }

    /// The name in a reference that may say that it can do without.
    fn unless_optional(&mut self, needed: Needed, value: &Value, reference: &str, name: &str) {
        let Some(reference) = value.pointer(reference) else { return };
        if reference.get("optional") != Some(&Value::Bool(true)) {
            self.add(needed, reference, name);
        }
    }

    fn each(&mut self, needed: Needed, value: &Value, list: &str, pointer: &str) {
        items(value, list).for_each(|item| self.add(needed, item, pointer));
    }

    fn pod(&mut self, spec: &Value) {
        self.add(ACCOUNT, spec, "/serviceAccountName");
        self.add(RUNTIME, spec, "/runtimeClassName");
        self.each(SECRET, spec, "/imagePullSecrets", "/name");
        if spec.get("priorityClassName").and_then(Value::as_str).is_some_and(|name| !name.starts_with("system-")) {
            self.add(PRIORITY, spec, "/priorityClassName");
        }
        for volume in items(spec, "/volumes") {
            self.add(CLAIM, volume, "/persistentVolumeClaim/claimName");
            self.add(STORAGE, volume, "/ephemeral/volumeClaimTemplate/spec/storageClassName");
            self.unless_optional(CONFIG_MAP, volume, "/configMap", "/name");
            self.unless_optional(SECRET, volume, "/secret", "/secretName");
            for source in items(volume, "/projected/sources") {
                self.unless_optional(CONFIG_MAP, source, "/configMap", "/name");
                self.unless_optional(SECRET, source, "/secret", "/name");
            }
        }
        for container in items(spec, "/initContainers").chain(items(spec, "/containers")) {
            for variable in items(container, "/env") {
                self.unless_optional(CONFIG_MAP, variable, "/valueFrom/configMapKeyRef", "/name");
                self.unless_optional(SECRET, variable, "/valueFrom/secretKeyRef", "/name");
            }
            for source in items(container, "/envFrom") {
                self.unless_optional(CONFIG_MAP, source, "/configMapRef", "/name");
                self.unless_optional(SECRET, source, "/secretRef", "/name");
            }
        }
    }

    fn ingress(&mut self, object: &Value) {
        self.add(INGRESS, object, "/spec/ingressClassName");
        self.each(SECRET, object, "/spec/tls", "/secretName");
        self.add(SERVICE, object, "/spec/defaultBackend/service/name");
        for rule in items(object, "/spec/rules") {
            self.each(SERVICE, rule, "/http/paths", "/backend/service/name");
        }
    }

    fn binding(&mut self, object: &Value) {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        match object.pointer("/roleRef/kind").and_then(Value::as_str) {
            Some("Role") => self.add(ROLE, object, "/roleRef/name"),
            Some("ClusterRole") => self.add(CLUSTER_ROLE, object, "/roleRef/name"),
            _ => {}
        }
        for subject in items(object, "/subjects") {
            let text = |field: &str| subject.get(field).and_then(Value::as_str).unwrap_or_default();
            // Only accounts of its own namespace: one of another is not this restore's.
            let own = text("kind") == "ServiceAccount" && !namespace.is_empty();
            if own && (text("namespace") == namespace || text("namespace").is_empty()) {
                self.add(ACCOUNT, subject, "/name");
            }
        }
    }
}

fn items<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(object: &Value) -> Vec<String> {
        references(object).into_iter().map(|((id, ..), name)| format!("{id} {name}")).collect()
    }

    #[test]
    fn a_pod_needs_what_it_mounts_and_reads_unless_it_can_do_without() {
        let spec = json!({
            "serviceAccountName": "web", "priorityClassName": "high", "runtimeClassName": "gvisor",
            "imagePullSecrets": [{"name": "registry"}],
            "volumes": [
                {"configMap": {"name": "settings"}}, {"configMap": {"name": "maybe", "optional": true}},
                {"secret": {"secretName": "tls"}}, {"persistentVolumeClaim": {"claimName": "data"}},
                {"projected": {"sources": [{"secret": {"name": "token"}}, {"configMap": {"name": "kube-root-ca.crt"}}]}},
                {"ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "fast"}}}}],
            "initContainers": [{"envFrom": [{"configMapRef": {"name": "env"}}, {"secretRef": {"name": "no", "optional": true}}]}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "password", "key": "k"}}}, {"value": "x"}]}]});
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": spec}}});
        let mut found = named(&object);
        found.sort();
        assert_eq!(
            found,
            [
                "configmaps env",
                "configmaps settings",
                "persistentvolumeclaims data",
                "priorityclasses.scheduling.k8s.io high",
                "runtimeclasses.node.k8s.io gvisor",
                "secrets password",
                "secrets registry",
                "secrets tls",
                "secrets token",
                "serviceaccounts web",
                "storageclasses.storage.k8s.io fast",
            ]
        );
        let system = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"serviceAccountName": "default", "priorityClassName": "system-node-critical"}});
        assert!(named(&system).is_empty());
    }

    #[test]
    fn bindings_ingresses_and_claims_need_what_they_name() {
        let rbac = "rbac.authorization.k8s.io/v1";
        let binding = json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": {"namespace": "shop"},
            "roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [
                {"kind": "ServiceAccount", "name": "own", "namespace": "shop"}, {"kind": "ServiceAccount", "name": "near"},
                {"kind": "ServiceAccount", "name": "other", "namespace": "else"}, {"kind": "User", "name": "u"}]});
        assert_eq!(
            named(&binding),
            ["clusterroles.rbac.authorization.k8s.io view", "serviceaccounts own", "serviceaccounts near"]
        );
        let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {"ingressClassName": "nginx",
            "tls": [{"secretName": "cert"}], "rules": [{"http": {"paths": [{"backend": {"service": {"name": "web"}}}]}}]}});
        assert_eq!(named(&ingress), ["ingressclasses.networking.k8s.io nginx", "secrets cert", "services web"]);
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"storageClassName": "gp2"}});
        assert_eq!(named(&claim), ["storageclasses.storage.k8s.io gp2"]);
        let custom = json!({"apiVersion": "example.org/v1", "kind": "Pod", "spec": {"serviceAccountName": "web"}});
        assert!(named(&custom).is_empty());
    }
}
