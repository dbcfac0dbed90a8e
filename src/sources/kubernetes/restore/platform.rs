//! Namespaces that the API server itself needs: webhooks, aggregated APIs and conversions of custom resources are
//! answered by what runs in them. They are restored and ready before all others.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{RestoreError, live::LiveList, plan::Plan, target::TargetCluster};
use crate::sources::kubernetes::{Cluster, ErrorKind, compare::GroupKind};

/// The kinds that name such a Service, and are looked at in the cluster too: what is left of an old installation
/// refuses requests until its server is back.
const LIVE: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("apiregistration.k8s.io/v1", "APIService"),
];

/// The namespaces found so far.
#[derive(Debug, Default)]
pub(super) struct Platform {
    namespaces: BTreeSet<String>,
}

impl Platform {
    /// Those that a person named.
    pub(super) fn new(named: &[String]) -> Self {
        Self { namespaces: named.iter().cloned().collect() }
    }

    /// Looks at an object, of the backup or live.
    pub(super) fn see(&mut self, object: &Value) {
        let found = services_of(object).into_iter().filter_map(|service| service.get("namespace")?.as_str());
        self.namespaces.extend(found.map(str::to_owned));
    }

    /// Looks at what the cluster has.
    pub(super) async fn read_live(&mut self, cluster: &Cluster, target: &TargetCluster) -> Result<(), RestoreError> {
        for (api_version, name) in LIVE {
            let Some(kind) = target.kind_of(api_version, name) else { continue };
            let mut list = LiveList::new(cluster, kind, None);
            loop {
                match list.next().await {
                    Ok(Some(item)) => self.see(&item.parse(kind)?),
                    Ok(None) => break,
                    // Who may not see them still has those of the backup.
                    Err(error) if matches!(error.kind, ErrorKind::Forbidden | ErrorKind::Expired) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Marks what of the plan comes first.
    pub(super) fn mark(&self, plan: &mut Plan) {
        for part in plan.kinds.iter_mut().flat_map(|kind| &mut kind.parts) {
            part.platform = self.namespaces.contains(&part.namespace);
        }
        plan.needed_first.clone_from(&self.namespaces);
    }
}

/// The Services behind a webhook configuration, an aggregated API, or the conversion of a custom resource.
fn services_of(object: &Value) -> Vec<&Value> {
    let kind = GroupKind::of(object);
    let found = match (kind.group, kind.kind) {
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
            let webhooks = object.get("webhooks").and_then(Value::as_array);
            return webhooks.into_iter().flatten().filter_map(|hook| hook.pointer("/clientConfig/service")).collect();
        }
        ("apiregistration.k8s.io", "APIService") => object.pointer("/spec/service"),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            object.pointer("/spec/conversion/webhook/clientConfig/service")
        }
        _ => None,
    };
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_answers_for_the_api_server_is_platform() {
        let mut platform = Platform::new(&["named".to_owned()]);
        let service = |namespace: &str| json!({"namespace": namespace, "name": "s"});
        let group = "admissionregistration.k8s.io/v1";
        for object in [
            json!({"apiVersion": group, "kind": "ValidatingWebhookConfiguration", "webhooks": [
                {"clientConfig": {"url": "https://elsewhere"}}, {"clientConfig": {"service": service("policies")}}]}),
            json!({"apiVersion": group, "kind": "MutatingWebhookConfiguration", "webhooks": [{"clientConfig": {"service": service("mesh")}}]}),
            json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "spec": {"service": service("metrics")}}),
            json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "spec": {"service": null}}),
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "spec": {"conversion": {"webhook": {"clientConfig": {"service": service("operator")}}}}}),
            json!({"apiVersion": "v1", "kind": "Service", "spec": {"service": service("no")}}),
        ] {
            platform.see(&object);
        }
        let found: Vec<&str> = platform.namespaces.iter().map(String::as_str).collect();
        assert_eq!(found, ["mesh", "metrics", "named", "operator", "policies"]);
    }
}
