//! A state of the model: what is stored, the time, and where each process stands.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};

use super::{
    super::*,
    process::{Answer, Call, is_proof},
    transcript::Place,
    world::{Bug, COPY, PROCESSES, Who, World, in_place},
};
use crate::{
    repository::{
        backend::{Error, ErrorKind, ObjectMeta, PutOutcome},
        control, layout,
    },
    types::BackupId,
};

/// Where a process stands.
#[derive(Debug, Clone, Hash)]
enum Standing {
    At(Place),
    /// It has ended or is dead; with the backups that it was told to have committed.
    Ended(Vec<BackupId>),
}

/// What is stored, the time, and where each process stands.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) store: Memory,
    /// What is stored, and when it was: the numbers of all objects, one on the other.
    stored: u64,
    pub(super) now: Timestamp,
    standing: Vec<Standing>,
    /// What must never happen, and did.
    pub(super) broken: Option<String>,
}

/// What a state is after a process has gone on.
#[derive(Debug)]
pub(super) struct Step {
    store: Memory,
    stored: u64,
    standing: Standing,
    broken: Option<String>,
}

fn number(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl State {
    pub(super) fn new(world: &World, stores: &Stores, places: Vec<(Who, Place)>) -> Self {
        let store = world.store.copy_with(stores.clock.clone());
        let mut standing = vec![Standing::Ended(Vec::new()); usize::from(PROCESSES)];
        for (who, place) in places {
            standing[usize::from(who)] = Standing::At(place);
        }
        Self { store, stored: 0, now: world.start, standing, broken: None }
    }

    /// Where a process stands; `None` when it has ended.
    pub(super) fn place(&self, who: Who) -> Option<Place> {
        match self.standing.get(usize::from(who)) {
            Some(Standing::At(place)) => Some(*place),
            _ => None,
        }
    }

    pub(super) fn put(&mut self, who: Who, place: Place) {
        self.standing[usize::from(who)] = Standing::At(place);
    }

    pub(super) fn end(&mut self, who: Who, committed: Vec<BackupId>) {
        self.standing[usize::from(who)] = Standing::Ended(committed);
    }

    /// What is stored, and when it was, as a number.
    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// What it is after `who` has gone on; the time stays.
    pub(super) fn step(&self, who: Who) -> Step {
        Step {
            store: self.store.clone(),
            stored: self.stored,
            standing: self.standing[usize::from(who)].clone(),
            broken: self.broken.clone(),
        }
    }

    /// `who` goes on as before from a state like this.
    pub(super) fn go(&mut self, who: Who, step: &Step) {
        self.store = step.store.clone();
        self.stored = step.stored;
        self.standing[usize::from(who)] = step.standing.clone();
        if let Some(what) = &step.broken {
            self.broken.get_or_insert_with(|| what.clone());
        }
    }

    /// A process that comes after all others.
    pub(super) fn begin(&mut self, who: Who, place: Place) {
        self.put(who, place);
    }

    /// The backups whose runs were told that they had committed.
    pub(super) fn committed(&self) -> Vec<BackupId> {
        let done = |one: &Standing| match one {
            Standing::Ended(done) => done.clone(),
            Standing::At(_) => Vec::new(),
        };
        self.standing.iter().flat_map(done).collect()
    }

    /// All of it, with who is running, as a number.
    pub(super) fn number(&self, current: Option<Who>) -> u64 {
        number((self.stored, self.now.as_second(), &self.standing, current, self.broken.is_some()))
    }

    /// What is stored, as a number, without the times: at an end all that is left is older than the longest time that
    /// prune waits, but for a week, and younger than that.
    pub(super) fn contents(&self) -> u64 {
        let keys = self.store.keys();
        let keys = keys.iter().filter(|key| !is_proof(key.as_str()));
        keys.map(|key| timeless(key, &get(&self.store, key).unwrap_or_default())).fold(0, |sum, one| number((sum, one)))
    }
}

/// An object without the times that it holds.
fn timeless(key: &Key, bytes: &Bytes) -> u64 {
    let key = key.as_str();
    let place = in_place(key);
    if place.starts_with("tombstones/") {
        return number(key);
    }
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let fields = if place.starts_with("backups/") || place.starts_with("sessions/") {
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(first).ok()
    } else {
        None
    };
    let Some(mut fields) = fields else { return number((key, bytes)) };
    for time in ["started", "finished", "at", "fullSince", "reason", "copied"] {
        fields.remove(time);
    }
    if let Some(previous) = fields.get_mut("previous").and_then(serde_json::Value::as_object_mut) {
        previous.remove("sha256");
    }
    number((key, serde_json::to_string(&fields).unwrap_or_default()))
}

/// A future of the store in memory, which never waits.
fn now<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, ErrorKind> {
    future.now_or_never().unwrap().map_err(|error| error.kind)
}

fn get(store: &Memory, key: &Key) -> Result<Bytes, ErrorKind> {
    now(store.get(key, control::MAX_CONTROL as u64))
}

/// What carries out calls.
#[derive(Debug)]
pub(super) struct Stores {
    /// The clock of all stores.
    clock: Arc<SetClock>,
    bug: Bug,
}

impl Stores {
    pub(super) fn new(world: &World, bug: Bug) -> Self {
        Self { clock: Arc::new(SetClock::new(world.start)), bug }
    }

    /// Carries out a call on the state's store, at the state's time.
    pub(super) fn carry_out(&self, state: &mut State, call: &Call) -> Answer {
        self.clock.set(state.now);
        let store = &state.store;
        let answer = match call {
            Call::Begin => Ok(Answer::Begun),
            Call::Put(key, bytes) => return self.put(state, key, bytes),
            Call::Get(key, limit) => now(store.get(key, *limit)).map(Answer::Bytes),
            Call::Range(key, range) => now(store.get_range(key, range.clone())).map(Answer::Bytes),
            Call::Head(key) => now(store.head(key)).map(Answer::Meta),
            Call::List(prefix) => {
                let all = now(store.list(prefix).try_collect::<Vec<ObjectMeta>>());
                // What proves the store for another is of no account.
                let shown = |meta: &ObjectMeta| !is_proof(meta.key.as_str()) || is_proof(prefix);
                all.map(|all| Answer::List(all.into_iter().filter(shown).collect()))
            }
            Call::Delete(key) => return self.delete(state, key),
        };
        answer.unwrap_or_else(Answer::Failed)
    }

    fn put(&self, state: &mut State, key: &Key, bytes: &Bytes) -> Answer {
        let overwrites = self.bug == Bug::IgnoresCreateOnly && layout::parse_manifest(key).is_some();
        let is_there = now(state.store.head(key)).is_ok();
        if is_there && !overwrites {
            return Answer::Put(PutOutcome::Exists);
        }
        let before = object(&state.store, key);
        state.store = state.store.copy();
        if is_there {
            state.store.overwrite(key, bytes.clone());
        } else if let Err(kind) = now(state.store.put_new(key, bytes.clone())) {
            return Answer::Failed(kind);
        }
        state.stored ^= before ^ object(&state.store, key);
        Answer::Put(PutOutcome::Created)
    }

    fn delete(&self, state: &mut State, key: &Key) -> Answer {
        if now(state.store.head(key)).is_err() {
            return Answer::Deleted;
        }
        if self.bug == Bug::None
            && let Some(what) = too_early(state, key)
        {
            state.broken.get_or_insert(what);
        }
        state.stored ^= object(&state.store, key);
        state.store = state.store.copy();
        match now(state.store.delete(key)) {
            Ok(()) => Answer::Deleted,
            Err(kind) => Answer::Failed(kind),
        }
    }
}

/// An object, when it was written and what it holds, as a number; nothing, where there is none.
fn object(store: &Memory, key: &Key) -> u64 {
    match (now(store.head(key)), get(store, key)) {
        (Ok(meta), Ok(bytes)) if !is_proof(key.as_str()) => number((key, meta.modified.as_second(), bytes)),
        _ => 0,
    }
}

/// A backup's manifest goes only when it has had a tombstone for a day.
fn too_early(state: &State, key: &Key) -> Option<String> {
    let (policy, _, backup) = layout::parse_manifest(&Key::new(in_place(key.as_str())).ok()?)?;
    let bytes = get(&state.store, key).unwrap_or_default();
    if control::kind(&bytes).is_ok_and(|kind| kind != "manifest") {
        return None;
    }
    let under = if key.as_str().starts_with(COPY) { COPY } else { "" };
    let tombstone = Key::new(format!("{under}{}", layout::tombstone(&policy, &backup))).ok()?;
    let marked = now(state.store.head(&tombstone)).map(|meta| meta.modified);
    let waited = marked.is_ok_and(|at| state.now.duration_since(at) >= SignedDuration::from_hours(24));
    (!waited).then(|| format!("the manifest of {backup} was deleted without a tombstone that is a day old"))
}
