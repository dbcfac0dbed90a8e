//! What a capture ends with: its documents, what is missing, what is worth a line.

use bytes::Bytes;

use super::{
    Failure, Prepared, Read,
    selection::{Choice, Emptiness},
};
use crate::{
    sources::{
        CaptureContext, CaptureError, CaptureReport, CapturedGroup,
        mongodb::{
            contents::{self, AccountCounts, Collection, Database, LeftOut, file_name},
            definition::Definition,
            error::Error,
            left,
        },
    },
    types::{MediaType, Missing, Name, PartSummary, SinkError, StreamSpec, counted, for_terminal},
};

/// Writes the documents beside the collections, and reports.
pub(super) async fn finish(
    prepared: &Prepared,
    context: CaptureContext<'_>,
    read: &[Read],
    after: &[Definition],
) -> Result<CaptureReport, CaptureError> {
    let Prepared { source, session, listed, from, moment, .. } = prepared;
    let to = session.now().await?;
    let mut missing = missing(prepared);
    let left_out = left_out(prepared);
    let mut database = Database::new(session.server().database(), source.consistency.as_str(), *from);
    database.to = to;
    database.server = session.facts.shown();
    database.version = session.facts.version.clone();
    database.cluster_time = moment.as_ref().and_then(|moment| moment.position.clone());
    database.collections = read.iter().map(collection).collect();
    database.left_out = missing.iter().chain(&left_out).cloned().collect();
    let mut definitions = Vec::new();
    read.iter().for_each(|read| definitions.extend_from_slice(read.definition.to_raw().as_bytes()));
    let metadata = metadata(read).map_err(|failure| prepared.failed(failure))?;
    database.accounts = prepared.accounts.as_deref().map(AccountCounts::of);
    if let Some(accounts) = &prepared.accounts {
        let mut bytes = Vec::new();
        for account in accounts {
            let raw = account.to_raw().map_err(|what| prepared.failed(Failure::Account { what }))?;
            bytes.extend_from_slice(raw.as_bytes());
        }
        whole(context, &source.name, contents::ACCOUNTS, MediaType::Blob, bytes.into()).await?;
    }
    let bytes = database.to_bytes().map_err(Error::from)?;
    for (stream, media_type, bytes) in [
        (contents::DEFINITIONS, MediaType::Blob, Bytes::from(definitions)),
        (contents::METADATA, MediaType::Text, metadata.into()),
        (contents::DATABASE, MediaType::Text, bytes),
    ] {
        whole(context, &source.name, stream, media_type, bytes).await?;
    }
    let group = CapturedGroup {
        name: database.name.clone(),
        count: read.iter().map(|read| read.taken.documents).sum(),
        restorable: read.len() as u64,
        bytes: read.iter().map(|read| read.taken.bytes).sum(),
    };
    if let Some(emptiness) = source.selection.emptiness(listed) {
        let what = format!("database {}", for_terminal(&database.name));
        let why = match emptiness {
            Emptiness::NoCollections => "it has no collections",
            Emptiness::NoneTaken => "the policy takes none of its collections: correct `include` and `exclude`",
        };
        missing.push(LeftOut { what, why: why.to_owned() });
    }
    Ok(CaptureReport {
        source: source.name.clone(),
        kind: "mongodb".to_owned(),
        consistency: source.consistency.as_str().to_owned(),
        server: database.server.clone(),
        moment: moment.clone(),
        groups: vec![group],
        volumes: Vec::new(),
        missing: missing
            .into_iter()
            .map(|thing| Missing { source: source.name.to_string(), what: thing.what, why: thing.why })
            .collect(),
        suspect: Vec::new(),
        notes: notes(prepared, &database, &left_out, after),
    })
}

fn collection(read: &Read) -> Collection {
    Collection {
        name: read.definition.name.clone(),
        kind: read.definition.kind.word().to_owned(),
        stream: read.stream.clone(),
        documents: read.taken.documents,
        bytes: read.taken.bytes,
        digest: read.taken.digest,
        indexes: read.definition.indexes.len() as u64,
        outside_snapshot: read.outside_snapshot,
    }
}

/// What a person needs to make a folder for `mongorestore` by hand, a line a collection.
fn metadata(read: &[Read]) -> Result<Vec<u8>, Failure> {
    let mut lines = Vec::new();
    for Read { definition, stream, .. } in read {
        let collection = definition.name.clone();
        let metadata = definition.metadata().map_err(|source| Failure::Definition { collection, source })?;
        let line = serde_json::json!({
            "collection": definition.name, "stream": stream, "file": file_name(&definition.name), "metadata": metadata,
        });
        lines.extend_from_slice(line.to_string().as_bytes());
        lines.push(b'\n');
    }
    Ok(lines)
}

async fn whole(
    context: CaptureContext<'_>,
    source: &Name,
    stream: &str,
    media_type: MediaType,
    bytes: Bytes,
) -> Result<(), SinkError> {
    let spec = StreamSpec { source: source.clone(), name: stream.to_owned(), media_type };
    let mut stream = context.sink.open(spec).await?;
    stream.begin_part(contents::WHOLE).await?;
    stream.write(bytes).await?;
    stream.end_part(PartSummary::default()).await?;
    stream.finish().await
}

/// What should be in the backup and is not.
fn missing(prepared: &Prepared) -> Vec<LeftOut> {
    let selection = &prepared.source.selection;
    let names = names(prepared);
    let mut missing = Vec::new();
    for name in selection.absent(&names) {
        missing.push(LeftOut {
            what: format!("collection {}", for_terminal(name)),
            why: "the database has none that fits it".to_owned(),
        });
    }
    for definition in prepared.listed.iter().filter(|it| selection.choose(it) == Choice::NotAskedFor) {
        missing.push(LeftOut {
            what: format!("time-series collection {}", for_terminal(&definition.name)),
            why: "write `timeSeries: true` into the policy to take it, or leave it out by `exclude`".to_owned(),
        });
    }
    for account in prepared.accounts.iter().flatten().filter(|account| !account.is_whole()) {
        missing.push(LeftOut {
            what: format!("the password of {}", account.shown()),
            why: "the server does not tell what proves it".to_owned(),
        });
    }
    missing
}

/// What the policy leaves out.
fn left_out(prepared: &Prepared) -> Vec<LeftOut> {
    let out = |it: &&Definition| prepared.source.selection.choose(it) == Choice::LeftOut;
    let thing = |it: &Definition| LeftOut {
        what: format!("{} {}", it.kind.word(), for_terminal(&it.name)),
        why: "the policy leaves it out".to_owned(),
    };
    prepared.listed.iter().filter(out).map(thing).collect()
}

fn names(prepared: &Prepared) -> Vec<&str> {
    prepared.listed.iter().map(|definition| definition.name.as_str()).collect()
}

fn notes(prepared: &Prepared, database: &Database, left_out: &[LeftOut], after: &[Definition]) -> Vec<String> {
    let name = &prepared.source.name;
    let mut notes = Vec::new();
    if prepared.moment.is_none() {
        notes.push(format!(
            "source {name}: not point-in-time: its collections were read one after the other from {:.3} to {:.3}, while others could \
             write (consistency: none)",
            database.from, database.to
        ));
    }
    let outside = database.collections.iter().filter(|collection| collection.outside_snapshot);
    notes.extend(outside.map(|collection| {
        let shown = for_terminal(&collection.name);
        format!("source {name}: capped collection {shown} was read after the snapshot, which servers do not have of it")
    }));
    if let Some(counts) = database.accounts {
        let (users, roles) = (counted(counts.users, "user"), counted(counts.roles, "role"));
        notes.push(format!(
            "source {name}: {users} and {roles} of the database are in the backup, as they were at its beginning"
        ));
    }
    let series = database.collections.iter().filter(|collection| collection.kind == "timeseries");
    notes.extend(series.map(|collection| {
        let shown = for_terminal(&collection.name);
        format!(
            "source {name}: time-series collection {shown} is kept as the server's own buckets, which is not tested"
        )
    }));
    notes.extend(left_out.iter().map(|thing| format!("source {name}: {} left out: {}", thing.what, thing.why)));
    let of_restore = prepared.listed.iter().filter(|it| prepared.source.selection.choose(it) == Choice::OfRestore);
    let left = left::traces(&database.name, of_restore.map(|it| it.name.as_str()), None);
    notes.extend(
        left.into_iter().map(|left::Traces { what, next }| format!("source {name}: {what}; not taken: {next}")),
    );
    let useless = prepared.source.selection.useless(&names(prepared));
    notes.extend(
        useless
            .iter()
            .map(|pattern| format!("source {name}: `exclude` {}: no collection fits it", for_terminal(pattern))),
    );
    let known = |it: &&Definition| !prepared.listed.iter().any(|before| before.name == it.name);
    let later = after.iter().filter(known).filter(|it| prepared.source.selection.choose(it) == Choice::Taken);
    notes.extend(later.map(|it| {
        format!(
            "source {name}: collection {} was made while the backup was taken, and is not in it",
            for_terminal(&it.name)
        )
    }));
    notes
}
