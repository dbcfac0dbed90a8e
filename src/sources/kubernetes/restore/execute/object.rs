//! What the workers share, and what becomes of one object.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, OnceLock, PoisonError},
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    course::{Course, FIRST_PAUSE, text},
    jobs::{Job, Place},
    owners::Owners,
};
use crate::sources::kubernetes::{
    compare::GroupKind,
    restore::{
        ExecuteOptions, RestoreContext,
        excuses::Excuses,
        plan::{Action, Plan, Uid},
        report::Waiver,
        target::TargetCluster,
        transform::Prepared,
    },
};

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Created,
    Merged,
    Updated,
    Replaced,
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
    /// One of them was done, or may have been.
    pub(super) changed: bool,
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
    pub(super) exhausted: Mutex<HashSet<(usize, String)>>,
    pub(super) first_request: OnceLock<Timestamp>,
    /// What live objects need not have.
    excuses: tokio::sync::Mutex<Excuses>,
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
            excuses: tokio::sync::Mutex::new(Excuses::of_mapped(plan.mapping())),
        }
    }

    /// What the live form of an object that differs need not have: a number that an autoscaler sets. Where that
    /// cannot be read it must have all.
    pub(super) async fn excuses_of(&self, object: &Value, live: &Value) -> Vec<Waiver> {
        let mut excuses = self.excuses.lock().await;
        let found = excuses.of(&self.context, &self.target, &self.plan.source, object, live).await;
        found.unwrap_or_default()
    }

    /// Creates or completes an object of the plan.
    pub(super) async fn restore(&self, job: Job) -> Done {
        let old = job.prepared.uid;
        let action = self.action_of(job.place).unwrap_or(Action::Create);
        let place = job.place;
        let mut course = match self.course(job) {
            Ok(course) => course,
            Err(done) => {
                self.owners.settle(old, None);
                return *done;
            }
        };
        let (end, uid) = match action {
            Action::Merge => course.complete().await,
            Action::Update => course.update().await,
            Action::Replace => course.replace().await,
            _ => course.create().await,
        };
        course.done.end = end;
        self.owners.settle(old, uid);
        if let Some(uid) = uid
            && matches!(course.done.end, End::Created | End::Updated | End::Replaced)
            && !course.done.prepared.second.is_empty()
        {
            course.link(uid).await;
        }
        // What is there, or was when the plan was made, serves what needs it: only its second
        // request failed.
        if uid.is_none() && !matches!(action, Action::Merge | Action::Update) {
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
            changed: false,
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
            kept_owners: Vec::new(),
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
