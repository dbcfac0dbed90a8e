//! A live database that takes no connections, for a plan.

use super::{
    super::quote::readable,
    databases::Database,
    left,
    plan::{PlanOptions, Way},
    preflight::{Findings, Target},
};

/// Somebody has closed it, and the restored one takes its place.
pub(super) fn beside(findings: &mut Findings, options: &PlanOptions, live: &Database, target: &Target) {
    if live.open || target.traces.unended.is_some() {
        return;
    }
    let then = if options.no_switch {
        "the restored one beside it does, of whoever the backup's grants let in"
    } else {
        "so does the restored one that takes its place; until then it takes those of whoever the backup's grants let in"
    };
    let join = if options.no_switch { "but" } else { "and" };
    findings.warn(format!("database {} takes no connections (ALLOW_CONNECTIONS false), {join} {then}", live.name));
}

/// Nobody can restore into it, not even a superuser.
pub(super) fn within(findings: &mut Findings, options: &PlanOptions, live: &Database, target: &Target) {
    if live.open {
        return;
    }
    let name = &live.name;
    if let Some((other, marker)) = &target.traces.unended {
        let (state, whose, next) = left::unended(marker);
        findings.refuse(format!(
            "database {name} {state}, because {whose} {} did not end its swap with {}: {next}",
            marker.restore, other.name
        ));
        return;
    }
    let other_way = if options.way == Way::Tables { "all of it" } else { "beside it (without --in-place)" };
    findings.refuse(format!(
        "database {name} takes no connections (ALLOW_CONNECTIONS false), and nothing can be restored into it: ALTER DATABASE {} \
         ALLOW_CONNECTIONS true, or restore {other_way}, which leaves it closed",
        readable(name)
    ));
}
