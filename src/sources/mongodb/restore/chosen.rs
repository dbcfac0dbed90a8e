//! What is asked for of what a backup has.

use super::{
    super::{
        accounts::Account,
        contents::{self, Read},
    },
    RestoreError,
    order::in_order,
    plan::{ALL, Kept, PlanOptions},
};
use crate::types::{BackupContents, counted, for_terminal};

/// Looks at what is asked for of a source, as a plan does, where its server cannot be asked yet; and says which collections are
/// chosen.
///
/// # Errors
/// [`RestoreError`] if the backup cannot be read, or what is asked for is not in it.
pub async fn check(contents: &dyn BackupContents, options: &PlanOptions) -> Result<Vec<String>, RestoreError> {
    let read = contents::read(contents, &options.source).await?;
    if options.users {
        accounts_of(contents, options, &read.database).await?;
    }
    Ok(chosen(kept_of(read).1, options)?.into_iter().map(|it| it.collection.name).collect())
}

pub(super) fn kept_of(Read { database, definitions }: Read) -> (contents::Database, Vec<Kept>) {
    let collections = database.collections.iter().cloned();
    let kept = collections.zip(definitions).map(|(collection, definition)| Kept { definition, collection }).collect();
    (database, kept)
}

pub(super) async fn accounts_of(
    contents: &dyn BackupContents,
    options: &PlanOptions,
    database: &contents::Database,
) -> Result<Vec<Account>, RestoreError> {
    contents::accounts(contents, &options.source, database).await?.ok_or_else(|| {
        RestoreError::Usage(format!(
            "--users: the backup has no users of source {}; `users: true` in the policy takes them",
            options.source
        ))
    })
}

/// What is asked for of what the backup has.
pub(super) fn chosen(kept: Vec<Kept>, options: &PlanOptions) -> Result<Vec<Kept>, RestoreError> {
    let collections = &options.collections;
    if let Some(stranger) = collections.iter().find(|name| !kept.iter().any(|it| it.collection.name == **name)) {
        return Err(RestoreError::Usage(format!(
            "--collection {}: the backup has no such collection; `drctl show BACKUP` lists what it holds; without --collection all of \
             them are restored",
            for_terminal(stranger)
        )));
    }
    let had = kept.len();
    let wanted = |it: &Kept| collections.is_empty() || collections.contains(&it.collection.name);
    let chosen: Vec<Kept> = kept.into_iter().filter(wanted).collect();
    if chosen.is_empty() && had > 0 {
        let had = counted(had as u64, "collection");
        return Err(RestoreError::Usage(format!(
            "the backup has {had}, and none of them is chosen: nothing is restored"
        )));
    }
    Ok(in_order(chosen))
}

/// Refuses to replace what is not restored: it would be a name that is written wrongly. `chosen` are the collections of all
/// sources.
///
/// # Errors
/// [`RestoreError::Usage`] names it.
pub fn check_drop(drop: &[String], chosen: &[String]) -> Result<(), RestoreError> {
    match drop.iter().find(|name| *name != ALL && !chosen.contains(name)) {
        Some(stranger) => Err(RestoreError::Usage(format!(
            "--drop {}: no collection of this name is restored; `drctl show BACKUP` lists what the backup holds",
            for_terminal(stranger)
        ))),
        None => Ok(()),
    }
}
