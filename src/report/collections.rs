//! Tables and collections of databases in documents and texts.

use schemars::JsonSchema;
use serde::Serialize;

use super::{TableItem, table::Table, words};

/// A collection of a source.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CollectionItem {
    /// Its name.
    pub name: String,
    /// Its documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The sum modulo 2^256 of the BLAKE3 digests of its documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What is counted in a source of a kind.
pub(super) fn one_of(kind: &str) -> &'static str {
    match kind {
        "postgres" => "row",
        "mongodb" => "document",
        _ => "object",
    }
}

pub(super) fn collections_text(collections: &[CollectionItem]) -> String {
    let mut table = Table::new(&["COLLECTION", ">DOCUMENTS", ">SIZE", "DIGEST"]);
    for item in collections {
        let digest = item.digest.as_deref().unwrap_or("-").chars().take(16).collect();
        table.row([item.name.clone(), item.documents.to_string(), words::size(item.bytes), digest]);
    }
    format!("\n{}", table.text())
}

pub(super) fn tables_text(tables: &[TableItem]) -> String {
    let mut table = Table::new(&["TABLE", ">ROWS", ">SIZE", "DIGEST"]);
    for item in tables {
        let digest = item.digest.as_deref().unwrap_or("-").chars().take(16).collect();
        table.row([item.name.clone(), item.rows.to_string(), words::size(item.bytes), digest]);
    }
    format!("\n{}", table.text())
}
