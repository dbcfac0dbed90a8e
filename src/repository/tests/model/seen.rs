//! Which states were explored, and with how much left: 16 bytes a state.
//!
//! What is left of a budget decides what is reached from a state, and so does who is running, because another one costs a
//! preemption. But little of that has to be remembered:
//!
//! - What was explored with more left holds what is reached with less.
//! - Where nobody runs any more, everybody may go on for nothing: that holds all that is reached if one of them runs.
//! - With one more preemption left, whoever runs, all is reached that is reached if another one runs: for the preemption
//!   that is over, that one can be taken. Its next steps are then the same, and each other change costs the same.
//!
//! So for each number of faults there is how many preemptions were left for everybody, and for whom there was one more.

use super::explore::Budget;

/// Shares of the table, which grow one by one.
const SHARES: usize = 256;
/// How many bits of a number tell a state: of 10^9 states two are taken for one with a chance of 10^-11.
const TOLD: u32 = 96;
/// Faults are counted up to this.
const MOST_FAULTS: u32 = 3;

/// The states that were explored.
#[derive(Debug)]
pub(super) struct Seen {
    shares: Vec<Share>,
}

/// Places for entries, of which an empty one is nothing; an entry is in the first that was free from its own on.
#[derive(Debug, Default)]
struct Share {
    places: Vec<u128>,
    count: usize,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self { shares: (0..SHARES).map(|_| Share::default()).collect() }
    }

    /// How many states are known.
    pub(super) fn len(&self) -> u64 {
        self.shares.iter().map(|share| share.count as u64).sum()
    }

    /// Whether what is reached from a state was not explored with as much left. `running` is nobody, or up to four.
    pub(super) fn is_new(&mut self, state: u128, running: Option<u8>, left: Budget) -> bool {
        let share = &mut self.shares[(state >> 120) as usize];
        let entry = share.entry(state & ((1 << TOLD) - 1));
        let known = (*entry >> TOLD) as u32;
        match explored(known, running, left) {
            Some(known) => {
                *entry = (*entry & ((1 << TOLD) - 1)) | (u128::from(known) << TOLD);
                true
            }
            None => false,
        }
    }
}

impl Share {
    /// The entry of a state, which is made if there is none.
    fn entry(&mut self, told: u128) -> &mut u128 {
        if (self.count + 1) * 8 > self.places.len() * 7 {
            self.grow();
        }
        let place = Self::place(&self.places, told);
        let entry = &mut self.places[place];
        if *entry == 0 {
            self.count += 1;
            *entry = told;
        }
        entry
    }

    fn place(places: &[u128], told: u128) -> usize {
        // The upper part of a product: every length will do.
        let (high, length) = ((told >> (TOLD - 64)) as u64, places.len());
        let mut place = ((u128::from(high) * length as u128) >> 64) as usize;
        while places[place] != 0 && places[place] & ((1 << TOLD) - 1) != told {
            place = if place + 1 == length { 0 } else { place + 1 };
        }
        place
    }

    /// By a quarter only: there is never much that is empty.
    fn grow(&mut self) {
        let mut places = vec![0; (self.places.len() + self.places.len() / 4).max(64)];
        for entry in std::mem::take(&mut self.places).into_iter().filter(|entry| *entry != 0) {
            let place = Self::place(&places, entry & ((1 << TOLD) - 1));
            places[place] = entry;
        }
        self.places = places;
    }
}

/// What is known of a state after it was explored like this too; `None` where that was known. For each number of faults eight
/// bits: for how many preemptions, and one more, with anybody running; and who was running with just as many.
fn explored(known: u32, running: Option<u8>, left: Budget) -> Option<u32> {
    let level = |faults: u32| (known >> (8 * faults)) & 7;
    let runners = |faults: u32| (known >> (8 * faults + 3)) & 31;
    let one = running.map_or(0, |who| 1 << who);
    let covered = level(left.faults) > left.preemptions
        || (level(left.faults) == left.preemptions && runners(left.faults) & one != 0);
    if covered {
        return None;
    }
    // With anybody running there is one fewer.
    let free = if running.is_some() { left.preemptions } else { left.preemptions + 1 };
    let mut made = known;
    for faults in 0..=left.faults.min(MOST_FAULTS) {
        let now = level(faults).max(free);
        let mut who = if now == level(faults) { runners(faults) } else { 0 };
        if now == left.preemptions {
            who |= one;
        }
        made = (made & !(0xff << (8 * faults))) | ((now | (who << 3)) << (8 * faults));
    }
    Some(made)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether what was explored holds this, told by the rules one by one.
    fn holds(all: &[(Option<u8>, u32, u32)], (running, preemptions, faults): (Option<u8>, u32, u32)) -> bool {
        all.iter().any(|(who, p, f)| {
            *f >= faults && ((who.is_none() || *who == running) && *p >= preemptions || *p > preemptions)
        })
    }

    proptest! {
        #[test]
        fn a_state_is_new_only_if_nothing_that_was_explored_holds_it(
            asked in proptest::collection::vec((proptest::option::of(0_u8..5), 0_u32..4, 0_u32..4), 1..30),
            states in proptest::collection::vec(0_u64..5, 30),
        ) {
            let (mut seen, mut all) = (Seen::new(), vec![Vec::new(); 5]);
            for (one, state) in asked.into_iter().zip(states) {
                let known = &mut all[state as usize];
                let (running, preemptions, faults) = one;
                let state = super::super::shelf::wide(state);
                prop_assert_eq!(seen.is_new(state, running, Budget { preemptions, faults }), !holds(known, one));
                known.push(one);
            }
        }
    }

    #[test]
    fn a_hundred_thousand_states_are_told_apart_and_take_little_more_than_16_bytes_each() {
        let mut seen = Seen::new();
        let left = Budget { preemptions: 1, faults: 0 };
        for again in [false, true] {
            for state in 0..100_000_u32 {
                assert_eq!(seen.is_new(super::super::shelf::wide(state), None, left), !again);
            }
        }
        assert_eq!(seen.len(), 100_000);
        let places: usize = seen.shares.iter().map(|share| share.places.len()).sum();
        assert!(places < 150_000, "{places}");
    }
}
