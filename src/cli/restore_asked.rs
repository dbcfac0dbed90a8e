//! The part of `drctl restore` that says which objects, into which namespaces, and how changed.

use std::path::PathBuf;

use clap::Args;

use super::exit::{Exit, Failure};
use crate::{
    operations::AskedRestore,
    policy,
    report::{self, words},
    sources::kubernetes::restore::{Choice, Mapping, MissingReference, Modified, Plan, is_kind},
    types::{LabelSelector, for_terminal},
};

/// Options that choose objects and change them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Objects")]
pub(super) struct AskedArgs {
    /// Only objects of this namespace, by name or pattern (`team-*`); may be repeated
    #[arg(long = "namespace", short = 'n', value_name = "NAMESPACE", conflicts_with = "undo")]
    namespaces: Vec<String>,
    /// Only objects of this kind (`deployments.apps`), by name or pattern; may be repeated
    #[arg(long = "kind", value_name = "PLURAL.GROUP", value_parser = kind, conflicts_with = "undo")]
    kinds: Vec<String>,
    /// Only objects with these labels (`app=web,tier!=test`); may be repeated
    #[arg(long = "selector", short = 'l', value_name = "LABELS", conflicts_with = "undo")]
    selectors: Vec<LabelSelector>,
    /// Only objects of this name, by name or pattern; may be repeated
    #[arg(long = "name", value_name = "NAME", conflicts_with = "undo")]
    names: Vec<String>,
    /// Restore the namespace OLD as NEW; may be repeated, and what is not mapped is not restored
    #[arg(long = "map-namespace", value_name = "OLD=NEW", value_parser = pair, conflicts_with_all = ["undo", "adopt_volumes"])]
    mapped: Vec<(String, String)>,
    /// A file with changes to objects: JSON patches, storage classes, images
    #[arg(long, value_name = "FILE", conflicts_with = "undo")]
    modifiers: Option<PathBuf>,
}

fn kind(text: &str) -> Result<String, String> {
    if is_kind(text) {
        return Ok(text.to_owned());
    }
    Err("a kind is written as its plural and its group: secrets, deployments.apps, *.example.com".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("use OLD=NEW".to_owned()),
    }
}

impl AskedArgs {
    pub(super) fn asked(&self) -> Result<AskedRestore, Failure> {
        let mapping = Mapping::new(self.mapped.iter().cloned()).map_err(|error| Failure::new(Exit::Usage, error))?;
        let modifiers = self.modifiers.as_deref().map(policy::load_modifiers).transpose();
        let modifiers =
            modifiers.map_err(|error| Failure::new(Exit::Usage, error).next("name a correct file with --modifiers"))?;
        let choice = Choice {
            namespaces: self.namespaces.clone(),
            kinds: self.kinds.clone(),
            selectors: self.selectors.clone(),
            names: self.names.clone(),
        };
        Ok(AskedRestore { choice, mapping, modifiers })
    }
}

/// What was asked, as documents have it; absent if all of the backup is restored as it was.
pub(super) fn document(asked: &AskedRestore) -> Option<report::AskedRestore> {
    let choice = &asked.choice;
    let asked = report::AskedRestore {
        namespaces: choice.namespaces.clone(),
        kinds: choice.kinds.clone(),
        selectors: choice.selectors.iter().map(ToString::to_string).collect(),
        names: choice.names.clone(),
        mapped_namespaces: asked.mapping.pairs().map(|(from, to)| (from.clone(), to.clone())).collect(),
        modifiers: asked.modifiers.as_ref().map(|file| file.path().display().to_string()),
    };
    (asked != report::AskedRestore::default()).then_some(asked)
}

/// So many single objects of each sort are shown; `-o json` has more.
const SHOWN: usize = 20;

/// What was asked, in a line; empty if all of the backup is restored as it was.
pub(super) fn line(asked: Option<&report::AskedRestore>) -> String {
    let Some(asked) = asked else { return String::new() };
    let flag =
        |flag: &str, values: &[String]| values.iter().map(|value| format!("--{flag} {value}")).collect::<Vec<_>>();
    let mapped: Vec<String> =
        asked.mapped_namespaces.iter().map(|(from, to)| format!("--map-namespace {from}={to}")).collect();
    let modifiers: Vec<String> = asked.modifiers.iter().map(|path| format!("--modifiers {path}")).collect();
    let words = [
        flag("namespace", &asked.namespaces),
        flag("kind", &asked.kinds),
        flag("selector", &asked.selectors),
        flag("name", &asked.names),
        mapped,
        modifiers,
    ];
    format!("Only what was asked for: {}\n", for_terminal(&words.concat().join(" ")))
}

/// Databases that are not touched.
pub(super) fn left_out(backup: &str, databases: &[String]) -> String {
    let line = |name: &String| {
        let (name, backup) = (for_terminal(name), for_terminal(backup));
        format!("Not touched: source {name}, a database; `drctl restore {backup} --source {name}` restores it\n")
    };
    databases.iter().map(line).collect()
}

/// What the plan of a source says of it.
pub(super) fn of_plan(plan: &Plan) -> String {
    let mut text: String =
        plan.warnings().iter().take(SHOWN).map(|line| format!("  NO ROOM: {}\n", for_terminal(line))).collect();
    text.push_str(&more(plan.warnings().len() as u64));
    text.push_str(&missing(plan.missing_references()));
    text.push_str(&modified(plan.modified()));
    text
}

fn missing(references: &[MissingReference]) -> String {
    let line = |missing: &MissingReference| {
        let others = match missing.others {
            0 => String::new(),
            others => format!(" and {}", words::count(others, "other")),
        };
        let (object, by, reason) = (&missing.object, &missing.needed_by, for_terminal(&missing.reason));
        format!("  MISSING: {object}, which {by}{others} needs: {reason}\n")
    };
    let mut text: String = references.iter().take(SHOWN).map(line).collect();
    text.push_str(&more(references.len() as u64));
    text
}

/// What is changed because somebody asked for it, object by object.
pub(super) fn modified(modified: &Modified) -> String {
    let mut text = String::new();
    for object in modified.objects.iter().take(SHOWN) {
        for change in &object.changes {
            let [path, what, by] = [&change.path, &change.what, &change.by].map(|text| for_terminal(text));
            text.push_str(&format!("  changed: {} {path}: {what} ({by})\n", object.object));
        }
    }
    text.push_str(&more(modified.count));
    text
}

fn more(count: u64) -> String {
    let rest = count.saturating_sub(SHOWN as u64);
    if rest == 0 { String::new() } else { format!("  and {rest} more (see -o json)\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::kubernetes::restore::{AskedChange, ModifiedObject, ObjectName};

    fn name(kind: &str, name: &str) -> ObjectName {
        ObjectName { kind: kind.to_owned(), namespace: "shop".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn what_is_missing_and_what_is_changed_is_told_object_by_object() {
        let reference = MissingReference {
            object: name("secrets", "password"),
            needed_by: name("deployments.apps", "web"),
            others: 2,
            in_backup: true,
            reason: "the backup holds it, and it is not chosen".to_owned(),
        };
        assert_eq!(
            missing(&[reference]),
            "  MISSING: secrets shop/password, which deployments.apps shop/web and 2 others needs: the backup holds it, and \
             it is not chosen\n"
        );
        let change =
            AskedChange { path: "/spec/replicas".to_owned(), by: "m.yaml:3:5".to_owned(), what: "3 to 1".to_owned() };
        let object = ModifiedObject { object: name("deployments.apps", "web"), changes: vec![change] };
        assert_eq!(
            modified(&Modified { count: 22, objects: vec![object] }),
            "  changed: deployments.apps shop/web /spec/replicas: 3 to 1 (m.yaml:3:5)\n  and 2 more (see -o json)\n"
        );
    }

    #[test]
    fn what_was_asked_is_told_in_a_line() {
        assert_eq!(line(None), "");
        let asked = report::AskedRestore {
            kinds: vec!["secrets".to_owned()],
            mapped_namespaces: [("shop".to_owned(), "copy".to_owned())].into(),
            ..report::AskedRestore::default()
        };
        assert_eq!(line(Some(&asked)), "Only what was asked for: --kind secrets --map-namespace shop=copy\n");
    }
}
