//! Where a database that is created has its files.

use std::collections::BTreeMap;

use super::super::quote::readable;

/// What every server has, and what a database is in of which nothing is said.
const DEFAULT: &str = "pg_default";

/// The tablespace of a new database, absent: the server's default one; and what is to be said about it. `live` is that of
/// the database whose place it takes, `backup` that of the one that was backed up; `all` are those of the server, each
/// with whether `role` may create something in it.
pub(super) fn choose(
    live: Option<&str>,
    backup: Option<&str>,
    all: &BTreeMap<String, bool>,
    role: &str,
) -> (Option<String>, Vec<String>) {
    let named = [("the live database is", live), ("the database of the backup was", backup)];
    let wanted: Vec<(&str, &str)> = named
        .into_iter()
        .filter_map(|(whose, name)| name.filter(|name| ![DEFAULT, ""].contains(name)).map(|name| (whose, name)))
        .collect();
    // One that was moved since is where its admin wants it.
    let chosen = wanted.iter().find(|(_, name)| all.get(*name) == Some(&true)).map(|(_, name)| (*name).to_owned());
    let goes = chosen.as_ref().map_or_else(
        || "the restored one goes into the server's default one".to_owned(),
        |chosen| format!("the restored one goes into {chosen}"),
    );
    let mut warnings = Vec::new();
    let mut said = None;
    for (whose, name) in wanted {
        if chosen.as_deref() == Some(name) || said == Some(name) {
            continue;
        }
        said = Some(name);
        warnings.push(match all.get(name) {
            None => format!("{whose} in tablespace {name}, which is not on this server: {goes}"),
            Some(true) => format!("{whose} in tablespace {name}: {goes}, where the live one is"),
            Some(false) => format!(
                "{whose} in tablespace {name}, in which role {role} may create nothing (GRANT CREATE ON TABLESPACE {} TO {}): \
                 {goes}",
                readable(name),
                readable(role)
            ),
        });
    }
    if let (Some(DEFAULT), Some(chosen)) = (live, &chosen) {
        warnings.push(format!(
            "the live database is in the server's default tablespace, and that of the backup was in {chosen}: the restored one goes \
             into {chosen}"
        ));
    }
    (chosen, warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(live: Option<&str>, backup: Option<&str>) -> (Option<String>, Vec<String>) {
        let all = [("pg_default", true), ("fast", true), ("large", true), ("locked", false)];
        choose(live, backup, &all.into_iter().map(|(name, may)| (name.to_owned(), may)).collect(), "app")
    }

    #[test]
    fn a_database_goes_where_the_live_one_is_or_else_where_it_was() {
        for (live, backup, wanted) in [
            (None, None, None),
            (Some("pg_default"), None, None),
            (Some("fast"), Some("fast"), Some("fast")),
            (None, Some("fast"), Some("fast")),
            (Some("fast"), None, Some("fast")),
        ] {
            assert_eq!(chosen(live, backup), (wanted.map(str::to_owned), Vec::new()), "{live:?} {backup:?}");
        }
    }

    #[test]
    fn where_it_cannot_go_is_said_once_with_where_it_goes() {
        for (live, backup, wanted, words) in [
            (Some("pg_default"), Some("fast"), Some("fast"), "default tablespace, and that of the backup was in fast"),
            (Some("fast"), Some("large"), Some("fast"), "was in tablespace large: the restored one goes into fast"),
            (
                None,
                Some("gone"),
                None,
                "was in tablespace gone, which is not on this server: the restored one goes into the server's",
            ),
            (Some("locked"), Some("locked"), None, "GRANT CREATE ON TABLESPACE \"locked\" TO \"app\""),
            (Some("locked"), Some("fast"), Some("fast"), "live database is in tablespace locked"),
        ] {
            let (found, warnings) = chosen(live, backup);
            assert_eq!(found.as_deref(), wanted);
            assert!(warnings.len() == 1 && warnings[0].contains(words), "{words}: {warnings:?}");
        }
    }
}
