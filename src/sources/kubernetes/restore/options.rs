//! What is asked of a plan.

use std::sync::Arc;

use super::{
    choice::Choice,
    plan::{OnConflict, ServiceName},
    recipe::Recipe,
    together::Brought,
};
use crate::types::Name;

/// What is asked of a plan.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The backup's identifier, for the plan's head.
    pub backup: String,
    /// The source in the backup whose objects are restored.
    pub source: Name,
    /// Which of its objects; where namespaces are mapped, as [`Mapping::narrow`](super::Mapping::narrow) gives it.
    pub choice: Choice,
    /// What is made of them because somebody asked for it.
    pub recipe: Arc<Recipe>,
    /// What is done about conflicts.
    pub on_conflict: OnConflict,
    /// Services that lead to databases which are restored too: their workloads come first.
    pub databases: Vec<ServiceName>,
    /// Volumes of the backup are taken over by their claims; else each claim gets a new volume.
    pub adopt_volumes: bool,
    /// Namespaces that others need: they are restored and waited for first, besides those that the plan finds.
    pub platform: Vec<String>,
    /// Keep a digest of each object and of its live form: a saved plan is held against them.
    pub remember: bool,
    /// What other sources bring that are restored with it.
    pub brought: Brought,
}

impl PlanOptions {
    /// All of a source, as it is in the backup.
    #[must_use]
    pub fn of(backup: String, source: Name, on_conflict: OnConflict) -> Self {
        let (choice, recipe, databases, platform) = (Choice::all(), Arc::default(), Vec::new(), Vec::new());
        let (adopt_volumes, remember) = (false, false);
        let brought = Brought::default();
        Self { backup, source, choice, recipe, on_conflict, databases, adopt_volumes, platform, remember, brought }
    }
}
