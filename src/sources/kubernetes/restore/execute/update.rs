//! A live object that is changed into what the backup holds.

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::{
    course::{Again, Course, text},
    object::End,
    verdict::{self, Verdict},
};
use crate::sources::kubernetes::restore::{
    conflicts::{is_going, live_owners, updated},
    judge::{Judgement, MANAGER, judge},
    live::{full_name, get},
    plan::{Action, Uid},
    report::Waiver,
    seen::Mark,
};

/// Nobody has agreed to take away what was changed since.
pub(super) const CHANGED: &str =
    "it was changed since the plan was made, so it is left as it is; plan again and look at what differs";

impl Course<'_, '_> {
    /// Changes the live object into the backup's. One that was changed since the plan was made stays as it is; one that
    /// is gone is created. Gives its uid where it is there in the end.
    pub(super) async fn update(&mut self) -> (End, Option<Uid>) {
        let path = format!("{}?fieldManager={MANAGER}", self.kind.object_path(self.namespace, &self.name));
        let act = format!("update {} {}", self.kind.id(), full_name(self.namespace, &self.name));
        loop {
            let (live, judgement, waivers) = match self.look_again().await {
                Ok(Some(found)) => found,
                Ok(None) => return self.create().await,
                Err(end) => return (end, None),
            };
            let uid = Some(Uid::parse(text(&live, "/metadata/uid")));
            match judgement.action {
                // Of a request whose answer was lost.
                Action::Same if self.uncertain => return (End::Updated, uid),
                Action::Same => return (End::Same, uid),
                Action::Merge => return self.complete_live(&live).await,
                // A request of this run whose answer was lost may have changed it.
                _ if !self.uncertain && !self.is_as_agreed(&live, &waivers) => {
                    return (End::Failed(CHANGED.to_owned()), None);
                }
                _ => {}
            }
            let body = Bytes::from(updated(&self.done.prepared, &live, &waivers).to_string());
            let again = match self.send(Method::PUT, "application/json", &act, &path, body).await {
                Err(why) => {
                    self.uncertain = true;
                    self.again(&why, None).await
                }
                Ok(reply) => match verdict::of(&reply) {
                    Verdict::Done => {
                        self.kept_owners = live_owners(&self.done.prepared, &live);
                        return (End::Updated, uid);
                    }
                    Verdict::Taken(fields) if self.give_up_ports(&fields) => continue,
                    Verdict::Taken(fields) => return (End::Failed(format!("{} is taken", fields.join(", "))), None),
                    Verdict::Refused(why) => return (End::Failed(why), None),
                    // A change between the read and the write is a conflict: the next look sees it.
                    Verdict::Exists => self.again("it was changed meanwhile", None).await,
                    Verdict::Later(why) => {
                        self.uncertain |= verdict::is_uncertain(&reply);
                        self.later(&why, &reply).await
                    }
                },
            };
            if let Again::No(end) = again {
                return (end, None);
            }
        }
    }

    /// Whether the live object is still the one that the plan saw.
    pub(super) fn is_as_agreed(&self, live: &Value, waivers: &[Waiver]) -> bool {
        let place = self.done.place;
        let agreed = self.worker.plan.agreed.get(&(place.kind, place.part, place.entry));
        agreed.is_none_or(|mark| *mark == Mark::of_agreed(live, waivers.contains(&Waiver::Replicas)))
    }

    /// Reads the live object and judges it as it is now. One that is being deleted is waited for. `None`: it is gone.
    pub(super) async fn look_again(&mut self) -> Result<Option<(Value, Judgement, Vec<Waiver>)>, End> {
        loop {
            let live = get(self.worker.context.cluster, self.kind, self.namespace, &self.name).await;
            let Some(live) = live.map_err(|error| End::Failed(error.to_string()))? else { return Ok(None) };
            if !is_going(&live) {
                let mut waivers = self.worker.excuses_of(&self.done.prepared.object, &live).await;
                waivers.extend(self.done.waivers.iter().cloned());
                let judgement = judge(&self.done.prepared, &live, &waivers);
                return Ok(Some((live, judgement, waivers)));
            }
            let why = "the one that is there is being deleted and does not go away";
            if let Again::No(end) = self.again(why, None).await {
                return Err(end);
            }
        }
    }
}
