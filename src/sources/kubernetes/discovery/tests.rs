use super::*;

fn take(json: &str, aggregated: &[(&str, &str)]) -> (Discovery, Vec<(String, String)>) {
    let aggregated = aggregated.iter().map(|(g, v)| ((*g).to_owned(), (*v).to_owned())).collect();
    let mut discovery = Discovery::default();
    let unanswered = discovery.take(serde_json::from_str(json).unwrap(), &aggregated);
    (discovery, unanswered)
}

const DOCUMENT: &str = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[
 {"metadata":{"name":"autoscaling"},"versions":[
   {"version":"v2","freshness":"Current","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"group":"","version":"","kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","verbs":["list","get","create"],"subresources":[{"subresource":"status","verbs":["get"]}]}]},
   {"version":"v1","freshness":"Current","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"group":"","version":"","kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","verbs":["list","get","create"]}]}]},
 {"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","freshness":"Stale","resources":[]}]},
 {"metadata":{"name":"extensions"},"versions":[{"version":"v1beta1","resources":[
   {"resource":"ingresses","responseKind":{"kind":"Ingress"},"scope":"Namespaced","verbs":["list"]},
   {"resource":"only-subresources","scope":"Namespaced","verbs":[]}]}]},
 {"metadata":{"name":"networking.k8s.io"},"versions":[{"version":"v1","resources":[
   {"resource":"ingresses","responseKind":{"kind":"Ingress"},"scope":"Namespaced","verbs":["list"]}]}]}]}"#;

#[test]
fn each_kind_is_there_once_at_its_preferred_version_and_in_its_newer_group() {
    let (discovery, _) = take(DOCUMENT, &[]);
    let kinds: Vec<_> = discovery.kinds().iter().map(|kind| format!("{kind} {}", kind.version)).collect();
    assert_eq!(kinds, ["horizontalpodautoscalers.autoscaling v2", "ingresses.networking.k8s.io v1"]);
    assert!(discovery.find("autoscaling/v1", "HorizontalPodAutoscaler").is_some());
    assert!(discovery.find("autoscaling/v3", "HorizontalPodAutoscaler").is_none());
    assert_eq!(discovery.versions("autoscaling", "horizontalpodautoscalers").count(), 2);
    assert!(discovery.kinds()[0].has_subresource("status"));
}

#[test]
fn a_stale_group_is_not_taken_for_an_empty_one() {
    let (_, unanswered) = take(DOCUMENT, &[]);
    assert_eq!(unanswered, [("metrics.k8s.io".to_owned(), "v1beta1".to_owned())]);
}

#[test]
fn the_version_in_storage_beats_the_preferred_one() {
    let (mut discovery, _) = take(DOCUMENT, &[]);
    discovery.storage.insert(("horizontalpodautoscalers".to_owned(), "autoscaling".to_owned()), "v1".to_owned());
    assert_eq!(discovery.kinds()[0].version, "v1");
}

#[test]
fn kinds_of_another_server_are_marked() {
    let (discovery, _) = take(DOCUMENT, &[("networking.k8s.io", "v1")]);
    let foreign: Vec<_> = discovery.kinds().into_iter().filter(|kind| kind.aggregated).map(Kind::id).collect();
    assert_eq!(foreign, ["ingresses.networking.k8s.io"]);
}

#[test]
fn an_old_server_is_asked_group_by_group() {
    let (_, core) = take(r#"{"kind":"APIVersions","versions":["v1"]}"#, &[]);
    assert_eq!(core, [(String::new(), "v1".to_owned())]);
    let (_, groups) = take(
        r#"{"kind":"APIGroupList","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]}]}"#,
        &[],
    );
    assert_eq!(groups, [("apps".to_owned(), "v1".to_owned())]);
    let resources: PlainResources = serde_json::from_str(
        r#"{"resources":[{"name":"deployments","kind":"Deployment","namespaced":true,"verbs":["list"]},
            {"name":"deployments/scale","kind":"Scale","namespaced":true,"verbs":["get"]}]}"#,
    )
    .unwrap();
    let kinds = resources.into_kinds("apps", "v1", false);
    assert_eq!(kinds.len(), 1);
    assert_eq!(kinds[0].subresources, ["scale"]);
}

#[test]
fn a_document_of_another_kind_is_refused() {
    assert!(serde_json::from_str::<Document>(r#"{"kind":"Status","message":"no"}"#).is_err());
}

#[test]
fn the_servers_own_groups_and_those_of_other_servers_are_not_taken_for_custom_resources() {
    let service = |mark: &str, spec: &str| -> wire::ApiService {
        let json = format!(r#"{{"metadata":{{"labels":{mark}}},"spec":{{"group":"g","version":"v1"{spec}}}}}"#);
        serde_json::from_str(&json).unwrap()
    };
    let made_for_definitions = r#"{"kube-aggregator.kubernetes.io/automanaged":"true"}"#;
    let built_in = r#"{"kube-aggregator.kubernetes.io/automanaged":"onstart"}"#;
    let elsewhere = r#","service":{"name":"metrics","namespace":"kube-system"}"#;
    assert!(service(made_for_definitions, "").is_of_definitions());
    assert!(!service(built_in, "").is_of_definitions());
    assert!(!service("{}", elsewhere).is_of_definitions());
    assert!(!service(made_for_definitions, elsewhere).is_of_definitions());
}
