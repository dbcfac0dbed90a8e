//! Databases of two backups: tables by rows and digest, what they define by the digest of its SQL. No rows are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use super::{ChangedField, Diff, DiffItem, DiffKind, DiffSubject};
use crate::{
    operations::Error,
    repository::BackupReader,
    sources::{
        mongodb,
        postgres::{self, contents},
    },
    types::{BackupContents, MediaType, Name, RowDigest, StreamInfo},
};

/// Characters of a digest that are shown.
const SHOWN: usize = 16;

/// What can be said of rows without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rows {
    count: u64,
    bytes: u64,
    digest: Option<RowDigest>,
}

impl Rows {
    fn of(stream: &StreamInfo) -> Self {
        let mut rows = Self { count: 0, bytes: 0, digest: Some(RowDigest::default()) };
        for part in &stream.parts {
            rows.count = rows.count.saturating_add(part.count);
            rows.bytes = rows.bytes.saturating_add(part.length);
            match (&mut rows.digest, &part.digest) {
                (Some(sum), Some(part)) => sum.add(part),
                _ => rows.digest = None,
            }
        }
        rows
    }

    fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.bytes = self.bytes.saturating_add(other.bytes);
        match (&mut self.digest, &other.digest) {
            (Some(sum), Some(other)) => sum.add(other),
            _ => self.digest = None,
        }
    }

    fn changed(self, other: Self) -> Vec<ChangedField> {
        let digest = |digest: Option<RowDigest>| {
            digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string().chars().take(SHOWN).collect())
        };
        let sides = [
            ("rows", self.count.to_string(), other.count.to_string()),
            ("bytes", self.bytes.to_string(), other.bytes.to_string()),
            ("digest", digest(self.digest), digest(other.digest)),
        ];
        let differs = |(_, old, new): &(&str, String, String)| old != new;
        let field =
            |(path, old, new): (&str, _, _)| ChangedField { path: path.to_owned(), old: Some(old), new: Some(new) };
        sides.into_iter().filter(differs).map(field).collect()
    }
}

impl Diff<'_> {
    pub(super) async fn databases(&mut self) -> Result<ControlFlow<()>, Error> {
        let pairs = self.database_pairs();
        let mut large: BTreeMap<&Name, (Option<Rows>, Option<Rows>)> = BTreeMap::new();
        let mut sources: BTreeSet<&Name> = BTreeSet::new();
        for ((source, name), (old, new)) in pairs {
            sources.insert(source);
            let rows = (old.map(Rows::of), new.map(Rows::of));
            let is = |media_type| old.or(new).is_some_and(|stream| stream.media_type == media_type);
            if is(MediaType::Table) {
                if self.rows(source, DiffSubject::Table, name, rows).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            } else if is(MediaType::Collection) {
                if self.rows(source, DiffSubject::Collection, name, rows).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            } else if name.starts_with("large-objects/") && is(MediaType::Blob) {
                // Their streams are named by dump ids, which another dump gives anew.
                let sums = large.entry(source).or_default();
                for (sum, rows) in [(&mut sums.0, rows.0), (&mut sums.1, rows.1)] {
                    match (sum.as_mut(), rows) {
                        (Some(sum), Some(rows)) => sum.add(rows),
                        (None, rows) => *sum = rows,
                        (Some(_), None) => {}
                    }
                }
            }
        }
        for (source, rows) in large {
            if self.rows(source, DiffSubject::LargeObjects, "large objects", rows).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        for source in sources {
            if self.definitions(source).await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn rows(
        &mut self,
        source: &Name,
        subject: DiffSubject,
        name: &str,
        rows: (Option<Rows>, Option<Rows>),
    ) -> ControlFlow<()> {
        let (how, fields) = match rows {
            (Some(old), Some(new)) if old == new && old.digest.is_some() => {
                self.totals.parts_equal += 1;
                return ControlFlow::Continue(());
            }
            (Some(old), Some(new)) => (DiffKind::Changed, old.changed(new)),
            (Some(_), None) => (DiffKind::Removed, Vec::new()),
            (None, Some(_)) => (DiffKind::Added, Vec::new()),
            (None, None) => return ControlFlow::Continue(()),
        };
        self.found(item(how, subject, source, name, fields))
    }

    /// What the database defines, from its table of contents.
    async fn definitions(&mut self, source: &Name) -> Result<ControlFlow<()>, Error> {
        let (old, new) = (defined(self.old, source).await?, defined(self.new, source).await?);
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let how = match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) if old == new => continue,
                (Some(_), Some(_)) => DiffKind::Changed,
                (Some(_), None) => DiffKind::Removed,
                (None, _) => DiffKind::Added,
            };
            if self.found(item(how, DiffSubject::Definition, source, name, Vec::new())).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What a backup says that the source's database defines; nothing, if it does not hold the source.
async fn defined(contents: &BackupReader, source: &Name) -> Result<BTreeMap<String, RowDigest>, Error> {
    let has = |name: &str| contents.streams().iter().any(|stream| stream.source == *source && stream.name == name);
    if has(mongodb::contents::DEFINITIONS) && has(mongodb::contents::METADATA) {
        return Ok(mongodb::contents::defined(contents, source).await.map_err(mongodb::Error::Contents)?);
    }
    if !has(contents::TOC) {
        return Ok(BTreeMap::new());
    }
    let toc = contents::read_toc(contents, source).await.map_err(postgres::Error::Contents)?;
    Ok(contents::definitions(&toc))
}

fn item(how: DiffKind, subject: DiffSubject, source: &Name, name: &str, fields: Vec<ChangedField>) -> DiffItem {
    DiffItem {
        how,
        subject,
        source: source.to_string(),
        kind: String::new(),
        namespace: String::new(),
        name: name.to_owned(),
        recreated: false,
        fields,
        omitted: 0,
    }
}
