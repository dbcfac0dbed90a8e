//! Large chunks, as tables have them: many streams at once, on many threads, in a process of their own.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use drctl::{
    repository::{
        BeginOptions, CommitOutcome, Level, ManifestDraft, Repository, Scope, VerifyOptions, backend::Directory,
        verify_all,
    },
    types::{
        BackupContents, CaptureSink, MediaType, Name, PartSummary, Silent, State, StreamInfo, StreamSpec, SystemClock,
    },
};
use futures::TryStreamExt;
use tokio_util::sync::CancellationToken;

use super::LIMIT;

/// Streams at once, as several sources with several connections each would write them.
const STREAMS: u64 = 16;
/// Plain bytes of each.
const STREAM: u64 = 64 << 20;
/// Threads of the runtime: those of a larger machine than the tests run on.
const THREADS: usize = 16;
const PIECE: usize = 64 << 10;
/// Names what a child process does, and the folder in which it does it.
const ACT: &str = "DRCTL_TEST_MEMORY_ACT";
const FOLDER: &str = "DRCTL_TEST_MEMORY_FOLDER";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn a_gibibyte_of_tables_is_written_verified_and_read_within_the_memory_limit() {
    if let Ok(act) = std::env::var(ACT) {
        let folder = std::env::var(FOLDER).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
        runtime.block_on(work(&act, Path::new(&folder)));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for act in ["write", "verify", "read"] {
        let began = Instant::now();
        let peak = peak_of(act, folder.path());
        let speed = ((STREAMS * STREAM) >> 20) as f64 / began.elapsed().as_secs_f64();
        eprintln!("{act}: peak RSS {:.1} MiB, {speed:.0} MiB/s", peak as f64 / f64::from(1 << 20));
        assert!(peak <= LIMIT, "{act}: {peak} bytes");
    }
}

/// Does `act` in a process of its own, and returns the peak of its resident memory.
fn peak_of(act: &str, folder: &Path) -> u64 {
    let this = "memory::tables::a_gibibyte_of_tables_is_written_verified_and_read_within_the_memory_limit";
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env(ACT, act)
        .env(FOLDER, folder)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let peak = said.lines().find_map(|line| line.strip_prefix("peak "));
    peak.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
}

#[expect(clippy::print_stdout, reason = "the test that started this one reads it")]
async fn work(act: &str, folder: &Path) {
    match act {
        "write" => write(folder).await,
        "verify" => verify(folder).await,
        "read" => read(folder).await,
        other => panic!("{other}"),
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = mark.trim().trim_end_matches(" kB").parse().unwrap();
    println!("\npeak {}", kib * 1024);
}

async fn write(folder: &Path) {
    let store = Arc::new(Directory::open(folder).await.unwrap());
    let repository = Repository::init(store, &SystemClock).await.unwrap();
    let options =
        BeginOptions { workers: 4, ..BeginOptions::new(name("p"), name("s"), vec![name("db")], Arc::new(SystemClock)) };
    let writer = Arc::new(repository.begin(options).await.unwrap());
    let tasks = (0..STREAMS).map(|n| tokio::spawn(write_stream(Arc::clone(&writer), n)));
    futures::future::try_join_all(tasks).await.unwrap();
    let outcome = writer.commit(ManifestDraft::new(State::Complete)).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
}

async fn write_stream(sink: Arc<impl CaptureSink>, number: u64) {
    let spec = StreamSpec { source: name("db"), name: format!("public.t{number}"), media_type: MediaType::Table };
    let mut stream = sink.open(spec).await.unwrap();
    stream.begin_part("0").await.unwrap();
    let mut rows = Rows::new(number);
    let mut count = 0;
    let mut left = STREAM;
    while left > 0 {
        let piece = rows.piece();
        left = left.saturating_sub(piece.len() as u64);
        count += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        stream.write(piece).await.unwrap();
    }
    stream.end_part(PartSummary { count, digest: None }).await.unwrap();
    stream.finish().await.unwrap();
}

async fn verify(folder: &Path) {
    let repository = Repository::open(Arc::new(Directory::open(folder).await.unwrap())).await.unwrap();
    let options = VerifyOptions { memory: 64 << 20, ..VerifyOptions::new(Level::Content) };
    let report = verify_all(&repository, &Scope::All, &options, &Silent, &CancellationToken::new()).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    assert!(report.plain_bytes >= STREAMS * STREAM);
}

/// Reads all streams at once, as a restore into several tables does.
async fn read(folder: &Path) {
    let repository = Repository::open(Arc::new(Directory::open(folder).await.unwrap())).await.unwrap();
    let stored = repository.newest(&Scope::All).await.unwrap().unwrap();
    let reader = repository.read(&stored.manifest).await.unwrap();
    let tasks = reader.streams().iter().cloned().map(|stream: StreamInfo| {
        let reader = reader.clone();
        tokio::spawn(async move {
            let mut pieces = reader.read_part(&stream, 0).await.unwrap();
            let mut length = 0;
            while let Some(piece) = pieces.try_next().await.unwrap() {
                length += piece.len() as u64;
            }
            length
        })
    });
    let lengths = futures::future::try_join_all(tasks).await.unwrap();
    assert!(lengths.iter().sum::<u64>() >= STREAMS * STREAM);
}

/// Rows that compress about as well as text in a database does, and never repeat.
struct Rows {
    table: u64,
    row: u64,
    words: Vec<u8>,
}

impl Rows {
    fn new(table: u64) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ table;
        let words = std::iter::repeat_with(|| {
            // xorshift64*
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            b"etaoinshrdlucmfw"[(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 60) as usize]
        });
        Self { table, row: 0, words: words.take(1 << 18).collect() }
    }

    fn piece(&mut self) -> Bytes {
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE - 600 {
            self.row += 1;
            piece.extend_from_slice(format!("{}\t{}\t", self.table, self.row).as_bytes());
            let at = (self.row.wrapping_mul(7919) as usize) % (self.words.len() - 512);
            piece.extend_from_slice(&self.words[at..at + 400]);
            piece.push(b'\n');
        }
        piece.into()
    }
}
