//! The schedules: all of them up to a budget, or many by chance.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    rc::Rc,
    time::{Duration, Instant},
};

use jiff::SignedDuration;

use super::{
    process::{Answer, Call, Next},
    seen::Seen,
    shelf::wide,
    state::{State, Step, Stores},
    transcript::{Place, Transcripts},
    world::{A_DAY, AFTERWARDS, Bug, COPIER, LAST_BACKUP, PROCESSES, SECOND_PRUNE, Who, World},
};
use crate::{repository::backend::ErrorKind, types::BackupId};

/// Of the states from which only one way leads, one in so many is remembered: from the others it is not far to one that is.
const FEW: u128 = 8;
/// Steps that are known at least, and half of those that are known at most: each holds a list of what is stored.
const STEPS: usize = 250_000;

/// How far schedules may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// Changes from a process that could go on to another: at most 3.
    pub(super) preemptions: u32,
    /// Crashes, lost answers and days that pass: at most 3.
    pub(super) faults: u32,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Verdict {
    /// It is carried out.
    Go,
    /// The process dies before it.
    DieBefore,
    /// It is carried out, and then the process dies.
    DieAfter,
    /// It is carried out, and its answer is lost.
    LoseAnswer,
}

/// What is decided when everybody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice {
    who: Who,
    verdict: Verdict,
    /// So much time passes first.
    pass: SignedDuration,
}

/// What was chosen so far, newest first.
#[derive(Debug)]
struct Told {
    choice: Choice,
    place: Place,
    before: Option<Rc<Told>>,
}

/// A schedule after which something does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) what: String,
    /// The calls in their order.
    pub(super) schedule: String,
}

/// What was explored.
#[derive(Debug, Default)]
pub(super) struct Explored {
    /// Schedules that went to their end.
    pub(super) schedules: u64,
    /// Schedules that came to a state from which all was explored already.
    pub(super) merged: u64,
    /// States that are remembered: of those from which only one way leads, one in [`FEW`].
    pub(super) states: u64,
    /// How often it came to a state.
    pub(super) visits: u64,
    /// Different ends that were looked at.
    pub(super) ends: u64,
    /// Calls of the store.
    pub(super) calls: u64,
    /// Processes that were really run, and places in their trees.
    pub(super) runs: u64,
    pub(super) places: u64,
    /// Nothing is left to explore.
    pub(super) ended: bool,
    pub(super) failure: Option<Failure>,
}

/// A search.
struct Search<'a> {
    world: &'a World,
    deadline: Instant,
    transcripts: Transcripts<'a>,
    stores: Stores,
    seen: Seen,
    /// Ends of schedules that were looked at.
    ends: HashSet<u128>,
    /// What is wrong with what is stored, as far as it was looked at.
    sound: HashMap<u128, Option<String>>,
    /// What follows where a process stands, with what is stored then and at that time: what was asked for of late.
    steps: Lately<(Place, Verdict, u128, i64), Step>,
    explored: Explored,
}

/// What is still to be explored: a choice in a state, or the state where all begins.
struct Open {
    state: State,
    choice: Option<Choice>,
    left: Budget,
    told: Option<Rc<Told>>,
}

/// Explores every schedule of the budget.
pub(super) fn everything(world: &World, bug: Bug, budget: Budget, patience: Duration) -> Explored {
    let mut search = Search::new(world, bug, patience);
    let start = search.start();
    let mut open = vec![Open { state: start, choice: None, left: budget, told: None }];
    let mut ended = true;
    while let Some(Open { mut state, choice, left, told }) = open.pop() {
        if Instant::now() > search.deadline {
            ended = false;
            break;
        }
        let told = match choice {
            Some(choice) => Some(search.take(&mut state, choice, told, false)),
            None => told,
        };
        let current = choice.map(|choice| choice.who).filter(|who| state.place(*who).is_some());
        search.explored.visits += 1;
        let choices = search.choices(&state, current, left);
        if !search.is_new(&state, current, left, choices.len()) {
            search.explored.merged += 1;
            continue;
        }
        if choices.is_empty() {
            search.explored.schedules += 1;
            if let Some(what) = search.wrong(&mut state, false) {
                search.found(what, told);
                break;
            }
        }
        // The last one is explored first.
        open.extend(choices.into_iter().rev().map(|(choice, left)| Open {
            state: state.clone(),
            choice: Some(choice),
            left,
            told: told.clone(),
        }));
    }
    search.end(ended)
}

/// Explores `count` schedules by chance, from `seed` on.
pub(super) fn by_chance(world: &World, bug: Bug, (seed, count): (u64, u64), patience: Duration) -> Explored {
    let mut search = Search::new(world, bug, patience);
    let mut ended = true;
    for seed in seed..seed + count {
        if Instant::now() > search.deadline {
            ended = false;
            break;
        }
        if search.transcripts.len() > 300_000 {
            search.transcripts.forget();
        }
        search.gamble(seed);
        search.explored.schedules += 1;
        if search.explored.failure.is_some() {
            break;
        }
    }
    search.end(ended)
}

impl<'a> Search<'a> {
    fn new(world: &'a World, bug: Bug, patience: Duration) -> Self {
        Self {
            world,
            deadline: Instant::now() + patience,
            transcripts: Transcripts::new(world, bug),
            stores: Stores::new(bug),
            seen: Seen::new(),
            ends: HashSet::new(),
            sound: HashMap::new(),
            steps: Lately::default(),
            explored: Explored::default(),
        }
    }

    fn start(&self) -> State {
        State::new(
            self.world,
            &self.stores,
            self.world.actors().into_iter().map(|who| (who, self.transcripts.root(who))).collect(),
        )
    }

    fn end(self, ended: bool) -> Explored {
        Explored {
            states: self.seen.len(),
            ends: self.ends.len() as u64,
            runs: self.transcripts.started,
            places: self.transcripts.len() as u64,
            ended,
            ..self.explored
        }
    }

    fn found(&mut self, what: String, mut told: Option<Rc<Told>>) {
        let mut schedule = Vec::new();
        while let Some(one) = told {
            schedule.push(self.in_words(&one));
            told = one.before.clone();
        }
        schedule.reverse();
        self.explored.failure = Some(Failure { what, schedule: schedule.join("\n") });
    }

    fn in_words(&self, told: &Told) -> String {
        let Choice { who, verdict, pass } = told.choice;
        let who =
            if who == COPIER { "the copy" } else { ["backup 1", "backup 2", "prune 1", "prune 2"][usize::from(who)] };
        let passed = if pass.is_zero() { String::new() } else { format!("{pass:#} pass; ") };
        let Next::Call(call) = self.transcripts.next(told.place) else { return String::new() };
        let how = match verdict {
            Verdict::Go => "",
            Verdict::DieBefore => ": it dies before",
            Verdict::DieAfter => ": it dies afterwards",
            Verdict::LoseAnswer => ": the answer is lost",
        };
        format!("{passed}{who} {} {}{how}", call.verb(), call.subject())
    }

    /// Carries out one choice; and, unless `every_call` is one to decide about, what follows it and matters to nobody else.
    fn take(&mut self, state: &mut State, choice: Choice, before: Option<Rc<Told>>, every_call: bool) -> Rc<Told> {
        let Choice { who, verdict, pass } = choice;
        let Some(place) = state.place(who) else { unreachable!("it has ended") };
        let begins = who == SECOND_PRUNE && *self.transcripts.next(place) == Next::Call(Call::Begin);
        state.now += pass + if begins { A_DAY } else { SignedDuration::ZERO };
        if every_call {
            self.carry_on(state, choice, place, true);
        } else {
            // With the same store, time and place the same follows.
            let same = (place, verdict, state.store.number(), state.now.as_second());
            if let Some(step) = self.steps.get(&same) {
                state.go(who, step);
            } else {
                self.carry_on(state, choice, place, false);
                self.steps.insert(same, state.step(who));
            }
        }
        Rc::new(Told { choice, place, before })
    }

    fn carry_on(&mut self, state: &mut State, Choice { who, verdict, .. }: Choice, place: Place, every_call: bool) {
        let Next::Call(call) = self.transcripts.next(place).clone() else { unreachable!("it has ended") };
        match verdict {
            Verdict::Go => {
                let answer = self.carry_out(state, &call);
                self.go_on(state, who, answer);
            }
            Verdict::DieBefore => state.end(who, &[]),
            Verdict::DieAfter => {
                self.carry_out(state, &call);
                state.end(who, &[]);
            }
            Verdict::LoseAnswer => {
                self.carry_out(state, &call);
                self.go_on(state, who, Answer::Failed(ErrorKind::Unreachable));
            }
        }
        while !every_call
            && let Some(place) = state.place(who)
            && !self.transcripts.matters(place)
        {
            self.one(state, who, place);
        }
    }

    /// A call that is carried out as it should be.
    fn one(&mut self, state: &mut State, who: Who, place: Place) {
        let Next::Call(call) = self.transcripts.next(place).clone() else { return };
        let answer = self.carry_out(state, &call);
        self.go_on(state, who, answer);
    }

    fn carry_out(&mut self, state: &mut State, call: &Call) -> Answer {
        self.explored.calls += 1;
        self.stores.carry_out(state, call)
    }

    fn go_on(&mut self, state: &mut State, who: Who, answer: Answer) {
        let Some(place) = state.place(who) else { return };
        let after = self.transcripts.after(place, answer, state.now);
        match self.transcripts.next(after) {
            Next::Call(_) => state.put(who, after),
            Next::Ended(done) => state.end(who, done),
        }
    }

    /// Whether what is reached from this state was not explored with as much left. From a state with one way on it is not far to
    /// one with more, or to the end: of these not all are remembered.
    fn is_new(&mut self, state: &State, current: Option<Who>, left: Budget, ways: usize) -> bool {
        let number = state.number();
        if ways == 1 && !number.is_multiple_of(FEW) {
            return true;
        }
        self.seen.is_new(number, current.map(|who| who.min(SECOND_PRUNE + 1)), left)
    }

    /// What can be decided now, with what is left afterwards; first what goes on with the same process.
    fn choices(&self, state: &State, current: Option<Who>, left: Budget) -> Vec<(Choice, Budget)> {
        let mut choices = Vec::new();
        let mut order: Vec<(Who, Place)> = (0..PROCESSES).filter_map(|who| Some((who, state.place(who)?))).collect();
        order.sort_by_key(|(who, _)| Some(*who) != current);
        for (who, place) in order {
            let Next::Call(call) = self.transcripts.next(place) else { continue };
            let cost = u32::from(current.is_some_and(|current| current != who));
            let mut add = |verdict, pass, preemptions: u32, faults: u32| {
                let (Some(preemptions), Some(faults)) =
                    (left.preemptions.checked_sub(preemptions), left.faults.checked_sub(faults))
                else {
                    return;
                };
                choices.push((Choice { who, verdict, pass }, Budget { preemptions, faults }));
            };
            add(Verdict::Go, SignedDuration::ZERO, cost, 0);
            if *call == Call::Begin {
                continue;
            }
            if call.writes() {
                // To die after a write is to die before the next one.
                add(Verdict::DieBefore, SignedDuration::ZERO, cost, 1);
                add(Verdict::LoseAnswer, SignedDuration::ZERO, cost, 1);
            }
            // The process that was running stands still for a day: that another goes on is no preemption.
            add(Verdict::Go, A_DAY, 0, 1);
        }
        choices
    }

    /// A schedule by chance.
    fn gamble(&mut self, seed: u64) {
        let mut chance = Chance(seed << 32);
        let mut state = self.start();
        let (mut told, mut current) = (None, None);
        // Some change often and some seldom, some have many faults and some have none.
        let (switches, faults) = (1 + chance.below(40), chance.below(8));
        loop {
            let next: Vec<(Who, Place)> = (0..PROCESSES).filter_map(|who| Some((who, state.place(who)?))).collect();
            let Some(any) = next.get(chance.below(next.len().max(1) as u64) as usize) else { break };
            let goes_on = next.iter().find(|one| Some(one.0) == current);
            let (who, place) = *goes_on.filter(|_| chance.below(100) >= switches).unwrap_or(any);
            let writes = matches!(self.transcripts.next(place), Next::Call(call) if call.writes());
            let mut choice = Choice { who, verdict: Verdict::Go, pass: SignedDuration::ZERO };
            if chance.below(100) < faults {
                match chance.below(if writes { 5 } else { 3 }) {
                    0 => choice.pass = SignedDuration::from_hours(7),
                    1 => choice.pass = A_DAY,
                    2 => choice.verdict = Verdict::DieBefore,
                    3 => choice.verdict = Verdict::DieAfter,
                    _ => choice.verdict = Verdict::LoseAnswer,
                }
            }
            if chance.below(1000) < faults {
                choice.pass = SignedDuration::from_hours(8 * 24);
            }
            told = Some(self.take(&mut state, choice, told, true));
            current = Some(who);
        }
        if let Some(what) = self.wrong(&mut state, true) {
            self.found(format!("seed {seed}: {what}"), told);
        }
    }

    /// What does not hold at the end, or after two more prunes and a backup.
    ///
    /// In what is left after a schedule of [`everything`] all times are alike for what comes then: everything is older than
    /// what prune waits for, but for a week, and younger than a week. So ends that differ in times alone are one.
    fn wrong(&mut self, state: &mut State, by_chance: bool) -> Option<String> {
        if let Some(what) = state.broken.take() {
            return Some(what.to_string());
        }
        let mut committed = state.committed();
        let end = if by_chance { state.number() } else { wide((state.store.timeless(), &committed)) };
        if !self.ends.insert(end) {
            return None;
        }
        let mut wrong = self.damage(state, &committed);
        for (pass, who) in [A_DAY, A_DAY * 8, A_DAY].into_iter().zip(AFTERWARDS) {
            if wrong.is_some() {
                break;
            }
            state.now += pass;
            let (stores, mut calls) = (&self.stores, 0);
            let done = self.transcripts.alone(who, state.now, |call| {
                calls += 1;
                stores.carry_out(state, call)
            });
            self.explored.calls += calls;
            state.end(who, &done);
            let before = committed.len();
            committed = state.committed();
            wrong = state.broken.take().map(|what| what.to_string()).or_else(|| self.damage(state, &committed));
            if wrong.is_none() && who == LAST_BACKUP && committed.len() == before {
                wrong = Some("a backup cannot be made any more".to_owned());
            }
            wrong = wrong.map(|what| format!("after {pass:#} more and process {who}: {what}"));
        }
        wrong
    }

    fn damage(&mut self, state: &State, committed: &[BackupId]) -> Option<String> {
        let world = self.world;
        let look = || world.damage(&state.store.to_store(), committed);
        self.sound.entry(wide((state.store.timeless(), committed))).or_insert_with(look).clone()
    }
}

/// What was asked for of late: when there is too much of it, what was not asked for since the last time goes.
#[derive(Debug)]
struct Lately<K, V> {
    now: HashMap<K, V>,
    before: HashMap<K, V>,
}

impl<K, V> Default for Lately<K, V> {
    fn default() -> Self {
        Self { now: HashMap::new(), before: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash, V> Lately<K, V> {
    fn get(&mut self, key: &K) -> Option<&V> {
        if let Some(value) = self.before.remove(key) {
            self.insert(*key, value);
        }
        self.now.get(key)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.now.len() == STEPS {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.insert(key, value);
    }
}

/// Numbers by chance, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        wide(self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)) as u64 % end
    }
}
