//! The objects of a backup one by one, without a cluster: for lists, exports and differences.

pub mod diff;
mod words;

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{
    compare::GroupKind,
    restore::{Lines, NotHeld, RestoreError},
    selection,
};
use crate::types::{BackupContents, MediaType, Name, StreamInfo, nearest};
pub use words::{InvalidObjectName, KindWord, ObjectName};

/// Which objects of a backup are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectFilter {
    /// Only of these sources; empty: of all.
    pub sources: Vec<Name>,
    /// Only in namespaces of these names or patterns; empty: in all, and in none.
    pub namespaces: Vec<String>,
    /// Only of these kinds; empty: of all.
    pub kinds: Vec<KindWord>,
}

impl ObjectFilter {
    /// The same for what has these streams: a kind that is written exactly is that one alone.
    ///
    /// # Errors
    /// [`NotHeld`] for a namespace or a kind of which they hold nothing, with what is near.
    pub fn narrow<'s>(mut self, streams: impl Iterator<Item = &'s StreamInfo>) -> Result<Self, NotHeld> {
        let (mut kinds, mut namespaces, mut databases) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for stream in streams.filter(|stream| self.sources.is_empty() || self.sources.contains(&stream.source)) {
            if stream.media_type == MediaType::KubernetesObjects {
                kinds.insert(stream.name.as_str());
                namespaces.extend(stream.parts.iter().map(|part| part.name.as_str()).filter(|name| !name.is_empty()));
            } else {
                databases.insert(&stream.source);
            }
        }
        let is_narrow = !self.namespaces.is_empty() || !self.kinds.is_empty();
        if let Some(database) = databases.first().filter(|_| is_narrow && kinds.is_empty()) {
            return Err(NotHeld::Database(database.to_string()));
        }
        let near = |wanted: &str, held: &BTreeSet<&str>| -> Vec<String> {
            nearest(wanted, held.iter().copied()).into_iter().map(str::to_owned).collect()
        };
        for wanted in &self.namespaces {
            if !namespaces.iter().any(|held| selection::matches(wanted, held)) {
                return Err(NotHeld::Namespace(wanted.clone(), near(wanted, &namespaces)));
            }
        }
        let mut chosen = Vec::new();
        for wanted in &self.kinds {
            let meant = wanted.choose(kinds.iter().copied());
            if meant.is_empty() {
                return Err(NotHeld::KindWord(wanted.to_string(), near(wanted.as_str(), &kinds)));
            }
            chosen.extend(meant.into_iter().map(KindWord::of_id));
        }
        self.kinds = chosen;
        Ok(self)
    }

    /// The stream may hold some of them.
    #[must_use]
    pub fn takes_stream(&self, stream: &StreamInfo) -> bool {
        stream.media_type == MediaType::KubernetesObjects
            && (self.sources.is_empty() || self.sources.contains(&stream.source))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.means(&stream.name)))
    }

    /// The part of this name holds some of them.
    #[must_use]
    pub fn takes_part(&self, part: &str) -> bool {
        let takes = |pattern: &String| selection::matches(pattern, part);
        self.namespaces.is_empty() || (!part.is_empty() && self.namespaces.iter().any(takes))
    }
}

/// What names an object, and which object it is. All else is passed over without recursion.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    metadata: HeadMeta,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct HeadMeta {
    name: String,
    #[serde(default)]
    namespace: String,
}

/// An object as it is stored.
#[derive(Debug, Clone)]
pub struct StoredObject {
    line: Bytes,
    head: Head,
}

impl StoredObject {
    /// Its `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> &str {
        &self.head.api_version
    }

    /// Its `kind`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.head.kind
    }

    /// Its namespace; empty: it has none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.head.metadata.namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.head.metadata.name
    }

    /// Its bytes as the server sent them, as JSON.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.line
    }

    /// The same in memory of its own: a line shares that of all that was read with it.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { line: Bytes::copy_from_slice(&self.line), head: self.head }
    }

    /// The object.
    ///
    /// # Errors
    /// Why it cannot be read: an API server takes custom resources that are nested more deeply than a reader with a
    /// bounded stack follows.
    pub fn value(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.line)
            .map_err(|error| format!("it cannot be read: {error}; is it nested too deeply?"))
    }
}

/// The objects of one part, in the order in which they are stored.
pub struct Objects {
    lines: Lines,
    part: String,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("part", &self.part).finish_non_exhaustive()
    }
}

impl Objects {
    /// Begins to read a part of a stream of Kubernetes objects.
    ///
    /// # Errors
    /// [`RestoreError::Contents`] if its chunks cannot be found.
    pub async fn open(contents: &dyn BackupContents, stream: &StreamInfo, part: usize) -> Result<Self, RestoreError> {
        let name = stream.parts.get(part).map(|part| part.name.clone()).unwrap_or_default();
        Ok(Self { lines: Lines::open(contents, stream, part).await?, part: name })
    }

    /// The next object. The last one counts only when `None` was given: then all of the part was proven.
    ///
    /// # Errors
    /// [`RestoreError`] if the backup cannot be read, or holds what is no object of this part.
    pub async fn next(&mut self) -> Result<Option<StoredObject>, RestoreError> {
        let Some(line) = self.lines.next().await? else { return Ok(None) };
        let head: Head = match serde_json::from_slice(&line) {
            Ok(head) => head,
            Err(error) => return Err(self.lines.malformed(format!("it is no object ({error})"))),
        };
        if head.api_version.is_empty() || head.kind.is_empty() || head.metadata.name.is_empty() {
            return Err(self.lines.malformed("it has no apiVersion, kind or name".to_owned()));
        }
        if head.metadata.namespace != self.part {
            let namespace = crate::types::for_terminal(&head.metadata.namespace).into_owned();
            return Err(self.lines.malformed(format!("it is of namespace `{namespace}`")));
        }
        Ok(Some(StoredObject { line, head }))
    }
}

/// An object without the values of a Secret: they are in `data` and `stringData`, and in the annotation in which kubectl
/// keeps what it applied.
#[must_use]
pub fn without_secrets(mut object: Value) -> Value {
    if !GroupKind::of(&object).is("", "Secret") {
        return object;
    }
    let hidden = || Value::from("a value that is not shown");
    for field in ["data", "stringData"] {
        for value in object.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()) {
            *value = hidden();
        }
    }
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    for value in annotations.into_iter().flat_map(|map| map.values_mut()) {
        *value = hidden();
    }
    object
}

/// The object of this name in a part, if it is there. All of the part is read, and so proven.
///
/// # Errors
/// Those of [`Objects::next`].
pub async fn find(
    contents: &dyn BackupContents,
    stream: &StreamInfo,
    part: usize,
    name: &str,
) -> Result<Option<StoredObject>, RestoreError> {
    let mut objects = Objects::open(contents, stream, part).await?;
    let mut found = None;
    while let Some(object) = objects.next().await? {
        if object.name() == name {
            found = Some(object.detached());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sources::kubernetes::restore::testing::MemoryContents;

    #[test]
    fn a_secret_is_shown_without_its_values() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"password": "aHVudGVyMg=="},
            "stringData": {"other": "hunter2"},
            "metadata": {"name": "s", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2"}}});
        let shown = without_secrets(secret.clone()).to_string();
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
        assert!(shown.contains("password") && shown.contains("Opaque"));
        let mut other = secret;
        other["kind"] = json!("ConfigMap");
        assert_eq!(without_secrets(other.clone()), other);
    }

    #[test]
    fn a_filter_that_means_nothing_is_refused_and_names_what_is_near() {
        let mut contents = MemoryContents::new(&Name::new("services").unwrap(), Vec::new());
        for (kind, namespace) in
            [("configmaps", "orders"), ("services", "orders"), ("services.serving.example.org", "a")]
        {
            contents.add_text(kind, namespace, String::new());
        }
        let filter = |namespaces: &[&str], kinds: &[&str]| ObjectFilter {
            sources: Vec::new(),
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            kinds: kinds.iter().map(|kind| KindWord::new(kind)).collect(),
        };
        let narrow = |namespaces: &[&str], kinds: &[&str]| {
            let narrowed = filter(namespaces, kinds).narrow(contents.streams().iter());
            let taken = |filter: ObjectFilter| -> Vec<String> {
                let streams = contents.streams().iter().filter(|stream| filter.takes_stream(stream));
                streams.map(|stream| stream.name.clone()).collect()
            };
            narrowed.map(taken).map_err(|error| error.to_string())
        };
        assert_eq!(
            narrow(&["order"], &[]).unwrap_err(),
            "the backup holds no namespace `order`; did you mean `orders`?"
        );
        assert_eq!(
            narrow(&[], &["Configmpas"]).unwrap_err(),
            "the backup holds no kind `configmpas`; did you mean `configmaps`?"
        );
        assert!(narrow(&["x-*"], &[]).is_err() && narrow(&[], &["*.apps"]).is_err());
        // The twins: what is there, by name and by pattern; and the kind that is written exactly is that one alone.
        assert_eq!(narrow(&["ord*"], &["cm"]).unwrap(), ["configmaps"]);
        assert_eq!(narrow(&[], &["services"]).unwrap(), ["services"]);
        assert_eq!(narrow(&[], &["service"]).unwrap(), ["services", "services.serving.example.org"]);
        assert_eq!(narrow(&[], &[]).unwrap().len(), 3);
        let mut database = contents.streams()[0].clone();
        database.media_type = MediaType::Table;
        let refused = filter(&["orders"], &[]).narrow([&database].into_iter()).unwrap_err().to_string();
        assert_eq!(refused, "source `services` is a database, and has neither namespaces nor kinds");
    }

    #[tokio::test]
    async fn objects_are_read_by_name_and_strange_ones_are_damage() {
        let mut contents = MemoryContents::new(&Name::new("s").unwrap(), Vec::new());
        let line = |name: &str, namespace: &str| {
            format!(
                "{}\n",
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}})
            )
        };
        contents.add_text("configmaps", "n", [line("a", "n"), line("b", "n")].concat());
        contents.add_text("secrets", "n", line("a", "other"));
        contents.add_text("pods", "n", "{}\n".to_owned());
        let found = find(&contents, &contents.streams()[0], 0, "b").await.unwrap().unwrap();
        assert_eq!((found.name(), found.namespace(), found.kind()), ("b", "n", "ConfigMap"));
        assert!(find(&contents, &contents.streams()[0], 0, "c").await.unwrap().is_none());
        for (stream, reason) in [(1, "it is of namespace `other`"), (2, "it is no object")] {
            let error = find(&contents, &contents.streams()[stream], 0, "a").await.unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
