//! Which collections of a database are captured.

use super::super::{
    definition::{Definition, Kind},
    left::is_of_restore,
};

/// What a policy says of collections: names, or patterns with `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these; empty: all.
    pub include: Vec<String>,
    /// Not these, unless `include` has their very name.
    pub exclude: Vec<String>,
    /// Time-series collections, too.
    pub time_series: bool,
    /// Users and roles of the database, too.
    pub users: bool,
}

/// What becomes of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Taken,
    /// It belongs to the server, or to a collection that is listed itself.
    Internal,
    /// The policy leaves it out.
    LeftOut,
    /// It would be taken, if the policy asked for its kind.
    NotAskedFor,
    /// A restore has made it and was killed, or something differed.
    OfRestore,
}

/// Why nothing of a database is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emptiness {
    /// It has no collections but those that are never taken.
    NoCollections,
    /// It has some, and the policy leaves all of them out.
    NoneTaken,
}

impl Selection {
    pub(super) fn choose(&self, definition: &Definition) -> Choice {
        let name = definition.name.as_str();
        if is_internal(name) {
            return Choice::Internal;
        }
        let named = self.include.iter().any(|item| item == name);
        let included = self.include.is_empty() || self.include.iter().any(|item| matches(item, name));
        let excluded = !named && self.exclude.iter().any(|item| matches(item, name));
        if !included || excluded {
            return Choice::LeftOut;
        }
        match definition.kind {
            _ if !named && is_of_restore(name) => Choice::OfRestore,
            Kind::TimeSeries if !self.time_series => Choice::NotAskedFor,
            _ => Choice::Taken,
        }
    }

    /// Whether the database has a collection or a view that is neither the server's own nor what a restore has left behind.
    fn has_any(&self, listed: &[Definition]) -> bool {
        let named = |name: &str| self.include.iter().any(|item| item == name);
        let mut names = listed.iter().map(|it| it.name.as_str());
        names.any(|name| !is_internal(name) && (!is_of_restore(name) || named(name)))
    }

    /// Why a backup would hold no collection at all; absent: it holds some, or what it lacks is named one by one.
    pub(super) fn emptiness(&self, listed: &[Definition]) -> Option<Emptiness> {
        if !self.has_any(listed) {
            return Some(Emptiness::NoCollections);
        }
        let is_told = |it: &Definition| matches!(self.choose(it), Choice::Taken | Choice::NotAskedFor);
        (!listed.iter().any(is_told)).then_some(Emptiness::NoneTaken)
    }

    /// Names and patterns of `include` that fit none of `names`.
    pub(super) fn absent<'s>(&'s self, names: &[&str]) -> Vec<&'s str> {
        useless(&self.include, names)
    }

    /// Names and patterns of `exclude` that fit none of `names`.
    pub(super) fn useless<'s>(&'s self, names: &[&str]) -> Vec<&'s str> {
        useless(&self.exclude, names)
    }
}

/// Whether a name is of the server's own, or belongs to another collection. `system.js` is the one that an application writes
/// itself.
fn is_internal(name: &str) -> bool {
    (name.starts_with("system.") && name != "system.js") || name.contains('$')
}

fn useless<'s>(patterns: &'s [String], names: &[&str]) -> Vec<&'s str> {
    patterns.iter().map(String::as_str).filter(|pattern| !names.iter().any(|name| matches(pattern, name))).collect()
}

/// Whether `text` is as `pattern` says; `*` is any text.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut pieces = rest.split('*').peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return text.ends_with(piece);
        }
        match text.find(piece) {
            Some(at) => text = text.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use mongodb_driver::bson::rawdoc;

    use super::*;

    fn choice(selection: &Selection, name: &str, kind: &str) -> Choice {
        selection.choose(&Definition::of_entry(&rawdoc! {"name": name, "type": kind}).unwrap())
    }

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c", "abc", true),
            ("a*c", "ab", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXcYb", false),
            ("a*a", "a", false),
            ("**", "x", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn what_the_server_keeps_for_itself_is_never_taken_and_what_is_asked_for_is() {
        let all = Selection::default();
        assert_eq!(choice(&all, "contacts", "collection"), Choice::Taken);
        assert_eq!(choice(&all, "system.views", "collection"), Choice::Internal);
        assert_eq!(choice(&all, "system.buckets.t", "collection"), Choice::Internal);
        assert_eq!(choice(&all, "system.js", "collection"), Choice::Taken);
        assert_eq!(choice(&all, "t", "timeseries"), Choice::NotAskedFor);
        assert_eq!(choice(&Selection { time_series: true, ..all.clone() }, "t", "timeseries"), Choice::Taken);
        let left = "drctl_20261120120000ab2d_0";
        for (name, expected) in [
            (left, Choice::OfRestore),
            ("drctl_20261120120000ab2d_12_old", Choice::OfRestore),
            ("drctl_20261120120000ab2d_", Choice::Taken),
            ("drctl_20261120120000ab2d_x", Choice::Taken),
            ("drctl_20261120_0", Choice::Taken),
            ("drctl_notes_1", Choice::Taken),
        ] {
            assert_eq!(choice(&all, name, "collection"), expected, "{name}");
        }
        let by_name = Selection { include: vec![left.to_owned()], ..all.clone() };
        assert_eq!(choice(&by_name, left, "collection"), Choice::Taken);
        let some = Selection {
            include: vec!["a*".to_owned(), "log".to_owned()],
            exclude: vec!["ab*".to_owned(), "log".to_owned(), "zz".to_owned()],
            ..Selection::default()
        };
        for (name, expected) in
            [("a", Choice::Taken), ("abc", Choice::LeftOut), ("log", Choice::Taken), ("b", Choice::LeftOut)]
        {
            assert_eq!(choice(&some, name, "collection"), expected, "{name}");
        }
        assert_eq!(some.absent(&["abc"]), ["log"]);
        assert_eq!(some.useless(&["abc", "log"]), ["zz"]);
        let excluded = Selection { exclude: vec!["t".to_owned()], ..all };
        assert_eq!(choice(&excluded, "t", "timeseries"), Choice::LeftOut);
    }

    #[test]
    fn a_database_with_only_what_is_never_taken_has_no_collections() {
        let left = "drctl_20261120120000ab2d_0";
        let has = |selection: &Selection, names: &[&str]| {
            let entry = |name: &&str| Definition::of_entry(&rawdoc! {"name": *name, "type": "collection"}).unwrap();
            selection.has_any(&names.iter().map(entry).collect::<Vec<_>>())
        };
        let all = Selection::default();
        assert!(!has(&all, &[]) && !has(&all, &["system.views", "system.profile", left]));
        assert!(has(&all, &["system.views", "contacts"]) && has(&all, &["system.js"]));
        // What the policy leaves out is there all the same.
        assert!(has(&Selection { exclude: vec!["contacts".to_owned()], ..all.clone() }, &["contacts"]));
        assert!(has(&Selection { include: vec![left.to_owned()], ..all }, &[left]));
    }

    #[test]
    fn a_policy_that_takes_nothing_of_a_database_is_seen_and_one_that_takes_something_is_not() {
        let of = |include: &[&str], exclude: &[&str], kind: &str| {
            let [include, exclude] = [include, exclude].map(|all| all.iter().map(|it| (*it).to_owned()).collect());
            let selection = Selection { include, exclude, ..Selection::default() };
            let entry = |name: &str, kind: &str| Definition::of_entry(&rawdoc! {"name": name, "type": kind}).unwrap();
            selection.emptiness(&[entry("contacts", kind), entry("system.views", "collection")])
        };
        for (include, exclude) in [(&[][..], &["*"][..]), (&[], &["contacts"]), (&["other"], &[])] {
            assert_eq!(of(include, exclude, "collection"), Some(Emptiness::NoneTaken), "{include:?} {exclude:?}");
        }
        for (include, exclude) in [(&[][..], &["tmp_*"][..]), (&["contacts"], &["*"])] {
            assert_eq!(of(include, exclude, "collection"), None, "{include:?} {exclude:?}");
        }
        // A time series that is not asked for is named itself.
        assert_eq!(of(&[], &[], "timeseries"), None);
        assert_eq!(Selection::default().emptiness(&[]), Some(Emptiness::NoCollections));
    }
}
