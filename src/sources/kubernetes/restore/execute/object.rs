//! One object: created, or completed where it is already there, and given its owners.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use rand::Rng as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    jobs::{Job, Place},
    owners::{Owner, Owners},
    verdict::{self, Verdict},
};
use crate::sources::kubernetes::{
    Call, CallError, Kind, Reply,
    compare::GroupKind,
    restore::{
        ExecuteOptions, RestoreContext,
        judge::{MANAGER, has_apply_entries, is_merged, judge, merge_patch, second_patch},
        live::{full_name, get},
        plan::{Action, Plan, Uid},
        report::Waiver,
        target::TargetCluster,
        transform::Prepared,
    },
};

/// Of an answer to a write only the metadata is asked for; a server that does not know this form
/// answers with the object.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const ANSWER_LIMIT: usize = 16 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Created,
    Merged,
    Same,
    Failed(String),
    /// The run was stopped before anything was known to be written.
    NotAttempted,
}

/// What a worker tells of an object.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) place: Place,
    pub(super) size: usize,
    pub(super) prepared: Box<Prepared>,
    pub(super) end: End,
    /// Its second request has to wait for its owners; this is its new uid.
    pub(super) deferred: Option<Uid>,
    pub(super) waivers: Vec<Waiver>,
    pub(super) notes: Vec<String>,
    /// Requests that wrote.
    pub(super) requests: u64,
    pub(super) last_request: Option<Timestamp>,
}

/// What all workers share.
pub(super) struct Worker<'a> {
    pub(super) context: RestoreContext<'a>,
    pub(super) plan: &'a Plan,
    pub(super) options: &'a ExecuteOptions,
    pub(super) target: TargetCluster,
    pub(super) owners: Owners,
    /// Namespaces and kinds (`plural.group`) that could not be made, with the reason: what needs
    /// them fails at once, and not each at the end of its own patience.
    pub(super) lost: Mutex<HashMap<String, String>>,
    /// Kinds of which an object was tried to the end of the deadline, and why in vain.
    exhausted: Mutex<HashSet<(usize, String)>>,
    pub(super) first_request: OnceLock<Timestamp>,
}

/// One object on its way.
struct Course<'w, 'a> {
    worker: &'w Worker<'a>,
    kind: &'w Kind,
    kind_place: usize,
    namespace: &'w str,
    name: String,
    deadline: Instant,
    pause: Duration,
    /// A create was sent and not answered.
    uncertain: bool,
    done: Done,
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
enum Again {
    Yes,
    No(End),
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        context: RestoreContext<'a>,
        plan: &'a Plan,
        options: &'a ExecuteOptions,
        target: TargetCluster,
    ) -> Self {
        Self {
            context,
            plan,
            options,
            target,
            owners: Owners::of(plan),
            lost: Mutex::default(),
            exhausted: Mutex::default(),
            first_request: OnceLock::new(),
        }
    }

    /// Creates or completes an object of the plan.
    pub(super) async fn restore(&self, job: Job) -> Done {
        let old = job.prepared.uid;
        let merge = self.action_of(job.place) == Some(Action::Merge);
        let place = job.place;
        let mut course = match self.course(job) {
            Ok(course) => course,
            Err(done) => {
                self.owners.settle(old, None);
                return *done;
            }
        };
        let (end, uid) = if merge { course.complete().await } else { course.create().await };
        course.done.end = end;
        self.owners.settle(old, uid);
        if let Some(uid) = uid
            && matches!(course.done.end, End::Created)
            && !course.done.prepared.second.is_empty()
        {
            course.link(uid).await;
        }
        if matches!(course.done.end, End::Failed(_)) {
            self.note_lost(place, &course.done);
        }
        course.done
    }

    /// Sends the second request of an object that was created before.
    pub(super) async fn link(&self, job: Job, uid: Uid) -> Done {
        match self.course(job) {
            Ok(mut course) => {
                course.done.end = End::Same;
                course.link(uid).await;
                course.done
            }
            Err(done) => *done,
        }
    }

    fn action_of(&self, place: Place) -> Option<Action> {
        let part = self.plan.kinds.get(place.kind)?.parts.get(place.part)?;
        part.entries.get(place.entry).map(|entry| entry.action)
    }

    fn course(&self, job: Job) -> Result<Course<'_, 'a>, Box<Done>> {
        let planned = self.plan.kinds.get(job.place.kind);
        let namespace = planned.and_then(|kind| kind.parts.get(job.place.part)).map_or("", |part| &part.namespace);
        let name = text(&job.prepared.object, "/metadata/name").to_owned();
        let mut done = Done {
            place: job.place,
            size: job.size,
            prepared: job.prepared,
            end: End::NotAttempted,
            deferred: None,
            waivers: Vec::new(),
            notes: Vec::new(),
            requests: 0,
            last_request: None,
        };
        let Some((planned, kind)) = planned.and_then(|planned| Some((planned, planned.kind.as_ref()?))) else {
            done.end = End::Failed("the plan does not say where it is created".to_owned());
            return Err(Box::new(done));
        };
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let missing =
            lost.get(&format!("namespace {namespace}")).or_else(|| lost.get(&format!("kind {}", planned.name)));
        if let Some(why) = missing {
            done.end = End::Failed(why.clone());
            return Err(Box::new(done));
        }
        let deadline = Instant::now() + self.options.object_deadline;
        Ok(Course {
            worker: self,
            kind,
            kind_place: job.place.kind,
            namespace,
            name,
            deadline,
            pause: FIRST_PAUSE,
            uncertain: false,
            done,
        })
    }

    /// What needs a namespace that could not be made fails with its reason.
    fn note_lost(&self, place: Place, done: &Done) {
        let End::Failed(why) = &done.end else { return };
        if GroupKind::of(&done.prepared.object).is("", "Namespace") {
            let name = text(&done.prepared.object, "/metadata/name");
            self.lose(format!("namespace {name}"), format!("its namespace could not be created: {why}"));
        }
        if self
            .plan
            .kinds
            .get(place.kind)
            .is_some_and(|kind| kind.name == "customresourcedefinitions.apiextensions.k8s.io")
        {
            let name = text(&done.prepared.object, "/metadata/name");
            self.lose(format!("kind {name}"), format!("its definition could not be created: {why}"));
        }
    }

    pub(super) fn lose(&self, what: String, why: String) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(what, why);
    }
}

impl Course<'_, '_> {
    /// Creates the object. Gives its uid where it is there in the end.
    async fn create(&mut self) -> (End, Option<Uid>) {
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
                Verdict::Later(why) => self.again(&why, reply.retry_after).await,
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
        if live.pointer("/metadata/deletionTimestamp").is_some() {
            return Err("the one that is there is being deleted and does not go away".to_owned());
        }
        let judgement = judge(&self.done.prepared, &live, &self.done.waivers);
        Ok(match judgement.action {
            Action::Same | Action::Merge if self.uncertain => (End::Created, uid),
            Action::Same => (End::Same, uid),
            Action::Merge => self.complete_live(&live).await,
            _ => (End::Failed(format!("there is another one since the plan was made: {}", judgement.reason)), None),
        })
    }

    /// Completes an object that was there when the plan was made.
    async fn complete(&mut self) -> (End, Option<Uid>) {
        match get(self.worker.context.cluster, self.kind, self.namespace, &self.name).await {
            Ok(Some(live)) => self.complete_live(&live).await,
            Ok(None) => self.create().await,
            Err(error) => (End::Failed(error.to_string()), None),
        }
    }

    async fn complete_live(&mut self, live: &Value) -> (End, Option<Uid>) {
        let uid = Uid::parse(text(live, "/metadata/uid"));
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

    /// The second request: owners and managed fields, or a note that it has to wait.
    async fn link(&mut self, uid: Uid) {
        let mut found = Vec::new();
        for reference in self.done.prepared.second.owners.clone() {
            let owner =
                self.worker.owners.find(self.worker.context.cluster, &self.worker.target, &reference, self.namespace);
            match owner.await {
                Ok(Owner::Is(new)) => found.push((reference, new.to_string())),
                Ok(Owner::Later) => {
                    self.done.deferred = Some(uid);
                    return;
                }
                Ok(Owner::Gone) => self.drop_owner(&reference),
                Err(error) => {
                    self.done.end = End::Failed(format!("created, but its owner cannot be looked up: {error}"));
                    return;
                }
            }
        }
        if found.is_empty() && self.done.prepared.second.managed_fields.is_empty() {
            return;
        }
        let patch = second_patch(&self.done.prepared.second, &uid.to_string(), &found);
        match self.patch(&patch).await {
            Ok(reply) => {
                let live: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
                if !has_apply_entries(&self.done.prepared.second, &live) {
                    self.done.notes.push("the server did not take its managed fields back".to_owned());
                }
            }
            Err(End::Failed(why)) => {
                self.done.end =
                    End::Failed(format!("created, but its owners or managed fields could not be put back: {why}"));
            }
            Err(_) => {
                let why =
                    "created, but stopped before its owners or managed fields were put back; run the restore again";
                self.done.end = End::Failed(why.to_owned());
            }
        }
    }

    fn drop_owner(&mut self, reference: &Value) {
        let (kind, name) = (text(reference, "/kind").to_owned(), text(reference, "/name").to_owned());
        self.done.notes.push(format!("its owner {kind} {name} is not there; without it the object would be deleted as garbage, so it has no owner now"));
        self.done.waivers.push(Waiver::Owner(kind, name));
    }

    async fn patch(&mut self, patch: &Value) -> Result<Reply, End> {
        let path = format!("{}?fieldManager={MANAGER}", self.kind.object_path(self.namespace, &self.name));
        let act = format!("patch {} {}", self.kind.id(), full_name(self.namespace, &self.name));
        let body = Bytes::from(patch.to_string());
        loop {
            let sent = self.send(Method::PATCH, "application/merge-patch+json", &act, &path, body.clone()).await;
            let again = match sent {
                Err(why) => self.again(&why, None).await,
                Ok(reply) => match verdict::of(&reply) {
                    Verdict::Done => return Ok(reply),
                    Verdict::Later(why) if reply.code != http::StatusCode::NOT_FOUND => {
                        self.again(&why, reply.retry_after).await
                    }
                    Verdict::Later(why) | Verdict::Refused(why) => return Err(End::Failed(why)),
                    Verdict::Exists | Verdict::Taken(_) => return Err(End::Failed(reply.status().message)),
                },
            };
            if let Again::No(end) = again {
                return Err(end);
            }
        }
    }

    async fn send(
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
        let outcome = self.worker.context.cluster.call(&call).await;
        self.done.last_request = Some(Timestamp::now());
        match outcome {
            Ok(reply) => Ok(reply),
            Err(CallError::TooLarge(_)) => Err("the answer is too large".to_owned()),
            Err(CallError::Transport(error)) => Err(error.reason),
        }
    }

    /// Waits before the next try; the pause doubles. Where another object of the kind has waited
    /// for the same in vain, this one does not.
    async fn again(&mut self, why: &str, asked: Option<Duration>) -> Again {
        if self.worker.context.cancel.is_cancelled() {
            return Again::No(self.stopped());
        }
        let key = (self.kind_place, generic(why));
        let now = Instant::now();
        let mut exhausted = self.worker.exhausted.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= self.deadline || exhausted.contains(&key) {
            if now >= self.deadline {
                exhausted.insert(key);
            }
            return Again::No(End::Failed(format!("given up after {} tries: {why}", self.done.requests)));
        }
        drop(exhausted);
        let pause = asked.unwrap_or_else(|| self.pause.mul_f64(rand::rng().random_range(0.5..=1.0)));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let until = (now + pause.min(LONGEST_PAUSE)).min(self.deadline);
        tokio::select! {
            () = tokio::time::sleep_until(until) => Again::Yes,
            () = self.worker.context.cancel.cancelled() => Again::No(self.stopped()),
        }
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
    fn give_up_ports(&mut self, fields: &[String]) -> bool {
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
            crate::sources::kubernetes::restore::judge::waive(
                &mut self.done.prepared.object,
                std::slice::from_ref(&waiver),
            );
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

fn uid_in(reply: &Reply) -> Option<Uid> {
    serde_json::from_slice::<Answer>(&reply.body).ok().map(|answer| Uid::parse(&answer.metadata.uid))
}

/// A refusal without what is in quotes: the same for all objects of a kind.
fn generic(why: &str) -> String {
    why.split('"').step_by(2).collect()
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
