//! A part of a backup: chosen by namespace, kind, label and name; restored under another namespace; changed.

use std::{collections::BTreeMap, fs};

use drctl::sources::kubernetes::restore::{Action, Mapping};
use serde_json::{Value, json};

use crate::support::{
    bed::{self, require},
    snapshot::{Restore, Snapshot},
    workshop::Workshop,
};

/// A web shop with most of what a mapping and a modifier touch.
fn shop(namespace: &str, prefix: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: {namespace}, labels: {{app: web}}}}
data: {{host: db.{namespace}.svc}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: other, namespace: {namespace}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: password, namespace: {namespace}}}
stringData: {{password: correct-horse}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: web, namespace: {namespace}, labels: {{app: web}}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader, namespace: {namespace}}}
rules: [{{apiGroups: [""], resources: [configmaps], verbs: [get]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{kind: ServiceAccount, name: web, namespace: {namespace}}}, {{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:serviceaccounts:{namespace}"}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {prefix}-rights, labels: {{drctl-test: {prefix}}}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}}
subjects: [{{kind: ServiceAccount, name: web, namespace: {namespace}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {namespace}, labels: {{app: web}}}}
spec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80}}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data, namespace: {namespace}}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: {prefix}-old, resources: {{requests: {{storage: 1Gi}}}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {namespace}, labels: {{app: web}}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      serviceAccountName: web
      initContainers: [{{name: init, image: "registry.example.org/init:1"}}]
      containers:
      - name: web
        image: registry.example.org/web:1
        env: [{{name: P, valueFrom: {{secretKeyRef: {{name: password, key: password}}}}}}]
"#
    )
}

/// The class of the claims waits for a Pod: nothing waits for a claim of it.
fn storage_class(cluster: &bed::Cluster, suffix: &str) -> String {
    let (name, label, prefix) = (cluster.name(suffix), bed::Cluster::LABEL, cluster.prefix());
    format!(
        "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{name: {name}, labels: {{{label}: {prefix}}}}}\n\
         provisioner: example.org/none\nvolumeBindingMode: WaitForFirstConsumer\n---\n"
    )
}

/// Names and versions of what a namespace holds, but for what controllers write by themselves.
fn versions(cluster: &bed::Cluster, namespace: &str) -> BTreeMap<String, String> {
    let kinds = "configmaps,secrets,services,serviceaccounts,roles,rolebindings,persistentvolumeclaims";
    let list: Value = serde_json::from_str(&cluster.kubectl(&["get", kinds, "-n", namespace, "-o", "json"])).unwrap();
    let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    let name = |object: &Value| format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"));
    let objects = list["items"].as_array().unwrap().iter();
    objects.map(|object| (name(object), text(object, "/metadata/resourceVersion"))).collect()
}

fn exists(cluster: &bed::Cluster, namespace: &str) -> bool {
    cluster.get("namespace", "", namespace).is_some()
}

#[test]
fn a_namespace_is_restored_beside_the_living_one() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("shop");
    let copy = cluster.name("copy");
    cluster.apply(&(storage_class(&cluster, "old") + &shop(&namespace, cluster.prefix())));
    cluster.kubectl(&["-n", &namespace, "rollout", "status", "deployment/web", "--timeout=180s"]);
    let finalizers = |operation: &str| {
        cluster.kubectl(&["-n", &namespace, "patch", "configmap", "settings", "--type=json", "-p", operation]);
    };
    finalizers(r#"[{"op":"add","path":"/metadata/finalizers","value":["example.org/keep"]}]"#);
    let workshop = Workshop::new(&cluster, &[&namespace]);
    workshop.done(&["backup"]);
    let before = versions(&cluster, &namespace);

    let map = format!("{namespace}={copy}");
    let words = ["restore", "--map-namespace", &map, "--wait-timeout", "60s", "--yes"];
    let plan = workshop.json(0, &["restore", "--map-namespace", &map, "--dry-run"]);
    assert!(!exists(&cluster, &copy), "a dry run writes nothing");
    let objects = plan["sources"][0]["objects"].as_array().unwrap();
    assert!(objects.iter().all(|it| it["namespace"] == copy.as_str() || it["name"] == copy.as_str()), "{plan:#}");
    let missing = plan["sources"][0]["missingReferences"].as_array().unwrap();
    let rights = format!("{}-rights", cluster.prefix());
    assert_eq!(missing.len(), 1, "{missing:#?}");
    assert_eq!(missing[0]["name"], rights.as_str(), "the accounts of the copy have none of these rights");

    let report = workshop.json(0, &words);
    assert_eq!((report["complete"].clone(), report["equal"].clone()), (json!(true), json!(true)), "{report:#}");
    assert_eq!(report["asked"]["mappedNamespaces"], json!({ (namespace.clone()): copy }));
    let changed = report["sources"][0]["execution"]["modified"]["objects"].as_array().unwrap();
    let changed: Vec<&str> = changed.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(changed, ["rolebindings.rbac.authorization.k8s.io", "configmaps"], "{report:#}");

    // What was asked for, and nothing else.
    let binding = cluster.get("rolebinding", &copy, "reader").unwrap();
    assert_eq!(binding["subjects"][0]["namespace"], copy.as_str());
    assert_eq!(binding["subjects"][1]["name"], format!("system:serviceaccounts:{copy}"));
    let settings = cluster.get("configmap", &copy, "settings").unwrap();
    assert_eq!(settings["data"]["host"], format!("db.{namespace}.svc"), "what is inside of an object stays");
    assert!(settings.pointer("/metadata/finalizers").is_none());
    let service = |namespace: &str| cluster.get("service", namespace, "web").unwrap();
    assert_ne!(service(&copy)["spec"]["clusterIP"], service(&namespace)["spec"]["clusterIP"]);
    assert_ne!(service(&copy)["spec"]["ports"][0]["nodePort"], service(&namespace)["spec"]["ports"][0]["nodePort"]);
    let pods = cluster.kubectl(&["-n", &copy, "get", "pods", "-l", "app=web", "-o", "name"]);
    assert_eq!(pods.lines().count(), 2);
    let labelled = cluster.get("namespace", "", &copy).unwrap();
    assert_eq!(labelled.pointer("/metadata/labels/kubernetes.io~1metadata.name"), Some(&json!(copy)));

    // The living one is as it was, and a second run has nothing to do.
    assert_eq!(versions(&cluster, &namespace), before);
    let again = workshop.json(0, &words);
    let again = &again["sources"][0]["execution"];
    assert_eq!((again["created"].clone(), again["requests"].clone()), (json!(0), json!(0)), "{again:#}");
    // It would keep the living one from going.
    finalizers(r#"[{"op":"remove","path":"/metadata/finalizers"}]"#);
}

#[test]
fn a_mapped_restore_takes_no_rights_away_from_the_living_namespace() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("shop");
    let copy = cluster.name("copy");
    cluster.apply(&shop(&namespace, cluster.prefix()));
    let workshop = Workshop::new(&cluster, &[&namespace]);
    workshop.done(&["backup"]);
    let rights = format!("{}-rights", cluster.prefix());
    let subjects = || cluster.get("clusterrolebinding", "", &rights).unwrap()["subjects"].clone();
    let living = subjects();

    let bindings = "clusterrolebindings.rbac.authorization.k8s.io";
    let map = format!("{namespace}={copy}");
    for on_conflict in ["update", "replace"] {
        let words = ["restore", "--map-namespace", &map, "--kind", bindings, "--on-conflict", on_conflict];
        let plan = workshop.json(3, &[&words[..], &["--dry-run"]].concat());
        let objects = plan["sources"][0]["objects"].as_array().unwrap();
        let binding = objects.iter().find(|it| it["name"] == rights.as_str()).unwrap();
        assert_eq!(binding["action"], json!("conflict"), "{binding:#}");
        let reason = binding["reason"].as_str().unwrap();
        assert!(reason.contains("the living namespaces have their rights by it"), "{reason}");
        let ended = workshop.ends(3, &[&words[..], &["--yes"]].concat());
        assert!(ended.stdout.contains(&rights), "{}", ended.stdout);
        assert_eq!(subjects(), living, "{on_conflict}");
    }

    // The twin: where the living one is gone, the copy's accounts get its rights; and by itself it is changed back.
    cluster.kubectl(&["delete", "clusterrolebinding", &rights]);
    let words = ["restore", "--map-namespace", &map, "--kind", bindings, "--on-conflict", "update", "--yes"];
    workshop.done(&words);
    assert_eq!(subjects()[0]["namespace"], json!(copy));
    workshop.done(&["restore", "--kind", bindings, "--name", &rights, "--on-conflict", "update", "--yes"]);
    assert_eq!(subjects(), living);
}

#[test]
fn modifiers_change_what_is_restored_and_the_comparison_expects_it() {
    let (source, target) = (require!(bed::source), require!(bed::target));
    let namespace = source.create_namespace("modified");
    let prefix = source.prefix();
    source.apply(&shop(&namespace, prefix));
    let mut workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    let class = target.name("new");
    target.apply(&storage_class(&target, "new"));
    workshop.use_kubeconfig(target.kubeconfig());
    let file = workshop.folder().join("modifiers.yaml");
    let path = file.to_str().unwrap().to_owned();
    fs::write(
        &file,
        format!(
            r#"apiVersion: drctl/v1
kind: Modifiers
storageClasses: {{{prefix}-old: {class}}}
images: {{registry.example.org/: mirror.example/x/}}
rules:
  - kind: deployments.apps
    name: "w*"
    selector: app=web
    patch:
      - {{op: test, path: /spec/replicas, value: 2}}
      - {{op: replace, path: /spec/replicas, value: 1}}
      - {{op: add, path: /metadata/annotations/example.org~1clone, value: "yes"}}
  - kind: secrets
    namespace: {namespace}
    patch: [{{op: replace, path: /data/password, value: c3dvcmRmaXNo}}]
"#
        ),
    )
    .unwrap();
    let uid = target.get("namespace", "", "kube-system").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let words = ["restore", "--namespace", &namespace, "--modifiers", &path, "--cluster", &uid, "--yes"];
    let report = workshop.json(0, &words);
    assert_eq!((report["complete"].clone(), report["equal"].clone()), (json!(true), json!(true)), "{report:#}");
    assert_eq!(report["asked"]["modifiers"], path.as_str());

    let web = target.get("deployment", &namespace, "web").unwrap();
    assert_eq!(web["spec"]["replicas"], json!(1));
    assert_eq!(web.pointer("/metadata/annotations/example.org~1clone"), Some(&json!("yes")));
    let pod = &web["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "mirror.example/x/web:1");
    assert_eq!(pod["initContainers"][0]["image"], "mirror.example/x/init:1");
    let claim = target.get("pvc", &namespace, "data").unwrap();
    assert_eq!(claim["spec"]["storageClassName"], class.as_str());
    assert_eq!(target.get("secret", &namespace, "password").unwrap()["data"]["password"], "c3dvcmRmaXNo");

    // Each change is told, and no value of a Secret.
    let objects = report["sources"][0]["execution"]["modified"]["objects"].as_array().unwrap();
    let changes: Vec<String> = objects
        .iter()
        .flat_map(|object| object["changes"].as_array().unwrap().iter().map(move |change| (object, change)))
        .map(|(object, change)| format!("{} {} {}", object["name"], change["path"], change["what"]))
        .collect();
    for expected in [
        "\"web\" \"/spec/replicas\" \"2 to 1\"".to_owned(),
        "\"web\" \"/spec/template/spec/containers/0/image\" \"registry.example.org/web:1 to mirror.example/x/web:1\""
            .to_owned(),
        format!("\"data\" \"/spec/storageClassName\" \"{prefix}-old to {class}\""),
        "\"password\" \"/data/password\" \"(hidden) to (hidden)\"".to_owned(),
    ] {
        assert!(changes.contains(&expected), "{expected} is not in {changes:#?}");
    }
    assert!(!report.to_string().contains("c3dvcmRmaXNo"));

    // What was changed is what is expected: without the modifiers it differs, with them a second run is empty.
    let again = workshop.ends(0, &words);
    assert!(again.stdout.contains("0 created"), "{}", again.stdout);
    assert!(again.stderr.is_empty() || !again.stderr.contains("error"), "{}", again.stderr);
    workshop.ends(5, &["restore", "--namespace", &namespace, "--cluster", &uid, "--yes"]);
    target.try_kubectl(&["delete", "namespace", &namespace, "--wait=false"]);
}

#[test]
fn what_is_chosen_by_label_is_restored_and_what_it_needs_and_lacks_is_named() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("chosen");
    cluster.apply(&shop(&namespace, cluster.prefix()));
    let workshop = Workshop::new(&cluster, &[&namespace]);
    workshop.done(&["backup"]);
    cluster.kubectl(&["-n", &namespace, "delete", "deployment,configmap,secret,service", "--all", "--wait=true"]);
    cluster.kubectl(&["-n", &namespace, "delete", "serviceaccount", "web"]);

    let words = ["restore", "--namespace", &namespace, "--selector", "app=web", "--wait-timeout", "0s", "--yes"];
    let plan = workshop.ends(0, &["restore", "--namespace", &namespace, "-l", "app=web", "--dry-run"]);
    let missing = format!(
        "MISSING: secrets {namespace}/password, which deployments.apps {namespace}/web needs: the backup holds it"
    );
    assert!(plan.stdout.contains(&missing), "{}", plan.stdout);
    assert!(plan.stdout.contains(&format!("--namespace {namespace} --selector app=web")), "{}", plan.stdout);
    let report = workshop.json(0, &words);
    assert_eq!(report["sources"][0]["execution"]["created"], json!(4), "{report:#}");
    assert_eq!(report["asked"], json!({"namespaces": [namespace], "selectors": ["app=web"]}));
    for (kind, name, there) in [
        ("deployment", "web", true),
        ("configmap", "settings", true),
        ("service", "web", true),
        ("serviceaccount", "web", true),
        ("configmap", "other", false),
        ("secret", "password", false),
    ] {
        assert_eq!(cluster.get(kind, &namespace, name).is_some(), there, "{kind} {name}");
    }

    // With its kind and name the rest comes, too, and nothing is missing then.
    let words = ["restore", "--kind", "secrets", "--name", "pass*", "--yes"];
    assert_eq!(workshop.json(0, &words)["sources"][0]["execution"]["created"], json!(1));
    let plan = workshop.json(0, &["restore", "--selector", "app=web", "--dry-run"]);
    assert_eq!(plan["sources"][0]["missingReferences"], json!([]), "{plan:#}");
}

#[test]
fn what_cannot_be_meant_is_refused_and_nothing_is_touched() {
    let (source, target) = (require!(bed::source), require!(bed::target));
    let (one, two) = (source.create_namespace("one"), source.create_namespace("two"));
    for namespace in [&one, &two] {
        source.kubectl(&["-n", namespace, "create", "configmap", "settings", "--from-literal=a=b"]);
    }
    source.kubectl(&["-n", &two, "create", "configmap", "own", "--from-literal=a=b"]);
    let mut workshop = Workshop::new(&source, &[&one, &two]);
    workshop.done(&["backup"]);
    workshop.use_kubeconfig(target.kubeconfig());
    let uid = target.get("namespace", "", "kube-system").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let copy = source.name("copy");
    let file = |name: &str, text: &str| {
        let path = workshop.folder().join(name);
        fs::write(&path, format!("apiVersion: drctl/v1\nkind: Modifiers\n{text}")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let nothing = file(
        "nothing.yaml",
        "images: {nginx: mirror/nginx}\nrules:\n- kind: secrets\n  patch: [{op: remove, path: /data}]\n",
    );
    let wrong = file("wrong.yaml", "rules:\n- kind: configmaps\n  patch: [{op: remove, path: /metadata/name}]\n");
    let misfit = file(
        "misfit.yaml",
        "rules:\n- kind: configmaps\n  name: own\n  patch: [{op: replace, path: /data/c, value: d}]\n",
    );
    let (to_copy, two_to_copy, to_itself) = (format!("{one}={copy}"), format!("{two}={copy}"), format!("{one}={one}"));
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (vec!["--kind", "configmap"], "holds no kind `configmap`; did you mean `configmaps`?"),
        (vec!["--kind", "ConfigMap"], "a kind is written as its plural and its group"),
        (vec!["--namespace", "no-such"], "the backup holds no namespace `no-such`"),
        (vec!["--name", "no-such"], "nothing that is chosen has the name `no-such`"),
        (vec!["--selector", "app=no-such"], "the backup holds nothing that is chosen: --selector app=no-such"),
        (vec!["--selector", "app in web"], "is not a label selector"),
        (vec!["--map-namespace", "no-such=copy"], "the backup holds no namespace `no-such`"),
        (vec!["--map-namespace", &to_itself], "is mapped to itself"),
        (vec!["--map-namespace", &to_copy, "--namespace", &two], "is chosen and not mapped"),
        (
            vec!["--map-namespace", &to_copy, "--map-namespace", &two_to_copy],
            "1 objects are in both: configmaps settings",
        ),
        (vec!["--modifiers", &nothing], "nothing.yaml:3:10: no object that is restored has the image `nginx`"),
        (vec!["--modifiers", &nothing], "nothing.yaml:5:3: this rule is about no object"),
        (vec!["--modifiers", &wrong], "wrong.yaml:5:30: `/metadata/name` is what an object is known by"),
        (vec!["--modifiers", &misfit], "misfit.yaml:6:11: cannot replace `/data/c` of configmaps"),
        (vec!["--modifiers", "/no/such/file"], "cannot read the file of modifiers"),
    ];
    for (flags, expected) in &cases {
        for last in [&["--cluster", &uid, "--yes"][..], &["--dry-run"]] {
            let words = [&["restore"][..], flags, last].concat();
            let ended = workshop.ends(2, &words);
            assert!(ended.stderr.contains(expected), "{flags:?}: {}", ended.stderr);
            assert_eq!(ended.stdout, "", "{flags:?}");
        }
    }
    assert!([&one, &two, &copy].iter().all(|name| !exists(&target, name)), "something was written");

    // The same words, when they can be meant.
    let twin = file(
        "twin.yaml",
        "rules:\n- kind: configmaps\n  name: own\n  patch: [{op: replace, path: /data/a, value: d}]\n",
    );
    let words = [
        "restore",
        "--map-namespace",
        &two_to_copy,
        "--kind",
        "configmaps",
        "--name",
        "own",
        "--modifiers",
        &twin,
        "--cluster",
        &uid,
        "--yes",
    ];
    let report = workshop.json(0, &words);
    assert_eq!(report["equal"], json!(true), "{report:#}");
    assert_eq!(target.get("configmap", &copy, "own").unwrap()["data"]["a"], "d");
    assert!(target.get("configmap", &copy, "settings").is_none());
    target.try_kubectl(&["delete", "namespace", &copy, "--wait=false"]);
}

#[test]
fn a_policy_includes_and_excludes_kinds_namespaces_and_labels() {
    let cluster = require!(bed::source);
    let (one, two) = (cluster.create_namespace("in"), cluster.create_namespace("out"));
    for namespace in [&one, &two] {
        cluster.kubectl(&["-n", namespace, "create", "configmap", "plain", "--from-literal=a=b"]);
        cluster.kubectl(&["-n", namespace, "create", "secret", "generic", "hidden", "--from-literal=a=b"]);
        cluster.kubectl(&["-n", namespace, "create", "secret", "generic", "kept", "--from-literal=a=b"]);
        cluster.kubectl(&["-n", namespace, "label", "secret", "kept", "backup=yes"]);
    }
    let workshop = Workshop::new(&cluster, &[&one, &two]);
    let write = |rules: &str| {
        let repository = workshop.local_repository();
        let text = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{repository}\nsources:\n  services:\n    kubernetes:\n      \
             namespaces: [{one}, {two}]\n{rules}schedules:\n  daily: {{cron: \"0 2 * * *\", sources: [services]}}\n"
        );
        fs::write(workshop.policy(), text).unwrap();
    };
    write(&format!(
        "      exclude: [secrets, {{kinds: [configmaps], namespaces: [{two}]}}]\n      include: [{{kinds: [secrets], selector: backup=yes}}]\n"
    ));
    workshop.done(&["backup"]);
    let plan = workshop.json(0, &["restore", "--dry-run"]);
    let objects = plan["sources"][0]["objects"].as_array().unwrap();
    let held = |kind: &str, namespace: &str| -> Vec<&str> {
        let of = objects.iter().filter(|it| it["kind"] == kind && it["namespace"] == namespace);
        of.map(|it| it["name"].as_str().unwrap()).collect()
    };
    assert_eq!((held("secrets", &one), held("secrets", &two)), (vec!["kept"], vec!["kept"]));
    assert_eq!((held("configmaps", &one), held("configmaps", &two)), (vec!["plain"], vec![]));
    let shown = workshop.json(0, &["show", "latest"]);
    assert_eq!(shown["state"], "complete");

    // A kind that the cluster does not know is refused before anything is written.
    for (rules, expected) in [
        ("      exclude: [secret]\n", "`secret` (did you mean `secrets`?)"),
        ("      include: [{kinds: [widgets.no-such.example.org]}]\n", "`widgets.no-such.example.org`"),
    ] {
        write(rules);
        let before = workshop.contents();
        let ended = workshop.ends(5, &["backup"]);
        assert!(
            ended.stderr.contains("source `services` names kinds that the cluster does not serve"),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
        assert!(workshop.contents() == before, "something was written");
        let doctor = workshop.ends(5, &["doctor"]);
        assert!(doctor.stdout.contains(expected), "{}", doctor.stdout);
    }
    write("      exclude: [secrets, \"widgets.*\"]\n");
    workshop.done(&["backup"]);
}

#[tokio::test]
async fn owners_are_linked_inside_of_the_copy() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("linked");
    let copy = cluster.name("linked-copy");
    cluster.kubectl(&["-n", &namespace, "create", "configmap", "parent", "--from-literal=a=b"]);
    let uid = cluster.get("configmap", &namespace, "parent").unwrap()["metadata"]["uid"].clone();
    let child = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "child", "namespace": namespace,
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": uid}]}});
    cluster.apply(&child.to_string());
    let snapshot = Snapshot::of(&cluster, &[&namespace]);
    let mut restore = Restore::into(&cluster, &snapshot).await;
    restore.recipe.mapping = Mapping::new([(namespace.clone(), copy.clone())]).unwrap();
    let (plan, _, _) = restore.all().await;
    assert!(plan.total(Action::Create) >= 3, "{:?}", plan.counts().collect::<Vec<_>>());
    let of = |name: &str| cluster.get("configmap", &copy, name).unwrap();
    assert_eq!(of("child")["metadata"]["ownerReferences"][0]["uid"], of("parent")["metadata"]["uid"]);
    assert_ne!(of("parent")["metadata"]["uid"], uid, "it is the copy's own");
    let again = restore.plan().await;
    assert_eq!((again.writes(), again.conflicts()), (0, 0));
}

#[tokio::test]
async fn sealed_secrets_alone_are_restored_with_a_word_on_the_keys_that_open_them() {
    let cluster = require!(bed::source);
    let (shop, system) = (cluster.create_namespace("sealed"), cluster.create_namespace("system"));
    let object = |api: &str, kind: &str, namespace: &str, name: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
    let key = |name: &str| {
        let mut key = object("v1", "Secret", &system, name);
        key["metadata"]["labels"] = json!({"sealedsecrets.bitnami.com/sealed-secrets-key": "active"});
        key["data"] = json!({"tls.crt": "Q0VSVA==", "tls.key": "S0VZ"});
        key["type"] = json!("kubernetes.io/tls");
        key
    };
    let sealed = "sealedsecrets.bitnami.com";
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": sealed},
        "spec": {"group": "bitnami.com", "scope": "Namespaced",
            "names": {"plural": "sealedsecrets", "singular": "sealedsecret", "kind": "SealedSecret", "listKind": "SealedSecretList"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let mut snapshot = Snapshot::default();
    for namespace in [&shop, &system] {
        snapshot.take(&cluster, "namespaces", "", Some(namespace));
    }
    snapshot.add("customresourcedefinitions.apiextensions.k8s.io", vec![definition]);
    snapshot.add("secrets", vec![key("sealed-secrets-key1")]);
    snapshot.add(sealed, vec![object("bitnami.com/v1alpha1", "SealedSecret", &shop, "password")]);
    let mut restore = Restore::into(&cluster, &snapshot).await;
    let names = |plan: &drctl::sources::kubernetes::restore::Plan| {
        let missing = plan.missing_references().iter();
        missing.map(|it| (it.object.to_string(), it.needed_by.to_string(), it.in_backup)).collect::<Vec<_>>()
    };
    restore.choice.kinds = vec![sealed.to_owned()];
    let expected = (format!("secrets {system}/sealed-secrets-key1"), format!("{sealed} {shop}/password"), true);
    assert_eq!(names(&restore.plan().await), std::slice::from_ref(&expected));
    // The twins: it comes along; or the cluster has it, under whatever name.
    restore.choice.kinds = vec![sealed.to_owned(), "secrets".to_owned()];
    assert_eq!(names(&restore.plan().await), []);
    restore.choice.kinds = vec![sealed.to_owned()];
    let mut other = key("of-another-name");
    cluster.create(&other.to_string());
    assert_eq!(names(&restore.plan().await), []);
    other["data"]["tls.crt"] = json!("T1RIRVI=");
    cluster.kubectl(&["-n", &system, "delete", "secret", "of-another-name"]);
    cluster.create(&other.to_string());
    assert_eq!(names(&restore.plan().await), [expected], "another key does not open it");
}
