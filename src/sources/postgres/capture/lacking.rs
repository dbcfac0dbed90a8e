//! What refers to something that the policy excludes. `pg_dump` follows no such reference: it writes the
//! definition all the same, and a database in which the rest is missing cannot make it.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio_postgres::{Client, Row, types::ToSql};

use super::{
    catalog::{Sent, expressions},
    selection::Selection,
};
use crate::sources::postgres::{
    archive::{Entry, Toc},
    contents::{Lacking, LeftOut},
};

/// An object as the catalogs name it: the catalog's oid, and its own in there.
type Id = (u32, u32);

/// An object that refers to what is excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    own: Id,
    /// What holds it, where it is no object of its own for `pg_dump`: a default is mostly written with its table.
    holder: Option<Id>,
    /// Without it, its holder is not what it should be: the rule of a view.
    takes_holder: bool,
    /// For people: `view public.busy_days`.
    pub(super) shown: String,
    /// What it lacks, and which exclusion leaves that out.
    pub(super) why: String,
    /// It lacks rows and nothing else.
    pub(super) rows_only: bool,
}

/// Tables, views and sequences that are left out, and all else of schemas that are not selected. What an extension
/// brings comes with the extension; but with a selection of schemas, `pg_dump` before 14 writes no extension.
const GONE: &str = "
WITH RECURSIVE gone_schema AS (
    SELECT n.oid FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND cardinality($1::text[]) > 0 AND NOT n.nspname ~ ANY ($1::text[])
),
unwritten AS (
    SELECT d.classid, d.objid, e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.oid >= 16384
      AND cardinality($1::text[]) > 0 AND current_setting('server_version_num')::int < 140000
),
member AS (
    SELECT d.classid, d.objid FROM pg_depend d
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
      AND NOT EXISTS (SELECT FROM unwritten u WHERE u.classid = d.classid AND u.objid = d.objid)
),
gone_class AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND (c.relnamespace IN (SELECT oid FROM gone_schema)
           OR (c.relkind <> 'c' AND EXISTS (SELECT FROM unnest($2::text[], $3::text[]) AS x(s, t)
                                            WHERE n.nspname ~ x.s AND c.relname ~ x.t)))
      AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
)";

/// Objects that stay and depend on one that is gone.
const DEPENDENTS: &str = "
, gone AS (
    SELECT 'pg_class'::regclass::oid AS classid, oid AS objid FROM gone_class
    UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
        WHERE t.typnamespace IN (SELECT oid FROM gone_schema)
           OR t.typrelid IN (SELECT oid FROM gone_class) OR e.typrelid IN (SELECT oid FROM gone_class)
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace IN (SELECT oid FROM gone_schema)
    UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM gone_schema)
    UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation WHERE collnamespace IN (SELECT oid FROM gone_schema)
    UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion WHERE connamespace IN (SELECT oid FROM gone_schema)
    UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass WHERE opcnamespace IN (SELECT oid FROM gone_schema)
    UNION ALL SELECT 'pg_opfamily'::regclass, oid FROM pg_opfamily WHERE opfnamespace IN (SELECT oid FROM gone_schema)
    UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config WHERE cfgnamespace IN (SELECT oid FROM gone_schema)
    UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict WHERE dictnamespace IN (SELECT oid FROM gone_schema)
    UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser WHERE prsnamespace IN (SELECT oid FROM gone_schema)
    UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template WHERE tmplnamespace IN (SELECT oid FROM gone_schema)
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server WHERE cardinality($1::text[]) > 0
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper WHERE cardinality($1::text[]) > 0
    UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language WHERE cardinality($1::text[]) > 0 AND oid >= 16384
    UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am WHERE cardinality($1::text[]) > 0 AND oid >= 16384
    UNION ALL SELECT classid, objid FROM unwritten
    UNION ALL SELECT 'pg_type'::regclass, t.oid FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
        JOIN unwritten u ON (u.classid = 'pg_type'::regclass AND u.objid = e.oid)
            OR (u.classid = 'pg_class'::regclass AND u.objid IN (t.typrelid, e.typrelid))
)
, found AS MATERIALIZED (
SELECT DISTINCT h.classid, h.objid, h.upclass, h.upobj, h.takes, d.refclassid, d.refobjid
FROM gone g
JOIN pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid AND d.deptype IN ('n', 'a', 'i')
CROSS JOIN LATERAL (
    SELECT d.classid, d.objid, 'pg_class'::regclass::oid AS upclass,
           CASE r.rulename WHEN '_RETURN' THEN r.ev_class ELSE 0 END AS upobj, r.rulename = '_RETURN' AS takes,
           r.ev_class AS relation
    FROM pg_rewrite r WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    UNION ALL SELECT d.classid, d.objid, 'pg_class'::regclass, a.adrelid, false, a.adrelid
    FROM pg_attrdef a WHERE d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
    UNION ALL SELECT d.classid, d.objid,
           CASE WHEN c.contype <> 'c' THEN 0 WHEN c.conrelid <> 0 THEN 'pg_class'::regclass::oid ELSE 'pg_type'::regclass::oid END,
           CASE WHEN c.contype <> 'c' THEN 0 ELSE greatest(c.conrelid, c.contypid) END, false, c.conrelid
    FROM pg_constraint c
    WHERE d.classid = 'pg_constraint'::regclass AND c.oid = d.objid AND c.contype IN ('c', 'f', 'p', 'u', 'x') AND c.conparentid = 0
    UNION ALL SELECT d.classid, d.objid, 0, 0, false, t.tgrelid
    FROM pg_trigger t WHERE d.classid = 'pg_trigger'::regclass AND t.oid = d.objid AND NOT t.tgisinternal
    UNION ALL SELECT d.classid, d.objid, 0, 0, false, p.polrelid
    FROM pg_policy p WHERE d.classid = 'pg_policy'::regclass AND p.oid = d.objid
    UNION ALL SELECT d.classid, d.objid, 0, 0, false, s.stxrelid
    FROM pg_statistic_ext s WHERE d.classid = 'pg_statistic_ext'::regclass AND s.oid = d.objid
    UNION ALL SELECT d.classid, d.objid, 'pg_constraint'::regclass, coalesce(c.oid, 0), false, i.indrelid
    FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x')
    WHERE d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
    UNION ALL SELECT 'pg_type'::regclass, c.reltype, 0, 0, false, c.oid
    FROM pg_class c WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind = 'c'
    UNION ALL SELECT d.classid, d.objid, 0, 0, false, c.oid
    FROM pg_class c
    WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      -- A partition can be made by itself; only what attaches it cannot.
      AND NOT (c.relispartition AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = d.refobjid))
    UNION ALL SELECT d.classid, d.objid, 0, 0, false, 0
    WHERE d.classid = ANY ('{pg_type,pg_proc,pg_operator,pg_collation,pg_conversion,pg_opclass,pg_opfamily,pg_ts_config,pg_ts_dict,
        pg_ts_parser,pg_ts_template,pg_cast,pg_transform,pg_language,pg_event_trigger,pg_foreign_server,pg_foreign_data_wrapper}'::regclass[]::oid[])
) h
WHERE NOT EXISTS (SELECT FROM gone x WHERE x.classid = 'pg_class'::regclass AND x.objid = h.relation)
  AND NOT EXISTS (SELECT FROM gone x WHERE x.classid = h.classid AND x.objid = h.objid)
  AND NOT EXISTS (SELECT FROM gone x WHERE x.classid = h.upclass AND x.objid = h.upobj)
  AND NOT EXISTS (SELECT FROM member m WHERE m.classid = g.classid AND m.objid = g.objid)
  AND NOT EXISTS (SELECT FROM member m WHERE m.classid = h.classid AND m.objid = h.objid)
  AND NOT EXISTS (SELECT FROM member m WHERE m.classid = h.upclass AND m.objid = h.upobj)
  AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = h.relation)
)
SELECT h.classid, h.objid, h.upclass, h.upobj, h.takes,
       coalesce(what.type, ''), coalesce(what.identity, ''), coalesce(ref.type, ''), coalesce(ref.identity, ''),
       coalesce(ref.schema, ''),
       EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, unnest($2::text[], $3::text[]) AS x(s, t)
               WHERE c.oid = r.relation AND n.nspname ~ x.s AND c.relname ~ x.t),
       coalesce((SELECT min(u.extname::text) FROM unwritten u LEFT JOIN pg_type t ON t.oid = h.refobjid
                 WHERE u.classid = h.refclassid
                   AND (u.objid = h.refobjid OR (u.classid = 'pg_type'::regclass AND u.objid = t.typelem))), '')
FROM found h
CROSS JOIN LATERAL pg_identify_object(CASE WHEN h.upobj = 0 THEN h.classid ELSE h.upclass END,
                                      CASE WHEN h.upobj = 0 THEN h.objid ELSE h.upobj END, 0) what
-- The type of a table is left out with it.
CROSS JOIN LATERAL (
    SELECT CASE h.refclassid WHEN 'pg_class'::regclass THEN h.refobjid
           WHEN 'pg_type'::regclass THEN coalesce((SELECT greatest(t.typrelid, e.typrelid) FROM pg_type t
               LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' WHERE t.oid = h.refobjid), 0)
           ELSE 0 END AS relation
) r
CROSS JOIN LATERAL pg_identify_object(CASE WHEN r.relation = 0 THEN h.refclassid ELSE 'pg_class'::regclass END,
                                      CASE WHEN r.relation = 0 THEN h.refobjid ELSE r.relation END, 0) ref
ORDER BY 6, 7, 8, 9";

/// Foreign keys that stay, of tables whose rows stay, to tables some of whose rows are left out.
const FOREIGN_KEYS: &str = "
, matched AS (
    SELECT c.oid, coalesce(bool_or(x.data), false) AS data
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN (SELECT s, t, true AS data FROM unnest($4::text[], $5::text[]) AS d(s, t)
          UNION ALL SELECT s, t, false FROM unnest($2::text[], $3::text[]) AS d(s, t)) x ON n.nspname ~ x.s AND c.relname ~ x.t
    WHERE c.relkind = 'r' GROUP BY c.oid
    UNION ALL SELECT oid, false FROM gone_class
),
keys AS (
    SELECT k.oid, k.conrelid, k.confrelid FROM pg_constraint k
    WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid NOT IN (SELECT oid FROM gone_class)
      AND k.confrelid NOT IN (SELECT oid FROM gone_class)
),
tree AS (
    SELECT DISTINCT root, root AS oid FROM keys CROSS JOIN LATERAL (VALUES (conrelid), (confrelid)) AS r(root)
    UNION SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
        JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
),
lacks AS (
    SELECT DISTINCT ON (t.root) t.root, m.oid, m.data FROM tree t JOIN matched m ON m.oid = t.oid ORDER BY t.root, m.oid, m.data DESC
),
has AS (
    SELECT DISTINCT t.root FROM tree t JOIN pg_class c ON c.oid = t.oid AND c.relkind = 'r'
    WHERE t.oid NOT IN (SELECT oid FROM matched)
)
SELECT 'pg_constraint'::regclass::oid, k.oid, what.type, what.identity, ref.identity, lacks.data
FROM keys k JOIN has ON has.root = k.conrelid JOIN lacks ON lacks.root = k.confrelid
CROSS JOIN LATERAL pg_identify_object('pg_constraint'::regclass, k.oid, 0) what
CROSS JOIN LATERAL pg_identify_object('pg_class'::regclass, lacks.oid, 0) ref
ORDER BY what.identity";

/// Finds what refers to something that `selection` leaves out. Nothing is asked if it leaves out nothing.
pub(super) async fn references(
    client: &Client,
    selection: &Selection,
) -> Result<Vec<Reference>, tokio_postgres::Error> {
    if !selection.excludes() {
        return Ok(Vec::new());
    }
    let schemas: Vec<&str> = selection.schemas.iter().map(|pattern| pattern.schema.as_str()).collect();
    let (out_schemas, out_tables) = expressions(&selection.exclude_tables);
    let (data_schemas, data_tables) = expressions(&selection.exclude_table_data);
    let gone: [&(dyn ToSql + Sync); 3] = [&schemas, &out_schemas, &out_tables];
    let mut found: BTreeMap<Id, (Reference, usize)> = BTreeMap::new();
    for row in client.query(&format!("{GONE}{DEPENDENTS}"), &gone).await? {
        let reference = dependent(&row)?;
        found.entry(reference.own).or_insert((reference, 0)).1 += 1;
    }
    let several = |(mut reference, count): (Reference, usize)| {
        if let Some(more @ 1..) = count.checked_sub(1) {
            reference.why.push_str(&format!(", and {more} more that are left out"));
        }
        reference
    };
    let mut references: Vec<Reference> = found.into_values().map(several).collect();
    let all: [&(dyn ToSql + Sync); 5] = [&schemas, &out_schemas, &out_tables, &data_schemas, &data_tables];
    for row in client.query(&format!("{GONE}{FOREIGN_KEYS}"), &all).await? {
        references.push(foreign_key(&row)?);
    }
    Ok(references)
}

fn text(row: &Row, column: usize) -> Result<String, tokio_postgres::Error> {
    Ok(row.try_get::<_, Sent>(column)?.text)
}

fn dependent(row: &Row) -> Result<Reference, tokio_postgres::Error> {
    let needed = format!("{} {}", text(row, 7)?, text(row, 8)?);
    let (schema, by_pattern): (String, bool) = (text(row, 9)?, row.try_get(10)?);
    let holder: u32 = row.try_get(3)?;
    let extension = text(row, 11)?;
    let why = if !extension.is_empty() {
        format!("it needs {needed} of extension {extension}, which pg_dump before 14 does not write with `schemas`")
    } else if by_pattern {
        format!("it needs {needed}, which the policy's `excludeTables` leaves out")
    } else if schema.is_empty() {
        format!("it needs {needed}, which is in no schema and is left out with the policy's `schemas`")
    } else {
        format!("it needs {needed}, and the policy's `schemas` leave out schema {schema}")
    };
    Ok(Reference {
        own: (row.try_get(0)?, row.try_get(1)?),
        holder: if holder == 0 { None } else { Some((row.try_get(2)?, holder)) },
        takes_holder: row.try_get(4)?,
        shown: format!("{} {}", text(row, 5)?, text(row, 6)?),
        why,
        rows_only: false,
    })
}

fn foreign_key(row: &Row) -> Result<Reference, tokio_postgres::Error> {
    let (table, data): (String, bool) = (text(row, 4)?, row.try_get(5)?);
    let exclusion = if data { "the policy's `excludeTableData` leaves out" } else { "the policy leaves out" };
    Ok(Reference {
        own: (row.try_get(0)?, row.try_get(1)?),
        holder: None,
        takes_holder: false,
        shown: format!("{} {}", text(row, 2)?, text(row, 3)?),
        why: format!("it may refer to rows of {table}, which {exclusion}"),
        rows_only: true,
    })
}

/// The entries of an archive that lack something.
pub(super) fn lacking(references: &[Reference], toc: &Toc) -> Vec<Lacking> {
    if references.is_empty() {
        return Vec::new();
    }
    let made = toc.entries().filter(Entry::creates).map(|entry| (entry.catalog(), entry));
    let made: HashMap<Id, Entry<'_>> = made.collect();
    let mut named = HashSet::new();
    let mut lacking = Vec::new();
    for reference in references {
        let own = made.get(&reference.own);
        let holder = reference.holder.and_then(|holder| made.get(&holder));
        let holder = holder.filter(|_| own.is_none() || reference.takes_holder);
        for entry in own.into_iter().chain(holder).filter(|entry| named.insert(entry.dump_id())) {
            let (dump_id, what) = (entry.dump_id(), entry.shown());
            lacking.push(Lacking { dump_id, what, why: reference.why.clone(), rows_only: reference.rows_only });
        }
    }
    lacking
}

/// What no restore can make of it: the entries that lack more than rows, and all that depends on those.
pub(super) fn cannot_be_made(lacking: &[Lacking], toc: &Toc) -> Vec<LeftOut> {
    let why: HashMap<u32, &str> =
        lacking.iter().filter(|it| !it.rows_only).map(|it| (it.dump_id, it.why.as_str())).collect();
    if why.is_empty() {
        return Vec::new();
    }
    let mut out: HashSet<u32> = HashSet::new();
    let mut list = Vec::new();
    // An entry comes after those that it depends on.
    for entry in toc.entries() {
        let why = why.get(&entry.dump_id()).map(|why| (*why).to_owned()).or_else(|| {
            let on = entry.dependencies().find(|id| out.contains(id))?;
            Some(format!("it depends on {}", toc.entry(on).map_or_else(|| on.to_string(), |entry| entry.shown())))
        });
        let Some(why) = why else { continue };
        out.insert(entry.dump_id());
        if entry.creates() {
            list.push(LeftOut { what: entry.shown(), why: format!("cannot be made again: {why}") });
        }
    }
    list
}
