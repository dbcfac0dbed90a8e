//! Several sources of one backup, restored at once: what one needs may come with another.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::{
    RestoreContext, RestoreError,
    choice::NAMESPACES,
    chosen::DEFINITIONS,
    conflicts::is_going,
    lines::{Line, Lines},
    plan::Plan,
    target::{Promised, kinds_of},
};
use crate::types::Name;

/// What the sources of a backup bring that are restored together.
#[derive(Debug, Clone, Default)]
pub struct Brought {
    pub(super) namespaces: HashSet<String>,
    pub(super) kinds: Promised,
}

impl Brought {
    /// Reads the namespaces and the definitions that these sources hold. Of a part of a backup (not `whole`) not every
    /// one of them is restored, and of one source the plan itself knows them: then nothing is read.
    ///
    /// # Errors
    /// [`RestoreError`] if the backup cannot be read.
    pub async fn read(context: RestoreContext<'_>, sources: &[Name], whole: bool) -> Result<Self, RestoreError> {
        let mut brought = Self::default();
        if !whole || sources.len() < 2 {
            return Ok(brought);
        }
        for stream in context.contents.streams().iter().filter(|stream| sources.contains(&stream.source)) {
            if stream.name != NAMESPACES && stream.name != DEFINITIONS {
                continue;
            }
            for part in 0..stream.parts.len() {
                let mut lines = Lines::open(context.contents, stream, part).await?;
                while let Some(line) = lines.next().await? {
                    // What cannot be read is named when its turn comes.
                    if let Line::Object(object) = lines.parse(&line)? {
                        brought.see(&stream.name, &object);
                    }
                }
            }
        }
        Ok(brought)
    }

    fn see(&mut self, stream: &str, object: &Value) {
        if is_going(object) {
            return;
        }
        if stream == DEFINITIONS {
            let (name, kinds) = kinds_of(object);
            self.kinds.insert(name, kinds);
        } else if let Some(name) = object.pointer("/metadata/name").and_then(Value::as_str) {
            self.namespaces.insert(name.to_owned());
        }
    }
}

/// Marks in each of the plans what any of them needs first: a webhook of one source may be answered by another.
pub fn share_platform(plans: &mut [Plan]) {
    let all: BTreeSet<String> = plans.iter().flat_map(|plan| plan.needed_first.iter().cloned()).collect();
    for part in plans.iter_mut().flat_map(|plan| &mut plan.kinds).flat_map(|kind| &mut kind.parts) {
        part.platform = all.contains(&part.namespace);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_sources_bring_is_known_before_either_is_planned() {
        let mut brought = Brought::default();
        brought.see(NAMESPACES, &json!({"metadata": {"name": "a"}}));
        brought.see(NAMESPACES, &json!({"metadata": {"name": "b", "deletionTimestamp": "2026-11-21T10:00:00Z"}}));
        brought.see(
            DEFINITIONS,
            &json!({"spec": {"group": "two.io", "names": {"plural": "gadgets", "kind": "Gadget"}, "scope": "Namespaced",
                "versions": [{"name": "v1", "served": true}, {"name": "v0", "served": false}]}}),
        );
        assert_eq!(brought.namespaces, HashSet::from(["a".to_owned()]));
        let kinds = &brought.kinds[&("two.io".to_owned(), "gadgets".to_owned())];
        assert_eq!(kinds.iter().map(|kind| kind.version.as_str()).collect::<Vec<_>>(), ["v1"]);
    }
}
