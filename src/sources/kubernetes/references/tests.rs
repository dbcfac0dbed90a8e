use serde_json::json;

use super::*;
use crate::sources::kubernetes::testing::kind;

fn collected(objects: &[(&str, Value)]) -> References {
    let mut references = References::default();
    for (id, object) in objects {
        let meta = Meta::deserialize(object.get("metadata").unwrap_or(&json!({}))).unwrap();
        references.collect(&kind(id), &meta, &object.to_string());
    }
    references
}

fn takes(references: &mut References, id: &str, object: &Value) -> bool {
    let selection = KubernetesSelection { namespaces: vec!["shop".to_owned()], ..KubernetesSelection::default() };
    let meta = Meta::deserialize(&object["metadata"]).unwrap();
    references.takes(&selection, id, &meta, &object.to_string())
}

#[test]
fn classes_are_found_wherever_a_pod_or_a_claim_is_described() {
    let references = collected(&[
        (
            "deployments.apps",
            json!({"spec": {"template": {"spec": {"priorityClassName": "high", "runtimeClassName": "gvisor"}}}}),
        ),
        ("statefulsets.apps", json!({"spec": {"volumeClaimTemplates": [{"spec": {"storageClassName": "fast"}}]}})),
        (
            "persistentvolumeclaims",
            json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "old"}},
            "spec": {"storageClassName": "slow", "volumeName": "pv-1", "volumeAttributesClassName": "gold"}}),
        ),
        ("ingresses.networking.k8s.io", json!({"spec": {"ingressClassName": "nginx"}})),
        ("ingresses.networking.k8s.io", json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "alb"}}})),
    ]);
    for (id, names) in [
        ("priorityclasses.scheduling.k8s.io", &["high"][..]),
        ("runtimeclasses.node.k8s.io", &["gvisor"]),
        ("storageclasses.storage.k8s.io", &["fast", "old", "slow"]),
        ("volumeattributesclasses.storage.k8s.io", &["gold"]),
        ("ingressclasses.networking.k8s.io", &["alb", "nginx"]),
        ("persistentvolumes", &["pv-1"]),
    ] {
        assert_eq!(references.names_of(id).unwrap(), names, "{id}");
    }
}

#[test]
fn text_that_only_looks_like_a_field_is_no_reference() {
    let references = collected(&[
        ("deployments.apps", json!({"metadata": {"annotations": {"last": "{\"priorityClassName\":\"quoted\"}"}}})),
        (
            "deployments.apps",
            json!({"spec": {"xpriorityClassName": "other", "ClassName": "none", "priorityClassName": ""}}),
        ),
        ("configmaps", json!({"data": {"priorityClassName": "in-a-config"}})),
    ]);
    assert_eq!(references.names_of("priorityclasses.scheduling.k8s.io").unwrap(), [""; 0]);
}

#[test]
fn custom_resources_refer_to_their_definition() {
    let references = collected(&[("widgets.example.com", json!({"metadata": {"name": "w"}}))]);
    assert_eq!(references.names_of("customresourcedefinitions.apiextensions.k8s.io").unwrap(), ["widgets.example.com"]);
}

#[test]
fn bindings_of_the_sources_accounts_are_taken_with_their_roles() {
    let binding = |subject: Value| json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "reader"}, "subjects": [subject]});
    let id = "clusterrolebindings.rbac.authorization.k8s.io";
    for (subject, taken) in [
        (json!({"kind": "ServiceAccount", "namespace": "shop", "name": "web"}), true),
        (json!({"kind": "Group", "name": "system:serviceaccounts:shop"}), true),
        (json!({"kind": "User", "name": "system:serviceaccount:shop:web"}), true),
        (json!({"kind": "ServiceAccount", "namespace": "other", "name": "web"}), false),
        (json!({"kind": "Group", "name": "system:serviceaccounts"}), false),
        (json!({"kind": "User", "name": "shop"}), false),
        (json!(7), false),
    ] {
        let mut references = References::default();
        assert_eq!(takes(&mut references, id, &binding(subject.clone())), taken, "{subject}");
        let role = json!({"metadata": {"name": "reader"}});
        assert_eq!(takes(&mut references, "clusterroles.rbac.authorization.k8s.io", &role), taken, "{subject}");
    }
    assert!(!takes(
        &mut References::default(),
        id,
        &json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "x"}})
    ));
}

#[test]
fn role_bindings_refer_to_cluster_roles_and_these_to_what_they_are_put_together_from() {
    let binding = json!({"metadata": {}, "roleRef": {"kind": "ClusterRole", "name": "sum"}, "subjects": []});
    let local = json!({"metadata": {}, "roleRef": {"kind": "Role", "name": "local"}});
    let id = "rolebindings.rbac.authorization.k8s.io";
    let mut references = collected(&[(id, binding), (id, local)]);
    let roles = "clusterroles.rbac.authorization.k8s.io";
    let part = json!({"metadata": {"name": "part", "labels": {"to": "sum", "more": "1"}}});
    let sum = json!({"metadata": {"name": "sum"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]}});
    assert!(!takes(&mut references, roles, &part), "not known yet");
    assert!(takes(&mut references, roles, &sum));
    assert!(takes(&mut references, roles, &part));
    assert!(!takes(&mut references, roles, &json!({"metadata": {"name": "local"}})));
    assert!(references.names_of(roles).is_none());
}

#[test]
fn webhooks_and_api_services_that_call_into_the_source_are_taken() {
    let webhook = |namespace: &str| {
        json!({"metadata": {"name": "w"}, "webhooks": [{"clientConfig": {"url": "https://example.org"}},
            {"clientConfig": {"service": {"namespace": namespace, "name": "hook"}}}]})
    };
    let service = |namespace: &str| json!({"metadata": {"name": "v1.x"}, "spec": {"service": {"namespace": namespace, "name": "api"}}});
    let mut references = References::default();
    for (id, object) in [
        ("mutatingwebhookconfigurations.admissionregistration.k8s.io", &webhook as &dyn Fn(&str) -> Value),
        ("validatingwebhookconfigurations.admissionregistration.k8s.io", &webhook),
        ("apiservices.apiregistration.k8s.io", &service),
    ] {
        assert!(references.names_of(id).is_none(), "all must be looked at");
        assert!(takes(&mut references, id, &object("shop")), "{id}");
        assert!(!takes(&mut references, id, &object("other")), "{id}");
    }
}

#[test]
fn owners_that_are_cluster_scoped_are_taken() {
    let mut platform = kind("platforms.example.com");
    (platform.name, platform.namespaced) = ("Platform".to_owned(), false);
    let mut references = References::to([platform].iter());
    let meta = json!({"name": "c", "ownerReferences": [
        {"apiVersion": "example.com/v1", "kind": "Platform", "name": "main", "uid": "u"},
        {"apiVersion": "other.org/v1", "kind": "Platform", "name": "not-this", "uid": "u"}]});
    references.collect(&kind("secrets"), &Meta::deserialize(&meta).unwrap(), "{}");
    assert_eq!(references.names_of("platforms.example.com").unwrap(), ["main"]);
    let snapshot = json!({"spec": {"volumeSnapshotClassName": "daily"}});
    references.collect(&kind("volumesnapshots.snapshot.storage.k8s.io"), &Meta::default(), &snapshot.to_string());
    assert_eq!(references.names_of("volumesnapshotclasses.snapshot.storage.k8s.io").unwrap(), ["daily"]);
}

#[test]
fn issuers_and_other_cluster_scoped_custom_resources_are_taken_where_they_are_named() {
    let scoped = |id: &str, name: &str| Kind { name: name.to_owned(), namespaced: false, ..kind(id) };
    let kinds = [
        scoped("clusterissuers.cert-manager.io", "ClusterIssuer"),
        scoped("clustersecretstores.external-secrets.io", "ClusterSecretStore"),
        scoped("storageclasses.storage.k8s.io", "StorageClass"),
    ];
    let mut references = References::to(kinds.iter());
    let mut collect = |id: &str, object: Value| {
        let meta = Meta::deserialize(object.get("metadata").unwrap_or(&json!({}))).unwrap();
        references.collect(&kind(id), &meta, &object.to_string());
    };
    collect("certificates.cert-manager.io", json!({"spec": {"issuerRef": {"kind": "ClusterIssuer", "name": "le"}}}));
    collect("certificates.cert-manager.io", json!({"spec": {"issuerRef": {"kind": "Issuer", "name": "own"}}}));
    collect(
        "certificates.cert-manager.io",
        json!({"spec": {"issuerRef": {"group": "other.org", "kind": "ClusterIssuer", "name": "others"}}}),
    );
    let annotated = json!({"metadata": {"annotations": {"cert-manager.io/cluster-issuer": "edge"}}});
    collect("ingresses.networking.k8s.io", annotated);
    let data = json!([{"sourceRef": {"storeRef": {"kind": "ClusterSecretStore", "name": "vault"}}}]);
    collect("externalsecrets.external-secrets.io", json!({"spec": {"data": data}}));
    collect("widgets.example.com", json!({"spec": {"class": {"kind": "StorageClass", "name": "fast"}}}));
    assert_eq!(references.names_of("clusterissuers.cert-manager.io").unwrap(), ["edge", "le"]);
    assert_eq!(references.names_of("clustersecretstores.external-secrets.io").unwrap(), ["vault"]);
    assert!(references.names_of("storageclasses.storage.k8s.io").unwrap().is_empty());
}

#[test]
fn an_application_counts_by_where_it_deploys_to() {
    let selection = KubernetesSelection { namespaces: vec!["shop".to_owned()], ..KubernetesSelection::default() };
    for (destination, expected) in [
        (json!({"namespace": "shop", "server": "https://kubernetes.default.svc"}), true),
        (json!({"namespace": "shop", "name": "in-cluster"}), true),
        (json!({"namespace": "other", "server": "https://kubernetes.default.svc"}), false),
        (json!({"namespace": "shop", "server": "https://prod.example.org"}), false),
        (json!({"namespace": "shop", "name": "prod"}), false),
        (json!({"server": "https://kubernetes.default.svc"}), false),
        (json!(7), false),
    ] {
        let application = json!({"spec": {"destination": destination}}).to_string();
        assert_eq!(deploys_into(&selection, &application), expected, "{application}");
    }
}
