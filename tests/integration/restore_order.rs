//! What comes first, what waits, and what cannot be had at its old version.

use std::sync::{Arc, Mutex};

use drctl::sources::kubernetes::{
    Cluster, ConnectOptions,
    restore::{Action, Plan},
};
use http::Method;
use serde_json::{Value, json};

use crate::support::{
    bed::{self, require},
    door::{Door, Fate},
    snapshot::{Restore, Snapshot},
    webhook::Server,
    workshop::wait_for,
};

fn config_map(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"a": "1"}})
}

fn deployment(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "example.org/c:1"}]}}}})
}

fn planned(plan: &Plan, kind: &str, name: &str) -> (Action, String) {
    let mut objects = plan.objects().filter(|object| object.kind == kind && object.name == name);
    let object = objects.next().unwrap_or_else(|| panic!("{kind} {name} is not in the plan"));
    (object.action, object.reason.to_owned())
}

type Paths = Arc<Mutex<Vec<String>>>;

/// The paths of what is created, in order, and the rule of a door that notes them.
fn creations() -> (Paths, impl Fn(&Method, &str) -> Fate + Send + Sync + 'static) {
    let creations = Paths::default();
    let seen = Arc::clone(&creations);
    let rule = move |method: &Method, path: &str| {
        if *method == Method::POST {
            seen.lock().unwrap().push(path.split('?').next().unwrap().to_owned());
        }
        Fate::Forward
    };
    (creations, rule)
}

#[tokio::test]
async fn what_answers_for_the_api_server_is_restored_and_ready_before_the_rest() {
    let cluster = require!(bed::source);
    let (hooks, shop, named) = (cluster.name("zz-hooks"), cluster.name("shop"), cluster.name("yy-named"));
    let mut snapshot = Snapshot::default();
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    snapshot.add("namespaces", vec![namespace(&shop), namespace(&named), namespace(&hooks)]);
    snapshot.add("configmaps", [&shop, &named, &hooks].map(|place| config_map(place, "c")).to_vec());
    snapshot.add("deployments.apps", [&shop, &named, &hooks].map(|place| deployment(place, "d")).to_vec());
    let label = cluster.label();
    let (label, value) = label.split_once('=').unwrap();
    let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": cluster.name("hook"), "labels": {label: value}}, "webhooks": [{"name": "h.example.org",
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
            "clientConfig": {"service": {"namespace": hooks, "name": "server"}},
            "rules": [{"apiGroups": ["none.example.org"], "apiVersions": ["v1"], "resources": ["none"], "operations": ["CREATE"]}]}]});
    snapshot.add("validatingwebhookconfigurations.admissionregistration.k8s.io", vec![hook]);

    let (creations, rule) = creations();
    let mut restore = Restore::into(&cluster, &snapshot).await;
    let door = Door::before(restore.cluster.clone(), rule).await;
    let options = ConnectOptions { kubeconfig: Some(door.kubeconfig()), ..ConnectOptions::default() };
    restore.cluster = Cluster::connect(&options).await.unwrap();
    restore.platform = vec![named.clone()];
    restore.execute.settle = std::time::Duration::from_secs(30);
    let plan = restore.plan().await;
    assert_eq!(plan.platform().into_iter().collect::<Vec<_>>(), [named.as_str(), hooks.as_str()]);
    let report = restore.execute(&plan).await.unwrap();
    assert!(report.is_complete(), "{:#?}", report.failed);
    assert!(restore.compare(&plan, &report).await.is_equal());

    let creations = creations.lock().unwrap().clone();
    let of = |namespace: &str| -> Vec<usize> {
        let inside = format!("/namespaces/{namespace}/");
        creations.iter().enumerate().filter(|(_, path)| path.contains(&inside)).map(|(place, _)| place).collect()
    };
    let (first, rest) = ([of(&hooks), of(&named)].concat(), of(&shop));
    assert_eq!((first.len(), rest.len()), (4, 2), "{creations:#?}");
    assert!(first.iter().max() < rest.iter().min(), "{creations:#?}");
    assert!(
        creations.last().unwrap().ends_with("/validatingwebhookconfigurations"),
        "webhooks come last: {creations:#?}"
    );
    for namespace in [&hooks, &shop, &named] {
        cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
    }
}

#[tokio::test]
async fn what_has_lost_its_version_comes_back_at_another_one_or_is_named_before_any_write() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("versions");
    let group = format!("{namespace}.example.org");
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v2", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    cluster.create(&definition.to_string());
    cluster.kubectl(&["wait", "--for=condition=Established", &format!("crd/widgets.{group}"), "--timeout=180s"]);
    let mut snapshot = Snapshot::default();
    snapshot.take(&cluster, "namespaces", "", Some(&namespace));
    let object = |api: &str, kind: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "old", "namespace": namespace}, "spec": spec});
    let template =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example.org/c:1"}]}});
    let backend = json!({"serviceName": "s", "servicePort": 80});
    for (stream, api, kind, spec) in [
        (
            "poddisruptionbudgets.policy",
            "policy/v1beta1",
            "PodDisruptionBudget",
            json!({"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}),
        ),
        (
            "cronjobs.batch",
            "batch/v1beta1",
            "CronJob",
            json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": template}}}),
        ),
        (
            "horizontalpodautoscalers.autoscaling",
            "autoscaling/v2beta2",
            "HorizontalPodAutoscaler",
            json!({"maxReplicas": 3, "minReplicas": 1, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}),
        ),
        (
            "ingresses.networking.k8s.io",
            "networking.k8s.io/v1beta1",
            "Ingress",
            json!({"rules": [{"host": "h.example.org", "http": {"paths": [{"path": "/", "backend": backend}]}}]}),
        ),
    ] {
        snapshot.add(stream, vec![object(api, kind, spec)]);
    }
    snapshot.add(&format!("widgets.{group}"), vec![object(&format!("{group}/v1"), "Widget", json!({"size": 3}))]);
    let (plan, report, _) = Restore::into(&cluster, &snapshot).await.all().await;
    assert_eq!((plan.total(Action::Create), plan.total(Action::Cannot)), (5, 0));
    let changed: Vec<&str> =
        report.transformations.iter().filter(|it| it.path == "apiVersion").map(|it| it.kind.as_str()).collect();
    assert_eq!(changed.len(), 5, "{changed:?}");
    let widget = cluster.get(&format!("widgets.v2.{group}"), &namespace, "old").unwrap();
    assert_eq!(widget["spec"], json!({"size": 3}));
    let ingress = cluster.get("ingress", &namespace, "old").unwrap();
    assert_eq!(ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"]["number"], json!(80));
    assert_eq!(Restore::into(&cluster, &snapshot).await.plan().await.writes(), 0, "a second run writes nothing");

    // A version that the table does not know.
    let mut unknown = Snapshot::default();
    unknown.take(&cluster, "namespaces", "", Some(&namespace));
    unknown.add(
        "horizontalpodautoscalers.autoscaling",
        vec![object("autoscaling/v2beta1", "HorizontalPodAutoscaler", json!({"maxReplicas": 3}))],
    );
    let plan = Restore::into(&cluster, &unknown).await.plan().await;
    let (action, reason) = planned(&plan, "horizontalpodautoscalers.autoscaling", "old");
    assert!(
        action == Action::Cannot
            && reason
                == "the cluster does not serve autoscaling/v2beta1 HorizontalPodAutoscaler; it serves version v2, v1",
        "{reason}"
    );
    cluster.kubectl(&["delete", "crd", &format!("widgets.{group}")]);
}

#[tokio::test]
async fn a_namespace_that_hangs_is_named_with_what_holds_it_and_waited_for() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("hangs");
    let mut snapshot = Snapshot::default();
    snapshot.take(&cluster, "namespaces", "", Some(&namespace));
    snapshot.add("configmaps", vec![config_map(&namespace, "settings")]);
    let mut held = config_map(&namespace, "held");
    held["metadata"]["finalizers"] = json!(["example.org/keep"]);
    cluster.create(&held.to_string());
    cluster.kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
    wait_for("the namespace to say what holds it", 60, || {
        let live = cluster.get("namespace", "", &namespace)?;
        let conditions = live.pointer("/status/conditions")?.as_array()?.clone();
        conditions
            .iter()
            .any(|it| it["type"] == json!("NamespaceFinalizersRemaining") && it["status"] == json!("True"))
            .then_some(())
    });
    let mut restore = Restore::into(&cluster, &snapshot).await;
    restore.execute.object_deadline = std::time::Duration::from_secs(2);
    let plan = restore.plan().await;
    let (action, reason) = planned(&plan, "namespaces", &namespace);
    assert!(
        action == Action::Create && reason.contains("it is held by") && reason.contains("example.org/keep"),
        "{reason}"
    );
    let report = restore.execute(&plan).await.unwrap();
    assert_eq!((report.created, report.failed.count), (0, 2), "{:#?}", report.failed);
    let why = &report.failed.objects[0].reason;
    assert!(why.contains("is being deleted and does not go away") && why.contains("example.org/keep"), "{why}");

    // The twin: what held it lets go while the restore waits.
    restore.execute.object_deadline = std::time::Duration::from_secs(60);
    let plan = restore.plan().await;
    let letting_go = async {
        cluster.kubectl(&["-n", &namespace, "patch", "configmap", "held", "-p", r#"{"metadata":{"finalizers":null}}"#]);
    };
    let (report, ()) = tokio::join!(restore.execute(&plan), letting_go);
    let report = report.unwrap();
    assert!(report.is_complete(), "{:#?}", report.failed);
    assert_eq!(report.created, 2);
    assert!(cluster.get("configmap", &namespace, "held").is_none());
}

/// A definition of Widgets at `v1` and `v2`, stored as `v2`, of which a Service converts the one into the other.
fn converted(group: &str, service: &Value, ca: &str) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version =
        |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
    let webhook = json!({"conversionReviewVersions": ["v1"], "clientConfig": {"service": service, "caBundle": ca}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")}, "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "conversion": {"strategy": "Webhook", "webhook": webhook},
            "versions": [version("v1", false), version("v2", true)]}})
}

/// Answers a ConversionReview: each object as it is, at the other version.
fn convert(review: &Value) -> Value {
    let request = &review["request"];
    let objects: Vec<Value> = request["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            let mut object = object.clone();
            object["apiVersion"] = request["desiredAPIVersion"].clone();
            object
        })
        .collect();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response":
        {"uid": request["uid"], "convertedObjects": objects, "result": {"status": "Success"}}})
}

#[tokio::test]
async fn a_custom_resource_waits_for_the_service_that_converts_it_and_one_without_is_named() {
    let cluster = require!(bed::source);
    require!(program "openssl");
    let (hooks, shop) = (cluster.name("zz-hooks"), cluster.name("shop"));
    let group = format!("{shop}.example.org");
    let calls = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&calls);
    let server = Server::start(&format!("DNS:convert.{hooks}.svc"), move |review| {
        *counter.lock().unwrap() += 1;
        convert(review)
    });
    let mut snapshot = Snapshot::default();
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    snapshot.add("namespaces", vec![namespace(&shop), namespace(&hooks)]);
    let of = json!({"namespace": hooks, "name": "convert", "port": server.port, "path": "/"});
    snapshot.add("customresourcedefinitions.apiextensions.k8s.io", vec![converted(&group, &of, &server.ca)]);
    // Its server is not in the cluster: the API server finds it by the name of this machine.
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "convert", "namespace": hooks},
        "spec": {"type": "ExternalName", "externalName": "localhost"}});
    let with = |service: Option<&Value>| {
        let mut snapshot = snapshot.clone();
        if let Some(service) = service {
            snapshot.add("services", vec![service.clone()]);
        }
        let widget = json!({"apiVersion": format!("{group}/v1"), "kind": "Widget",
            "metadata": {"name": "w", "namespace": shop}, "spec": {"size": 3}});
        snapshot.add("configmaps", vec![config_map(&shop, "c")]);
        snapshot.add(&format!("widgets.{group}"), vec![widget]);
        snapshot
    };

    // The Service is never there: named with the server's words, and the rest is done.
    let mut restore = Restore::into(&cluster, &with(None)).await;
    restore.execute.object_deadline = std::time::Duration::from_secs(3);
    let plan = restore.plan().await;
    let report = restore.execute(&plan).await.unwrap();
    assert!(!report.is_complete());
    assert_eq!((report.created, report.failed.count), (4, 1), "{:#?}", report.failed);
    let failed = &report.failed.objects[0];
    assert_eq!(failed.object.name, "w");
    assert!(failed.reason.contains("conversion webhook") && failed.reason.contains("not found"), "{}", failed.reason);
    assert!(!restore.compare(&plan, &report).await.is_equal());
    assert_eq!(*calls.lock().unwrap(), 0);

    // It is part of the restore: it comes first, and a second run brings what was not there.
    cluster.kubectl(&["delete", "crd", &format!("widgets.{group}")]);
    let (creations, rule) = creations();
    let mut restore = Restore::into(&cluster, &with(Some(&service))).await;
    let door = Door::before(restore.cluster.clone(), rule).await;
    let options = ConnectOptions { kubeconfig: Some(door.kubeconfig()), ..ConnectOptions::default() };
    restore.cluster = Cluster::connect(&options).await.unwrap();
    let plan = restore.plan().await;
    assert_eq!(planned(&plan, &format!("widgets.{group}"), "w").0, Action::Create);
    assert_eq!(plan.platform().into_iter().collect::<Vec<_>>(), [hooks.as_str()]);
    let report = restore.execute(&plan).await.unwrap();
    assert!(report.is_complete(), "{:#?}", report.failed);
    assert!(restore.compare(&plan, &report).await.is_equal());
    let creations = creations.lock().unwrap().clone();
    let place = |end: &str| creations.iter().position(|path| path.ends_with(end)).unwrap();
    assert!(place("/services") < place("/widgets"), "{creations:#?}");
    assert!(*calls.lock().unwrap() > 0);
    let stored = cluster.get(&format!("widgets.v2.{group}"), &shop, "w").unwrap();
    assert_eq!(stored["spec"], json!({"size": 3}));
    cluster.kubectl(&["delete", "crd", &format!("widgets.{group}"), "--wait=false"]);
    for namespace in [&hooks, &shop] {
        cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
    }
}

#[test]
fn an_object_whose_version_is_gone_is_named_with_what_the_cluster_serves() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("gone");
    let group = format!("{namespace}.example.org");
    let definition = |version: &str| {
        let service = json!({"namespace": "none", "name": "none", "path": "/"});
        let mut definition = converted(&group, &service, "");
        let versions = definition["spec"]["versions"].as_array_mut().unwrap();
        versions.retain(|it| it["name"] == json!(version));
        versions[0]["storage"] = json!(true);
        definition["spec"]["conversion"]["webhook"]["clientConfig"].as_object_mut().unwrap().remove("caBundle");
        cluster.create(&definition.to_string());
        cluster.kubectl(&["wait", "--for=condition=Established", &format!("crd/widgets.{group}"), "--timeout=180s"]);
    };
    let crd = format!("widgets.{group}");
    definition("v1");
    let widget = json!({"apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": "w", "namespace": namespace}});
    wait_for("the new kind", 120, || {
        cluster.try_kubectl(&["get", &crd, "-n", &namespace]).status.success().then_some(())
    });
    cluster.create(&widget.to_string());
    let workshop = crate::support::workshop::Workshop::new(&cluster, &[&namespace]);
    workshop.done(&["backup"]);
    cluster.kubectl(&["delete", "crd", &crd, "--timeout=180s"]);
    definition("v2");
    let words = ["restore", "--kind", &crd, "--dry-run"];
    let plan = workshop.ends(3, &words);
    let expected =
        format!("cannot: {crd} {namespace}/w: the cluster does not serve {group}/v1 Widget; it serves version v2");
    assert!(plan.stdout.contains(&expected), "{}", plan.stdout);
    workshop.ends(3, &["restore", "--kind", &crd, "--yes"]);
    // The twin: the version is back.
    cluster.kubectl(&["delete", "crd", &crd, "--timeout=180s"]);
    definition("v1");
    workshop.done(&["restore", "--kind", &crd, "--yes"]);
    assert!(cluster.get(&crd, &namespace, "w").is_some());
    cluster.kubectl(&["delete", "crd", &crd, "--wait=false"]);
}
