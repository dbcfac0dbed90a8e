use super::{
    super::super::{discovery::Unread, selection::ObjectRule, testing},
    *,
};

fn kind(id: &str, namespaced: bool, verbs: &str) -> Kind {
    let verbs = verbs.split(' ').map(str::to_owned).collect();
    Kind { namespaced, verbs, aggregated: id.ends_with(".other.example.com"), ..testing::kind(id) }
}

fn discovery() -> Discovery {
    let all = "create get list";
    let kinds = vec![
        kind("configmaps", true, all),
        kind("namespaces", false, all),
        kind("nodes", false, all),
        kind("secrets", true, all),
        kind("bindings", true, "create"),
        kind("componentstatuses", false, "get list"),
        kind("storageclasses.storage.k8s.io", false, all),
        kind("clusterrolebindings.rbac.authorization.k8s.io", false, all),
        kind("customresourcedefinitions.apiextensions.k8s.io", false, all),
        kind("things.other.example.com", true, all),
    ];
    let unread = |group: &str, aggregated| Unread {
        group: group.to_owned(),
        version: "v1".to_owned(),
        aggregated,
        why: "it sleeps".to_owned(),
    };
    Discovery::of(kinds, vec![unread("lost.example.com", false), unread("metrics.k8s.io", true)])
}

fn select(namespaces: &[&str]) -> KubernetesSelection {
    let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
    KubernetesSelection { namespaces, ..KubernetesSelection::default() }
}

fn known(names: &[&str]) -> Existing {
    Existing::Known(names.iter().map(|name| (*name).to_owned()).collect())
}

fn shown(tasks: &[Task]) -> Vec<String> {
    tasks.iter().flat_map(|task| task.lists.iter().map(|list| format!("{} {:?}", list.what, list.keep))).collect()
}

#[test]
fn some_namespaces_are_listed_one_by_one_with_what_they_refer_to() {
    let discovery = discovery();
    let plan = Plan::new(&select(&["a", "b", "gone"]), &discovery, &known(&["a", "b", "c"]));
    assert_eq!(
        shown(&plan.tasks),
        [
            "kind configmaps in namespace a InNamespaces",
            "kind configmaps in namespace b InNamespaces",
            "a of kind namespaces Namespaces",
            "b of kind namespaces Namespaces",
            "kind secrets in namespace a InNamespaces",
            "kind secrets in namespace b InNamespaces",
        ]
    );
    let waves = plan.referenced.map(|wave| wave.into_iter().map(Kind::id).collect::<Vec<_>>());
    assert_eq!(
        waves,
        [
            vec!["clusterrolebindings.rbac.authorization.k8s.io".to_owned()],
            vec!["storageclasses.storage.k8s.io".to_owned()],
            vec!["customresourcedefinitions.apiextensions.k8s.io".to_owned()],
        ]
    );
    let missing: Vec<_> = plan.missing.iter().map(|(what, why)| format!("{what}: {why}")).collect();
    assert_eq!(missing, ["namespace gone: the cluster has no such namespace", "group lost.example.com/v1: it sleeps"]);
    assert_eq!(
        plan.notes,
        [
            "group metrics.k8s.io/v1 belongs to another server and did not answer: it sleeps",
            "kinds of other servers are left out unless included: things.other.example.com",
        ]
    );
}

#[test]
fn the_whole_cluster_is_listed_at_once_with_all_that_is_in_no_namespace() {
    let discovery = discovery();
    let mut selection = select(&["*"]);
    selection.include = ["nodes", "*.other.example.com", "bindings"].map(ObjectRule::of_kind).to_vec();
    selection.exclude = ["*.example.com", "secrets"].map(ObjectRule::of_kind).to_vec();
    let plan = Plan::new(&selection, &discovery, &known(&["a"]));
    assert_eq!(
        shown(&plan.tasks),
        [
            "kind configmaps InNamespaces",
            "kind namespaces Namespaces",
            "kind nodes All",
            "kind storageclasses.storage.k8s.io All",
            "kind clusterrolebindings.rbac.authorization.k8s.io All",
            "kind customresourcedefinitions.apiextensions.k8s.io All",
            "kind things.other.example.com InNamespaces",
        ]
    );
    assert!(plan.referenced.iter().all(Vec::is_empty));
    let missing: Vec<_> = plan.missing.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(missing, ["kind bindings"], "it was named, and cannot be listed; the lost group is excluded");
}

#[test]
fn argo_cds_applications_are_looked_for_in_other_namespaces_if_references_are_taken() {
    let all = "create get list";
    let kinds = vec![kind("applications.argoproj.io", true, all), kind("configmaps", true, all)];
    let discovery = Discovery::of(kinds, Vec::new());
    let keeps = |selection: &KubernetesSelection| {
        let plan = Plan::new(selection, &discovery, &known(&["a"]));
        let lists = plan.tasks.into_iter().flat_map(|task| task.lists);
        lists.map(|list| (list.namespace.is_some(), list.keep)).collect::<Vec<_>>()
    };
    let own = (true, Keep::InNamespaces);
    assert_eq!(keeps(&select(&["a"])), [own, (false, Keep::Deploying), own]);
    let none = KubernetesSelection { cluster_scoped: Some(ClusterScoped::None), ..select(&["a"]) };
    assert_eq!(keeps(&none), [own, own]);
}

#[test]
fn the_keys_of_sealed_secrets_are_taken_from_wherever_they_are_if_the_cluster_has_sealed_secrets() {
    let all = "create get list";
    let lists = |selection: &KubernetesSelection, installed: bool| {
        let mut kinds = vec![kind("secrets", true, all)];
        kinds.extend(installed.then(|| kind("sealedsecrets.bitnami.com", true, all)));
        let discovery = Discovery::of(kinds, Vec::new());
        let plan = Plan::new(selection, &discovery, &known(&["a", "kube-system"]));
        let secrets = plan.tasks.into_iter().filter(|task| task.id == SECRETS).flat_map(|task| task.lists);
        secrets.map(|list| (list.namespace, list.query, list.keep)).collect::<Vec<_>>()
    };
    let query = "labelSelector=sealedsecrets.bitnami.com%2Fsealed-secrets-key".to_owned();
    let own = (Some("a".to_owned()), String::new(), Keep::InNamespaces);
    let elsewhere = (None, query.clone(), Keep::InOtherNamespaces);
    assert_eq!(lists(&select(&["a"]), true), [own.clone(), elsewhere]);
    assert_eq!(lists(&select(&["a"]), false), [own]);
    let without = |namespaces: &[&str]| KubernetesSelection {
        exclude: vec![ObjectRule::of_kind("secrets")],
        ..select(namespaces)
    };
    assert_eq!(lists(&without(&["a"]), true), [(None, query.clone(), Keep::All)], "excluded kinds do not matter");
    assert_eq!(lists(&without(&["*"]), true), [(None, query, Keep::All)]);
    assert_eq!(lists(&without(&["a"]), false), []);
}

#[test]
fn namespaces_are_read_last_with_all_in_which_something_was_captured() {
    let discovery = discovery();
    let selection = select(&["a"]);
    let mut plan = Plan::new(&selection, &discovery, &known(&["a"]));
    let task = plan.take_namespaces().unwrap();
    assert!(plan.tasks.iter().all(|task| task.id != NAMESPACES));
    let task = with_namespaces_of(task, &selection, ["", "a", "kube-system"].into_iter());
    assert_eq!(shown(&[task]), ["a of kind namespaces Namespaces", "kube-system of kind namespaces All"]);
}

#[test]
fn named_namespaces_are_tried_where_namespaces_may_not_be_listed() {
    let discovery = discovery();
    let plan = Plan::new(&select(&["a", "b-*"]), &discovery, &Existing::Assumed(vec!["a".to_owned()]));
    assert_eq!(plan.namespaces, ["a"]);
    assert!(plan.missing.iter().any(|(what, _)| what == "namespaces like b-*"), "{:?}", plan.missing);
}
