//! Rows of tables read back, counted and hashed.
//!
//! The server sends a message for each row, and a session's driver hands on a few kilobytes of them at a time. Between
//! two threads that would be a wake-up for each of these, which takes longer than the rows: so a [`Reader`] is a thread
//! that has a session of its own, its driver, and the hashing.

use std::future::Future;

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{Error, Server, Session, rows::RowTotals},
    RestoreError, heartbeat, loading_session,
    rows::Rows,
};

/// The most rows that are taken at once, if so many have come.
const AT_ONCE: usize = 1024;
/// Rows are hashed when there are so many bytes of them, or [`AT_ONCE`].
const BATCH: usize = 128 << 10;
/// Bytes of which a monitor is told at once.
const TOLD: u64 = 1 << 20;
/// Words on the progress that may wait.
const WORDS: usize = 4;

/// Adds up what a `COPY … TO STDOUT` gives. `told` hears of bytes now and then, and ends it by `false`.
pub(super) async fn sum<F>(session: &Session, sql: &str, mut told: impl FnMut(u64) -> F) -> Result<RowTotals, Error>
where
    F: Future<Output = bool>,
{
    let failed = |error: tokio_postgres::Error| session.failed("read rows back", &error);
    let rows = session.client().copy_out(sql).await.map_err(failed)?;
    let mut rows = std::pin::pin!(rows.ready_chunks(AT_ONCE));
    let mut totals = RowTotals::default();
    let (mut batch, mut bytes, mut untold) = (Vec::new(), 0, 0);
    while let Some(come) = rows.next().await {
        for row in come {
            let row = row.map_err(failed)?;
            bytes += row.len();
            batch.push(row);
        }
        if bytes < BATCH && batch.len() < AT_ONCE {
            continue;
        }
        add(&mut totals, &mut batch);
        untold += bytes as u64;
        bytes = 0;
        if untold >= TOLD && !told(std::mem::take(&mut untold)).await {
            return Ok(totals);
        }
    }
    add(&mut totals, &mut batch);
    Ok(totals)
}

/// Each message is a row with its line end. If it were not, the digest would be another, and nothing swapped in.
fn add(totals: &mut RowTotals, batch: &mut Vec<Bytes>) {
    totals.add_rows(batch.iter().map(|row| row.strip_suffix(b"\n").unwrap_or(row)));
    batch.clear();
}

/// What a reader says of its work.
#[derive(Debug)]
enum Word {
    Bytes(u64),
    Done(Result<RowTotals, Error>),
}

#[derive(Debug)]
struct Request {
    sql: String,
    words: mpsc::Sender<Word>,
}

/// A thread that reads rows back by a session of its own. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Reader(mpsc::Sender<Request>);

impl Reader {
    /// Starts a thread, and connects.
    pub(super) async fn start(server: &Server, database: &str) -> Result<Self, RestoreError> {
        let (requests, asked) = mpsc::channel(1);
        let (ready, is_ready) = oneshot::channel();
        let (server, database) = (server.clone().read_apart(), database.to_owned());
        let local = |doing: &str| {
            let doing = doing.to_owned();
            move |source| Error::Local { doing, source }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(local("prepare a thread"))?;
        let work = move || runtime.block_on(serve(&server, &database, ready, asked));
        std::thread::Builder::new().name("drctl-compare".to_owned()).spawn(work).map_err(local("start a thread"))?;
        // It ends without a word only when the process does.
        is_ready.await.unwrap_or_else(|_| Err(RestoreError::Interrupted))?;
        Ok(Self(requests))
    }

    /// Reads rows back. Dropped, the reader is of no more use.
    pub(super) async fn totals(&self, rows: Rows<'_>, sql: String) -> Result<RowTotals, RestoreError> {
        let (words, mut said) = mpsc::channel(WORDS);
        if self.0.send(Request { sql, words }).await.is_err() {
            return Err(RestoreError::Interrupted);
        }
        while let Some(word) = rows.next(said.recv()).await? {
            match word {
                Word::Bytes(bytes) => rows.monitor.advance(bytes),
                Word::Done(totals) => return Ok(totals?),
            }
        }
        Err(RestoreError::Interrupted)
    }
}

/// What the thread does.
async fn serve(
    server: &Server,
    database: &str,
    ready: oneshot::Sender<Result<(), RestoreError>>,
    mut asked: mpsc::Receiver<Request>,
) {
    let session = match loading_session(server, database).await {
        Ok(session) => session,
        Err(error) => {
            let _told = ready.send(Err(error.into()));
            return;
        }
    };
    let _told = ready.send(Ok(()));
    loop {
        let request = tokio::select! {
            request = asked.recv() => request,
            () = heartbeat::keep(&session) => None,
        };
        let Some(Request { sql, words }) = request else { break };
        let summing = sum(&session, &sql, |bytes| {
            let words = words.clone();
            async move { words.send(Word::Bytes(bytes)).await.is_ok() }
        });
        let totals = tokio::select! {
            totals = summing => totals,
            // Nobody waits for it: the connection is dropped with what is still on its way.
            () = words.closed() => return,
        };
        let _told = words.send(Word::Done(totals)).await;
    }
    session.close().await;
}
