//! What a capture ends with: its documents, what is missing, what is worth a line.

use super::{
    PostgresSource, Survey,
    catalog::{self, PatternCounts, Relation, RelationKind},
    documents,
    dump::Dumped,
    lacking,
    leader::{Hold, named, no_text, not_text},
    writer::Writer,
};
use crate::{
    sources::{
        CaptureError, CaptureReport, CapturedGroup,
        postgres::{
            Error,
            contents::{self, Document, Exclusions, Lacking, LeftOut},
        },
    },
    types::{MediaType, Missing, counted},
};

/// Names that are listed in a note.
const LISTED: usize = 20;

/// Writes `roles.json` and `database.json`, and reports.
pub(super) async fn finish(
    source: &PostgresSource,
    survey: &Survey,
    hold: &Hold,
    dumped: &Dumped,
    writer: &mut Writer<'_>,
) -> Result<CaptureReport, CaptureError> {
    let session = hold.session();
    let read = |error: tokio_postgres::Error| session.failed("read the catalogs", &error);
    // As pg_dump has found it: the snapshot is the same.
    let counts = catalog::pattern_counts(session.client(), &source.selection).await.map_err(read)?;
    let mut missing = missing(survey, &counts, hold, dumped);
    let exclusions = exclusions(source, &counts);
    let left_out = left_out(&exclusions, hold);
    let toc = &dumped.split.toc;
    let references = lacking::references(session.client(), &source.selection).await.map_err(read)?;
    let lacking = lacking::lacking(&references, toc);
    let roles = documents::roles(session.client(), source.passwords && survey.facts.superuser).await.map_err(read)?;
    let run = documents::Run {
        facts: &survey.facts,
        server_number: survey.number,
        split: &dumped.split,
        time: hold.moment.time,
        lsn: hold.moment.position.clone(),
        exclusions,
        left_out: missing.iter().chain(&left_out).cloned().collect(),
        lacking: lacking.clone(),
        objects: &writer.objects,
    };
    // The document has them among what lacks something.
    missing.extend(lacking::cannot_be_made(&lacking, toc));
    let database = documents::database(session.client(), run).await.map_err(read)?;
    // A `setval` that is not as it is known, of a later pg_dump.
    contents::all_said(&database, toc).map_err(Error::from)?;
    document(writer, &roles).await?;
    document(writer, &database).await?;
    Ok(CaptureReport {
        source: source.name.clone(),
        kind: "postgres".to_owned(),
        consistency: "snapshot".to_owned(),
        server: format!("PostgreSQL {}", survey.facts.version),
        moment: Some(hold.moment.clone()),
        groups: vec![CapturedGroup {
            name: database.name.clone(),
            count: writer.count,
            restorable: dumped.split.toc.created(),
            bytes: writer.bytes,
        }],
        volumes: Vec::new(),
        missing: missing
            .into_iter()
            .map(|thing| Missing { source: source.name.to_string(), what: thing.what, why: thing.why })
            .collect(),
        suspect: Vec::new(),
        notes: notes(source, &counts, hold, dumped, &left_out, &lacking),
    })
}

async fn document<T: Document>(writer: &mut Writer<'_>, document: &T) -> Result<(), CaptureError> {
    let bytes = document.to_bytes().map_err(Error::from)?;
    Ok(writer.whole(T::STREAM, MediaType::Text, bytes.into()).await?)
}

/// What the policy has left out: a pattern that fits nothing leaves nothing out.
fn exclusions(source: &PostgresSource, counts: &PatternCounts) -> Exclusions {
    Exclusions {
        schemas: source.selection.schemas.iter().map(|pattern| pattern.text.clone()).collect(),
        exclude_tables: counts.of_use(catalog::TABLES),
        exclude_table_data: counts.of_use(catalog::TABLE_DATA),
    }
}

/// What should be in the backup and is not.
fn missing(survey: &Survey, counts: &PatternCounts, hold: &Hold, dumped: &Dumped) -> Vec<LeftOut> {
    let mut missing = Vec::new();
    let mut add = |what: String, why: String| missing.push(LeftOut { what, why });
    dumped.complaints.missing.iter().for_each(|(what, why)| add(what.clone(), why.clone()));
    if !survey.takes_large_objects() {
        let objects = &survey.objects;
        let example = objects.example.map(|oid| format!(" (one is {oid})")).unwrap_or_default();
        add(
            match objects.total {
                1 => "the one large object".to_owned(),
                total => format!("all {total} large objects"),
            },
            format!(
                "role `{}` may not read {} of them{example}, and pg_dump leaves out all or none; a superuser, or their owner, can",
                survey.facts.role, objects.unreadable
            ),
        );
    }
    if survey.facts.standby {
        for table in named(&hold.relations, Relation::has_no_rows_on_a_standby) {
            add(format!("rows of {table}"), "a standby has no rows of unlogged tables".to_owned());
        }
    }
    for (pattern, count) in &counts.schemas {
        if *count == 0 {
            add(format!("schema {pattern}"), "no schema of the database fits it".to_owned());
        }
    }
    missing
}

/// What the policy or the kind of a thing leaves out.
fn left_out(exclusions: &Exclusions, hold: &Hold) -> Vec<LeftOut> {
    let mut left_out = exclusions.left_out();
    let foreign = named(&hold.relations, |relation| relation.kind == RelationKind::Foreign);
    let mut add = |what: String| left_out.push(LeftOut { what, why: LeftOut::ELSEWHERE.to_owned() });
    for table in foreign.iter().take(LISTED) {
        add(format!("rows of {table}"));
    }
    if let Some(more @ 1..) = foreign.len().checked_sub(LISTED) {
        add(format!("rows of {}", counted(more as u64, "more foreign table")));
    }
    left_out
}

fn notes(
    source: &PostgresSource,
    counts: &PatternCounts,
    hold: &Hold,
    dumped: &Dumped,
    left_out: &[LeftOut],
    lacking: &[Lacking],
) -> Vec<String> {
    let name = &source.name;
    let mut notes: Vec<String> =
        left_out.iter().map(|thing| format!("source {name}: {} left out: {}", thing.what, thing.why)).collect();
    let odd = not_text(&hold.relations);
    if !odd.is_empty() {
        notes.push(format!("source {name}: {}", no_text(&odd)));
    }
    notes.extend(counts.useless().map(|useless| format!("source {name}: {useless}")));
    // The backup holds what the policy asks for, and a restore may find that the key holds: so no backup is partial by it.
    for key in lacking.iter().filter(|key| key.rows_only) {
        notes.push(format!("source {name}: a restore leaves out {} if it does not hold: {}", key.what, key.why));
    }
    let toc = &dumped.split.toc;
    for entry in toc.entries().filter(|entry| toc.attaches_to_nothing(entry)).take(LISTED) {
        notes.push(format!("source {name}: a restore leaves out {}: its root is excluded", entry.shown()));
    }
    notes.extend(dumped.complaints.notes.iter().map(|note| format!("source {name}: {note}")));
    notes
}
