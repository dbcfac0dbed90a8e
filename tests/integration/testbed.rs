//! The test bed itself: does it give what the other tests stand on?

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;

use crate::support::bed::{self, require, test_name};
use crate::support::mongodb;
use crate::support::node;
use crate::support::postgres::{self, Pooling, Role};

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
        cluster.kubectl(&["wait", "deployment/web", "-n", &namespace, "--for=condition=Available", "--timeout=180s"]);
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
    let deadline = Instant::now() + Duration::from_secs(180);
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
fn a_database_answers_each_role_over_tls_and_the_reader_cannot_write() {
    for server in [require!(postgres::v15), require!(postgres::v18)] {
        let database = server.create_database("roles");
        database.sql("CREATE TABLE t (id int); INSERT INTO t VALUES (7)");
        let tls = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        for role in [Role::Admin, Role::Owner, Role::Reader] {
            let output = database.try_sql_as(role, tls);
            assert_eq!(text(&output.stdout), "t", "{role:?}: {}", text(&output.stderr));
        }
        assert_eq!(text(&database.try_sql_as(Role::Reader, "SELECT id FROM t").stdout), "7");
        let refused = database.try_sql_as(Role::Reader, "INSERT INTO t VALUES (8)");
        assert!(text(&refused.stderr).contains("permission denied for table t"), "{}", text(&refused.stderr));
        let created = database.try_sql_as(Role::Owner, "CREATE TABLE mine (id int)");
        assert!(created.status.success(), "{}", text(&created.stderr));
        let major = database.sql("SHOW server_version_num").parse::<u32>().unwrap() / 10_000;
        assert_eq!(major, u32::from(server.major()));
    }
}

#[test]
fn a_database_refuses_the_wrong_authority_name_and_password() {
    let (server, other) = (require!(postgres::v15), require!(postgres::v18));
    let database = server.create_database("refused");
    let error = |url: &str| {
        let output = database.try_sql_at(url, "SELECT 1");
        assert!(!output.status.success(), "{url} was answered");
        text(&output.stderr)
    };
    let url = database.url(Role::Reader);
    let wrong_authority = url.replace(server.authority().to_str().unwrap(), other.authority().to_str().unwrap());
    assert!(error(&wrong_authority).contains("certificate verify failed"));
    let named = |name: &str| url.replace("@127.0.0.1:", &format!("@{name}:")) + "&hostaddr=127.0.0.1";
    assert!(error(&named("db.other.test")).contains("does not match host name"));
    assert!(database.try_sql_at(&named("db.drctl.test"), "SELECT 1").status.success());
    assert!(error(&database.url_as("reader", "wrong")).contains("password authentication failed"));
}

#[test]
fn pgbouncer_answers_in_both_modes() {
    let database = require!(postgres::v15).create_database("pooled");
    for pooling in [Pooling::Transaction, Pooling::Session] {
        let url = database.pooled_url(pooling, Role::Owner).replace("verify-full", "require");
        let output = database.try_sql_at(&url, "SELECT current_database()");
        assert_eq!(text(&output.stdout), database.name(), "{}", text(&output.stderr));
    }
}

#[test]
fn databases_and_roles_go_with_the_test() {
    let (server, other) = (require!(postgres::v15), require!(postgres::v15));
    let database = server.create_database("short-lived");
    let beside = server.create_database("short-lived_beside");
    let role = server.create_role("short-lived", "LOGIN");
    let mut session = database.psql().stdin(std::process::Stdio::piped()).spawn().unwrap();
    let names = [database.name().to_owned(), beside.name().to_owned(), role];
    drop((server, database, beside));
    let left = "SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles";
    let left: Vec<String> = other.sql(left).lines().map(str::to_owned).collect();
    assert!(names.iter().all(|name| !left.contains(name)), "{left:?}");
    drop(session.stdin.take());
    session.wait().unwrap();
}

#[test]
fn what_pg_restore_brings_back_has_the_same_contents_and_schema() {
    for server in [require!(postgres::v15), require!(postgres::v18)] {
        let database = server.create_database("before");
        database.sql(
            "CREATE TABLE t (id serial PRIMARY KEY, words text); INSERT INTO t (words) VALUES ('one'), (NULL);
             CREATE SEQUENCE s; SELECT lo_from_bytea(4711, 'large')",
        );
        let contents = database.contents();
        assert_eq!(contents.lines().count(), 4, "{contents}");
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive");
        std::fs::write(&archive, database.dump(&["-Fc"])).unwrap();
        let after = server.create_database("after");
        after.restore(&archive, &[]);
        assert_eq!(after.contents(), contents);
        assert_eq!(after.schema(), database.schema());
        after.sql("UPDATE t SET words = 'two' WHERE words IS NULL");
        assert_ne!(after.contents(), contents);
    }
}

#[test]
fn the_torture_database_survives_the_stock_tools() {
    for server in [require!(postgres::v15), require!(postgres::v18)] {
        let database = server.create_torture();
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive");
        std::fs::write(&archive, database.dump(&["-Fc", "-Z0"])).unwrap();
        let after = server.create_database("after");
        after.restore(&archive, &[]);
        assert_eq!(after.contents(), database.contents());
        assert_eq!(after.schema(), database.schema());
    }
}

#[test]
fn the_variants_of_the_torture_database_load() {
    for server in [require!(postgres::v15), require!(postgres::v18)] {
        for (file, options) in [
            ("torture-latin1.sql", "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"),
            ("torture-sql-ascii.sql", "TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"),
            ("torture-subscription.sql", "TEMPLATE template0"),
        ] {
            let database = server.create_database_with(file, options);
            database.run_file(file, &[("odd_names", "1")]);
            let folder = tempfile::tempdir().unwrap();
            let archive = folder.path().join("archive");
            std::fs::write(&archive, database.dump(&["-Fc", "-Z0"])).unwrap();
            let after = server.create_database_with(&format!("{file} after"), options);
            after.restore(&archive, &[]);
            let of =
                |database: &postgres::Database| database.dump(&["--data-only", "--inserts", "--encoding=SQL_ASCII"]);
            assert_eq!(without_keys(&of(&after)), without_keys(&of(&database)), "{file}");
        }
    }
}

/// Rows that the extension brings and a dump leaves out are in the restored database, too; those that nobody would bring
/// are not.
#[test]
fn a_restore_adds_to_the_tables_of_an_extension() {
    let server = require!(postgres::v15);
    let database = server.create_database("extension");
    database.run_file("torture-extension.sql", &[]);
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("archive");
    std::fs::write(&archive, database.dump(&["-Fc", "-Z0"])).unwrap();
    let after = server.create_database("after");
    after.restore(&archive, &[]);
    let lost = "DELETE FROM measures.unit_units WHERE name = 'not_dumped' RETURNING name";
    assert_eq!(database.sql(lost), "not_dumped");
    assert_eq!(after.contents(), database.contents());
}

/// A dump in SQL without the lines that hold a key of its own.
fn without_keys(dump: &[u8]) -> Vec<&[u8]> {
    let is_key = |line: &&[u8]| line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict ");
    dump.split(|byte| *byte == b'\n').filter(|line| !is_key(line)).collect()
}

#[test]
fn a_mongodb_server_keeps_documents_byte_for_byte_and_they_go_with_the_test() {
    let server = require!(mongodb::server);
    let database = server.database("kept");
    // {_id: 1, "": NaN with a payload, a: 1, a: 2}: no dictionary has it.
    let document = b"\x26\0\0\0\x10_id\0\x01\0\0\0\x01\0\x01\0\0\0\0\0\xf8\x7f\x10a\0\x01\0\0\0\x10a\0\x02\0\0\0\0";
    database.insert("odd", document);
    assert_eq!(database.documents("odd"), document);
    let contents = database.contents();
    assert_eq!((contents[0].name.as_str(), contents[0].count, contents[0].bytes), ("odd", 1, 38));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("odd.bson");
    std::fs::write(&file, document).unwrap();
    let decoded = database.decoded(std::slice::from_ref(&file));
    assert_eq!(decoded[0].unordered, contents[0].unordered);
    let refused = database.try_run(r#"{"insert": "odd", "documents": [{"_id": 1}]}"#);
    assert_eq!(refused["writeErrors"][0]["code"]["$numberInt"], "11000", "{refused}");
    assert_eq!(server.databases(), [database.name()]);

    let (other, url) = (require!(mongodb::server), database.url());
    assert!(url.contains(&format!("/{}?", database.name())), "{url}");
    let name = database.name().to_owned();
    drop((server, database));
    assert!(other.other_database(&name).contents().is_empty());
}

#[test]
fn a_mongodb_server_refuses_the_wrong_password_and_shows_a_certificate_of_its_own_authority() {
    let (server, authority) = require!(mongodb::with_tls);
    let answers = |url: &str| {
        let output = server.client(&["read", "nothing"]).env("MONGODB_URL", url).output().unwrap();
        (output.status.success(), text(&output.stderr))
    };
    assert!(answers(server.url()).0);
    let wrong = answers(&server.url().replace(server.password().unwrap(), "wrong"));
    assert!(!wrong.0 && wrong.1.contains("Authentication failed"), "{}", wrong.1);
    let unknown =
        server.url().replace(&format!("&tlsCAFile={}", authority.display()), "&serverSelectionTimeoutMS=2000");
    let unknown = answers(&unknown);
    assert!(!unknown.0 && unknown.1.contains("CERTIFICATE_VERIFY_FAILED"), "{}", unknown.1);
}

const WRITER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: writer, namespace: {namespace}}
spec:
  hostNetwork: true
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: writer
    image: {image}
    imagePullPolicy: Never
    command: [psql, -X, -c, "CREATE TABLE written AS SELECT 7 AS n"]
    env:
    - {name: PGHOST, value: 127.0.0.1}
    - {name: PGPORT, value: "{port}"}
    - {name: PGUSER, value: postgres}
    - {name: PGPASSWORD, valueFrom: {secretKeyRef: {name: postgres, key: password}}}
    resources: {limits: {memory: 64Mi}}
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
"#;

#[test]
fn a_database_and_what_writes_into_it_really_run_on_the_node() {
    let (node, client) = (require!(node::node), require!(postgres::v15));
    let namespace = node.create_namespace("shop");
    let port = node::free_port();
    node.apply(&node.postgres(&namespace, "postgres", port, "a password"));
    node.wait_until_ready(&namespace, "statefulset/postgres");
    let writer = WRITER.replace("{namespace}", &namespace).replace("{image}", node.image());
    node.apply(&writer.replace("{port}", &port.to_string()));
    let phase = "--for=jsonpath={.status.phase}=Succeeded";
    node.kubectl(&["wait", "pod/writer", "-n", &namespace, phase, "--timeout=180s"]);
    assert_eq!(node.kubectl(&["logs", "writer", "-n", &namespace]).trim(), "SELECT 1");
    let forward = node.forward(&namespace, "service/postgres", port);
    let mut psql = client.program("psql");
    psql.args(["-XAt", "-h", "127.0.0.1", "-U", "postgres", "-p", &forward.port.to_string()]);
    let output = psql.args(["-c", "SELECT n FROM written"]).env("PGPASSWORD", "a password").output().unwrap();
    assert_eq!(text(&output.stdout), "7", "{}", text(&output.stderr));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
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
