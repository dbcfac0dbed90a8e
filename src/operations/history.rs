//! Which backups hold an object, and where it changed. Newest first; of each backup only what its parts do not
//! already say is read, and never more than two versions of the object are held.

use std::ops::ControlFlow;

use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::{Error, Run, catalog, diff::ChangedField};
use crate::{
    policy::Policy,
    repository::{BackupEntry, Listed, Repository},
    sources::kubernetes::objects::{
        self, KindWord, ObjectName, StoredObject,
        diff::{Changed, ObjectChange, judge},
    },
    types::{BackupContents as _, Blake3Digest, MediaType, Name, StreamInfo, for_terminal},
};

/// Bytes that the reader of a backup may hold.
const MEMORY: u64 = 16 << 20;

/// Against the backup before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// No backup before it holds the object.
    First,
    /// It is not as it was.
    Changed,
    /// It is as it was.
    Same,
    /// It was there, and is not.
    Removed,
    /// It was not there either.
    Absent,
    /// The backup, or the one before it, cannot be read.
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
    /// Of these, what is damaged.
    pub damaged: u64,
    /// Parts that were read.
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
    let (count, mut entries) = repository.newest_first(&catalog::scope_of(policy)).await?;
    run.monitor.phase("reading", "backups", u64::try_from(count).ok());
    let mut history = History { repository, options, totals: HistoryTotals::default() };
    let mut newer: Option<Seen> = None;
    while let Some(entry) = entries.try_next().await? {
        if run.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        if options.since.is_some_and(|since| entry.backup.time() < since) {
            break;
        }
        run.monitor.advance(1);
        if matches!(entry.listed, Listed::Aborted) {
            continue;
        }
        let mut seen = history.look(entry).await?;
        if let Some(newer) = newer.take() {
            let item = history.compare(newer, Some(&mut seen)).await?;
            if on(item).is_break() {
                return Ok(history.totals);
            }
        }
        newer = Some(seen);
    }
    if let Some(oldest) = newer {
        let _ = on(history.compare(oldest, None).await?);
    }
    Ok(history.totals)
}

struct History<'a> {
    repository: &'a Repository,
    options: &'a HistoryOptions,
    totals: HistoryTotals,
}

/// What is known of the object in one backup.
#[derive(Debug)]
struct Seen {
    entry: BackupEntry,
    held: Held,
    note: Option<String>,
}

#[derive(Debug)]
enum Held {
    /// The part that would hold it. It is read when that is needed, and the object kept.
    Part { source: Name, length: u64, digest: Blake3Digest, object: Option<Option<StoredObject>> },
    /// No part could hold it.
    Nowhere,
    /// It cannot be read.
    Unknown,
}

impl Held {
    fn fingerprint(&self) -> Option<(&Name, u64, &Blake3Digest)> {
        match self {
            Self::Part { source, length, digest, .. } => Some((source, *length, digest)),
            Self::Nowhere | Self::Unknown => None,
        }
    }
}

impl History<'_> {
    /// Where a backup would hold the object.
    async fn look(&mut self, entry: BackupEntry) -> Result<Seen, Error> {
        self.totals.backups += 1;
        let unknown = |entry, why: String| Seen { entry, held: Held::Unknown, note: Some(why) };
        if let Listed::Damaged(why) | Listed::Newer(why) = &entry.listed {
            let why = why.clone();
            self.totals.damaged += u64::from(matches!(entry.listed, Listed::Damaged(_)));
            return Ok(unknown(entry, why));
        }
        match self.part(&entry).await {
            Ok((held, note)) => Ok(Seen { entry, held, note }),
            Err(error) if is_damage(&error) => {
                self.totals.damaged += 1;
                Ok(unknown(entry, error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    async fn part(&self, entry: &BackupEntry) -> Result<(Held, Option<String>), Error> {
        let stored = self.repository.manifest(&entry.policy, &entry.schedule, &entry.backup).await?;
        let reader = self.repository.read_within(&stored.manifest, MEMORY).await?;
        let streams = reader.streams();
        let kind = self.kind(streams)?;
        let about = |what: &str| {
            kind.is_some_and(|kind| what.contains(kind)) || self.options.kind.means(what.trim_start_matches("kind "))
        };
        let missing = stored.manifest.missing.iter().find(|missing| about(&missing.what));
        let note = missing.map(|missing| {
            format!(
                "the backup is {}: missing: {}: {}",
                stored.manifest.state,
                for_terminal(&missing.what),
                for_terminal(&missing.why)
            )
        });
        let found = streams.iter().filter(|stream| is_objects(stream) && Some(stream.name.as_str()) == kind);
        for stream in found {
            if let Some(part) = stream.parts.iter().find(|part| part.name == self.options.name.namespace) {
                let (source, length, digest) = (stream.source.clone(), part.length, part.blake3);
                return Ok((Held::Part { source, length, digest, object: None }, note));
            }
        }
        Ok((Held::Nowhere, note))
    }

    /// The kind that is meant, as this backup calls it.
    fn kind<'s>(&self, streams: &'s [StreamInfo]) -> Result<Option<&'s str>, Error> {
        let names = streams.iter().filter(|stream| is_objects(stream)).map(|stream| stream.name.as_str());
        match self.options.kind.choose(names).as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            several => {
                let choices = several.iter().map(|kind| (*kind).to_owned()).collect();
                Err(Error::SeveralKinds { kind: self.options.kind.to_string(), choices })
            }
        }
    }

    /// Reads the object of `seen`, if that was not done yet.
    async fn read(&mut self, seen: &mut Seen) -> Result<(), Error> {
        let Held::Part { source, object, .. } = &mut seen.held else { return Ok(()) };
        if object.is_some() {
            return Ok(());
        }
        self.totals.parts_read += 1;
        match self.fetch(&seen.entry, source).await {
            Ok(found) => *object = Some(found),
            Err(error) if is_damage(&error) => {
                self.totals.damaged += 1;
                (seen.held, seen.note) = (Held::Unknown, Some(error.to_string()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn fetch(&self, entry: &BackupEntry, source: &Name) -> Result<Option<StoredObject>, Error> {
        let stored = self.repository.manifest(&entry.policy, &entry.schedule, &entry.backup).await?;
        let reader = self.repository.read_within(&stored.manifest, MEMORY).await?;
        let kind = self.kind(reader.streams())?;
        let name = &self.options.name;
        for stream in reader.streams().iter().filter(|stream| is_objects(stream) && stream.source == *source) {
            if Some(stream.name.as_str()) == kind
                && let Some(part) = stream.parts.iter().position(|part| part.name == name.namespace)
            {
                return Ok(objects::find(&reader, stream, part, &name.name).await?);
            }
        }
        Ok(None)
    }

    /// What became of the object from `older` to `newer`.
    async fn compare(&mut self, mut newer: Seen, older: Option<&mut Seen>) -> Result<HistoryItem, Error> {
        let Some(older) = older else {
            self.read(&mut newer).await?;
            return Ok(self.item(newer, None, Step::First));
        };
        // Equal parts hold equal objects: what is known of the one is known of the other.
        if newer.held.fingerprint().is_some() && newer.held.fingerprint() == older.held.fingerprint() {
            if let (Held::Part { object: known, .. }, Held::Part { object, .. }) = (&newer.held, &mut older.held)
                && object.is_none()
            {
                object.clone_from(known);
            }
            if matches!(newer.held, Held::Part { object: None, .. }) {
                self.read(&mut newer).await?;
                if let (Held::Part { object: known, .. }, Held::Part { object, .. }) = (&newer.held, &mut older.held) {
                    object.clone_from(known);
                }
            }
            return Ok(self.item(newer, Some(&older.held), Step::Same));
        }
        self.read(&mut newer).await?;
        self.read(older).await?;
        Ok(self.item(newer, Some(&older.held), Step::Changed))
    }

    /// The item of `newer`, whose object was read. `there` is what it is called if both hold it.
    fn item(&mut self, newer: Seen, older: Option<&Held>, there: Step) -> HistoryItem {
        let Seen { entry, held, note } = newer;
        let (known, object) = state(&held);
        let (known_before, before) = older.map_or((true, None), state);
        let mut changed = Changed::default();
        let step = match (known, object, known_before, before) {
            (false, ..) | (_, _, false, _) => Step::Unknown,
            (_, Some(_), true, None) => Step::First,
            (_, None, true, Some(_)) => Step::Removed,
            (_, None, true, None) => Step::Absent,
            (_, Some(_), true, Some(_)) if there == Step::Same => Step::Same,
            (_, Some(object), true, Some(before)) => match judge(before, object, self.options.reveal) {
                ObjectChange::Changed(found) => {
                    changed = found;
                    Step::Changed
                }
                _ => Step::Same,
            },
        };
        self.totals.holding += u64::from(object.is_some());
        let source = match &held {
            Held::Part { source, .. } if object.is_some() => Some(source.clone()),
            _ => None,
        };
        let fields = changed.fields.into_iter().map(ChangedField::from).collect();
        HistoryItem { entry, source, step, recreated: changed.recreated, fields, omitted: changed.omitted, note }
    }
}

/// Whether it is known if the object is there, and the object.
fn state(held: &Held) -> (bool, Option<&StoredObject>) {
    match held {
        Held::Part { object, .. } => (true, object.as_ref().and_then(Option::as_ref)),
        Held::Nowhere => (true, None),
        Held::Unknown => (false, None),
    }
}

fn is_objects(stream: &StreamInfo) -> bool {
    stream.media_type == MediaType::KubernetesObjects
}

/// What is wrong with one backup, and no reason not to look at the others.
fn is_damage(error: &Error) -> bool {
    use crate::sources::kubernetes::restore::RestoreError;
    match error {
        Error::Repository(error) => error.is_damage(),
        Error::Restore(RestoreError::Contents(error)) | Error::Contents(error) => error.damaged,
        Error::Restore(RestoreError::Malformed { .. }) => true,
        _ => false,
    }
}
