//! A state of the model: what is stored, the time, and where each process stands.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{
    super::*,
    process::{Answer, Call, is_proof},
    shelf::{Objects, Shelf, wide},
    transcript::Place,
    world::{Bug, COPY, PROCESSES, Who, World, in_place},
};
use crate::{
    repository::{
        backend::{ErrorKind, PutOutcome},
        control, layout,
    },
    types::{BackupId, Blake3Digest},
};

/// Where a process stands.
#[derive(Debug, Clone, Default)]
enum Standing {
    /// It was never there.
    #[default]
    Absent,
    At(Place),
    /// It has ended or is dead; with the backups that it was told to have committed.
    Ended(Option<Rc<[BackupId]>>),
}

/// What is stored, the time, and where each process stands.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) store: Shelf,
    pub(super) now: Timestamp,
    standing: [Standing; PROCESSES as usize],
    /// What must never happen, and did.
    pub(super) broken: Option<Rc<str>>,
}

/// What a state is after a process has gone on.
#[derive(Debug)]
pub(super) struct Step {
    store: Shelf,
    standing: Standing,
    broken: Option<Rc<str>>,
}

impl State {
    pub(super) fn new(world: &World, stores: &Stores, places: Vec<(Who, Place)>) -> Self {
        let mut standing = <[Standing; PROCESSES as usize]>::default();
        for (who, place) in places {
            standing[usize::from(who)] = Standing::At(place);
        }
        Self { store: Shelf::of(&world.store, &stores.objects), now: world.start, standing, broken: None }
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

    pub(super) fn end(&mut self, who: Who, committed: &[BackupId]) {
        let committed = (!committed.is_empty()).then(|| committed.into());
        self.standing[usize::from(who)] = Standing::Ended(committed);
    }

    /// What it is after `who` has gone on; the time stays.
    pub(super) fn step(&self, who: Who) -> Step {
        let standing = self.standing[usize::from(who)].clone();
        Step { store: self.store.clone(), standing, broken: self.broken.clone() }
    }

    /// `who` goes on as before from a state like this.
    pub(super) fn go(&mut self, who: Who, step: &Step) {
        self.store = step.store.clone();
        self.standing[usize::from(who)] = step.standing.clone();
        if let Some(what) = &step.broken {
            self.broken.get_or_insert_with(|| what.clone());
        }
    }

    /// The backups whose runs were told that they had committed.
    pub(super) fn committed(&self) -> Vec<BackupId> {
        let done = |one: &Standing| match one {
            Standing::Ended(Some(done)) => done.to_vec(),
            _ => Vec::new(),
        };
        self.standing.iter().flat_map(done).collect()
    }

    /// All of it, but who is running, as a number.
    pub(super) fn number(&self) -> u128 {
        // By hand, because it is made of every state.
        let mut bytes = [0; 16 + 8 + 1 + 9 * PROCESSES as usize];
        let mut at = 0;
        let mut add = |some: &[u8]| {
            bytes[at..at + some.len()].copy_from_slice(some);
            at += some.len();
        };
        add(&self.store.number().to_le_bytes());
        add(&self.now.as_second().to_le_bytes());
        add(&[u8::from(self.broken.is_some())]);
        for one in &self.standing {
            let (kind, more) = match one {
                Standing::Absent => (0, 0),
                Standing::At(place) => (1, u64::from(*place)),
                Standing::Ended(None) => (2, 0),
                Standing::Ended(Some(committed)) => (3, wide(committed) as u64),
            };
            add(&[kind]);
            add(&more.to_le_bytes());
        }
        let mut number = [0; 16];
        number.copy_from_slice(&Blake3Digest::of(&bytes).as_bytes()[..16]);
        u128::from_le_bytes(number)
    }
}

/// What carries out calls.
#[derive(Debug)]
pub(super) struct Stores {
    objects: Objects,
    bug: Bug,
}

impl Stores {
    pub(super) fn new(bug: Bug) -> Self {
        Self { objects: Objects::default(), bug }
    }

    /// Carries out a call on the state's store, at the state's time. It answers as a store in memory does.
    pub(super) fn carry_out(&self, state: &mut State, call: &Call) -> Answer {
        let there = |key| state.store.get(key).ok_or(ErrorKind::NotFound);
        let answer = match call {
            Call::Begin => Ok(Answer::Begun),
            Call::Put(key, bytes) => return self.put(state, key, bytes),
            Call::Get(key, limit) => there(key).and_then(|object| {
                let size = object.bytes.len() as u64;
                if size > *limit { Err(ErrorKind::TooLarge) } else { Ok(Answer::Bytes(object.bytes.clone())) }
            }),
            Call::Range(key, range) => there(key).and_then(|object| {
                let (start, end) = (range.start as usize, range.end as usize);
                let within = start <= end && end <= object.bytes.len();
                if within { Ok(Answer::Bytes(object.bytes.slice(start..end))) } else { Err(ErrorKind::Other) }
            }),
            Call::Head(key) => there(key).map(|object| Answer::Meta(Arc::clone(object))),
            Call::List(prefix) => {
                let all = state.store.under(prefix).iter();
                // What proves the store for another is of no account.
                let shown = all.filter(|object| !is_proof(object.meta.key.as_str()) || is_proof(prefix));
                Ok(Answer::List(shown.cloned().collect()))
            }
            Call::Delete(key) => return self.delete(state, key),
        };
        answer.unwrap_or_else(Answer::Failed)
    }

    fn put(&self, state: &mut State, key: &Key, bytes: &Bytes) -> Answer {
        let overwrites = self.bug == Bug::IgnoresCreateOnly && layout::parse_manifest(key).is_some();
        let modified = match state.store.get(key) {
            Some(_) if !overwrites => return Answer::Put(PutOutcome::Exists),
            Some(before) => before.meta.modified,
            None => state.now,
        };
        state.store = state.store.with(self.objects.of(key, bytes.clone(), modified));
        Answer::Put(PutOutcome::Created)
    }

    fn delete(&self, state: &mut State, key: &Key) -> Answer {
        if self.bug == Bug::None
            && let Some(what) = too_early(state, key)
        {
            state.broken.get_or_insert(what.into());
        }
        state.store = state.store.without(key);
        Answer::Deleted
    }
}

/// A backup's manifest goes only when it has had a tombstone for a day.
fn too_early(state: &State, key: &Key) -> Option<String> {
    let (policy, _, backup) = layout::parse_manifest(&Key::new(in_place(key.as_str())).ok()?)?;
    let manifest = state.store.get(key)?;
    if control::kind(&manifest.bytes).is_ok_and(|kind| kind != "manifest") {
        return None;
    }
    let under = if key.as_str().starts_with(COPY) { COPY } else { "" };
    let tombstone = Key::new(format!("{under}{}", layout::tombstone(&policy, &backup))).ok()?;
    let marked = state.store.get(&tombstone).map(|object| object.meta.modified);
    let waited = marked.is_some_and(|at| state.now.duration_since(at) >= SignedDuration::from_hours(24));
    (!waited).then(|| format!("the manifest of {backup} was deleted without a tombstone that is a day old"))
}
