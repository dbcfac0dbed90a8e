//! From the spec of a Velero backup to a source.

use std::path::Path;

use super::{VeleroNote, at, cron, select};
use crate::{
    policy::{
        ClusterScoped, KubernetesSpec, Period,
        load::{
            decode::{Decoder, Table},
            node::{Node, Value},
            problem::{Place, Problem},
        },
    },
    types::{InvalidName, Name},
};

/// What a spec says.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) source: KubernetesSpec,
    pub(super) keep: Period,
    /// The storage location; empty if it does not say.
    pub(super) location: String,
    pub(super) notes: Vec<VeleroNote>,
}

/// How long Velero keeps what does not say how long.
const DEFAULT_TTL: &str = "30d";

/// Fields that are about the contents of volumes.
const VOLUMES: [&str; 10] = [
    "snapshotVolumes",
    "volumeSnapshotLocations",
    "defaultVolumesToFsBackup",
    "defaultVolumesToRestic",
    "csiSnapshotTimeout",
    "snapshotMoveData",
    "datamover",
    "uploaderConfig",
    "resourcePolicy",
    "volumeGroupSnapshotLabelKey",
];

/// Fields without an equivalent, and what to do instead.
const LOST: [(&str, &str); 3] = [
    (
        "hooks",
        "commands in Pods before and after: make the database a source of its own, which is dumped under a snapshot",
    ),
    ("orderedResources", "an order of objects: kinds are read one after the other, without an order that counts"),
    ("backupType", "incremental backups: every backup here shares what earlier ones stored"),
];

/// A name of the policy out of one of Velero's.
pub(super) fn name(text: &str) -> Result<Name, InvalidName> {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let short: String = text.chars().map(letter).take(63).collect();
    let trimmed = short.trim_matches('-');
    Name::new(if trimmed.is_empty() { "velero" } else { trimmed })
}

/// Reads a spec. `None` only if the decoder has got a problem.
pub(super) fn read(decoder: &mut Decoder, node: &Node, path: &str, file: &Path) -> Option<Read> {
    let table = decoder.any_table(node, path)?;
    let mut reader = Reader { decoder, table: &table, file, notes: Vec::new() };
    let (namespaces, exclude_namespaces) = (reader.included_namespaces(), reader.namespaces("excludedNamespaces"));
    let namespaces = if namespaces.is_empty() { vec!["*".to_owned()] } else { namespaces };
    let said = reader.cluster_scoped();
    let all = namespaces.iter().any(|name| name == "*");
    let select::Rules { exclude, include, cluster_scoped } = select::rules(&mut reader, said, all);
    reader.volumes(table.place);
    reader.others();
    let keep = reader.keep();
    let location = reader.text("storageLocation").unwrap_or_default();
    let notes = reader.notes;
    let volumes = Vec::new();
    let source = KubernetesSpec { namespaces, exclude_namespaces, include, exclude, cluster_scoped, volumes };
    Some(Read { source, keep: keep?, location, notes })
}

/// Reads the fields of a spec, and notes what has no equivalent.
pub(super) struct Reader<'a, 'd> {
    decoder: &'d mut Decoder,
    table: &'d Table<'a>,
    file: &'d Path,
    notes: Vec<VeleroNote>,
}

impl<'a> Reader<'a, '_> {
    pub(super) fn note(&mut self, place: Place, lost: bool, text: impl Into<String>) {
        self.notes.push(VeleroNote { place: Some(at(self.file, place)), text: text.into(), lost });
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let node = self.table.get(key).filter(|node| !matches!(&node.value, Value::Text(text) if text.is_empty()))?;
        self.decoder.text(node, &self.table.path_of(key)).map(str::to_owned)
    }

    /// A list of texts; an empty one is an absent one.
    pub(super) fn texts(&mut self, key: &str) -> Vec<(Place, String)> {
        let Some(node) = self.table.get(key) else { return Vec::new() };
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            return Vec::new();
        }
        let texts = self.decoder.texts(node, &self.table.path_of(key)).unwrap_or_default();
        texts.into_iter().map(|(place, text)| (place, text.to_owned())).collect()
    }

    fn namespaces(&mut self, key: &str) -> Vec<String> {
        let texts = self.texts(key);
        self.fitting(key, texts)
    }

    /// Those that a policy can say; the others are noted.
    fn fitting(&mut self, key: &str, texts: Vec<(Place, String)>) -> Vec<String> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'*');
        let mut names = Vec::new();
        for (place, text) in texts {
            if text.len() <= 63 && text.bytes().all(allowed) {
                names.push(text);
            } else {
                self.note(place, true, format!("`{key}: {text}`: a pattern has `*` only here; name the namespaces"));
            }
        }
        names
    }

    /// Where something is chosen and nothing of it can be said here, what is left would be a choice of all.
    fn included_namespaces(&mut self) -> Vec<String> {
        let key = "includedNamespaces";
        let texts = self.texts(key);
        let first = texts.first().cloned();
        let names = self.fitting(key, texts);
        if let Some((place, text)) = first.filter(|_| names.is_empty()) {
            let problem = Problem::new(place, format!("`{key}` has nothing that a policy can say, like `{text}`"));
            let help = "name the namespaces, or write patterns with `*`: else all of them would be taken";
            self.decoder.report(problem.help(help));
        }
        names
    }

    /// Absent and null leave it to drctl, whose rule is Velero's: all with all namespaces, else what is referred to.
    fn cluster_scoped(&mut self) -> Option<ClusterScoped> {
        let all = |texts: &[(Place, String)]| texts.iter().any(|(_, text)| text == "*");
        let included = self.texts("includedClusterScopedResources");
        let excluded = self.texts("excludedClusterScopedResources");
        let node = self.table.get("includeClusterResources");
        let said = node.and_then(|node| self.decoder.boolean(node, &self.table.path_of("includeClusterResources")));
        match said {
            Some(true) => return Some(ClusterScoped::All),
            Some(false) => return Some(ClusterScoped::None),
            None => {}
        }
        if all(&excluded) {
            return Some(ClusterScoped::None);
        }
        all(&included).then_some(ClusterScoped::All)
    }

    /// The value under `key`, unless it is absent or says nothing.
    pub(super) fn value(&self, key: &str) -> Option<&'a Node> {
        self.table.get(key)
    }

    /// Where the spec begins.
    pub(super) fn start(&self) -> Place {
        self.table.place
    }

    /// The contents of volumes are no part of a backup here.
    fn volumes(&mut self, start: Place) {
        const ASK: [&str; 4] =
            ["snapshotVolumes", "defaultVolumesToFsBackup", "defaultVolumesToRestic", "snapshotMoveData"];
        let is = |key: &str, wanted: bool| {
            self.table.get(key).is_some_and(|node| matches!(node.value, Value::Bool(value) if value == wanted))
        };
        let said = |key: &&&str| self.table.get(key).is_some();
        let asked = ASK.iter().find(|key| is(key, true)).or(Some(&"resourcePolicy").filter(said));
        if asked.is_none() && is("snapshotVolumes", false) {
            return;
        }
        let asked =
            asked.or_else(|| VOLUMES.iter().find(said)).and_then(|key| self.table.entry(key)).map(|(key, _)| key);
        let (place, what) = match asked {
            Some(key) => (key.place, format!("`{}`", key.name)),
            None => (start, "volumes (Velero takes snapshots of them, unless told not to)".to_owned()),
        };
        let text = format!(
            "{what}: a backup holds claims and not what is on their volumes. Make each database a source of its own, and \
             say of other claims who has their data (`volumes`); `drctl list` shows those that are UNPROTECTED"
        );
        self.note(place, true, text);
    }

    fn others(&mut self) {
        const READ: [&str; 15] = [
            "includedNamespaces",
            "excludedNamespaces",
            "includeClusterResources",
            "includedResources",
            "excludedResources",
            "includedClusterScopedResources",
            "excludedClusterScopedResources",
            "includedNamespaceScopedResources",
            "excludedNamespaceScopedResources",
            "labelSelector",
            "orLabelSelectors",
            "ttl",
            "storageLocation",
            "metadata",
            "itemOperationTimeout",
        ];
        let table = self.table;
        for (key, node) in table.entries() {
            let name = key.name.as_str();
            let empty = match &node.value {
                Value::Null => true,
                Value::Table(entries) => entries.is_empty(),
                Value::List(items) => items.is_empty(),
                _ => false,
            };
            if empty || READ.contains(&name) || VOLUMES.contains(&name) {
                continue;
            }
            let text = match LOST.iter().find(|(lost, _)| *lost == name) {
                Some((_, why)) => format!("`{name}`: {why}"),
                None => format!("`{}` is not known", table.path_of(name)),
            };
            self.note(key.place, true, text);
        }
    }

    fn keep(&mut self) -> Option<Period> {
        let Some(node) = self.table.get("ttl") else { return Period::parse(DEFAULT_TTL).ok() };
        let path = self.table.path_of("ttl");
        let text = self.decoder.text(node, &path)?;
        let hours = cron::duration(text).map(|length| length.as_secs().div_ceil(3600));
        let period = match hours {
            // Velero takes none for its default.
            Some(0) => Period::parse(DEFAULT_TTL),
            Some(hours) if hours % 24 == 0 => Period::parse(&format!("{}d", hours / 24)),
            Some(hours) => Period::parse(&format!("{hours}h")),
            None => {
                self.decoder.wrong(node.place, format!("`{path}` must be a length of time like 720h0m0s"));
                return None;
            }
        };
        period.map_err(|error| self.decoder.wrong(node.place, error.to_string())).ok()
    }
}
