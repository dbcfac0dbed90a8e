//! Names and texts as SQL writes them.

/// `name` as an identifier, always in quotes.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name` as SQL, always in quotes.
#[must_use]
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// `text` as a literal that means the same whatever `standard_conforming_strings` says.
#[must_use]
pub fn literal(text: &str) -> String {
    if text.contains('\\') {
        format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// `schema.name` for people and as a stream's name: in quotes only where lower-case letters, digits
/// and `_` do not do. Two different names never look alike.
#[must_use]
pub fn shown(schema: &str, name: &str) -> String {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let part = |part: &str| if plain(part) { part.to_owned() } else { identifier(part) };
    format!("{}.{}", part(schema), part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(identifier(r#"a"b"#), r#""a""b""#);
        assert_eq!(qualified("s", "T t"), r#""s"."T t""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }

    #[test]
    fn names_that_differ_look_different() {
        let shown: Vec<String> = [
            ("public", "orders"),
            ("Public", "orders"),
            ("a.b", "c"),
            ("a", "b.c"),
            ("a", "\"b\""),
            ("", "x"),
            ("a", "1"),
        ]
        .into_iter()
        .map(|(schema, name)| shown(schema, name))
        .collect();
        assert_eq!(
            shown,
            ["public.orders", "\"Public\".orders", "\"a.b\".c", "a.\"b.c\"", "a.\"\"\"b\"\"\"", "\"\".x", "a.\"1\""]
        );
    }
}
