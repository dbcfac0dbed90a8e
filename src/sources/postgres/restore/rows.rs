//! Rows into tables, and back for the comparison.

use futures::{SinkExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Session, rows::RowTotals},
    RestoreError,
    blocks::Blocks,
    copy::{Emptied, Load, contradiction},
    read_back,
    reorder::{self, NotReordered, Reordered},
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
        if matches!(load.emptied, Emptied::MustBe { .. }) {
            let table = &load.table;
            session.run("lock the table", &format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")).await?;
            find_leaves(session, load).await?;
            if session.row("look for rows", &load.any_rows(), &[]).await?.get(0) {
                return Err(RestoreError::NotEmpty);
            }
        }
        let alike = load.alike();
        let mut found = self.copy_in(session, &load.copy_in(self.encoding, &load.columns), &alike, None).await?;
        let mut totals = RowTotals::default();
        for (stream, columns) in &load.reordered {
            let mut rows = Reordered::new(reorder::places(columns, &load.columns).unwrap_or_default());
            let sql = load.copy_in(self.encoding, columns);
            found += self.copy_in(session, &sql, &[*stream], Some((load, &mut rows))).await?;
            totals.add(&rows.finish().map_err(|error| not_reordered(load, error))?);
        }
        let expected = load.expected.rows;
        if found != expected {
            return Err(RestoreError::Count { expected, found });
        }
        // A table that is loaded again has the same.
        let _known = load.reordered_totals.set(totals);
        Ok(())
    }

    /// One COPY of these streams; the rows that the server took. Rows to be put into another order are added up on
    /// their way.
    async fn copy_in(
        self,
        session: &Session,
        sql: &str,
        streams: &[usize],
        mut reordered: Option<(&Load, &mut Reordered)>,
    ) -> Result<u64, RestoreError> {
        let failed = |error: tokio_postgres::Error| RestoreError::from(session.failed("copy rows", &error));
        let sink = session.client().copy_in(sql).await.map_err(failed)?;
        let mut sink = std::pin::pin!(sink);
        for stream in streams.iter().filter_map(|place| self.contents.streams().get(*place)) {
            for part in 0..stream.parts.len() {
                let mut pieces = self.contents.read_part(stream, part).await?;
                while let Some(piece) = self.next(pieces.try_next()).await?? {
                    if let Some((load, rows)) = &mut reordered {
                        rows.push(&piece).map_err(|error| not_reordered(load, error))?;
                    }
                    let length = piece.len() as u64;
                    sink.send(piece).await.map_err(failed)?;
                    self.monitor.advance(length);
                }
            }
        }
        // A sink that is dropped before this ends the COPY with an error.
        sink.finish().await.map_err(failed)
    }

    /// Adds up the rows whose fields are in another order, as they are read back: nothing else tells whether those are
    /// equal. Of a table that this run has loaded it is known.
    pub(super) async fn add_up_reordered(self, load: &Load) -> Result<(), RestoreError> {
        if load.reordered.is_empty() || load.reordered_totals.get().is_some() {
            return Ok(());
        }
        let mut totals = RowTotals::default();
        for (place, columns) in &load.reordered {
            let Some(stream) = self.contents.streams().get(*place) else { continue };
            let mut rows = Reordered::new(reorder::places(columns, &load.columns).unwrap_or_default());
            for part in 0..stream.parts.len() {
                let mut pieces = self.contents.read_part(stream, part).await?;
                while let Some(piece) = self.next(pieces.try_next()).await?? {
                    rows.push(&piece).map_err(|error| not_reordered(load, error))?;
                }
            }
            totals.add(&rows.finish().map_err(|error| not_reordered(load, error))?);
        }
        let _known = load.reordered_totals.set(totals);
        Ok(())
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
        self.add_up_reordered(load).await?;
        find_leaves(session, load).await?;
        let sql = load.copy_out(self.encoding, Blocks::default());
        let told = |bytes| {
            self.monitor.advance(bytes);
            std::future::ready(true)
        };
        let found = self.next(read_back::sum(session, &sql, told)).await??;
        Ok(difference(load, &found))
    }
}

/// Finds the partitions that take the rows of a table that is loaded through their root: all ordinary ones at the ends
/// of its tree, but for those that are loaded by themselves.
pub(super) async fn find_leaves(session: &Session, load: &Load) -> Result<(), RestoreError> {
    if !load.through_root || load.leaves.get().is_some() {
        return Ok(());
    }
    let sql = "SELECT c.oid::pg_catalog.regclass::text \
         FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1)) t JOIN pg_catalog.pg_class c ON c.oid = t.relid \
         WHERE t.isleaf AND c.relkind = 'r' AND c.oid NOT IN (SELECT pg_catalog.to_regclass(name)::pg_catalog.oid \
         FROM pg_catalog.unnest($2::pg_catalog.text[]) name WHERE pg_catalog.to_regclass(name) IS NOT NULL) ORDER BY c.oid";
    let found = session.rows("look at partitions", sql, &[&load.table, &&*load.apart]).await?;
    let _known = load.leaves.set(found.iter().map(|row| row.get(0)).collect());
    Ok(())
}

fn not_reordered(load: &Load, error: NotReordered) -> RestoreError {
    contradiction(format!("rows of {} do not fit its columns: {error}", load.shown))
}

/// How a table that was read back differs from the backup.
pub(super) fn difference(load: &Load, found: &RowTotals) -> Option<Difference> {
    let expected = &load.expected();
    let how = if found == expected {
        return None;
    } else if found.rows == expected.rows {
        match found.rows {
            1 => "its row is not that of the backup: its digest is another".to_owned(),
            rows => format!("its {rows} rows are not those of the backup: their digest is another"),
        }
    } else {
        format!("it has {} row{}, and the backup {}", found.rows, if found.rows == 1 { "" } else { "s" }, expected.rows)
    };
    Some(Difference { what: format!("table {}", load.shown), how })
}
