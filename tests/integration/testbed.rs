//! The test bed itself: does it give what the other tests stand on?

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;

use crate::support::bed::{self, require, test_name};

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
"#;

#[test]
fn a_test_knows_its_own_name() {
    assert_eq!(test_name!(), "testbed::a_test_knows_its_own_name");
}

#[tokio::test]
async fn an_async_test_knows_its_own_name() {
    assert_eq!(test_name!(), "testbed::an_async_test_knows_its_own_name");
}

#[test]
fn a_deployment_becomes_available_on_both_clusters() {
    for cluster in [require!(bed::source), require!(bed::target)] {
        let namespace = cluster.create_namespace("web");
        cluster
            .apply(&DEPLOYMENT.replace("{name: web}\nspec", &format!("{{name: web, namespace: {namespace}}}\nspec")));
        cluster.kubectl(&["wait", "deployment/web", "-n", &namespace, "--for=condition=Available", "--timeout=60s"]);
    }
}

#[test]
fn a_list_that_began_before_a_compaction_expires_on_the_target() {
    let target = require!(bed::target);
    let namespace = target.create_namespace("list");
    for name in ["one", "two"] {
        target.kubectl(&["create", "configmap", name, "-n", &namespace]);
    }
    let page = format!("/api/v1/namespaces/{namespace}/configmaps?limit=1");
    let first: serde_json::Value = serde_json::from_str(&target.kubectl(&["get", "--raw", &page])).unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    target.compact();
    let second = target.try_kubectl(&["get", "--raw", &format!("{page}&continue={token}")]);
    let errors = String::from_utf8_lossy(&second.stderr);
    assert!(errors.contains("(Expired)"), "{errors}");
}

#[test]
fn the_clusters_are_two() {
    let (source, target) = (require!(bed::source), require!(bed::target));
    let uid =
        |cluster: &bed::Cluster| cluster.get("namespace", "default", "kube-system").unwrap()["metadata"]["uid"].clone();
    assert_ne!(uid(&source), uid(&target));
}

#[test]
fn the_user_has_no_rights() {
    let source = require!(bed::source);
    let words = ["auth", "can-i", "list", "pods", "--as", source.user_name()];
    assert_eq!(String::from_utf8_lossy(&source.try_kubectl(&words).stdout).trim(), "no");
}

#[test]
fn namespaces_go_with_the_test() {
    let source = require!(bed::source);
    let name = source.create_namespace("short-lived");
    drop(source);
    let source = require!(bed::source);
    let deadline = Instant::now() + Duration::from_secs(60);
    while source.get("namespace", "default", &name).is_some() {
        assert!(Instant::now() < deadline, "namespace {name} is still there");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test]
async fn a_bucket_refuses_to_overwrite() {
    let bucket = require!(bed::bucket);
    let client = bucket.client();
    let put = || {
        let body = ByteStream::from_static(b"one");
        client.put_object().bucket(&bucket.name).key("key").if_none_match("*").body(body).send()
    };
    put().await.expect("the key is free");
    let refused = put().await.expect_err("the key exists");
    assert_eq!(refused.raw_response().map(|answer| answer.status().as_u16()), Some(412));
}

#[tokio::test]
async fn a_user_may_do_what_the_bucket_allows_and_no_more() {
    let bucket = require!(bed::bucket);
    let (access_key, secret_key) = bucket.keys_for(&["s3:PutObject"]);
    let client = bucket.client_with(&access_key, &secret_key);
    let body = ByteStream::from_static(b"one");
    client.put_object().bucket(&bucket.name).key("key").body(body).send().await.expect("it may write");
    let refused = client.delete_object().bucket(&bucket.name).key("key").send().await.expect_err("it may not delete");
    assert_eq!(refused.raw_response().map(|answer| answer.status().as_u16()), Some(403));
}

#[test]
fn a_bed_for_one_command_ends_with_the_commands_exit_code_and_leaves_nothing() {
    let _s3_is_built = require!(bed::bucket);
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/testbed/bed");
    let script = "echo $DRCTL_BED $DRCTL_BED_S3_ENDPOINT $DRCTL_BED_SOURCE_KUBECONFIG; sleep 600 & exit 7";
    let output = Command::new(program).args(["run", "--fresh", "s3", "--", "bash", "-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let [state, endpoint] = text.split_whitespace().collect::<Vec<_>>()[..] else { panic!("a source in: {text}") };
    assert!(!Path::new(state).exists(), "{state} is still there");
    let address = endpoint.strip_prefix("http://").unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "{address} still answers");
}
