//! What unit tests of several parts need.

use super::kind::Kind;

/// A kind by its id (`deployments.apps`), with nothing but that: `v1`, namespaced, of the cluster itself, without
/// verbs, and named like its plural.
pub(super) fn kind(id: &str) -> Kind {
    let (plural, group) = id.split_once('.').unwrap_or((id, ""));
    Kind {
        group: group.to_owned(),
        version: "v1".to_owned(),
        plural: plural.to_owned(),
        name: plural.to_owned(),
        namespaced: true,
        aggregated: false,
        verbs: Vec::new(),
        subresources: Vec::new(),
    }
}

/// Whether a document (`docs/kinds.md`) shows these tables. With `UPDATE_DOCS` set they are written into it.
///
/// # Panics
/// If it shows others.
pub(super) fn document_shows(document: &str, tables: &str) {
    let path = format!("{}/{document}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("<!-- tables -->\n").unwrap();
    let (shown, after) = rest.split_once("<!-- end of tables -->").unwrap();
    let expected = format!("\n{tables}\n");
    if shown != expected && std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}<!-- tables -->\n{expected}<!-- end of tables -->{after}")).unwrap();
        return;
    }
    assert_eq!(shown, expected, "{document} is old: run this test with UPDATE_DOCS=1");
}
