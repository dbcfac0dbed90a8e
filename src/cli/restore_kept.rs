//! `drctl restore --switch`: which restored databases were left beside the live ones.

use super::{
    context::{Context, Opened},
    exit::{Exit, Failure},
    restore_databases::{believed, databases_of},
};
use crate::{
    operations::{self, BackupRef, WholeOptions},
    repository::StoredManifest,
    sources::postgres::restore::Kept,
    types::{Name, for_terminal},
};

/// The backup that the newest restore has left beside the live databases. `wanted` is told which databases they are;
/// `backup` says which one it has to be.
pub(super) async fn choose(
    opened: &Opened,
    backup: Option<&BackupRef>,
    wanted: &mut WholeOptions,
    context: &Context<'_>,
) -> Result<StoredManifest, Failure> {
    let of_backup = match backup {
        Some(backup) => Some(opened.find(backup, &context.say).await?.stored),
        None => None,
    };
    let embedded = match (&opened.policy, &of_backup) {
        (None, Some(stored)) => believed(stored),
        (None, None) if opened.repository.access().signers.is_empty() => None,
        // Only backups that a signer has signed are looked at.
        (None, None) => operations::embedded_policy(&opened.repository).await?,
        (Some(_), _) => None,
    };
    let policy = opened.policy.as_ref().or(embedded.as_ref());
    let names = match (policy, wanted.objects.sources.as_slice()) {
        (Some(policy), sources) => databases_of(policy, sources)?,
        (None, sources) => sources.to_vec(),
    };
    let mut found = operations::find_kept(policy, &names, &wanted.databases, &wanted.objects.connect).await?;
    if let Some(stored) = &of_backup {
        let backup = stored.manifest.backup.to_string();
        found.retain(|(_, kept)| kept.backup == backup);
    }
    let Some((_, newest)) = found.first().cloned() else { return Err(nothing(&names)) };
    found.retain(|(_, kept)| kept.restore == newest.restore);
    let together: Vec<Name> = found.into_iter().map(|(name, _)| name).collect();
    if wanted.objects.sources.is_empty() && together.len() < names.len() {
        let mut swapped = Vec::new();
        for name in names.iter().filter(|name| !together.contains(name)) {
            let undo = operations::plan_undo(policy, name, &wanted.databases, &wanted.objects.connect).await?;
            if undo.undoable.restore.as_deref() == Some(newest.restore.as_str()) {
                swapped.push(name.clone());
            }
        }
        return Err(not_all(&names, &together, &swapped, &newest));
    }
    let stored = match of_backup {
        Some(stored) => stored,
        None => {
            let backup: BackupRef = newest.backup.parse()?;
            opened.find(&backup, &context.say).await?.stored
        }
    };
    wanted.objects.sources = together;
    (wanted.databases.id, wanted.databases.kept) = (Some(newest.restore), true);
    Ok(stored)
}

fn nothing(names: &[Name]) -> Failure {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let message =
        format!("no restore has left a database beside the live one of {}; nothing was changed", names.join(", "));
    Failure::new(Exit::CouldNotRun, message).next("restore one: `drctl restore --no-switch` leaves it beside")
}

/// Databases of one backup belong together: to swap in some of them is to be said.
fn not_all(names: &[Name], together: &[Name], swapped: &[Name], newest: &Kept) -> Failure {
    let list = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let flags = |names: &[Name]| names.iter().map(|name| format!(" --source {name}")).collect::<String>();
    if !swapped.is_empty() {
        let message = format!(
            "restore {} of backup {} ended between two swaps: it has swapped {} in, and not {}; nothing was changed",
            newest.restore.as_str(),
            for_terminal(&newest.backup),
            list(swapped),
            list(together)
        );
        return Failure::new(Exit::CouldNotRun, message).next(format!(
            "`drctl restore --switch{}` goes on, `drctl restore --undo{}` goes back",
            flags(together),
            flags(swapped)
        ));
    }
    let message = format!(
        "restore {} of backup {} has left only {} beside, and the policy has {}; nothing was changed",
        newest.restore.as_str(),
        for_terminal(&newest.backup),
        list(together),
        list(names)
    );
    Failure::usage(message).next("if these are meant, name them with --source")
}
