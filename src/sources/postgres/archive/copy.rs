//! The COPY statement of a table's rows.

/// `COPY schema.table (columns) FROM stdin;`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyLine {
    /// The table that the rows are loaded into, quoted as it stands in the statement.
    pub table: String,
    /// The columns in the order of the fields, not quoted. Empty for a table without columns.
    pub columns: Vec<String>,
}

impl CopyLine {
    /// Takes a statement apart; `None` if it is not as pg_dump writes it.
    #[must_use]
    pub fn parse(statement: &str) -> Option<Self> {
        let rest = statement.strip_prefix("COPY ")?.strip_suffix(" FROM stdin;")?;
        let table_end = end_of_name(rest)?;
        let (table, columns) = (rest.get(..table_end)?, rest.get(table_end..)?.trim_ascii());
        let columns = match columns {
            "" => Vec::new(),
            listed => names(listed.strip_prefix('(')?.strip_suffix(')')?)?,
        };
        Some(Self { table: table.to_owned(), columns })
    }
}

/// Where a qualified name ends that the text begins with: at its end, or before a space. `None` if it is anything else: it
/// goes into statements as it is.
fn end_of_name(text: &str) -> Option<usize> {
    let mut rest = text;
    loop {
        rest = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted).filter(|(name, _)| !name.is_empty())?.1,
            None => {
                let is_in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
                let end = rest.find(|c: char| !is_in_name(c)).unwrap_or(rest.len());
                rest.split_at_checked(end).filter(|(name, _)| !name.is_empty())?.1
            }
        };
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None if rest.is_empty() || rest.starts_with(' ') => return Some(text.len() - rest.len()),
            None => return None,
        }
    }
}

/// The names of `a, "b c", d`, without their quotes.
fn names(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = list;
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted)?,
            None => {
                let end = rest.find([',', ' ', '"']).unwrap_or(rest.len());
                (rest.get(..end)?.to_owned(), rest.get(end..)?)
            }
        };
        if name.is_empty() {
            return None;
        }
        names.push(name);
        if after.is_empty() {
            return Some(names);
        }
        rest = after.strip_prefix(", ")?;
    }
}

/// A name up to its closing quote, and what follows that.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(table: &str, columns: &[&str]) -> Option<CopyLine> {
        Some(CopyLine { table: table.to_owned(), columns: columns.iter().map(|c| (*c).to_owned()).collect() })
    }

    #[test]
    fn statements_of_pg_dump_are_taken_apart() {
        assert_eq!(
            CopyLine::parse("COPY public.people (id, name) FROM stdin;"),
            line("public.people", &["id", "name"])
        );
        assert_eq!(CopyLine::parse("COPY public.none  FROM stdin;"), line("public.none", &[]));
        assert_eq!(CopyLine::parse("COPY bücher.a$1 (a) FROM stdin;"), line("bücher.a$1", &["a"]));
        assert_eq!(
            CopyLine::parse("COPY \"a \"\"b\"\"\".\"c.d\ne\" (\"c 1\", \"\"\"\", \"x,) y\") FROM stdin;"),
            line("\"a \"\"b\"\"\".\"c.d\ne\"", &["c 1", "\"", "x,) y"])
        );
    }

    #[test]
    fn what_pg_dump_would_not_write_is_refused() {
        for bad in [
            "",
            "COPY  FROM stdin;",
            "COPY t (a FROM stdin;",
            "COPY t (a,b) FROM stdin;",
            "COPY t () FROM stdin;",
            "COPY t (\"a) FROM stdin;",
            "COPY \"t (a) FROM stdin;",
            "COPY t (a, ) FROM stdin;",
            "COPY t (a b) FROM stdin;",
            "COPY t (a) FROM '/etc/passwd';",
            "COPY t;DELETE/**/FROM/**/t;-- FROM stdin;",
            "COPY \"t\";DROP/**/TABLE/**/t;-- (a) FROM stdin;",
            "COPY s. (a) FROM stdin;",
            "COPY \"\".t (a) FROM stdin;",
            "COPY s.t--x (a) FROM stdin;",
            "COPY f(1) FROM stdin;",
        ] {
            assert_eq!(CopyLine::parse(bad), None, "{bad}");
        }
    }
}
