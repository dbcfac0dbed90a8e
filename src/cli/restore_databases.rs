//! The part of `drctl restore` that is about databases: its options, its questions, and how it ends.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};

use super::{
    context::Opened,
    exit::{Exit, Failure},
    restore_databases_text as text,
};
use crate::{
    operations::{ChosenSources, DatabaseOptions, DatabaseOutcome, DatabaseRestore, Error, LaterDatabase},
    policy::{Policy, SecretRef, SourceSpec},
    report::words,
    repository::{StoredManifest, crypt::Signature},
    sources::postgres::restore::{Ownership, Plan, Scope, Way},
    types::{Name, for_terminal},
};

/// Options that only databases have.
#[derive(Debug, Args)]
#[command(next_help_heading = "Databases")]
pub(super) struct DatabaseArgs {
    /// Put the databases that were live before the last restore back in their places
    #[arg(
        long,
        conflicts_with_all = [
            "backup", "dry_run", "no_switch", "create", "in_place", "tables", "schema_only", "data_only", "ownership",
            "map_roles", "leave_out", "jobs"
        ]
    )]
    pub(super) undo: bool,
    /// Compare what an earlier restore has loaded and left beside the live database again, and swap it in
    #[arg(
        long,
        conflicts_with_all = ["undo", "no_switch", "create", "in_place", "tables", "schema_only", "data_only"]
    )]
    pub(super) switch: bool,
    /// Load and compare beside the live database, and leave it there
    #[arg(long, conflicts_with_all = ["in_place", "tables"])]
    pub(super) no_switch: bool,
    /// Create the database: none has its name
    #[arg(long, conflicts_with_all = ["in_place", "tables"])]
    create: bool,
    /// Into the live database itself, which must be empty and in nobody's use
    #[arg(long, conflicts_with = "tables")]
    in_place: bool,
    /// Only this table (with its partitions), into a schema of its own in the live database; may be repeated
    #[arg(long = "table", value_name = "SCHEMA.TABLE")]
    tables: Vec<String>,
    /// The database to restore, if it is not the one of the address
    #[arg(long, value_name = "NAME")]
    pub(super) target_database: Option<String>,
    /// Where the address of the server to restore into is, if it is not the policy's: env:NAME or file:PATH
    // Parsed later and not by clap, whose message would repeat a password in it.
    #[arg(long, value_name = "REFERENCE")]
    pub(super) database_url: Option<String>,
    /// Objects without rows
    #[arg(long, conflicts_with_all = ["data_only", "tables"])]
    schema_only: bool,
    /// Rows into tables that are there and empty; with --in-place
    #[arg(long, requires = "in_place")]
    data_only: bool,
    /// To whom objects belong [default: keep]
    #[arg(long, value_enum)]
    ownership: Option<OwnershipArg>,
    /// Put a role in the place of another; may be repeated
    #[arg(long = "map-role", value_name = "OLD=NEW", value_parser = pair)]
    map_roles: Vec<(String, String)>,
    /// Agree that tables which the server cannot take, or what the backup never held, will be missing
    #[arg(long)]
    leave_out: bool,
    /// Sessions that load and build side by side (default: one a processor, 8 at most)
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: Option<u8>,
}

/// To whom objects belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OwnershipArg {
    /// To the roles of the backup, with its grants
    Keep,
    /// As keep, with the roles of --map-role in the place of others
    Map,
    /// To the role that restores, without any grants
    None,
}

fn reference(text: &str) -> Result<SecretRef, Failure> {
    match text.split_once(':') {
        Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Env(name.to_owned())),
        Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(path.into())),
        // What was typed may be the address itself, with its password.
        _ => {
            let message =
                "--database-url takes a reference and not the address itself, which everyone on this machine could see";
            Err(Failure::usage(message).next("use --database-url env:NAME or --database-url file:PATH"))
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("use OLD=NEW".to_owned()),
    }
}

impl DatabaseArgs {
    pub(super) fn options(&self) -> Result<DatabaseOptions, Failure> {
        let roles: BTreeMap<String, String> = self.map_roles.iter().cloned().collect();
        let ownership = match (self.ownership, roles.is_empty()) {
            (None | Some(OwnershipArg::Keep), true) => Ownership::Keep,
            (None | Some(OwnershipArg::Map), false) => Ownership::Map(roles),
            (Some(OwnershipArg::None), true) => Ownership::None,
            (Some(OwnershipArg::Map), true) => return Err(Failure::usage("--ownership map needs --map-role OLD=NEW")),
            (Some(_), false) => return Err(Failure::usage("--map-role goes with --ownership map alone")),
        };
        let way = match (self.create, self.in_place, self.tables.is_empty()) {
            (true, ..) => Way::Create,
            (_, true, _) => Way::InPlace,
            (_, _, false) => Way::Tables,
            _ => Way::Beside,
        };
        let scope = match (self.schema_only, self.data_only) {
            (true, _) => Scope::Schema,
            (_, true) => Scope::Data,
            _ => Scope::All,
        };
        Ok(DatabaseOptions {
            address: self.database_url.as_deref().map(reference).transpose()?,
            database: self.target_database.clone(),
            way,
            scope,
            tables: self.tables.clone(),
            ownership,
            leave_out: self.leave_out,
            no_switch: self.no_switch,
            jobs: self.jobs.map(usize::from),
            ..DatabaseOptions::default()
        })
    }

    /// Refuses options that are about databases where none is restored.
    pub(super) fn are_meant(&self, chosen: &ChosenSources) -> Result<(), Failure> {
        let given = [
            (self.switch, "--switch"),
            (self.no_switch, "--no-switch"),
            (self.create, "--create"),
            (self.in_place, "--in-place"),
            (!self.tables.is_empty(), "--table"),
            (self.target_database.is_some(), "--target-database"),
            (self.database_url.is_some(), "--database-url"),
            (self.schema_only, "--schema-only"),
            (self.data_only, "--data-only"),
            (self.ownership.is_some(), "--ownership"),
            (!self.map_roles.is_empty(), "--map-role"),
            (self.leave_out, "--leave-out"),
            (self.jobs.is_some(), "--jobs"),
        ];
        // Where a database is, is asked of every kind.
        let of_any = ["--target-database", "--database-url"];
        let none =
            |option: &str| chosen.databases.is_empty() && (chosen.mongodb.is_empty() || !of_any.contains(&option));
        let Some((_, option)) = given.into_iter().find(|(given, option)| *given && none(option)) else {
            return Ok(());
        };
        if !chosen.mongodb.is_empty() {
            return Err(Failure::usage(format!("{option} is about PostgreSQL databases, and none is restored")));
        }
        let sources: Vec<String> = chosen.objects.iter().map(ToString::to_string).collect();
        let message =
            format!("{option} is about databases, and what is to be restored has none: {}", sources.join(", "));
        Err(Failure::usage(message).next("leave it out, or name a source that is a database with --source"))
    }
}

/// The policy inside a backup, if one of the signers that are given has signed it: what a stranger's backup says is neither
/// connected to, nor are secrets read where it says.
pub(super) fn believed(stored: &StoredManifest) -> Option<Policy> {
    let document = stored.manifest.policy_document.as_ref().filter(|_| stored.signature == Signature::Good)?;
    Policy::from_embedded(document).ok()
}

/// The policy of a restore: the file, or else what is inside the backup, if it is believed.
pub(super) fn policy_of(opened: &Opened, stored: &StoredManifest) -> Option<Policy> {
    opened.policy.clone().or_else(|| believed(stored))
}

/// What has to be agreed to, a paragraph a database.
pub(super) fn question(restore: &DatabaseRestore, no_switch: bool) -> String {
    let paragraphs: Vec<String> = restore.plans.iter().map(|plan| question_of(plan, no_switch)).collect();
    paragraphs.join(";\n")
}

fn question_of(plan: &Plan, no_switch: bool) -> String {
    let (database, server) = (for_terminal(&plan.database), for_terminal(&plan.server));
    let what = if plan.kept {
        let kept = for_terminal(plan.scratch.as_deref().unwrap_or_default());
        format!("swapping in `{kept}` of backup {}, which is compared again before,", for_terminal(&plan.backup))
    } else {
        format!("restoring {} ({})", text::contents(plan), words::size(plan.bytes))
    };
    let live = plan.live.as_ref().map_or_else(String::new, |live| {
        let size = live.bytes.map_or_else(String::new, |bytes| format!("{}, ", words::size(bytes)));
        format!(" ({size}{})", words::count(live.sessions, "session"))
    });
    match plan.way {
        _ if no_switch && plan.swaps() => format!("{what} beside database `{database}`{live} on {server}"),
        Way::Beside => {
            let before = plan.before.as_deref().unwrap_or_default();
            format!(
                "{what} REPLACES database `{database}`{live} on {server}; after the comparison its sessions are ended, and it is \
                 kept as `{}`{}",
                for_terminal(before),
                text::lacks(plan)
            )
        }
        Way::Create => format!("{what} creates database `{database}` on {server}"),
        Way::InPlace => format!("{what} INTO the live database `{database}`{live} on {server}"),
        Way::Tables => {
            let schema = plan.schema.as_deref().unwrap_or_default();
            format!("{what} into schema `{schema}` of the live database `{database}` on {server}")
        }
    }
}

/// What has to be agreed to of a database whose server comes back first.
pub(super) fn later_question(later: &LaterDatabase) -> String {
    format!(
        "source {} is loaded into the database behind Service {}/{} as soon as its workload is ready",
        for_terminal(&later.source),
        for_terminal(&later.namespace),
        for_terminal(&later.service)
    )
}

/// Refuses what the plans say cannot be done, before anything is asked or written.
pub(super) fn possible(refusals: &[&str]) -> Result<(), Failure> {
    if refusals.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = refusals.iter().map(|why| format!("  - {}", for_terminal(why))).collect();
    let message = format!("it cannot be restored; nothing was changed:\n{}", lines.join("\n"));
    Err(Failure::new(Exit::CouldNotRun, message).next("put that right, and look at the plan again with --dry-run"))
}

/// How a restore of databases ends.
pub(super) fn exit_of(outcome: &mut DatabaseOutcome) -> Result<Exit, Failure> {
    match outcome.ended.take() {
        Some(Error::Interrupted) if outcome.databases.iter().all(|database| database.switched.is_none()) => {
            let next = "live databases are as they were, and what was half loaded is removed; run it again: a database is \
                        loaded from its beginning";
            Err(ended_early(outcome, Failure::from(Error::Interrupted).next(next)))
        }
        Some(error) => Err(ended_early(outcome, Failure::from(error))),
        None if !outcome.is_equal() => Ok(Exit::Difference),
        None if !outcome.is_complete() => Ok(Exit::Partial),
        None => Ok(Exit::Done),
    }
}

/// Where something was written, `could not run` would say that nothing was changed. What stays is named.
fn ended_early(outcome: &DatabaseOutcome, mut failure: Failure) -> Failure {
    if failure.exit == Exit::CouldNotRun && (outcome.wrote || !outcome.databases.is_empty()) {
        failure.exit = Exit::Failed;
    }
    let beside: Vec<_> = outcome
        .databases
        .iter()
        .filter(|database| database.switched.is_none() && matches!(database.way, Way::Beside | Way::Create))
        .collect();
    let can_be_swapped = beside.iter().any(|database| database.loaded.is_equal());
    let beside = beside.iter().map(|database| format!("database {}", for_terminal(&database.loaded.database)));
    let left = outcome.left.iter().map(|left| for_terminal(left).to_string());
    let stays: Vec<String> = beside.chain(left).collect();
    if stays.is_empty() {
        return failure;
    }
    let how = if can_be_swapped { "; `drctl restore --switch` compares again and swaps in" } else { "" };
    failure.say_first(&format!("{} stayed{how}; remove by hand what is not wanted any more", stays.join(", ")))
}

/// The databases of a policy; those that are wanted, or all.
pub(super) fn databases_of(policy: &Policy, wanted: &[Name]) -> Result<Vec<Name>, Failure> {
    let is_database = |name: &&Name| matches!(policy.sources.get(*name), Some(SourceSpec::Postgres(_)));
    let all: Vec<&Name> = policy.sources.keys().filter(is_database).collect();
    let choices = || all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if all.is_empty() && policy.sources.values().any(|it| matches!(it, SourceSpec::Mongodb(_))) {
        let message = format!(
            "policy `{}` has no PostgreSQL database, and of a MongoDB database no restore keeps what could be swapped: what \
             `--drop` named is gone",
            policy.name
        );
        return Err(Failure::usage(message).next("restore another backup; `drctl list` names them"));
    }
    if all.is_empty() {
        let message = format!("policy `{}` has no database, and there is nothing to swap", policy.name);
        return Err(Failure::usage(message).next("name the policy that the database was restored by with --file"));
    }
    if let Some(stranger) = wanted.iter().find(|name| !all.contains(name)) {
        let message = format!("`{stranger}` is no database of policy `{}`, which has: {}", policy.name, choices());
        return Err(Failure::usage(message));
    }
    Ok(all.into_iter().filter(|name| wanted.is_empty() || wanted.contains(name)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        operations::RestoredDatabase,
        sources::postgres::restore::{Loaded, RestoreError},
    };

    #[test]
    fn an_address_is_never_taken_from_the_command_line_itself() {
        assert!(matches!(reference("env:URL"), Ok(SecretRef::Env(name)) if name == "URL"));
        assert!(matches!(reference("file:/run/url"), Ok(SecretRef::File(_))));
        for bad in ["postgres://u:hunter2@h/d", "env:", "URL", ""] {
            let error = reference(bad).unwrap_err().text();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    fn refused() -> Option<Error> {
        let reasons = vec!["it exists by now".to_owned()];
        Some(RestoreError::Refused { database: "shop".to_owned(), reasons }.into())
    }

    #[test]
    fn what_has_written_does_not_say_that_it_could_not_run() {
        let mut nothing = DatabaseOutcome { ended: refused(), ..DatabaseOutcome::default() };
        assert_eq!(exit_of(&mut nothing).unwrap_err().exit, Exit::CouldNotRun);

        let left = vec!["database shop_drctl_1".to_owned()];
        let mut wrote = DatabaseOutcome { ended: refused(), wrote: true, left, ..DatabaseOutcome::default() };
        let failure = exit_of(&mut wrote).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.text().contains("next: database shop_drctl_1 stayed"), "{}", failure.text());
    }

    #[test]
    fn what_is_beside_after_a_failed_swap_is_named() {
        let loaded = Loaded { database: "shop_drctl_2".to_owned(), ..Loaded::default() };
        let database = RestoredDatabase {
            source: "db".to_owned(),
            way: Way::Beside,
            schema: None,
            loaded,
            switched: None,
            switched_back: None,
        };
        let mut outcome = DatabaseOutcome { databases: vec![database], ended: refused(), ..DatabaseOutcome::default() };
        let failure = exit_of(&mut outcome).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.text().contains("database shop_drctl_2 stayed"), "{}", failure.text());
    }

    #[test]
    fn a_role_is_put_in_the_place_of_another() {
        assert_eq!(pair("a=b"), Ok(("a".to_owned(), "b".to_owned())));
        for bad in ["a", "=b", "a=", ""] {
            assert!(pair(bad).is_err(), "{bad}");
        }
    }
}
