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

/// `sql`, which grants, revokes, or makes a policy or a user mapping, with every role's name as `rename` says (`None`: as
/// it is). Names are given and taken without quotes. What stands in parentheses names no role: the expressions of a policy
/// read tables `FROM` schemas.
pub(super) fn with_roles(sql: &str, rename: &dyn Fn(&str) -> Option<String>, quote: &dyn Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(sql.len());
    let (mut place, mut depth, mut before) = (Place::Elsewhere, 0_u32, Piece::Space(""));
    for piece in pieces(sql) {
        if matches!(piece, Piece::Space(_)) {
            text.push_str(piece.text());
            continue;
        }
        let inside = depth > 0;
        if piece.is_mark("(") {
            depth += 1;
        } else if piece.is_mark(")") {
            depth = depth.saturating_sub(1);
        }
        let is_name = matches!(piece, Piece::Quoted(_) | Piece::Word(_));
        if place == Place::Role && is_name && !inside {
            let new = if piece.is_word("PUBLIC") { None } else { rename(&unquoted(piece.text())) };
            text.push_str(&new.map_or_else(|| piece.text().to_owned(), |new| quote(&new)));
            place = Place::AfterRole;
        } else {
            text.push_str(piece.text());
            place = if inside { place } else { place.after(before, piece) };
        }
        before = piece;
    }
    text
}

/// Where in a statement that names roles a piece of it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A role comes next.
    Role,
    /// A role was the last: a comma is followed by another one.
    AfterRole,
    Elsewhere,
    /// Only expressions follow in this statement.
    Expressions,
}

impl Place {
    /// The place after `piece`, which is in no parentheses and no role. pg_dump writes key words in capitals, and every
    /// name with capitals in quotes.
    fn after(self, before: Piece<'_>, piece: Piece<'_>) -> Self {
        let is = |piece: Piece<'_>, word: &str| matches!(piece, Piece::Word(text) if text == word);
        let names_role = ["TO", "FROM", "AUTHORIZATION"].iter().any(|word| is(piece, word))
            || (is(piece, "ROLE") && is(before, "FOR"))
            || (is(piece, "FOR") && is(before, "MAPPING"))
            || (is(piece, "BY") && is(before, "GRANTED"));
        match self {
            _ if piece.is_mark(";") => Self::Elsewhere,
            Self::Expressions => self,
            _ if is(piece, "USING") || (is(piece, "CHECK") && is(before, "WITH")) => Self::Expressions,
            Self::AfterRole if piece.is_mark(",") => Self::Role,
            _ if names_role => Self::Role,
            _ => Self::Elsewhere,
        }
    }
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
            (
                "GRANT ALL ON FUNCTION app.f(a integer, app text) TO PUBLIC, app WITH GRANT OPTION GRANTED BY app;",
                "GRANT ALL ON FUNCTION app.f(a integer, app text) TO PUBLIC, \"new app\" WITH GRANT OPTION GRANTED BY \"new app\";",
            ),
        ] {
            assert_eq!(with_roles(sql, &rename, &quote), wanted);
        }
    }

    #[test]
    fn what_the_expressions_of_a_policy_read_is_no_role() {
        let rename = |name: &str| (name == "app").then(|| "new".to_owned());
        let quote = |name: &str| format!("\"{name}\"");
        let within = "((EXISTS ( SELECT 1 FROM app.members m, app WHERE (m.who = app.who(VARIADIC '{a}'::text[])))))";
        for (sql, wanted) in [
            (
                format!("CREATE POLICY app ON app.app FOR INSERT WITH CHECK {within};\n"),
                format!("CREATE POLICY app ON app.app FOR INSERT WITH CHECK {within};\n"),
            ),
            (
                format!("CREATE POLICY p ON app.t AS RESTRICTIVE TO x, app USING {within} WITH CHECK {within};"),
                format!("CREATE POLICY p ON app.t AS RESTRICTIVE TO x, \"new\" USING {within} WITH CHECK {within};"),
            ),
            (
                "CREATE POLICY p ON app.mapping FOR SELECT TO app USING ((app > 0));".to_owned(),
                "CREATE POLICY p ON app.mapping FOR SELECT TO \"new\" USING ((app > 0));".to_owned(),
            ),
            // One that is not closed reaches no other statement's names either.
            ("CREATE POLICY p ON t USING (( TO app;".to_owned(), "CREATE POLICY p ON t USING (( TO app;".to_owned()),
        ] {
            assert_eq!(with_roles(&sql, &rename, &quote), wanted);
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
