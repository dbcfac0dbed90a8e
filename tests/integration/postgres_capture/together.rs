//! Namespaces and databases in one policy, and a policy without any cluster.

use std::fs;

use super::*;
use crate::support::bed;
use crate::support::program::Ended;

/// A policy of a namespace and a database, with a schedule for both and one for the database alone.
fn both(cluster: &bed::Cluster, namespace: &str, url: &str) -> Workshop {
    let mut workshop = Workshop::new(cluster, &[namespace]);
    workshop.set("TEST_URL_DB", url);
    let policy = fs::read_to_string(workshop.policy()).unwrap();
    let policy = policy.replace("schedules:\n", "  db: {postgres: {url: {env: TEST_URL_DB}}}\nschedules:\n");
    let policy = policy
        .replace("sources: [services]}", "sources: [services, db]}\n  rows: {cron: \"0 * * * *\", sources: [db]}");
    fs::write(workshop.policy(), policy).unwrap();
    workshop.done(&["policy", "check"]);
    workshop
}

#[test]
fn namespaces_and_databases_are_in_one_backup() {
    let (cluster, server) = (require!(bed::source), require!(postgres::v15));
    let namespace = cluster.create_namespace("shop");
    let database = server.create_database("shop");
    database.sql("CREATE TABLE t AS SELECT generate_series(1, 10) AS n");
    let workshop = both(&cluster, &namespace, &database.url(Role::Reader));
    let report = workshop.json(0, &["backup", "daily"]);
    let sources = report["backup"]["sources"].as_array().unwrap();
    let mut kinds: Vec<&str> = sources.iter().map(|source| source["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["kubernetes", "postgres"]);
    assert!(report["backup"]["cluster"]["uid"].is_string());
    assert!(report["backup"]["skewMs"].is_null(), "lists have no moment");
    workshop.done(&["verify", "latest:daily", "--level", "content"]);
}

#[test]
fn a_database_without_its_cluster_is_backed_up_and_what_is_missing_is_named() {
    let (cluster, server) = (require!(bed::source), require!(postgres::v15));
    let namespace = cluster.create_namespace("shop");
    let database = server.create_database("shop");
    database.sql("CREATE TABLE t AS SELECT generate_series(1, 10) AS n");
    let mut workshop = both(&cluster, &namespace, &database.url(Role::Reader));
    workshop.use_kubeconfig(std::path::Path::new("/there/is/no/cluster"));
    let report = workshop.json(3, &["backup", "daily"]);
    assert_eq!(report["backup"]["missing"][0]["what"], "source services");
    assert_eq!(report["backup"]["sources"][0]["name"], "db");
    let alone = workshop.json(0, &["backup", "rows"]);
    assert!(alone["backup"]["cluster"].is_null());
}

#[test]
fn backups_without_a_cluster_do_not_make_another_cluster_the_right_one() {
    let (cluster, other, server) = (require!(bed::source), require!(bed::target), require!(postgres::v15));
    let namespace = cluster.create_namespace("shop");
    let database = server.create_database("shop");
    database.sql("CREATE TABLE t AS SELECT generate_series(1, 10) AS n");
    let mut workshop = both(&cluster, &namespace, &database.url(Role::Reader));
    workshop.done(&["backup", "daily"]);
    workshop.done(&["backup", "rows"]);
    workshop.use_kubeconfig(other.kubeconfig());
    let ended: Ended = workshop.ends(5, &["backup", "daily"]);
    assert!(ended.stderr.contains("this is not the cluster of the policy's newest backup"), "{}", ended.stderr);
    workshop.done(&["backup", "rows"]);
}
