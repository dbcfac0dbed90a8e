//! From Velero's Schedules, Backups and BackupStorageLocations to a policy, and to what has no equivalent.

mod cron;
mod place;
mod read;
mod select;
mod spec;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    decode::Decoder,
    node,
    problem::{InvalidPolicy, Place},
};
use crate::{
    policy::{Evidence, Keep, Policy, Schedule, SourceSpec, yaml::to_yaml},
    types::{InvalidName, Location, Name, for_terminal},
};
use read::{Found, Task};

/// What is said besides the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VeleroOptions {
    /// The policy's name; absent: that of the storage location.
    pub name: Option<Name>,
    /// The storage location whose schedules are taken, where they use several; absent: the only one that they use.
    pub location: Option<String>,
    /// Where the repository is; absent: beside Velero's own.
    pub url: Option<Location>,
}

/// One file: its name for messages, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VeleroFile {
    /// Its name.
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// A policy out of Velero's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromVelero {
    /// The policy. It is valid.
    pub policy: Policy,
    /// What a person must know, in the order of the files.
    pub notes: Vec<VeleroNote>,
    files: Vec<PathBuf>,
}

/// Something that did not become part of the policy, or that became something else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VeleroNote {
    /// The file, and the line in it from 1.
    pub place: Option<(PathBuf, usize)>,
    /// What there is to know, in one line.
    pub text: String,
    /// It has no equivalent: the policy does less than Velero did.
    pub lost: bool,
}

/// Velero's objects could not be made a policy of.
#[derive(Debug, thiserror::Error)]
pub enum FromVeleroError {
    /// A file is not what Velero's objects look like.
    #[error(transparent)]
    Invalid(#[from] InvalidPolicy),
    /// There is nothing to make a schedule of.
    #[error("there is no Schedule and no Backup of Velero in {0}")]
    Nothing(String),
    /// Which of several storage locations is meant is not known.
    #[error(
        "the schedules use several storage locations ({}), and a policy has one repository",
        for_terminal(&.0.join(", "))
    )]
    SeveralLocations(Vec<String>),
    /// No schedule uses this storage location.
    #[error("no schedule uses the storage location `{}`; they use: {}", for_terminal(.0), for_terminal(&.1.join(", ")))]
    NoSuchLocation(String, Vec<String>),
    /// The repository's place is not known.
    #[error("where the repository is to be cannot be told: {0}")]
    NoPlace(String),
    /// A name of Velero's has no form here.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The policy could not be written.
    #[error(transparent)]
    Yaml(#[from] crate::policy::YamlError),
}

/// Makes a policy of Velero's objects in `files`.
///
/// # Errors
/// [`FromVeleroError`]: of a wrong file all problems at once, each with line and column.
pub fn from_velero(files: &[VeleroFile], options: &VeleroOptions) -> Result<FromVelero, FromVeleroError> {
    let mut found = Found::default();
    for file in files {
        read_file(file, &mut found)?;
    }
    if found.tasks.is_empty() {
        let names: Vec<_> =
            files.iter().map(|file| for_terminal(&file.path.display().to_string()).into_owned()).collect();
        return Err(FromVeleroError::Nothing(names.join(", ")));
    }
    let location = found.choose(options.location.as_deref())?;
    let repository = match &options.url {
        Some(url) => place::bare(url.clone()),
        None => found.repository(&location)?,
    };
    let name = match (&options.name, location.as_str()) {
        (Some(name), _) => name.clone(),
        (None, "default") => spec::name("cluster")?,
        (None, location) => spec::name(location)?,
    };
    let Found { tasks, mut notes, .. } = found;
    let (taken, others): (Vec<Task>, Vec<Task>) = tasks.into_iter().partition(|task| task.location == location);
    for task in others {
        let text = format!(
            "{} `{}` uses the storage location `{}`: run it again with `--location {}` for a policy of its own",
            task.kind, task.name, task.location, task.location
        );
        notes.push(VeleroNote { place: Some(task.place), text, lost: true });
    }
    let (sources, schedules) = assemble(taken, &mut notes)?;
    notes.push(VeleroNote {
        place: None,
        text: "`encryption: none` is said because it must be known: who reads the store reads the Secrets in it"
            .to_owned(),
        lost: false,
    });
    notes.sort();
    notes.dedup();
    let policy =
        Policy { name, repository, copies: BTreeMap::new(), sources, schedules, evidence: Evidence::default() };
    Ok(FromVelero { policy, notes, files: files.iter().map(|file| file.path.clone()).collect() })
}

fn read_file(file: &VeleroFile, found: &mut Found) -> Result<(), FromVeleroError> {
    let invalid = |problems| InvalidPolicy::of_velero(file.path.clone(), &file.text, problems);
    let documents = node::read_all(&file.text).map_err(|problem| invalid(vec![problem]))?;
    let mut decoder = Decoder::default();
    for document in &documents {
        read::document(&mut decoder, document, &file.path, found);
    }
    if decoder.problems.is_empty() { Ok(()) } else { Err(invalid(decoder.problems).into()) }
}

type Assembled = (BTreeMap<Name, SourceSpec>, BTreeMap<Name, Schedule>);

/// A schedule of each task; tasks that take the same share a source.
fn assemble(tasks: Vec<Task>, notes: &mut Vec<VeleroNote>) -> Result<Assembled, InvalidName> {
    let mut sources: Vec<(Name, SourceSpec)> = Vec::new();
    let mut schedules = BTreeMap::new();
    for task in tasks {
        notes.extend(task.notes);
        let name = free(spec::name(&task.name)?, |name| schedules.contains_key(name));
        if name.as_str() != task.name {
            let text = format!("`{}` is called `{name}`: names are those of Kubernetes' labels here", task.name);
            notes.push(VeleroNote { place: Some(task.place), text, lost: false });
        }
        let spec = SourceSpec::Kubernetes(task.source);
        let known = sources.iter().find(|(_, known)| *known == spec).map(|(name, _)| name.clone());
        let source = known.unwrap_or_else(|| {
            let source = free(name.clone(), |name| sources.iter().any(|(known, _)| known == name));
            sources.push((source.clone(), spec));
            source
        });
        let keep = Some(Keep { within: Some(task.keep), ..Keep::default() });
        schedules.insert(
            name,
            Schedule { cron: task.cron, timezone: task.timezone, sources: vec![source], keep, copy_to: Vec::new() },
        );
    }
    Ok((sources.into_iter().collect(), schedules))
}

/// `name`, or it with a number that is not taken.
fn free(name: Name, taken: impl Fn(&Name) -> bool) -> Name {
    if !taken(&name) {
        return name;
    }
    let start: String = name.as_str().chars().take(58).collect();
    let numbered = |number: u32| Name::new(format!("{}-{number}", start.trim_end_matches('-'))).ok();
    (2..).filter_map(numbered).find(|name| !taken(name)).unwrap_or(name)
}

impl FromVelero {
    /// The policy as a file, with comments that say what has no equivalent.
    ///
    /// # Errors
    /// [`FromVeleroError::Yaml`].
    pub fn text(&self) -> Result<String, FromVeleroError> {
        let names: Vec<String> = self.files.iter().map(|path| path.display().to_string()).collect();
        let head = format!("Made of Velero's objects in {} by `drctl policy from-velero`.", names.join(", "));
        let mut text = format!("# {}\n", for_terminal(&head));
        for (lost, heading) in [(true, "Without an equivalent here:"), (false, "Worth knowing:")] {
            let of_kind: Vec<_> = self.notes.iter().filter(|note| note.lost == lost).collect();
            if !of_kind.is_empty() {
                text.push_str(&format!("#\n# {heading}\n"));
                of_kind.iter().for_each(|note| text.push_str(&format!("#   {note}\n")));
            }
        }
        text.push_str(&to_yaml(&self.policy)?);
        Ok(text)
    }

    /// Whether the policy does less than Velero did.
    #[must_use]
    pub fn lost_something(&self) -> bool {
        self.notes.iter().any(|note| note.lost)
    }
}

impl std::fmt::Display for VeleroNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((path, line)) = &self.place {
            write!(f, "{}:{line}: ", for_terminal(&path.display().to_string()))?;
        }
        f.write_str(&for_terminal(&self.text))
    }
}

/// Where something is, for a note.
fn at(path: &Path, place: Place) -> (PathBuf, usize) {
    (path.to_owned(), place.line)
}
