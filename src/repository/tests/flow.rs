//! Streams on their way to the store: how much is held, who waits for whom, and what shows that a run lives.

use super::*;
use crate::repository::{
    Error,
    backend::{ErrorKind, Fault, Faulty, Op, Rule},
};

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_flight_stay_within_the_budget_while_the_store_stands_still() {
    let bench = Bench::new().await;
    let faulty = Faulty::new(Arc::new(bench.store.clone()));
    faulty.on(Rule::new(Op::PutNew, Fault::Stall).under("data/").times(3));
    let options = BeginOptions { memory: 20 << 20, ..bench.options() };
    let writer = Arc::new(bench.open_on(faulty.clone()).await.begin(options).await.unwrap());
    let streams: Vec<_> =
        (0..8).map(|n| TestStream::new(&format!("s{n}"), MediaType::Blob, &[("0", &noise(n, 8_000_000))])).collect();
    let writing = {
        let (writer, streams) = (Arc::clone(&writer), streams.clone());
        tokio::spawn(async move { write(&writer, &streams).await })
    };
    until("a put that stands still", || faulty.stalled() >= 1).await;
    assert!(!writing.is_finished());
    faulty.heal();
    writing.await.unwrap().unwrap();
    let stored = committed(writer.commit(draft(&streams)).await.unwrap());
    let most = writer.stats().most_in_flight;
    // Random bytes make frames a few bytes longer than their chunks.
    assert!((10 << 20..(20 << 20) + 10_000).contains(&most), "{most} bytes were in flight");
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_that_one_task_writes_in_turns_do_not_wait_for_each_other() {
    let bench = Bench::new().await;
    let options = BeginOptions { memory: 1 << 20, ..bench.options() };
    let writer = bench.open().await.begin(options).await.unwrap();
    let streams: Vec<_> =
        (0..40).map(|n| TestStream::new(&format!("s{n}"), MediaType::Blob, &[("0", &noise(n, 300_000))])).collect();
    let mut sinks = Vec::new();
    for stream in &streams {
        let spec = StreamSpec { source: name("services"), name: stream.name.clone(), media_type: stream.media_type };
        let mut sink = writer.open(spec).await.unwrap();
        sink.begin_part("0").await.unwrap();
        sinks.push(sink);
    }
    for at in (0..300_000).step_by(50_000) {
        for (sink, stream) in sinks.iter_mut().zip(&streams) {
            sink.write(Bytes::copy_from_slice(&stream.parts[0].1[at..at + 50_000])).await.unwrap();
        }
    }
    for mut sink in sinks {
        sink.end_part(PartSummary::default()).await.unwrap();
        sink.finish().await.unwrap();
    }
    let stored = committed(writer.commit(draft(&streams)).await.unwrap());
    assert!(writer.stats().most_in_flight <= (1 << 20) + 10_000);
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_store_stops_the_streams_with_its_error() {
    let bench = Bench::new().await;
    let faulty = Faulty::new(Arc::new(bench.store.clone()));
    faulty.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::Full)).under("data/"));
    let options = BeginOptions { memory: 10 << 20, ..bench.options() };
    let writer = bench.open_on(faulty).await.begin(options).await.unwrap();
    let streams = [TestStream::new("x", MediaType::Blob, &[("a", &noise(1, 40_000_000))])];
    let error = write(&writer, &streams).await.unwrap_err();
    let mut chain: Option<&dyn std::error::Error> = Some(&error);
    let mut texts = Vec::new();
    while let Some(error) = chain {
        texts.push(error.to_string());
        chain = error.source();
    }
    assert_eq!(texts[..2], ["cannot store stream `x`", "the backup can no longer be written"]);
    assert!(texts[2].starts_with("cannot write `data/"), "{texts:?}");
    assert!(matches!(writer.commit(draft(&streams)).await, Err(Error::Stopped(_))));
    assert_eq!(bench.keys("backups/"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_news_still_shows_that_it_lives() {
    let bench = Bench::new().await;
    let every = std::time::Duration::from_millis(20);
    let writer = bench.open().await.begin(BeginOptions { checkpoint_every: every, ..bench.options() }).await.unwrap();
    let beats = || bench.keys(&format!("meta/{}/index-", writer.backup())).len();
    until("three heartbeats", || beats() >= 3).await;
    write(&writer, &small(1)).await.unwrap();
    let stored = committed(writer.commit(draft(&small(1))).await.unwrap());
    assert_eq!(contents(&bench.open().await, &stored).await, by_name(&small(1)));
}
