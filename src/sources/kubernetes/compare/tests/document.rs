//! The tables of `docs/comparison.md` are those of the code.

use super::super::{
    SERVER_SET, additions,
    lists::{self, ListRule},
};
use crate::sources::kubernetes::testing::document_shows;

fn additions_table() -> String {
    let mut text = String::from(
        "\n### Additions that are differences\n\n| kind | field | when only the live object has it |\n|---|---|---|\n",
    );
    for (kind, place, counts) in additions::all() {
        let when = match counts {
            additions::Counts::InTemplates => "any item, except in Pods themselves, to which admission adds".to_owned(),
            additions::Counts::Any => "any item".to_owned(),
            additions::Counts::Present => "it is there, even empty".to_owned(),
            additions::Counts::True => "`true`".to_owned(),
            additions::Counts::Not(default) => format!("not `{default}`"),
        };
        text += &format!("| {kind} | `{place}` | {when} |\n");
    }
    text
}

/// The tables as `docs/comparison.md` must show them.
fn tables() -> String {
    let mut text = String::from("### Not compared\n\n| kind | field | why |\n|---|---|---|\n");
    for entry in SERVER_SET {
        text += &format!(
            "| {} | `{}` | {} |\n",
            if entry.kind.0 == "*" { "every" } else { entry.kind.1 },
            entry.path,
            entry.why
        );
    }
    text += "\n### Lists that are not compared by position\n\n| kind | list | how |\n|---|---|---|\n";
    for (kind, place, rule) in lists::all() {
        let how = match rule {
            ListRule::Position => continue,
            ListRule::Keys(keys) => format!("by `{}`", keys.join("`, `")),
            ListRule::OrderedKeys(keys) => format!("by `{}`, in order", keys.join("`, `")),
            ListRule::Set => "as a set".to_owned(),
        };
        text += &format!("| {kind} | `{place}` | {how} |\n");
    }
    text + &additions_table()
}

#[test]
fn the_document_shows_these_tables() {
    document_shows("docs/comparison.md", &tables());
}
