//! What plans of restores warn of, whatever their kind.

/// What a plan warns of: what a person should know, and nothing that keeps it from being carried out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct PlanWarning {
    /// The source.
    pub source: String,
    /// What there is to know.
    pub warning: String,
}

impl PlanWarning {
    /// Those of one plan.
    pub fn of<'w>(source: &'w str, warnings: &'w [String]) -> impl Iterator<Item = Self> + 'w {
        warnings.iter().map(move |warning| Self { source: source.to_owned(), warning: warning.clone() })
    }
}
