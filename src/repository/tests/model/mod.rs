//! The protocol of backups and prunes, model-tested on the production code.
//!
//! Two backups and two prunes, the second prune a day after the first could have run, over stores in memory with one
//! clock for the store and everybody. Each call of the store waits until it is answered; nobody else runs then. So a
//! schedule is the order of the answers, and what happens at each call: the process dies before or after it has its effect,
//! the answer is lost, or the process stands still while a day passes.
//!
//! **It is quick because no code runs twice for the same answers.** The code is deterministic in what the store answers, and
//! when. So what each process asks is a tree whose edges are answers (`transcript.rs`): the search walks these trees, and a
//! process really runs only where an answer is new. Whenever one runs again it is checked that it asks what it asked.
//!
//! **Every schedule** up to a budget of preemptions and faults is explored, but for those that must end as another one does:
//!
//! - A call is answered at once if it matters to nobody else, or only in a way that cannot lose anything: what proves the
//!   store on a key that nobody else has, the second put of a mark, reads of objects that are never changed, only deleted
//!   (a run that finds a parent's index gone stores that data anew; a prune that finds refs gone ends), and the deletion of
//!   what only says where chunks lie. A schedule that splits before such a call ends as the one that splits before the next
//!   call that counts. Schedules by chance split there, too.
//! - Calls on different keys commute: in either order they lead to the same store, the same time and the same answers to
//!   everybody. From such a state, and with the same process running, all goes on alike; so each is explored once, with the
//!   largest budgets of preemptions and faults that lead there. A bound on preemptions is kept by this, as it would not be
//!   by sleep sets alone.
//! - From a state that was explored with one preemption more, whoever was running then, nothing new is reached, nor from one
//!   that was explored with as many when nobody was running: the one preemption gives everybody the turn (`seen.rs`).
//!
//! **It is small because little is kept** (with all of it, 18 GB were not enough for two preemptions and a fault): of a state that was
//! explored 16 bytes, and those only of one in eight where but one way leads on, because from the others it is not far to one
//! that is known; objects, calls and answers once each (`shelf.rs`, `transcript.rs`); of what a process does in a store like one
//! before, only the last of it; and nothing of the prunes and the backup after the end of a schedule, which held the most.
//!
//! **Schedules by chance** split before any call and take any number of faults; the seed of one that fails is printed.
//!
//! What must hold at the end of each, and after two more prunes and a backup on what is left: every manifest that is listed
//! is sound at level content; a backup whose run was told that it had committed is listed; what nobody asked to go is there;
//! what went had a tombstone that was a day old; and another backup can be made.
//!
//! Six faults of the protocol are planted, one after the other, and each must be found.
//!
//! **With a copy** beside them: one of the prunes is of the copy, and somebody brings what is missing into it. The same must
//! hold in both places; a fault that is planted into the copying must be found. So it is where the second backup is to go
//! from the copy alone, and may be brought into it anew.
//!
//! `cargo test` explores one fault, or two preemptions, some schedules by chance, and finds all that is planted. `make model`
//! goes on, step by step, to three preemptions and two faults and to 100,000 schedules by chance, each as far as it comes
//! in an hour (`DRCTL_MODEL_SECONDS` sets another time), and says how far that was; `DRCTL_MODEL_BUDGET=2,1` explores two
//! preemptions with one fault and nothing else of it. docs/prune.md says what was explored to its end.

mod explore;
mod process;
mod seen;
mod shelf;
mod state;
mod transcript;
mod world;

use std::time::{Duration, Instant};

use self::{
    explore::{Budget, Explored, by_chance, everything},
    world::{Bug, World},
};

/// A number of the environment.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Whether more than the part that is quick is explored: `make model`.
fn whole() -> bool {
    std::env::var_os("DRCTL_MODEL_WHOLE").is_some()
}

/// How long one exploration may take before it is given up: an hour, or `DRCTL_MODEL_SECONDS`.
fn patience() -> Duration {
    Duration::from_secs(number("DRCTL_MODEL_SECONDS", 3600))
}

/// What `DRCTL_MODEL_BUDGET` says: the only budget to be explored.
fn asked() -> Option<(u32, u32)> {
    let said = std::env::var("DRCTL_MODEL_BUDGET").ok()?;
    let (preemptions, faults) = said.split_once(',').expect("preemptions,faults");
    Some((preemptions.parse().unwrap(), faults.parse().unwrap()))
}

fn budget((preemptions, faults): (u32, u32)) -> Budget {
    Budget { preemptions, faults }
}

fn said(what: &str, explored: &Explored, began: Instant) {
    println!(
        "{what}: {} schedules to their end, {} into what was explored; {} states, come to {} times, {} ends, {} calls; {} processes \
         run, {} places; {:.1} s{}",
        explored.schedules,
        explored.merged,
        explored.states,
        explored.visits,
        explored.ends,
        explored.calls,
        explored.runs,
        explored.places,
        began.elapsed().as_secs_f64(),
        if explored.ended { "" } else { ", NOT ALL" }
    );
    if let Some(failure) = &explored.failure {
        println!("  {}\n{}", failure.what, failure.schedule);
    }
}

#[test]
fn no_schedule_of_two_backups_and_two_prunes_loses_a_live_chunk() {
    let world = World::new();
    let quick: &[(u32, u32)] = &[(0, 1), (2, 0)];
    let more: &[(u32, u32)] =
        if whole() { &[(0, 2), (1, 1), (3, 0), (2, 1), (1, 2), (3, 1), (2, 2), (3, 2)] } else { &[] };
    let usual: Vec<(u32, u32)> = quick.iter().chain(more).copied().collect();
    for (preemptions, faults) in asked().map_or(usual, |asked| vec![asked]) {
        let began = Instant::now();
        let explored = everything(&world, Bug::None, budget((preemptions, faults)), patience());
        said(&format!("at most {preemptions} preemptions and {faults} faults"), &explored, began);
        assert_eq!(explored.failure, None);
        assert!(explored.ended || whole(), "not all schedules within {:?}", patience());
        assert!(explored.schedules > 100, "{} schedules", explored.schedules);
    }
}

#[test]
fn no_schedule_of_a_copy_beside_two_backups_and_two_prunes_loses_a_live_chunk_in_either_place() {
    // The twin: one that relies on packs which the copy's prune may be deleting.
    copied(&World::copying(), "with a copy", (Bug::ReliesOnAll, "a copy that relies on all packs"));
}

#[test]
fn no_schedule_brings_a_backup_anew_into_a_copy_that_is_deleting_it() {
    // The twin: one that passes over tombstones of the copy.
    let twin = (Bug::IgnoresMarks, "a copy that passes over tombstones there");
    copied(&World::copying_what_was_deleted(), "deleted from the copy", twin);
}

/// Explores a world with a copy, and its twin with a planted fault, which must be found.
fn copied(world: &World, what: &str, (bug, planted): (Bug, &str)) {
    let quick: &[(u32, u32)] = &[(1, 0)];
    let more: &[(u32, u32)] = if whole() { &[(0, 1), (2, 0), (1, 1)] } else { &[] };
    for (preemptions, faults) in quick.iter().chain(more) {
        let began = Instant::now();
        let explored = everything(world, Bug::None, budget((*preemptions, *faults)), patience());
        said(&format!("{what}, at most {preemptions} preemptions and {faults} faults"), &explored, began);
        assert_eq!(explored.failure, None);
        assert!(explored.ended || whole(), "not all schedules within {:?}", patience());
        assert!(explored.schedules > 100, "{} schedules", explored.schedules);
    }
    let usual = if whole() { 20_000 } else { 15 };
    let (began, count, seed) = (Instant::now(), number("DRCTL_MODEL_RANDOM", usual), number("DRCTL_MODEL_SEED", 1));
    let explored = by_chance(world, Bug::None, (seed, count), patience());
    said(&format!("{what}, by chance, from seed {seed}"), &explored, began);
    assert_eq!(explored.failure, None);
    let began = Instant::now();
    let explored = everything(world, bug, budget((1, 0)), patience());
    said(&format!("{planted}, with 1 preemption"), &explored, began);
    assert!(explored.failure.is_some(), "it was not found");
}

#[test]
fn no_deeper_schedule_by_chance_loses_a_live_chunk() {
    let world = World::new();
    let usual = if whole() { 100_000 } else { 50 };
    let (began, count, seed) = (Instant::now(), number("DRCTL_MODEL_RANDOM", usual), number("DRCTL_MODEL_SEED", 1));
    let explored = by_chance(&world, Bug::None, (seed, count), patience());
    said(&format!("by chance, from seed {seed}"), &explored, began);
    assert_eq!(explored.failure, None);
    assert!(explored.ended || whole(), "not all schedules within {:?}", patience());
    assert!(explored.schedules > 20, "{} schedules", explored.schedules);
}

#[test]
fn each_planted_fault_of_the_protocol_is_found() {
    let world = World::new();
    // The fewest preemptions and faults that show it.
    let planted = [
        (Bug::TombstonesOnce, (1, 0)),
        (Bug::SessionsLast, (2, 0)),
        (Bug::ManifestFirst, (0, 1)),
        (Bug::FenceByOverwrite, (2, 0)),
        (Bug::NoWait, (1, 0)),
        (Bug::IgnoresCreateOnly, (2, 0)),
    ];
    for (bug, (preemptions, faults)) in planted {
        let began = Instant::now();
        let explored = everything(&world, bug, budget((preemptions, faults)), patience());
        said(&format!("{bug:?} with {preemptions} preemptions and {faults} faults"), &explored, began);
        assert!(explored.failure.is_some(), "{bug:?} was not found");
    }
}
