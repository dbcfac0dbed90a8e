//! Looking into backups: their objects, what changed between two of them, the history of one object; and what an
//! export gives to kubectl.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{
    bed::{self, Cluster, require},
    program::{drctl, run},
    schema::misfits,
    workshop::{Workshop, flip},
};

const SHOP: &str = include_str!("../data/shop.yaml");

#[track_caller]
pub(crate) fn fits(name: &str, document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.json"));
    let schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let found = misfits(&schema, document);
    assert!(found.is_empty(), "{found:#?} in {document:#}");
}

fn array<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().unwrap()
}

/// A shop with a kind of its own, and a backup before and after some changes.
struct Story {
    source: Cluster,
    namespace: String,
    workshop: Workshop,
    group: String,
}

impl Story {
    fn begin(source: Cluster) -> Self {
        let namespace = source.create_namespace("shop");
        let group = format!("{}.example.org", source.prefix());
        source.apply(&definition(&group, &source.label().replace('=', ": ")));
        let name = format!("crd/widgets.{group}");
        source.kubectl(&["wait", "--for=condition=Established", &name, "--timeout=180s"]);
        source.apply(&SHOP.replace("NAMESPACE", &namespace));
        source.apply(&format!(
            "apiVersion: {group}/v1\nkind: Widget\nmetadata: {{name: small, namespace: {namespace}, finalizers: [example.org/keep]}}\n\
             spec: {{size: 3, ratio: 0.1, text: \"yes\"}}\n"
        ));
        source.kubectl(&["-n", &namespace, "wait", "--for=create", "serviceaccount/default", "--timeout=180s"]);
        let workshop = Workshop::new(&source, &[&namespace]);
        Self { source, namespace, workshop, group }
    }

    fn backup(&self) -> String {
        self.workshop.json(0, &["backup"])["backup"]["id"].as_str().unwrap().to_owned()
    }

    /// Removes the finalizer, or the namespace would never go.
    fn end(&self, clusters: &[&Cluster]) {
        for cluster in clusters {
            let kind = format!("widgets.{}", self.group);
            let patch = r#"{"metadata":{"finalizers":null}}"#;
            cluster.try_kubectl(&["-n", &self.namespace, "patch", &kind, "small", "--type=merge", "-p", patch]);
        }
    }
}

fn definition(group: &str, label: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata: {{name: widgets.{group}, labels: {{{label}}}}}\n\
         spec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: widgets, singular: widget, kind: Widget}}\n  versions:\n\
         \x20   - {{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}\n"
    )
}

#[test]
fn what_a_backup_holds_and_what_changed_is_shown_object_by_object() {
    let story = Story::begin(require!(bed::source));
    let (source, namespace, workshop) = (&story.source, story.namespace.as_str(), &story.workshop);
    let first = story.backup();

    // What there is.
    let list = workshop.json(0, &["show", &first, "--objects"]);
    fits("object-list", &list);
    let objects = array(&list, "objects");
    let find = |kind: &str, name: &str| objects.iter().find(|item| item["kind"] == kind && item["name"] == name);
    let settings = find("configmaps", "settings").unwrap();
    assert_eq!((&settings["namespace"], &settings["objectVersion"]), (&json!(namespace), &json!("v1")));
    assert!(find("namespaces", namespace).unwrap().get("namespace").is_none());
    let total: u64 = objects.iter().map(|item| item["bytes"].as_u64().unwrap() + 1).sum();
    let shown = workshop.json(0, &["show", &first]);
    assert_eq!(
        (objects.len() as u64, total),
        (shown["totals"]["objects"].as_u64().unwrap(), shown["totals"]["bytes"].as_u64().unwrap())
    );
    let only = workshop
        .done(&["show", &first, "--objects", "--kind", "deploy", "--kind", "configmap", "--namespace", namespace])
        .stdout;
    let lines: Vec<&str> = only.lines().collect();
    assert!(lines[0].starts_with("KIND ") && lines[0].ends_with("NAME"), "{only}");
    assert_eq!(lines.len(), 3, "{only}");
    refuses_what_means_nothing(workshop, &first, namespace);

    // One of them; a Secret's values are shown only if that is asked for.
    let secret = format!("{namespace}/database");
    let hidden = workshop.done(&["show", &first, "--object", "secret", &secret]).stdout;
    assert!(hidden.contains("a value that is not shown") && hidden.contains("url"), "{hidden}");
    let live = source.get("secret", namespace, "database").unwrap();
    let value = live["data"]["url"].as_str().unwrap();
    assert!(!hidden.contains(value), "{hidden}");
    let revealed = workshop.done(&["show", &first, "--object", "Secret", &secret, "--reveal"]).stdout;
    assert!(revealed.contains(value), "{revealed}");
    workshop.ends(1, &["show", &first, "--object", "secret", &format!("{namespace}/none")]);
    workshop.ends(2, &["show", &first, "--object", "nothing", &secret]);

    // Nothing changed: all parts are known by their digests, but for what the server touches.
    change(source, namespace);
    let widgets = format!("widgets.{}", story.group);
    let patch = r#"{"spec":{"text":"hunter2","size":4}}"#;
    source.kubectl(&["-n", namespace, "patch", &widgets, "small", "--type=merge", "-p", patch]);
    let second = story.backup();
    let diff = workshop.json(0, &["diff", &first, &second]);
    fits("backup-diff", &diff);
    assert_diff(&diff, namespace);
    let text = workshop.ends(4, &["diff", &first, &second, "--exit-code"]).stdout;
    assert!(text.contains(&format!("~ configmaps {namespace}/settings\n    data.LOG_LEVEL: ")), "{text}");
    assert!(!text.contains("debug"), "values of data are not shown unless they are asked for: {text}");
    let revealed = workshop.done(&["diff", &first, &second, "--reveal"]).stdout;
    assert!(revealed.contains("data.LOG_LEVEL: \"info\" -> \"debug\"") && !revealed.contains(value), "{revealed}");
    let same = workshop.done(&["diff", &first, &first, "--exit-code"]).stdout;
    assert!(same.starts_with("no differences; "), "{same}");
    let nothing = workshop.json(0, &["diff", &first, &second, "--kind", "limitrange", "--exit-code"]);
    assert_eq!(array(&nothing, "changes").len(), 0);

    // The history of one of them.
    let third = story.backup();
    source.kubectl(&["-n", namespace, "delete", "configmap", "settings"]);
    let fourth = story.backup();
    let name = format!("{namespace}/settings");
    let history = workshop.json(0, &["history", "configmap", &name, "--reveal"]);
    fits("object-history", &history);
    let steps: Vec<(&str, &str)> = array(&history, "backups")
        .iter()
        .map(|item| (item["backup"].as_str().unwrap(), item["change"].as_str().unwrap()))
        .collect();
    assert_eq!(steps, [(fourth.as_str(), "removed"), (&third, "same"), (&second, "changed"), (&first, "first")]);
    let changed = &array(&history, "backups")[2];
    assert_eq!(changed["fields"], json!([{"path": "data.LOG_LEVEL", "old": "\"info\"", "new": "\"debug\""}]));
    let changes = workshop.done(&["history", "cm", &name, "--changes"]).stdout;
    assert_eq!(changes.lines().filter(|line| !line.starts_with(' ')).count(), 3, "{changes}");
    // The oldest one that is asked for is compared with the one before it, and its own time is in the window.
    let since = array(&history, "backups")[2]["started"].as_str().unwrap();
    let window = workshop.json(0, &["history", "configmap", &name, "--since", since]);
    let steps: Vec<&str> = array(&window, "backups").iter().map(|item| item["change"].as_str().unwrap()).collect();
    assert_eq!(steps, ["removed", "same", "changed"], "{window:#}");
    let elsewhere = workshop.ends(1, &["history", "cm", "elsewhere/settings"]).stdout;
    assert!(elsewhere.lines().count() == 4 && elsewhere.matches("not covered").count() == 4, "{elsewhere}");
    workshop.ends(1, &["history", "cm", &format!("{namespace}/none")]);
    workshop.ends(2, &["history", "cm", "a/b/c"]);
    story.end(&[source]);

    // A damaged backup is an item, and the exit code says so.
    let meta = workshop.repository().join(format!("meta/{second}/streams.jsonl.zst"));
    flip(&meta);
    let damaged = workshop.json(4, &["history", "cm", &name]);
    fits("object-history", &damaged);
    let unknown: Vec<&str> = array(&damaged, "backups").iter().map(|item| item["change"].as_str().unwrap()).collect();
    assert_eq!(unknown, ["removed", "unknown", "unknown", "first"]);
    workshop.ends(4, &["diff", &first, &second]);
    workshop.ends(4, &["show", &second, "--objects"]);
}

/// A namespace or a kind of which a backup holds nothing.
#[track_caller]
fn refuses_what_means_nothing(workshop: &Workshop, backup: &str, namespace: &str) {
    let folder = workshop.folder().join("of-nothing");
    let (typo, path) = (namespace.get(..namespace.len() - 1).unwrap(), folder.to_str().unwrap());
    for (words, near) in [
        (vec!["show", backup, "--objects", "--kind", "Configmpa"], "configmaps"),
        (vec!["show", backup, "--objects", "--namespace", typo], namespace),
        (vec!["diff", backup, backup, "--exit-code", "--namespace", typo], namespace),
        (vec!["diff", backup, backup, "--exit-code", "--kind", "Configmpa"], "configmaps"),
        (vec!["export", backup, "services", "-o", path, "--namespace", typo], namespace),
        (vec!["export", backup, "services", "-o", path, "--kind", "Configmpa"], "configmaps"),
    ] {
        let ended = workshop.ends(2, &words);
        assert!(ended.stderr.contains(&format!("did you mean `{near}`")), "{words:?}: {}", ended.stderr);
    }
    assert!(!folder.exists());
    workshop.done(&["diff", backup, backup, "--exit-code", "--namespace", namespace, "--kind", "ConfigMap"]);
}

/// A value, a list, a Secret, something new, something gone, and something made again.
fn change(source: &Cluster, namespace: &str) {
    let kubectl = |words: &[&str]| source.kubectl(&[&["-n", namespace], words].concat());
    kubectl(&["patch", "configmap", "settings", "--type=merge", "-p", r#"{"data":{"LOG_LEVEL":"debug"}}"#]);
    kubectl(&["patch", "secret", "database", "--type=merge", "-p", r#"{"stringData":{"url":"hunter2"}}"#]);
    kubectl(&["set", "image", "deployment/api", "api=registry.example.com/api:1.5.0"]);
    kubectl(&["create", "configmap", "added", "--from-literal=a=1"]);
    kubectl(&["delete", "networkpolicy", "from-ingress"]);
    kubectl(&["delete", "role", "reader"]);
    kubectl(&["create", "role", "reader", "--verb=get,list,watch", "--resource=configmaps"]);
}

#[track_caller]
fn assert_diff(diff: &Value, namespace: &str) {
    let changes = array(diff, "changes");
    let of = |kind: &str, name: &str| {
        let found = changes.iter().find(|item| item["kind"] == kind && item["name"] == name);
        found.unwrap_or_else(|| panic!("{kind} {name} in {diff:#}"))
    };
    assert_eq!(of("configmaps", "added")["change"], "added");
    assert_eq!(of("networkpolicies.networking.k8s.io", "from-ingress")["change"], "removed");
    let image = of("deployments.apps", "api");
    let fields = array(image, "fields");
    let path = "spec.template.spec.containers[name=api].image";
    let image = fields.iter().find(|field| field["path"] == path).unwrap();
    assert_eq!(
        (&image["old"], &image["new"]),
        (&json!("\"registry.example.com/api:1.4.2\""), &json!("\"registry.example.com/api:1.5.0\""))
    );
    let widget = changes.iter().find(|item| item["name"] == "small").unwrap();
    let shown = |path: &str| array(widget, "fields").iter().find(|field| field["path"] == path).unwrap()["new"].clone();
    assert_eq!((shown("spec.text"), shown("spec.size")), (json!("a value that is not shown"), json!("4")));
    let secret = of("secrets", "database");
    assert_eq!((&secret["change"], &secret["namespace"]), (&json!("changed"), &json!(namespace)));
    assert!(
        secret.to_string().contains("data.url") && secret.to_string().contains("a value that is not shown"),
        "{secret}"
    );
    assert_eq!(of("roles.rbac.authorization.k8s.io", "reader")["recreated"], true);
    let summary = &diff["summary"];
    assert!(summary["partsEqual"].as_u64().unwrap() > 5, "{summary}");
    assert!(!diff.to_string().contains("hunter2"), "{diff:#}");
}

#[test]
fn an_export_is_applied_by_kubectl_into_an_empty_cluster_and_is_what_a_restore_would_make() {
    let story = Story::begin(require!(bed::source));
    let target = require!(bed::target);
    let (namespace, workshop) = (story.namespace.as_str(), &story.workshop);
    story.backup();
    let folder = workshop.folder().join("exported");
    let path = folder.to_str().unwrap();
    let ended = workshop.done(&["export", "latest", "services", "-o", path]);
    assert!(ended.stderr.contains("next: `kubectl apply --server-side -R -f "), "{}", ended.stderr);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let service = folder.join(format!("07-services/{namespace}/services/api.yaml"));
    let text = fs::read_to_string(&service).unwrap();
    assert!(text.starts_with("apiVersion: v1\nkind: Service\n") && !text.contains("clusterIP"), "{text}");
    assert_eq!(fs::metadata(&service).unwrap().permissions().mode() & 0o777, 0o600);
    workshop.ends(2, &["export", "latest", "services", "-o", path]);

    // The same as one stream, and as the server sent it.
    let stream = workshop.done(&["export", "latest", "services"]).stdout;
    let files = files_of(&folder);
    assert_eq!(stream.matches("---\n").count(), files.len());
    let joined: String = files.iter().map(|file| format!("---\n{}", fs::read_to_string(file).unwrap())).collect();
    assert_eq!(stream, joined, "files in the order of their names are the stream");
    let stored = workshop.done(&["export", "latest", "services", "--as-stored", "--kind", "deployment"]).stdout;
    let deployment: Value = serde_json::from_str(&stored).unwrap();
    assert!(deployment["metadata"]["managedFields"].is_array() && deployment["status"].is_object());
    workshop.ends(2, &["export", "latest", "services", "--format", "sql"]);
    workshop.ends(2, &["export", "latest", "nothing"]);

    apply(&target, &folder, &story.group);
    let mut elsewhere = workshop.command(&["restore", "--dry-run", "-o", "json"]);
    let ended = elsewhere.env("KUBECONFIG", target.kubeconfig()).output().unwrap();
    let plan: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    story.end(&[&story.source, &target]);
    target.try_kubectl(&["delete", "--wait=false", "namespace", namespace]);
    target.try_kubectl(&["delete", "--wait=false", "crd", &format!("widgets.{}", story.group)]);
    let odd = not_same(&plan);
    assert!(odd.is_empty(), "kubectl did not make what a restore would: {odd:#?}");
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// As the next step says: definitions first, then all of it.
fn apply(target: &Cluster, folder: &Path, group: &str) {
    let definitions = folder.join("01-custom-resource-definitions");
    let apply = |path: &Path| target.kubectl(&["apply", "--server-side", "-R", "-f", path.to_str().unwrap()]);
    apply(&definitions);
    target.kubectl(&["wait", "--for=condition=Established", &format!("crd/widgets.{group}"), "--timeout=180s"]);
    apply(folder);
}

/// What a plan would do anything about.
fn not_same(plan: &Value) -> Vec<String> {
    let mut odd = Vec::new();
    for plan in array(plan, "sources") {
        for object in array(plan, "objects") {
            let action = object["action"].as_str().unwrap();
            // kubectl writes this annotation of its own anew.
            let own = r#"1 field differs: metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]"#;
            if !matches!(action, "same" | "skip" | "merge") && object["reason"] != own {
                odd.push(object.to_string());
            }
        }
    }
    odd
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn every_reader_of_yaml_reads_the_values_that_were_written(value in values()) {
        let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": value});
        let text = drctl::sources::kubernetes::export::to_yaml(&value);
        let read: Value = serde_saphyr::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        prop_assert_eq!(read, value, "{}", text);
    }
}

fn values() -> impl Strategy<Value = Value> {
    let texts = prop_oneof![
        any::<String>(),
        "[ \\t\\n:#'\"|>a-]{0,12}",
        proptest::sample::select(vec![
            "yes",
            "null",
            "~",
            "1e3",
            "0x1f",
            "2026-11-20",
            "1_000",
            "12:30:45",
            "=",
            "<<",
            ".inf",
            "0o7",
            "-",
            "on"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        texts.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(texts.clone(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

#[test]
fn kubectl_reads_the_values_that_were_written() {
    require!(program "kubectl");
    let odd = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": {
        "yes": "no", "1": "0x1f", "date": "2026-11-20", "sexagesimal": "12:30:45", "float": "1e3", "under": "1_000", "null": "null",
        "tilde": "~", "merge": "<<", "equals": "=", "block": "a\n  b\n\nc\n", "strip": "a\nb", "tab": "a\tb\n\tc\n", "crlf": "a\r\nb\r\n",
        "c1": "a\u{85}b\u{2028}c\u{feff}", "space": " a ", "lines": "\n\na\n", "trailing": "a\n\n", "emoji": "✓ 🚀", "long": "x".repeat(5000),
        "hash": "a #b", "colon": "a: b", "dash": "- a", "on": "off", "octal": "0777", "quote": "it's \"so\"", "backslash": "a\\nb"}});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, drctl::sources::kubernetes::export::to_yaml(&odd)).unwrap();
    let output = Command::new("kubectl")
        .args(["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", file.to_str().unwrap()])
        .env("KUBECONFIG", "/there/is/none")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if !output.status.success() {
        // Some versions of kubectl want a server even for this.
        let source = require!(bed::source);
        let read = source.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", file.to_str().unwrap()]);
        assert_eq!(serde_json::from_str::<Value>(&read).unwrap()["data"], odd["data"]);
        return;
    }
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["data"], odd["data"]);
}

#[test]
fn what_was_verified_is_noted_and_listed_and_where_it_cannot_be_noted_that_is_a_warning() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("verified");
    source.kubectl(&["-n", &namespace, "create", "configmap", "settings", "--from-literal=a=1"]);
    let workshop = Workshop::new(&source, &[&namespace]);
    workshop.done(&["backup"]);
    let verified = |list: &Value| list["backups"][0].get("verified").cloned().unwrap_or_else(|| json!([]));
    assert_eq!(verified(&workshop.json(0, &["list"])), json!([]));
    workshop.done(&["verify", "--no-evidence"]);
    assert_eq!(verified(&workshop.json(0, &["list"])), json!([]));

    let report = workshop.json(0, &["verify", "--level", "stored"]);
    fits("verify-report", &report);
    assert!(report["packs"].as_u64().unwrap() > 0 && report["parts"] == 0, "{report}");
    let sample = workshop.json(0, &["verify", "--all", "--level", "content", "--sample", "1/1"]);
    fits("verify-report", &sample);
    assert_eq!(sample["sample"], "1/1");
    let list = workshop.json(0, &["list"]);
    fits("backup-list", &list);
    let known: Vec<(String, String)> = verified(&list)
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["level"].to_string(), one["outcome"].to_string()))
        .collect();
    assert_eq!(known.len(), 2, "{list}");
    assert!(known.iter().all(|(_, outcome)| outcome == "\"sound\""), "{known:?}");
    assert!(workshop.done(&["list"]).stdout.contains("VERIFIED"));
    workshop.ends(2, &["verify", "--sample", "1/10"]);
    workshop.ends(2, &["verify", "--level", "stored", "--sample", "2/10"]);

    let pack = workshop.files("data").pop().unwrap();
    flip(&pack);
    let damaged = workshop.json(4, &["verify", "--level", "stored"]);
    assert_eq!(array(&damaged, "findings").len(), 1, "{damaged}");
    assert!(workshop.done(&["list"]).stdout.contains("stored DAMAGED"));

    // A file where the folder should be: nothing can be noted below it.
    let evidence = workshop.repository().join("evidence");
    fs::remove_dir_all(&evidence).unwrap();
    fs::write(&evidence, "").unwrap();
    let ended = workshop.ends(0, &["verify", "--level", "presence"]);
    assert!(ended.stderr.contains("note: the evidence of this verification could not be written"), "{}", ended.stderr);
}

#[test]
fn every_command_has_a_manual_page_that_renders() {
    require!(program "groff");
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let ended = run(&["man", "--folder", pages.to_str().unwrap()]);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, ""), "{ended:?}");
    let files = files_of(&pages);
    assert!(files.len() > 20 && files.iter().any(|file| file.ends_with("drctl-policy-rbac.1")), "{files:?}");
    for file in &files {
        let output = Command::new("groff")
            .args(["-Kutf8", "-man", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-u"])
            .arg(file)
            .output()
            .unwrap();
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && errors.is_empty(), "{}: {errors}", file.display());
        assert!(text.contains("SYNOPSIS") && text.contains("drctl"), "{}: {text}", file.display());
    }
    let one = run(&["man", "policy", "rbac"]).stdout;
    assert_eq!(one, fs::read_to_string(pages.join("drctl-policy-rbac.1")).unwrap());
    assert_eq!(run(&["man", "nothing"]).code, 2);
    let taken = drctl(&["man", "--folder", pages.to_str().unwrap()]).output().unwrap();
    assert_eq!(taken.status.code(), Some(2), "an existing folder is not touched");
}
