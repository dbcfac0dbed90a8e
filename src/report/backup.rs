//! The documents of `drctl backup` and `drctl show`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Cluster, CopyReport, Document, Volumes,
    collections::{CollectionItem, collections_text, one_of, tables_text},
    table::Table,
    words,
};
use crate::types::{Moment, for_terminal};

/// One backup.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Its id.
    pub id: String,
    /// The policy.
    pub policy: String,
    /// The schedule.
    pub schedule: String,
    /// `complete`, `partial` or `suspect`.
    pub state: String,
    /// When its run began.
    pub started: Timestamp,
    /// When its last byte was stored.
    pub finished: Timestamp,
    /// The backup of this schedule before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// Backups whose packs it shares.
    pub parents: Vec<String>,
    /// The cluster that it was taken of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// What it holds, source by source.
    pub sources: Vec<Source>,
    /// How far apart the moments of its sources are, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<u64>,
    /// Sums over all of it.
    pub totals: Counts,
    /// What should be in it and is not.
    pub missing: Vec<MissingThing>,
    /// How many more are missing than are listed.
    pub missing_omitted: u64,
    /// Why it is suspect.
    pub suspect: Vec<String>,
    /// What is worth a line.
    pub notes: Vec<String>,
    /// The program that wrote it.
    pub tool: String,
    /// SHA-256 of its manifest as stored, in `show`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
    /// Whether one of the pinned signers has signed it, in `show`; absent if none is pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
    /// Why it does not count, if none of them has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsigned: Option<String>,
    /// Its streams, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<Vec<Stream>>,
}

/// A source of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Its name in the policy.
    pub name: String,
    /// `kubernetes`.
    pub kind: String,
    /// How consistent the copy is.
    pub consistency: String,
    /// Server and version.
    pub server: String,
    /// The one moment that it was captured at, by its own server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
    /// Objects, rows or documents.
    pub objects: u64,
    /// Of these, what a restore would create.
    pub restorable: u64,
    /// Plain bytes.
    pub bytes: u64,
    /// By namespace or database.
    pub groups: Vec<Group>,
    /// How many groups are counted and not listed.
    pub groups_omitted: u64,
    /// Its claims of volumes, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Volumes>,
    /// The tables of a database, in `show`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableItem>,
    /// The collections of a database, in `show`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub collections: Vec<CollectionItem>,
}

/// A table of a source.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TableItem {
    /// Its schema and name, quoted where PostgreSQL needs it.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Their bytes in COPY text form.
    pub bytes: u64,
    /// The sum modulo 2^256 of the BLAKE3 digests of its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A namespace or a database of a source.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name; empty for what belongs to none.
    pub name: String,
    /// Objects, rows or documents.
    pub objects: u64,
    /// Of these, what a restore would create.
    pub restorable: u64,
    /// Plain bytes.
    pub bytes: u64,
}

/// Sums over a backup.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Streams.
    pub streams: u64,
    /// Objects, rows and documents.
    pub objects: u64,
    /// Plain bytes.
    pub bytes: u64,
    /// Of these, bytes that were stored before.
    pub reused_bytes: u64,
    /// Bytes that it added to the store.
    pub new_bytes: u64,
    /// Packs that it added to the store.
    pub new_packs: u64,
}

/// Something that should be in a backup and is not.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MissingThing {
    /// The source that it belongs to.
    pub source: String,
    /// What it is: `namespace payments`.
    pub what: String,
    /// Why.
    pub why: String,
}

/// A stream of a backup: a kind's objects, a table's rows, a collection's documents.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// The source's name in the policy.
    pub source: String,
    /// Its name: `deployments.apps`.
    pub name: String,
    /// What its bytes are.
    pub media_type: String,
    /// Its parts.
    pub parts: Vec<StreamPart>,
}

/// A part of a stream: a namespace's objects, a range of a table.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamPart {
    /// Its name: a namespace (empty: cluster-scoped).
    pub name: String,
    /// Objects, rows or documents.
    pub objects: u64,
    /// Plain bytes.
    pub bytes: u64,
    /// BLAKE3 over them.
    pub blake3: String,
    /// The sum modulo 2^256 of the BLAKE3 digests of its rows or objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Document for Backup {
    const KIND: &'static str = "Backup";
}

/// What a run of `drctl backup` did.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupReport {
    /// The repository's URL.
    pub repository: String,
    /// The backup.
    pub backup: Backup,
    /// It is partial because only some sources were asked for, and nothing else is missing.
    pub partial_on_purpose: bool,
    /// What became of the copies that its schedule names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<CopyReport>,
}

impl Document for BackupReport {
    const KIND: &'static str = "BackupReport";
}

/// How long a phase took.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Phase {
    /// `plan`, `create`, `ready`, `compare`.
    pub phase: String,
    /// Wall time in seconds.
    pub seconds: f64,
}

impl BackupReport {
    /// The report for people, but for [`Backup::problems`].
    #[must_use]
    pub fn text(&self) -> String {
        let backup = &self.backup;
        let mut text = format!(
            "backup {} of schedule `{}` is {}{}\n",
            backup.id,
            backup.schedule,
            backup.state,
            if self.partial_on_purpose { ", as asked for: not all sources of the schedule are in it" } else { "" },
        );
        let totals = &backup.totals;
        text.push_str(&format!(
            "  {}, {}; {} new in {}; {}\n",
            words::count(totals.objects, "object"),
            words::size(totals.bytes),
            words::size(totals.new_bytes),
            words::count(totals.new_packs, "pack"),
            words::between(backup.started, backup.finished),
        ));
        text.push_str(&self.volumes());
        text.push_str(&backup.notes());
        self.copies.iter().fold(text, |text, copy| text + &copy.line())
    }

    /// Who has the data of the claims, source by source.
    fn volumes(&self) -> String {
        let with_some = self.backup.sources.iter().filter_map(|source| source.volumes.as_ref());
        with_some.map(Volumes::line).collect()
    }
}

impl Backup {
    /// The backup for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<12}{}\n", for_terminal(value)));
        line("Backup:", &self.id);
        line("Policy:", &format!("{}, schedule {}", self.policy, self.schedule));
        line("State:", &self.state);
        match (&self.unsigned, self.signed) {
            (Some(why), _) => line("Signed:", &format!("NO, and it does not count: {why}")),
            (None, Some(true)) => line("Signed:", "by a pinned signer"),
            (None, _) => {}
        }
        line("Taken:", &format!("{:.0} in {}", self.started, words::between(self.started, self.finished)));
        if let Some(cluster) = &self.cluster {
            line("Cluster:", &format!("{} ({}, uid {})", cluster.name, cluster.version, cluster.uid));
        }
        let totals = &self.totals;
        line("Contents:", &format!("{}, {}", words::count(totals.objects, "object"), words::size(totals.bytes)));
        line(
            "Stored:",
            &format!(
                "{} new, {} not stored again (in an earlier backup, or twice in this one)",
                words::size(totals.new_bytes),
                words::size(totals.reused_bytes)
            ),
        );
        if let Some(previous) = &self.previous {
            line("Previous:", previous);
        }
        line("Written by:", &self.tool);
        text.push_str(&self.problems());
        text.push_str(&self.notes());
        let sources: Vec<&str> = self.sources.iter().map(|source| source.name.as_str()).collect();
        for source in &self.sources {
            text.push_str(&source.text());
            text.push_str(&source.volumes.as_ref().map(|volumes| volumes.text(&sources)).unwrap_or_default());
        }
        if let Some(streams) = &self.streams {
            text.push_str(&streams_text(streams));
        }
        text
    }

    /// A line about claims whose data is in no backup: what a restore creates of them is empty.
    #[must_use]
    pub fn empty_volumes(&self) -> Option<String> {
        let volumes = self.sources.iter().filter_map(|source| source.volumes.as_ref());
        let names: Vec<String> = volumes.flat_map(Volumes::unprotected).collect();
        let first = names.first()?;
        let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        Some(format!(
            "warning: nobody has the data of {first}{more} (UNPROTECTED): a claim that is created gets a new, empty volume\n"
        ))
    }

    /// What is missing or suspect, a line each.
    #[must_use]
    pub fn problems(&self) -> String {
        let mut text = String::new();
        for missing in &self.missing {
            let (source, why) = (for_terminal(&missing.source), for_terminal(&missing.why));
            // A source that is missing as a whole is named once.
            let what = if missing.what == format!("source {}", missing.source) {
                format!("source `{source}`")
            } else {
                format!("{} of source `{source}`", for_terminal(&missing.what))
            };
            text.push_str(&format!("  missing: {what}: {why}\n"));
        }
        if self.missing_omitted > 0 {
            text.push_str(&format!("  missing: {} more\n", self.missing_omitted));
        }
        for reason in &self.suspect {
            text.push_str(&format!("  suspect: {}\n", for_terminal(reason)));
        }
        text
    }

    fn notes(&self) -> String {
        self.notes.iter().map(|note| format!("  note: {}\n", for_terminal(note))).collect()
    }
}

impl Source {
    fn text(&self) -> String {
        let mut table = match self.kind.as_str() {
            "postgres" => Table::new(&["DATABASE", ">ROWS", ">DEFINITIONS", ">SIZE"]),
            "mongodb" => Table::new(&["DATABASE", ">DOCUMENTS", ">COLLECTIONS", ">SIZE"]),
            _ => Table::new(&["NAMESPACE", ">OBJECTS", ">RESTORABLE", ">SIZE"]),
        };
        for group in &self.groups {
            let name = if group.name.is_empty() { "(cluster-scoped)".to_owned() } else { group.name.clone() };
            table.row([name, group.objects.to_string(), group.restorable.to_string(), words::size(group.bytes)]);
        }
        let mut text = format!(
            "\nSource {} ({}, {}, consistency {}): {}, {}\n",
            for_terminal(&self.name),
            for_terminal(&self.kind),
            for_terminal(&self.server),
            for_terminal(&self.consistency),
            words::count(self.objects, one_of(&self.kind)),
            words::size(self.bytes),
        );
        if let Some(moment) = &self.moment {
            let position =
                moment.position.as_deref().map(|at| format!(", at {}", for_terminal(at))).unwrap_or_default();
            text.push_str(&format!("as of {:.3}{position}\n", moment.time));
        }
        if !table.is_empty() {
            text.push_str(&table.text());
        }
        if self.groups_omitted > 0 {
            text.push_str(&format!("and {} more\n", self.groups_omitted));
        }
        if !self.tables.is_empty() {
            text.push_str(&tables_text(&self.tables));
        }
        if !self.collections.is_empty() {
            text.push_str(&collections_text(&self.collections));
        }
        text
    }
}

fn streams_text(streams: &[Stream]) -> String {
    let mut table = Table::new(&["SOURCE", "STREAM", "PART", ">OBJECTS", ">SIZE", "BLAKE3"]);
    for stream in streams {
        for part in &stream.parts {
            table.row([
                stream.source.clone(),
                stream.name.clone(),
                if part.name.is_empty() { "-".to_owned() } else { part.name.clone() },
                part.objects.to_string(),
                words::size(part.bytes),
                part.blake3.chars().take(16).collect(),
            ]);
        }
    }
    format!("\n{}", table.text())
}
