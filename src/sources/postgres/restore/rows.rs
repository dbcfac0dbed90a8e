//! Rows into tables, and back for the comparison.

use futures::{SinkExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Session, rows::RowTotals},
    RestoreError,
    blocks::Blocks,
    copy::{Emptied, Load},
    read_back,
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

    /// Reads a table back by the session that has loaded it, and holds its rows against the backup's.
    pub(super) async fn compare(self, session: &Session, load: &Load) -> Result<Option<Difference>, RestoreError> {
        let sql = load.copy_out(self.encoding, Blocks::default());
        let told = |bytes| {
            self.monitor.advance(bytes);
            std::future::ready(true)
        };
        let found = self.next(read_back::sum(session, &sql, told)).await??;
        Ok(difference(load, &found))
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
