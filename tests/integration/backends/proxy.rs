//! Stores behind a proxy, which the environment names: the program itself, since each process has one environment.

use std::path::Path;

use super::s3;
use crate::support::azure;
use crate::support::bed::{self, require};
use crate::support::program::{Ended, drctl};
use crate::support::proxy::{Mood, Proxy};
use crate::support::workshop::s3_repository;

/// A policy on a store, and what `repository` commands on it need of the environment.
struct Place {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
    /// Over https, so through a tunnel.
    tls: bool,
}

impl Place {
    fn new(repository: &str, tls: bool, variables: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{repository}\nsources:\n  \
             services: {{kubernetes: {{namespaces: [shop]}}}}\nschedules:\n  daily: {{cron: \"0 2 * * *\", sources: [services]}}\n"
        );
        std::fs::write(folder.path().join("policy.yaml"), text).unwrap();
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { folder, variables, tls }
    }

    fn run(&self, command: &str, proxy: &str, direct: &str) -> Ended {
        let mut run = drctl(&["repository", command]);
        for name in
            ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "all_proxy", "no_proxy"]
        {
            run.env_remove(name);
        }
        run.env("DRCTL_FILE", self.folder.path().join("policy.yaml"));
        run.envs(self.variables.iter().map(|(name, value)| (name, value)));
        run.env(if self.tls { "HTTPS_PROXY" } else { "HTTP_PROXY" }, proxy).env("NO_PROXY", direct);
        run.output().unwrap().into()
    }
}

/// The same for every store: what the proxy sees, and how it fails.
fn behaves_behind_a_proxy(store: &str, place: &Place) {
    let proxy = Proxy::new(Mood::Forward);
    let made = place.run("init", &proxy.address, "");
    assert_eq!(made.code, 0, "{store}: {}", made.stderr);
    let lines = proxy.lines();
    let through = if place.tls { "CONNECT 127.0.0.1:" } else { "PUT http://127.0.0.1:" };
    assert!(lines.iter().any(|line| line.starts_with(through)), "{store}: {lines:?}");

    // The twin: without the proxy, which the same variables name.
    let proxy = Proxy::new(Mood::Refuse);
    let direct = place.run("info", &format!("http://{}", proxy.address), "127.0.0.1");
    assert_eq!((direct.code, proxy.lines().len()), (0, 0), "{store}: {}", direct.stderr);

    let asking = Proxy::new(Mood::Ask);
    let known = place.run("info", &format!("http://user:password@{}", asking.address), "");
    assert_eq!(known.code, 0, "{store}: {}", known.stderr);
    assert!(!asking.lines().is_empty());
    let unknown = place.run("info", &asking.address, "");
    assert_eq!(unknown.code, 5, "{store}: {}", unknown.stderr);
    assert!(unknown.stderr.contains("the proxy wants credentials: say them"), "{store}: {}", unknown.stderr);

    let refused = place.run("info", &proxy.address, "");
    assert_eq!(refused.code, 5, "{store}: {}", refused.stderr);
    let words =
        if place.tls { "the proxy refused the connection, or cannot reach the store" } else { "do not allow it" };
    assert!(refused.stderr.contains(words), "{store}: {}", refused.stderr);

    let dead = place.run("info", "http://user:hunter2@127.0.0.1:9", "");
    assert_eq!(dead.code, 5, "{store}: {}", dead.stderr);
    let words =
        if place.tls { "the proxy cannot be reached: correct its address" } else { "the connection was refused" };
    assert!(dead.stderr.contains(words) && !dead.stderr.contains("hunter2"), "{store}: {}", dead.stderr);
    let wrong = place.run("info", "ftp://hunter2", "");
    assert_eq!(wrong.code, 5, "{store}: {}", wrong.stderr);
    assert!(
        wrong.stderr.contains("is not the address of a proxy") && !wrong.stderr.contains("hunter2"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn s3_behind_a_proxy() {
    let bucket = require!(bed::bucket);
    let variables = [("TEST_ACCESS_KEY", bucket.access_key.as_str()), ("TEST_SECRET_KEY", bucket.secret_key.as_str())];
    behaves_behind_a_proxy("s3", &Place::new(&s3_repository(&bucket, &bucket.endpoint), false, &variables));
}

#[test]
fn s3_over_tls_behind_a_proxy() {
    require!(program "versitygw");
    require!(program "openssl");
    let folder = tempfile::tempdir().unwrap();
    let (_server, port) = s3::tls_server(folder.path());
    let repository = format!(
        "repository:\n  url: s3://bucket/prod\n  encryption: none\n  s3:\n    region: us-east-1\n    endpoint: https://127.0.0.1:{port}\n    \
         pathStyle: true\n    caFile: {}\n    accessKeyId: {{env: TEST_ACCESS_KEY}}\n    secretAccessKey: {{env: TEST_SECRET_KEY}}",
        authority(folder.path())
    );
    let place = Place::new(&repository, true, &[("TEST_ACCESS_KEY", "root"), ("TEST_SECRET_KEY", super::SECRET)]);
    behaves_behind_a_proxy("s3 over tls", &place);
}

fn authority(folder: &Path) -> String {
    folder.join("ca.pem").display().to_string()
}

#[test]
fn azure_behind_a_proxy() {
    let container = require!(azure::container);
    let place = Place::new(&container.repository("prod"), false, &[("TEST_ACCOUNT_KEY", &container.key)]);
    behaves_behind_a_proxy("azure", &place);
}

#[test]
fn azure_over_tls_behind_a_proxy() {
    let container = require!(azure::entra_container);
    let place = Place::new(&container.repository("prod"), true, &[("TEST_ACCOUNT_KEY", &container.key)]);
    behaves_behind_a_proxy("azure over tls", &place);
}
