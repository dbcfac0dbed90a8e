//! One plan or several, tier after tier over all of them.

use std::{collections::BTreeSet, sync::PoisonError, time::Duration};

use super::{
    Execution,
    stage::{Stage, Wave},
};
use crate::sources::kubernetes::restore::tiers::Tier;

impl Execution<'_> {
    /// Executes one stage. `settle` bounds the waits for workloads, those of earlier stages included.
    pub async fn stage(&mut self, stage: Stage, settle: Duration) {
        Self::together(&mut [(self, stage)], settle).await;
    }

    /// Executes a stage of each of several plans, tier after tier over all of them: what one needs may come with
    /// another. `settle` bounds the sum of their waits for workloads, those of earlier stages included.
    pub async fn together(all: &mut [(&mut Self, Stage)], settle: Duration) {
        let has_begun = |it: &Self| it.run.wave != Wave::All;
        if all.iter().any(|(it, _)| !has_begun(it) && it.run.has_platform()) {
            for (it, _) in all.iter_mut().filter(|(it, _)| !has_begun(it)) {
                (it.run.stage, it.run.wave) = (Stage::All, Wave::Platform);
            }
            let is_platform = |it: &Self| it.run.wave == Wave::Platform;
            Self::tiers(all, settle, is_platform).await;
            for place in 0..all.len() {
                let left = left_for(all, place, settle);
                let Some((it, _)) = all.get_mut(place).filter(|(it, _)| is_platform(it)) else { continue };
                it.run.settle_within = left;
                it.run.settle_platform().await;
                (it.run.settled, it.run.wave) = (false, Wave::Rest);
                // What was in vain while the platform was not there may not be so any more.
                it.run.worker.exhausted.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
        }
        for (it, stage) in all.iter_mut() {
            it.run.stage = *stage;
        }
        Self::tiers(all, settle, |_| true).await;
    }

    async fn tiers(all: &mut [(&mut Self, Stage)], settle: Duration, takes: impl Fn(&Self) -> bool) {
        let tiers: BTreeSet<Tier> = all.iter().flat_map(|(it, _)| it.tiers.keys().copied()).collect();
        for tier in tiers {
            let some = all.iter().any(|(it, _)| takes(it) && it.run.staged(tier, it.kinds(tier)) > 0);
            for place in 0..all.len() {
                let left = left_for(all, place, settle);
                let Some((it, _)) = all.get_mut(place).filter(|(it, _)| takes(it)) else { continue };
                it.run.settle_within = left;
                if some {
                    it.run.settle(tier).await;
                }
            }
            for (it, _) in all.iter_mut().filter(|(it, _)| takes(it)) {
                let kinds = it.kinds(tier).to_vec();
                it.run.tier(tier, &kinds).await;
            }
        }
    }

    fn kinds(&self, tier: Tier) -> &[usize] {
        self.tiers.get(&tier).map(Vec::as_slice).unwrap_or_default()
    }
}

/// What the one at `place` may wait in all, where the others have waited too.
fn left_for(all: &[(&mut Execution<'_>, Stage)], place: usize, settle: Duration) -> Duration {
    let others = all.iter().enumerate().filter(|(other, _)| *other != place);
    settle.saturating_sub(others.map(|(_, (it, _))| it.run.report.waited).sum())
}
