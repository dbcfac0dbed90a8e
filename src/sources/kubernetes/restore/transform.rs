//! Placeholder.

/// One field that a rule changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The field as the rule names it: `spec.ports[].nodePort`.
    pub(super) rule_path: &'static str,
    /// Why.
    pub(super) reason: &'static str,
    /// What became of it: `removed "10.0.0.1"`.
    pub(super) what: String,
}
