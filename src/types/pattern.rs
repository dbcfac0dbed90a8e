//! Patterns of tables and schemas, as `pg_dump` reads them.
//!
//! `pg_dump` decides what is dumped; the leader session must lock just that, before there is a
//! snapshot. So the same patterns are made into the same regular expressions here, and one that
//! `pg_dump` would refuse is found when the policy is read.

/// Characters that mean something in a regular expression, and nothing inside quotes.
const SPECIAL: &str = "|*+?()[]{}.^$\\";

/// A pattern that `pg_dump` would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no pattern of {what}: {why}", super::for_terminal(.pattern))]
pub struct InvalidPattern {
    pattern: String,
    what: &'static str,
    why: &'static str,
}

/// Tables of a database: `audit.*`, `public.sessions`, `"Odd.Name".t?`. Without a schema it means
/// tables of this name in every schema, whatever the role's `search_path` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePattern {
    /// As `pg_dump` is given it.
    pub text: String,
    /// A regular expression of the server for the schema.
    pub schema: String,
    /// A regular expression of the server for the table.
    pub table: String,
}

impl TablePattern {
    /// Reads one.
    ///
    /// # Errors
    /// [`InvalidPattern`] says why it is none.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |why| InvalidPattern { pattern: text.to_owned(), what: "tables", why };
        let mut parts = expressions(text).map_err(invalid)?;
        let (table, schema) = (parts.pop().unwrap_or_default(), parts.pop());
        if !parts.is_empty() {
            return Err(invalid("write schema.table"));
        }
        Ok(match schema {
            Some(schema) => Self { text: text.to_owned(), schema, table },
            None => Self { text: format!("*.{text}"), schema: "^(.*)$".to_owned(), table },
        })
    }
}

/// Schemas of a database: `public`, `tenant_*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaPattern {
    /// As `pg_dump` is given it.
    pub text: String,
    /// A regular expression of the server.
    pub schema: String,
}

impl SchemaPattern {
    /// Reads one.
    ///
    /// # Errors
    /// [`InvalidPattern`] says why it is none.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let invalid = |why| InvalidPattern { pattern: text.to_owned(), what: "schemas", why };
        let mut parts = expressions(text).map_err(invalid)?;
        let schema = parts.pop().unwrap_or_default();
        if !parts.is_empty() {
            return Err(invalid("the name of a schema has no dot outside quotes"));
        }
        Ok(Self { text: text.to_owned(), schema })
    }
}

/// The parts of a pattern between its dots, each as a regular expression for the whole name.
fn expressions(pattern: &str) -> Result<Vec<String>, &'static str> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let (mut quoted, mut empty) = (false, true);
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\0' | '\n' | '\r' => return Err("it has a line end in it"),
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                part.push('"');
                empty = false;
            }
            '"' => quoted = !quoted,
            '.' if !quoted => {
                if empty {
                    return Err("a name is missing before a dot");
                }
                parts.push(format!("^({})$", std::mem::take(&mut part)));
                empty = true;
            }
            _ => {
                empty = false;
                push(&mut part, letter, quoted, letters.peek() == Some(&']'));
            }
        }
    }
    if quoted {
        return Err("a quote is not closed");
    }
    if empty {
        return Err("a name is missing");
    }
    parts.push(format!("^({part})$"));
    Ok(parts)
}

fn push(part: &mut String, letter: char, quoted: bool, before_bracket: bool) {
    match letter {
        '*' if !quoted => part.push_str(".*"),
        '?' if !quoted => part.push('.'),
        // A dollar is never an anchor: names have them.
        '$' => part.push_str("\\$"),
        // `[]` is a part of a type's name, and no set of characters.
        '[' if before_bracket => part.push_str("\\["),
        _ if quoted && SPECIAL.contains(letter) => part.extend(['\\', letter]),
        _ if quoted => part.push(letter),
        _ => part.push(letter.to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> (String, String, String) {
        let pattern = TablePattern::parse(text).unwrap();
        (pattern.text, pattern.schema, pattern.table)
    }

    #[test]
    fn patterns_are_read_as_pg_dump_reads_them() {
        let cases = [
            ("public.sessions", "public.sessions", "^(public)$", "^(sessions)$"),
            ("Audit.*", "Audit.*", "^(audit)$", "^(.*)$"),
            ("sessions", "*.sessions", "^(.*)$", "^(sessions)$"),
            (r#""A.b"."c""d""#, r#""A.b"."c""d""#, r"^(A\.b)$", r#"^(c"d)$"#),
            ("a$b.t?", "a$b.t?", r"^(a\$b)$", "^(t.)$"),
            (r#"s."x*""#, r#"s."x*""#, "^(s)$", r"^(x\*)$"),
            ("s.(a|b)[0-9]", "s.(a|b)[0-9]", "^(s)$", "^((a|b)[0-9])$"),
        ];
        for (pattern, text, schema, name) in cases {
            assert_eq!(table(pattern), (text.to_owned(), schema.to_owned(), name.to_owned()), "{pattern}");
        }
        assert_eq!(SchemaPattern::parse("tenant_*").unwrap().schema, "^(tenant_.*)$");
        assert_eq!(SchemaPattern::parse(r#""Odd.Name""#).unwrap().schema, r"^(Odd\.Name)$");
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        for bad in ["", ".", "a.", ".a", "a.b.c", "\"a", "a\nb", "\"\""] {
            assert!(TablePattern::parse(bad).is_err(), "{bad:?}");
        }
        let error = SchemaPattern::parse("a.b").unwrap_err().to_string();
        assert_eq!(error, "`a.b` is no pattern of schemas: the name of a schema has no dot outside quotes");
    }
}
