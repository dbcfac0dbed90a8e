//! What a plan saw of an object, kept small: enough to know later that it is another one.

use std::fmt;

use serde_json::Value;

use crate::types::Blake3Digest;

/// Half of a BLAKE3 digest; all zero: there was nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark([u8; 16]);

/// What was seen of one object of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// Of the object as it would be written.
    pub(super) wanted: Mark,
    /// Of the live one, if there was one.
    pub(super) live: Mark,
}

impl Mark {
    /// Of an object, whoever set which field of it.
    pub(super) fn of(object: &Value) -> Self {
        let digest = Blake3Digest::of(object.to_string().as_bytes());
        let mut mark = [0; 16];
        mark.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
        Self(mark)
    }

    /// Of a live object, without what changes by itself: its status, and the books that the server keeps.
    pub(super) fn of_live(live: &Value) -> Self {
        let mut live = live.clone();
        if let Some(root) = live.as_object_mut() {
            root.remove("status");
        }
        if let Some(metadata) = live.get_mut("metadata").and_then(Value::as_object_mut) {
            for books in ["generation", "managedFields", "resourceVersion"] {
                metadata.remove(books);
            }
        }
        Self::of(&live)
    }

    /// There was nothing.
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_live_object_is_another_one_when_it_was_changed_and_not_when_it_works() {
        let live = |version: &str, image: &str, ready: u64| {
            json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": version, "generation": 1,
                "managedFields": [{"manager": version}]}, "spec": {"image": image}, "status": {"ready": ready}})
        };
        let before = Mark::of_live(&live("1", "a:1", 0));
        assert_eq!(before, Mark::of_live(&live("2", "a:1", 3)));
        assert_ne!(before, Mark::of_live(&live("1", "a:2", 0)));
        let mut made_again = live("1", "a:1", 0);
        made_again["metadata"]["uid"] = json!("v");
        assert_ne!(before, Mark::of_live(&made_again));
        assert!(!before.is_none() && Mark::default().is_none());
        assert_eq!(before.to_string().len(), 32);
    }
}
