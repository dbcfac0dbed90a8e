//! What changed from one backup to another. Parts with the same bytes are known by their digests, and not read.

mod database;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use super::{Error, Run};
use crate::{
    repository::{BackupReader, Repository, StoredManifest},
    sources::kubernetes::{
        compare::Difference,
        objects::{
            KindWord, ObjectFilter,
            diff::{self, Changed, ObjectChange, PartOf},
        },
    },
    types::{BackupContents as _, MediaType, Name, StreamInfo},
};

/// Bytes that the reader of each backup may hold.
const MEMORY: u64 = 16 << 20;

/// What is compared, and how it is shown.
#[derive(Debug, Clone, Default)]
pub struct DiffOptions {
    /// Only these sources; empty: all.
    pub sources: Vec<Name>,
    /// Only objects in these namespaces; empty: all.
    pub namespaces: Vec<String>,
    /// Only objects of these kinds; empty: all.
    pub kinds: Vec<KindWord>,
    /// Values that may be secret (data, variables, texts in custom resources, …) are shown; those of Secrets never are.
    pub reveal: bool,
}

/// A field that is not the same in two backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedField {
    /// Where.
    pub path: String,
    /// What was there.
    pub old: Option<String>,
    /// What is there.
    pub new: Option<String>,
}

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffSubject {
    /// A Kubernetes object.
    Object,
    /// The rows of a table.
    Table,
    /// The documents of a collection.
    Collection,
    /// The large objects of a database.
    LargeObjects,
    /// Something that a database defines, beside rows: `TABLE public.orders`.
    Definition,
}

/// How something is not the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffKind {
    /// Only the newer one of the two has it.
    Added,
    /// Only the older one has it.
    Removed,
    /// Both have it.
    Changed,
}

/// One thing that is not the same in both backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffItem {
    /// How.
    pub how: DiffKind,
    /// What it is.
    pub subject: DiffSubject,
    /// The source.
    pub source: String,
    /// Of an object: its kind (`deployments.apps`).
    pub kind: String,
    /// Of an object: its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Of an object: it was deleted and made again.
    pub recreated: bool,
    /// The fields that are not the same.
    pub fields: Vec<ChangedField>,
    /// How many more there are.
    pub omitted: u64,
}

/// How much is not the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffTotals {
    /// Only in the newer one.
    pub added: u64,
    /// Only in the older one.
    pub removed: u64,
    /// In both.
    pub changed: u64,
    /// Objects of which only what the server sets is not the same.
    pub server_set: u64,
    /// Parts with the same bytes, which were not read.
    pub parts_equal: u64,
    /// Parts that were read.
    pub parts_read: u64,
}

/// Compares `old` with `new`; `on` hears of each difference, until it has enough.
///
/// # Errors
/// [`Error::NoSuchSource`], [`Error::NotChosen`] for a namespace or kind of which neither has anything, or what reading
/// the backups says.
pub async fn diff(
    repository: &Repository,
    (old, new): (&StoredManifest, &StoredManifest),
    options: &DiffOptions,
    on: &mut dyn FnMut(DiffItem) -> ControlFlow<()>,
    run: &Run,
) -> Result<DiffTotals, Error> {
    let held = |source: &Name| {
        [old, new].into_iter().any(|stored| stored.manifest.sources.iter().any(|entry| entry.name == *source))
    };
    if let Some(unknown) = options.sources.iter().find(|source| !held(source)) {
        let choices: BTreeSet<String> =
            [old, new].iter().flat_map(|stored| &stored.manifest.sources).map(|entry| entry.name.to_string()).collect();
        return Err(Error::NoSuchSource {
            wanted: unknown.to_string(),
            holder: "neither of the two backups".to_owned(),
            choices: choices.into_iter().collect(),
        });
    }
    let (before, after) =
        (repository.read_within(&old.manifest, MEMORY).await?, repository.read_within(&new.manifest, MEMORY).await?);
    let DiffOptions { sources, namespaces, kinds, .. } = options.clone();
    let filter = ObjectFilter { sources, namespaces, kinds }.narrow(before.streams().iter().chain(after.streams()))?;
    let mut diff = Diff { old: &before, new: &after, options, filter, on, run, totals: DiffTotals::default() };
    let only_objects = !options.namespaces.is_empty() || !options.kinds.is_empty();
    if diff.objects().await?.is_continue() && !only_objects {
        let _ = diff.databases().await?;
    }
    Ok(diff.totals)
}

struct Diff<'a> {
    old: &'a BackupReader,
    new: &'a BackupReader,
    options: &'a DiffOptions,
    filter: ObjectFilter,
    on: &'a mut dyn FnMut(DiffItem) -> ControlFlow<()>,
    run: &'a Run,
    totals: DiffTotals,
}

/// A stream in one backup, in the other, or in both.
type Pair<'a> = (Option<&'a StreamInfo>, Option<&'a StreamInfo>);

impl<'a> Diff<'a> {
    /// The streams of both backups that `takes`, by source and name.
    fn pairs(&self, takes: impl Fn(&StreamInfo) -> bool) -> BTreeMap<(&'a Name, &'a str), Pair<'a>> {
        let mut pairs: BTreeMap<(&Name, &str), Pair<'_>> = BTreeMap::new();
        for stream in self.old.streams().iter().filter(|stream| takes(stream)) {
            pairs.entry((&stream.source, &stream.name)).or_default().0 = Some(stream);
        }
        for stream in self.new.streams().iter().filter(|stream| takes(stream)) {
            pairs.entry((&stream.source, &stream.name)).or_default().1 = Some(stream);
        }
        pairs
    }

    async fn objects(&mut self) -> Result<ControlFlow<()>, Error> {
        let filter = self.filter.clone();
        for ((source, kind), (old, new)) in self.pairs(|stream| filter.takes_stream(stream)) {
            let parts = |stream: Option<&'a StreamInfo>| -> BTreeMap<&'a str, usize> {
                let parts = stream.into_iter().flat_map(|stream| &stream.parts).zip(0..);
                parts.map(|(part, place)| (part.name.as_str(), place)).collect()
            };
            let (before, after) = (parts(old), parts(new));
            let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
            for name in names.into_iter().filter(|name| filter.takes_part(name)) {
                let old = old.zip(before.get(name).copied());
                let new = new.zip(after.get(name).copied());
                if self.part((source, kind), old, new).await?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// A namespace's objects of one kind.
    async fn part(
        &mut self,
        (source, kind): (&Name, &str),
        old: Option<(&StreamInfo, usize)>,
        new: Option<(&StreamInfo, usize)>,
    ) -> Result<ControlFlow<()>, Error> {
        let info = |at: Option<(&'_ StreamInfo, usize)>| {
            at.and_then(|(stream, part)| stream.parts.get(part).map(|part| (part.length, part.blake3)))
        };
        if info(old).is_some() && info(old) == info(new) {
            self.totals.parts_equal += 1;
            return Ok(ControlFlow::Continue(()));
        }
        self.totals.parts_read += 1;
        let old = old.map(|(stream, part)| PartOf { contents: self.old, stream, part });
        let new = new.map(|(stream, part)| PartOf { contents: self.new, stream, part });
        let (totals, on) = (&mut self.totals, &mut *self.on);
        let mut hear = |namespace: &str, name: &str, change: ObjectChange| {
            let (how, changed) = match change {
                ObjectChange::ServerSet => {
                    totals.server_set += 1;
                    return ControlFlow::Continue(());
                }
                ObjectChange::Added => (DiffKind::Added, Changed::default()),
                ObjectChange::Removed => (DiffKind::Removed, Changed::default()),
                ObjectChange::Changed(changed) => (DiffKind::Changed, changed),
            };
            totals.count(how);
            on(DiffItem {
                how,
                subject: DiffSubject::Object,
                source: source.to_string(),
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                recreated: changed.recreated,
                fields: changed.fields.into_iter().map(ChangedField::from).collect(),
                omitted: changed.omitted,
            })
        };
        let flow = diff::parts(old, new, self.options.reveal, &self.run.cancel, &mut hear).await;
        Ok(flow?)
    }

    /// Hands on one difference of a database.
    fn found(&mut self, item: DiffItem) -> ControlFlow<()> {
        self.totals.count(item.how);
        (self.on)(item)
    }

    /// What belongs to databases.
    fn database_pairs(&self) -> BTreeMap<(&'a Name, &'a str), Pair<'a>> {
        let wanted = |source: &Name| self.options.sources.is_empty() || self.options.sources.contains(source);
        self.pairs(|stream| stream.media_type != MediaType::KubernetesObjects && wanted(&stream.source))
    }
}

impl DiffTotals {
    fn count(&mut self, how: DiffKind) {
        match how {
            DiffKind::Added => self.added += 1,
            DiffKind::Removed => self.removed += 1,
            DiffKind::Changed => self.changed += 1,
        }
    }
}

impl From<Difference> for ChangedField {
    fn from(Difference { path, expected, live }: Difference) -> Self {
        Self { path, old: expected, new: live }
    }
}
