//! The server's own dry run: it does all that a write does, admission included, but for storing it.

use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use http::{Method, StatusCode};
use serde_json::Value;

use super::{
    RestoreContext, RestoreError,
    conflicts::updated,
    excuses::Excuses,
    execute::{
        jobs::{Job, Jobs, Place},
        verdict::{self, Verdict},
    },
    guards,
    judge::{MANAGER, is_merged, merge_patch},
    live::{full_name, get},
    plan::{Action, Answer, Entry, Plan, PlannedKind, PlannedPart, Reason, Reasons},
    rehearsal::{self, Rehearsal},
    target::TargetCluster,
    told::{Told, is_not_testable, makes_pods_anew, refused_update},
};
use crate::sources::kubernetes::{Call, Kind, Patience, Reply, compare::GroupKind};

/// Dry runs that are on their way at once.
const AT_ONCE: usize = 32;
/// Bytes of objects that are on their way at once.
const BYTES_AT_ONCE: usize = 8 << 20;
const ANSWER_LIMIT: usize = 16 << 20;
/// Of the answer only the metadata is asked for.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const PATIENCE: Patience =
    Patience { tries: 3, pause: std::time::Duration::from_millis(200), total: std::time::Duration::from_secs(30) };

/// What is asked of the server in any case: what it says of each update, so that a field that cannot be changed is
/// named before anything is written, and whether it would create what takes the place of an object that is deleted; and of a Pod of each workload that is to run where something may refuse Pods,
/// because it takes the workload itself whatever its Pods are.
pub(super) async fn before_any_write(
    context: RestoreContext<'_>,
    plan: &mut Plan,
    target: &TargetCluster,
) -> Result<(), RestoreError> {
    let guarded = guards::namespaces(context.cluster, target).await?;
    let pods: Vec<Vec<bool>> = plan.kinds.iter().map(|kind| guarded_parts(kind, &guarded)).collect();
    let has_guard = |place: Place| pods.get(place.kind).and_then(|kind| kind.get(place.part)) == Some(&true);
    let wanted =
        |place: Place, entry: &Entry| is_of_live(entry.action) || (entry.action.is_write() && has_guard(place));
    run(context, plan, target, Asked::Least, wanted).await
}

/// Asks of every object that the plan writes.
pub(super) async fn all(context: RestoreContext<'_>, plan: &mut Plan) -> Result<(), RestoreError> {
    let target = TargetCluster::read(context.cluster).await?;
    run(context, plan, &target, Asked::All, |_, entry| entry.action.is_write()).await?;
    plan.recount();
    Ok(())
}

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Updates, and Pods of workloads.
    Least,
    /// All.
    All,
}

fn guarded_parts(kind: &PlannedKind, guarded: &std::collections::HashSet<String>) -> Vec<bool> {
    let has_pods = guards::HAS_TEMPLATE.contains(&kind.name.as_str());
    kind.parts.iter().map(|part| has_pods && guarded.contains(&part.namespace)).collect()
}

fn is_of_live(action: Action) -> bool {
    matches!(action, Action::Update | Action::Replace)
}

async fn run(
    context: RestoreContext<'_>,
    plan: &mut Plan,
    target: &TargetCluster,
    asked: Asked,
    wanted: impl Fn(Place, &Entry) -> bool + Send + Sync,
) -> Result<(), RestoreError> {
    let mut reasons = std::mem::take(&mut plan.reasons);
    let answers = ask_each(context, plan, target, asked, &wanted, &mut reasons).await;
    plan.reasons = reasons;
    let Plan { kinds, reasons, .. } = plan;
    for (place, answer, words, stays) in answers? {
        let part = kinds.get_mut(place.kind).and_then(|kind| kind.parts.get_mut(place.part));
        let Some(entry) = part.and_then(|part| part.entries.get_mut(place.entry)) else { continue };
        (entry.answer, entry.words) = (answer, words);
        if let Some(stays) = stays.filter(|_| is_of_live(entry.action)) {
            let words = format!("{}; {stays}", reasons.text(entry.reason));
            (entry.action, entry.reason) = (Action::Conflict, reasons.intern(&words));
        }
    }
    Ok(())
}

async fn ask_each(
    context: RestoreContext<'_>,
    plan: &Plan,
    target: &TargetCluster,
    asked: Asked,
    wanted: &(impl Fn(Place, &Entry) -> bool + Send + Sync),
    reasons: &mut Reasons,
) -> Result<Vec<(Place, Answer, Reason, Option<String>)>, RestoreError> {
    let total = count(plan, wanted);
    if total == 0 {
        return Ok(Vec::new());
    }
    context.monitor.phase("asking the server", "objects", Some(total));
    let excuses = tokio::sync::Mutex::new(Excuses::of_mapped(plan.mapping()));
    let trial = Trial { context, plan, target, asked, excuses };
    let mut jobs = Jobs::new(context, plan, 0..plan.kinds.len(), wanted);
    let (mut running, mut bytes, mut ended, mut answers) = (FuturesUnordered::new(), 0_usize, false, Vec::new());
    loop {
        let room = running.is_empty() || (running.len() < AT_ONCE && bytes < BYTES_AT_ONCE);
        let more = !ended && room;
        if context.cancel.is_cancelled() {
            return Err(RestoreError::Interrupted);
        }
        tokio::select! {
            biased;
            Some((place, size, told)) = running.next() => {
                let told: Told = told;
                bytes = bytes.saturating_sub(size);
                context.monitor.advance(1);
                answers.push((place, told.answer, reasons.intern(&told.words), told.stays));
            }
            job = jobs.next(), if more => match job {
                Some(Ok(job)) => {
                    bytes += job.size;
                    running.push(trial.ask(job));
                }
                Some(Err(unreadable)) => return Err(unreadable.error),
                None => ended = true,
            },
            else => return Ok(answers),
        }
    }
}

fn count(plan: &Plan, wanted: &impl Fn(Place, &Entry) -> bool) -> u64 {
    let mut count = 0;
    for (kind, planned) in plan.kinds.iter().enumerate() {
        for (part, planned) in planned.parts.iter().enumerate() {
            let entries = planned.entries.iter().enumerate();
            count +=
                entries.filter(|(entry, it)| wanted(Place { kind, part, entry: *entry }, it)).fold(0, |sum, _| sum + 1);
        }
    }
    count
}

struct Trial<'a> {
    context: RestoreContext<'a>,
    plan: &'a Plan,
    target: &'a TargetCluster,
    asked: Asked,
    excuses: tokio::sync::Mutex<Excuses>,
}

/// What one object is called and where it goes.
struct Address<'a> {
    kind: &'a Kind,
    namespace: &'a str,
    name: &'a str,
}

impl Trial<'_> {
    async fn ask(&self, job: Job) -> (Place, usize, Told) {
        let told = self.answer(&job).await.unwrap_or_default();
        (job.place, job.size, told)
    }

    /// What the server says; absent if there is nothing to ask.
    async fn answer(&self, job: &Job) -> Option<Told> {
        let planned = self.plan.kinds.get(job.place.kind)?;
        let part = planned.parts.get(job.place.part)?;
        let entry = part.entries.get(job.place.entry)?;
        let kind = planned.kind.as_ref()?;
        let address = Address { kind, namespace: &part.namespace, name: &entry.name };
        if let Some(until) = self.not_yet(planned, part, kind) {
            return Some(Told::new(Answer::NotTestable, until));
        }
        let (told, runs_anew) = match (self.asked, entry.action) {
            (_, Action::Update) => self.of_update(&address, job).await,
            (_, Action::Replace) => (self.of_replacement(&address, job).await, true),
            (Asked::All, Action::Merge) => (self.of_merge(&address, job).await?, false),
            (Asked::All, _) => (self.of_creation(&address, job).await, true),
            (Asked::Least, _) => (Told::default(), true),
        };
        if told.answer == Answer::Rejected || !runs_anew || (is_not_testable(&told) && entry.action != Action::Replace)
        {
            return Some(told);
        }
        match guards::pod_of(&job.prepared.object) {
            Some(pod) => Some(self.of_pod(&address, &pod).await.unwrap_or(told)),
            None => Some(told),
        }
    }

    /// What has to be there before the server can say anything.
    fn not_yet(&self, planned: &PlannedKind, part: &PlannedPart, kind: &Kind) -> Option<String> {
        if !self.target.serves(kind) {
            return Some(format!("until the definition of {} is established", planned.name));
        }
        let namespace = &part.namespace;
        if namespace.is_empty() || self.target.namespaces.contains(namespace) {
            return None;
        }
        Some(match self.target.terminating.get(namespace) {
            Some(held) => format!("until namespace {namespace}, which is being deleted, is gone and made again{held}"),
            None => format!("until namespace {namespace} is there"),
        })
    }

    async fn of_creation(&self, address: &Address<'_>, job: &Job) -> Told {
        let body = job.prepared.object.to_string();
        let path = address.kind.list_path(Some(address.namespace));
        self.told(address, Method::POST, &path, ("application/json", body)).await.0
    }

    /// Whether it would be created where one of its name has to be deleted first.
    async fn of_replacement(&self, address: &Address<'_>, job: &Job) -> Told {
        let body = rehearsal::under_free_name(&job.prepared.object).to_string();
        let path = address.kind.list_path(Some(address.namespace));
        let reply = match self.send(address, Method::POST, &path, ("application/json", body)).await {
            Ok(reply) => reply,
            Err(told) => return told,
        };
        match rehearsal::meaning(&reply) {
            Rehearsal::Accepted => Told::new(Answer::Accepted, rehearsal::HOW),
            Rehearsal::NotTestable(words) => {
                Told::new(Answer::NotTestable, format!("until the live one is deleted: {words}"))
            }
            Rehearsal::Later(words) => Told::new(Answer::NotTestable, format!("until the server can answer: {words}")),
            Rehearsal::Refused(words) => {
                let stays =
                    format!("it is not deleted, because the server would not create it ({}): {words}", rehearsal::HOW);
                Told { answer: Answer::Rejected, words, stays: Some(stays) }
            }
        }
    }

    /// Of an update; and whether Pods would be made anew by it.
    async fn of_update(&self, address: &Address<'_>, job: &Job) -> (Told, bool) {
        let object = &job.prepared.object;
        let live = match self.live(address).await {
            Ok(live) => live,
            Err(told) => return (told, false),
        };
        let waivers = {
            let mut excuses = self.excuses.lock().await;
            excuses.of(&self.context, self.target, &self.plan.source, object, &live).await.unwrap_or_default()
        };
        let sent = updated(&job.prepared, &live, &waivers);
        let path = address.kind.object_path(address.namespace, address.name);
        let (mut told, code) = self.told(address, Method::PUT, &path, ("application/json", sent.to_string())).await;
        if told.answer == Answer::Rejected {
            told.stays = Some(refused_update(code, &told.words, object, &live));
        }
        (told, makes_pods_anew(&sent, &live))
    }

    /// Of what is added to a live object; absent where that is owners, whose uids are not known yet.
    async fn of_merge(&self, address: &Address<'_>, job: &Job) -> Option<Told> {
        let object = &job.prepared.object;
        if !is_merged(GroupKind::of(object), address.name) {
            return None;
        }
        let live = match self.live(address).await {
            Ok(live) => live,
            Err(told) => return Some(told),
        };
        let patch = merge_patch(object, &live)?;
        let path = address.kind.object_path(address.namespace, address.name);
        let body = ("application/merge-patch+json", patch.to_string());
        Some(self.told(address, Method::PATCH, &path, body).await.0)
    }

    async fn live(&self, address: &Address<'_>) -> Result<Value, Told> {
        match get(self.context.cluster, address.kind, address.namespace, address.name).await {
            Ok(Some(live)) => Ok(live),
            Ok(None) => Err(Told::new(Answer::NotTestable, "until it is planned again: it is gone")),
            Err(error) => Err(Told::new(Answer::NotTestable, format!("until the server can answer: {error}"))),
        }
    }

    /// What the server says of a Pod of a workload, where it does not simply accept it.
    async fn of_pod(&self, address: &Address<'_>, pod: &Value) -> Option<Told> {
        let kind = self.target.kind_of("v1", "Pod")?;
        let path = kind.list_path(Some(address.namespace));
        let told = self.told(address, Method::POST, &path, ("application/json", pod.to_string())).await.0;
        match told.answer {
            Answer::Rejected => Some(Told::new(Answer::Rejected, format!("its Pods would be refused: {}", told.words))),
            Answer::NotTestable => {
                Some(Told::new(Answer::NotTestable, format!("{} (asked of a Pod of it)", told.words)))
            }
            Answer::Accepted | Answer::None => None,
        }
    }

    async fn told(
        &self,
        address: &Address<'_>,
        method: Method,
        path: &str,
        body: (&'static str, String),
    ) -> (Told, StatusCode) {
        match self.send(address, method, path, body).await {
            Ok(reply) => {
                let (answer, words) = meaning(&reply);
                (Told::new(answer, words), reply.code)
            }
            Err(told) => (told, StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    async fn send(
        &self,
        address: &Address<'_>,
        method: Method,
        path: &str,
        (media, body): (&'static str, String),
    ) -> Result<Reply, Told> {
        let path = format!("{path}?dryRun=All&fieldManager={MANAGER}");
        let act = format!("try out {} {}", address.kind.id(), full_name(address.namespace, address.name));
        let body = Some((media, Bytes::from(body)));
        let call = Call { act: &act, method, path: &path, body, accept: Some(METADATA_ONLY), limit: ANSWER_LIMIT };
        self.context.cluster.read(&call, PATIENCE).await.map_err(|error| {
            Told::new(Answer::NotTestable, format!("until the server can answer: {}", error.into_error(&call)))
        })
    }
}

/// What an answer to a dry run means.
fn meaning(reply: &Reply) -> (Answer, String) {
    let words = reply.status().message;
    // A webhook that has side effects and does not say that it can do without them.
    if reply.code == StatusCode::BAD_REQUEST && words.contains("does not support dry run") {
        return (Answer::NotTestable, format!("until it is written: {words}"));
    }
    match verdict::of(reply) {
        Verdict::Done => (Answer::Accepted, String::new()),
        Verdict::Taken(fields) => {
            let fields = fields.join(", ");
            (Answer::Accepted, format!("{fields} belongs to another Service; the server will choose another port"))
        }
        Verdict::Exists => (Answer::Rejected, "there is one of its name since the plan was made".to_owned()),
        Verdict::Later(words) if reply.code == StatusCode::NOT_FOUND => {
            (Answer::NotTestable, format!("until what it names is there: {words}"))
        }
        Verdict::Later(words) if reply.code == StatusCode::FORBIDDEN => {
            (Answer::NotTestable, format!("until what it names is there: {words}"))
        }
        Verdict::Later(words) => (Answer::NotTestable, format!("until the server can answer: {words}")),
        Verdict::Refused(words) => (Answer::Rejected, words),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(code: u16, reason: &str, message: &str) -> (Answer, String) {
        let body = json!({"kind": "Status", "reason": reason, "message": message});
        let body = Bytes::from(body.to_string());
        meaning(&Reply { code: StatusCode::from_u16(code).unwrap(), body, retry_after: None })
    }

    #[test]
    fn each_answer_is_one_of_three() {
        assert_eq!(said(201, "", ""), (Answer::Accepted, String::new()));
        assert_eq!(
            said(422, "Invalid", "spec.x: Required value"),
            (Answer::Rejected, "spec.x: Required value".to_owned())
        );
        assert_eq!(said(403, "Forbidden", "exceeded quota: q").0, Answer::Rejected);
        for (code, reason, message, until) in [
            (400, "BadRequest", "admission webhook \"x\" does not support dry run", "until it is written"),
            (404, "NotFound", "roles \"x\" not found", "until what it names is there"),
            (
                403,
                "Forbidden",
                "error looking up service account a/b: serviceaccount \"b\" not found",
                "until what it names",
            ),
            (500, "InternalError", "failed calling webhook \"x\"", "until the server can answer"),
            (503, "ServiceUnavailable", "busy", "until the server can answer"),
        ] {
            let (answer, words) = said(code, reason, message);
            assert_eq!(answer, Answer::NotTestable, "{words}");
            assert!(words.starts_with(until) && words.ends_with(message), "{words}");
        }
        assert_eq!(said(409, "AlreadyExists", "x").0, Answer::Rejected);
    }
}
