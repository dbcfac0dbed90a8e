//! What a backup of a cluster's namespaces would miss, found out without reading them.

use futures::{StreamExt as _, stream};

use super::{
    super::{
        Error, ErrorKind,
        client::{Call, Patience},
        discovery::Discovery,
        kind::Kind,
        references::References,
    },
    KINDS_AT_ONCE, KubernetesSource,
    page::{self, LARGEST_OBJECT, Room, not_a_list},
    plan::{self, Existing, List, Plan, Task},
};
use crate::{
    sources::{Finding, Severity},
    types::for_terminal,
};

/// Names and times of objects, without what is in them; what a server does not know it leaves away.
const NAMES_ONLY: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
/// A role that allows nothing would fill the screen.
const MOST_NAMED: usize = 10;

/// What lists of one object each came to.
#[derive(Debug, Default)]
struct Asked {
    /// Kinds that can be listed.
    kinds: usize,
    /// There is an object in one of them.
    holds: bool,
    /// What cannot be listed, and why.
    failed: Vec<(String, Error)>,
}

impl KubernetesSource {
    /// What stands in the way of a complete backup of it: each list that a capture would begin with is asked for
    /// one object. Nothing is changed.
    ///
    /// # Errors
    /// [`Error`] if the cluster does not say what it has.
    pub async fn examine(&self) -> Result<Vec<Finding>, Error> {
        let room = Room::new();
        let (discovery, existing) = tokio::try_join!(Discovery::read(&self.cluster), self.existing_namespaces(&room))?;
        let (existing, dying) = existing;
        let mut plan = Plan::new(&self.selection, &discovery, &existing);
        let mut tasks = std::mem::take(&mut plan.tasks);
        let (always, perhaps): (Vec<&Kind>, Vec<&Kind>) =
            plan.referenced.iter().flatten().partition(|kind| References::default().names_of(&kind.id()).is_none());
        tasks.extend(always.into_iter().map(whole));
        let asked = self.ask_all(tasks, &plan.namespaces).await?;
        let unsure = self.ask_all(perhaps.into_iter().map(whole).collect(), &[]).await?;

        let mut findings: Vec<Finding> = Vec::new();
        let mut add = |severity, what: String| findings.push(self.finding(severity, what));
        for (what, why) in &plan.missing {
            add(Severity::Partial, format!("{what}: {why}"));
        }
        for name in &dying {
            add(Severity::Suspect, format!("namespace `{name}` is being deleted: a backup would be suspect"));
        }
        for note in &plan.notes {
            add(Severity::Note, note.clone());
        }
        for (what, error) in unsure.failed.iter().take(MOST_NAMED) {
            let why = &error.reason;
            add(Severity::Note, format!("{what} cannot be listed ({why}): a backup that needs one would be partial"));
        }
        findings.extend(self.of_lists(&asked, &plan.namespaces));
        Ok(findings)
    }

    /// Tries whether there is something that may be read, before anything is stored: one request, where Namespaces may be
    /// listed.
    ///
    /// # Errors
    /// [`Error`] if the cluster does not answer, or no list of what there is is allowed.
    pub async fn reach(&self) -> Result<(), Error> {
        let room = Room::new();
        let (existing, _) = self.existing_namespaces(&room).await?;
        // The Namespaces themselves are captured.
        if matches!(&existing, Existing::Known(names) if names.iter().any(|name| self.selection.takes_namespace(name)))
        {
            return Ok(());
        }
        let discovery = Discovery::read(&self.cluster).await?;
        let mut plan = Plan::new(&self.selection, &discovery, &existing);
        let asked = self.ask_all(std::mem::take(&mut plan.tasks), &plan.namespaces).await?;
        match asked.failed.into_iter().next() {
            Some((_, error)) if !asked.holds => Err(error),
            _ => Ok(()),
        }
    }

    fn finding(&self, severity: Severity, what: String) -> Finding {
        Finding { subject: format!("source {}", self.name), severity, what, next: None }
    }

    fn of_lists(&self, asked: &Asked, namespaces: &[String]) -> Vec<Finding> {
        let next = "bind the ClusterRole of docs/permissions.md to this identity".to_owned();
        if let (false, Some((_, error))) = (asked.holds, asked.failed.first()) {
            let what = format!("nothing of it can be read: {error}");
            return vec![Finding { next: Some(next), ..self.finding(Severity::Prevents, what) }];
        }
        let mut findings: Vec<Finding> = Vec::new();
        for (what, error) in asked.failed.iter().take(MOST_NAMED) {
            let what = format!("{what} cannot be listed: {}", error.reason);
            let next = (error.kind == ErrorKind::Forbidden).then(|| next.clone());
            findings.push(Finding { next, ..self.finding(Severity::Partial, what) });
        }
        if let Some(more) = asked.failed.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
            findings.push(self.finding(Severity::Partial, format!("and {more} more lists")));
        }
        let names: Vec<_> = namespaces.iter().take(MOST_NAMED).map(|name| for_terminal(name)).collect();
        let more = namespaces.len().checked_sub(MOST_NAMED).filter(|more| *more > 0);
        let more = more.map(|more| format!(" and {more} more")).unwrap_or_default();
        let what = format!("{} kinds can be listed, for the namespaces {}{more}", asked.kinds, names.join(", "));
        findings.push(self.finding(Severity::Good, what));
        findings
    }

    /// Asks for one object of each list, as a capture would list them. `namespaces`: where a list of the whole cluster
    /// is forbidden, each of these is asked for.
    async fn ask_all(&self, tasks: Vec<Task>, namespaces: &[String]) -> Result<Asked, Error> {
        let mut asked = Asked::default();
        let outcomes = stream::iter(tasks).map(|task| self.ask(task, namespaces));
        let mut outcomes = std::pin::pin!(outcomes.buffer_unordered(KINDS_AT_ONCE));
        while let Some(one) = outcomes.next().await {
            let one = one?;
            asked.kinds += one.kinds;
            asked.holds |= one.holds;
            asked.failed.extend(one.failed);
        }
        asked.failed.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(asked)
    }

    async fn ask(&self, task: Task, namespaces: &[String]) -> Result<Asked, Error> {
        let mut asked = Asked::default();
        let mut lists = task.lists.clone();
        let mut at = 0;
        while let Some(list) = lists.get(at) {
            let whole = list.namespace.is_none() && list.query.is_empty();
            match self.holds(&task.kind, list).await {
                Ok(holds) => asked.holds |= holds,
                Err(error) if matches!(error.kind, ErrorKind::Unauthenticated | ErrorKind::Unreachable) => {
                    return Err(error);
                }
                Err(error)
                    if error.kind == ErrorKind::Forbidden
                        && whole
                        && task.kind.namespaced
                        && !namespaces.is_empty() =>
                {
                    lists.splice(at..=at, plan::each_namespace(&self.selection, &task.kind, namespaces));
                    continue;
                }
                Err(error) => asked.failed.push((list.what.clone(), error)),
            }
            at += 1;
        }
        if asked.failed.len() < lists.len() || lists.is_empty() {
            asked.kinds = 1;
        } else if lists.len() > 1 {
            // Where each list of a kind failed, it is the kind.
            asked.failed.truncate(1);
            asked.failed.iter_mut().for_each(|(what, _)| *what = format!("kind {}", task.id));
        }
        Ok(asked)
    }

    /// Whether there is an object in a list.
    async fn holds(&self, kind: &Kind, list: &List) -> Result<bool, Error> {
        let path = kind.list_path(list.namespace.as_deref());
        let query = if list.query.is_empty() { String::new() } else { format!("{}&", list.query) };
        let (act, path) = (format!("list {}", list.what), format!("{path}?{query}limit=1"));
        let call = Call { accept: Some(NAMES_ONLY), ..Call::get(&act, &path, LARGEST_OBJECT) };
        let reply = self.cluster.read(&call, Patience::default()).await.map_err(|error| error.into_error(&call))?;
        let body = reply.success(&act)?;
        page::has_items(&body).map_err(|error| not_a_list(&act, &error))
    }
}

fn whole(kind: &Kind) -> Task {
    let id = kind.id();
    Task { kind: kind.clone(), lists: vec![plan::everything(&id)], id }
}
