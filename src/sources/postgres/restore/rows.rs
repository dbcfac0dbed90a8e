//! Rows into tables, and back for the comparison.

use futures::{SinkExt, StreamExt, TryStreamExt};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Session, rows::RowTotals},
    RestoreError,
    blocks::Blocks,
    copy::{Emptied, Load},
    report::Difference,
};
use crate::types::{BackupContents, Monitor};

/// What loading and comparing a table needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) contents: &'a dyn BackupContents,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) cancel: &'a CancellationToken,
    /// The encoding of the rows.
    pub(super) encoding: &'a str,
}

impl Rows<'_> {
    /// Loads one table in one transaction. It is committed only when every part was read to its end and
    /// proven, and the server took as many rows as the backup has.
    pub(super) async fn load(self, session: &Session, load: &Load) -> Result<(), RestoreError> {
        session.run("begin a transaction", "BEGIN").await?;
        let loaded = self.load_inside(session, load).await;
        let ended = match &loaded {
            Ok(()) => session.run("commit the rows", "COMMIT").await,
            Err(_) => session.run("roll back", "ROLLBACK").await,
        };
        let loaded = loaded.and(ended.map_err(RestoreError::from));
        loaded.map_err(|error| match error {
            RestoreError::Interrupted => error,
            source => RestoreError::Rows { table: load.shown.clone(), source: Box::new(source) },
        })
    }

    /// The same inside a transaction of the caller's.
    pub(super) async fn load_inside(self, session: &Session, load: &Load) -> Result<(), RestoreError> {
        if let Some(sql) = load.prepare() {
            session.run("empty the table", &sql).await?;
        }
        if load.emptied == Emptied::MustBe {
            let table = &load.table;
            session.run("lock the table", &format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")).await?;
            let sql = format!("SELECT EXISTS (SELECT FROM {}{table})", if load.through_root { "" } else { "ONLY " });
            if session.row("look for rows", &sql, &[]).await?.get(0) {
                return Err(RestoreError::NotEmpty);
            }
        }
        let failed = |error: tokio_postgres::Error| RestoreError::from(session.failed("copy rows", &error));
        let sink = session.client().copy_in(&load.copy_in(self.encoding)).await.map_err(failed)?;
        let mut sink = std::pin::pin!(sink);
        for stream in load.streams.iter().filter_map(|place| self.contents.streams().get(*place)) {
            for part in 0..stream.parts.len() {
                let mut pieces = self.contents.read_part(stream, part).await?;
                while let Some(piece) = self.next(pieces.try_next()).await?? {
                    let length = piece.len() as u64;
                    sink.send(piece).await.map_err(failed)?;
                    self.monitor.advance(length);
                }
            }
        }
        // A sink that is dropped before this ends the COPY with an error.
        let found = sink.finish().await.map_err(failed)?;
        let expected = load.expected.rows;
        if found == expected { Ok(()) } else { Err(RestoreError::Count { expected, found }) }
    }

    pub(super) async fn next<T>(self, piece: impl Future<Output = T>) -> Result<T, RestoreError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(RestoreError::Interrupted),
            piece = piece => Ok(piece),
        }
    }

    /// Reads a table back and holds its rows against the backup's.
    pub(super) async fn compare(self, session: &Session, load: &Load) -> Result<Option<Difference>, RestoreError> {
        Ok(difference(load, &self.read_back(session, load, Blocks::default()).await?))
    }

    /// Reads some of a table back.
    pub(super) async fn read_back(
        self,
        session: &Session,
        load: &Load,
        blocks: Blocks,
    ) -> Result<RowTotals, RestoreError> {
        let failed = |error: tokio_postgres::Error| RestoreError::from(session.failed("read rows back", &error));
        let rows = session.client().copy_out(&load.copy_out(self.encoding, blocks)).await.map_err(failed)?;
        // The server sends a message for each row: waiting for each by itself would cost more than the row.
        let mut rows = std::pin::pin!(rows.ready_chunks(AT_ONCE));
        let mut adder = Adder::default();
        while let Some(rows) = self.next(rows.next()).await? {
            for row in rows {
                if let Some(bytes) = adder.push(&row.map_err(failed)?).await? {
                    self.monitor.advance(bytes);
                }
            }
        }
        adder.finish().await
    }
}

/// The most rows that are taken at once, if so many have come.
const AT_ONCE: usize = 256;
/// Bytes of rows that are added up at once.
const BATCH: usize = 1 << 20;
/// What a batch keeps of its memory: that, and a row that goes past it.
const KEPT: usize = BATCH + (BATCH >> 3);

/// Adds rows up on another thread, while the next ones come.
#[derive(Debug, Default)]
struct Adder {
    batch: Vec<u8>,
    /// The batch comes back, to be filled again: memory new from the kernel costs as much as the rows in it.
    adding: Option<JoinHandle<(RowTotals, Vec<u8>)>>,
    totals: RowTotals,
}

impl Adder {
    /// Takes a row with its line end. Says how many bytes were given away, if it were enough.
    async fn push(&mut self, row: &[u8]) -> Result<Option<u64>, RestoreError> {
        self.batch.extend_from_slice(row);
        if self.batch.len() < BATCH {
            return Ok(None);
        }
        let given = self.batch.len() as u64;
        self.add_batch().await?;
        Ok(Some(given))
    }

    async fn add_batch(&mut self) -> Result<(), RestoreError> {
        let empty = self.wait().await?;
        let rows = std::mem::replace(&mut self.batch, empty);
        self.adding = Some(spawn_blocking(move || (RowTotals::of(&rows), rows)));
        Ok(())
    }

    /// Waits for the batch on its way, and gives it back empty.
    async fn wait(&mut self) -> Result<Vec<u8>, RestoreError> {
        let Some(adding) = self.adding.take() else { return Ok(Vec::with_capacity(KEPT)) };
        // It ends early only when the whole runtime does.
        let (added, mut rows) = adding.await.map_err(|_| RestoreError::Interrupted)?;
        self.totals.add(&added);
        rows.clear();
        // One large row must not hold its memory until the table ends.
        rows.shrink_to(KEPT);
        Ok(rows)
    }

    async fn finish(mut self) -> Result<RowTotals, RestoreError> {
        self.add_batch().await?;
        self.wait().await?;
        Ok(self.totals)
    }
}

/// How a table that was read back differs from the backup.
pub(super) fn difference(load: &Load, found: &RowTotals) -> Option<Difference> {
    let expected = &load.expected;
    let how = if found == expected {
        return None;
    } else if found.rows == expected.rows {
        format!("its {} rows are not those of the backup: their digest is another", found.rows)
    } else {
        format!("it has {} rows, and the backup {}", found.rows, expected.rows)
    };
    Some(Difference { what: format!("table {}", load.shown), how })
}
