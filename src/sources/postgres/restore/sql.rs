//! SQL as pg_dump writes it, in pieces: enough to find names in a definition and to change a role's.

/// A piece of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// White space, or a comment.
    Space(&'a str),
    /// A key word, a number, or a name without quotes.
    Word(&'a str),
    /// A name in quotes, with them.
    Quoted(&'a str),
    /// A literal: `'…'`, `E'…'`, `$tag$…$tag$`.
    Literal(&'a str),
    /// Any other character.
    Mark(&'a str),
}

impl<'a> Piece<'a> {
    /// Its text.
    pub(super) fn text(self) -> &'a str {
        match self {
            Self::Space(text) | Self::Word(text) | Self::Quoted(text) | Self::Literal(text) | Self::Mark(text) => text,
        }
    }

    /// Whether it is this key word.
    pub(super) fn is_word(self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word))
    }

    /// Whether it is this character.
    pub(super) fn is_mark(self, mark: &str) -> bool {
        matches!(self, Self::Mark(text) if text == mark)
    }
}

/// Cuts `sql` into pieces; together they are `sql` again. Nothing is refused: what is not closed ends with the text.
pub(super) fn pieces(sql: &str) -> Vec<Piece<'_>> {
    let mut rest = sql;
    let mut pieces = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (piece, length) = next_piece(rest, first);
        pieces.push(piece);
        rest = &rest[length..];
    }
    pieces
}

fn next_piece(rest: &str, first: char) -> (Piece<'_>, usize) {
    let while_true = |test: fn(char) -> bool| rest.find(|c: char| !test(c)).unwrap_or(rest.len());
    if first.is_whitespace() {
        let end = while_true(char::is_whitespace);
        return (Piece::Space(&rest[..end]), end);
    }
    if rest.starts_with("--") {
        let end = rest.find('\n').unwrap_or(rest.len());
        return (Piece::Space(&rest[..end]), end);
    }
    if first == '"' {
        let end = closing(rest, 1, '"', false);
        return (Piece::Quoted(&rest[..end]), end);
    }
    if first == '\'' {
        let end = closing(rest, 1, '\'', false);
        return (Piece::Literal(&rest[..end]), end);
    }
    if matches!(first, 'E' | 'e') && rest[1..].starts_with('\'') {
        let end = closing(rest, 2, '\'', true);
        return (Piece::Literal(&rest[..end]), end);
    }
    if first == '$'
        && let Some(end) = dollar_quoted(rest)
    {
        return (Piece::Literal(&rest[..end]), end);
    }
    if is_word(first) {
        let end = while_true(is_word);
        return (Piece::Word(&rest[..end]), end);
    }
    (Piece::Mark(&rest[..first.len_utf8()]), first.len_utf8())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

/// Where the text in quotes that begins at byte `from` ends; a doubled quote does not end it.
fn closing(text: &str, from: usize, quote: char, backslashes: bool) -> usize {
    let mut at = text[from..].char_indices().peekable();
    while let Some((place, c)) = at.next() {
        if backslashes && c == '\\' {
            at.next();
        } else if c == quote && at.next_if(|(_, next)| *next == quote).is_none() {
            return from + place + 1;
        }
    }
    text.len()
}

fn dollar_quoted(text: &str) -> Option<usize> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[..end];
    let name = &tag[1..end - 1];
    if !name.chars().all(|c| c.is_alphanumeric() || c == '_') || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some(text[end..].find(tag).map_or(text.len(), |place| end + place + end))
}

/// `sql`, which grants or revokes, with every role's name as `rename` says (`None`: as it is). Names
/// are given and taken without quotes.
pub(super) fn with_roles(sql: &str, rename: &dyn Fn(&str) -> Option<String>, quote: &dyn Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(sql.len());
    let (mut expects_role, mut over) = (false, false);
    let mut before = Piece::Space("");
    for piece in pieces(sql) {
        if over || matches!(piece, Piece::Space(_)) {
            text.push_str(piece.text());
            continue;
        }
        let is_name = matches!(piece, Piece::Quoted(_) | Piece::Word(_));
        if expects_role && is_name && !piece.is_word("PUBLIC") {
            let name = unquoted(piece.text());
            text.push_str(&rename(&name).map_or_else(|| piece.text().to_owned(), |new| quote(&new)));
            expects_role = false;
        } else {
            text.push_str(piece.text());
            expects_role = ["TO", "FROM", "AUTHORIZATION"].iter().any(|word| piece.is_word(word))
                || (piece.is_word("ROLE") && before.is_word("FOR"))
                || (piece.is_word("FOR") && before.is_word("MAPPING"))
                || (piece.is_word("BY") && before.is_word("GRANTED"))
                || (piece.is_mark(",") && !matches!(before, Piece::Mark(_)) && in_role_list(&text));
            // The expression of a policy names tables after FROM.
            over = piece.is_word("USING");
        }
        before = piece;
    }
    text
}

/// Whether the statement so far ends inside a list of roles: its last key word of these is TO or FROM.
fn in_role_list(text: &str) -> bool {
    let words = pieces(text).into_iter().rev().take_while(|piece| !piece.is_mark(";"));
    let mut last = words.filter(|piece| ["TO", "FROM", "ON", "GRANT", "REVOKE"].iter().any(|word| piece.is_word(word)));
    last.next().is_some_and(|piece| piece.is_word("TO") || piece.is_word("FROM"))
}

/// A name without its quotes.
pub(super) fn unquoted(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_comments_and_dollar_quotes_are_one_piece_each() {
        let sql = r#"a"b ""c" 'd''e' E'f\'g' $x$ h' $x$ -- i
5.2"#;
        let found: Vec<_> = pieces(sql).into_iter().filter(|piece| !matches!(piece, Piece::Space(_))).collect();
        assert_eq!(
            found,
            [
                Piece::Word("a"),
                Piece::Quoted(r#""b ""c""#),
                Piece::Literal("'d''e'"),
                Piece::Literal(r"E'f\'g'"),
                Piece::Literal("$x$ h' $x$"),
                Piece::Word("5"),
                Piece::Mark("."),
                Piece::Word("2"),
            ]
        );
    }

    #[test]
    fn roles_of_grants_are_renamed_and_nothing_else() {
        let rename = |name: &str| (name == "app").then(|| "new app".to_owned());
        let quote = |name: &str| format!("\"{name}\"");
        for (sql, wanted) in [
            ("GRANT SELECT ON TABLE public.app TO app;", "GRANT SELECT ON TABLE public.app TO \"new app\";"),
            ("REVOKE ALL ON SCHEMA app FROM \"app\";", "REVOKE ALL ON SCHEMA app FROM \"new app\";"),
            (
                "GRANT SELECT(app),UPDATE(app) ON TABLE t TO app;",
                "GRANT SELECT(app),UPDATE(app) ON TABLE t TO \"new app\";",
            ),
            (
                "ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC;",
                "ALTER DEFAULT PRIVILEGES FOR ROLE \"new app\" IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC;",
            ),
            (
                "SET SESSION AUTHORIZATION app;\nGRANT ALL ON TABLE t TO other WITH GRANT OPTION;\nRESET SESSION AUTHORIZATION;",
                "SET SESSION AUTHORIZATION \"new app\";\nGRANT ALL ON TABLE t TO other WITH GRANT OPTION;\nRESET SESSION AUTHORIZATION;",
            ),
            (
                "CREATE USER MAPPING FOR app SERVER app OPTIONS (",
                "CREATE USER MAPPING FOR \"new app\" SERVER app OPTIONS (",
            ),
            (
                "CREATE POLICY p ON t TO other, app USING ((EXISTS ( SELECT 1 FROM app)));",
                "CREATE POLICY p ON t TO other, \"new app\" USING ((EXISTS ( SELECT 1 FROM app)));",
            ),
        ] {
            assert_eq!(with_roles(sql, &rename, &quote), wanted);
        }
    }

    proptest! {
        #[test]
        fn pieces_put_together_are_the_text(text in ".{0,200}") {
            let back: String = pieces(&text).into_iter().map(Piece::text).collect();
            prop_assert_eq!(back, text);
        }

        #[test]
        fn quotes_never_break_the_pieces(text in "[a'\"$E\\\\ -]{0,60}") {
            let back: String = pieces(&text).into_iter().map(Piece::text).collect();
            prop_assert_eq!(back, text);
        }
    }
}
