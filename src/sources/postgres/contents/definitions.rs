//! What a table of contents defines, by digest: enough to say whether two backups define the same.

use std::collections::BTreeMap;

use crate::{
    sources::postgres::{
        archive::{Field, Toc},
        quote,
    },
    types::{Blake3Hasher, RowDigest},
};

/// Of each thing that is defined (`TABLE public.orders`) the digest of its SQL and its owner. Rows, large objects and
/// the values of sequences are none.
#[must_use]
pub fn definitions(toc: &Toc) -> BTreeMap<String, RowDigest> {
    let mut found: BTreeMap<String, RowDigest> = BTreeMap::new();
    for entry in toc.entries() {
        let description = entry.description();
        if matches!(description.as_ref(), "TABLE DATA" | "BLOBS" | "SEQUENCE SET") {
            continue;
        }
        let (namespace, tag) = (entry.namespace(), entry.tag());
        let name = if namespace.is_empty() { tag.into_owned() } else { quote::shown(&namespace, &tag) };
        let mut hasher = Blake3Hasher::default();
        for field in [Field::Definition, Field::Copy, Field::Owner, Field::Tablespace, Field::AccessMethod] {
            let bytes = entry.bytes(field).unwrap_or_default();
            hasher.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(bytes);
        }
        // Grants of one object may be several entries of one name: their sum is the same in any order.
        let digest = RowDigest::from_bytes(*hasher.finish().as_bytes());
        found.entry(format!("{description} {name}")).or_default().add(&digest);
    }
    found
}
