//! What a server answers on its worst day, put before the real one. Each test has its twin without
//! the fault beside it.

use std::{
    sync::{
        Arc, Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use drctl::sources::kubernetes::{Discovery, ErrorKind};

use super::{
    front::{Answer, Front, Rule, changed},
    *,
};
use crate::support::workshop::{Workshop, wait_for};

/// A namespace with more ConfigMaps than a first page has.
fn namespace_of_pages(source: &bed::Cluster) -> String {
    let shop = source.create_namespace("shop");
    let config_map = |n: usize| serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c-{n:03}"), "namespace": shop}, "data": {"n": n.to_string()}});
    let items: Vec<_> = (0..150).map(config_map).collect();
    create(source, &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}));
    shop
}

async fn capture_through(
    source: &bed::Cluster,
    namespace: &str,
    rule: Box<Rule>,
) -> (MemorySink, Result<CaptureReport, CaptureError>) {
    let front = Front::before(connect(source.kubeconfig()).await, rule).await;
    let sink = MemorySink::default();
    let mut selection = namespaces(&[namespace]);
    selection.cluster_scoped = Some(drctl::sources::kubernetes::ClusterScoped::None);
    let outcome = capture_into(&sink, connect(&front.kubeconfig()).await, selection).await;
    (sink, outcome)
}

fn missing(report: &CaptureReport) -> Vec<(&str, &str)> {
    report.missing.iter().map(|missing| (missing.what.as_str(), missing.why.as_str())).collect()
}

fn status(code: u16, reason: &str, message: &str) -> String {
    serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}).to_string()
}

fn is_configmaps(path: &str) -> bool {
    path.split('?').next().is_some_and(|path| path.ends_with("/configmaps"))
}

/// Spoils the first `times` requests that `which` names, with what `answer` says.
fn first(
    times: usize,
    which: impl Fn(&str) -> bool + Send + Sync + 'static,
    answer: impl Fn() -> Answer + Send + Sync + 'static,
) -> (Box<Rule>, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    let rule = move |path: &str| {
        if which(path) && counter.fetch_add(1, Ordering::SeqCst) < times { answer() } else { Answer::Forward }
    };
    (Box::new(rule), seen)
}

fn expired() -> Answer {
    Answer::Say(410, "", status(410, "Expired", "The provided continue parameter is too old"))
}

#[tokio::test]
async fn a_list_that_expires_begins_again_and_is_whole() {
    let source = require!(bed::source);
    let shop = namespace_of_pages(&source);
    for times in [0, 2] {
        let (rule, seen) = first(times, |path| is_configmaps(path) && path.contains("continue="), expired);
        let (sink, outcome) = capture_through(&source, &shop, rule).await;
        let report = outcome.unwrap();
        assert_eq!(missing(&report), []);
        assert_eq!(names(&sink, "configmaps", &shop).len(), 150);
        assert_eq!(sink.opened() - sink.streams().len(), times, "streams that were given up");
        assert!(seen.load(Ordering::SeqCst) > times);
        check_sums(&sink, &report);
    }
}

#[tokio::test]
async fn a_list_that_always_expires_is_missing_and_named() {
    let source = require!(bed::source);
    let shop = namespace_of_pages(&source);
    let (rule, _) = first(usize::MAX, |path| is_configmaps(path) && path.contains("continue="), expired);
    let (sink, outcome) = capture_through(&source, &shop, rule).await;
    let report = outcome.unwrap();
    let what = format!("kind configmaps in namespace {shop}");
    assert_eq!(missing(&report), [(what.as_str(), "The provided continue parameter is too old")]);
    assert!(sink.stream("configmaps").is_none(), "half a kind is not a kind");
    assert!(sink.stream("serviceaccounts").is_some());
}

#[tokio::test]
async fn a_busy_server_and_a_lost_connection_are_met_with_patience() {
    let source = require!(bed::source);
    let shop = namespace_of_pages(&source);
    let faults: [fn() -> Answer; 4] = [
        || Answer::Forward,
        || Answer::Say(429, "retry-after: 1\r\n", status(429, "TooManyRequests", "slow down")),
        || Answer::Say(503, "", "starting".to_owned()),
        || Answer::Cut,
    ];
    for fault in faults {
        let (rule, seen) = first(2, is_configmaps, fault);
        let (sink, outcome) = capture_through(&source, &shop, rule).await;
        assert_eq!(missing(&outcome.unwrap()), []);
        assert_eq!(names(&sink, "configmaps", &shop).len(), 150);
        assert!(seen.load(Ordering::SeqCst) >= 2);
    }
}

/// What of a custom kind is taken away when its objects are first listed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Taken {
    /// Nothing.
    Nothing,
    /// Nothing in truth: its list is not found all the same.
    List,
    /// As much, and it is not announced any more: what becomes of a version that is served no longer.
    ListAndAnnouncement,
    /// Its definition, in truth. The server goes on when it knows that itself.
    Definition,
}

/// Widgets, in a group of their own that the cluster announces, and what is taken of them when they are listed.
async fn widgets(
    source: &Arc<bed::Cluster>,
    name: &str,
    taken: Taken,
    may_read_definitions: bool,
) -> (String, Box<Rule>) {
    let group = format!("{}.{name}.example.com", source.prefix());
    let definition = include_str!("definition.yaml");
    source.apply(&definition.replace("GROUP", &group).replace("LABEL", source.prefix()));
    source.kubectl(&["wait", "--for=condition=Established", "crd", &format!("widgets.{group}"), "--timeout=180s"]);
    let cluster = connect(source.kubeconfig()).await;
    let deadline = Instant::now() + Duration::from_secs(180);
    while Discovery::read(&cluster).await.unwrap().find(&format!("{group}/v1"), "Widget").is_none() {
        assert!(Instant::now() < deadline, "{group} is not announced");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let (source, begun) = (Arc::clone(source), Once::new());
    let base = format!("/apis/{group}/v1");
    let definition = format!("/customresourcedefinitions?fieldSelector=metadata.name%3Dwidgets.{group}");
    let id = format!("widgets.{group}");
    let not_found =
        || Answer::Say(404, "", status(404, "NotFound", "the server could not find the requested resource"));
    let rule = move |path: &str| {
        let is_list = path.starts_with(&format!("{base}/")) && path.contains("/widgets");
        if is_list && taken == Taken::Definition {
            begun.call_once(|| tokio::task::block_in_place(|| remove(&source, &id, &base)));
        } else if is_list {
            begun.call_once(|| {});
        }
        match taken {
            _ if !begun.is_completed() => Answer::Forward,
            _ if path.ends_with(&definition) && !may_read_definitions => {
                Answer::Say(403, "", status(403, "Forbidden", "definitions are not for you"))
            }
            Taken::List | Taken::ListAndAnnouncement if is_list => not_found(),
            Taken::ListAndAnnouncement if path == base => not_found(),
            _ => Answer::Forward,
        }
    };
    (group, Box::new(rule))
}

/// Removes a definition, and waits until the server neither lists nor announces the kind.
fn remove(source: &bed::Cluster, id: &str, base: &str) {
    source.kubectl(&["delete", "crd", id, "--timeout=180s"]);
    for path in [format!("{base}/widgets"), base.to_owned()] {
        wait_for("the end of the kind", 180, || {
            let said = source.try_kubectl(&["get", "--raw", &path]).stderr;
            String::from_utf8_lossy(&said).contains("NotFound").then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_removed_while_the_backup_runs_is_not_missing() {
    let source = Arc::new(require!(bed::source));
    let shop = source.create_namespace("shop");
    let cases = [
        ("nothing", Taken::Nothing, true, false),
        ("not-found", Taken::List, true, true),
        ("no-version", Taken::ListAndAnnouncement, true, true),
        ("gone", Taken::Definition, true, false),
        // Who may not read definitions believes what is announced.
        ("not-found-2", Taken::List, false, true),
        ("gone-2", Taken::Definition, false, false),
    ];
    for (name, taken, may_read_definitions, is_missing) in cases {
        let (group, rule) = widgets(&source, name, taken, may_read_definitions).await;
        let (_, outcome) = capture_through(&source, &shop, rule).await;
        let report = outcome.unwrap();
        let missing = missing(&report);
        assert_eq!(missing.len(), usize::from(is_missing), "{name}: {missing:?}");
        assert!(missing.iter().all(|(what, _)| what.contains(&format!("widgets.{group}"))), "{name}: {missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_the_policy_includes_and_that_is_removed_while_the_backup_runs_is_missing() {
    let source = Arc::new(require!(bed::source));
    let shop = source.create_namespace("shop");
    for (name, taken, code) in [("stays", Taken::Nothing, 0), ("gone", Taken::Definition, 3)] {
        let (group, rule) = widgets(&source, name, taken, true).await;
        let front = Front::before(connect(source.kubeconfig()).await, rule).await;
        let mut workshop = Workshop::bare(&source);
        let policy = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{}\nsources:\n  \
             services: {{kubernetes: {{namespaces: [{shop}], include: [widgets.{group}]}}}}\nschedules:\n  \
             daily: {{cron: \"0 2 * * *\", sources: [services]}}\n",
            workshop.local_repository()
        );
        std::fs::write(workshop.policy(), policy).unwrap();
        tokio::task::block_in_place(|| {
            workshop.done(&["repository", "init"]);
            workshop.use_kubeconfig(&front.kubeconfig());
            workshop.ends(code, &["backup"]);
            let shown = workshop.json(0, &["show", &workshop.backups()[0]]);
            assert_eq!(shown["state"], if code == 0 { "complete" } else { "partial" });
            let missing = shown["missing"].as_array().unwrap();
            assert_eq!(missing.len(), usize::from(code != 0), "{missing:?}");
            let kind = format!("kind widgets.{group}");
            assert!(missing.iter().all(|each| each["what"].as_str().unwrap().starts_with(&kind)), "{missing:?}");
        });
    }
}

#[tokio::test]
async fn a_list_that_fails_is_missing_with_the_servers_words_and_the_rest_is_captured() {
    let source = require!(bed::source);
    let shop = namespace_of_pages(&source);
    let broken: [(u16, &str, &str); 3] = [
        (500, "etcd is \u{1b}[31mill", "etcd is \u{1b}[31mill"),
        (403, "not for you", "not for you"),
        (
            200,
            r#"{"kind":"ConfigMapList","items":[{"metadata":{"name":"a"}},{"#,
            "the answer is not what the API promises",
        ),
    ];
    for (code, body, why) in broken {
        let answer = move || Answer::Say(code, "", if code == 200 { body.to_owned() } else { status(code, "X", body) });
        let (rule, _) = first(usize::MAX, is_configmaps, answer);
        let (sink, outcome) = capture_through(&source, &shop, rule).await;
        let report = outcome.unwrap();
        let all = missing(&report);
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0].0, format!("kind configmaps in namespace {shop}"));
        assert!(all[0].1.contains(why), "{all:?}");
        assert!(sink.stream("configmaps").is_none());
        assert!(sink.stream("serviceaccounts").is_some());
    }
}

#[tokio::test]
async fn an_object_that_does_not_fit_is_named() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    for (mib, fits) in [(7, true), (9, false)] {
        let namespace = shop.clone();
        let answer = move || {
            let blob = "x".repeat(mib << 20);
            let item = format!(r#"{{"metadata":{{"name":"huge","namespace":"{namespace}"}},"data":{{"a":"{blob}"}}}}"#);
            Answer::Say(200, "", format!(r#"{{"kind":"ConfigMapList","metadata":{{}},"items":[{item}]}}"#))
        };
        let (rule, seen) = first(usize::MAX, is_configmaps, answer);
        let (sink, outcome) = capture_through(&source, &shop, rule).await;
        let report = outcome.unwrap();
        assert_eq!(sink.stream("configmaps").is_some(), fits);
        assert_eq!(missing(&report).is_empty(), fits);
        if !fits {
            assert!(report.missing[0].why.contains(&format!("{shop}/huge")), "{:?}", report.missing);
        }
        assert_eq!(seen.load(Ordering::SeqCst), 2, "a first page, and a page for one object");
    }
}

/// Makes discovery say that it could not read the group of NetworkPolicies and Ingresses.
fn make_stale(document: String) -> String {
    let mut document: Value = serde_json::from_str(&document).unwrap();
    for group in document["items"].as_array_mut().unwrap() {
        if group["metadata"]["name"] == "networking.k8s.io" {
            group["versions"] = serde_json::json!([{"version": "v1", "freshness": "Stale", "resources": []}]);
        }
    }
    document.to_string()
}

#[tokio::test]
async fn a_stale_group_of_the_cluster_itself_is_missing_unless_it_answers_for_itself() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    source.kubectl(&["-n", &shop, "create", "ingress", "web", "--default-backend=web:80"]);
    for (itself_answers, captured) in [(true, true), (false, false)] {
        let rule = move |path: &str| match path {
            "/apis" => Answer::Change(Box::new(make_stale)),
            "/apis/networking.k8s.io/v1" if !itself_answers => Answer::Say(503, "", "service unavailable\n".to_owned()),
            _ => Answer::Forward,
        };
        let (sink, outcome) = capture_through(&source, &shop, Box::new(rule)).await;
        let report = outcome.unwrap();
        assert_eq!(sink.stream("ingresses.networking.k8s.io").is_some(), captured);
        let expected: &[(&str, &str)] = if captured {
            &[]
        } else {
            &[("group networking.k8s.io/v1", "HTTP 503 Service Unavailable: service unavailable")]
        };
        assert_eq!(missing(&report), expected);
    }
}

#[tokio::test]
async fn a_server_without_aggregated_discovery_gives_the_same_backup() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    source.apply(MANY.replace("NAMESPACE", &shop).split("---\n# custom").next().unwrap());
    let mut streams = Vec::new();
    for old in [false, true] {
        let rule = move |path: &str| {
            if old && matches!(path, "/api" | "/apis") { Answer::ForwardPlain } else { Answer::Forward }
        };
        let (sink, outcome) = capture_through(&source, &shop, Box::new(rule)).await;
        assert_eq!(missing(&outcome.unwrap()), []);
        let mut names: Vec<_> = sink.streams().into_iter().map(|stream| stream.spec.name).collect();
        names.sort();
        streams.push(names);
    }
    assert!(streams[0].len() > 10);
    assert_eq!(streams[0], streams[1]);
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_stops_at_once() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    let (rule, seen) = first(usize::MAX, is_configmaps, || Answer::Hang);
    let front = Front::before(connect(source.kubeconfig()).await, rule).await;
    let capturing =
        KubernetesSource::new(Name::new("services").unwrap(), connect(&front.kubeconfig()).await, namespaces(&[&shop]));
    let (sink, cancel) = (MemorySink::default(), CancellationToken::new());
    let context = CaptureContext { sink: &sink, monitor: &Silent, cancel: &cancel };
    let stop = async {
        while seen.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        cancel.cancel();
    };
    let (outcome, ()) = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        let prepared = capturing.prepare(context).await.unwrap();
        tokio::join!(prepared.capture(context), stop)
    })
    .await
    .expect("it stops");
    assert!(matches!(outcome, Err(CaptureError::Interrupted)), "{outcome:?}");
}

#[tokio::test]
async fn a_repository_that_takes_no_more_ends_the_capture() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    let sink = MemorySink::default();
    sink.fail_after(100);
    let outcome = capture_into(&sink, connect(source.kubeconfig()).await, namespaces(&[&shop])).await;
    assert!(matches!(outcome, Err(CaptureError::Sink(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_token_that_is_not_accepted_and_a_server_that_is_not_there_end_the_capture_with_the_reason() {
    let source = require!(bed::source);
    let shop = source.create_namespace("shop");
    let text = std::fs::read_to_string(source.kubeconfig()).unwrap();
    let token = text.lines().find_map(|line| line.trim().strip_prefix("token: ")).unwrap().to_owned();
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap().to_owned();
    let cases: [(&str, &str, Option<ErrorKind>); 3] = [
        ("unchanged", "unchanged", None),
        (&token, "expired", Some(ErrorKind::Unauthenticated)),
        (&server, "https://127.0.0.1:1", Some(ErrorKind::Unreachable)),
    ];
    for (old, new, expected) in cases {
        let (_folder, kubeconfig) = changed(source.kubeconfig(), |text| text.replace(old, new));
        let sink = MemorySink::default();
        let outcome = capture_into(&sink, connect(&kubeconfig).await, namespaces(&[&shop])).await;
        let found = match &outcome {
            Ok(_) => None,
            Err(CaptureError::Kubernetes(error)) => Some(error.kind),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, expected, "{outcome:?}");
        if let Err(error) = outcome {
            let text = error.to_string();
            assert!(text.contains("127.0.0.1:1") || text.contains("the credentials are not accepted"), "{text}");
            assert!(!text.contains(&token));
        }
    }
}

#[tokio::test]
async fn an_unusable_kubeconfig_is_explained_without_what_is_in_it() {
    let source = require!(bed::source);
    let cases: [(&str, &str, &str); 3] = [
        ("current-context: source", "current-context: other", "has no context `other`"),
        ("users:", "users: [{", "is not valid"),
        ("server: https", "sorver: https", "cluster url is missing"),
    ];
    for (old, new, expected) in cases {
        let (_folder, kubeconfig) = changed(source.kubeconfig(), |text| text.replace(old, new));
        let options = ConnectOptions { kubeconfig: Some(kubeconfig), context: None };
        let error = Cluster::connect(&options).await.expect_err(new);
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error:?}").contains("token"), "{error:?}");
    }
    let options = ConnectOptions { kubeconfig: Some("/no/such/file".into()), context: None };
    let error = Cluster::connect(&options).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/file"), "{error}");
}
