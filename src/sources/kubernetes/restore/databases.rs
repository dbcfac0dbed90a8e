//! Which workloads are databases: those whose Pods a database's Service selects.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::plan::ServiceName;

/// What is known of the databases' Services while a plan is made. Services are planned before workloads.
#[derive(Debug, Default)]
pub(super) struct Databases {
    wanted: HashSet<ServiceName>,
    /// The selectors of those that were seen, by namespace.
    selectors: HashMap<String, Vec<Map<String, Value>>>,
}

impl Databases {
    pub(super) fn new(wanted: &[ServiceName]) -> Self {
        Self { wanted: wanted.iter().cloned().collect(), selectors: HashMap::new() }
    }

    /// Looks at a Service of the backup.
    pub(super) fn see_service(&mut self, namespace: &str, name: &str, service: &Value) {
        let this = ServiceName { namespace: namespace.to_owned(), name: name.to_owned() };
        if !self.wanted.contains(&this) {
            return;
        }
        let selector = service.pointer("/spec/selector").and_then(Value::as_object).filter(|map| !map.is_empty());
        if let Some(selector) = selector {
            self.selectors.entry(this.namespace).or_default().push(selector.clone());
        }
    }

    /// Whether the Pods of `workload`, or itself, are those of a database's Service.
    pub(super) fn is_database(&self, namespace: &str, workload: &Value) -> bool {
        let Some(selectors) = self.selectors.get(namespace) else { return false };
        let labels = ["/spec/template/metadata/labels", "/metadata/labels"];
        let pod = usize::from(workload.get("kind").and_then(Value::as_str) == Some("Pod"));
        let labels = labels.get(pod).and_then(|pointer| workload.pointer(pointer));
        selectors.iter().any(|selector| {
            selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn databases() -> Databases {
        let wanted = ServiceName { namespace: "shop".to_owned(), name: "db".to_owned() };
        let mut databases = Databases::new(&[wanted]);
        databases.see_service("shop", "db", &json!({"spec": {"selector": {"app": "postgres", "role": "primary"}}}));
        databases.see_service("shop", "web", &json!({"spec": {"selector": {"app": "web"}}}));
        databases
    }

    #[test]
    fn the_workload_behind_the_service_is_the_database() {
        let databases = databases();
        let set =
            |labels: Value| json!({"kind": "StatefulSet", "spec": {"template": {"metadata": {"labels": labels}}}});
        let labels = json!({"app": "postgres", "role": "primary", "more": "x"});
        assert!(databases.is_database("shop", &set(labels.clone())));
        assert!(databases.is_database("shop", &json!({"kind": "Pod", "metadata": {"labels": labels}})));
        assert!(!databases.is_database("other", &set(labels)), "another namespace");
        assert!(!databases.is_database("shop", &set(json!({"app": "postgres"}))), "a replica");
        assert!(!databases.is_database("shop", &set(json!({"app": "web"}))), "a Service that is no database's");
    }

    #[test]
    fn a_service_without_a_selector_leads_to_no_workload() {
        let wanted = ServiceName { namespace: "shop".to_owned(), name: "db".to_owned() };
        let mut databases = Databases::new(&[wanted]);
        databases.see_service("shop", "db", &json!({"spec": {"selector": {}}}));
        assert!(!databases.is_database("shop", &json!({"kind": "Deployment"})));
    }
}
