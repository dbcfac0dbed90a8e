//! One object on its way: created, or completed where it is already there.

use std::{sync::PoisonError, time::Duration};

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    object::{Done, End, Worker},
    verdict::{self, Verdict},
};
use crate::sources::kubernetes::{
    Call, CallError, Kind, Reply, client,
    compare::GroupKind,
    restore::{
        adopt,
        conflicts::is_going,
        judge::{MANAGER, is_merged, judge, merge_patch, waive, was_made_by_us},
        live::{full_name, get},
        plan::{Action, Uid},
        report::Waiver,
        terminating::held_by,
    },
};

/// Of an answer to a write only the metadata is asked for; a server that does not know this form
/// answers with the object.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const ANSWER_LIMIT: usize = 16 << 20;
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long a stopped run waits for the answers of requests that are on their way.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One object on its way.
pub(super) struct Course<'w, 'a> {
    pub(super) worker: &'w Worker<'a>,
    pub(super) kind: &'w Kind,
    pub(super) kind_place: usize,
    pub(super) namespace: &'w str,
    pub(super) name: String,
    pub(super) deadline: Instant,
    pub(super) pause: Duration,
    /// A create was sent, and it is not known whether it was done.
    pub(super) uncertain: bool,
    /// Owners that the live object has besides those of the backup.
    pub(super) kept_owners: Vec<Value>,
    pub(super) done: Done,
}

#[derive(Deserialize)]
struct Answer {
    metadata: AnswerMeta,
}

#[derive(Deserialize)]
struct AnswerMeta {
    uid: String,
}

/// Whether to go on trying.
pub(super) enum Again {
    Yes,
    No(End),
}

impl Course<'_, '_> {
    /// Creates the object. Gives its uid where it is there in the end.
    pub(super) async fn create(&mut self) -> (End, Option<Uid>) {
        let path = format!("{}?fieldManager={MANAGER}", self.kind.list_path(Some(self.namespace)));
        let act = format!("create {} {}", self.kind.id(), full_name(self.namespace, &self.name));
        let mut body = self.body();
        loop {
            let reply = match self.send(Method::POST, "application/json", &act, &path, body.clone()).await {
                Ok(reply) => reply,
                Err(why) => {
                    self.uncertain = true;
                    match self.again(&why, None).await {
                        Again::Yes => continue,
                        Again::No(end) => return (end, None),
                    }
                }
            };
            let again = match verdict::of(&reply) {
                Verdict::Done => return (End::Created, uid_in(&reply)),
                Verdict::Exists => match self.meet().await {
                    Ok(found) => return found,
                    Err(why) => self.again(&why, None).await,
                },
                Verdict::Later(why) => {
                    self.uncertain |= verdict::is_uncertain(&reply);
                    self.later(&why, &reply).await
                }
                Verdict::Taken(fields) => {
                    if !self.give_up_ports(&fields) {
                        return (End::Failed(format!("{} is taken", fields.join(", "))), None);
                    }
                    body = self.body();
                    continue;
                }
                Verdict::Refused(why) => return (End::Failed(why), None),
            };
            if let Again::No(end) = again {
                return (end, None);
            }
        }
    }

    /// There is one of this name already. `Err`: it goes away, or was gone.
    async fn meet(&mut self) -> Result<(End, Option<Uid>), String> {
        let live = get(self.worker.context.cluster, self.kind, self.namespace, &self.name).await;
        let live = live.map_err(|error| error.to_string())?.ok_or("it was there, and was gone again")?;
        let uid = Some(Uid::parse(text(&live, "/metadata/uid")));
        if is_going(&live) {
            return Err(format!("the one that is there is being deleted and does not go away{}", held_by(&live)));
        }
        if self.uncertain && was_made_by_us(&live) {
            return Ok((End::Created, uid));
        }
        let judgement = judge(&self.done.prepared, &live, &self.done.waivers);
        Ok(match judgement.action {
            Action::Same => (End::Same, uid),
            Action::Merge => self.complete_live(&live).await,
            _ => (End::Failed(format!("there is another one since the plan was made: {}", judgement.reason)), None),
        })
    }

    /// Completes an object that was there when the plan was made.
    pub(super) async fn complete(&mut self) -> (End, Option<Uid>) {
        match get(self.worker.context.cluster, self.kind, self.namespace, &self.name).await {
            Ok(Some(live)) => self.complete_live(&live).await,
            Ok(None) => self.create().await,
            Err(error) => (End::Failed(error.to_string()), None),
        }
    }

    pub(super) async fn complete_live(&mut self, live: &Value) -> (End, Option<Uid>) {
        let uid = Uid::parse(text(live, "/metadata/uid"));
        if self.worker.plan.adoption.frees(&self.kind.id(), &self.name) {
            let patch = adopt::patch(&self.done.prepared.object, live);
            return match self.patch(&patch).await {
                Ok(_) => (End::Merged, Some(uid)),
                Err(end) => (end, Some(uid)),
            };
        }
        if !is_merged(GroupKind::of(&self.done.prepared.object), &self.name) {
            self.link(uid).await;
            let end = std::mem::replace(&mut self.done.end, End::NotAttempted);
            return (if matches!(end, End::Failed(_)) { end } else { End::Merged }, Some(uid));
        }
        let Some(patch) = merge_patch(&self.done.prepared.object, live) else { return (End::Same, Some(uid)) };
        match self.patch(&patch).await {
            Ok(_) => (End::Merged, Some(uid)),
            Err(end) => (end, Some(uid)),
        }
    }

    /// Sends a patch until it is done or refused.
    async fn patch(&mut self, patch: &Value) -> Result<(), End> {
        self.patch_once(patch, |_| false).await.map(drop)
    }

    /// Sends a patch until it is done or refused; gives the object's metadata after it. Where the answer to a try was
    /// lost, the live object is asked before the next one: `is_done` says whether it has what the patch is for.
    pub(super) async fn patch_once(&mut self, patch: &Value, is_done: impl Fn(&Value) -> bool) -> Result<Value, End> {
        let path = format!("{}?fieldManager={MANAGER}", self.kind.object_path(self.namespace, &self.name));
        let act = format!("patch {} {}", self.kind.id(), full_name(self.namespace, &self.name));
        let body = Bytes::from(patch.to_string());
        loop {
            let sent = self.send(Method::PATCH, "application/merge-patch+json", &act, &path, body.clone()).await;
            let unknown = sent.as_ref().map_or(true, verdict::is_uncertain);
            let again = match sent {
                Err(why) => self.again(&why, None).await,
                Ok(reply) => match verdict::of(&reply) {
                    Verdict::Done => return Ok(serde_json::from_slice(&reply.body).unwrap_or(Value::Null)),
                    Verdict::Later(why) if reply.code != http::StatusCode::NOT_FOUND => self.later(&why, &reply).await,
                    Verdict::Later(why) | Verdict::Refused(why) => return Err(End::Failed(why)),
                    Verdict::Exists | Verdict::Taken(_) => return Err(End::Failed(reply.status().message)),
                },
            };
            if let Again::No(end) = again {
                return Err(end);
            }
            // What cannot be read is sent again: the patch itself says what is wrong.
            if unknown
                && let Ok(Some(live)) = get(self.worker.context.cluster, self.kind, self.namespace, &self.name).await
                && is_done(&live)
            {
                return Ok(live);
            }
        }
    }

    pub(super) async fn send(
        &mut self,
        method: Method,
        media: &'static str,
        act: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Reply, String> {
        let call =
            Call { act, method, path, body: Some((media, body)), accept: Some(METADATA_ONLY), limit: ANSWER_LIMIT };
        self.worker.first_request.get_or_init(Timestamp::now);
        self.done.requests += 1;
        let outcome = tokio::select! {
            outcome = self.worker.context.cluster.call(&call) => outcome,
            () = self.stop_is_overdue() => {
                self.done.changed |= !is_dry_run(path);
                return Err("there was no answer before the stop".to_owned());
            }
        };
        let may_be_done = outcome.as_ref().map_or(true, |reply| reply.is_success() || verdict::is_uncertain(reply));
        self.done.changed |= may_be_done && !is_dry_run(path);
        self.done.last_request = Some(Timestamp::now());
        match outcome {
            Ok(reply) => Ok(reply),
            Err(CallError::TooLarge(_)) => Err("the answer is too large".to_owned()),
            Err(CallError::Transport(error)) => Err(error.reason),
        }
    }

    /// A stop waits for answers, but not for ever.
    async fn stop_is_overdue(&self) {
        self.worker.context.cancel.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    }

    /// Waits after an answer that may be another one the next time. While the server is only busy, this object
    /// loses no time of its own: it is sent again until the server has been busy, and nothing else, for as long as
    /// an object may take.
    pub(super) async fn later(&mut self, why: &str, reply: &Reply) -> Again {
        if !reply.is_busy() {
            return self.again(why, reply.retry_after).await;
        }
        let busy = self.worker.context.cluster.busy_for();
        if busy > self.worker.options.object_deadline {
            return Again::No(End::Failed(format!("the server was busy for {} s: {why}", busy.as_secs())));
        }
        let pause = client::wait(reply.retry_after, self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.deadline += pause;
        self.sleep_until(Instant::now() + pause).await
    }

    /// Waits before the next try; the pause doubles. Where another object of the kind has waited
    /// for the same in vain, this one does not.
    pub(super) async fn again(&mut self, why: &str, asked: Option<Duration>) -> Again {
        let now = Instant::now();
        if !self.worker.context.cancel.is_cancelled() && self.is_in_vain(why, now) {
            return Again::No(End::Failed(format!("given up after {} tries: {why}", self.done.requests)));
        }
        let pause = client::wait(asked, self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.sleep_until((now + pause).min(self.deadline)).await
    }

    /// Waits until then, if the run is not told to stop.
    async fn sleep_until(&self, until: Instant) -> Again {
        tokio::select! {
            biased;
            () = self.worker.context.cancel.cancelled() => Again::No(self.stopped()),
            () = tokio::time::sleep_until(until) => Again::Yes,
        }
    }

    /// Whether the deadline is over, for this object or for an earlier one of its kind.
    fn is_in_vain(&self, why: &str, now: Instant) -> bool {
        let key = (self.kind_place, generic(why));
        let mut exhausted = self.worker.exhausted.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= self.deadline {
            exhausted.insert(key);
            return true;
        }
        exhausted.contains(&key)
    }

    fn stopped(&self) -> End {
        if self.uncertain {
            End::Failed(
                "stopped while it was not known whether the server had taken it; run the restore again".to_owned(),
            )
        } else {
            End::NotAttempted
        }
    }

    /// Leaves the choice of the ports in these fields to the server. False if there is nothing to leave.
    pub(super) fn give_up_ports(&mut self, fields: &[String]) -> bool {
        let mut left = false;
        for field in fields {
            let waiver = match field.strip_prefix("spec.ports[").and_then(|rest| rest.split(']').next()?.parse().ok()) {
                Some(index) => Waiver::NodePort(index),
                None => Waiver::HealthCheckNodePort,
            };
            let pointer = match &waiver {
                Waiver::NodePort(index) => format!("/spec/ports/{index}/nodePort"),
                _ => "/spec/healthCheckNodePort".to_owned(),
            };
            let Some(port) = self.done.prepared.object.pointer(&pointer).cloned() else { continue };
            waive(&mut self.done.prepared.object, std::slice::from_ref(&waiver));
            self.done.notes.push(format!("{field} {port} belongs to another Service; the server chose another port"));
            self.done.waivers.push(waiver);
            left = true;
        }
        left
    }

    fn body(&self) -> Bytes {
        Bytes::from(self.done.prepared.object.to_string())
    }
}

fn is_dry_run(path: &str) -> bool {
    path.contains("?dryRun=All")
}

fn uid_in(reply: &Reply) -> Option<Uid> {
    serde_json::from_slice::<Answer>(&reply.body).ok().map(|answer| Uid::parse(&answer.metadata.uid))
}

/// A refusal without what is in quotes: the same for all objects of a kind.
fn generic(why: &str) -> String {
    why.split('"').step_by(2).collect()
}

pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
