//! What a namespace refers to that lies outside of it and is of a kind that somebody else defined.

use drctl::sources::kubernetes::KubernetesSelection;
use serde_json::json;

use super::{capture, names, namespaces};
use crate::support::bed::{self, Cluster, require};

/// Definitions that are there as long as the test: their names are those of the real ones.
struct Definitions<'c>(&'c Cluster, Vec<String>);

impl<'c> Definitions<'c> {
    fn create(cluster: &'c Cluster, kinds: &[(&str, &str, &str, &str, &str)]) -> Self {
        let mut names = Vec::new();
        for (plural, group, version, kind, scope) in kinds {
            let name = format!("{plural}.{group}");
            let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": name}, "spec": {"group": group, "scope": scope,
                    "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
                    "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
            cluster.create(&definition.to_string());
            names.push(name);
        }
        for name in &names {
            cluster.kubectl(&["wait", "--for=condition=Established", &format!("crd/{name}"), "--timeout=180s"]);
        }
        Self(cluster, names)
    }
}

impl Drop for Definitions<'_> {
    fn drop(&mut self) {
        let words = ["delete", "crd", "--wait=false"];
        let words: Vec<&str> = words.into_iter().chain(self.1.iter().map(String::as_str)).collect();
        let _ = self.0.try_kubectl(&words);
    }
}

#[tokio::test]
async fn the_issuers_of_certificates_and_the_application_that_deploys_into_a_namespace_come_along() {
    let cluster = require!(bed::target);
    let (shop, argo) = (cluster.create_namespace("shop"), cluster.create_namespace("argo"));
    let _definitions = Definitions::create(
        &cluster,
        &[
            ("clusterissuers", "cert-manager.io", "v1", "ClusterIssuer", "Cluster"),
            ("certificates", "cert-manager.io", "v1", "Certificate", "Namespaced"),
            ("applications", "argoproj.io", "v1alpha1", "Application", "Namespaced"),
        ],
    );
    let object = |api: &str, kind: &str, namespace: &str, name: &str, spec: serde_json::Value| {
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec});
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object
    };
    let issuer = |name: &str| object("cert-manager.io/v1", "ClusterIssuer", "", name, json!({"selfSigned": {}}));
    let certificate = object(
        "cert-manager.io/v1",
        "Certificate",
        &shop,
        "web",
        json!({"secretName": "tls", "issuerRef": {"kind": "ClusterIssuer", "name": "letsencrypt", "group": "cert-manager.io"}}),
    );
    let mut ingress = object(
        "networking.k8s.io/v1",
        "Ingress",
        &shop,
        "web",
        json!({"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}),
    );
    ingress["metadata"]["annotations"] = json!({"cert-manager.io/cluster-issuer": "by-annotation"});
    let application = |name: &str, namespace: &str| {
        object(
            "argoproj.io/v1alpha1",
            "Application",
            &argo,
            name,
            json!({"destination": {"server": "https://kubernetes.default.svc", "namespace": namespace}, "project": "default"}),
        )
    };
    let items = [
        issuer("letsencrypt"),
        issuer("by-annotation"),
        issuer("of-nobody"),
        certificate,
        ingress,
        application("shop", &shop),
        application("elsewhere", "elsewhere"),
    ];
    cluster.create(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());

    let (sink, report) = capture(cluster.kubeconfig(), namespaces(&[&shop])).await;
    assert_eq!(report.missing, []);
    let mut issuers = names(&sink, "clusterissuers.cert-manager.io", "");
    issuers.sort();
    assert_eq!(issuers, ["by-annotation", "letsencrypt"]);
    assert_eq!(names(&sink, "certificates.cert-manager.io", &shop), ["web"]);
    assert_eq!(names(&sink, "applications.argoproj.io", &argo), ["shop"]);
    let mut definitions = names(&sink, "customresourcedefinitions.apiextensions.k8s.io", "");
    definitions.sort();
    assert_eq!(
        definitions,
        ["applications.argoproj.io", "certificates.cert-manager.io", "clusterissuers.cert-manager.io"]
    );
    let mut places = names(&sink, "namespaces", "");
    places.sort();
    assert!(places.contains(&shop) && places.contains(&argo), "{places:?}: what is restored needs its Namespace");

    // The twin: nothing outside of the namespace.
    let none = KubernetesSelection {
        cluster_scoped: Some(drctl::sources::kubernetes::ClusterScoped::None),
        ..namespaces(&[&shop])
    };
    let (sink, _) = capture(cluster.kubeconfig(), none).await;
    assert_eq!(names(&sink, "certificates.cert-manager.io", &shop), ["web"]);
    for stream in ["clusterissuers.cert-manager.io", "applications.argoproj.io"] {
        assert!(sink.lines(stream, "").is_empty() && sink.lines(stream, &argo).is_empty(), "{stream}");
    }
}
