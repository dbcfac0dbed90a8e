//! Which backups hold an object, and where it changed. Newest first; each is compared with the one before it of its
//! own schedule, because only these hold the same sources. Of each backup only what its parts do not already say is
//! read, and of each schedule never more than two versions of the object are held.

mod covered;
mod held;

use std::ops::ControlFlow;

use futures::{TryStreamExt as _, stream::BoxStream};
use jiff::Timestamp;

use super::{Error, Run, catalog, diff::ChangedField};
use crate::{
    policy::Policy,
    repository::{self, BackupEntry, Listed, Repository, Scope},
    sources::kubernetes::objects::{
        KindWord, ObjectName,
        diff::{Changed, ObjectChange, judge},
    },
    types::Name,
};
use held::Seen;

/// Against the backup of the same schedule before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The backup before it does not hold the object, or there is none.
    First,
    /// It is not as it was.
    Changed,
    /// It is as it was.
    Same,
    /// It was there, and is not.
    Removed,
    /// It was not there either.
    Absent,
    /// No source of the backup takes such an object.
    NotCovered,
    /// The backup, or the one before it, cannot tell: it cannot be read, or what is missing in it may be the object.
    Unknown,
}

/// One backup in an object's history.
#[derive(Debug, Clone)]
pub struct HistoryItem {
    /// The backup.
    pub entry: BackupEntry,
    /// The source that holds it.
    pub source: Option<Name>,
    /// Against the backup before it.
    pub step: Step,
    /// It was deleted and made again since.
    pub recreated: bool,
    /// What changed since.
    pub fields: Vec<ChangedField>,
    /// How many more fields changed.
    pub omitted: u64,
    /// What else is worth a line.
    pub note: Option<String>,
}

/// What came of a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryTotals {
    /// Backups that were looked at.
    pub backups: u64,
    /// Of these, what holds the object.
    pub holding: u64,
    /// What is damaged of all that was read.
    pub damaged: u64,
    /// Backups whose parts were read.
    pub parts_read: u64,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct HistoryOptions {
    /// The object's kind.
    pub kind: KindWord,
    /// The object.
    pub name: ObjectName,
    /// Only backups that began not before this.
    pub since: Option<Timestamp>,
    /// Values that may be secret are shown; those of Secrets never are.
    pub reveal: bool,
}

/// The history of an object in the backups of a policy (of the repository without one), newest first. `on` hears of
/// each backup, until it has enough.
///
/// # Errors
/// [`Error::SeveralKinds`], or that the store cannot be read. A backup that is damaged is an item.
pub async fn history(
    repository: &Repository,
    policy: Option<&Policy>,
    options: &HistoryOptions,
    on: &mut dyn FnMut(HistoryItem) -> ControlFlow<()>,
    run: &Run,
) -> Result<HistoryTotals, Error> {
    let mut history = History { repository, options, run, totals: HistoryTotals::default() };
    let (mut lines, mut count) = (Vec::new(), 0);
    for (policy, schedule) in repository.schedules(&catalog::scope_of(policy)).await? {
        let (backups, entries) = repository.newest_first(&Scope::Schedule(policy, schedule)).await?;
        count += backups;
        lines.push(Line { entries, head: None });
    }
    run.monitor.phase("reading", "backups", u64::try_from(count).ok());
    for line in &mut lines {
        line.head = history.next_of(&mut line.entries).await?.filter(|head| options.is_meant(head));
    }
    let newest = |line: &Line<'_>| line.head.as_ref().map(|head| head.entry.backup.clone());
    while let Some(line) = lines.iter_mut().max_by_key(|line| newest(line)) {
        let Some(head) = line.head.take() else { break };
        let mut older = history.next_of(&mut line.entries).await?;
        let item = history.compare(head, older.as_mut()).await?;
        history.totals.backups += 1;
        line.head = older.filter(|older| options.is_meant(older));
        if on(item).is_break() {
            break;
        }
    }
    Ok(history.totals)
}

impl HistoryOptions {
    fn is_meant(&self, seen: &Seen) -> bool {
        let started = seen.entry.summary().map_or_else(|| seen.entry.backup.time(), |summary| summary.started);
        self.since.is_none_or(|since| started >= since)
    }
}

/// The backups of one schedule, newest first.
struct Line<'a> {
    entries: BoxStream<'a, Result<BackupEntry, repository::Error>>,
    /// The newest one that nobody has heard of yet.
    head: Option<Seen>,
}

struct History<'a> {
    repository: &'a Repository,
    options: &'a HistoryOptions,
    run: &'a Run,
    totals: HistoryTotals,
}

impl History<'_> {
    /// Looks at the next backup of a schedule.
    async fn next_of(
        &mut self,
        entries: &mut BoxStream<'_, Result<BackupEntry, repository::Error>>,
    ) -> Result<Option<Seen>, Error> {
        while let Some(entry) = entries.try_next().await? {
            if self.run.cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            self.run.monitor.advance(1);
            if !matches!(entry.listed, Listed::Aborted) {
                return Ok(Some(self.look(entry).await?));
            }
        }
        Ok(None)
    }

    /// What became of the object from `older` to `newer`.
    async fn compare(&mut self, mut newer: Seen, older: Option<&mut Seen>) -> Result<HistoryItem, Error> {
        let Some(older) = older else {
            self.read(&mut newer).await?;
            return Ok(self.item(newer, None, false));
        };
        // Equal parts hold equal objects: what is known of the one is known of the other.
        if newer.held.is_equal_to(&older.held) {
            self.read(&mut newer).await?;
            older.held.learn_from(&newer.held);
            return Ok(self.item(newer, Some(older), true));
        }
        self.read(&mut newer).await?;
        self.read(older).await?;
        Ok(self.item(newer, Some(older), false))
    }

    /// The item of `newer`, whose object was read. `is_same`: the parts that would hold it are equal in both.
    fn item(&mut self, newer: Seen, older: Option<&Seen>, is_same: bool) -> HistoryItem {
        let mut changed = Changed::default();
        let object = newer.object();
        let step = match (object, older) {
            (None, _) if !newer.is_known() => Step::Unknown,
            (None, _) if !newer.is_covered => Step::NotCovered,
            (_, Some(older)) if !older.is_known() => Step::Unknown,
            (Some((_, object)), older) => match older.and_then(Seen::object) {
                None => Step::First,
                Some(_) if is_same => Step::Same,
                Some((_, before)) => match judge(before, object, self.options.reveal) {
                    ObjectChange::Changed(found) => {
                        changed = found;
                        Step::Changed
                    }
                    _ => Step::Same,
                },
            },
            (None, older) if older.and_then(Seen::object).is_some() => Step::Removed,
            (None, _) => Step::Absent,
        };
        self.totals.holding += u64::from(object.is_some());
        let source = object.map(|(source, _)| source.clone());
        let fields = changed.fields.into_iter().map(ChangedField::from).collect();
        let Seen { entry, note, .. } = newer;
        HistoryItem { entry, source, step, recreated: changed.recreated, fields, omitted: changed.omitted, note }
    }
}
