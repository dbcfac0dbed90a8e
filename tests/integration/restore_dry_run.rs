//! What the server's own dry run says of a plan: accepted, rejected, not testable yet. Nothing is written by it.

use drctl::sources::kubernetes::restore::{Action, Answer, Plan};
use serde_json::{Value, json};

use crate::support::{
    bed::{self, require},
    snapshot::{Restore, Snapshot},
    webhook::Webhook,
    workshop::wait_for,
};

fn config_map(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"a": "1"}})
}

fn deployment(namespace: &str, name: &str, privileged: bool) -> Value {
    let restricted = json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"}});
    let context = if privileged { json!({"privileged": true}) } else { restricted };
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
            "spec": {"serviceAccountName": "comes-later", "containers": [{"name": "c", "image": "example.org/c:1",
                "securityContext": context, "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "100m"}}}]}}}})
}

fn definition(group: &str, enumeration: &Value) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("widgets.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {"size": {"type": "string", "enum": enumeration}}}}}}}]}})
}

fn widget(group: &str, namespace: &str, size: &str) -> Value {
    json!({"apiVersion": format!("{group}/v1"), "kind": "Widget", "metadata": {"name": "w", "namespace": namespace}, "spec": {"size": size}})
}

/// What the server says about one object.
fn said(plan: &Plan, kind: &str, name: &str) -> (Answer, String) {
    let mut objects = plan.objects().filter(|object| object.kind == kind && object.name == name);
    let object = objects.next().unwrap_or_else(|| panic!("{kind} {name} is not in the plan"));
    (object.server, object.server_reason.to_owned())
}

#[tokio::test]
async fn each_object_is_accepted_or_rejected_or_waits_for_something() {
    let cluster = require!(bed::source);
    let here = cluster.create_namespace("here");
    let coming = cluster.name("coming");
    let (known, unknown) = (format!("{here}.example.org"), format!("{coming}.example.org"));
    cluster.create(&definition(&known, &json!(["small"])).to_string());
    cluster.kubectl(&["wait", "--for=condition=Established", &format!("crd/widgets.{known}"), "--timeout=180s"]);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full", "namespace": here},
        "spec": {"hard": {"count/secrets": "0"}}});
    cluster.create(&quota.to_string());
    wait_for("the quota's count", 120, || {
        cluster.get("resourcequota", &here, "full")?.pointer("/status/used").map(drop)
    });

    let mut snapshot = Snapshot::default();
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    snapshot.add("namespaces", vec![namespace(&coming), namespace(&here)]);
    snapshot.add("configmaps", vec![config_map(&coming, "waits"), config_map(&here, "good")]);
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "over", "namespace": here}, "data": {}});
    snapshot.add("secrets", vec![secret]);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b", "namespace": here},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "comes-later"}});
    snapshot.add("rolebindings.rbac.authorization.k8s.io", vec![binding]);
    snapshot.add("customresourcedefinitions.apiextensions.k8s.io", vec![definition(&unknown, &json!(["small"]))]);
    snapshot.add(&format!("widgets.{known}"), vec![widget(&known, &here, "huge")]);
    snapshot.add(&format!("widgets.{unknown}"), vec![widget(&unknown, &here, "small")]);

    let restore = Restore::into(&cluster, &snapshot).await;
    let plan = restore.tried_out().await;
    assert_eq!(said(&plan, "configmaps", "good"), (Answer::Accepted, String::new()));
    assert_eq!(said(&plan, "namespaces", &coming).0, Answer::Accepted);
    let refused = |kind: &str, name: &str, words: &str| {
        let (answer, reason) = said(&plan, kind, name);
        assert!(answer == Answer::Rejected && reason.contains(words), "{kind} {name}: {answer:?} {reason}");
    };
    refused("secrets", "over", "exceeded quota");
    refused(&format!("widgets.{known}"), "w", "Unsupported value: \"huge\"");
    let waits = |kind: &str, name: &str, until: &str| {
        let (answer, reason) = said(&plan, kind, name);
        assert!(answer == Answer::NotTestable && reason.starts_with(until), "{kind} {name}: {answer:?} {reason}");
    };
    waits("configmaps", "waits", &format!("until namespace {coming} is there"));
    waits(&format!("widgets.{unknown}"), "w", &format!("until the definition of widgets.{unknown} is established"));
    // The admin may bind what is not there.
    assert_ne!(said(&plan, "rolebindings.rbac.authorization.k8s.io", "b").0, Answer::Rejected);
    assert!(plan.answers(Answer::Rejected) == 2 && plan.answers(Answer::NotTestable) >= 2);

    assert!(cluster.get("configmap", &here, "good").is_none(), "a dry run wrote");
    assert!(cluster.get("namespace", "", &coming).is_none(), "a dry run wrote");
    cluster.kubectl(&["delete", "crd", &format!("widgets.{known}")]);
}

#[tokio::test]
async fn a_workload_whose_pods_would_be_refused_is_named_before_anything_is_written() {
    let cluster = require!(bed::source);
    let secured = cluster.create_namespace("secured");
    cluster.kubectl(&["label", "namespace", &secured, "pod-security.kubernetes.io/enforce=restricted"]);
    let tight = cluster.create_namespace("tight");
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full", "namespace": tight}, "spec": {"hard": {"requests.cpu": "50m"}}});
    cluster.create(&quota.to_string());
    wait_for("the quota's count", 120, || {
        cluster.get("resourcequota", &tight, "full")?.pointer("/status/used").map(drop)
    });
    let limited = cluster.create_namespace("limited");
    let limit = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small", "namespace": limited},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "10m"}}]}});
    cluster.create(&limit.to_string());
    let mut snapshot = Snapshot::default();
    for namespace in [&secured, &tight, &limited] {
        snapshot.take(&cluster, "namespaces", "", Some(namespace));
    }
    let workloads = vec![
        deployment(&secured, "bad", true),
        deployment(&secured, "good", false),
        deployment(&tight, "big", false),
        deployment(&limited, "wide", false),
    ];
    snapshot.add("deployments.apps", workloads);

    // Without being asked: the server takes such workloads, and only their Pods never come.
    let plan = Restore::into(&cluster, &snapshot).await.plan().await;
    for (name, words) in
        [("bad", "violates PodSecurity"), ("big", "exceeded quota"), ("wide", "maximum cpu usage per Container")]
    {
        let (answer, reason) = said(&plan, "deployments.apps", name);
        assert!(answer == Answer::Rejected && reason.contains(words), "{name}: {answer:?} {reason}");
        assert!(reason.starts_with("its Pods would be refused"), "{reason}");
    }
    assert_eq!(said(&plan, "deployments.apps", "good"), (Answer::None, String::new()));
    assert_eq!(plan.total(Action::Create), 4);
    assert!(cluster.get("deployment", &secured, "bad").is_none(), "planning wrote");
}

#[tokio::test]
async fn a_webhook_is_asked_and_one_with_side_effects_is_not() {
    let cluster = require!(bed::source);
    require!(program "openssl");
    let namespace = cluster.create_namespace("hook");
    let mut snapshot = Snapshot::default();
    snapshot.take(&cluster, "namespaces", "", Some(&namespace));
    snapshot.add("configmaps", vec![config_map(&namespace, "bad"), config_map(&namespace, "good")]);
    let judge = |object: &Value| {
        (object["metadata"]["name"] == json!("bad")).then(|| "no object is called bad here".to_owned())
    };
    {
        let webhook = Webhook::start(&cluster, &namespace, "None", judge);
        let restore = Restore::into(&cluster, &snapshot).await;
        let plan = restore.tried_out().await;
        let (answer, reason) = said(&plan, "configmaps", "bad");
        assert!(answer == Answer::Rejected && reason.contains("no object is called bad here"), "{answer:?} {reason}");
        assert_eq!(said(&plan, "configmaps", "good").0, Answer::Accepted);
        // The restore itself: what the webhook refuses is named with its words, and the rest is done.
        let before = webhook.calls();
        let report = restore.execute(&plan).await.unwrap();
        assert_eq!((report.created, report.failed.count), (1, 1));
        assert!(report.failed.objects[0].reason.contains("no object is called bad here"), "{:?}", report.failed);
        assert_eq!(webhook.calls(), before + 2);
    }
    cluster.kubectl(&["-n", &namespace, "delete", "configmap", "good"]);
    let _webhook = Webhook::start(&cluster, &namespace, "NoneOnDryRun", judge);
    let plan = Restore::into(&cluster, &snapshot).await.tried_out().await;
    assert_eq!(said(&plan, "configmaps", "bad").0, Answer::Rejected, "it can be asked, too");
}

#[tokio::test]
async fn where_no_webhook_refuses_everything_is_accepted_and_created() {
    let cluster = require!(bed::source);
    let namespace = cluster.create_namespace("calm");
    let mut snapshot = Snapshot::default();
    snapshot.take(&cluster, "namespaces", "", Some(&namespace));
    snapshot.add("configmaps", vec![config_map(&namespace, "bad"), config_map(&namespace, "good")]);
    let restore = Restore::into(&cluster, &snapshot).await;
    let plan = restore.tried_out().await;
    assert_eq!((plan.answers(Answer::Accepted), plan.answers(Answer::Rejected)), (2, 0));
    assert_eq!(restore.all().await.1.created, 2);
}

#[tokio::test]
async fn a_quota_with_room_for_one_pod_and_not_for_all_is_named_before_anything_is_written() {
    let cluster = require!(bed::source);
    let (tight, wide) = (cluster.create_namespace("tight"), cluster.create_namespace("wide"));
    for (namespace, pods) in [(&tight, "3"), (&wide, "4")] {
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few", "namespace": namespace},
            "spec": {"hard": {"pods": pods, "requests.cpu": "1", "count/configmaps": "2"}}});
        cluster.create(&quota.to_string());
        wait_for("the quota's count", 120, || {
            let used = cluster.get("resourcequota", namespace, "few")?.pointer("/status/used").cloned()?;
            // The namespace's own kube-root-ca.crt.
            (used["count/configmaps"] == json!("1")).then_some(())
        });
    }
    let mut snapshot = Snapshot::default();
    let mut workloads = Vec::new();
    for namespace in [&tight, &wide] {
        snapshot.take(&cluster, "namespaces", "", Some(namespace));
        for name in ["one", "two"] {
            let mut deployment = deployment(namespace, name, false);
            deployment["spec"]["replicas"] = json!(2);
            workloads.push(deployment);
        }
    }
    snapshot.add("deployments.apps", workloads);
    snapshot.add("configmaps", vec![config_map(&tight, "a"), config_map(&tight, "b"), config_map(&wide, "a")]);
    let plan = Restore::into(&cluster, &snapshot).await.tried_out().await;
    assert_eq!(plan.answers(Answer::Rejected), 0, "each by itself has room");
    let of = |resource: &str, wanted: u8, hard: u8, used: u8| {
        format!(
            "resourcequotas {tight}/few: what is created asks for {wanted} of {resource}, and it has {hard}, of which \
             {used} are used: the server will refuse what comes last, or its Pods"
        )
    };
    assert_eq!(plan.warnings(), [of("count/configmaps", 2, 2, 1), of("pods", 4, 3, 0)]);
}

#[tokio::test]
async fn the_server_takes_no_webhook_of_which_a_dry_run_could_not_be_asked() {
    let cluster = require!(bed::source);
    for (effects, expected) in
        [("Unknown", Answer::Rejected), ("Some", Answer::Rejected), ("NoneOnDryRun", Answer::Accepted)]
    {
        let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": cluster.name("effects")}, "webhooks": [{"name": "h.example.org",
                "admissionReviewVersions": ["v1"], "sideEffects": effects, "failurePolicy": "Ignore",
                "clientConfig": {"service": {"namespace": "none", "name": "server"}},
                "rules": [{"apiGroups": ["none.example.org"], "apiVersions": ["v1"], "resources": ["none"], "operations": ["CREATE"]}]}]});
        let mut snapshot = Snapshot::default();
        snapshot.add("validatingwebhookconfigurations.admissionregistration.k8s.io", vec![hook]);
        let plan = Restore::into(&cluster, &snapshot).await.tried_out().await;
        let kind = "validatingwebhookconfigurations.admissionregistration.k8s.io";
        let (answer, reason) = said(&plan, kind, &cluster.name("effects"));
        assert_eq!(answer, expected, "{effects}: {reason}");
        assert_eq!(reason.contains("sideEffects"), expected == Answer::Rejected, "{reason}");
    }
}
