//! Capture of a real cluster: what is in a backup is what the server says, and what is not is named.

mod closure;
mod faults;
mod front;
mod rights;

use std::collections::BTreeMap;

use drctl::sources::kubernetes::{Cluster, ConnectOptions, KubernetesSelection, KubernetesSource, ObjectRule};
use drctl::sources::testing::MemorySink;
use drctl::sources::{CaptureContext, CaptureError, CaptureReport, Source};
use drctl::types::{Name, RowDigest, Silent};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::bed::{self, require};

async fn connect(kubeconfig: &std::path::Path) -> Cluster {
    let options = ConnectOptions { kubeconfig: Some(kubeconfig.to_owned()), context: None };
    Cluster::connect(&options).await.expect("the kubeconfig can be used")
}

fn namespaces(names: &[&str]) -> KubernetesSelection {
    let namespaces = names.iter().map(|name| (*name).to_owned()).collect();
    KubernetesSelection { namespaces, ..KubernetesSelection::default() }
}

async fn capture_into(
    sink: &MemorySink,
    cluster: Cluster,
    selection: KubernetesSelection,
) -> Result<CaptureReport, CaptureError> {
    let source = KubernetesSource::new(Name::new("services").unwrap(), cluster, selection);
    let cancel = CancellationToken::new();
    let context = CaptureContext { sink, monitor: &Silent, cancel: &cancel };
    source.prepare(context).await?.capture(context).await
}

async fn capture(kubeconfig: &std::path::Path, selection: KubernetesSelection) -> (MemorySink, CaptureReport) {
    let sink = MemorySink::default();
    let report = capture_into(&sink, connect(kubeconfig).await, selection).await.expect("the capture succeeds");
    (sink, report)
}

/// `kubectl create`: what is applied carries itself in an annotation, and large objects have no room for that.
fn create(source: &bed::Cluster, object: &Value) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), object.to_string()).unwrap();
    source.kubectl(&["create", "-f", file.path().to_str().unwrap()]);
}

/// 22 namespaces `team-00` to `team-21`: more than are listed one by one.
fn create_teams(source: &bed::Cluster) -> Vec<String> {
    let names: Vec<_> = (0..22).map(|n| source.name(&format!("team-{n:02}"))).collect();
    let document = |name: &String| format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
    source.apply(&names.iter().map(document).collect::<String>());
    names
}

/// A capture during which no controller wrote to the namespace, so that it can be compared with the cluster.
async fn capture_at_rest(source: &bed::Cluster, namespace: &str) -> (MemorySink, CaptureReport) {
    let kinds = "configmaps,secrets,services,persistentvolumeclaims,deployments,ingresses,rolebindings,cronjobs";
    let versions = || {
        let path = "jsonpath={.items[*].metadata.resourceVersion}";
        source.kubectl(&["-n", namespace, "get", kinds, "-o", path])
    };
    for _ in 0..30 {
        let before = versions();
        let captured = capture(source.kubeconfig(), namespaces(&[namespace])).await;
        if versions() == before {
            return captured;
        }
    }
    panic!("{namespace} does not come to rest");
}

/// The raw items of a list as kubectl gets them, by name.
fn raw_items(source: &bed::Cluster, path: &str) -> BTreeMap<String, String> {
    #[derive(serde::Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        items: Vec<&'a serde_json::value::RawValue>,
    }
    let text = source.kubectl(&["get", "--raw", path]);
    let list: List<'_> = serde_json::from_str(&text).unwrap();
    let named = |raw: &&serde_json::value::RawValue| {
        let object: Value = serde_json::from_str(raw.get()).unwrap();
        (object["metadata"]["name"].as_str().unwrap().to_owned(), raw.get().to_owned())
    };
    list.items.iter().map(named).collect()
}

fn names(sink: &MemorySink, stream: &str, part: &str) -> Vec<String> {
    let name = |line: &String| {
        let object: Value = serde_json::from_str(line).unwrap();
        object["metadata"]["name"].as_str().unwrap().to_owned()
    };
    sink.lines(stream, part).iter().map(name).collect()
}

/// Objects of many kinds; `CRD` is replaced by a group of the test's own.
const MANY: &str = include_str!("capture/many.yaml");

#[tokio::test]
async fn every_object_is_captured_as_the_server_sends_it() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    let group = format!("{}.example.com", source.prefix());
    let definition = include_str!("capture/definition.yaml");
    source.apply(&definition.replace("GROUP", &group).replace("LABEL", source.prefix()));
    source.kubectl(&["wait", "--for=condition=Established", "crd", &format!("widgets.{group}"), "--timeout=180s"]);
    source.apply(&MANY.replace("NAMESPACE", &shop).replace("GROUP", &group));
    source.kubectl(&["-n", &shop, "wait", "--for=create", "pods", "-l", "app=web", "--timeout=180s"]);

    let (sink, report) = capture_at_rest(&source, &shop).await;

    assert_eq!(report.missing, []);
    assert!(report.server.starts_with("Kubernetes v1."), "{}", report.server);
    let kinds = [
        ("configmaps", "/api/v1", "v1", "ConfigMap"),
        ("secrets", "/api/v1", "v1", "Secret"),
        ("services", "/api/v1", "v1", "Service"),
        ("persistentvolumeclaims", "/api/v1", "v1", "PersistentVolumeClaim"),
        ("deployments.apps", "/apis/apps/v1", "apps/v1", "Deployment"),
        ("ingresses.networking.k8s.io", "/apis/networking.k8s.io/v1", "networking.k8s.io/v1", "Ingress"),
        (
            "rolebindings.rbac.authorization.k8s.io",
            "/apis/rbac.authorization.k8s.io/v1",
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
        ),
        ("cronjobs.batch", "/apis/batch/v1", "batch/v1", "CronJob"),
    ];
    let mut compared = 0;
    for (stream, base, api_version, kind) in kinds {
        let plural = stream.split('.').next().unwrap();
        let mut raw = raw_items(&source, &format!("{base}/namespaces/{shop}/{plural}"));
        raw.remove("kube-root-ca.crt");
        let expected: Vec<String> = raw
            .values()
            .map(|item| format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{kind}\",{}", &item[1..]))
            .collect();
        assert!(!expected.is_empty(), "{stream}");
        assert_eq!(sink.lines(stream, &shop), expected, "{stream}");
        compared += expected.len();
    }
    let widgets = raw_items(&source, &format!("/apis/{group}/v1/namespaces/{shop}/widgets"));
    assert_eq!(sink.lines(&format!("widgets.{group}"), &shop), widgets.values().cloned().collect::<Vec<_>>());
    assert_eq!(compared, 9);
    assert_eq!(sink.opened(), sink.streams().len(), "no stream was given up");
    check_sums(&sink, &report);
}

/// Counts, digests and bytes are those of the lines.
fn check_sums(sink: &MemorySink, report: &CaptureReport) {
    let mut groups: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for stream in sink.streams() {
        for part in &stream.parts {
            assert_eq!(part.bytes.last(), Some(&b'\n'));
            let lines: Vec<_> = part.bytes.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
            let mut digest = RowDigest::default();
            lines.iter().for_each(|line| digest.add_row(line));
            assert_eq!(part.summary.count, lines.len() as u64, "{}", stream.spec.name);
            assert_eq!(part.summary.digest, Some(digest), "{}", stream.spec.name);
            let group = groups.entry(part.name.clone()).or_default();
            group.0 += part.summary.count;
            group.1 += part.bytes.len() as u64;
        }
    }
    let counted = |group: &drctl::sources::CapturedGroup| (group.name.clone(), (group.count, group.bytes));
    assert_eq!(report.groups.iter().filter(|group| group.count > 0).map(counted).collect::<BTreeMap<_, _>>(), groups);
}

#[tokio::test]
async fn an_object_that_no_restore_can_read_is_stored_and_named() {
    let source = require!(bed::source);
    let shop = source.create_namespace("deep");
    let group = format!("{}.deep.example.com", source.prefix());
    let definition = include_str!("capture/definition.yaml");
    source.apply(&definition.replace("GROUP", &group).replace("LABEL", source.prefix()));
    source.kubectl(&["wait", "--for=condition=Established", "crd", &format!("widgets.{group}"), "--timeout=180s"]);
    let widget = |name: &str, levels: usize| {
        let spec = (0..levels).fold(serde_json::json!(1), |inner, _| serde_json::json!({ "a": inner }));
        serde_json::json!({
            "apiVersion": format!("{group}/v1"), "kind": "Widget",
            "metadata": {"name": name, "namespace": shop}, "spec": spec,
        })
    };
    // Its managed fields are nested a little more deeply than the object's own.
    create(&source, &widget("deep", 115));
    let (_, before) = capture(source.kubeconfig(), namespaces(&[&shop])).await;
    assert_eq!(before.notes.iter().filter(|note| note.contains("nested")).count(), 0, "{:?}", before.notes);
    create(&source, &widget("too-deep", 127));
    let (sink, report) = capture(source.kubeconfig(), namespaces(&[&shop])).await;
    assert_eq!(sink.lines(&format!("widgets.{group}"), &shop).len(), 2);
    let held = |report: &CaptureReport| {
        let group = report.groups.iter().find(|found| found.name == shop).unwrap();
        (group.count, group.restorable)
    };
    let ((count, restorable), (count_then, restorable_then)) = (held(&report), held(&before));
    assert_eq!((count, restorable), (count_then + 1, restorable_then));
    let note = report.notes.iter().find(|note| note.contains("nested")).unwrap();
    assert!(note.contains("cannot restore it: 1 object of source `services`"), "{note}");
    assert!(note.contains(&format!("widgets.{group} {shop}/too-deep")), "{note}");
    assert_eq!(report.missing, []);
}

#[tokio::test]
async fn what_a_controller_makes_again_and_what_is_left_out_is_not_captured() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    source.apply(MANY.replace("NAMESPACE", &shop).split("---\n# custom").next().unwrap());
    source.kubectl(&["-n", &shop, "wait", "--for=create", "pods", "-l", "app=web", "--timeout=180s"]);
    source.kubectl(&[
        "-n",
        &shop,
        "wait",
        "--for=create",
        "endpointslices",
        "-l",
        "kubernetes.io/service-name=web",
        "--timeout=180s",
    ]);

    let (sink, report) = capture(source.kubeconfig(), namespaces(&[&shop])).await;

    let live = source.kubectl(&["-n", &shop, "get", "pods,replicasets,endpointslices", "-o", "name"]);
    for made in ["pod/web-", "replicaset.apps/web-", "endpointslice.discovery.k8s.io/web-"] {
        assert!(live.contains(made), "{made} is not live: {live}");
    }
    assert_eq!(names(&sink, "pods", &shop), ["bare"]);
    assert!(sink.stream("replicasets.apps").is_none());
    assert_eq!(names(&sink, "endpointslices.discovery.k8s.io", &shop), ["external-1"]);
    assert_eq!(names(&sink, "endpoints", &shop), ["external"]);
    assert_eq!(names(&sink, "configmaps", &shop), ["settings"]);
    assert!(sink.stream("events").is_none() && sink.stream("events.events.k8s.io").is_none());
    let group = report.groups.iter().find(|group| group.name == shop).unwrap();
    assert_eq!(group.count - group.restorable, 1, "all but the default service account");

    let mut selection = namespaces(&[&shop]);
    selection.exclude = ["secrets", "*.apps"].map(ObjectRule::of_kind).to_vec();
    selection.include = ["leases.coordination.k8s.io", "no-such-kind.example.com"].map(ObjectRule::of_kind).to_vec();
    let (sink, report) = capture(source.kubeconfig(), selection).await;
    assert!(sink.stream("secrets").is_none() && sink.stream("deployments.apps").is_none());
    assert_eq!(names(&sink, "leases.coordination.k8s.io", &shop), ["lock"]);
    let missing: Vec<_> = report.missing.iter().map(|missing| missing.what.as_str()).collect();
    assert_eq!(missing, ["kind no-such-kind.example.com"]);
}

#[tokio::test]
async fn a_source_takes_the_cluster_scoped_objects_that_its_objects_refer_to_and_no_others() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    let other = source.create_namespace("other");
    let group = format!("{}.example.com", source.prefix());
    source.apply(&include_str!("capture/definition.yaml").replace("GROUP", &group).replace("LABEL", source.prefix()));
    source.kubectl(&["wait", "--for=condition=Established", "crd", &format!("widgets.{group}"), "--timeout=180s"]);
    source.apply(&MANY.replace("NAMESPACE", &shop).replace("GROUP", &group));
    let cluster_scoped = include_str!("capture/cluster-scoped.yaml");
    source.apply(&cluster_scoped.replace("PREFIX", source.prefix()).replace("SHOP", &shop).replace("OTHER", &other));
    let named = |suffix: &str| source.name(suffix);

    let (sink, report) = capture(source.kubeconfig(), namespaces(&[&shop])).await;

    assert_eq!(report.missing, []);
    assert_eq!(names(&sink, "namespaces", ""), std::slice::from_ref(&shop));
    assert_eq!(names(&sink, "customresourcedefinitions.apiextensions.k8s.io", ""), [format!("widgets.{group}")]);
    assert_eq!(names(&sink, "clusterrolebindings.rbac.authorization.k8s.io", ""), [named("mine")]);
    assert_eq!(
        names(&sink, "clusterroles.rbac.authorization.k8s.io", ""),
        [named("a-part"), named("reader"), named("sum")]
    );
    let definition = sink.lines("customresourcedefinitions.apiextensions.k8s.io", "");
    let live = raw_items(
        &source,
        &format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?fieldSelector=metadata.name%3Dwidgets.{group}"
        ),
    );
    assert!(definition[0].ends_with(&live[&format!("widgets.{group}")][1..]));

    let mut none = namespaces(&[&shop]);
    none.cluster_scoped = Some(drctl::sources::kubernetes::ClusterScoped::None);
    let (sink, _) = capture(source.kubeconfig(), none).await;
    let cluster_scoped: Vec<_> =
        sink.streams().into_iter().filter(|stream| stream.parts.iter().any(|part| part.name.is_empty())).collect();
    assert_eq!(cluster_scoped.iter().map(|stream| stream.spec.name.as_str()).collect::<Vec<_>>(), ["namespaces"]);
}

#[tokio::test]
async fn namespaces_by_pattern_are_captured_in_one_list_of_the_cluster() {
    let source = require!(bed::source);
    create_teams(&source);
    let outside = source.create_namespace("outside");
    for namespace in [source.name("team-03"), source.name("team-21"), source.name("team-05"), outside.clone()] {
        source.kubectl(&["-n", &namespace, "create", "configmap", "settings", "--from-literal=a=1"]);
    }
    let mut selection = namespaces(&[&source.name("team-*")]);
    selection.exclude_namespaces = vec![source.name("team-05")];
    let (sink, report) = capture(source.kubeconfig(), selection).await;

    assert_eq!(report.missing, []);
    let parts: Vec<_> = sink.stream("configmaps").unwrap().parts.into_iter().map(|part| part.name).collect();
    assert_eq!(parts, [source.name("team-03"), source.name("team-21")]);
    assert_eq!(names(&sink, "namespaces", "").len(), 21);
    let groups: Vec<_> =
        report.groups.iter().map(|group| group.name.as_str()).filter(|name| !name.is_empty()).collect();
    assert_eq!(groups.len(), 21, "empty ones too: {groups:?}");
    check_sums(&sink, &report);
}

#[tokio::test]
async fn pages_of_large_secrets_are_bounded_and_nothing_is_lost() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    let data = "Q".repeat(900 * 1024 / 3 * 4);
    for n in 0..12 {
        let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("large-{n:02}"), "namespace": shop},
            "data": {"blob": data}});
        create(&source, &secret);
    }
    let (sink, report) = capture(source.kubeconfig(), namespaces(&[&shop])).await;
    assert_eq!(report.missing, []);
    let raw = raw_items(&source, &format!("/api/v1/namespaces/{shop}/secrets"));
    let lines = sink.lines("secrets", &shop);
    assert_eq!(lines.len(), 12);
    for (line, item) in lines.iter().zip(raw.values()) {
        assert!(line.ends_with(&item[1..]), "a Secret differs");
    }
}

#[tokio::test]
async fn the_identity_of_a_cluster_is_the_uid_of_its_first_namespace() {
    let source = require!(bed::source);
    let identity = connect(source.kubeconfig()).await.identity().await.unwrap();
    let live = source.get("namespace", "", "kube-system").unwrap();
    assert_eq!(identity.uid, live["metadata"]["uid"].as_str().unwrap());
    assert!(identity.version.starts_with("v1."));
    assert_eq!(identity.name, source.kubectl(&["config", "view", "-o", "jsonpath={.contexts[0].context.cluster}"]));
}
