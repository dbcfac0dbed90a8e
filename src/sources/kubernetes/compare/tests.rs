mod corpus;
mod document;
mod properties;
mod versions;

use serde_json::{Value, json};

pub(crate) use corpus::{changed, corpus, leaves};

use super::*;

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
fn what_opens_a_restriction_is_no_addition_even_where_the_backup_has_nothing_of_it() {
    let object = |api: &str, kind: &str, body: Value| {
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}});
        object.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        object
    };
    let hook = |body: Value| {
        let mut hook = json!({"name": "h", "clientConfig": {"url": "https://x"}});
        hook.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        json!({"webhooks": [hook]})
    };
    let admission = "admissionregistration.k8s.io/v1";
    let (network, rbac) = ("networking.k8s.io/v1", "rbac.authorization.k8s.io/v1");
    let policy = |spec: Value| json!({"spec": spec});
    let label = json!({"matchLabels": {"a": "b"}});
    for (api, kind, backup, live, path) in [
        ("v1", "ConfigMap", json!({}), json!({"data": {"k": "v"}}), "data"),
        ("v1", "Secret", json!({"type": "Opaque"}), json!({"type": "Opaque", "data": {"k": "v"}}), "data"),
        ("v1", "Service", json!({"spec": {}}), json!({"spec": {"selector": {"app": "x"}}}), "spec.selector"),
        (
            network,
            "NetworkPolicy",
            policy(json!({"podSelector": {}})),
            policy(json!({"podSelector": {}, "ingress": [{}]})),
            "spec.ingress",
        ),
        (
            network,
            "NetworkPolicy",
            policy(json!({"podSelector": {}})),
            policy(json!({"podSelector": label})),
            "spec.podSelector.matchLabels",
        ),
        (
            network,
            "NetworkPolicy",
            policy(json!({"ingress": [{"from": [{"podSelector": {}}]}]})),
            policy(json!({"ingress": [{"from": [{"podSelector": {}, "namespaceSelector": {}}]}]})),
            "spec.ingress[0].from[0].namespaceSelector",
        ),
        (rbac, "RoleBinding", json!({}), json!({"subjects": [{"kind": "User", "name": "eve"}]}), "subjects"),
        (rbac, "Role", json!({"rules": null}), json!({"rules": [{"verbs": ["*"]}]}), "rules"),
        (
            admission,
            "ValidatingWebhookConfiguration",
            hook(json!({})),
            hook(json!({"namespaceSelector": label})),
            "webhooks[name=h].namespaceSelector",
        ),
        (
            admission,
            "ValidatingWebhookConfiguration",
            hook(json!({"namespaceSelector": {}})),
            hook(json!({"namespaceSelector": label})),
            "webhooks[name=h].namespaceSelector.matchLabels",
        ),
        (
            admission,
            "MutatingWebhookConfiguration",
            hook(json!({})),
            hook(json!({"matchConditions": [{"name": "never", "expression": "false"}]})),
            "webhooks[name=h].matchConditions",
        ),
    ] {
        let (expected, live) = (object(api, kind, backup), object(api, kind, live));
        assert_eq!(paths(&expected, &live), [path], "{kind}");
        assert!(paths(&live, &live).is_empty(), "{kind}");
    }
}

#[test]
fn what_the_server_itself_sets_in_such_places_stays_an_addition() {
    let policy = |spec: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": spec});
    let bare = policy(json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}));
    let set = policy(
        json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 80, "protocol": "TCP"}]}], "egress": []}),
    );
    assert!(paths(&bare, &set).is_empty());
    let hook = |more: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "webhooks": [more]});
    let defaulted = json!({"name": "h", "namespaceSelector": {}, "objectSelector": {}, "failurePolicy": "Fail", "matchPolicy": "Equivalent"});
    assert!(paths(&hook(json!({"name": "h"})), &hook(defaulted)).is_empty());
    let token = |data: Value| json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "data": data});
    let mut empty = token(Value::Null);
    empty.as_object_mut().unwrap().remove("data");
    assert!(paths(&empty, &token(json!({"token": "x"}))).is_empty());
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
