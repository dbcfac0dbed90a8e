//! A live object that is deleted, and created from the backup.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    course::{Again, Course, FIRST_PAUSE, LONGEST_PAUSE, STOP_GRACE, text},
    object::End,
    verdict::{self, Verdict},
};
use crate::sources::kubernetes::restore::{
    conflicts::{deletion, never_replaced, propagation, put_back},
    live::{full_name, get},
    plan::{Action, Uid},
};

impl Course<'_, '_> {
    /// Deletes the live object and creates the backup's. Where that cannot be created, the one from before is put
    /// back. Gives its uid where it is there in the end.
    pub(super) async fn replace(&mut self) -> (End, Option<Uid>) {
        let (live, judgement, _) = match self.look_again().await {
            Ok(Some(found)) => found,
            Ok(None) => return self.create().await,
            Err(end) => return (end, None),
        };
        match judgement.action {
            Action::Same => return (End::Same, Some(Uid::parse(text(&live, "/metadata/uid")))),
            Action::Merge => return self.complete_live(&live).await,
            _ => {}
        }
        // It may have become another one since the plan was made.
        if let Some(never) = never_replaced(&self.done.prepared.object, &live) {
            return (End::Failed(never.to_owned()), None);
        }
        if let Err(end) = self.delete(&live).await {
            return (end, None);
        }
        match self.create().await {
            (End::Created, uid) => (End::Replaced, uid),
            (End::Failed(why), _) => (End::Failed(self.bring_back(&live, &why).await), None),
            (End::NotAttempted, _) => (End::Failed(self.bring_back(&live, "stopped").await), None),
            other => other,
        }
    }

    /// Deletes this very object, and waits until it is gone.
    async fn delete(&mut self, live: &Value) -> Result<(), End> {
        let uid = text(live, "/metadata/uid");
        let path = self.kind.object_path(self.namespace, &self.name);
        let act = format!("delete {} {}", self.kind.id(), full_name(self.namespace, &self.name));
        let body = Bytes::from(deletion(uid, propagation(&self.done.prepared.object, live)).to_string());
        loop {
            let sent = self.send(Method::DELETE, "application/json", &act, &path, body.clone()).await;
            let again = match sent {
                // Done or not: a second one is of the same uid.
                Err(why) => {
                    self.uncertain = true;
                    self.again(&why, None).await
                }
                Ok(reply) if reply.code == StatusCode::NOT_FOUND => return Ok(()),
                Ok(reply) => match verdict::of(&reply) {
                    Verdict::Done => break,
                    Verdict::Later(why) => self.later(&why, &reply).await,
                    Verdict::Refused(why) => return Err(End::Failed(why)),
                    Verdict::Exists | Verdict::Taken(_) => return Err(End::Failed(reply.status().message)),
                },
            };
            if let Again::No(end) = again {
                return Err(end);
            }
        }
        self.uncertain = false;
        self.wait_until_gone(uid).await.map_err(End::Failed)
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

    /// The object from before, once more. Says what became of it.
    async fn bring_back(&mut self, live: &Value, why: &str) -> String {
        let path = self.kind.list_path(Some(self.namespace));
        let act = format!("put back {} {}", self.kind.id(), full_name(self.namespace, &self.name));
        let body = Bytes::from(put_back(live).to_string());
        let outcome = match self.send(Method::POST, "application/json", &act, &path, body).await {
            Ok(reply) if reply.is_success() => return format!("{why}; the live one from before was put back"),
            Ok(reply) => reply.status().message,
            Err(why) => why,
        };
        format!("{why}; AND the live one from before, which was deleted, could not be put back: {outcome}")
    }
}

fn finalizers(live: &Value) -> String {
    let names = live.pointer("/metadata/finalizers").and_then(Value::as_array);
    let names: Vec<&str> = names.into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "it has no finalizers".to_owned() } else { format!("finalizers: {}", names.join(", ")) }
}
