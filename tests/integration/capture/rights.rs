//! Captures by those who may not see everything, and of a cluster that does not have everything.

use super::{
    front::{Answer, Front, Rule},
    *,
};

/// Rights to list every kind that the cluster has now, but no Secrets.
const ROLES: &str = include_str!("roles.yaml");

/// Gives the bed's user the right to list namespaces, and gives the rest of it in these namespaces.
fn grant(source: &bed::Cluster, kinds: &str, namespaces: &[&str]) {
    let mut documents =
        ROLES.replace("PREFIX", source.prefix()).replace("USER", source.user_name()).replace("KINDS", kinds);
    for namespace in namespaces {
        documents += &format!(
            "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: kinds, namespace: {namespace}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {}-kinds}}\nsubjects: [{{kind: User, name: {}}}]\n",
            source.prefix(),
            source.user_name()
        );
    }
    source.apply(&documents);
}

#[tokio::test]
async fn a_kind_that_may_not_be_listed_is_missing_and_named() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    grant(&source, "configmaps, services, serviceaccounts, pods", &[&shop]);
    source.kubectl(&["-n", &shop, "create", "configmap", "settings", "--from-literal=a=1"]);
    let mut selection = namespaces(&[&shop]);
    selection.exclude = vec![ObjectRule::of_kind("*")];
    selection.include = ["configmaps", "secrets", "serviceaccounts"].map(ObjectRule::of_kind).to_vec();

    let (sink, report) = capture(source.user_kubeconfig(), selection.clone()).await;
    assert_eq!(names(&sink, "configmaps", &shop), ["settings"]);
    assert_eq!(names(&sink, "namespaces", ""), std::slice::from_ref(&shop));
    assert_eq!(report.missing.len(), 1, "{:?}", report.missing);
    assert_eq!(report.missing[0].what, format!("kind secrets in namespace {shop}"));
    assert!(report.missing[0].why.contains("secrets is forbidden: User"), "{:?}", report.missing);

    let (_, report) = capture(source.kubeconfig(), selection).await;
    assert_eq!(report.missing, []);
}

#[tokio::test]
async fn where_the_whole_cluster_may_not_be_listed_its_namespaces_are() {
    let source = require!(bed::source);
    let all = create_teams(&source);
    let allowed: Vec<_> = all.iter().skip(1).map(String::as_str).collect();
    grant(&source, "configmaps", &allowed);
    source.kubectl(&["-n", &all[7], "create", "configmap", "settings", "--from-literal=a=1"]);
    let mut selection = namespaces(&[&source.name("team-*")]);
    selection.exclude = vec![ObjectRule::of_kind("*")];
    selection.include = vec![ObjectRule::of_kind("configmaps")];

    let (sink, report) = capture(source.user_kubeconfig(), selection).await;
    assert_eq!(names(&sink, "configmaps", &all[7]), ["settings"]);
    let missing: Vec<_> = report.missing.iter().map(|missing| missing.what.clone()).collect();
    assert_eq!(missing, [format!("kind configmaps in namespace {}", all[0])]);
}

#[tokio::test]
async fn one_who_may_see_nothing_gets_an_error_and_no_empty_backup() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    let sink = MemorySink::default();
    let outcome = capture_into(&sink, connect(source.user_kubeconfig()).await, namespaces(&[&shop])).await;
    match outcome {
        Err(CaptureError::Kubernetes(error)) => {
            assert_eq!(error.kind, drctl::sources::kubernetes::ErrorKind::Forbidden);
            assert!(error.to_string().contains(source.user_name()), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_named_namespace_that_does_not_exist_is_missing_and_an_empty_one_is_counted() {
    let source = require!(bed::source);
    let empty = source.create_namespace("empty");
    source.kubectl(&["-n", &empty, "wait", "--for=create", "serviceaccount/default", "--timeout=180s"]);
    let gone = source.name("gone");
    let mut selection = namespaces(&[&empty, &gone, &source.name("none-*")]);
    selection.exclude = vec![ObjectRule::of_kind("events*")];
    let (_, report) = capture(source.kubeconfig(), selection).await;
    let missing: Vec<_> = report.missing.iter().map(|missing| missing.what.clone()).collect();
    assert_eq!(missing, [format!("namespace {gone}")]);
    assert!(report.notes.iter().any(|note| note.contains("none-*")), "{:?}", report.notes);
    let group = report.groups.iter().find(|group| group.name == empty).unwrap();
    assert_eq!((group.count, group.restorable), (1, 0), "nothing in it would be created by a restore");
}

/// An APIService of the test's own, gone with it: the cluster cannot finish deleting namespaces while a group of it
/// does not answer.
struct DeadApi<'a> {
    source: &'a bed::Cluster,
    name: String,
}

impl Drop for DeadApi<'_> {
    fn drop(&mut self) {
        self.source.try_kubectl(&["delete", "apiservice", &self.name]);
    }
}

#[tokio::test]
async fn a_group_of_another_server_that_does_not_answer_is_a_note_unless_the_policy_names_it() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    let group = format!("{}.dead.example.com", source.prefix());
    let dead = DeadApi { source: &source, name: format!("v1.{group}") };
    source.apply(&format!(
        "apiVersion: apiregistration.k8s.io/v1\nkind: APIService\nmetadata: {{name: {}}}\nspec: {{group: {group}, version: v1, \
         insecureSkipTLSVerify: true, groupPriorityMinimum: 100, versionPriority: 100, service: {{name: none, namespace: {shop}}}}}\n",
        dead.name
    ));
    source.kubectl(&["wait", "--for=condition=Available=false", "apiservice", &dead.name, "--timeout=180s"]);

    let (_, report) = capture(source.kubeconfig(), namespaces(&[&shop])).await;
    assert_eq!(report.missing, []);
    assert!(report.notes.iter().any(|note| note.contains(&group)), "{:?}", report.notes);

    let mut selection = namespaces(&[&shop]);
    selection.include = vec![ObjectRule::of_kind(format!("*.{group}"))];
    let (_, report) = capture(source.kubeconfig(), selection).await;
    let missing: Vec<_> = report.missing.iter().map(|missing| missing.what.clone()).collect();
    assert_eq!(missing, [format!("group {group}/v1")]);
}

#[tokio::test]
async fn the_keys_of_sealed_secrets_are_captured_whatever_is_selected() {
    let source = require!(bed::source);
    let (shop, system) = (source.create_namespace("shop"), source.create_namespace("system"));
    for namespace in [&shop, &system] {
        source.kubectl(&["-n", namespace, "create", "secret", "generic", "key", "--from-literal=tls.key=k"]);
        source.kubectl(&["-n", namespace, "create", "secret", "generic", "other", "--from-literal=a=b"]);
        source.kubectl(&[
            "-n",
            namespace,
            "label",
            "secret",
            "key",
            "sealedsecrets.bitnami.com/sealed-secrets-key=active",
        ]);
    }
    for (installed, excluded) in [(true, false), (true, true), (false, true)] {
        let front = Front::before(connect(source.kubeconfig()).await, sealed_secrets(installed)).await;
        let mut selection = namespaces(&[&shop]);
        selection.exclude = if excluded { vec![ObjectRule::of_kind("secrets")] } else { Vec::new() };
        let (sink, report) = capture(&front.kubeconfig(), selection).await;
        assert_eq!(report.missing, []);
        let own: &[&str] = if excluded { &["key"] } else { &["key", "other"] };
        assert_eq!(names(&sink, "secrets", &shop), if installed { own } else { &[] });
        assert_eq!(names(&sink, "secrets", &system), if installed { &["key"][..] } else { &[] });
    }
}

/// The cluster as it looks with the sealed-secrets controller. A real definition of its kind would be seen by the
/// tests beside this one.
fn sealed_secrets(installed: bool) -> Box<Rule> {
    let with_group = |document: String| {
        let mut document: Value = serde_json::from_str(&document).unwrap();
        let kind = serde_json::json!({"resource": "sealedsecrets", "responseKind": {"kind": "SealedSecret"}, "scope": "Namespaced",
            "verbs": ["list", "get", "create"]});
        let group = serde_json::json!({"metadata": {"name": "bitnami.com"},
            "versions": [{"version": "v1alpha1", "freshness": "Current", "resources": [kind]}]});
        document["items"].as_array_mut().unwrap().push(group);
        document.to_string()
    };
    Box::new(move |path| match path {
        "/apis" if installed => Answer::Change(Box::new(with_group)),
        _ if path.contains("/sealedsecrets") => Answer::Say(200, "", r#"{"metadata":{},"items":[]}"#.to_owned()),
        _ => Answer::Forward,
    })
}
