//! What a person wants changed in objects before they are created.

use std::collections::BTreeSet;

use json_patch::{PatchErrorKind, PatchOperation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{RecipeError, images};
use crate::{
    sources::kubernetes::{compare::GroupKind, kinds::Meta, matches, restore::transform::Prepared},
    types::LabelSelector,
};

/// Changes to objects of a backup, in this order: storage classes, images, and then the rules one after the other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Modifiers {
    /// Rules for objects of some kinds.
    pub rules: Vec<ModifierRule>,
    /// Storage classes, as (of the backup, in its place), with where that is written.
    pub storage_classes: Vec<Substitution>,
    /// Images or beginnings of them. Of several that fit, the longest counts.
    pub images: Vec<Substitution>,
}

/// One text in the place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Substitution {
    /// Where it is written: `modifiers.yaml:3:5`.
    pub at: String,
    /// What is in the backup.
    pub old: String,
    /// What is put in its place.
    pub new: String,
}

/// A JSON patch (RFC 6902) for some objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModifierRule {
    /// Where it is written: `modifiers.yaml:7:5`.
    pub at: String,
    /// Its kind (`plural.group`), by name or pattern.
    pub kind: String,
    /// Its name, by name or pattern; absent: any.
    #[serde(default)]
    pub name: Option<String>,
    /// Its namespace in the backup, by name or pattern; absent: any, and objects without one.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its labels in the backup; absent: any.
    #[serde(default)]
    pub selector: Option<LabelSelector>,
    /// What is done, step by step. A `test` that fails means that the rule is not about the object.
    pub patch: Vec<PatchStep>,
}

/// One operation of a JSON patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatchStep {
    /// Where it is written: `modifiers.yaml:9:9`.
    pub at: String,
    #[serde(flatten)]
    operation: PatchOperation,
}

/// An operation that is none of a JSON patch.
#[derive(Debug, thiserror::Error)]
#[error("not an operation of a JSON patch: {0}")]
pub struct InvalidStep(#[from] serde_json::Error);

impl PatchStep {
    /// The operation `{"op": "add", "path": "/spec/replicas", "value": 1}`, written at `at`.
    ///
    /// # Errors
    /// [`InvalidStep`] if it is none.
    pub fn new(at: String, operation: Value) -> Result<Self, InvalidStep> {
        Ok(Self { at, operation: serde_json::from_value(operation)? })
    }
}

/// One modifier of a file, by its place in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModifierRef {
    /// A rule.
    Rule(usize),
    /// A storage class.
    StorageClass(usize),
    /// An image.
    Image(usize),
}

impl Modifiers {
    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.storage_classes.is_empty() && self.images.is_empty()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = ModifierRef> {
        let rules = (0..self.rules.len()).map(ModifierRef::Rule);
        let classes = (0..self.storage_classes.len()).map(ModifierRef::StorageClass);
        rules.chain(classes).chain((0..self.images.len()).map(ModifierRef::Image))
    }

    /// Changes an object of the kind `kind_id`, which had this metadata in the backup.
    pub(super) fn apply(&self, kind_id: &str, meta: &Meta, prepared: &mut Prepared) -> Result<(), RecipeError> {
        if self.is_empty() {
            return Ok(());
        }
        self.substitute(prepared);
        for (place, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.is_about(kind_id, meta)) {
            let before = identity(&prepared.object);
            if rule.apply(kind_id, prepared)? {
                prepared.used.push(ModifierRef::Rule(place));
            }
            if identity(&prepared.object) != before {
                return Err(RecipeError::Identity { at: rule.at.clone(), object: called(kind_id, meta) });
            }
        }
        Ok(())
    }

    fn substitute(&self, prepared: &mut Prepared) {
        let mut done = Vec::new();
        if !self.storage_classes.is_empty() {
            for (path, place) in images::storage_classes(&mut prepared.object) {
                let found = self.storage_classes.iter().enumerate().find(|(_, it)| place.as_str() == Some(&it.old));
                let Some((number, it)) = found else { continue };
                *place = Value::String(it.new.clone());
                done.push((
                    ModifierRef::StorageClass(number),
                    path,
                    it.at.clone(),
                    format!("{} to {}", it.old, it.new),
                ));
            }
        }
        if !self.images.is_empty() {
            for (path, place) in images::images(&mut prepared.object) {
                let Some(old) = place.as_str().map(str::to_owned) else { continue };
                let fitting = self.images.iter().enumerate().filter_map(|(number, it)| {
                    images::mapped_image(&old, &it.old, &it.new).map(|new| (it.old.len(), number, new))
                });
                let Some((_, number, new)) = fitting.max_by_key(|(length, ..)| *length) else { continue };
                let at = self.images.get(number).map(|it| it.at.clone()).unwrap_or_default();
                done.push((ModifierRef::Image(number), path, at, format!("{old} to {new}")));
                *place = Value::String(new);
            }
        }
        for (modifier, path, at, what) in done {
            prepared.used.push(modifier);
            prepared.ask(path, at, what);
        }
    }
}

const TOO_LARGE: &str = "it would be larger than 16 MiB, and no API server takes that";

/// Whether its text is larger than any object of an API server.
fn is_too_large(object: &Value) -> bool {
    struct Room(usize);
    impl std::io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Room(16 << 20), object).is_err()
}

impl ModifierRule {
    fn is_about(&self, kind_id: &str, meta: &Meta) -> bool {
        let fits = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|pattern| matches(pattern, text));
        matches(&self.kind, kind_id)
            && fits(&self.name, &meta.name)
            && (self.namespace.is_none() || !meta.namespace.is_empty())
            && fits(&self.namespace, &meta.namespace)
            && self.selector.as_ref().is_none_or(|selector| selector.matches(&meta.labels))
    }

    /// Does what the rule says, all of it or nothing. `false`: a test says that the rule is not about this object.
    fn apply(&self, kind_id: &str, prepared: &mut Prepared) -> Result<bool, RecipeError> {
        let hidden = GroupKind::of(&prepared.object).is("", "Secret");
        let mut object = prepared.object.clone();
        let mut changes = Vec::new();
        let refused = |at: &str, operation: &PatchOperation, why: &'static str| {
            let meta = prepared.object.get("metadata").and_then(|meta| Meta::deserialize(meta).ok());
            RecipeError::Patch {
                at: at.to_owned(),
                operation: word(operation),
                path: operation.path().to_string(),
                object: called(kind_id, &meta.unwrap_or_default()),
                why,
            }
        };
        for PatchStep { at, operation } in &self.patch {
            let path = operation.path().as_str();
            let before = object.pointer(path).map(|value| shown(value, hidden));
            let is_test = matches!(operation, PatchOperation::Test(_));
            match json_patch::patch(&mut object, std::slice::from_ref(operation)) {
                Ok(()) => {}
                Err(_) if is_test => return Ok(false),
                Err(error) => return Err(refused(at, operation, why(&error.kind))),
            }
            // Each copy may double it.
            if matches!(operation, PatchOperation::Copy(_)) && is_too_large(&object) {
                return Err(refused(at, operation, TOO_LARGE));
            }
            if is_test {
                continue;
            }
            let value = match operation {
                PatchOperation::Add(add) => Some(&add.value),
                PatchOperation::Replace(replace) => Some(&replace.value),
                _ => object.pointer(path),
            };
            let after =
                value.filter(|_| !matches!(operation, PatchOperation::Remove(_))).map(|value| shown(value, hidden));
            changes.push((path.to_owned(), at.clone(), told(before, after)));
            if let PatchOperation::Move(it) = operation {
                changes.push((it.from.as_str().to_owned(), at.clone(), "removed".to_owned()));
            }
        }
        prepared.object = object;
        for (path, at, what) in changes {
            prepared.ask(path, at, what);
        }
        Ok(true)
    }
}

fn told(before: Option<String>, after: Option<String>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!("{before} to {after}"),
        (None, Some(after)) => format!("added {after}"),
        (Some(before), None) => format!("removed {before}"),
        (None, None) => "changed".to_owned(),
    }
}

fn shown(value: &Value, hidden: bool) -> String {
    if hidden { "(hidden)".to_owned() } else { crate::sources::kubernetes::compare::shortened(value) }
}

fn word(operation: &PatchOperation) -> &'static str {
    match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => "test",
    }
}

fn why(kind: &PatchErrorKind) -> &'static str {
    match kind {
        PatchErrorKind::InvalidFromPointer => "there is nothing at `from`",
        PatchErrorKind::CannotMoveInsideItself => "it cannot be moved into itself",
        _ => "there is no such place in the object",
    }
}

/// What no modifier may change.
fn identity(object: &Value) -> [Option<Value>; 5] {
    ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace", "/metadata/uid"]
        .map(|pointer| object.pointer(pointer).cloned())
}

/// An object as messages name it.
fn called(kind_id: &str, meta: &Meta) -> String {
    let place = if meta.namespace.is_empty() { String::new() } else { format!("{}/", meta.namespace) };
    crate::types::for_terminal(&format!("{kind_id} {place}{}", meta.name)).to_string()
}

/// The modifiers that are about something.
pub(in super::super) type Used = BTreeSet<ModifierRef>;
