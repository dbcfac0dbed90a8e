//! What a run could not do, and what that makes of it.

use serde::{Deserialize, Serialize};

/// One thing that a backup should hold and does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The source that it belongs to, by its name in the policy.
    pub source: String,
    /// What is missing: `namespace payments`, `kind secrets`, `group metrics.k8s.io`.
    pub what: String,
    /// Why, in the words of the server where it said something.
    pub why: String,
}

/// What became of a backup, as its manifest says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All that the policy names was captured.
    Complete,
    /// Something is missing, and named. Restorable by id; never `latest`.
    Partial,
    /// A source is much smaller than in the last good backup, or empty. Never `latest` until accepted.
    Suspect,
    /// Fenced before it could commit: there is nothing to restore.
    Aborted,
}

impl State {
    /// The word of the manifest, of `list` and of the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Suspect => "suspect",
            Self::Aborted => "aborted",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
