use serde_json::{Value, json};

use super::{
    lists::{self, ListRule},
    path::{Path, Step},
    *,
};

fn paths(expected: &Value, live: &Value) -> Vec<String> {
    compare(expected, live).differences.into_iter().map(|difference| difference.path).collect()
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"a.b/c": "x"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {
            "initContainers": [{"name": "one"}, {"name": "two"}],
            "containers": [{"name": "api", "image": "a:1", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}],
                "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}]}}}})
}

fn with(pointer: &str, value: Value) -> Value {
    let mut object = deployment();
    *object.pointer_mut(pointer).unwrap() = value;
    object
}

#[test]
fn a_difference_is_named_by_its_path_with_both_values() {
    let live = with("/spec/template/spec/containers/0/image", json!("a:2"));
    let found = compare(&deployment(), &live);
    assert_eq!(
        found.differences[0].to_string(),
        r#"spec.template.spec.containers[name=api].image: expected "a:1", is "a:2""#
    );
    let live = with("/metadata/labels", json!({"a.b/c": "y"}));
    assert_eq!(paths(&deployment(), &live), [r#"metadata.labels["a.b/c"]"#]);
    let live = with("/spec/template/spec/containers/0/ports/0/protocol", json!("UDP"));
    assert_eq!(
        paths(&deployment(), &live),
        ["spec.template.spec.containers[name=api].ports[containerPort=80,protocol=TCP]"]
    );
}

#[test]
fn what_only_the_live_object_has_is_an_addition() {
    let mut live = deployment();
    live["metadata"]["annotations"] = json!({"k": "v"});
    live["spec"]["strategy"] = json!({"type": "RollingUpdate"});
    live["spec"]["template"]["spec"]["serviceAccountName"] = json!("default");
    let found = compare(&deployment(), &live);
    assert!(found.is_equal(), "{:?}", found.differences);
    assert_eq!(found.additions, ["metadata.annotations", "spec.template.spec.serviceAccountName", "spec.strategy"]);
}

#[test]
fn what_changes_what_runs_or_what_it_may_do_is_no_addition() {
    let spec = "/spec/template/spec";
    let added = |place: &str, key: &str, value: Value| {
        let mut live = deployment();
        live.pointer_mut(place).unwrap()[key] = value;
        paths(&deployment(), &live)
    };
    let api = "/spec/template/spec/containers/0";
    assert_eq!(added(spec, "hostNetwork", json!(true)), ["spec.template.spec.hostNetwork"]);
    assert!(added(spec, "hostNetwork", json!(false)).is_empty(), "the default");
    assert_eq!(added(spec, "serviceAccountName", json!("admin")), ["spec.template.spec.serviceAccountName"]);
    assert_eq!(added(spec, "volumes", json!([{"name": "v"}])), ["spec.template.spec.volumes"]);
    assert_eq!(
        added(api, "securityContext", json!({"privileged": true, "runAsNonRoot": true})),
        ["spec.template.spec.containers[name=api].securityContext.privileged"]
    );
    assert!(added(api, "securityContext", json!({"privileged": false})).is_empty());
    assert_eq!(added(api, "args", json!(["-x"])), ["spec.template.spec.containers[name=api].args"]);
    let push = |place: &str, item: Value| {
        let mut live = deployment();
        live.pointer_mut(place).unwrap().as_array_mut().unwrap().insert(0, item);
        paths(&deployment(), &live)
    };
    assert_eq!(
        push("/spec/template/spec/containers", json!({"name": "miner", "securityContext": {"privileged": true}})),
        ["spec.template.spec.containers[name=miner]"]
    );
    assert_eq!(
        push("/spec/template/spec/containers/0/env", json!({"name": "LD_PRELOAD", "value": "x"})),
        ["spec.template.spec.containers[name=api].env[name=LD_PRELOAD]"]
    );
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": ports}});
    let more = service(json!([{"port": 80}, {"port": 22}]));
    assert_eq!(paths(&service(json!([{"port": 80}])), &more), ["spec.ports[port=22]"]);
    let pod = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "spec": spec});
    let bare = pod(json!({"containers": [{"name": "a"}], "volumes": []}));
    let admitted =
        pod(json!({"containers": [{"name": "a"}, {"name": "proxy"}], "volumes": [{"name": "kube-api-access-x"}]}));
    assert!(paths(&bare, &admitted).is_empty(), "admission adds to Pods");
}

#[test]
fn values_that_may_be_passwords_are_not_shown() {
    let env = |value: &str| json!([{"name": "A", "value": value}, {"name": "B", "value": "$(A)"}]);
    let place = "/spec/template/spec/containers/0/env";
    let mut cases = vec![(with(place, env("hunter2")), with(place, env("hunter3")))];
    let container = |value: &str| json!([{"name": "one"}, {"name": "two", "env": env(value)}]);
    cases.push((
        with("/spec/template/spec/initContainers", container("hunter2")),
        with("/spec/template/spec/initContainers", json!([{"name": "one"}])),
    ));
    let map = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"annotations": {"k": value}}, "data": {"a": value}});
    cases.push((map("hunter2"), map("hunter3")));
    let mut bare = map("hunter2");
    bare["metadata"] = json!({});
    cases.push((map("hunter2"), bare));
    for (expected, live) in &cases {
        let found = compare(expected, live);
        assert!(!found.is_equal());
        assert!(!format!("{found:?}").contains("hunter"), "{found:?}");
    }
    let image = compare(&deployment(), &with("/spec/template/spec/containers/0/image", json!("a:2")));
    assert!(image.differences[0].to_string().contains("a:2"), "what is no secret is shown");
}

#[test]
fn order_counts_where_it_has_a_meaning() {
    let live = with("/spec/template/spec/initContainers", json!([{"name": "two"}, {"name": "one"}]));
    assert_eq!(paths(&deployment(), &live), ["spec.template.spec.initContainers"]);
    let live = with("/spec/template/spec/initContainers", json!([{"name": "one"}, {"name": "mid"}, {"name": "two"}]));
    assert_eq!(paths(&deployment(), &live), ["spec.template.spec.initContainers[name=mid]"], "in order, and one more");
    let ports = |first: u16, second: u16| json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": first}, {"port": second}]}});
    assert!(paths(&ports(1, 2), &ports(2, 1)).is_empty());
}

#[test]
fn items_with_equal_keys_are_told_apart_by_their_order() {
    let env = |values: [&str; 2]| {
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", "env": [
            {"name": "X", "value": values[0]}, {"name": "X", "value": values[1]}]}]}})
    };
    assert_eq!(paths(&env(["1", "2"]), &env(["1", "3"])), ["spec.containers[name=a].env[name=X#2].value"]);
}

#[test]
fn lists_without_a_rule_must_have_the_same_length() {
    let role = |verbs: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [{"verbs": verbs}]});
    assert_eq!(paths(&role(json!(["get"])), &role(json!(["get", "delete"]))), ["rules[0].verbs[1]"]);
    assert_eq!(paths(&role(json!(["get", "list"])), &role(json!(["get"]))), ["rules[0].verbs[1]"]);
    assert_eq!(paths(&role(json!(["get", "list"])), &role(json!(["list", "get"]))).len(), 2);
}

#[test]
fn one_more_key_of_data_or_of_a_selector_is_a_difference() {
    let map = |kind: &str, data: Value| json!({"apiVersion": "v1", "kind": kind, "data": data});
    assert_eq!(paths(&map("ConfigMap", json!({"a": "1"})), &map("ConfigMap", json!({"a": "1", "b": "2"}))), ["data.b"]);
    assert_eq!(paths(&map("Secret", json!({})), &map("Secret", json!({"b": "2"}))), ["data.b"]);
    let live = with("/spec/selector/matchLabels", json!({"app": "web", "more": "x"}));
    assert_eq!(paths(&deployment(), &live), ["spec.selector.matchLabels.more"]);
    let token = |data: Value| json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "data": data});
    assert!(paths(&token(json!({"a": "1"})), &token(json!({"a": "1", "token": "t"}))).is_empty());
}

#[test]
fn values_of_a_secret_are_never_shown() {
    let secret = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": value}},
               "data": {"password": value}, "stringData": {"password": value}})
    };
    let found = compare(&secret("hunter2"), &secret("hunter3"));
    assert_eq!(found.differences.len(), 3);
    let shown = format!("{found:?} {}", found.differences[0]);
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(found.differences[0].to_string().ends_with(": differs"), "{}", found.differences[0]);
}

#[test]
fn quantities_are_equal_by_meaning_only_where_the_api_has_quantities() {
    let cpu = "/spec/template/spec/containers/0/resources/limits/cpu";
    assert!(paths(&deployment(), &with(cpu, json!("0.5"))).is_empty());
    assert_eq!(paths(&deployment(), &with(cpu, json!("501m"))).len(), 1);
    let label = with("/metadata/labels", json!({"a.b/c": "1"}));
    let other = with("/metadata/labels", json!({"a.b/c": "1000m"}));
    assert_eq!(paths(&label, &other).len(), 1);
    assert_eq!(paths(&deployment(), &with("/spec/replicas", json!("2"))).len(), 1, "2 is not \"2\"");
    assert!(paths(&deployment(), &with("/spec/replicas", json!(2.0))).is_empty());
}

#[test]
fn large_whole_numbers_are_compared_to_the_last_digit() {
    let gadget = |number: u64| json!({"apiVersion": "example.org/v1", "kind": "Gadget", "data": number});
    assert_eq!(paths(&gadget(9_007_199_254_740_993), &gadget(9_007_199_254_740_992)), ["data"]);
}

#[test]
fn null_is_as_good_as_absent_and_not_as_good_as_a_value() {
    let widget = |spec: Value| json!({"apiVersion": "example.org/v1", "kind": "Widget", "spec": spec});
    assert!(paths(&widget(json!({"a": null})), &widget(json!({}))).is_empty());
    assert_eq!(paths(&widget(json!({"a": null})), &widget(json!({"a": 1}))), ["spec.a"]);
    assert_eq!(paths(&widget(json!({"a": {}})), &widget(json!({}))), ["spec.a"], "an empty map says something");
    assert_eq!(paths(&widget(json!({"a": 1})), &widget(json!({"a": null}))), ["spec.a"]);
}

#[test]
fn a_nesting_without_end_is_compared_without_recursion_into_it() {
    // Built by hand: a parser refuses this depth.
    fn widget(leaf: &str) -> Value {
        let deep = (0..4000).fold(json!(leaf), |value, _| Value::Array(vec![value]));
        json!({"apiVersion": "example.org/v1", "kind": "Widget", "spec": deep})
    }
    let run = || {
        assert!(paths(&widget("a"), &widget("a")).is_empty());
        assert_eq!(paths(&widget("a"), &widget("b")).len(), 1);
    };
    std::thread::Builder::new().stack_size(64 << 20).spawn(run).unwrap().join().unwrap();
}

fn additions_table() -> String {
    let mut text = String::from(
        "\n### Additions that are differences\n\n| kind | field | when only the live object has it |\n|---|---|---|\n",
    );
    for (kind, place, counts) in additions::all() {
        let when = match counts {
            additions::Counts::InTemplates => "any item, except in Pods themselves, to which admission adds".to_owned(),
            additions::Counts::Any => "any item".to_owned(),
            additions::Counts::True => "`true`".to_owned(),
            additions::Counts::Not(default) => format!("not `{default}`"),
        };
        text += &format!("| {kind} | `{place}` | {when} |\n");
    }
    text
}

/// The tables as `docs/comparison.md` must show them.
fn tables() -> String {
    let mut text = String::from("### Not compared\n\n| kind | field | why |\n|---|---|---|\n");
    for entry in SERVER_SET {
        text += &format!(
            "| {} | `{}` | {} |\n",
            if entry.kind.0 == "*" { "every" } else { entry.kind.1 },
            entry.path,
            entry.why
        );
    }
    text += "\n### Lists that are not compared by position\n\n| kind | list | how |\n|---|---|---|\n";
    for (kind, place, rule) in lists::all() {
        let how = match rule {
            ListRule::Position => continue,
            ListRule::Keys(keys) => format!("by `{}`", keys.join("`, `")),
            ListRule::OrderedKeys(keys) => format!("by `{}`, in order", keys.join("`, `")),
            ListRule::Set => "as a set".to_owned(),
        };
        text += &format!("| {kind} | `{place}` | {how} |\n");
    }
    text + &additions_table()
}

#[test]
fn the_document_shows_these_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/comparison.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (before, rest) = document.split_once("<!-- tables -->\n").unwrap();
    let (shown, after) = rest.split_once("<!-- end of tables -->").unwrap();
    let expected = format!("\n{}\n", tables());
    if shown != expected && std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}<!-- tables -->\n{expected}<!-- end of tables -->{after}")).unwrap();
        return;
    }
    assert_eq!(shown, expected, "docs/comparison.md is old: run this test with UPDATE_DOCS=1");
}

// --- every leaf of the corpus -------------------------------------------------------------------

/// The objects of `tests/data/objects`.
pub(crate) fn corpus() -> Vec<(String, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/objects");
    let mut objects: Vec<(String, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap())
        })
        .collect();
    objects.sort_by(|left, right| left.0.cmp(&right.0));
    objects
}

/// One leaf of an object: a scalar, or an empty map or list.
pub(crate) struct Leaf {
    /// Where it is, as a JSON pointer.
    pub(crate) pointer: String,
    /// The path by which a change of it must be reported.
    pub(crate) path: String,
    /// It is the last step of the pointer that is a key of a map.
    pub(crate) in_map: bool,
    /// The server-set field that it belongs to.
    pub(crate) server_set: Option<&'static str>,
}

struct Leaves<'a> {
    kind: GroupKind<'a>,
    aggregated: bool,
    found: Vec<Leaf>,
}

/// Every leaf of `object`.
pub(crate) fn leaves(object: &Value) -> Vec<Leaf> {
    let aggregated = object.get("aggregationRule").is_some();
    let mut leaves = Leaves { kind: GroupKind::of(object), aggregated, found: Vec::new() };
    leaves.walk(object, &mut Path::default(), String::new(), None, None);
    leaves.found
}

impl Leaves<'_> {
    /// `whole`: the path of the item or element of which a change here changes the identity.
    fn walk(
        &mut self,
        value: &Value,
        path: &mut Path,
        pointer: String,
        whole: Option<&str>,
        server_set: Option<&'static str>,
    ) {
        let mut pattern = String::new();
        path.pattern(&mut pattern);
        let here = SERVER_SET.iter().find(|entry| {
            entry.path == pattern
                && (entry.kind.0 == "*" || (self.aggregated && self.kind.is(entry.kind.0, entry.kind.1)))
        });
        let server_set = server_set.or(here.map(|entry| entry.path));
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    path.push(Step::Key(key.clone()));
                    self.walk(value, path, pointer, whole, server_set);
                    path.pop();
                }
            }
            Value::Array(items) if !items.is_empty() => self.list(items, path, &pointer, (whole, server_set), &pattern),
            _ => {
                let in_map = pointer.rsplit('/').next().is_none_or(|last| last.parse::<usize>().is_err());
                let path = whole.map_or_else(|| path.to_string(), str::to_owned);
                self.found.push(Leaf { pointer, path, in_map, server_set });
            }
        }
    }

    fn list(
        &mut self,
        items: &[Value],
        path: &mut Path,
        pointer: &str,
        (whole, server_set): (Option<&str>, Option<&'static str>),
        pattern: &str,
    ) {
        let rule = lists::rule_of(self.kind, pattern);
        let keys = match rule {
            ListRule::Keys(keys) | ListRule::OrderedKeys(keys) => identities(keys, items),
            _ => Vec::new(),
        };
        for (index, item) in items.iter().enumerate() {
            let pointer = format!("{pointer}/{index}");
            match rule {
                ListRule::Position => {
                    path.push(Step::Index(index));
                    self.walk(item, path, pointer, whole, server_set);
                }
                ListRule::Set => {
                    path.push(Step::Element(plain(item)));
                    let shown = path.to_string();
                    self.walk(item, path, pointer, Some(&shown), server_set);
                }
                ListRule::Keys(names) | ListRule::OrderedKeys(names) => {
                    let (values, nth) = keys[index].clone();
                    path.push(Step::Item(names.iter().copied().zip(values).collect(), nth));
                    let shown = path.to_string();
                    for (key, value) in item.as_object().unwrap() {
                        let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                        path.push(Step::Key(key.clone()));
                        // A changed key makes it another item.
                        let whole = if names.contains(&key.as_str()) { Some(shown.as_str()) } else { whole };
                        self.walk(value, path, pointer, whole, server_set);
                        path.pop();
                    }
                }
            }
            path.pop();
        }
    }
}

/// Another value of the same sort.
pub(crate) fn changed(value: &Value) -> Value {
    match value {
        Value::Null => json!("no longer null"),
        Value::Bool(value) => json!(!value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => json!(number + 1_000_003),
            None => json!(number.as_f64().unwrap() * 3.0 + 1.0),
        },
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(_) | Value::Object(_) => json!("no longer empty"),
    }
}

/// `object` without the field at `pointer`.
pub(crate) fn without(object: &Value, pointer: &str) -> Value {
    let mut object = object.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    object.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(&key);
    object
}

#[test]
fn every_changed_leaf_of_every_kind_is_reported_by_its_path_or_is_server_set() {
    let objects = corpus();
    let kinds: std::collections::BTreeSet<String> =
        objects.iter().map(|(_, object)| format!("{} {}", object["apiVersion"], object["kind"])).collect();
    let mut exempt: std::collections::BTreeMap<&str, u32> = SERVER_SET.iter().map(|entry| (entry.path, 0)).collect();
    let (mut reported, mut removed) = (0, 0);
    for (name, object) in &objects {
        assert_eq!(compare(object, object), Comparison::default(), "{name}");
        let mut live = object.clone();
        for leaf in leaves(object) {
            let place = live.pointer_mut(&leaf.pointer).unwrap();
            let kept = place.clone();
            *place = changed(place);
            let found = paths(object, &live);
            *live.pointer_mut(&leaf.pointer).unwrap() = kept;
            if let Some(field) = leaf.server_set {
                assert!(found.is_empty(), "{name}: {} is server-set and reported", leaf.pointer);
                *exempt.entry(field).or_default() += 1;
                continue;
            }
            assert_eq!(found, [leaf.path.as_str()], "{name}: {}", leaf.pointer);
            reported += 1;
            if leaf.in_map && !object.pointer(&leaf.pointer).unwrap().is_null() {
                let found = paths(object, &without(object, &leaf.pointer));
                assert_eq!(found, [leaf.path.as_str()], "{name}: {} removed", leaf.pointer);
                removed += 1;
            }
        }
    }
    println!("{} objects of {} kinds", objects.len(), kinds.len());
    println!("{reported} changed leaves and {removed} removed ones, each reported by exactly its path");
    println!("server-set fields, and the leaves in them:");
    for entry in SERVER_SET {
        println!("  {:5} {} {} ({})", exempt[entry.path], entry.kind.1, entry.path, entry.why);
    }
    assert!(kinds.len() >= 50, "{kinds:#?}");
    assert!(reported > 1_600 && removed > 1_500, "{reported} {removed}");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1.0e9..1.0e9_f64).prop_map(Value::from),
            "[a-c]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn widget(spec: Value) -> Value {
        json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
    }

    proptest! {
        #[test]
        fn an_object_equals_itself_and_two_objects_without_a_difference_or_addition_are_one(left in json(), right in json()) {
            let (left, right) = (widget(left), widget(right));
            prop_assert_eq!(compare(&left, &left), Comparison::default());
            let found = compare(&left, &right);
            prop_assert_eq!(found == Comparison::default(), left == right);
        }

        #[test]
        fn what_travels_as_text_comes_back_as_it_was(value in json()) {
            let text = value.to_string();
            let back: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&back, &value);
            prop_assert_eq!(back.to_string(), text);
        }

        #[test]
        fn an_addition_to_a_map_is_no_difference(value in json(), more in json()) {
            let expected = widget(json!({"a": value}));
            let live = widget(json!({"a": value, "b": more}));
            let found = compare(&expected, &live);
            prop_assert!(found.is_equal());
            prop_assert_eq!(found.additions, ["spec.b"]);
        }
    }
}
