//! A saved plan of a part of a backup, elsewhere and changed: it says all of that, and needs no flag to be executed.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    bed::{self, Cluster, require},
    postgres::{self, Role},
    program,
    schema::misfits,
    workshop::Workshop,
};

const PASSWORD: &str = "aHVudGVyMg==";

struct Setting {
    cluster: Cluster,
    namespace: String,
    copy: String,
    workshop: Workshop,
    plan: PathBuf,
}

impl Setting {
    fn new(cluster: Cluster) -> Self {
        let namespace = cluster.create_namespace("shop");
        let copy = cluster.name("copy");
        let object = |kind: &str, name: &str, app: &str, data: Value| {
            json!({"apiVersion": "v1", "kind": kind, "data": data,
                "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}}})
        };
        let items = [
            object("ConfigMap", "settings", "web", json!({"a": "1"})),
            object("ConfigMap", "other", "db", json!({"a": "1"})),
            object("Secret", "password", "web", json!({"password": "Y29ycmVjdA=="})),
            object("Secret", "unnamed", "web", json!({})),
        ];
        cluster.create(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
        let workshop = Workshop::new(&cluster, &[&namespace]);
        workshop.done(&["backup"]);
        let plan = workshop.folder().join("plan.jsonl");
        Self { cluster, namespace, copy, workshop, plan }
    }

    fn path(&self) -> &str {
        self.plan.to_str().unwrap()
    }

    /// Saves a plan of some objects, under another namespace, and changed by a file that is gone afterwards.
    fn save(&self) {
        let _ = fs::remove_file(&self.plan);
        let modifiers = self.workshop.folder().join("m.yaml");
        let text = format!(
            "apiVersion: drctl/v1\nkind: Modifiers\nrules:\n- kind: configmaps\n  patch: [{{op: replace, path: /data/a, value: '2'}}]\n\
             - {{kind: secrets, namespace: {}, patch: [{{op: replace, path: /data/password, value: {PASSWORD}}}]}}\n",
            self.namespace
        );
        fs::write(&modifiers, text).unwrap();
        let map = format!("{}={}", self.namespace, self.copy);
        let words =
            ["restore", "--on-conflict", "update", "--selector", "app=web", "--name", "settings", "--name", "pass*"];
        let more = ["--kind", "configmaps", "--kind", "secrets", "--map-namespace", &map, "--plan-out", self.path()];
        let modifiers = ["--modifiers", modifiers.to_str().unwrap()];
        self.workshop.done(&[&words[..], &more, &modifiers].concat());
        fs::remove_file(modifiers[1]).unwrap();
    }

    fn copied(&self, kind: &str, name: &str) -> Option<Value> {
        self.cluster.get("namespace", "", &self.copy)?;
        self.cluster.get(kind, &self.copy, name)
    }
}

#[test]
fn a_saved_plan_says_all_that_was_asked_and_is_executed_without_a_flag() {
    let setting = Setting::new(require!(bed::source));
    setting.save();
    let Setting { copy, namespace, workshop, .. } = &setting;
    let map = format!("{namespace}={copy}");

    // It is read without a policy, a repository or a cluster.
    let bare = |words: &[&str]| program::run(&[&["show", "--plan", setting.path()][..], words].concat());
    let shown = bare(&[]);
    assert_eq!(shown.code, 0, "{shown:?}");
    for words in [
        format!(
            "--kind configmaps --kind secrets --selector app=web --name settings --name pass* --map-namespace {map}"
        ),
        "Live objects that differ: update".to_owned(),
        "m.yaml:4:3: configmaps: replace /data/a \"2\"".to_owned(),
        format!("m.yaml:6:3: secrets, namespace {namespace}: replace /data/password (hidden)"),
        "3 objects: 3 create".to_owned(),
        format!("create    configmaps {copy}/settings"),
        format!("restore --plan {}", setting.path()),
    ] {
        assert!(shown.stdout.contains(&words), "{words} is not in {}", shown.stdout);
    }
    assert!(!shown.stdout.contains(PASSWORD), "{}", shown.stdout);
    let document: Value = serde_json::from_str(&bare(&["-o", "json"]).stdout).unwrap();
    let schema = fs::read_to_string(format!("{}/docs/schemas/shown-plan.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert_eq!(misfits(&serde_json::from_str(&schema).unwrap(), &document), [""; 0]);
    assert_eq!((&document["totals"]["create"], document["objects"].as_array().unwrap().len()), (&json!(3), 3));
    assert_eq!(document["asked"]["mappedNamespaces"], json!({ namespace.as_str(): copy }));

    // What it says is not said again, neither the same nor anything else.
    for (flag, value) in [
        ("--namespace", "other"),
        ("--kind", "secrets"),
        ("--selector", "app=db"),
        ("--name", "other"),
        ("--map-namespace", map.as_str()),
        ("--modifiers", "m.yaml"),
        ("--on-conflict", "replace"),
        ("--source", "services"),
        ("--platform", "other"),
    ] {
        let ended = workshop.ends(2, &["restore", "--plan", setting.path(), flag, value, "--yes"]);
        assert!(ended.stderr.contains(&format!("cannot be used with '{flag}")), "{}", ended.stderr);
    }
    for flag in ["--adopt-volumes", "--no-switch"] {
        let ended = workshop.ends(2, &["restore", "--plan", setting.path(), flag, "--yes"]);
        assert!(ended.stderr.contains(flag), "{}", ended.stderr);
    }
    assert!(setting.copied("configmap", "settings").is_none(), "something was written");

    let report = workshop.json(0, &["restore", "--plan", setting.path(), "--yes"]);
    assert_eq!((&report["complete"], &report["equal"]), (&json!(true), &json!(true)), "{report:#}");
    assert_eq!(report["asked"]["mappedNamespaces"], json!({ namespace.as_str(): copy }));
    assert_eq!(setting.copied("configmap", "settings").unwrap()["data"]["a"], json!("2"));
    assert_eq!(setting.copied("secret", "password").unwrap()["data"]["password"], json!(PASSWORD));
    assert!(setting.copied("configmap", "other").is_none() && setting.copied("secret", "unnamed").is_none());
    let live = setting.cluster.get("configmap", namespace, "settings").unwrap();
    assert_eq!(live["data"]["a"], json!("1"), "the living one");
}

#[test]
fn a_plan_of_a_part_is_refused_if_what_it_was_made_of_has_changed() {
    let setting = Setting::new(require!(bed::source));
    setting.save();
    let execute = ["restore", "--plan", setting.path(), "--yes"];
    // Somebody makes one of the objects meanwhile.
    setting.cluster.kubectl(&["create", "namespace", &setting.copy]);
    setting.cluster.kubectl(&["-n", &setting.copy, "create", "configmap", "settings", "--from-literal=a=9"]);
    let refused = setting.workshop.ends(5, &execute);
    let words = format!("configmaps {}/settings: it is there by now", setting.copy);
    assert!(refused.stderr.contains(&words), "{}", refused.stderr);
    assert_eq!(setting.copied("configmap", "settings").unwrap()["data"]["a"], json!("9"));
    assert!(setting.copied("secret", "password").is_none(), "something was written");

    // The file says something else than was saved: shown it is refused, too.
    let good = fs::read_to_string(&setting.plan).unwrap();
    for (from, to) in [("app=web", "app=db"), ("'2'", "'3'"), ("\"create\"", "\"skip\"")] {
        assert!(good.contains(from), "{from}");
        fs::write(&setting.plan, good.replacen(from, to, 1)).unwrap();
        let shown = setting.workshop.ends(5, &["show", "--plan", setting.path()]);
        assert!(shown.stderr.contains("its lines are not those that were saved"), "{}", shown.stderr);
        assert_eq!(shown.stdout, "", "nothing of it is shown");
        setting.workshop.ends(if from == "app=web" { 2 } else { 5 }, &execute);
    }
    assert!(setting.copied("secret", "password").is_none(), "something was written");

    // The twin: made again, it is executed.
    setting.save();
    let report = setting.workshop.json(0, &execute);
    let execution = &report["sources"][0]["execution"];
    assert_eq!((&execution["created"], &execution["updated"]), (&json!(1), &json!(1)), "{execution:#}");
    assert_eq!(setting.copied("configmap", "settings").unwrap()["data"]["a"], json!("2"));
}

#[test]
fn a_plan_says_which_databases_are_no_part_of_it() {
    let cluster = require!(bed::source);
    let server = require!(postgres::v15);
    let database = server.create_database("orders");
    database.sql("CREATE TABLE a (t text); INSERT INTO a VALUES ('old')");
    let namespace = cluster.create_namespace("both");
    cluster.kubectl(&["-n", &namespace, "create", "configmap", "settings", "--from-literal=a=1"]);
    let mut workshop = Workshop::bare(&cluster);
    workshop.set("TEST_ORDERS", &database.url(Role::Admin));
    let text = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{}\nsources:\n  services: {{kubernetes: {{namespaces: \
         [{namespace}]}}}}\n  orders: {{postgres: {{url: {{env: TEST_ORDERS}}}}}}\nschedules:\n  daily: {{cron: \"0 2 * * *\", \
         sources: [services, orders]}}\n",
        workshop.local_repository()
    );
    fs::write(workshop.policy(), text).unwrap();
    workshop.done(&["repository", "init"]);
    workshop.done(&["backup"]);
    cluster.kubectl(&["-n", &namespace, "delete", "configmap", "settings"]);
    database.sql("UPDATE a SET t = 'new'");
    let plan = workshop.folder().join("plan.jsonl");
    let path = plan.to_str().unwrap();

    // All of the backup: the databases would be meant, and are not in any plan.
    let refused = workshop.ends(2, &["restore", "--plan-out", path]);
    for words in ["the backup has some: orders", "--source services --plan-out", "--source orders`"] {
        assert!(refused.stderr.contains(words), "{words} is not in {}", refused.stderr);
    }
    assert!(!plan.exists());

    // The objects alone, said in words: the plan, its form to read and its execution say what is left out.
    let left = format!(
        "Not touched: source orders, a database; `drctl restore {} --source orders` restores it",
        workshop.backups()[0]
    );
    let saved = workshop.done(&["restore", "--source", "services", "--plan-out", path]);
    let shown = workshop.done(&["show", "--plan", path]);
    let report = workshop.done(&["restore", "--plan", path, "--yes"]);
    for text in [&saved.stdout, &shown.stdout, &report.stdout] {
        assert!(text.contains(&left), "{text}");
    }
    assert!(cluster.get("configmap", &namespace, "settings").is_some());
    assert_eq!(database.sql("SELECT t FROM a"), "new", "it is not touched");
}
