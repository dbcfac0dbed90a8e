//! One `pg_dump`, from its start to its end: its archive and the rows into streams.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::{
    Ended, PostgresSource, Survey,
    child::{Dump, Order, dump_failure},
    complaints::Complaints,
    cutting::{Item, WAITING},
    failed_capture,
    failure::{Failure, Peer},
    leader::Hold,
    relay::Relay,
    take::{self, Archived, Taken},
    writer::{self, Writer},
};
use crate::{
    sources::{
        CaptureError,
        postgres::{
            archive::{Split, Toc},
            rows::RowTotals,
        },
    },
    types::counted,
};

/// A `pg_dump` run that was taken apart to its end.
pub(super) struct Dumped {
    /// What was proven of its archive, as it is with all rows in it.
    pub(super) split: Split,
    pub(super) complaints: Complaints,
}

/// Runs `pg_dump` and writes what comes of it. Dropped, it leaves no child behind.
pub(super) async fn dump(
    source: &PostgresSource,
    survey: &Survey,
    hold: &Hold,
    writer: &mut Writer<'_>,
) -> Result<Dumped, Ended> {
    let order = Order {
        server: &source.server,
        tool: &survey.tools.pg_dump,
        selection: &source.selection,
        snapshot: &hold.snapshot,
        token: &hold.token,
        // Longer than the watchdog's patience: who waits for us is the better reason.
        lock_wait: source.patience * 2,
        large_objects: survey.takes_large_objects(),
        encoding: &survey.encoding,
    };
    let (toc_has_come, toc) = watch::channel(false);
    let mut relay = Relay::start(&source.server, toc)?;
    let (child, pipe) = order.start(&relay)?;
    let (sender, items) = mpsc::channel(WAITING);
    let taker = take::start(pipe, sender, toc_has_come)?;
    match write_items(items, &mut relay, hold, writer).await {
        Ok(toc) => end_of_dump(source, child, taker, relay, (toc, writer.framed)).await,
        Err(ended) => {
            child.stop().await;
            Err(ended)
        }
    }
}

/// Writes what the archive and the relay give until both have ended. The table of contents, if it has come.
async fn write_items(
    mut archive: mpsc::Receiver<Item>,
    relay: &mut Relay,
    hold: &Hold,
    writer: &mut Writer<'_>,
) -> Result<Option<Arc<Toc>>, Ended> {
    let mut known = None;
    let (mut archive_ends, mut rows_end) = (false, false);
    while !(archive_ends && rows_end) {
        tokio::select! {
            item = archive.recv(), if !archive_ends => match item {
                Some(Item::Toc(toc)) => {
                    check_tables(hold, &toc).await?;
                    writer.toc(&toc).await.map_err(CaptureError::from)?;
                    known = Some(toc);
                }
                Some(item) => writer.object(item).await.map_err(CaptureError::from)?,
                None => {
                    archive_ends = true;
                    relay.is_alone();
                }
            },
            // The relay sends nothing before the table of contents has come: then its streams have names.
            item = relay.items.recv(), if !rows_end && (known.is_some() || archive_ends) => match item {
                Some(item) => writer.rows(item).await.map_err(CaptureError::from)?,
                None => rows_end = true,
            },
        }
    }
    Ok(known)
}

/// Tables that `pg_dump` has found and the leader has not locked must be as they were at the snapshot.
async fn check_tables(hold: &Hold, toc: &Toc) -> Result<(), Ended> {
    let dumped: Vec<u32> = toc.tables().map(|entry| entry.catalog().1).collect();
    if hold.check_unlocked(&dumped).await? { Ok(()) } else { Err(Ended::Changed) }
}

/// What came of a `pg_dump` whose pipe has ended, or whose archive could not be read further.
async fn end_of_dump(
    source: &PostgresSource,
    child: Dump,
    taker: Taken,
    relay: Relay,
    (toc, framed): (Option<Arc<Toc>>, u64),
) -> Result<Dumped, Ended> {
    let failed = |failure: Failure| Ended::Failed(failed_capture(&source.server, failure).into());
    let taken = match taker.await {
        Ok(taken) => taken,
        Err(error) => return Err(failed(Failure::Archive(format!("the thread that reads it has ended: {error}")))),
    };
    if let Err(stopped) = &taken
        && !stopped.is_early_end()
    {
        child.stop().await;
        return Err(failed(Failure::Archive(stopped.to_string())));
    }
    let (status, complaints) = child.ended().await?;
    if complaints.is_lock_conflict() {
        return Err(Ended::GaveWay(Peer::default()));
    }
    let given = relay.given().await;
    match &given {
        // What is wrong with the rows is the reason of what `pg_dump` complains of.
        Err(lost) if lost.is_about_rows() => return Err(failed(Failure::Rows(lost.to_string()))),
        _ if !status.success() => return Err(failed(dump_failure(status, &complaints))),
        _ => {}
    }
    let Archived { mut split, tables, bytes } =
        taken.map_err(|stopped| failed(Failure::Archive(stopped.to_string())))?;
    let given = given.map_err(|lost| failed(Failure::Rows(lost.to_string())))?;
    let toc = toc.unwrap_or_else(|| Arc::clone(&split.toc));
    check_rows(&toc, &tables, &given).map_err(|why| failed(Failure::Rows(why)))?;
    // The archive with all rows: each takes a frame.
    let rows: u64 = tables.iter().map(|(_, rows)| rows.rows).sum();
    split.bytes = (split.bytes + framed).saturating_sub(bytes + writer::FRAME * rows);
    Ok(Dumped { split, complaints })
}

/// The nth rows that the server sent are those of the nth table: that is how they were stored. `pg_dump` must have
/// written its blocks in the same order, with just the rows in them that it was given.
fn check_rows(toc: &Toc, archived: &[(u32, RowTotals)], given: &[RowTotals]) -> Result<(), String> {
    let announced: Vec<u32> = toc.tables().map(|entry| entry.dump_id()).collect();
    if announced.len() != archived.len() || given.len() != archived.len() {
        let (blocks, sent) = (counted(archived.len() as u64, "table"), given.len());
        return Err(format!("pg_dump has announced {} and written {blocks}; the server sent {sent}", announced.len()));
    }
    for ((id, (block, rows)), given) in announced.iter().zip(archived).zip(given) {
        let name = || toc.entry(*id).map_or_else(|| id.to_string(), |entry| entry.to_string());
        if block != id {
            return Err(format!("pg_dump has written the block {block} where {} was to come", name()));
        }
        if rows != given {
            let (wrote, got) = (counted(rows.rows, "row"), given.rows);
            return Err(format!("pg_dump has written {wrote} of {}, and was given {got}, or others", name()));
        }
    }
    Ok(())
}
