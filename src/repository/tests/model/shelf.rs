//! What is stored in a state of the model. Very many states are alike but for one object: so each object is kept once, and a
//! state has a list of those that are there.

use std::{
    cell::RefCell,
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use futures::FutureExt as _;
use jiff::Timestamp;

use super::{super::*, process::is_proof, world::in_place};
use crate::{repository::backend::ObjectMeta, types::Blake3Hasher};

/// Makes a number of 128 bits of whatever can be hashed: of two things that differ, the same one in one case of 2^128.
#[derive(Debug, Default)]
struct Wide(Blake3Hasher);

impl Hasher for Wide {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.wide() as u64
    }
}

impl Wide {
    fn wide(&self) -> u128 {
        let mut first = [0; 16];
        first.copy_from_slice(&self.0.finish().as_bytes()[..16]);
        u128::from_le_bytes(first)
    }
}

/// A value as a number of 128 bits.
pub(super) fn wide(value: impl Hash) -> u128 {
    let mut hasher = Wide::default();
    value.hash(&mut hasher);
    hasher.wide()
}

/// An object as it was put.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) meta: ObjectMeta,
    pub(super) bytes: Bytes,
    /// All of it.
    number: u128,
    /// What a listing shows of it.
    pub(super) listed: u64,
    /// All of it but the times that it holds, once somebody has asked for it.
    timeless: OnceLock<u128>,
}

impl Object {
    fn new(key: &Key, bytes: Bytes, modified: Timestamp) -> Self {
        let meta = ObjectMeta { key: key.clone(), size: bytes.len() as u64, modified };
        let number = wide((key.as_str(), modified.as_nanosecond(), &bytes));
        let listed = wide((key.as_str(), modified.as_nanosecond(), meta.size)) as u64;
        Self { meta, bytes, number, listed, timeless: OnceLock::new() }
    }

    /// All of it as a number; nothing, if it proves the store, which is of no account.
    fn number(&self) -> u128 {
        if is_proof(self.meta.key.as_str()) { 0 } else { self.number }
    }

    /// It without the times that it holds, and without the time of its put.
    fn timeless(&self) -> u128 {
        *self.timeless.get_or_init(|| without_times(&self.meta.key, &self.bytes))
    }
}

fn without_times(key: &Key, bytes: &Bytes) -> u128 {
    let key = key.as_str();
    let place = in_place(key);
    if place.starts_with("tombstones/") {
        return wide(key);
    }
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let fields = if place.starts_with("backups/") || place.starts_with("sessions/") {
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(first).ok()
    } else {
        None
    };
    let Some(mut fields) = fields else { return wide((key, bytes)) };
    for time in ["started", "finished", "at", "fullSince", "reason", "copied"] {
        fields.remove(time);
    }
    if let Some(previous) = fields.get_mut("previous").and_then(serde_json::Value::as_object_mut) {
        previous.remove("sha256");
    }
    wide((key, serde_json::to_string(&fields).unwrap_or_default()))
}

/// All objects that ever were, each once.
#[derive(Debug, Default)]
pub(super) struct Objects(RefCell<HashMap<u128, Arc<Object>>>);

impl Objects {
    pub(super) fn of(&self, key: &Key, bytes: Bytes, modified: Timestamp) -> Arc<Object> {
        let object = Object::new(key, bytes, modified);
        Arc::clone(self.0.borrow_mut().entry(object.number).or_insert_with(|| Arc::new(object)))
    }
}

/// The objects of a store, in the order of their keys.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    objects: Arc<[Arc<Object>]>,
    /// The numbers of all of them, one on the other.
    number: u128,
}

impl Shelf {
    /// What is in a store.
    pub(super) fn of(store: &Memory, objects: &Objects) -> Self {
        let read = |key: &Key| {
            let (meta, bytes) = (store.head(key), store.get(key, u64::MAX));
            let (meta, bytes) = (meta.now_or_never().unwrap().unwrap(), bytes.now_or_never().unwrap().unwrap());
            objects.of(key, bytes, meta.modified)
        };
        let objects: Arc<[Arc<Object>]> = store.keys().iter().map(read).collect();
        let number = objects.iter().fold(0, |sum, object| sum ^ object.number());
        Self { objects, number }
    }

    /// The same in a store of its own.
    pub(super) fn to_store(&self) -> Memory {
        let clock = Arc::new(SetClock::new(Timestamp::UNIX_EPOCH));
        let store = Memory::new(clock.clone());
        for object in &*self.objects {
            clock.set(object.meta.modified);
            store.put_new(&object.meta.key, object.bytes.clone()).now_or_never().unwrap().unwrap();
        }
        store
    }

    /// What is stored, and when it was, as a number.
    pub(super) fn number(&self) -> u128 {
        self.number
    }

    /// What is stored, as a number, without any times.
    pub(super) fn timeless(&self) -> u128 {
        let counted = self.objects.iter().filter(|object| !is_proof(object.meta.key.as_str()));
        wide(counted.map(|object| object.timeless()).collect::<Vec<u128>>())
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.objects.binary_search_by(|object| object.meta.key.as_str().cmp(key))
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(self.place(key.as_str()).ok()?)
    }

    /// Those whose keys begin so.
    pub(super) fn under(&self, prefix: &str) -> &[Arc<Object>] {
        let from = self.objects.partition_point(|object| object.meta.key.as_str() < prefix);
        let rest = &self.objects[from..];
        &rest[..rest.partition_point(|object| object.meta.key.as_str().starts_with(prefix))]
    }

    /// The same with this object, in the place of the one with its key.
    pub(super) fn with(&self, object: Arc<Object>) -> Self {
        let (place, old) = match self.place(object.meta.key.as_str()) {
            Ok(place) => (place, 1),
            Err(place) => (place, 0),
        };
        let (before, after) = (&self.objects[..place], &self.objects[place + old..]);
        let replaced = self.objects[place..place + old].iter().fold(0, |sum, object| sum ^ object.number());
        let number = self.number ^ replaced ^ object.number();
        Self { objects: before.iter().cloned().chain([object]).chain(after.iter().cloned()).collect(), number }
    }

    /// The same without the object of this key.
    pub(super) fn without(&self, key: &Key) -> Self {
        let Ok(place) = self.place(key.as_str()) else { return self.clone() };
        let number = self.number ^ self.objects[place].number();
        let kept = self.objects[..place].iter().chain(&self.objects[place + 1..]);
        Self { objects: kept.cloned().collect(), number }
    }
}
