//! The moment of a snapshot, at which the collections must be those that are listed.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use mongodb_driver::{
    ClientSession,
    bson::{self, RawDocumentBuf, doc},
};

use super::{Ended, Failure, Prepared, Selection, Way, begin, failed_capture, listing, selection::Choice};
use crate::{
    sources::mongodb::{
        Error, Reason,
        connect::in_time,
        definition::{Change, Definition, Kind, changes, made},
    },
    types::Moment,
};

/// How often a moment is looked for at which the collections are those that are listed.
const MOMENTS: u32 = 5;
/// How often a moment is asked for of a server that has none just now, and after which pauses.
const FIRST_READS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// How old a moment may be when reading begins: a server keeps one for 300 s, if nobody has said otherwise.
const FRESH: Duration = Duration::from_secs(60);

impl Prepared {
    /// Fixes the moment anew, if it has grown old while other sources were prepared or read.
    pub(super) async fn renew(&mut self) -> Result<(), Error> {
        if self.fixed.is_none_or(|fixed| fixed.elapsed() < FRESH) {
            return Ok(());
        }
        self.listed = listing::list(&self.session).await?;
        self.note_time().await?;
        self.fix().await
    }

    /// Notes a time of the replica set that is after all that is listed; no read is of an earlier one, whichever member answers.
    async fn note_time(&mut self) -> Result<(), Error> {
        self.since = self.session.cluster_time().await?;
        if let Some(since) = self.since {
            self.reads.plain.advance_operation_time(since);
        }
        Ok(())
    }

    /// Fixes the moment of the snapshot, at which the collections must be those that are listed.
    pub(super) async fn fix(&mut self) -> Result<(), Error> {
        for tries in 1..=MOMENTS {
            let Some(since) = self.since else { return Err(self.failed(Failure::NoMoment)) };
            let mut snapshot = self.read_first(None).await?;
            // The server's own choice is what a majority of the members has, which may be older than what was listed: a collection
            // that is newer would be read as an empty one. It waits for a moment that is named.
            if snapshot.snapshot_time().is_some_and(|at| at < since) {
                snapshot = self.read_first(Some(since)).await?;
            }
            let at = snapshot.snapshot_time().filter(|at| *at >= since);
            let Some(at) = at else { return Err(self.failed(Failure::NoMoment)) };
            // What was made, renamed or dropped about the moment may be in it or not, and nothing tells.
            let after = listing::list(&self.session).await?;
            let Some((collection, change)) = changed(&self.source.selection, &self.listed, &after) else {
                let time = Timestamp::from_second(i64::from(at.time)).unwrap_or(self.from);
                self.moment = Some(Moment { time, position: Some(format!("{}.{}", at.time, at.increment)) });
                self.reads.snapshot = Some(snapshot);
                self.fixed = Some(Instant::now());
                return Ok(());
            };
            if tries == MOMENTS {
                return Err(self.failed(Failure::Changed { collection, change }));
            }
            self.listed = after;
            self.note_time().await?;
        }
        Err(self.failed(Failure::NoMoment))
    }

    /// A collection that can be read at a moment, and is to be.
    fn first_readable(&self) -> String {
        let is_taken = |it: &Definition| self.source.selection.choose(it) == Choice::Taken;
        let can_be =
            |it: &Definition| it.kind == Kind::Collection && !it.is_capped() && !it.name.starts_with("system.");
        let first = self.listed.iter().find(|it| can_be(it) && is_taken(it));
        first.map_or("drctl", |it| it.name.as_str()).to_owned()
    }

    /// Begins a session whose moment is `at`, or else one that the server chooses, and reads once at it.
    async fn read_first(&self, at: Option<bson::Timestamp>) -> Result<ClientSession, Error> {
        let name = self.first_readable();
        let collection = self.session.database.collection::<RawDocumentBuf>(&name);
        let server = self.session.server();
        let mut tries = 0;
        loop {
            tries += 1;
            let mut snapshot = begin(&self.session, Way::Moment(at)).await?;
            let first = async {
                let find = collection.find(doc! {}).limit(1).batch_size(1).session(&mut snapshot);
                let mut cursor = find.batch().await?;
                cursor.stream(&mut snapshot).next().await.transpose()
            };
            // A moment that is named is waited for until a majority has it, which may never be.
            let Err(error) = in_time(first).await else { return Ok(snapshot) };
            if tries < FIRST_READS && Reason::from(&error).is_no_snapshot_yet() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            return Err(match Ended::from(&error).into_failure(&name, tries) {
                Ok(failure @ (Failure::SnapshotTooOld { .. } | Failure::SnapshotUnavailable { .. })) => {
                    failed_capture(server, failure)
                }
                _ => server.failed("take a snapshot", &error),
            });
        }
    }
}

/// What happened to a collection that is taken, or would be. Others may come and go.
fn changed(selection: &Selection, before: &[Definition], after: &[Definition]) -> Option<(String, Change)> {
    let taken = |all: &[Definition]| -> Vec<Definition> {
        all.iter().filter(|it| selection.choose(it) == Choice::Taken).cloned().collect()
    };
    let before = taken(before);
    changes(&before, after).into_iter().next().or_else(|| made(&before, &taken(after)))
}

#[cfg(test)]
mod tests {
    use mongodb_driver::bson::rawdoc;

    use super::*;

    fn all(entries: &[(&str, bool)]) -> Vec<Definition> {
        let entry = |(name, capped): &(&str, bool)| {
            let entry = rawdoc! {"name": *name, "type": "collection", "options": {"capped": *capped}};
            Definition::of_entry(&entry).unwrap()
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn only_collections_that_are_taken_must_stay_what_they_are_while_the_moment_is_fixed() {
        let selection = Selection { exclude: vec!["tmp_*".to_owned()], ..Selection::default() };
        let change = |after: &[(&str, bool)]| {
            let before = all(&[("contacts", false), ("tmp_1", false)]);
            changed(&selection, &before, &all(after)).map(|(name, change)| format!("{name} {change}"))
        };
        let left = "drctl_20261120120000ab2d_0";
        for after in [
            &[("contacts", false), ("tmp_1", false)][..],
            &[("contacts", false)],
            &[("contacts", false), ("tmp_1", true), ("tmp_2", false)],
            &[("contacts", false), (left, false), ("system.views", false)],
        ] {
            assert_eq!(change(after), None, "{after:?}");
        }
        for (after, told) in [
            (&[("tmp_1", false)][..], "contacts was dropped"),
            (&[("contacts", true), ("tmp_1", false)], "contacts got other options"),
            (&[("contacts", false), ("orders", false)], "orders was made"),
        ] {
            assert_eq!(change(after).as_deref(), Some(told), "{after:?}");
        }
    }
}
