//! Rows side by side: several sessions take tables from one list, the largest first.
//!
//! A table that is loaded goes onto the list of what is to be compared, a large one in pieces; the turn of a
//! piece comes when no table is left to be loaded. So one table is read back while others are still written,
//! and no session waits while another reads a large table alone.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures::future::try_join_all;
use tokio::sync::Notify;

use super::{
    super::{Session, rows::RowTotals},
    RestoreError,
    blocks::{self, Blocks},
    copy::{Emptied, Load},
    heartbeat, loading_session,
    pause::{self, Point},
    read_back::Reader,
    report::Difference,
    rows::{Rows, difference, find_leaves},
    since::{self, Mark},
};
use crate::types::StreamInfo;

/// One thing to load.
#[derive(Debug, Clone, Copy)]
enum Item<'a> {
    Table(&'a Load),
    Objects(&'a StreamInfo),
}

/// One thing to compare.
#[derive(Debug, Clone)]
enum Check<'a> {
    Rows(&'a Load, Blocks),
    Objects(&'a StreamInfo),
}

impl<'a> Item<'a> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Table(load) => load.bytes,
            Self::Objects(stream) => stream.parts.iter().map(|part| part.length).sum(),
        }
    }

    async fn load(self, rows: Rows<'_>, session: &Session) -> Result<(), RestoreError> {
        match self {
            Self::Table(table) => rows.load(session, table).await,
            Self::Objects(stream) => rows.load_large_objects(session, stream).await,
        }
    }

    /// What is to be compared of it once it is loaded.
    async fn checks(self, rows: Rows<'_>, session: &Session) -> Result<Checks<'a>, RestoreError> {
        match self {
            Self::Objects(stream) => {
                let mark = since::mark(session, since::LARGE_OBJECTS).await?;
                Ok(Checks { of: &stream.name, mark, checks: vec![Check::Objects(stream)] })
            }
            Self::Table(load) => {
                rows.add_up_reordered(load).await?;
                find_leaves(session, load).await?;
                let mark = since::mark(session, &load.table).await?;
                let pieces = blocks::pieces(session, load).await?;
                let checks = pieces.into_iter().map(|blocks| Check::Rows(load, blocks)).collect();
                Ok(Checks { of: &load.table, mark, checks })
            }
        }
    }
}

/// What is to be compared of an item, and what the server had counted of it by then.
#[derive(Debug)]
struct Checks<'a> {
    of: &'a str,
    mark: Option<Mark>,
    checks: Vec<Check<'a>>,
}

/// What a session does next.
#[derive(Debug)]
enum Next<'a> {
    Load(Item<'a>),
    /// No other session loads anything meanwhile.
    LoadAgain(Item<'a>),
    Compare(Check<'a>),
    /// Another session still loads what can be compared then.
    Wait,
    End,
}

/// A table of which pieces are compared.
#[derive(Debug, Default)]
struct Sum {
    left: usize,
    found: RowTotals,
}

/// What the sessions share.
#[derive(Debug, Default)]
struct List<'a> {
    to_load: VecDeque<Item<'a>>,
    /// Items that sessions load at this moment.
    loading: usize,
    /// Items that were loaded so far.
    done: usize,
    /// Tables whose constraints were not fulfilled: one that calls a function may read tables that are not loaded yet.
    /// They are loaded again after all others, one after the other; how each failed so, and how many items were
    /// loaded by then.
    again: VecDeque<(Item<'a>, Option<(usize, RestoreError)>)>,
    to_compare: VecDeque<Check<'a>>,
    /// By the name of the table, which no other has.
    sums: HashMap<&'a str, Sum>,
    worked: Worked,
}

impl<'a> List<'a> {
    /// What a session does next. An error if nothing was loaded since a table failed that is to be loaded again.
    fn next(&mut self) -> Result<Next<'a>, RestoreError> {
        if let Some(item) = self.to_load.pop_front() {
            self.loading += 1;
            return Ok(Next::Load(item));
        }
        if self.loading == 0
            && let Some((item, failed)) = self.again.pop_front()
        {
            if let Some((_, error)) = failed.filter(|(done, _)| *done == self.done) {
                return Err(error);
            }
            self.loading += 1;
            return Ok(Next::LoadAgain(item));
        }
        Ok(match self.to_compare.pop_front() {
            Some(check) => Next::Compare(check),
            None if self.loading > 0 => Next::Wait,
            None => Next::End,
        })
    }

    /// Whether the sessions that load at this moment are enough.
    fn leaves_none_to_load(&self) -> bool {
        self.to_load.is_empty() && (self.again.is_empty() || self.loading > 0)
    }

    /// Puts a table off that failed, if it may be loaded later.
    fn put_off(&mut self, item: Item<'a>, alone: bool, error: RestoreError) -> Result<(), RestoreError> {
        if matches!(item, Item::Objects(_)) || !error.may_be_early() {
            return Err(error);
        }
        self.loading = self.loading.saturating_sub(1);
        self.again.push_back((item, alone.then_some((self.done, error))));
        Ok(())
    }

    fn loaded(&mut self, checks: Checks<'a>) {
        self.loading = self.loading.saturating_sub(1);
        self.done += 1;
        self.worked.loaded = Some(Instant::now());
        self.take(checks);
    }

    fn take(&mut self, Checks { of, mark, checks }: Checks<'a>) {
        self.worked.marks.extend(mark.map(|mark| (of.to_owned(), mark)));
        for check in &checks {
            if let Check::Rows(load, _) = check {
                self.sums.entry(load.table.as_str()).or_default().left += 1;
            }
        }
        self.to_compare.extend(checks);
    }

    /// A table is held against the backup when its last piece is added.
    fn compared_rows(&mut self, load: &'a Load, found: &RowTotals) {
        let sum = self.sums.entry(load.table.as_str()).or_default();
        sum.found.add(found);
        sum.left = sum.left.saturating_sub(1);
        if sum.left == 0 {
            self.worked.differences.extend(difference(load, &sum.found));
            self.worked.compared_tables += load.streams.len() as u64;
        }
    }

    fn compared_objects(&mut self, stream: &StreamInfo, found: Vec<Difference>) {
        self.worked.differences.extend(found);
        self.worked.compared_objects += stream.parts.len() as u64;
    }
}

/// What came of all of it.
#[derive(Debug, Default)]
pub(super) struct Worked {
    /// When the last row was loaded; absent if nothing was.
    pub(super) loaded: Option<Instant>,
    pub(super) differences: Vec<Difference>,
    pub(super) compared_tables: u64,
    pub(super) compared_objects: u64,
    /// Of tables by their names in SQL, of large objects by their streams.
    pub(super) marks: HashMap<String, Mark>,
}

/// Where the rows go to, and by how many sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) server: &'a super::Server,
    pub(super) database: &'a str,
    pub(super) jobs: usize,
}

impl Work<'_> {
    /// Loads and compares.
    pub(super) async fn load_and_compare(
        self,
        loads: &[Load],
        objects: &[&StreamInfo],
    ) -> Result<Worked, RestoreError> {
        let items = largest_first(loads, objects);
        let sessions = self.sessions(items.len()).await?;
        let (items, first) = in_order_first(self.rows, &sessions, items).await?;
        let mut list = List { to_load: items.into(), ..List::default() };
        if let Some(session) = sessions.first() {
            for item in first {
                list.take(item.checks(self.rows, session).await?);
            }
        }
        self.end(sessions, list).await
    }

    /// Compares what was loaded before.
    pub(super) async fn compare(self, loads: &[Load], objects: &[&StreamInfo]) -> Result<Worked, RestoreError> {
        let items = largest_first(loads, objects);
        let sessions = self.sessions(items.len()).await?;
        let mut list = List::default();
        if let Some(session) = sessions.first() {
            for item in items {
                list.take(item.checks(self.rows, session).await?);
            }
        }
        self.end(sessions, list).await
    }

    async fn sessions(self, items: usize) -> Result<Vec<Session>, RestoreError> {
        // One table may be all there is to load: then it is still compared by several.
        let sessions = if items == 0 { 1 } else { self.jobs.max(1) };
        Ok(try_join_all((0..sessions).map(|_| loading_session(self.server, self.database))).await?)
    }

    async fn end(self, sessions: Vec<Session>, list: List<'_>) -> Result<Worked, RestoreError> {
        let shared = Shared { work: self, list: Mutex::new(list), news: Notify::new() };
        if pause::is_set(Point::Loaded) {
            try_join_all(sessions.iter().map(|session| shared.work(session, true))).await?;
            pause::at(Point::Loaded).await;
        }
        try_join_all(sessions.iter().map(|session| shared.work(session, false))).await?;
        futures::future::join_all(sessions.into_iter().map(Session::close)).await;
        let list = shared.list.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut worked = list.worked;
        worked.differences.sort_by(|one, other| one.what.cmp(&other.what));
        Ok(worked)
    }
}

fn largest_first<'a>(loads: &'a [Load], objects: &[&'a StreamInfo]) -> Vec<Item<'a>> {
    let mut items: Vec<Item<'_>> = loads.iter().map(Item::Table).collect();
    items.extend(objects.iter().map(|stream| Item::Objects(stream)));
    items.sort_by_key(|item| std::cmp::Reverse(item.bytes()));
    items
}

/// Tables of extensions have their constraints already: they are loaded in the order of the archive,
/// before all others. Returns what is left to load, and what is to be compared.
async fn in_order_first<'a>(
    rows: Rows<'_>,
    sessions: &[Session],
    items: Vec<Item<'a>>,
) -> Result<(Vec<Item<'a>>, Vec<Item<'a>>), RestoreError> {
    let is_first = |item: &Item<'_>| matches!(item, Item::Table(Load { emptied: Emptied::Delete { .. }, .. }));
    let (mut first, rest): (Vec<_>, Vec<_>) = items.into_iter().partition(is_first);
    first.sort_by_key(|item| match item {
        Item::Table(load) => load.streams.first().copied(),
        Item::Objects(_) => None,
    });
    if let Some(session) = sessions.first() {
        for item in &first {
            item.load(rows, session).await?;
        }
    }
    Ok((rest, first))
}

/// What the sessions work on.
#[derive(Debug)]
struct Shared<'w, 'a> {
    work: Work<'w>,
    list: Mutex<List<'a>>,
    /// Something was loaded.
    news: Notify,
}

impl<'a> Shared<'_, 'a> {
    fn list(&self) -> MutexGuard<'_, List<'a>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self, session: &Session, item: Item<'a>, alone: bool) -> Result<(), RestoreError> {
        let rows = self.work.rows;
        match item.load(rows, session).await {
            Ok(()) => {
                let checks = item.checks(rows, session).await?;
                self.list().loaded(checks);
            }
            Err(error) => self.list().put_off(item, alone, error)?,
        }
        self.news.notify_waiters();
        Ok(())
    }

    /// Takes what is next until nothing is left, or nothing to load if a test wants to see that moment.
    async fn work(&self, session: &Session, only_load: bool) -> Result<(), RestoreError> {
        let rows = self.work.rows;
        let mut reader = None;
        loop {
            // Made before the list is looked at: what is said from then on is heard.
            let news = self.news.notified();
            if only_load && self.list().leaves_none_to_load() {
                return Ok(());
            }
            let next = self.list().next()?;
            match next {
                Next::Load(item) => self.load(session, item, false).await?,
                Next::LoadAgain(item) => self.load(session, item, true).await?,
                Next::Compare(Check::Rows(load, blocks)) => {
                    let found = self.read_back(&mut reader, load.copy_out(rows.encoding, blocks));
                    let found = tokio::select! {
                        found = found => found?,
                        () = heartbeat::keep(session) => return Err(RestoreError::Interrupted),
                    };
                    self.list().compared_rows(load, &found);
                }
                Next::Compare(Check::Objects(stream)) => {
                    let found = rows.compare_large_objects(session, stream).await?;
                    self.list().compared_objects(stream, found);
                }
                Next::Wait => tokio::select! {
                    () = news => {}
                    () = heartbeat::keep(session) => {}
                },
                Next::End => return Ok(()),
            }
        }
    }

    async fn read_back(&self, reader: &mut Option<Reader>, sql: String) -> Result<RowTotals, RestoreError> {
        let reader = match reader {
            Some(reader) => reader,
            none => none.insert(Reader::start(self.work.server, self.work.database).await?),
        };
        reader.totals(self.work.rows, sql).await
    }
}
