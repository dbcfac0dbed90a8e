//! Rows side by side: several sessions take tables from one list, the largest first.
//!
//! A table that is loaded goes onto the list of what is to be compared; its turn comes when no table is
//! left to be loaded. So one table is read back while others are still written.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::future::try_join_all;

use super::{
    super::Session,
    RestoreError,
    copy::{Emptied, Load},
    loading_session,
    pause::{self, Point},
    report::Difference,
    rows::Rows,
};
use crate::types::StreamInfo;

/// One thing to load and to compare.
#[derive(Debug, Clone, Copy)]
enum Item<'a> {
    Table(&'a Load),
    Objects(&'a StreamInfo),
}

impl Item<'_> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Table(load) => load.bytes,
            Self::Objects(stream) => stream.parts.iter().map(|part| part.length).sum(),
        }
    }
}

/// What the sessions share.
#[derive(Debug)]
struct List<'a> {
    to_load: VecDeque<Item<'a>>,
    to_compare: VecDeque<Item<'a>>,
    differences: Vec<Difference>,
    compared_tables: u64,
    compared_objects: u64,
}

/// What came of all of it.
#[derive(Debug, Default)]
pub(super) struct Worked {
    pub(super) differences: Vec<Difference>,
    pub(super) compared_tables: u64,
    pub(super) compared_objects: u64,
}

/// Loads and compares.
pub(super) async fn load_and_compare(
    rows: Rows<'_>,
    server: &super::Server,
    database: &str,
    loads: &[Load],
    objects: &[&StreamInfo],
    jobs: usize,
) -> Result<Worked, RestoreError> {
    let mut items: Vec<Item<'_>> = loads.iter().map(Item::Table).collect();
    items.extend(objects.iter().map(|stream| Item::Objects(stream)));
    items.sort_by_key(|item| std::cmp::Reverse(item.bytes()));
    let sessions = jobs.min(items.len()).max(1);
    let connecting = (0..sessions).map(|_| loading_session(server, database));
    let sessions = try_join_all(connecting).await?;
    let items = in_order_first(rows, &sessions, items).await?;
    let list = Mutex::new(List {
        to_load: items.0.into(),
        to_compare: items.1.into(),
        differences: Vec::new(),
        compared_tables: 0,
        compared_objects: 0,
    });
    if pause::is_set(Point::Loaded) {
        try_join_all(sessions.iter().map(|session| load_all(rows, session, &list))).await?;
        pause::at(Point::Loaded).await;
    }
    try_join_all(sessions.iter().map(|session| work(rows, session, &list))).await?;
    try_join_all(sessions.into_iter().map(async |session| {
        session.close().await;
        Ok::<_, RestoreError>(())
    }))
    .await?;
    let mut list = list.into_inner().unwrap_or_else(PoisonError::into_inner);
    list.differences.sort_by(|one, other| one.what.cmp(&other.what));
    Ok(Worked {
        differences: list.differences,
        compared_tables: list.compared_tables,
        compared_objects: list.compared_objects,
    })
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
            load(rows, session, *item).await?;
        }
    }
    Ok((rest, first))
}

fn locked<'l, 'a>(list: &'l Mutex<List<'a>>) -> MutexGuard<'l, List<'a>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn load(rows: Rows<'_>, session: &Session, item: Item<'_>) -> Result<(), RestoreError> {
    match item {
        Item::Table(table) => rows.load(session, table).await,
        Item::Objects(stream) => rows.load_large_objects(session, stream).await,
    }
}

async fn load_all<'a>(rows: Rows<'_>, session: &Session, list: &Mutex<List<'a>>) -> Result<(), RestoreError> {
    loop {
        let next = locked(list).to_load.pop_front();
        let Some(item) = next else { return Ok(()) };
        load(rows, session, item).await?;
        locked(list).to_compare.push_back(item);
    }
}

/// A session may end while another still loads: that one compares what it has loaded.
async fn work<'a>(rows: Rows<'_>, session: &Session, list: &Mutex<List<'a>>) -> Result<(), RestoreError> {
    loop {
        load_all(rows, session, list).await?;
        let next = locked(list).to_compare.pop_front();
        let Some(item) = next else { return Ok(()) };
        match item {
            Item::Table(table) => {
                let found = rows.compare(session, table).await?;
                let mut list = locked(list);
                list.differences.extend(found);
                list.compared_tables += table.streams.len() as u64;
            }
            Item::Objects(stream) => {
                let found = rows.compare_large_objects(session, stream).await?;
                let mut list = locked(list);
                list.differences.extend(found);
                list.compared_objects += stream.parts.len() as u64;
            }
        }
    }
}
