//! Text that comes from servers, archives and policy files, made safe to show; and numbers of things.

use std::borrow::Cow;

/// `text` with every control character (C0, C1, and the bidirectional overrides) replaced by its
/// `\u{..}` form, so that a hostile name can neither move the cursor nor reverse a line.
#[must_use]
pub fn for_terminal(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// [`for_terminal`] of a text that has lines and tabs of its own: the last guard of all that is printed for people,
/// whatever names have come into it.
#[must_use]
pub fn lines_for_terminal(text: &str) -> Cow<'_, str> {
    let is_odd = |c: char| is_unsafe(c) && !matches!(c, '\n' | '\t');
    if !text.chars().any(is_odd) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_odd(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// An option of the command line with its value, as a person can paste it into a shell: `--drop 'old orders'`.
#[must_use]
pub fn shell_option(option: &str, value: &str) -> String {
    let between = if value.starts_with('-') { '=' } else { ' ' };
    format!("{option}{between}{}", shell_word(value))
}

/// A word as a shell takes it. One with characters that cannot be shown is written in octal bytes (`$'a\012b'`), as bash, zsh and
/// POSIX of 2024 read it: as [`for_terminal`] shows it, it would be another word.
#[must_use]
pub fn shell_word(word: &str) -> String {
    if word.chars().any(is_unsafe) {
        return in_octal(word);
    }
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@+,=".contains(letter);
    let plain = !word.is_empty() && !word.starts_with('=') && word.chars().all(is_plain);
    if plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn in_octal(word: &str) -> String {
    let mut told = String::from("$'");
    for c in word.chars() {
        match c {
            c if is_unsafe(c) => {
                let bytes = c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\{byte:03o}")).collect::<String>();
                told.push_str(&bytes);
            }
            '\'' | '\\' => told.extend(['\\', c]),
            c => told.push(c),
        }
    }
    told.push('\'');
    told
}

/// `1 table`, `2 tables`.
#[must_use]
pub fn counted(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// Whether a character moves a cursor, ends a line or turns one around.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_can_be_pasted_into_a_shell_whatever_its_value_is() {
        for (value, told) in [
            ("orders", "--drop orders"),
            ("old orders", "--drop 'old orders'"),
            ("it's", r"--drop 'it'\''s'"),
            ("$HOME", "--drop '$HOME'"),
            ("-x", "--drop=-x"),
            ("=x", "--drop '=x'"),
            ("", "--drop ''"),
            ("a\nb's\\", r"--drop $'a\012b\'s\\'"),
            ("a\u{202e}1", r"--drop $'a\342\200\2561'"),
        ] {
            assert_eq!(shell_option("--drop", value), told);
        }
    }

    #[test]
    fn plain_text_is_borrowed_unchanged() {
        assert!(matches!(for_terminal("straße / 命名"), Cow::Borrowed("straße / 命名")));
    }

    #[test]
    fn lines_stay_lines_and_nothing_else_stays() {
        assert!(matches!(lines_for_terminal("a\tb\nc\n"), Cow::Borrowed("a\tb\nc\n")));
        assert_eq!(lines_for_terminal("a\u{1b}]0;x\u{7}\n\u{202e}b\r"), "a\\u{1b}]0;x\\u{7}\n\\u{202e}b\\u{d}");
    }

    #[test]
    fn escapes_and_overrides_are_spelled_out() {
        assert_eq!(for_terminal("a\u{1b}[31m\n\u{202e}b\u{9b}"), r"a\u{1b}[31m\u{a}\u{202e}b\u{9b}");
    }
}
