//! To whom restored objects belong, and the roles that an archive names.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::{
    super::{
        archive::{Entry, Field, Toc},
        contents,
        quote::identifier,
    },
    RestoreError, sql,
};

/// To whom restored objects belong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Ownership {
    /// To the roles of the backup, with its grants.
    #[default]
    Keep,
    /// As `Keep`, with some roles in the place of others.
    Map(BTreeMap<String, String>),
    /// To whom the restore connects as, without any grants.
    None,
}

impl Ownership {
    /// The role in the place of `role`, if it is another.
    #[must_use]
    pub fn name(&self, role: &str) -> Option<&str> {
        match self {
            Self::Map(roles) => roles.get(role).map(String::as_str),
            Self::Keep | Self::None => None,
        }
    }

    /// Objects belong to whom the backup says.
    #[must_use]
    pub fn keeps_owners(&self) -> bool {
        *self != Self::None
    }

    /// Grants come back.
    #[must_use]
    pub fn keeps_grants(&self) -> bool {
        *self != Self::None
    }

    /// Such an entry is called by its role: `USER MAPPING app SERVER far`.
    fn tag_of_user_mapping(&self, entry: &Entry<'_>) -> Option<String> {
        let tag = entry.tag();
        let (role, server) = tag.strip_prefix("USER MAPPING ")?.rsplit_once(" SERVER ")?;
        let new = self.name(role).filter(|_| entry.description() == "USER MAPPING")?;
        Some(format!("USER MAPPING {new} SERVER {server}"))
    }

    /// The table of contents with its roles renamed: owners, and the names in grants and policies.
    ///
    /// # Errors
    /// [`RestoreError::Backup`] if what comes out is no table of contents.
    pub(super) fn applied(&self, toc: Toc) -> Result<Toc, RestoreError> {
        if !matches!(self, Self::Map(_)) {
            return Ok(toc);
        }
        let rename = |role: &str| self.name(role).map(str::to_owned);
        let mut changes: Vec<(std::ops::Range<usize>, String)> = Vec::new();
        for entry in toc.entries() {
            if let (Some(place), Some(new)) = (entry.place_of(Field::Owner), self.name(&entry.owner())) {
                changes.push((place, new.to_owned()));
            }
            if let (Some(place), Some(tag)) = (entry.place_of(Field::Tag), self.tag_of_user_mapping(&entry)) {
                changes.push((place, tag));
            }
            if names_roles(&entry.description())
                && let Some(place) = entry.place_of(Field::Definition)
            {
                let old = entry.text(Field::Definition);
                let new = sql::with_roles(&old, &rename, &identifier);
                if new != old {
                    changes.push((place, new));
                }
            }
        }
        let is_unicode = toc.encoding().is_none_or(|encoding| encoding == "UTF8");
        if !is_unicode && changes.iter().any(|(_, text)| !text.is_ascii()) {
            let what = "roles cannot be mapped in a database that has another encoding than UTF8, where grants or roles are not ASCII";
            return Err(RestoreError::Usage(what.to_owned()));
        }
        let bytes = spliced(toc.bytes(), changes);
        Toc::parse(bytes).map_err(|error| contents::Error::Toc(error).into())
    }
}

fn names_roles(description: &str) -> bool {
    matches!(description, "ACL" | "DEFAULT ACL" | "POLICY" | "USER MAPPING")
}

/// Texts of an archive replaced: before each stands its length, a sign and four bytes.
fn spliced(bytes: &Bytes, mut changes: Vec<(std::ops::Range<usize>, String)>) -> Bytes {
    const LENGTH: usize = 5;
    changes.sort_by_key(|(place, _)| place.start);
    let mut out = BytesMut::with_capacity(bytes.len());
    let mut at = 0;
    for (place, text) in changes {
        out.put_slice(bytes.get(at..place.start.saturating_sub(LENGTH)).unwrap_or_default());
        out.put_u8(0);
        out.put_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX));
        out.put_slice(text.as_bytes());
        at = place.end;
    }
    out.put_slice(bytes.get(at..).unwrap_or_default());
    out.freeze()
}

/// The roles that restoring an archive needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needed {
    /// Roles that own something.
    pub(super) owners: BTreeSet<String>,
    /// Roles that grants and policies name.
    pub(super) named: BTreeSet<String>,
}

/// The roles that the entries `ids` of an archive need, after [`Ownership::applied`].
pub(super) fn needed(toc: &Toc, ids: &[u32]) -> Needed {
    let mut needed = Needed::default();
    for entry in ids.iter().filter_map(|id| toc.entry(*id)) {
        let description = entry.description();
        let owner = entry.owner();
        // Of these pg_restore sets no owner.
        let unowned = matches!(description.as_ref(), "COMMENT" | "SECURITY LABEL" | "EXTENSION" | "ROW SECURITY");
        if !owner.is_empty() && !unowned {
            needed.owners.insert(owner.into_owned());
        }
        if names_roles(&description) {
            let collected = std::cell::RefCell::new(BTreeSet::new());
            let collect = |role: &str| {
                collected.borrow_mut().insert(role.to_owned());
                None
            };
            sql::with_roles(&entry.text(Field::Definition), &collect, &identifier);
            needed.named.extend(collected.into_inner());
        }
    }
    // Every server has these.
    needed.named.retain(|role| !["PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE"].contains(&role.as_str()));
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_an_archive_are_replaced_with_their_lengths() {
        let text = |text: &str| [&[0][..], &u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat();
        let bytes = Bytes::from([text("app"), text("x"), text("app")].concat());
        let changes = vec![(14 + 5..14 + 8, "b".to_owned()), (5..8, "owner".to_owned())];
        assert_eq!(spliced(&bytes, changes), [text("owner"), text("x"), text("b")].concat());
    }
}
