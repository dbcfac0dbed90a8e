//! `drctl show`, and the form in which a backup is shown.

use std::path::PathBuf;

use clap::Args;

use super::{
    context::Context,
    exit::{Exit, Failure},
    output::OutputArgs,
    show_objects::{self, ObjectArgs},
    show_plan,
};
use crate::{
    operations::BackupRef,
    report::{
        Backup, Cluster, CollectionItem, Counts, Group, MissingThing, Source, Stream, StreamPart, TableItem,
        VolumeClaim, VolumeCounts, Volumes,
    },
    repository::{self, Manifest, StoredManifest, crypt::Signature},
    types::{self, BackupContents, MediaType, Missing, PartInfo, Protection, RowDigest, StreamInfo},
};

/// Show one backup.
#[derive(Debug, Args)]
#[command(
    after_help = "BACKUP is an id, the beginning of one, `latest`, `latest:SCHEDULE`, or a time like `@2026-11-20T12:00Z`.

--objects lists every object while the backup is read, and --object shows one, with the values of a Secret only if
--reveal is given. What was printed counts only if the exit code is 0: then all that was read is proven.

Examples:
  drctl show latest -f policies/clync-app.yaml
  drctl show latest:daily --streams
  drctl show latest:daily --objects --namespace order-service --kind configmap
  drctl show latest:daily --object deployment order-service/orders
  drctl show 20261120T02 --repository s3://orders-dr/prod -o json
  drctl show --plan plan.jsonl                   # what `restore --plan-out` saved, before it is agreed to"
)]
pub struct ShowArgs {
    /// The backup: an id, the beginning of one, latest, latest:SCHEDULE, or @TIME
    #[arg(required_unless_present = "plan")]
    backup: Option<BackupRef>,
    /// Show a saved plan: what was asked, and what would be done with each object; no cluster is asked
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backup", "streams", "objects", "object"])]
    plan: Option<PathBuf>,
    /// Show every stream and part too, each with its count and BLAKE3
    #[arg(long)]
    streams: bool,
    #[command(flatten)]
    objects: ObjectArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

pub(super) async fn run(args: &ShowArgs, context: &Context<'_>) -> Result<Exit, Failure> {
    if let Some(path) = &args.plan {
        return show_plan::run(path, args.output, context).await;
    }
    let opened = context.open().await?;
    let backup = args.backup.clone().unwrap_or(BackupRef::Latest);
    let stored = opened.find(&backup, &context.say).await?.stored;
    warn_unsigned(&stored, context);
    if args.objects.are_asked_for() {
        return show_objects::run(&args.objects, args.output, &opened, &stored, context).await;
    }
    let mut backup = document(&stored);
    let has_tables = backup.sources.iter().any(|source| source.kind != "kubernetes");
    if args.streams || has_tables {
        let reader = opened.repository.read(&stored.manifest).await?;
        for source in &mut backup.sources {
            source.tables = tables(reader.streams(), &source.name);
            source.collections = collections(reader.streams(), &source.name);
        }
        backup.streams = args.streams.then(|| reader.streams().iter().map(stream).collect());
    }
    args.output.print(&backup, Backup::text)?;
    Ok(Exit::Done)
}

/// A stored backup as it is shown.
pub(super) fn document(stored: &StoredManifest) -> Backup {
    let unsigned = match &stored.signature {
        Signature::Bad(why) => Some(why.clone()),
        Signature::Good | Signature::NotAsked => None,
    };
    let manifest_sha256 = Some(stored.sha256.to_string());
    Backup { manifest_sha256, signed: signed(&stored.signature), unsigned, ..of_manifest(&stored.manifest) }
}

/// Whether a pinned signer has signed it, where one is pinned.
pub(super) fn signed(signature: &Signature) -> Option<bool> {
    match signature {
        Signature::NotAsked => None,
        Signature::Good => Some(true),
        Signature::Bad(_) => Some(false),
    }
}

/// Says that a backup does not count whose contents are about to be shown.
pub(super) fn warn_unsigned(stored: &StoredManifest, context: &Context<'_>) {
    if let Signature::Bad(why) = &stored.signature {
        let (backup, why) = (&stored.manifest.backup, types::for_terminal(why));
        context.say.lines(&format!("warning: backup {backup} is UNSIGNED, and does not count: {why}\n"));
    }
}

/// A backup as it is shown, but for the digest of its manifest.
pub(super) fn of_manifest(manifest: &Manifest) -> Backup {
    let totals = &manifest.totals;
    Backup {
        id: manifest.backup.to_string(),
        policy: manifest.policy.to_string(),
        schedule: manifest.schedule.to_string(),
        state: manifest.state.to_string(),
        started: manifest.started,
        finished: manifest.finished,
        previous: manifest.previous.as_ref().map(|previous| previous.id.to_string()),
        parents: manifest.parents.iter().map(ToString::to_string).collect(),
        cluster: manifest.cluster.as_ref().map(cluster),
        sources: manifest.sources.iter().map(source).collect(),
        skew_ms: manifest.skew_ms,
        totals: Counts {
            streams: totals.streams,
            objects: totals.objects,
            bytes: totals.plain_bytes,
            reused_bytes: totals.reused_bytes,
            new_bytes: totals.new_bytes,
            new_packs: totals.new_packs,
        },
        missing: manifest.missing.iter().map(missing).collect(),
        missing_omitted: manifest.missing_omitted,
        suspect: manifest.suspect.clone(),
        notes: manifest.notes.clone(),
        tool: manifest.tool.clone(),
        manifest_sha256: None,
        signed: None,
        unsigned: None,
        streams: None,
    }
}

pub(super) fn cluster(cluster: &repository::Cluster) -> Cluster {
    Cluster { uid: cluster.uid.clone(), name: cluster.name.clone(), version: cluster.version.clone() }
}

fn source(entry: &repository::SourceEntry) -> Source {
    let group = |group: &repository::GroupEntry| Group {
        name: group.name.clone(),
        objects: group.total.count,
        restorable: group.total.restorable,
        bytes: group.total.bytes,
    };
    Source {
        name: entry.name.to_string(),
        kind: entry.kind.clone(),
        consistency: entry.consistency.clone(),
        server: entry.server.clone(),
        moment: entry.moment.clone(),
        objects: entry.total.count,
        restorable: entry.total.restorable,
        bytes: entry.total.bytes,
        groups: entry.groups.iter().map(group).collect(),
        groups_omitted: entry.groups_omitted,
        volumes: entry.volumes.as_ref().map(volumes),
        tables: Vec::new(),
        collections: Vec::new(),
    }
}

fn volumes(summary: &repository::VolumeSummary) -> Volumes {
    let claim = |volume: &types::Volume| {
        let (protection, covered_by) = match &volume.protection {
            Protection::Covered { covered_by } => ("covered", Some(covered_by.to_string())),
            Protection::Disposable => ("disposable", None),
            Protection::Unprotected => ("unprotected", None),
        };
        VolumeClaim {
            namespace: volume.namespace.clone(),
            name: volume.name.clone(),
            size: volume.size.clone(),
            protection: protection.to_owned(),
            covered_by,
        }
    };
    Volumes { counts: volume_counts(summary.counts), claims: summary.claims.iter().map(claim).collect() }
}

pub(super) fn volume_counts(counts: types::VolumeCounts) -> VolumeCounts {
    let types::VolumeCounts { covered, disposable, unprotected } = counts;
    VolumeCounts { covered, disposable, unprotected }
}

/// The tables of a source, in the order of their names.
fn tables(streams: &[StreamInfo], source: &str) -> Vec<TableItem> {
    let of_source = |info: &&StreamInfo| info.source.as_str() == source && info.media_type == MediaType::Table;
    let mut tables: Vec<TableItem> = streams.iter().filter(of_source).map(table).collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    tables
}

/// The collections of a source, in the order of their names.
fn collections(streams: &[StreamInfo], source: &str) -> Vec<CollectionItem> {
    let of_source = |info: &&StreamInfo| info.source.as_str() == source && info.media_type == MediaType::Collection;
    let item = |info: &StreamInfo| {
        let TableItem { name, rows, bytes, digest } = table(info);
        CollectionItem { name, documents: rows, bytes, digest }
    };
    let mut collections: Vec<CollectionItem> = streams.iter().filter(of_source).map(item).collect();
    collections.sort_by(|a, b| a.name.cmp(&b.name));
    collections
}

/// Sums of parts are the sum of the whole.
fn table(info: &StreamInfo) -> TableItem {
    let mut digest = Some(RowDigest::default());
    for part in &info.parts {
        match (&mut digest, &part.digest) {
            (Some(sum), Some(part)) => sum.add(part),
            _ => digest = None,
        }
    }
    TableItem {
        name: info.name.clone(),
        rows: info.parts.iter().fold(0, |sum, part| sum.saturating_add(part.count)),
        bytes: info.parts.iter().fold(0, |sum, part| sum.saturating_add(part.length)),
        digest: digest.map(|digest| digest.to_string()),
    }
}

fn missing(missing: &Missing) -> MissingThing {
    MissingThing { source: missing.source.clone(), what: missing.what.clone(), why: missing.why.clone() }
}

fn stream(info: &StreamInfo) -> Stream {
    let part = |part: &PartInfo| StreamPart {
        name: part.name.clone(),
        objects: part.count,
        bytes: part.length,
        blake3: part.blake3.to_string(),
        digest: part.digest.map(|digest| digest.to_string()),
    };
    let media_type = serde_json::to_value(info.media_type).ok();
    Stream {
        source: info.source.to_string(),
        name: info.name.clone(),
        media_type: media_type.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default(),
        parts: info.parts.iter().map(part).collect(),
    }
}
