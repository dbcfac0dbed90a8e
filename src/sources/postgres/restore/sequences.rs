//! Sequences: set to their values, and compared.

use std::collections::HashMap;

use super::{
    super::{Session, contents::Sequence, quote::qualified},
    RestoreError,
    report::Difference,
};

/// Sequences in one statement.
const AT_ONCE: usize = 200;

/// Sets every sequence that is there.
pub(super) async fn set(session: &Session, sequences: &[Sequence]) -> Result<(), RestoreError> {
    for some in sequences.chunks(AT_ONCE) {
        let names: Vec<String> = some.iter().map(|sequence| qualified(&sequence.schema, &sequence.name)).collect();
        let values: Vec<i64> = some.iter().map(|sequence| sequence.last_value).collect();
        let called: Vec<bool> = some.iter().map(|sequence| sequence.is_called).collect();
        let sql = "SELECT pg_catalog.setval(pg_catalog.to_regclass(s.name), s.value, s.called) \
             FROM unnest($1::text[], $2::int8[], $3::bool[]) AS s(name, value, called) \
             WHERE pg_catalog.to_regclass(s.name) IS NOT NULL";
        session.rows("set the sequences", sql, &[&names, &values, &called]).await?;
    }
    Ok(())
}

/// Those that are there, and that this role may not set, or not read.
pub(super) async fn denied(session: &Session, sequences: &[Sequence]) -> Result<Vec<String>, RestoreError> {
    let mut denied = Vec::new();
    for some in sequences.chunks(AT_ONCE) {
        let names: Vec<String> = some.iter().map(|sequence| qualified(&sequence.schema, &sequence.name)).collect();
        let sql = "SELECT s.name FROM unnest($1::text[]) WITH ORDINALITY AS s(name, place) \
             JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(s.name) AND c.relkind = 'S' \
             WHERE NOT (pg_catalog.has_sequence_privilege(c.oid, 'UPDATE') \
                 AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT')) ORDER BY s.place";
        let rows = session.rows("look at the sequences", sql, &[&names]).await?;
        denied.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    }
    Ok(denied)
}

/// Holds every sequence against the backup.
pub(super) async fn compare(session: &Session, sequences: &[Sequence]) -> Result<Vec<Difference>, RestoreError> {
    let mut differences = Vec::new();
    for some in sequences.chunks(AT_ONCE) {
        let found = values(session, some).await?;
        for (place, sequence) in some.iter().enumerate() {
            differences.extend(difference(sequence, found.get(&place).copied()));
        }
    }
    Ok(differences)
}

async fn values(session: &Session, sequences: &[Sequence]) -> Result<HashMap<usize, (i64, bool)>, RestoreError> {
    let names: Vec<String> = sequences.iter().map(|sequence| qualified(&sequence.schema, &sequence.name)).collect();
    let sql = "SELECT pg_catalog.to_regclass(s.name) IS NOT NULL FROM unnest($1::text[]) WITH ORDINALITY AS s(name, place) \
         ORDER BY s.place";
    let there = session.rows("look for the sequences", sql, &[&names]).await?;
    let queries: Vec<String> = names
        .iter()
        .enumerate()
        .zip(&there)
        .filter(|(_, row)| row.get(0))
        .map(|((place, name), _)| format!("SELECT {place}::int8, last_value, is_called FROM {name}"))
        .collect();
    if queries.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = session.rows("read the sequences back", &queries.join(" UNION ALL "), &[]).await?;
    let value = |row: &tokio_postgres::Row| {
        (usize::try_from(row.get::<_, i64>(0)).unwrap_or(usize::MAX), (row.get(1), row.get(2)))
    };
    Ok(rows.iter().map(value).collect())
}

fn difference(sequence: &Sequence, found: Option<(i64, bool)>) -> Option<Difference> {
    let expected = (sequence.last_value, sequence.is_called);
    let shown = |(value, called): (i64, bool)| format!("{value}{}", if called { "" } else { " (not yet called)" });
    let how = match found {
        Some(found) if found == expected => return None,
        Some(found) => format!("it stands at {}, and in the backup at {}", shown(found), shown(expected)),
        None => "it is missing".to_owned(),
    };
    let name = super::super::quote::shown(&sequence.schema, &sequence.name);
    Some(Difference { what: format!("sequence {name}"), how })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_differs_by_its_value_and_by_whether_it_was_called() {
        let sequence = Sequence { schema: "public".into(), name: "s".into(), last_value: 7, is_called: true };
        assert_eq!(difference(&sequence, Some((7, true))), None);
        let how = |found| difference(&sequence, found).unwrap().how;
        assert_eq!(how(Some((8, true))), "it stands at 8, and in the backup at 7");
        assert_eq!(how(Some((7, false))), "it stands at 7 (not yet called), and in the backup at 7");
        assert_eq!(how(None), "it is missing");
    }
}
