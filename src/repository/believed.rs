//! Evidence of verifications where signers are pinned: what none of them has signed does not count.

use super::{
    Error, Repository, control,
    crypt::signature,
    layout,
    looks::{Look, Looks},
    verified::{Evidence, VerifyOutcome, what_of},
    verify::Sample,
};
use crate::types::{BackupId, Name};

impl Repository {
    /// Of the verifications of one backup, as their keys tell of them, those that count, as far as they decide what is
    /// told: the newest at each level; and where damage was found, the newest of each kind.
    pub(super) async fn believed(&self, backup: &(Name, BackupId), mut looks: Vec<Look>) -> Result<Looks, Error> {
        looks.sort_by_key(|look| std::cmp::Reverse(look.at));
        let damage = looks.iter().any(|look| look.outcome == VerifyOutcome::Damaged);
        let same = |known: &Look, look: &Look| match damage {
            true => known.is_kind_of(look),
            false => (known.level, known.sample.map(Sample::of)) == (look.level, look.sample.map(Sample::of)),
        };
        let mut believed: Vec<Look> = Vec::new();
        for look in looks {
            if !believed.iter().any(|known| same(known, &look)) && self.evidence_holds(backup, &look).await? {
                believed.push(look);
            }
        }
        let mut kept = Looks::default();
        for look in believed {
            kept.take(look, true);
        }
        Ok(kept)
    }

    /// Whether the report of a verification is signed by one of the signers, for this place, and is the one that its key says.
    async fn evidence_holds(&self, (policy, backup): &(Name, BackupId), look: &Look) -> Result<bool, Error> {
        let what = what_of(look.level, look.sample);
        let key = layout::verify_evidence((policy, backup), look.at, look.outcome.as_str(), &what);
        let bytes = match self.backend.get(&key, control::MAX_CONTROL as u64).await {
            Ok(bytes) => bytes,
            Err(error) => {
                let error = Error::reading(&key, error);
                return if error.is_damage() { Ok(false) } else { Err(error) };
            }
        };
        // A signed report that somebody has put under another key says nothing of what that key says.
        let Ok(evidence) = control::decode::<Evidence>(&bytes) else { return Ok(false) };
        if !evidence.is_of(&self.header.id, (policy, backup), look) {
            return Ok(false);
        }
        let signed = match (&evidence.signature, evidence.place) {
            (Some(signed), Some(place)) => {
                let (statement, signers) = (evidence.statement(place), &self.access.signers);
                signature::check(signed.as_bytes(), signature::VERIFIED, statement.as_bytes(), signers).is_ok()
            }
            // As it was signed before: the whole object, beside it.
            (None, _) => self.signature_beside(&key, signature::EVIDENCE, &bytes).await?.counts(),
            (Some(_), None) => false,
        };
        Ok(signed
            && match evidence.place {
                Some(place) => self.is_here(place).await?,
                None => true,
            })
    }
}
