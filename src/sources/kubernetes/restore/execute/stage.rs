//! Which objects of a plan have their turn together.

use std::time::Duration;

use crate::sources::kubernetes::restore::{plan::PlannedPart, tiers::Tier};

/// A part of a plan that is executed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// All of it.
    All,
    /// What comes before the workloads, and of the workloads those that are databases.
    Databases,
    /// The other workloads, and what comes after them.
    Rest,
}

impl Stage {
    pub(super) fn takes(self, tier: Tier, first: bool) -> bool {
        let early = tier < Tier::Workloads || (tier == Tier::Workloads && first);
        match self {
            Self::All => true,
            Self::Databases => early,
            Self::Rest => !early,
        }
    }
}

/// How long a tier waits for workloads, where `left` of all patience is left. They may need what comes after them, a
/// Secret that an operator makes of a custom resource: so the first wait takes only half of it.
pub(super) fn patience(tier: Tier, settled: bool, left: Duration) -> Duration {
    match tier {
        Tier::Admission => left,
        _ if tier > Tier::Workloads && !settled => left / 2,
        _ => Duration::ZERO,
    }
}

/// What others need comes before them, whatever its tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wave {
    /// All of it at once: nothing of the plan is platform.
    All,
    /// The platform's namespaces, and what of the cluster they need: definitions, namespaces, classes, roles.
    Platform,
    /// What the platform wave left.
    Rest,
}

impl Wave {
    pub(super) fn takes(self, tier: Tier, part: &PlannedPart) -> bool {
        let early = part.platform || (part.namespace.is_empty() && tier <= Tier::Bindings);
        match self {
            Self::All => true,
            Self::Platform => early,
            Self::Rest => !early,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_belongs_to_one_of_the_two_stages() {
        for (tier, first) in [Tier::Definitions, Tier::Claims, Tier::Workloads, Tier::Routing]
            .into_iter()
            .flat_map(|tier| [(tier, true), (tier, false)])
        {
            assert!(Stage::All.takes(tier, first));
            assert_ne!(Stage::Databases.takes(tier, first), Stage::Rest.takes(tier, first), "{tier}");
        }
        assert!(Stage::Databases.takes(Tier::Workloads, true) && Stage::Rest.takes(Tier::Workloads, false));
    }

    #[test]
    fn each_part_belongs_to_one_of_the_two_waves() {
        let part = |namespace: &str, platform: bool| PlannedPart {
            part: 0,
            namespace: namespace.to_owned(),
            platform,
            entries: Vec::new(),
            seen: Vec::new(),
        };
        for (tier, part, first) in [
            (Tier::Definitions, part("", false), true),
            (Tier::Bindings, part("", false), true),
            (Tier::CustomResources, part("", false), false),
            (Tier::Admission, part("", false), false),
            (Tier::Workloads, part("webhooks", true), true),
            (Tier::Quotas, part("webhooks", true), true),
            (Tier::Accounts, part("shop", false), false),
        ] {
            assert_eq!((Wave::Platform.takes(tier, &part), Wave::Rest.takes(tier, &part)), (first, !first), "{tier}");
            assert!(Wave::All.takes(tier, &part));
        }
    }
}
