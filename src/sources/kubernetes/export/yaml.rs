//! JSON values as YAML that every reader of Kubernetes takes for the same values.
//!
//! kubectl and the API server read YAML 1.1, other tools 1.2: what one of them could take for something else than a
//! text (`yes`, `0x1f`, `1e3`, `2026-11-20`) is quoted. Only texts that begin with a letter and consist of letters,
//! digits, `.`, `_`, `/` and `-` stand bare.

use serde_json::{Map, Value};

/// A longer key is written with `?`: readers look for the colon after a key only so far.
const MAX_SIMPLE_KEY: usize = 500;
/// Words that YAML 1.1 takes for something else than a text.
const WORDS: &[&str] = &["y", "n", "yes", "no", "true", "false", "on", "off", "null", "nan", "inf", "infinity"];

/// `value` as the lines of one YAML document, without `---`.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => write_map(&mut out, map, 0, false),
        Value::Array(items) if !items.is_empty() => write_list(&mut out, items, 0, false),
        scalar => {
            write_scalar(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    out
}

/// Each entry on lines of its own; with `begun` the first one's indent is there already.
fn write_map(out: &mut String, map: &Map<String, Value>, indent: usize, begun: bool) {
    for (place, (key, value)) in map.iter().enumerate() {
        if place > 0 || !begun {
            pad(out, indent);
        }
        if key.len() > MAX_SIMPLE_KEY {
            out.push_str("? ");
            quoted(out, key);
            out.push('\n');
            pad(out, indent);
        } else if is_bare(key) {
            out.push_str(key);
        } else {
            quoted(out, key);
        }
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                write_map(out, map, indent + 2, false);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                write_list(out, items, indent + 2, false);
            }
            scalar => {
                out.push(' ');
                write_scalar(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn write_list(out: &mut String, items: &[Value], indent: usize, begun: bool) {
    for (place, item) in items.iter().enumerate() {
        if place > 0 || !begun {
            pad(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => write_map(out, map, indent + 2, true),
            Value::Array(items) if !items.is_empty() => write_list(out, items, indent + 2, true),
            scalar => {
                write_scalar(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// A value on one line; of a text with several lines, a block whose lines are indented.
fn write_scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) if is_bare(text) => out.push_str(text),
        Value::String(text) if is_block(text) => write_block(out, text, indent),
        Value::String(text) => quoted(out, text),
        other => out.push_str(&other.to_string()),
    }
}

/// As `|` or `|-`; the last line end is the caller's.
fn write_block(out: &mut String, text: &str, indent: usize) {
    let (text, mark) = text.strip_suffix('\n').map_or((text, "|-"), |text| (text, "|"));
    out.push_str(mark);
    for line in text.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
}

/// A text with lines that a block keeps exactly: it begins and ends with something that is to be seen, but for one
/// line end.
fn is_block(text: &str) -> bool {
    let inner = text.strip_suffix('\n').unwrap_or(text);
    let seen = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    text.contains('\n')
        && seen(inner.chars().next())
        && seen(inner.chars().next_back())
        && inner.chars().all(|c| matches!(c, '\n' | '\t') || !must_be_escaped(c))
        // A line of blanks alone would be taken for an empty one by some readers.
        && inner.split('\n').all(|line| line.is_empty() || !line.trim_matches([' ', '\t']).is_empty())
}

fn is_bare(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-');
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Characters that YAML does not take as they are, that a reader may change, or that turn a line around on a terminal.
fn must_be_escaped(c: char) -> bool {
    c.is_control() || turns_around(c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn turns_around(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The object as JSON over several lines, in which no text turns a line of a terminal around.
#[must_use]
pub fn to_json(object: &Value) -> String {
    let mut text = String::new();
    // Such a character stands inside a string only.
    for c in format!("{object:#}").chars() {
        if turns_around(c) || ('\u{7f}'..='\u{9f}').contains(&c) {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text.push('\n');
    text
}

/// In double quotes, as JSON, which is YAML but for a few characters that are escaped as well.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if must_be_escaped(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_text_of_an_object_turns_a_line_around() {
        let hostile = json!({"data": {"a": "x\u{202e}y\u{2066}", "b": "plain", "c\u{200f}": "\u{9b}"}});
        for text in [to_yaml(&hostile), to_json(&hostile)] {
            assert!(!text.contains(turns_around) && text.contains("\\u202e") && text.contains("plain"), "{text}");
        }
        let read: serde_json::Value = serde_json::from_str(&to_json(&hostile)).unwrap();
        assert_eq!(read, hostile, "it means the same");
    }

    #[test]
    fn values_are_written_as_people_write_them() {
        let value = json!({
            "apiVersion": "v1",
            "data": {"a.conf": "one\n  two\n", "empty": "", "on": "yes", "no-end": "x\ny"},
            "list": [1, {"name": "web", "ports": [80]}, [["a"], []], {}],
            "none": null,
        });
        let expected = "\
apiVersion: v1
data:
  a.conf: |
    one
      two
  empty: \"\"
  no-end: |-
    x
    y
  \"on\": \"yes\"
list:
  - 1
  - name: web
    ports:
      - 80
  - - - a
    - []
  - {}
none: null
";
        assert_eq!(to_yaml(&value), expected);
    }

    #[test]
    fn a_text_that_a_reader_could_take_for_something_else_is_quoted() {
        for text in [
            "",
            "yes",
            "No",
            "ON",
            "true",
            "null",
            "~",
            "1",
            "1.5",
            "0x1f",
            "1e3",
            "1_000",
            "2026-11-20",
            "12:30",
            ".5",
            "-",
            "- a",
            "a: b",
            "a #b",
            "*a",
            "&a",
            "!a",
            "|",
            "%a",
            "@a",
            "`a",
            "{a}",
            "[a]",
            "'a'",
            "\"a\"",
            " a",
            "a ",
            "=",
            "<<",
            "a\u{85}b",
            "a\u{2028}b",
            "\u{feff}a",
            "\u{7f}",
            "a\rb",
            "\n",
            "a\n\n",
            " a\nb",
            "a \nb \n ",
            "a\n \nb",
        ] {
            let written = to_yaml(&json!({"k": text}));
            assert!(written.starts_with("k: \""), "{text:?}: {written}");
        }
        assert_eq!(to_yaml(&json!({"k": "docker.io/library/nginx"})), "k: docker.io/library/nginx\n");
    }

    #[test]
    fn a_long_key_is_written_so_that_its_end_is_found() {
        let key = "k".repeat(MAX_SIMPLE_KEY + 1);
        let written = to_yaml(&json!({ &key: {"a": [1]} }));
        assert_eq!(written, format!("? \"{key}\"\n:\n  a:\n    - 1\n"));
    }
}
