//! A live object that is deleted, and created from the backup.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    course::{Again, Course, FIRST_PAUSE, LONGEST_PAUSE, STOP_GRACE, text},
    object::End,
    verdict::{self, Verdict},
};
use crate::sources::kubernetes::{
    Kind,
    restore::{
        conflicts::{deletion, leaves_pods, never_replaced},
        judge::MANAGER,
        live::{full_name, get},
        plan::{Action, Uid},
        rehearsal::{self, Rehearsal},
    },
};

impl Course<'_, '_> {
    /// Deletes the live object and creates the backup's. Where that cannot be created, the one from before is put
    /// back. Gives its uid where it is there in the end.
    pub(super) async fn replace(&mut self) -> (End, Option<Uid>) {
        match self.look_again().await {
            Ok(Some((live, judgement, _))) => match judgement.action {
                Action::Same => return (End::Same, Some(Uid::parse(text(&live, "/metadata/uid")))),
                Action::Merge => return self.complete_live(&live).await,
                _ => {}
            },
            Ok(None) => return self.create().await,
            Err(end) => return (end, None),
        }
        if let Err(end) = self.rehearse().await {
            return (end, None);
        }
        let live = match self.look_again().await {
            Ok(Some((live, _, waivers))) if self.is_as_agreed(&live, &waivers) => live,
            Ok(Some(_)) => return (End::Failed(super::update::CHANGED.to_owned()), None),
            Ok(None) => return self.create().await,
            Err(end) => return (end, None),
        };
        // It may have become another one since the plan was made.
        if let Some(never) = never_replaced(&self.done.prepared.object, &live) {
            return (End::Failed(never.to_owned()), None);
        }
        let left = match leaves_pods(&self.done.prepared.object, &live) {
            true => match self.belongings(&live).await {
                Ok(left) => left,
                Err(error) => return (End::Failed(format!("not deleted: {error}")), None),
            },
            false => Vec::new(),
        };
        if let Err(end) = self.delete(&live).await {
            return (end, None);
        }
        match self.create_in_place().await {
            (End::Created, uid) => (self.sweep(left).await.map_or(End::Replaced, End::Failed), uid),
            (End::Failed(why), _) => (End::Failed(self.bring_back(&live, &why).await), None),
            (End::NotAttempted, _) => (End::Failed(self.bring_back(&live, "stopped").await), None),
            other => other,
        }
    }

    /// Creates the object where one was deleted just now. A quota counts what is gone a little longer.
    async fn create_in_place(&mut self) -> (End, Option<Uid>) {
        loop {
            match self.create().await {
                (End::Failed(why), uid) if why.contains("exceeded quota") => match self.again(&why, None).await {
                    Again::Yes => {}
                    Again::No(end) => return (end, uid),
                },
                other => return other,
            }
        }
    }

    /// Asks the server by a dry run whether it would create what is to take the live one's place: what is deleted
    /// cannot be put back either where it would not.
    async fn rehearse(&mut self) -> Result<(), End> {
        let path = format!("{}?dryRun=All&fieldManager={MANAGER}", self.kind.list_path(Some(self.namespace)));
        let act = format!("try out {} {}", self.kind.id(), full_name(self.namespace, &self.name));
        let body = Bytes::from(rehearsal::under_free_name(&self.done.prepared.object).to_string());
        loop {
            let requests = self.done.requests;
            let sent = self.send(Method::POST, "application/json", &act, &path, body.clone()).await;
            // It wrote nothing.
            self.done.requests = requests;
            let again = match sent {
                Err(why) => self.again(&why, None).await,
                Ok(reply) => match rehearsal::meaning(&reply) {
                    Rehearsal::Accepted | Rehearsal::NotTestable(_) => return Ok(()),
                    Rehearsal::Refused(why) => {
                        let why =
                            format!("not deleted, because the server would not create it ({}): {why}", rehearsal::HOW);
                        return Err(End::Failed(why));
                    }
                    Rehearsal::Later(why) => self.later(&why, &reply).await,
                },
            };
            if let Again::No(end) = again {
                return Err(match end {
                    End::Failed(why) => End::Failed(format!("not deleted: {why}")),
                    other => other,
                });
            }
        }
    }

    /// Deletes this very object, and waits until it is gone.
    async fn delete(&mut self, live: &Value) -> Result<(), End> {
        let (kind, name) = (self.kind, self.name.clone());
        self.delete_one(kind, &name, text(live, "/metadata/uid")).await?;
        self.uncertain = false;
        self.wait_until_gone(text(live, "/metadata/uid")).await.map_err(End::Failed)
    }

    /// Asks for the deletion of the object that has this uid, and of nothing that belongs to it.
    pub(super) async fn delete_one(&mut self, kind: &Kind, name: &str, uid: &str) -> Result<(), End> {
        let path = kind.object_path(self.namespace, name);
        let act = format!("delete {} {}", kind.id(), full_name(self.namespace, name));
        let body = Bytes::from(deletion(uid).to_string());
        loop {
            let sent = self.send(Method::DELETE, "application/json", &act, &path, body.clone()).await;
            let again = match sent {
                // Done or not: a second one is of the same uid.
                Err(why) => {
                    self.uncertain = true;
                    self.again(&why, None).await
                }
                Ok(reply) if reply.code == http::StatusCode::NOT_FOUND => return Ok(()),
                Ok(reply) => match verdict::of(&reply) {
                    Verdict::Done => return Ok(()),
                    Verdict::Later(why) => self.later(&why, &reply).await,
                    Verdict::Refused(why) => return Err(End::Failed(why)),
                    Verdict::Exists | Verdict::Taken(_) => return Err(End::Failed(reply.status().message)),
                },
            };
            if let Again::No(end) = again {
                return Err(end);
            }
        }
    }

    /// Until the object of this uid is gone. A stop does not end it at once: what is deleted should come back.
    async fn wait_until_gone(&mut self, uid: &str) -> Result<(), String> {
        let mut pause = FIRST_PAUSE;
        let mut stop_at: Option<Instant> = None;
        loop {
            let live = get(self.worker.context.cluster, self.kind, self.namespace, &self.name).await;
            let held_by = match &live {
                Ok(None) => return Ok(()),
                Ok(Some(live)) if text(live, "/metadata/uid") != uid => return Ok(()),
                Ok(Some(live)) => finalizers(live),
                Err(error) => error.to_string(),
            };
            let now = Instant::now();
            if self.worker.context.cancel.is_cancelled() {
                stop_at.get_or_insert(now + STOP_GRACE);
            }
            if now >= self.deadline || stop_at.is_some_and(|stop| now >= stop) {
                return Err(format!(
                    "its deletion was asked for, and it does not go away ({held_by}); run the restore again when it is gone"
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE.min(Duration::from_secs(1)));
        }
    }
}

fn finalizers(live: &Value) -> String {
    let names = live.pointer("/metadata/finalizers").and_then(Value::as_array);
    let names: Vec<&str> = names.into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "it has no finalizers".to_owned() } else { format!("finalizers: {}", names.join(", ")) }
}
