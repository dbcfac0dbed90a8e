//! Marks that are made, taken away and made again in a bucket with versions, of a server that takes a deletion marker for an object;
//! and the same in a bucket without versions.

use aws_sdk_s3::Client;

use crate::support::bed::{self, Bucket, require};
use crate::support::workshop::Workshop;

/// The keys of all current objects under `prod/` and this.
async fn keys(client: &Client, bucket: &Bucket, prefix: &str) -> Vec<String> {
    let page = client.list_objects_v2().bucket(&bucket.name).prefix(format!("prod/{prefix}")).send().await.unwrap();
    page.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
}

async fn marks_can_be_made_again(source: &bed::Cluster, bucket: &Bucket, is_spent: bool) {
    let shop = source.create_namespace(if is_spent { "versions" } else { "plain" });
    let (workshop, client) = (Workshop::on_s3(source, bucket, &bucket.endpoint, &[&shop]), bucket.client());
    workshop.done(&["backup"]);
    workshop.done(&["backup"]);
    let first = workshop.backups()[0].clone();
    let tombstoned = || {
        let list = workshop.json(0, &["list"]);
        list["backups"].as_array().unwrap().iter().filter(|one| one["tombstoned"] == true).count()
    };
    for time in 1..=3 {
        let name = |folder: &str| match time {
            n @ 2.. if is_spent => format!("prod/{folder}/shop/{first}.{n}.json"),
            _ => format!("prod/{folder}/shop/{first}.json"),
        };
        let pinned = workshop.json(0, &["pin", &first]);
        assert_eq!(pinned["already"], false, "{pinned:#}");
        assert_eq!(keys(&client, bucket, "pins/").await, [name("pins")]);
        assert_eq!(workshop.json(0, &["pin", &first])["already"], true);
        workshop.ends(2, &["delete", &first, "--yes"]);
        workshop.done(&["unpin", &first]);

        let deleted = workshop.json(0, &["delete", &first, "--yes"]);
        assert_eq!(deleted["already"], false, "{deleted:#}");
        assert_eq!(keys(&client, bucket, "tombstones/").await, [name("tombstones")]);
        assert_eq!((tombstoned(), workshop.json(0, &["delete", &first, "--yes"])["already"].clone()), (1, true.into()));
        workshop.done(&["prune", "--yes"]);
        workshop.done(&["prune", "--undo", &first]);
        assert_eq!(tombstoned(), 0);
        workshop.done(&["prune", "--yes"]);
    }
    // Who may delete is told what the store does with names, as often as he asks; and is told nothing where it gives them again.
    for _ in 0..2 {
        let report = workshop.json(0, &["doctor"]);
        let findings = report["findings"].as_array().unwrap();
        let told = findings
            .iter()
            .filter(|one| one["what"].as_str().unwrap().contains("takes a deletion marker for an object"));
        let told: Vec<_> = told.map(|one| (one["severity"].as_str().unwrap(), one["next"].is_string())).collect();
        assert_eq!(told, if is_spent { vec![("note", true)] } else { vec![] }, "{report:#}");
        assert_eq!(keys(&client, bucket, "pins/").await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_can_be_made_again_where_a_deletion_marker_is_taken_for_an_object() {
    let source = require!(bed::source);
    let bucket = require!(bed::locked_bucket);
    require!(program "versitygw");
    marks_can_be_made_again(&source, &bucket, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_can_be_made_again_in_a_bucket_without_versions() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    marks_can_be_made_again(&source, &bucket, false).await;
}
