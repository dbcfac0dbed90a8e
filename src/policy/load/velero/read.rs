//! Velero's objects, as far as a policy can say the same.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    FromVeleroError, VeleroNote, at, cron,
    place::{self, StorageLocation},
    spec,
};
use crate::policy::{
    Cron, KubernetesSpec, Period, Repository, TimeZone,
    load::{
        decode::{Decoder, Table},
        node::{Node, Value},
        problem::{Place, Problem},
    },
};

/// What all files hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) tasks: Vec<Task>,
    locations: Vec<StorageLocation>,
    pub(super) notes: Vec<VeleroNote>,
}

/// A Schedule, or a Backup without one.
#[derive(Debug)]
pub(super) struct Task {
    /// `Schedule` or `Backup`.
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) place: (PathBuf, usize),
    pub(super) cron: Cron,
    pub(super) timezone: TimeZone,
    pub(super) source: KubernetesSpec,
    pub(super) keep: Period,
    /// The storage location that it uses; `default` if it does not say.
    pub(super) location: String,
    /// What of it has no equivalent, or another one than one might think.
    pub(super) notes: Vec<VeleroNote>,
}

/// The storage location of what names none, unless another one says that it is the default.
const DEFAULT: &str = "default";
/// When a Backup that was taken once is taken from now on.
const ONCE: &str = "0 2 * * *";

impl Found {
    /// The storage location whose schedules become a policy.
    pub(super) fn choose(&mut self, wanted: Option<&str>) -> Result<String, FromVeleroError> {
        let default = self.locations.iter().find(|location| location.default).map_or(DEFAULT, |it| &it.name).to_owned();
        let mut used: BTreeMap<String, ()> = BTreeMap::new();
        for task in &mut self.tasks {
            if task.location.is_empty() {
                task.location.clone_from(&default);
            }
            used.insert(task.location.clone(), ());
        }
        let used: Vec<String> = used.into_keys().collect();
        match (wanted, used.as_slice()) {
            (Some(wanted), _) if used.iter().any(|name| name == wanted) => Ok(wanted.to_owned()),
            (Some(wanted), _) => Err(FromVeleroError::NoSuchLocation(wanted.to_owned(), used)),
            (None, [only]) => Ok(only.clone()),
            (None, _) => Err(FromVeleroError::SeveralLocations(used)),
        }
    }

    /// Where the backups of the storage location `name` are kept from now on.
    pub(super) fn repository(&mut self, name: &str) -> Result<Repository, FromVeleroError> {
        let unknown = || {
            FromVeleroError::NoPlace(format!(
                "the BackupStorageLocation `{}` is in none of the files",
                crate::types::for_terminal(name)
            ))
        };
        let location = self.locations.iter().find(|location| location.name == name).ok_or_else(unknown)?;
        let (repository, notes) = place::repository(location)?;
        self.notes.extend(notes);
        Ok(repository)
    }
}

/// Reads one document: an object of Velero's, a list of objects, or something that is passed over.
pub(super) fn document(decoder: &mut Decoder, node: &Node, file: &Path, found: &mut Found) {
    let Value::Table(_) = &node.value else {
        decoder.wrong(node.place, format!("a document must be keys and values, and is {}", node.kind()));
        return;
    };
    let Some(top) = decoder.any_table(node, "") else { return };
    let kind = match decoder.required(&top, "kind").and_then(|node| decoder.text(node, "kind")) {
        Some(kind) => kind,
        None => return,
    };
    let version = top.get("apiVersion").and_then(|node| decoder.text(node, "apiVersion")).unwrap_or_default();
    match (version, kind) {
        (_, "List" | "ScheduleList" | "BackupList" | "BackupStorageLocationList") => {
            let Some((_, node)) = top.entry("items") else { return };
            match &node.value {
                Value::List(items) => items.iter().for_each(|item| document(decoder, item, file, found)),
                Value::Null => {}
                _ => decoder.wrong(node.place, format!("`items` must be a list, and is {}", node.kind())),
            }
        }
        ("velero.io/v1", "Schedule") => found.tasks.extend(schedule(decoder, &top, file)),
        ("velero.io/v1", "Backup") => backup(decoder, &top, file, found),
        ("velero.io/v1", "BackupStorageLocation") => {
            found.locations.extend(place::location(decoder, &top, file));
        }
        (version, "Schedule" | "Backup" | "BackupStorageLocation") if version.contains("velero") => {
            let problem = Problem::new(top.place, format!("`{version}` is not known"));
            decoder.report(problem.help("`velero.io/v1` is"));
        }
        (version, kind) => found.notes.push(VeleroNote {
            place: Some(at(file, top.place)),
            text: format!("{kind} of {version} is passed over: it is no Schedule, Backup or BackupStorageLocation"),
            lost: false,
        }),
    }
}

/// The object's name.
pub(super) fn name(decoder: &mut Decoder, top: &Table<'_>) -> Option<String> {
    let metadata = decoder.required(top, "metadata").and_then(|node| decoder.any_table(node, "metadata"))?;
    let name = decoder.required(&metadata, "name")?;
    decoder.text(name, "metadata.name").map(str::to_owned)
}

fn schedule(decoder: &mut Decoder, top: &Table<'_>, file: &Path) -> Option<Task> {
    let name = name(decoder, top);
    let table = decoder.required(top, "spec").and_then(|node| decoder.any_table(node, "spec"))?;
    let mut notes = Vec::new();
    let mut note = |place: Place, lost: bool, text: String| {
        notes.push(VeleroNote { place: Some(at(file, place)), text, lost });
    };
    let when = decoder.required(&table, "schedule").and_then(|node| {
        let text = decoder.text(node, "spec.schedule")?;
        match cron::read(text) {
            Ok(when) => {
                when.note.iter().for_each(|text| note(node.place, when.lost, text.clone()));
                Some((when.cron, when.timezone))
            }
            Err(why) => {
                decoder.wrong(node.place, why);
                None
            }
        }
    });
    for (key, node) in table.entries() {
        let text = match key.name.as_str() {
            "schedule" | "template" => continue,
            "paused" if matches!(node.value, Value::Bool(true)) => {
                "`paused`: a CronJob or a timer runs `drctl backup`; make none for this schedule, or suspend it"
            }
            "paused" | "skipImmediately" => continue,
            "useOwnerReferencesInBackup" => "`useOwnerReferencesInBackup`: backups are no objects of the cluster here",
            other => {
                note(key.place, true, format!("`spec.{other}` is not known"));
                continue;
            }
        };
        note(key.place, false, text.to_owned());
    }
    let template = decoder.required(&table, "template")?;
    let read = spec::read(decoder, template, "spec.template", file)?;
    let (cron, timezone) = when?;
    notes.extend(read.notes);
    Some(Task {
        kind: "Schedule",
        name: name?,
        place: at(file, top.place),
        cron,
        timezone,
        source: read.source,
        keep: read.keep,
        location: read.location,
        notes,
    })
}

/// A Backup that belongs to a Schedule is no work of its own.
fn backup(decoder: &mut Decoder, top: &Table<'_>, file: &Path, found: &mut Found) {
    let Some(name) = name(decoder, top) else { return };
    let labels = top.get("metadata").and_then(|node| match &node.value {
        Value::Table(entries) => entries.iter().find(|(key, _)| key.name == "labels").map(|(_, node)| node),
        _ => None,
    });
    let scheduled = labels.is_some_and(|node| match &node.value {
        Value::Table(entries) => entries.iter().any(|(key, _)| key.name == "velero.io/schedule-name"),
        _ => false,
    });
    let place = at(file, top.place);
    if scheduled {
        let text =
            format!("Backup `{name}` was made by a Schedule, and is passed over; what it holds stays with Velero");
        found.notes.push(VeleroNote { place: Some(place), text, lost: false });
        return;
    }
    let Some(node) = decoder.required(top, "spec") else { return };
    let Some(read) = spec::read(decoder, node, "spec", file) else { return };
    let (Ok(cron), timezone) = (Cron::parse(ONCE), TimeZone::default()) else { return };
    let text = format!(
        "Backup `{name}` was taken once; here it is a schedule, due at `{ONCE}`: change that, or run it by hand and never \
         by a timer"
    );
    let mut notes = read.notes;
    notes.push(VeleroNote { place: Some(place.clone()), text, lost: true });
    found.tasks.push(Task {
        kind: "Backup",
        name,
        place,
        cron,
        timezone,
        source: read.source,
        keep: read.keep,
        location: read.location,
        notes,
    });
}
