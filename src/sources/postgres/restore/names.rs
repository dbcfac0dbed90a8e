//! The names that a restore gives to databases and schemas.

use jiff::Timestamp;
use rand::Rng;

use crate::types::Blake3Digest;

/// The longest name that PostgreSQL keeps, in bytes; longer ones are cut in silence.
const LONGEST: usize = 63;

/// So many digits of a name's digest tell it from others that begin as it does.
const DIGITS: usize = 8;

/// In the order in which texts sort.
const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";

/// What one restore is called: its start in UTC to the 1024th part of a second, of which two characters tell, and two
/// random ones, `20261121150501abcd`. Names that end with it sort by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreId(String);

impl RestoreId {
    /// A new one for a restore that starts at `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        // 0 to 1023, and as many random ones.
        let part = u64::try_from(start.subsec_nanosecond()).unwrap_or_default() * 1024 / 1_000_000_000;
        let random = rand::rng().random_range(0..1024_u64);
        let digits = [part >> 5, part & 31, random >> 5, random & 31];
        let suffix: String = digits
            .iter()
            .filter_map(|digit| ALPHABET.get(usize::try_from(*digit).ok()?))
            .copied()
            .map(char::from)
            .collect();
        Self(format!("{}{suffix}", start.strftime("%Y%m%d%H%M%S")))
    }

    /// The one that a text is; none if no restore was ever called so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (time, suffix) = text.as_bytes().split_at_checked(14)?;
        let is_it = time.iter().all(u8::is_ascii_digit)
            && suffix.len() == 4
            && suffix.iter().all(|byte| ALPHABET.contains(byte));
        is_it.then(|| Self(text.to_owned()))
    }

    /// The one whose [`Self::scratch`] for `database` has this name.
    #[must_use]
    pub fn of_scratch(name: &str, database: &str) -> Option<Self> {
        Self::at_end(name).filter(|id| id.scratch(database) == name)
    }

    /// The one whose [`Self::undone`] for `database` has this name.
    #[must_use]
    pub fn of_undone(name: &str, database: &str) -> Option<Self> {
        Self::at_end(name).filter(|id| id.undone(database) == name)
    }

    /// The one that a name ends with.
    fn at_end(name: &str) -> Option<Self> {
        Self::parse(name.split_at_checked(name.len().checked_sub(18)?)?.1)
    }

    /// It as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The database that is loaded beside `database`.
    #[must_use]
    pub fn scratch(&self, database: &str) -> String {
        joined(database, "_drctl_", &self.0)
    }

    /// What `database` is called once another has taken its place.
    #[must_use]
    pub fn before(&self, database: &str) -> String {
        joined(database, "_before_", &self.0)
    }

    /// What the restored database is called once the one before has its place again.
    #[must_use]
    pub fn undone(&self, database: &str) -> String {
        joined(database, "_undone_", &self.0)
    }

    /// The schema that single tables are restored into.
    #[must_use]
    pub fn schema(&self) -> String {
        format!("drctl_{}", self.0)
    }
}

/// `name`, `word` and `id` in 63 bytes. Where they are too long, `name` is cut between characters, and gets a piece of its
/// digest: names that begin alike stay apart, and so all databases of a restore have its one id.
fn joined(name: &str, word: &str, id: &str) -> String {
    let room = LONGEST.saturating_sub(word.len() + id.len());
    if name.len() <= room {
        return format!("{name}{word}{id}");
    }
    let digest = Blake3Digest::of(name.as_bytes()).to_string();
    let digest = digest.get(..DIGITS).unwrap_or_default();
    let room = room.saturating_sub(DIGITS + 1);
    let end = (0..=room).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}_{digest}{word}{id}", &name[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> RestoreId {
        RestoreId::new("2026-11-21T15:05:01Z".parse().unwrap())
    }

    #[test]
    fn names_tell_what_they_are_and_when_it_was() {
        let id = id();
        assert!(id.scratch("orders").starts_with("orders_drctl_20261121150501"), "{}", id.scratch("orders"));
        assert!(id.before("orders").starts_with("orders_before_20261121150501"));
        assert!(id.undone("orders").starts_with("orders_undone_20261121150501"));
        assert!(id.schema().starts_with("drctl_20261121150501"));
    }

    #[test]
    fn only_what_a_restore_can_be_called_is_read() {
        let id = id();
        assert_eq!(RestoreId::parse(id.as_str()), Some(id));
        for other in [
            "",
            "20261121150501",
            "20261121150501abc",
            "20261121150501abcde",
            "2026112115050xabcd",
            "20261121150501ab1d",
        ] {
            assert_eq!(RestoreId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_scratch_database_is_known_by_its_name() {
        let id = id();
        for database in ["orders", "ä", &"long".repeat(20)] {
            assert_eq!(RestoreId::of_scratch(&id.scratch(database), database), Some(id.clone()));
            assert_eq!(RestoreId::of_scratch(&id.before(database), database), None);
            assert_eq!(RestoreId::of_undone(&id.undone(database), database), Some(id.clone()));
            assert_eq!(RestoreId::of_undone(&id.scratch(database), database), None);
            assert_eq!(RestoreId::of_scratch(&id.scratch("others"), database), None);
        }
        assert_eq!(RestoreId::of_scratch("orders", "orders"), None);
    }

    #[test]
    fn long_names_that_begin_alike_stay_apart_under_one_id() {
        let id = id();
        let [one, other] = ["social", "financial"].map(|end| format!("expense_tracker_production_eu_west_one_{end}"));
        for (made, twin) in [
            (id.scratch(&one), id.scratch(&other)),
            (id.before(&one), id.before(&other)),
            (id.undone(&one), id.undone(&other)),
        ] {
            assert!(made != twin && made.starts_with("expense_tracker_production") && made.len() <= LONGEST, "{made}");
        }
        let fits = "a".repeat(LONGEST - "_before_".len() - id.as_str().len());
        assert_eq!(id.before(&fits), format!("{fits}_before_{}", id.as_str()));
    }

    proptest! {
        #[test]
        fn what_starts_later_sorts_later(millis in 0_i64..4_000_000_000_000, later in 1_i64..3_000) {
            let id = |millis| RestoreId::new(Timestamp::from_millisecond(millis).unwrap());
            let (one, other) = (id(millis), id(millis + later));
            prop_assert!(one.as_str() < other.as_str(), "{one:?} {other:?}");
            prop_assert_eq!(RestoreId::parse(one.as_str()), Some(one));
        }

        #[test]
        fn no_name_is_longer_than_postgresql_keeps(name in ".{0,80}") {
            let id = id();
            for made in [id.scratch(&name), id.before(&name), id.undone(&name)] {
                prop_assert!(made.len() <= LONGEST);
                prop_assert!(made.ends_with(id.as_str()));
            }
        }
    }
}
