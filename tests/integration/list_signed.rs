//! How long `drctl list` takes of 1,000 signed backups in S3: `testbed/bed run --fresh s3 -- cargo test --release --test
//! integration -- --ignored --nocapture list_signed` prints it.

use std::{sync::Arc, time::Instant};

use aws_sdk_s3::primitives::ByteStream;
use drctl::{
    repository::{
        self, BeginOptions, CommitOutcome, Level, Repository, Scope, VerifyOptions,
        backend::{Backend, Key, Memory, S3},
        crypt::{Access, SigningKey},
    },
    types::{BackupId, Name, SetClock, Silent, State},
};
use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use crate::{
    backends::options,
    format::{FIRST, draft},
    support::{
        bed::{self, Bucket, require},
        program::{Ended, drctl},
    },
};

const BACKUPS: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement; it asserts nothing of time"]
async fn a_thousand_signed_backups_are_listed() {
    let bucket = require!(bed::bucket);
    let key = SigningKey::generate("bench").unwrap();
    let clock = Arc::new(SetClock::new("2024-01-01T00:00:00Z".parse().unwrap()));
    let store = Memory::new(clock.clone());
    let repository = made(&store, &clock, &key).await;
    let manifests = store.keys().into_iter().filter(|key| key.as_str().starts_with("backups/")).count();
    assert_eq!(manifests, 2 * BACKUPS, "each has its signature");
    upload(&store, &bucket, |key| key == "repository.json" || key.starts_with("backups/")).await;
    // Evidence is of one place: it is noted where it is listed.
    let there = S3::open(&bucket.name, "prod", &options(&bucket)).await.unwrap();
    let access = Access { signing_key: Some(key.clone()), signers: vec![key.signer()], ..Access::default() };
    let there = Repository::open(Arc::new(there)).await.unwrap().with_access(access);
    time(&bucket, Some(&key), "signed, no evidence");
    time(&bucket, None, "no signer named");

    let (wanted, cancel) = (VerifyOptions::new(Level::Presence), CancellationToken::new());
    let report = repository::verify_all(&repository, &Scope::All, &wanted, &Silent, &cancel).await.unwrap();
    there.note_verified(&report, &wanted, jiff::Timestamp::now()).await.unwrap();
    time(&bucket, Some(&key), "signed, each with signed evidence");
}

async fn made(store: &Memory, clock: &Arc<SetClock>, key: &SigningKey) -> Repository {
    let made = Repository::init(Arc::new(store.clone()), &**clock).await.unwrap();
    let access = Access { signing_key: Some(key.clone()), signers: vec![key.signer()], ..Access::default() };
    let repository = made.with_access(access);
    for day in 0..BACKUPS {
        let time = "2024-01-01T02:00:00Z".parse::<jiff::Timestamp>().unwrap();
        let time = time + jiff::SignedDuration::from_hours(24 * i64::try_from(day).unwrap());
        clock.set(time);
        let backup = BackupId::parse(&format!("{}-aaaaaa", time.strftime("%Y%m%dT%H%M%SZ"))).unwrap();
        let name = |text: &str| Name::new(text).unwrap();
        let options = BeginOptions::new(name("orders"), name("daily"), vec![name("services")], clock.clone());
        let writer = repository.begin(BeginOptions { backup, ..options }).await.unwrap();
        let committed = writer.commit(draft(FIRST, State::Complete)).await.unwrap();
        assert!(matches!(committed, CommitOutcome::Committed(_)));
    }
    repository
}

async fn upload(store: &Memory, bucket: &Bucket, which: impl Fn(&str) -> bool) {
    let client = bucket.client();
    let keys: Vec<Key> = store.keys().into_iter().filter(|key| which(key.as_str())).collect();
    let puts = stream::iter(keys).map(|key| {
        let (client, store) = (client.clone(), store.clone());
        async move {
            let bytes = store.get(&key, u64::MAX).await.unwrap();
            let put = client.put_object().bucket(&bucket.name).key(format!("prod/{key}"));
            put.body(ByteStream::from(bytes)).send().await.unwrap();
        }
    });
    puts.buffer_unordered(32).collect::<Vec<()>>().await;
}

fn time(bucket: &Bucket, signer: Option<&SigningKey>, what: &str) {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let mut command = drctl(&["list", "-o", "json", "--repository", &format!("s3://{}/prod", bucket.name)]);
        if let Some(key) = signer {
            command.args(["--signer", &key.signer().to_string()]);
        }
        command.env("AWS_ACCESS_KEY_ID", &bucket.access_key).env("AWS_SECRET_ACCESS_KEY", &bucket.secret_key);
        command.env("AWS_REGION", &bucket.region).env("AWS_ENDPOINT_URL", &bucket.endpoint);
        let began = Instant::now();
        let ended: Ended = command.output().unwrap().into();
        best = best.min(began.elapsed().as_secs_f64());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let list: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(list["backups"].as_array().unwrap().len(), BACKUPS);
    }
    eprintln!("list of {BACKUPS} backups, {what}: {best:.2} s (best of 5)");
}
