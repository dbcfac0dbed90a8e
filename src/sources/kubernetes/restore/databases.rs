//! Which workloads are databases: those whose Pods a database's Service selects.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::plan::ServiceName;

/// What is known of the databases' Services while a plan is made. Services are planned before workloads.
#[derive(Debug, Default)]
pub(super) struct Databases {
    wanted: HashSet<ServiceName>,
    /// Those that were seen and have a selector: a few.
    seen: Vec<(ServiceName, Map<String, Value>)>,
}

impl Databases {
    pub(super) fn new(wanted: &[ServiceName]) -> Self {
        Self { wanted: wanted.iter().cloned().collect(), seen: Vec::new() }
    }

    /// Looks at a Service of the backup.
    pub(super) fn see_service(&mut self, namespace: &str, name: &str, service: &Value) {
        let this = ServiceName { namespace: namespace.to_owned(), name: name.to_owned() };
        if !self.wanted.contains(&this) {
            return;
        }
        let selector = service.pointer("/spec/selector").and_then(Value::as_object).filter(|map| !map.is_empty());
        if let Some(selector) = selector {
            self.seen.push((this, selector.clone()));
        }
    }

    /// The databases' Services that select the Pods of `workload`, or itself.
    pub(super) fn before(&self, namespace: &str, workload: &Value) -> Vec<ServiceName> {
        let labels = ["/spec/template/metadata/labels", "/metadata/labels"];
        let pod = usize::from(workload.get("kind").and_then(Value::as_str) == Some("Pod"));
        let labels = labels.get(pod).and_then(|pointer| workload.pointer(pointer));
        let selects = |selector: &Map<String, Value>| {
            selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
        };
        let before = |(service, selector): &&(ServiceName, _)| service.namespace == namespace && selects(selector);
        self.seen.iter().filter(before).map(|(service, _)| service.clone()).collect()
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
        assert!(!databases.before("shop", &set(labels.clone())).is_empty());
        let pod = json!({"kind": "Pod", "metadata": {"labels": labels}});
        let service = ServiceName { namespace: "shop".to_owned(), name: "db".to_owned() };
        assert_eq!(databases.before("shop", &pod), [service]);
        assert!(databases.before("other", &set(labels)).is_empty(), "another namespace");
        assert!(databases.before("shop", &set(json!({"app": "postgres"}))).is_empty(), "a replica");
        assert!(databases.before("shop", &set(json!({"app": "web"}))).is_empty(), "a Service that is no database's");
    }

    #[test]
    fn a_service_without_a_selector_leads_to_no_workload() {
        let wanted = ServiceName { namespace: "shop".to_owned(), name: "db".to_owned() };
        let mut databases = Databases::new(&[wanted]);
        databases.see_service("shop", "db", &json!({"spec": {"selector": {}}}));
        assert!(databases.before("shop", &json!({"kind": "Deployment"})).is_empty());
    }
}
