//! The copies of a policy: reachable, create-only, of this repository, and how far behind.

use super::{
    super::{
        Error,
        copy::{Behind, CopyPlace, Originals, behind},
        repositories::{open, open_store_of, refuse_orphans},
    },
    Examination,
};
use crate::{
    policy::Policy,
    repository::{Repository, Scope},
    sources::{Finding, Severity},
    types::{Name, counted},
};

impl Examination<'_> {
    /// Looks at every copy. One that a schedule copies to and that fails would end `backup` with 3.
    pub(super) async fn look_at_copies(&mut self, repository: &Repository) {
        let originals = Originals::default();
        for name in self.policy.copies.keys() {
            let subject = format!("copy {name}");
            match self.look_at_copy((repository, &originals), name).await {
                Ok(found) => {
                    self.ills.copies |= found.iter().any(|(severity, ..)| *severity == Severity::Partial);
                    let finding = |(severity, what, next): (Severity, String, Option<String>)| Finding {
                        subject: subject.clone(),
                        severity,
                        what,
                        next,
                    };
                    self.findings.extend(found.into_iter().map(finding));
                }
                Err(error) => {
                    let scheduled = self.policy.schedules.values().any(|schedule| schedule.copy_to.contains(name));
                    let severity = if scheduled { Severity::Partial } else { Severity::Note };
                    self.ills.copies |= scheduled;
                    let finding = self.prevents(subject, &error);
                    self.findings.push(Finding { severity, ..finding });
                }
            }
        }
    }

    /// Looks at every copy by itself, where the repository cannot be used: what they hold is what there is.
    pub(super) async fn look_at_copies_alone(&mut self) {
        for name in self.policy.copies.keys() {
            let subject = format!("copy {name}");
            let finding = match self.look_at_copy_alone(name).await {
                Ok((what, next)) => Finding { subject, severity: Severity::Note, what, next },
                Err(error) => Finding { severity: Severity::Note, ..self.prevents(subject, &error) },
            };
            self.findings.push(finding);
        }
    }

    async fn look_at_copy_alone(&self, name: &Name) -> Result<(String, Option<String>), Error> {
        let there: Policy = CopyPlace::Copy(name.clone()).of(self.policy)?;
        let copy = open(&there.repository, self.given).await?;
        let entries = copy.backups(&Scope::Policy(self.policy.name.clone())).await?;
        let location = copy.location().to_owned();
        let mut usable = entries.iter().filter(|entry| entry.is_good() && !entry.tombstoned);
        let Some(newest) = usable.next_back() else {
            return Ok((format!("{location} holds no good backup of the policy"), None));
        };
        let good = counted(usable.count() as u64 + 1, "good backup");
        let id = &newest.backup;
        let next = format!(
            "`drctl restore {id} --copy {name}` restores from it; `drctl copy --from {name} --to repository` brings the \
             repository back into an empty place"
        );
        Ok((format!("{location} holds {good} of the policy, the newest {id}"), Some(next)))
    }

    async fn look_at_copy(
        &self,
        (repository, originals): (&Repository, &Originals),
        name: &Name,
    ) -> Result<Vec<(Severity, String, Option<String>)>, Error> {
        let there: Policy = CopyPlace::Copy(name.clone()).of(self.policy)?;
        let url = &there.repository.url;
        let not_made = || {
            let what = format!("{url} has no copy yet");
            vec![(Severity::Note, what, Some(format!("`drctl copy --to {name}` makes it")))]
        };
        let Some(store) = open_store_of(&there.repository, false).await? else { return Ok(not_made()) };
        refuse_orphans(store.as_ref()).await?;
        let Some(copy) = repository.find_replica_in(store).await? else { return Ok(not_made()) };
        let location = copy.location().to_owned();
        let good = |what: String| (Severity::Good, what, None);
        let mut found = vec![good(format!("{location} holds a copy of this repository"))];
        let Some(first) = self.policy.schedules.keys().next() else { return Ok(found) };
        let proof = copy.prove(&self.policy.name, first, self.run.clock.as_ref()).await?;
        let key = crate::types::for_terminal(&proof.key).into_owned();
        found.push(good(format!("{location} takes an object and refuses a second one under its key (`{key}`)")));
        let schedules = self.policy.schedules.iter().filter(|(_, spec)| spec.copy_to.contains(name));
        let schedules: Vec<&Name> = schedules.map(|(schedule, _)| schedule).collect();
        let late = behind((repository, &copy), (name, &there), &schedules, (originals, self.run)).await?;
        for (schedule, late) in schedules.into_iter().zip(late) {
            found.extend(said_of(name, schedule, late));
        }
        Ok(found)
    }
}

/// What there is to be said of how far a copy is behind with a schedule.
fn said_of(name: &Name, schedule: &Name, late: Behind) -> Vec<(Severity, String, Option<String>)> {
    let mut found = Vec::new();
    if let Some(since) = late.since {
        let backups = counted(late.backups, "backup");
        let what = format!("it lacks {backups} of schedule {schedule}, the oldest of {since:.0}");
        found.push((Severity::Note, what, Some(format!("`drctl copy --to {name}` brings them there"))));
    }
    if let Some(first) = late.lacking.first() {
        let backups = counted(late.lacking.len() as u64, "backup");
        let what = format!(
            "{backups} of schedule {schedule} in it lack something that the repository has (the first: {first})"
        );
        found.push((Severity::Note, what, Some(format!("`drctl copy {first} --to {name}` sends it again"))));
    }
    if let Some(first) = late.given_up.first() {
        let backups = counted(late.given_up.len() as u64, "backup");
        let what =
            format!("{backups} of schedule {schedule} were given up in it, and are not there (the first: {first})");
        let next = format!("`drctl copy {first} --to {name}` says until when; in the repository it is as it was");
        found.push((Severity::Partial, what, Some(next)));
    }
    if let Some(first) = late.going.first() {
        let backups = counted(late.going.len() as u64, "backup");
        let what = format!(
            "{backups} of schedule {schedule} that should be in it have a tombstone there, and are about to be deleted there \
                     (the first: {first})"
        );
        let next = format!("`drctl prune --undo {first} --copy {name}` saves it, within a day of its marking");
        found.push((Severity::Partial, what, Some(next)));
    }
    if found.is_empty() {
        found.push((Severity::Good, format!("it has every backup of schedule {schedule} that it should have"), None));
    }
    found
}
