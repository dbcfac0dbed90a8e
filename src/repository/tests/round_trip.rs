//! What was written is what is read, and what was there is not written again.

use proptest::prelude::*;

use super::*;
use tokio_util::sync::CancellationToken;

use crate::{
    repository::{
        Level, Scope, VerifyOptions,
        backend::{Op, Recording},
        verify_all,
    },
    types::Silent,
};

fn sample() -> Vec<TestStream> {
    vec![
        TestStream::new(
            "configmaps",
            MediaType::KubernetesObjects,
            &[("a", &noise(1, 300_000)), ("b", b""), ("c", b"x\n")],
        ),
        TestStream::new("public.orders", MediaType::Table, &[("0", &noise(2, 6_000_000)), ("1", &noise(3, 1_000_000))]),
        TestStream::new("empty", MediaType::Text, &[]),
        TestStream::new("media", MediaType::Blob, &[("logo.png", &noise(4, 9_000_000))]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_reads_back_byte_for_byte() {
    let bench = Bench::new().await;
    let stored = bench.backup(&sample()).await;
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&sample()));
    let totals = stored.manifest.totals;
    assert_eq!((totals.streams, totals.parts, totals.plain_bytes), (4, 6, 16_300_002));
    assert_eq!(totals.reused_bytes, 0);
    assert_eq!(totals.new_packs, bench.keys("data/").len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_second_backup_stores_no_data() {
    let bench = Bench::new().await;
    let first = bench.backup(&sample()).await;
    let packs = bench.keys("data/");
    let second = bench.backup(&sample()).await;
    assert_eq!(bench.keys("data/"), packs);
    let totals = second.manifest.totals;
    assert_eq!((totals.new_bytes, totals.new_chunks, totals.reused_bytes), (0, 0, totals.plain_bytes));
    assert_eq!(second.manifest.parents, std::slice::from_ref(&first.manifest.backup));
    assert_eq!(second.manifest.previous.as_ref().unwrap().sha256, first.sha256);
    assert_eq!(second.manifest.full_since, first.manifest.started);
    assert_eq!(contents(&bench.open().await, &second).await, by_name(&sample()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_begins_again_leaves_nothing_of_its_first_streams() {
    let bench = Bench::new().await;
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    // Noise has no lines, so that only blobs of it are as they should be.
    let blobs = |parts: usize| {
        let names = ["a", "b", "c"].iter().take(parts).map(|name| (*name).to_owned());
        let parts = names.zip([noise(1, 300_000), noise(2, 9_000_000), noise(3, 10)]).collect();
        vec![TestStream { name: "media".to_owned(), media_type: MediaType::Blob, parts }]
    };
    write(&writer, &blobs(3)).await.unwrap();
    writer.abandon(&name("services")).await;
    let again = blobs(2);
    write(&writer, &again).await.unwrap();
    writer.abandon(&name("another")).await;
    let stored = committed(writer.commit(draft(&again)).await.unwrap());
    let repository = bench.open().await;
    assert_eq!(contents(&repository, &stored).await, by_name(&again));
    let options = VerifyOptions::new(Level::Content);
    let report = verify_all(&repository, &Scope::All, &options, &Silent, &CancellationToken::new()).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_part_stores_little() {
    let bench = Bench::new().await;
    bench.backup(&sample()).await;
    let mut changed = sample();
    changed[1].parts[0].1[3_000_000] ^= 1;
    changed[0].parts.insert(1, ("aa".to_owned(), b"new\n".to_vec()));
    let second = bench.backup(&changed).await;
    assert!(second.manifest.totals.new_bytes < 5_000_000, "{:?}", second.manifest.totals);
    assert_eq!(contents(&bench.open().await, &second).await, by_name(&changed));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_chunks_of_one_backup_are_stored_once() {
    let bench = Bench::new().await;
    let same = noise(1, 2_000_000);
    let parts: Vec<_> = (0..10).map(|n| (n.to_string(), same.clone())).collect();
    let stream = |name: &str| TestStream { name: name.to_owned(), media_type: MediaType::Table, parts: parts.clone() };
    let streams = [stream("a"), stream("b"), stream("c")];
    let stored = bench.backup(&streams).await;
    let totals = stored.manifest.totals;
    assert!(totals.new_bytes < 2_100_000 && totals.plain_bytes == 60_000_000, "{totals:?}");
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_many_small_parts_share_is_fetched_once() {
    let bench = Bench::new().await;
    let parts: Vec<_> = (0..500_u64).map(|n| (n.to_string(), noise(n, 400))).collect();
    let streams = [TestStream { name: "configmaps".to_owned(), media_type: MediaType::KubernetesObjects, parts }];
    let stored = bench.backup(&streams).await;
    let recording = Recording::new(Arc::new(bench.store.clone()));
    let repository = bench.open_on(recording.clone()).await;
    assert_eq!(contents(&repository, &stored).await, by_name(&streams));
    let ranges = recording.calls().into_iter().filter(|call| call.op == Op::GetRange).count() as u64;
    assert!(ranges <= 2 * stored.manifest.totals.chunks, "{ranges} requests for {:?}", stored.manifest.totals);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_begins_again_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    let spec = || StreamSpec { source: name("services"), name: "pods".to_owned(), media_type: MediaType::Text };
    let mut given_up = writer.open(spec()).await.unwrap();
    given_up.begin_part("a").await.unwrap();
    given_up.write(Bytes::from(noise(1, 1_000_000))).await.unwrap();
    drop(given_up);
    let streams = [TestStream::new("pods", MediaType::Text, &[("a", b"hello")])];
    write(&writer, &streams).await.unwrap();
    let stored = committed(writer.commit(draft(&streams)).await.unwrap());
    assert_eq!(stored.manifest.totals.plain_bytes, 5);
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_used_in_the_wrong_order_says_so() {
    let bench = Bench::new().await;
    let writer = bench.open().await.begin(bench.options()).await.unwrap();
    let spec = || StreamSpec { source: name("services"), name: "pods".to_owned(), media_type: MediaType::Text };
    let said = |error: SinkError| error.source.to_string();
    let mut sink = writer.open(spec()).await.unwrap();
    let outside = sink.write(Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(said(outside), "stream `pods`: bytes come outside a part");
    assert_eq!(
        said(sink.end_part(PartSummary::default()).await.unwrap_err()),
        "stream `pods`: a part ends that has not begun"
    );
    sink.begin_part("a").await.unwrap();
    assert_eq!(said(sink.begin_part("b").await.unwrap_err()), "stream `pods`: a part begins before the last has ended");
    assert_eq!(said(sink.finish().await.unwrap_err()), "stream `pods`: the stream ends before its last part has");
    writer.open(spec()).await.unwrap().finish().await.unwrap();
    let twice = writer.open(spec()).await.unwrap().finish().await.unwrap_err();
    assert_eq!(said(twice), "stream `pods`: it was written twice; a stream's name is unique in its source");
    let long = StreamSpec { name: "x".repeat(1025), ..spec() };
    assert!(
        said(writer.open(long).await.err().unwrap())
            .ends_with("is over the limit of the repository format: 1024 bytes")
    );
}

fn any_stream() -> impl Strategy<Value = (MediaType, Vec<(u64, usize)>)> {
    let media_type = prop_oneof![
        Just(MediaType::KubernetesObjects),
        Just(MediaType::Text),
        Just(MediaType::Table),
        Just(MediaType::Collection),
        Just(MediaType::Blob),
    ];
    // Few seeds, so that parts repeat; lengths around the cut sizes.
    let length = prop_oneof![Just(0_usize), 1..2_000_usize, 15_000..20_000_usize, 200_000..600_000_usize];
    (media_type, proptest::collection::vec((0_u64..4, length), 0..5))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_streams_and_parts_read_back(
        streams in proptest::collection::vec(any_stream(), 0..6),
        budget in prop_oneof![Just(48_u64 << 20), Just(1 << 20), Just(64 << 10)],
    ) {
        let streams: Vec<_> = streams.into_iter().enumerate().map(|(n, (media_type, parts))| TestStream {
            name: format!("stream-{n}"),
            media_type,
            parts: parts.into_iter().map(|(seed, length)| (format!("{seed}/{length}"), noise(seed, length))).collect(),
        }).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            let options = BeginOptions { memory: budget, ..bench.options() };
            let writer = bench.open().await.begin(options).await.unwrap();
            write(&writer, &streams).await.unwrap();
            let stored = committed(writer.commit(draft(&streams)).await.unwrap());
            assert_eq!(contents(&bench.open().await, &stored).await, by_name(&streams));
        });
    }
}
