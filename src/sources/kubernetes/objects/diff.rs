//! What changed in a part from one backup to another, within bounded memory.
//!
//! Of the older part only digests of names and lines are held. Objects of the newer part that are not the same wait
//! in a batch of bounded size, for which the older part is read again.

use std::{collections::HashMap, ops::ControlFlow};

use tokio_util::sync::CancellationToken;

use super::{Objects, StoredObject};
use crate::{
    sources::kubernetes::{
        compare::{self, Difference},
        restore::RestoreError,
    },
    types::{BackupContents, Blake3Digest, StreamInfo},
};

/// Bytes of changed objects that wait for their older versions.
const MAX_WAITING: usize = 8 << 20;
/// Fields of an object that are listed.
const MAX_FIELDS: usize = 100;

/// A part of a stream of a backup.
#[derive(Debug, Clone, Copy)]
pub struct PartOf<'a> {
    /// The backup.
    pub contents: &'a dyn BackupContents,
    /// The stream.
    pub stream: &'a StreamInfo,
    /// The part's place in it.
    pub part: usize,
}

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectChange {
    /// Only the newer backup holds it.
    Added,
    /// Only the older one does.
    Removed,
    /// Both hold it, and these fields are not the same.
    Changed(Changed),
    /// Both hold it, and only what the server sets is not the same.
    ServerSet,
}

/// How an object changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// It was deleted and made again in between.
    pub recreated: bool,
    /// The fields that are not the same: `expected` is the older value, `live` the newer one.
    pub fields: Vec<Difference>,
    /// How many more there are.
    pub omitted: u64,
}

/// Hears of each object that is not the same: its namespace, its name, and what became of it. `Break`: enough.
pub type OnChange<'a> = &'a mut dyn FnMut(&str, &str, ObjectChange) -> ControlFlow<()>;

/// Sixteen bytes of a digest tell the objects of a part apart.
type Short = [u8; 16];

fn short(bytes: &[u8]) -> Short {
    let digest = Blake3Digest::of(bytes);
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    short
}

/// Compares a part of two backups; `None` is a part that the backup has not.
///
/// # Errors
/// [`RestoreError`] if a backup cannot be read.
pub async fn parts(
    old: Option<PartOf<'_>>,
    new: Option<PartOf<'_>>,
    reveal: bool,
    cancel: &CancellationToken,
    on: OnChange<'_>,
) -> Result<ControlFlow<()>, RestoreError> {
    let mut known = match old {
        Some(old) => digests(old, cancel).await?,
        None => HashMap::new(),
    };
    let mut diff = Diff { old, reveal, cancel, on, waiting: HashMap::new(), bytes: 0 };
    if let Some(new) = new {
        let mut objects = Objects::open(new.contents, new.stream, new.part).await?;
        while let Some(object) = objects.next().await? {
            if cancel.is_cancelled() {
                return Err(RestoreError::Interrupted);
            }
            let name = short(object.name().as_bytes());
            let flow = match known.remove(&name) {
                None => (diff.on)(object.namespace(), object.name(), ObjectChange::Added),
                Some(line) if line == short(object.bytes()) => ControlFlow::Continue(()),
                Some(_) => diff.wait(name, object).await?,
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
    }
    if diff.waiting.is_empty() && known.is_empty() {
        return Ok(ControlFlow::Continue(()));
    }
    diff.settle(&known).await
}

/// Of each object of a part its name and its line.
async fn digests(of: PartOf<'_>, cancel: &CancellationToken) -> Result<HashMap<Short, Short>, RestoreError> {
    let mut known = HashMap::new();
    let mut objects = Objects::open(of.contents, of.stream, of.part).await?;
    while let Some(object) = objects.next().await? {
        if cancel.is_cancelled() {
            return Err(RestoreError::Interrupted);
        }
        known.insert(short(object.name().as_bytes()), short(object.bytes()));
    }
    Ok(known)
}

struct Diff<'a> {
    old: Option<PartOf<'a>>,
    reveal: bool,
    cancel: &'a CancellationToken,
    on: OnChange<'a>,
    /// Newer versions whose older ones are to be read.
    waiting: HashMap<Short, StoredObject>,
    bytes: usize,
}

impl Diff<'_> {
    async fn wait(&mut self, name: Short, object: StoredObject) -> Result<ControlFlow<()>, RestoreError> {
        self.bytes += object.bytes().len();
        self.waiting.insert(name, object.detached());
        if self.bytes < MAX_WAITING {
            return Ok(ControlFlow::Continue(()));
        }
        self.settle(&HashMap::new()).await
    }

    /// Reads the older part for what waits. What is in `removed` as well is in no newer part.
    async fn settle(&mut self, removed: &HashMap<Short, Short>) -> Result<ControlFlow<()>, RestoreError> {
        self.bytes = 0;
        let Some(old) = self.old else { return Ok(ControlFlow::Continue(())) };
        let mut objects = Objects::open(old.contents, old.stream, old.part).await?;
        while let Some(object) = objects.next().await? {
            if self.cancel.is_cancelled() {
                return Err(RestoreError::Interrupted);
            }
            let name = short(object.name().as_bytes());
            let change = match self.waiting.remove(&name) {
                Some(new) => judge(&object, &new, self.reveal),
                None if removed.contains_key(&name) => ObjectChange::Removed,
                None => continue,
            };
            if (self.on)(object.namespace(), object.name(), change).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What changed from one version of an object to another one.
#[must_use]
pub fn judge(old: &StoredObject, new: &StoredObject, reveal: bool) -> ObjectChange {
    if old.bytes() == new.bytes() {
        return ObjectChange::ServerSet;
    }
    let (Ok(before), Ok(after)) = (old.value(), new.value()) else {
        // Nested too deeply to be taken apart: that it differs is all that can be said.
        let whole = Difference { path: ".".to_owned(), expected: None, live: None };
        return ObjectChange::Changed(Changed { fields: vec![whole], ..Changed::default() });
    };
    let uid = |object: &serde_json::Value| object.pointer("/metadata/uid").cloned();
    let recreated = uid(&before) != uid(&after);
    let mut fields = compare::changes(&before, &after, reveal);
    if fields.is_empty() && !recreated {
        return ObjectChange::ServerSet;
    }
    let omitted = u64::try_from(fields.len().saturating_sub(MAX_FIELDS)).unwrap_or(u64::MAX);
    fields.truncate(MAX_FIELDS);
    ObjectChange::Changed(Changed { recreated, fields, omitted })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{sources::kubernetes::restore::testing::MemoryContents, types::Name};

    fn object(name: &str, value: &str, version: u32) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": value},
            "metadata": {"name": name, "namespace": "n", "uid": "u", "resourceVersion": version.to_string()}})
    }

    /// The objects in this very order.
    fn contents(objects: &[Value]) -> MemoryContents {
        let mut contents = MemoryContents::new(&Name::new("s").unwrap(), Vec::new());
        contents.add_text("configmaps", "n", objects.iter().map(|object| format!("{object}\n")).collect());
        contents.piece = 100_000;
        contents
    }

    fn part(contents: &MemoryContents) -> PartOf<'_> {
        PartOf { contents, stream: &contents.streams()[0], part: 0 }
    }

    async fn diff(old: Option<&MemoryContents>, new: Option<&MemoryContents>) -> Vec<String> {
        let mut found = Vec::new();
        let mut on = |namespace: &str, name: &str, change: ObjectChange| {
            let change = match change {
                ObjectChange::Added => "added".to_owned(),
                ObjectChange::Removed => "removed".to_owned(),
                ObjectChange::ServerSet => "server".to_owned(),
                ObjectChange::Changed(changed) => {
                    let paths: Vec<_> = changed.fields.iter().map(|field| field.path.clone()).collect();
                    format!("{}{}", if changed.recreated { "again " } else { "" }, paths.join(","))
                }
            };
            found.push(format!("{namespace}/{name} {change}"));
            ControlFlow::Continue(())
        };
        let flow = parts(old.map(part), new.map(part), true, &CancellationToken::new(), &mut on).await.unwrap();
        assert!(flow.is_continue());
        found.sort();
        found
    }

    #[tokio::test]
    async fn each_object_is_judged_by_its_name_whatever_the_order() {
        let mut again = object("d", "1", 1);
        again["metadata"]["uid"] = json!("v");
        let old = contents(&[
            object("a", "1", 1),
            object("b", "1", 1),
            object("c", "1", 1),
            object("d", "1", 1),
            object("e", "1", 1),
        ]);
        let new =
            contents(&[again, object("c", "2", 2), object("f", "1", 1), object("b", "1", 2), object("e", "1", 1)]);
        let expected = ["n/a removed", "n/b server", "n/c data.k", "n/d again ", "n/f added"];
        assert_eq!(diff(Some(&old), Some(&new)).await, expected);
        assert_eq!(diff(None, Some(&contents(&[object("a", "1", 1)]))).await, ["n/a added"]);
        assert_eq!(diff(Some(&contents(&[object("a", "1", 1)])), None).await, ["n/a removed"]);
        assert!(diff(Some(&old), Some(&old)).await.is_empty());
    }

    #[tokio::test]
    async fn more_changes_than_wait_at_once_are_found_all_the_same() {
        let large = |value: &str| -> Vec<Value> {
            let filler = "x".repeat(1 << 20);
            (0..12).map(|n| object(&format!("o{n:02}"), &format!("{value}{filler}"), 1)).collect()
        };
        let found = diff(Some(&contents(&large("1"))), Some(&contents(&large("2")))).await;
        let expected: Vec<String> = (0..12).map(|n| format!("n/o{n:02} data.k")).collect();
        assert_eq!(found, expected);
    }
}
