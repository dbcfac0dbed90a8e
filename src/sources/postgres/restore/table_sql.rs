//! What pg_dump's statements about one table say: enough to make it under another name, and to know its key and its
//! partitions.

use super::sql::{Piece, pieces, unquoted};

/// A schema and a name in it, not quoted.
pub(super) type TableName = (String, String);

/// `sql`, which makes and alters the table `schema.name`, for an ordinary table called `new` (in SQL) instead: one that
/// has partitions, or is one, stands by itself. `None` if it takes columns from other tables: what is made of it would
/// belong to them.
pub(super) fn for_table(sql: &str, schema: &str, name: &str, new: &str) -> Option<String> {
    let all = pieces(sql);
    if statements(&all).any(|statement| at_depth_0(statement, "INHERITS").is_some()) {
        return None;
    }
    let (mut text, mut at, mut expected) = (String::with_capacity(sql.len()), 0, false);
    for statement in statements(&all) {
        if at_depth_0(statement, "ATTACH").is_some() {
            continue;
        }
        let clause = at_depth_0(statement, "PARTITION");
        let (kept, end) = clause.map_or((statement, ""), |at| (&statement[..at], ";"));
        while let Some(piece) = kept.get(at) {
            if expected && named(kept, at).is_some_and(|found| found.0 == schema && found.1 == name) {
                text.push_str(new);
                (at, expected) = (at + 3, false);
                continue;
            }
            if !piece.is_space() {
                expected = piece.is_word("TABLE") || piece.is_word("ONLY");
            }
            text.push_str(piece.text());
            at += 1;
        }
        text.push_str(end);
        (at, expected) = (0, false);
    }
    Some(text)
}

/// Whether the statement that makes a table says that it has partitions.
pub(super) fn is_partitioned(sql: &str) -> bool {
    let all = pieces(sql);
    statements(&all).any(|statement| {
        statement.iter().any(|piece| piece.is_word("CREATE")) && at_depth_0(statement, "PARTITION").is_some()
    })
}

/// The table and the columns of a primary key, from the statement that adds it. `None` if it is another constraint, or
/// a key that no row can be held against by its columns alone: one that is checked late, or over ranges of time.
pub(super) fn primary_key(sql: &str) -> Option<(TableName, Vec<String>)> {
    let all: Vec<Piece<'_>> = pieces(sql).into_iter().filter(|piece| !piece.is_space()).collect();
    let table = all.iter().position(|piece| piece.is_word("TABLE"))? + 1;
    let table = if all.get(table)?.is_word("ONLY") { table + 1 } else { table };
    let (schema, name) = named(&all, table)?;
    let words = ["ADD", "CONSTRAINT"];
    let adds = all.get(table + 3..table + 5)?;
    if !adds.iter().zip(words).all(|(piece, word)| piece.is_word(word)) {
        return None;
    }
    let rest = all.get(table + 6..)?;
    let [primary, key, open, rest @ ..] = rest else { return None };
    if !primary.is_word("PRIMARY") || !key.is_word("KEY") || !open.is_mark("(") {
        return None;
    }
    let end = rest.iter().position(|piece| piece.is_mark(")"))?;
    let (columns, after) = rest.split_at(end);
    if after.iter().any(|piece| piece.is_word("DEFERRABLE")) {
        return None;
    }
    let one_each = columns.chunks(2).all(|pair| pair.first().is_some_and(|piece| piece.name().is_some()))
        && columns.chunks(2).rev().skip(1).all(|pair| pair.get(1).is_some_and(|piece| piece.is_mark(",")))
        && columns.len() % 2 == 1;
    let columns = columns.iter().filter_map(|piece| piece.name()).collect();
    one_each.then_some(((schema, name), columns))
}

/// What a statement `ALTER TABLE … ATTACH PARTITION …` attaches: the table above, and its partition. Before version 14
/// it follows the statement that makes the partition.
pub(super) fn attached(sql: &str) -> Option<(TableName, TableName)> {
    let all = pieces(sql);
    statements(&all).find_map(|statement| {
        let all: Vec<Piece<'_>> = statement.iter().copied().filter(|piece| !piece.is_space()).collect();
        let at = all.iter().position(|piece| piece.is_word("ATTACH"))?;
        Some((named(&all, at.checked_sub(3)?)?, named(&all, at + 2)?))
    })
}

/// The table that the SQL `schema.name` means.
pub(super) fn table_name(sql: &str) -> Option<TableName> {
    named(&pieces(sql), 0)
}

/// The `schema.name` at a place.
fn named(all: &[Piece<'_>], at: usize) -> Option<TableName> {
    let [schema, dot, name] = all.get(at..at + 3)? else { return None };
    if dot.is_mark(".") { Some((schema.name()?, name.name()?)) } else { None }
}

/// The statements, each with its end.
fn statements<'p, 'a>(all: &'p [Piece<'a>]) -> impl Iterator<Item = &'p [Piece<'a>]> {
    all.split_inclusive(|piece| piece.is_mark(";"))
}

/// Where a key word stands that is in no parentheses. pg_dump writes key words in capitals, and every name with capitals
/// in quotes.
fn at_depth_0(all: &[Piece<'_>], word: &str) -> Option<usize> {
    let mut depth = 0_u32;
    all.iter().position(|piece| {
        if piece.is_mark("(") {
            depth += 1;
        } else if piece.is_mark(")") {
            depth = depth.saturating_sub(1);
        }
        depth == 0 && matches!(piece, Piece::Word(text) if *text == word)
    })
}

impl Piece<'_> {
    fn is_space(self) -> bool {
        matches!(self, Self::Space(_))
    }

    /// The name that it is, without quotes.
    fn name(self) -> Option<String> {
        match self {
            Self::Word(text) | Self::Quoted(text) => Some(unquoted(text)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(schema: &str, name: &str) -> TableName {
        (schema.to_owned(), name.to_owned())
    }

    #[test]
    fn a_table_is_made_under_another_name() {
        let sql = "CREATE TABLE s.\"T t\" (\n    s integer CHECK (s.f(s) > 0)\n);\nALTER TABLE ONLY s.\"T t\" FORCE ROW LEVEL SECURITY;";
        let new = for_table(sql, "s", "T t", "n.t").unwrap();
        assert_eq!(
            new,
            "CREATE TABLE n.t (\n    s integer CHECK (s.f(s) > 0)\n);\nALTER TABLE ONLY n.t FORCE ROW LEVEL SECURITY;"
        );
        assert_eq!(for_table("CREATE TABLE s.t (\n)\nINHERITS (s.p);", "s", "t", "n.t"), None);
        let column =
            "CREATE TABLE s.t (\n    inherits text\n);\nALTER TABLE ONLY s.t ALTER COLUMN inherits SET STATISTICS 7;";
        assert_eq!(for_table(column, "s", "t", "n.t").unwrap(), column.replace("s.t", "n.t"));
    }

    #[test]
    fn a_table_with_partitions_and_a_partition_stand_by_themselves() {
        let root = "CREATE TABLE s.t (\n    partition integer\n)\nPARTITION BY RANGE (partition);\nALTER TABLE ONLY s.t OWNER TO a;";
        assert!(is_partitioned(root));
        let alone = "CREATE TABLE n.t (\n    partition integer\n)\n;\nALTER TABLE ONLY n.t OWNER TO a;";
        assert_eq!(for_table(root, "s", "t", "n.t").unwrap(), alone);
        assert!(!is_partitioned(alone));
        let leaf = "CREATE TABLE s.t_1 (\n    id integer\n);\nALTER TABLE ONLY s.t ATTACH PARTITION s.t_1 FOR VALUES IN (1);\n";
        assert_eq!(for_table(leaf, "s", "t_1", "n.t_1").unwrap().trim(), "CREATE TABLE n.t_1 (\n    id integer\n);");
        assert_eq!(attached(leaf), Some((name("s", "t"), name("s", "t_1"))));
        assert_eq!(attached(root), None);
        let odd = "CREATE TABLE s.partition (\n    id integer\n);\nALTER TABLE ONLY s.partition OWNER TO attach;";
        assert!(!is_partitioned(odd));
        assert_eq!(for_table(odd, "s", "partition", "n.partition").unwrap(), odd.replace("s.", "n."));
    }

    #[test]
    fn a_primary_key_is_that_of_its_own_table_and_no_other_constraint() {
        let add = |table: &str, what: &str| format!("ALTER TABLE ONLY {table}\n    ADD CONSTRAINT \"k k\" {what};\n");
        let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            primary_key(&add("s.\"a b\"", "PRIMARY KEY (id, \"Odd, one\") INCLUDE (x)")),
            Some((name("s", "a b"), columns(&["id", "Odd, one"])))
        );
        for other in [
            "UNIQUE (id)",
            "UNIQUE NULLS NOT DISTINCT (id)",
            "PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED",
            "PRIMARY KEY (id, at WITHOUT OVERLAPS)",
            "CHECK (PRIMARY KEY (id))",
            "FOREIGN KEY (id) REFERENCES s.t(id)",
        ] {
            assert_eq!(primary_key(&add("s.t", other)), None, "{other}");
        }
    }

    #[test]
    fn names_in_sql_are_read() {
        assert_eq!(table_name("s.t"), Some(name("s", "t")));
        assert_eq!(table_name("\"a.b\".\"c\"\"d\""), Some(name("a.b", "c\"d")));
        assert_eq!(table_name("t"), None);
    }
}
