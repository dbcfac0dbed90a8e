//! The part of `drctl restore` that is about MongoDB databases.

use clap::Args;

use super::exit::{Exit, Failure};
use crate::{
    operations::{ChosenSources, CollectionOptions, CollectionOutcome, CollectionRestore, DatabaseOptions, Error},
    report::words,
    sources::mongodb::restore::{AccountAction, Action, Loaded, Plan, PlannedCollection, RestoreError as E},
    types::for_terminal,
};

/// So many single things are shown; `-o json` has more.
const SHOWN: usize = 20;

/// Options that only MongoDB databases have.
#[derive(Debug, Args)]
#[command(next_help_heading = "MongoDB")]
pub(super) struct MongodbArgs {
    /// Only this collection or view; may be repeated
    #[arg(long = "collection", value_name = "NAME", conflicts_with = "undo")]
    collections: Vec<String>,
    /// Replace this live collection, once the backup's is loaded and compared; `*` is all that the backup has
    #[arg(long = "drop", value_name = "NAME", conflicts_with = "undo")]
    drop: Vec<String>,
    /// Make the database's users and roles, too, with the passwords that they had; those that are there stay
    #[arg(long = "users", conflicts_with = "undo")]
    users: bool,
}

impl MongodbArgs {
    pub(super) fn options(&self, databases: &DatabaseOptions) -> CollectionOptions {
        CollectionOptions {
            address: databases.address.clone(),
            database: databases.database.clone(),
            collections: self.collections.clone(),
            drop: self.drop.clone(),
            users: self.users,
        }
    }

    /// Refuses options that are about MongoDB where none is restored, and one that is not.
    pub(super) fn are_meant(&self, chosen: &ChosenSources, no_switch: bool) -> Result<(), Failure> {
        if no_switch && !chosen.mongodb.is_empty() && !chosen.databases.is_empty() {
            let message =
                "--no-switch is about PostgreSQL databases: what is loaded of a MongoDB database takes its place";
            return Err(Failure::usage(message).next("name the PostgreSQL databases with --source"));
        }
        let given = [
            (!self.collections.is_empty(), "--collection"),
            (!self.drop.is_empty(), "--drop"),
            (self.users, "--users"),
        ];
        match given.into_iter().find(|(given, _)| *given && chosen.mongodb.is_empty()) {
            Some((_, option)) => {
                let message = format!("{option} is about MongoDB databases, and none is restored");
                Err(Failure::usage(message).next("leave it out, or name a source that is one with --source"))
            }
            None => Ok(()),
        }
    }
}

/// The plan of each database.
pub(super) fn plans(plans: &[Plan]) -> String {
    plans.iter().map(plan).collect()
}

fn plan(plan: &Plan) -> String {
    let mut text = format!(
        "Plan: source {} of backup {} (database {} of {}, consistency {}) into database {} on {} ({})\n",
        for_terminal(&plan.source),
        for_terminal(&plan.backup),
        for_terminal(&plan.origin),
        for_terminal(&plan.backup_server),
        for_terminal(&plan.consistency),
        for_terminal(&plan.database),
        for_terminal(&plan.server),
        for_terminal(&plan.server_version),
    );
    text.push_str(&format!(
        "  load: {} with {} ({})\n",
        words::count(plan.collections.len() as u64, "collection"),
        words::count(plan.documents(), "document"),
        words::size(plan.bytes())
    ));
    for replaced in plan.replaced() {
        text.push_str(&format!("  REPLACES: {}\n", replaced_by_name(replaced)));
    }
    let created = plan.collections.iter().filter(|it| it.action == Action::Create);
    for collection in created.take(SHOWN) {
        text.push_str(&format!("  create: {} {}\n", collection.kind, for_terminal(&collection.name)));
    }
    for account in &plan.accounts {
        let action = match account.action {
            AccountAction::Create => "create",
            AccountAction::Same => "same",
        };
        text.push_str(&format!("  {action}: {} {}\n", account.kind, for_terminal(&account.name)));
    }
    for note in &plan.notes {
        text.push_str(&format!("  note: {}\n", for_terminal(note)));
    }
    for why in &plan.refusals {
        text.push_str(&format!("  REFUSED: {}\n", for_terminal(why)));
    }
    text.push('\n');
    text
}

fn replaced_by_name(collection: &PlannedCollection) -> String {
    let held = collection.live_documents.map(|documents| format!(" (about {})", words::count(documents, "document")));
    format!("{} {}{}", collection.kind, for_terminal(&collection.name), held.unwrap_or_default())
}

/// What has to be agreed to, a paragraph a database.
pub(super) fn question(restore: &CollectionRestore) -> String {
    let of = |plan: &Plan| {
        let replaced: Vec<String> = plan.replaced().map(replaced_by_name).collect();
        let replaces = match replaced.is_empty() {
            true => String::new(),
            false => format!(", and after the comparison REPLACES {}, with no way back", replaced.join(", ")),
        };
        format!(
            "restoring {} into database `{}` on {}{replaces}",
            words::count(plan.documents(), "document"),
            for_terminal(&plan.database),
            for_terminal(&plan.server)
        )
    };
    restore.plans.iter().map(of).collect::<Vec<_>>().join(";\n")
}

/// What was done, database by database.
pub(super) fn databases(databases: &[Loaded]) -> String {
    databases.iter().map(database).collect()
}

fn database(loaded: &Loaded) -> String {
    let in_place = loaded.collections.iter().filter(|collection| collection.in_place).count() as u64;
    let mut text = format!(
        "  source {}: {} loaded and compared in database {}, {} of {} in place\n",
        for_terminal(&loaded.source),
        words::count(loaded.documents(), "document"),
        for_terminal(&loaded.database),
        in_place,
        words::count(loaded.collections.len() as u64, "collection"),
    );
    if loaded.accounts > 0 {
        text.push_str(&format!("    {} users and roles compared\n", loaded.accounts));
    }
    for difference in loaded.differences.iter().take(SHOWN) {
        text.push_str(&format!("    DIFFERS: {}: {}\n", for_terminal(&difference.what), for_terminal(&difference.how)));
    }
    text
}

/// How a restore of MongoDB databases ends.
pub(super) fn exit_of(outcome: &mut CollectionOutcome) -> Result<Exit, Failure> {
    let Some(error) = outcome.ended.take() else {
        return Ok(if outcome.is_equal() { Exit::Done } else { Exit::Difference });
    };
    let interrupted = matches!(error, Error::Interrupted);
    let is_of_server = matches!(error, Error::RestoreMongodb(E::Mongodb(_)));
    let is_refusal = matches!(
        error,
        Error::RestoreMongodb(
            E::Build { .. } | E::Documents { .. } | E::MayNotLast { .. } | E::Account { .. } | E::Switch { .. }
        )
    );
    let mut failure = Failure::from(error);
    if failure.exit == Exit::CouldNotRun && outcome.wrote {
        failure.exit = Exit::Failed;
    }
    // Of what may be otherwise nothing is claimed.
    if !outcome.changed_live {
        if interrupted {
            let removed = if outcome.left.is_empty() { ", and what was half loaded is removed" } else { "" };
            failure = failure.next(format!("live collections are as they were{removed}; run it again"));
        } else if is_of_server && outcome.wrote {
            failure = failure.next("no live collection was changed: run it again when the server answers");
        } else if is_refusal {
            let next =
                "no live collection was changed: put right what the server says (its log says more), and run it again";
            failure = failure.next(next);
        }
    }
    Err(failure)
}

/// What stayed and should not, or may come again, however the restore ended.
pub(super) fn stayed(outcome: &CollectionOutcome) -> Vec<String> {
    let shown = |all: &[String]| all.iter().map(|it| for_terminal(it)).collect::<Vec<_>>().join(", ");
    let mut stayed = Vec::new();
    if !outcome.left.is_empty() {
        stayed.push(format!("{} stayed; remove by hand what is not wanted any more", shown(&outcome.left)));
    }
    if !outcome.may_come_again.is_empty() {
        stayed.push(format!(
            "{}: removed, and a command whose answer was lost may make it again later; `drctl doctor` names what is there then",
            shown(&outcome.may_come_again)
        ));
    }
    stayed
}

/// What a person does next; absent: there is nothing to say.
pub(super) fn next(outcome: &CollectionOutcome) -> Option<String> {
    let differs = outcome.databases.iter().find(|database| !database.is_equal());
    if let Some(database) = differs {
        let beside: Vec<String> = database.beside.iter().map(|name| for_terminal(name).into_owned()).collect();
        let place = for_terminal(&database.database);
        return Some(match beside.is_empty() || outcome.changed_live {
            true => format!("look at what differs in database {place} before an application uses it"),
            false => format!(
                "no live collection was changed: look at {} of database {place}, and drop them when they are not wanted any more",
                beside.join(", ")
            ),
        });
    }
    (!outcome.databases.is_empty()).then(|| "check the application".to_owned())
}
