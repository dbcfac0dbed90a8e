//! The verifications of one backup: which damage still stands, and what was looked at last.

use jiff::Timestamp;

use super::{
    verified::{Verified, VerifyOutcome},
    verify::{Level, Sample},
};

/// Kinds of verifications of one backup that are remembered: level, sample, its day, and outcome.
const MAX_KINDS: usize = 5_000;

/// One verification of a backup, as its key tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) sample: Option<Sample>,
    pub(super) outcome: VerifyOutcome,
}

impl Look {
    /// All that `other` read was read here as well. Which objects there are is looked at at every level, with a
    /// sample too.
    fn covers(&self, other: &Self) -> bool {
        let packs = match (self.sample, other.sample) {
            (None, _) => true,
            // One level takes its sample of packs, and the other of parts.
            (Some(own), Some(others)) => own.of() == 1 || (self.level == other.level && own.covers(others)),
            (Some(own), None) => own.of() == 1,
        };
        other.level == Level::Presence || (self.level >= other.level && packs)
    }

    pub(super) fn is_kind_of(&self, other: &Self) -> bool {
        (self.level, self.sample, self.outcome) == (other.level, other.sample, other.outcome)
    }

    fn verified(&self) -> Verified {
        let Self { at, level, sample, outcome } = *self;
        Verified { at, level, sample: sample.map(Sample::of), outcome }
    }
}

/// What is kept of the verifications of a backup while the store is listed: the newest of each kind.
#[derive(Debug, Default)]
pub(super) struct Looks(Vec<Look>);

impl Looks {
    /// Takes one more, in any order; one of a new kind only if there is `room`.
    pub(super) fn take(&mut self, look: Look, room: bool) -> Taken {
        let room = room && self.0.len() < MAX_KINDS;
        match self.0.iter_mut().find(|known| known.is_kind_of(&look)) {
            Some(known) => {
                known.at = known.at.max(look.at);
                Taken::Known
            }
            None if room => {
                self.0.push(look);
                Taken::Kept
            }
            None => Taken::LeftOut,
        }
    }

    /// The damage that no later verification has disproved, and the newest verification that was not that at each
    /// level; the newest first. Damage is disproved by a later one that read at least as much, and found all sound.
    pub(super) fn tell(self) -> Vec<Verified> {
        let disproved = |look: &Look| {
            let mut later = self.0.iter().filter(|other| other.outcome == VerifyOutcome::Sound && other.at > look.at);
            later.any(|other| other.covers(look))
        };
        let mut told: Vec<Look> = Vec::new();
        for look in &self.0 {
            if look.outcome == VerifyOutcome::Damaged {
                if !disproved(look) {
                    told.push(*look);
                }
                continue;
            }
            let of = |look: &Look| (look.level, look.sample.map(Sample::of));
            let same = |known: &&mut Look| known.outcome != VerifyOutcome::Damaged && of(known) == of(look);
            match told.iter_mut().find(same) {
                Some(known) if known.at < look.at => *known = *look,
                Some(_) => {}
                None => told.push(*look),
            }
        }
        told.sort_by_key(|look| (std::cmp::Reverse(look.at), look.outcome != VerifyOutcome::Damaged));
        told.iter().map(Look::verified).collect()
    }
}

/// What became of a verification that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// One of its kind was known.
    Known,
    /// It is the first of its kind.
    Kept,
    /// There was no room for it.
    LeftOut,
}

#[cfg(test)]
mod tests {
    use super::{
        super::verify::Level::{Content, Presence, Stored},
        VerifyOutcome::{Damaged, Sound, Unfinished},
        *,
    };

    const DAY: i64 = 24 * 3600;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 / DAY * DAY + day * DAY).unwrap()
    }

    fn look(day: i64, level: Level, of: Option<u32>, outcome: VerifyOutcome) -> Look {
        Look { at: at(day), level, sample: of.map(|of| Sample::new(of, at(day))), outcome }
    }

    /// Whether damage stands after these verifications, in whatever order the store lists them.
    fn stands(looks: &[Look]) -> bool {
        let tell = |order: &mut dyn Iterator<Item = &Look>| {
            let mut kept = Looks::default();
            for look in order {
                assert_ne!(kept.take(*look, true), Taken::LeftOut);
            }
            kept.tell()
        };
        let told = tell(&mut looks.iter());
        assert_eq!(told, tell(&mut looks.iter().rev()));
        assert!(told.is_sorted_by_key(|one| std::cmp::Reverse(one.at)), "{told:?}");
        told.iter().any(|one| one.outcome == Damaged)
    }

    #[test]
    fn another_days_sample_does_not_disprove_what_a_sample_found() {
        let found = look(0, Stored, Some(2), Damaged);
        assert!(stands(&[found]));
        assert!(stands(&[found, look(1, Stored, Some(2), Sound)]), "it read the other half");
        assert!(!stands(&[found, look(1, Stored, Some(2), Sound), look(2, Stored, Some(2), Sound)]));
        assert!(stands(&[found, look(2, Stored, Some(2), Unfinished)]));
        assert!(stands(&[found, look(2, Presence, None, Sound)]));
        assert!(stands(&[look(2, Stored, Some(2), Damaged), look(0, Stored, Some(2), Sound)]), "it is the older one");
        // A larger sample holds a smaller one where its rest says so.
        let tenth = look(3, Stored, Some(10), Damaged);
        let (same, other) = (look(8, Stored, Some(5), Sound), look(9, Stored, Some(5), Sound));
        assert_eq!((stands(&[tenth, same]), stands(&[tenth, other])), (false, true));
        assert!(stands(&[look(0, Stored, Some(5), Damaged), look(10, Stored, Some(10), Sound)]));
    }

    #[test]
    fn a_whole_look_that_is_as_thorough_disproves_all_before_it() {
        for level in [Presence, Stored, Content] {
            for of in [None, Some(10)].into_iter().filter(|of| level > Presence || of.is_none()) {
                let found = look(0, level, of, Damaged);
                for sound in [Presence, Stored, Content] {
                    assert_eq!(stands(&[found, look(1, sound, None, Sound)]), sound < level, "{level:?} {sound:?}");
                    let everything = (sound > Presence).then_some(1);
                    assert_eq!(stands(&[found, look(1, sound, everything, Sound)]), sound < level);
                    assert!(stands(&[found, look(1, sound, None, Unfinished)]));
                }
            }
        }
        assert!(!stands(&[look(0, Presence, None, Damaged), look(1, Stored, Some(10), Sound)]));
        assert!(stands(&[look(0, Stored, None, Damaged), look(1, Stored, Some(10), Sound)]));
        assert!(stands(&[look(0, Presence, None, Damaged), look(0, Presence, None, Sound)]), "of one second");
    }

    #[test]
    fn the_newest_of_each_level_is_told_and_disproved_damage_is_not() {
        let mut kept = Looks::default();
        for look in [
            look(0, Presence, None, Damaged),
            look(1, Stored, Some(2), Sound),
            look(2, Stored, Some(2), Sound),
            look(2, Presence, None, Sound),
            look(3, Content, None, Unfinished),
            look(1, Content, None, Sound),
        ] {
            assert_eq!(kept.take(look, true), Taken::Kept);
        }
        assert_eq!(kept.take(look(5, Content, None, Damaged), false), Taken::LeftOut);
        assert_eq!(kept.take(look(4, Stored, Some(2), Sound), false), Taken::Known);
        let told: Vec<_> = kept.tell().iter().map(|one| (one.at, one.level, one.sample, one.outcome)).collect();
        let expected =
            [(at(4), Stored, Some(2), Sound), (at(3), Content, None, Unfinished), (at(2), Presence, None, Sound)];
        assert_eq!(told, expected);
    }
}
