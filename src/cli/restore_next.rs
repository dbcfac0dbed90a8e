//! What a person does after a restore.

use std::path::Path;

use super::exit::Exit;
use crate::{
    operations::{DatabaseOutcome, RestoredDatabase},
    sources::postgres::restore::Way,
    types::{for_terminal, shell_option, shell_word},
};

/// What of the command line an undo has to say again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Given<'a> {
    /// The policy's file; absent: the repository was named instead.
    pub(super) policy: Option<&'a Path>,
    /// The repository's URL, if it was named.
    pub(super) repository: Option<&'a str>,
    /// The reference of `--database-url`.
    pub(super) address: Option<&'a str>,
    /// The database of `--target-database`.
    pub(super) database: Option<&'a str>,
}

/// The next step; absent: there is none.
pub(super) fn next(given: Given<'_>, databases: &DatabaseOutcome, held_back: bool, exit: Exit) -> Option<String> {
    if let Some(differing) = databases.databases.iter().find(|database| !database.loaded.is_equal()) {
        return Some(after_difference(differing));
    }
    let swap = swap_in(given, &databases.databases);
    if held_back {
        let objects = "objects were left alone: restore them with --source once the database is in its place";
        return Some(swap.map_or_else(|| objects.to_owned(), |swap| format!("{objects}; {swap}")));
    }
    if let (Some(swap), Exit::Done | Exit::Partial) = (swap, exit) {
        return Some(swap);
    }
    let back = undo(given, &databases.databases);
    match (exit, back) {
        (Exit::Done, back) => back.map(|back| format!("check the application; {back}")),
        (Exit::Partial, Some(back)) => Some(format!("look at what is left out, and check the application; {back}")),
        (Exit::Partial, None) if !databases.databases.is_empty() => {
            Some("look at what is left out, and check the application".to_owned())
        }
        _ => Some("put right what is named, and run it again: what is restored already is left alone".to_owned()),
    }
}

fn after_difference(differing: &RestoredDatabase) -> String {
    let database = for_terminal(&differing.loaded.database);
    match (differing.way, &differing.schema) {
        (Way::Tables, schema) => format!(
            "nothing was merged: look at schema {} of database {database}, and drop the schema when it is not wanted any more",
            for_terminal(schema.as_deref().unwrap_or_default())
        ),
        (Way::InPlace, _) => {
            format!("the live database {database} differs from the backup: do not start the application")
        }
        (Way::Beside | Way::Create, _) => {
            format!("nothing was swapped: look at database {database}, and drop it when it is not wanted any more")
        }
    }
}

/// How databases that were left beside are swapped in later, if there are some.
fn swap_in(given: Given<'_>, databases: &[RestoredDatabase]) -> Option<String> {
    let is_beside = |database: &&RestoredDatabase| {
        database.switched.is_none() && matches!(database.way, Way::Beside | Way::Create) && database.loaded.is_equal()
    };
    let commands: Vec<String> =
        databases.iter().filter(is_beside).map(|database| command_of(given, "--switch", &database.source)).collect();
    let does = if commands.len() == 1 { "compares again and swaps it in" } else { "compare again and swap them in" };
    (!commands.is_empty()).then(|| format!("{} {does}", commands.join(" and ")))
}

/// The way back, if a database from before is kept.
fn undo(given: Given<'_>, databases: &[RestoredDatabase]) -> Option<String> {
    let is_kept =
        |database: &&RestoredDatabase| database.switched.as_ref().is_some_and(|switched| switched.before.is_some());
    let commands: Vec<String> =
        databases.iter().filter(is_kept).map(|database| command_of(given, "--undo", &database.source)).collect();
    let (goes, address) = match (commands.len(), given.policy.or(given.address.map(Path::new))) {
        (0, _) => return None,
        (1, Some(_)) => ("goes", ""),
        (1, None) => ("goes", ", with the address of the database in the variable ADDRESS,"),
        (_, Some(_)) => ("go", ""),
        (_, None) => ("go", ", with the address of each database in the variable ADDRESS,"),
    };
    let commands = commands.join(" and ");
    Some(format!("{commands}{address} {goes} back for as long as the database from before is kept"))
}

fn command_of(given: Given<'_>, what: &str, source: &str) -> String {
    let mut command = format!("`drctl restore {what} --source {}", shell_word(source));
    let mut add = |option: &str, value: &str| command.push_str(&format!(" {}", shell_option(option, value)));
    if let Some(policy) = given.policy {
        add("--file", &policy.to_string_lossy());
    }
    if let Some(repository) = given.repository.filter(|_| what == "--switch") {
        add("--repository", repository);
    }
    match (given.address, given.policy) {
        (Some(address), _) => add("--database-url", address),
        // Only a policy says where the database is, and an undo does not look at the one inside a backup.
        (None, None) if what == "--undo" => add("--database-url", "env:ADDRESS"),
        (None, _) => {}
    }
    if let Some(database) = given.database {
        add("--target-database", database);
    }
    command.push('`');
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::postgres::restore::{Difference, Loaded, Switched};

    fn outcome(way: Way, differs: bool) -> DatabaseOutcome {
        let difference = Difference { what: "table a".to_owned(), how: "it has no rows".to_owned() };
        let loaded = Loaded {
            database: "shop".to_owned(),
            differences: if differs { vec![difference] } else { Vec::new() },
            ..Loaded::default()
        };
        let switched = (matches!(way, Way::Beside | Way::Create) && !differs).then(|| Switched {
            database: "shop".to_owned(),
            before: (way == Way::Beside).then(|| "shop_before_1".to_owned()),
            drop: None,
            ended_sessions: 0,
            seconds: 0.0,
            closed: false,
            kept_as: None,
        });
        let schema = (way == Way::Tables).then(|| "drctl_1".to_owned());
        let source = "orders-db".to_owned();
        let database = RestoredDatabase { source, way, schema, loaded, switched, switched_back: None };
        DatabaseOutcome { databases: vec![database], ..DatabaseOutcome::default() }
    }

    #[test]
    fn nobody_is_told_to_drop_the_live_database() {
        let text = |way| next(Given::default(), &outcome(way, true), false, Exit::Difference).unwrap();
        assert!(text(Way::Beside).contains("drop it"), "{}", text(Way::Beside));
        assert!(text(Way::Tables).contains("schema drctl_1 of database shop"), "{}", text(Way::Tables));
        assert!(text(Way::Tables).contains("drop the schema"), "{}", text(Way::Tables));
        assert!(text(Way::InPlace).contains("do not start the application"), "{}", text(Way::InPlace));
        assert!(!text(Way::InPlace).contains("drop"), "{}", text(Way::InPlace));
    }

    #[test]
    fn the_way_back_says_the_arguments_again() {
        let text = |given| next(given, &outcome(Way::Beside, false), false, Exit::Done).unwrap();
        let given = Given { policy: Some(Path::new("p/orders.yaml")), ..Given::default() };
        let command = "`drctl restore --undo --source orders-db --file p/orders.yaml` goes back";
        assert!(text(given).contains(command), "{}", text(given));
        let given = Given { address: Some("env:URL"), database: Some("new shop"), ..given };
        assert!(text(given).contains("--database-url env:URL --target-database 'new shop'`"), "{}", text(given));
        let given = Given { database: Some("it's"), ..Given::default() };
        assert!(text(given).contains(r"--database-url env:ADDRESS --target-database 'it'\''s'`"), "{}", text(given));
        assert!(text(given).contains("in the variable ADDRESS"), "{}", text(given));
    }

    #[test]
    fn what_was_left_beside_can_be_swapped_in_later() {
        let mut beside = outcome(Way::Beside, false);
        beside.databases[0].switched = None;
        let text = |given, held_back, exit| next(given, &beside, held_back, exit).unwrap();
        let given = Given { policy: Some(Path::new("p.yaml")), ..Given::default() };
        let said = text(given, false, Exit::Done);
        assert!(said.starts_with("`drctl restore --switch --source orders-db --file p.yaml` compares"), "{said}");
        let given = Given { repository: Some("file:///r"), address: Some("env:URL"), ..Given::default() };
        let said = text(given, true, Exit::Partial);
        assert!(said.contains("--repository file:///r --database-url env:URL` compares"), "{said}");
        let two = outcome(Way::Beside, false).databases.into_iter().next().map(|mut other| {
            other.switched = None;
            other
        });
        beside.databases.extend(two);
        let said = next(given, &beside, false, Exit::Done).unwrap();
        assert!(said.contains("` compare again and swap them in"), "{said}");
    }

    #[test]
    fn what_took_no_place_has_no_way_back() {
        assert_eq!(next(Given::default(), &outcome(Way::Create, false), false, Exit::Done), None);
        let partial = next(Given::default(), &outcome(Way::Create, false), false, Exit::Partial).unwrap();
        assert!(!partial.contains("--undo"), "{partial}");
    }
}
