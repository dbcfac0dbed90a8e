//! Names and texts as SQL writes them.

use crate::types::is_unsafe;

/// `name` as an identifier, always in quotes.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `name` as an identifier of SQL that is printed for people: characters that end a line, move a cursor or turn a line
/// around are spelled out, and the server reads the same name.
#[must_use]
pub fn readable(name: &str) -> String {
    if !name.chars().any(is_unsafe) {
        return identifier(name);
    }
    let mut text = "U&\"".to_owned();
    for c in name.chars() {
        match (c, u32::from(c)) {
            ('"', _) => text.push_str("\"\""),
            ('\\', _) => text.push_str("\\\\"),
            (c, code @ ..=0xffff) if is_unsafe(c) => text.push_str(&format!("\\{code:04x}")),
            (c, code) if is_unsafe(c) => text.push_str(&format!("\\+{code:06x}")),
            (c, _) => text.push(c),
        }
    }
    text.push('"');
    text
}

/// [`readable`] of a name in a schema.
#[must_use]
pub fn readable_in(schema: &str, name: &str) -> String {
    format!("{}.{}", readable(schema), readable(name))
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
    fn a_name_that_is_printed_moves_nothing_and_is_the_same_name() {
        assert_eq!(readable(r#"a"b\c"#), r#""a""b\c""#);
        assert_eq!(readable("a\"\\\nDROP\u{1b}\u{202e}ä"), r#"U&"a""\\\000aDROP\001b\202eä""#);
        assert_eq!(readable_in("s", "\r"), r#""s".U&"\000d""#);
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
