//! What each process does after each sequence of answers: found out by running it once, and then known.
//!
//! The code is deterministic in what the store answers, and when. So what a process asks next is a function of the answers
//! that it had: a tree, whose edges are answers. The search walks these trees; only where it comes to an answer that was
//! never given there, the process itself runs: it is answered what leads there, and has to ask what it asked before (it is
//! checked that it does), and what it asks then is new.
//!
//! There are millions of places: what is asked, what was answered and when is kept once each, and a place names them. What is
//! done after the ends of schedules hardly ever comes twice, and is not kept.

use std::collections::HashMap;

use jiff::Timestamp;
use tokio::{runtime::Runtime, task::LocalSet};

use super::{
    process::{Answer, Call, Next, Process, is_proof},
    shelf::wide,
    world::{Bug, COPIER, PROCESSES, Who, World, in_place, is_prune},
};
use crate::types::BackupId;

/// A place in a process's tree.
pub(super) type Place = u32;

/// Processes that are kept where they stand, of each kind.
const KEPT: usize = 6;

/// What is kept once of each kind, by its number.
#[derive(Debug)]
struct Kept<T> {
    all: Vec<T>,
    by_number: HashMap<u128, u32>,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { all: Vec::new(), by_number: HashMap::new() }
    }
}

impl<T> Kept<T> {
    fn keep(&mut self, number: u128, value: impl FnOnce() -> T) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap();
        let (all, place) = (&mut self.all, self.by_number.entry(number));
        *place.or_insert_with(|| {
            all.push(value());
            next
        })
    }

    fn get(&self, place: u32) -> &T {
        &self.all[place as usize]
    }
}

#[derive(Debug)]
struct Node {
    next: u32,
    /// What leads there: the place before, itself at the beginning; the answer there, and when it came.
    before: Place,
    answer: u32,
    time: u16,
    who: Who,
    matters: bool,
}

/// The trees of all processes.
#[derive(Debug)]
pub(super) struct Transcripts<'a> {
    world: &'a World,
    bug: Bug,
    runtime: Runtime,
    tasks: LocalSet,
    nodes: Vec<Node>,
    edges: HashMap<(Place, u64), Place>,
    roots: Vec<Place>,
    nexts: Kept<Next>,
    answers: Kept<Answer>,
    times: Kept<Timestamp>,
    /// Processes that stand somewhere, the one that was used last at the end.
    kept: Vec<Vec<(Place, Process)>>,
    /// Processes that were started.
    pub(super) started: u64,
}

impl<'a> Transcripts<'a> {
    pub(super) fn new(world: &'a World, bug: Bug) -> Self {
        let mut transcripts = Self {
            world,
            bug,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            tasks: LocalSet::new(),
            nodes: Vec::new(),
            edges: HashMap::new(),
            roots: Vec::new(),
            nexts: Kept::default(),
            answers: Kept::default(),
            times: Kept::default(),
            kept: (0..PROCESSES).map(|_| Vec::new()).collect(),
            started: 0,
        };
        transcripts.forget();
        transcripts
    }

    /// Forgets all that is known.
    pub(super) fn forget(&mut self) {
        self.nodes.clear();
        self.edges.clear();
        (self.nexts, self.answers, self.times) = (Kept::default(), Kept::default(), Kept::default());
        self.kept.iter_mut().for_each(Vec::clear);
        self.roots = (0..PROCESSES)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|who| self.add(who, Next::Call(Call::Begin), None))
            .collect();
    }

    /// How many places are known.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Where a process begins.
    pub(super) fn root(&self, who: Who) -> Place {
        self.roots[usize::from(who)]
    }

    /// What is done at a place.
    pub(super) fn next(&self, place: Place) -> &Next {
        self.nexts.get(self.nodes[place as usize].next)
    }

    /// Whether what is done there may matter to others, so that a schedule may split before it.
    pub(super) fn matters(&self, place: Place) -> bool {
        self.nodes[place as usize].matters
    }

    /// The place after an answer.
    pub(super) fn after(&mut self, place: Place, answer: Answer, at: Timestamp) -> Place {
        let number = answer.number();
        let time = u16::try_from(self.times.keep(wide(at), || at)).unwrap();
        let edge = (place, number ^ (u64::from(time) << 48));
        if let Some(known) = self.edges.get(&edge) {
            return *known;
        }
        let process = self.process_at(place);
        process.answer(&answer, at);
        let next = self.tasks.block_on(&self.runtime, process.settled());
        let answer = self.answers.keep(number.into(), || answer);
        let who = self.nodes[place as usize].who;
        let found = self.add(who, next, Some((place, answer, time)));
        self.edges.insert(edge, found);
        let kept = &mut self.kept[usize::from(who)];
        kept.push((found, process));
        if kept.len() > KEPT {
            kept.remove(0);
        }
        found
    }

    /// What a process that runs alone from its beginning to its end is told to have committed. Nothing of it is kept.
    pub(super) fn alone(&mut self, who: Who, at: Timestamp, mut answer: impl FnMut(&Call) -> Answer) -> Vec<BackupId> {
        self.started += 1;
        let (world, bug) = (self.world, self.bug);
        self.tasks.block_on(&self.runtime, async {
            let process = Process::start(world, who, bug);
            loop {
                match process.settled().await {
                    Next::Ended(done) => return done,
                    Next::Call(call) => process.answer(&answer(&call), at),
                }
            }
        })
    }

    /// A process that stands there: one that was kept, or a new one that is answered all that leads there.
    fn process_at(&mut self, place: Place) -> Process {
        let who = self.nodes[place as usize].who;
        let kept = &mut self.kept[usize::from(who)];
        if let Some(at) = kept.iter().position(|(at, _)| *at == place) {
            return kept.remove(at).1;
        }
        self.started += 1;
        let mut way = Vec::new();
        let mut at = place;
        while let Some(before) = self.before(at) {
            way.push((before, at));
            at = before;
        }
        let (this, world, bug) = (&*self, self.world, self.bug);
        self.tasks.block_on(&self.runtime, async {
            let process = Process::start(world, who, bug);
            for (before, after) in way.into_iter().rev() {
                let asked = process.settled().await;
                assert_eq!(asked, *this.next(before), "not what it asked after the same answers before");
                let Node { answer, time, .. } = this.nodes[after as usize];
                process.answer(this.answers.get(answer), *this.times.get(time.into()));
            }
            let asked = process.settled().await;
            assert_eq!(asked, *this.next(place), "not what it asked after the same answers before");
            process
        })
    }

    /// The place before; `None` where a process begins.
    fn before(&self, place: Place) -> Option<Place> {
        Some(self.nodes[place as usize].before).filter(|before| *before != place)
    }

    fn add(&mut self, who: Who, next: Next, from: Option<(Place, u32, u16)>) -> Place {
        let place = Place::try_from(self.nodes.len()).unwrap();
        let matters = match &next {
            Next::Call(call) => self.may_matter(who, call, from.map(|from| from.0)),
            Next::Ended(_) => false,
        };
        let next = self.nexts.keep(wide(&next), || next);
        let (before, answer, time) = from.unwrap_or((place, 0, 0));
        self.nodes.push(Node { next, before, answer, time, who, matters });
        place
    }

    /// Whether a call was made before the one after `place`, which is included.
    fn called(&self, mut place: Option<Place>, which: impl Fn(&Call) -> bool) -> bool {
        while let Some(at) = place {
            if matches!(self.next(at), Next::Call(call) if which(call)) {
                return true;
            }
            place = self.before(at);
        }
        false
    }

    /// Whether a call may matter to others, or what others do to it.
    fn may_matter(&self, who: Who, call: &Call, before: Option<Place>) -> bool {
        let subject = in_place(call.subject());
        let folder = subject.split('/').next().unwrap_or_default();
        if is_proof(subject) || matches!(folder, "repository.json" | "pins" | "accepts" | "evidence" | "keys") {
            return false;
        }
        // Nothing of what a copy reads of the original is ever changed; what is gone ends the copying of that backup.
        if who == COPIER && *call != Call::Begin && subject == call.subject() {
            return false;
        }
        match call {
            Call::Begin => true,
            // The second put of a mark finds the first; what says where chunks lie is of no account before the manifest,
            // but for an index, which is a sign of life.
            Call::Put(key, _) => {
                let again = self.called(before, |call| matches!(call, Call::Put(other, _) if other == key));
                !again && (folder != "meta" || subject.contains("/index-"))
            }
            Call::Delete(_) => {
                matches!(folder, "backups" | "data" | "tombstones" | "sessions") && !subject.ends_with(".sig")
            }
            // The first listing of tombstones by a prune, and the listings that look whether nothing is left, decide nothing
            // that another listing does not decide. A run's first listing of manifests only gives it its id.
            Call::List(_) if is_prune(who) => {
                let first = folder == "tombstones"
                    && !self.called(before, |call| matches!(call, Call::List(prefix) if in_place(prefix).starts_with("tombstones/") && !is_proof(prefix)));
                let looks_for_rests =
                    subject != "data/" && matches!(folder, "data" | "sessions") && subject != "sessions/";
                !first && !looks_for_rests && (folder != "meta" || subject.ends_with("/index-"))
            }
            Call::List(_) => !(folder == "backups" && subject.matches('/').count() > 2),
            // What a listing has named is never changed, only deleted; but a manifest's place is asked for once more where
            // that counts: by a run that confirms its parents, and at the commit.
            Call::Get(..) => {
                let has_session =
                    |call: &Call| matches!(call, Call::Put(key, _) if in_place(key.as_str()).starts_with("sessions/"));
                folder == "backups" && self.called(before, has_session)
            }
            Call::Head(_) | Call::Range(..) => false,
        }
    }
}
