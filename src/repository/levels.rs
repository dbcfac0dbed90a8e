//! Which of zstd's levels a stream's chunks get.
//!
//! A higher level takes twice the time and more, and what it saves depends on the data: of text that repeats itself a
//! tenth, of digests and UUIDs in a table nothing at all. So it is tried: now and then a chunk is compressed at both
//! levels, and the chunks after it get the higher one only if that was worth it. The level is not part of the format.

use std::collections::VecDeque;

/// The level that is always worth its time.
pub(crate) const QUICK: i32 = 1;
/// Smaller chunks are not tried: nothing is to be gained by them.
const SMALL: usize = 64 << 10;
/// A trial holds for so many chunks.
const HOLDS: u32 = 32;
/// The higher level must save so many percent of what the quick one leaves.
const WORTH: u128 = 5;
/// And so many thousandths of the chunk itself: where the quick level leaves a hundredth of it, as of `pgbench`'s rows, a
/// twentieth of that is not worth the time.
const WORTH_OF_PLAIN: u128 = 5;
/// So many streams are remembered: more are seldom written at once.
const REMEMBERED: usize = 8;

/// How a chunk is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// At the quick level.
    Quick,
    /// At the level that was asked for.
    Thorough,
    /// At both; the smaller is kept.
    Both,
}

#[derive(Debug)]
struct Known {
    stream: u32,
    choice: Choice,
    left: u32,
}

/// What was found of the streams that a thread has seen last.
#[derive(Debug, Default)]
pub(crate) struct Levels(VecDeque<Known>);

impl Levels {
    /// How the next chunk of `stream`, of `length` bytes, is compressed.
    pub(crate) fn choose(&mut self, stream: u32, length: usize) -> Choice {
        if length < SMALL {
            return Choice::Thorough;
        }
        let Some(at) = self.0.iter().position(|known| known.stream == stream) else { return Choice::Both };
        let Some(known) = self.0.get_mut(at) else { return Choice::Both };
        if known.left == 0 {
            self.0.remove(at);
            return Choice::Both;
        }
        known.left -= 1;
        known.choice
    }

    /// What came of a chunk of `stream`, of `plain` bytes, that was compressed at both levels. Whether the thorough one was
    /// worth it.
    pub(crate) fn found(&mut self, stream: u32, plain: usize, (quick, thorough): (usize, usize)) -> bool {
        let saved = quick.saturating_sub(thorough) as u128;
        let worth = saved * 100 >= quick as u128 * WORTH && saved * 1000 >= plain as u128 * WORTH_OF_PLAIN;
        let choice = if worth { Choice::Thorough } else { Choice::Quick };
        self.0.retain(|known| known.stream != stream);
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Known { stream, choice, left: HOLDS });
        worth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_holds_for_some_chunks_and_then_the_next_one_is_tried() {
        let cases = [
            (400, 95, Choice::Thorough),
            (400, 96, Choice::Quick),
            (400, 120, Choice::Quick),
            (2000, 90, Choice::Thorough),
            (2001, 90, Choice::Quick),
        ];
        for (plain, thorough, expected) in cases {
            let mut levels = Levels::default();
            assert_eq!(levels.choose(7, SMALL), Choice::Both);
            assert_eq!(levels.found(7, plain, (100, thorough)), expected == Choice::Thorough);
            for _ in 0..HOLDS {
                assert_eq!(levels.choose(7, SMALL), expected);
            }
            assert_eq!(levels.choose(7, SMALL), Choice::Both);
        }
    }

    #[test]
    fn small_chunks_get_the_level_that_was_asked_for() {
        assert_eq!(Levels::default().choose(7, SMALL - 1), Choice::Thorough);
    }

    #[test]
    fn streams_know_nothing_of_each_other_and_the_oldest_is_forgotten() {
        let mut levels = Levels::default();
        levels.found(0, 400, (100, 50));
        levels.found(1, 400, (100, 100));
        assert_eq!((levels.choose(0, SMALL), levels.choose(1, SMALL)), (Choice::Thorough, Choice::Quick));
        for stream in 2..=REMEMBERED {
            levels.found(u32::try_from(stream).unwrap(), 400, (100, 100));
        }
        assert_eq!((levels.choose(0, SMALL), levels.choose(1, SMALL)), (Choice::Both, Choice::Quick));
    }
}
