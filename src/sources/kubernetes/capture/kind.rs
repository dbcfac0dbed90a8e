//! One kind from the cluster into its stream.

use std::collections::BTreeMap;

use super::{
    super::{
        Error, ErrorKind,
        client::Cluster,
        discovery, kinds, nesting,
        references::{References, deploys_into},
        selection::{ClusterScoped, KubernetesSelection},
        volumes::{Seen, VolumeRules},
    },
    line::{Head, Item},
    page::{Body, Page, Pager, Room, not_a_list},
    plan::{self, Keep, List, Task},
    writer::Writer,
};
use crate::{
    sources::{CaptureError, CapturedGroup},
    types::{CaptureSink, MediaType, Monitor, Name, SinkError, StreamSpec},
};

/// A list that expires this often never comes to its end.
pub(super) const RESTARTS: usize = 5;

/// What all kinds of a run share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    pub(super) source: &'a Name,
    pub(super) cluster: &'a Cluster,
    pub(super) selection: &'a KubernetesSelection,
    pub(super) volumes: &'a VolumeRules,
    /// The namespaces to list one by one where the whole cluster may not be listed.
    pub(super) namespaces: &'a [String],
    pub(super) room: &'a Room,
    pub(super) sink: &'a dyn CaptureSink,
    pub(super) monitor: &'a dyn Monitor,
}

/// What became of one kind.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) groups: BTreeMap<String, CapturedGroup>,
    pub(super) references: References,
    /// What could not be listed, and why.
    pub(super) failed: Vec<(String, Error)>,
    pub(super) too_deep: TooDeep,
    pub(super) seen: Seen,
}

/// Objects that are stored and that no restore can read, because they are nested too deeply.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TooDeep {
    pub(super) count: u64,
    /// Kind, namespace and name of the first.
    pub(super) first: Option<String>,
}

impl TooDeep {
    fn add(&mut self, id: &str, meta: &kinds::Meta) {
        self.count += 1;
        let namespace = if meta.namespace.is_empty() { String::new() } else { format!("{}/", meta.namespace) };
        self.first.get_or_insert_with(|| format!("{id} {namespace}{}", meta.name));
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }

    /// What a person should know of them.
    pub(super) fn note(&self, source: &Name) -> Option<String> {
        let first = crate::types::for_terminal(self.first.as_ref()?);
        let count = match self.count {
            1 => "1 object".to_owned(),
            count => format!("{count} objects"),
        };
        Some(format!(
            "stored, but drctl cannot restore it: {count} of source `{source}` nested more than {} levels deep (the \
             first: {first})",
            nesting::DEEPEST
        ))
    }
}

/// Why a list came to no end.
enum Stop {
    Sink(SinkError),
    /// The list at this place failed after some of it was written.
    List(usize, Error),
    /// Nothing else will succeed either.
    Cluster(Error),
}

struct Attempt<'a> {
    writer: Writer<'a>,
    references: References,
    failed: Vec<(usize, Error)>,
    too_deep: TooDeep,
    seen: Seen,
}

impl Run<'_> {
    /// Captures one kind. What was referred to before is in `known`.
    pub(super) async fn capture(&self, task: Task, known: &References) -> Result<Outcome, CaptureError> {
        let mut lists = task.lists.clone();
        let mut known = known.clone();
        let mut failed = Vec::new();
        let mut restarts = 0;
        loop {
            let attempt = match self.attempt(&task, &lists, &known).await {
                Ok(attempt) => attempt,
                Err(Stop::Sink(error)) => return Err(error.into()),
                Err(Stop::Cluster(error)) => return Err(error.into()),
                Err(Stop::List(_, error)) if error.kind == ErrorKind::Expired && restarts < RESTARTS => {
                    restarts += 1;
                    self.monitor.note(&format!("The list of {} expired while it was read; it begins again.", task.id));
                    continue;
                }
                Err(Stop::List(at, error)) => {
                    failed.push((lists.remove(at).what, error));
                    continue;
                }
            };
            if let Some(instead) = self.by_namespace(&task, &lists, &attempt.failed) {
                lists = instead;
                continue;
            }
            // A ClusterRole that was passed over may be a part of one that came after it.
            if task.kind.plural == "clusterroles" && attempt.references != known && restarts < RESTARTS {
                restarts += 1;
                known = attempt.references;
                continue;
            }
            failed.extend(name_failures(&task.id, &lists, attempt.failed));
            // A kind that the policy asks for is missing, whoever has removed it.
            if !self.selection.include.iter().any(|rule| rule.names_kind(&task.id))
                && failed.iter().any(|(_, error)| error.kind == ErrorKind::NotFound)
                && discovery::is_gone(self.cluster, &task.kind).await
            {
                self.monitor.note(&format!("{} is not served any more: it was removed while it was read.", task.id));
                failed.retain(|(_, error)| error.kind != ErrorKind::NotFound);
            }
            let Attempt { writer, references, too_deep, seen, .. } = attempt;
            let groups = writer.finish().await?;
            return Ok(Outcome { groups, references, failed, too_deep, seen });
        }
    }

    /// The lists to use instead, if one of the whole cluster was forbidden.
    fn by_namespace(&self, task: &Task, lists: &[List], failed: &[(usize, Error)]) -> Option<Vec<List>> {
        // What is in other namespaces cannot be found in the source's own.
        let whole = |list: &List| list.namespace.is_none() && list.query.is_empty() && list.keep != Keep::Deploying;
        let forbidden = failed.iter().find(|(at, error)| {
            error.kind == ErrorKind::Forbidden && task.kind.namespaced && lists.get(*at).is_some_and(whole)
        });
        if self.namespaces.is_empty() {
            return None;
        }
        let (at, _) = forbidden?;
        let mut instead = plan::each_namespace(self.selection, &task.kind, self.namespaces);
        let others = lists.iter().enumerate().filter(|(place, _)| place != at);
        instead.extend(others.map(|(_, list)| list.clone()));
        Some(instead)
    }

    async fn attempt<'a>(&'a self, task: &Task, lists: &[List], known: &References) -> Result<Attempt<'a>, Stop> {
        let spec =
            StreamSpec { source: self.source.clone(), name: task.id.clone(), media_type: MediaType::KubernetesObjects };
        let writer = Writer::new(self.sink, spec);
        let mut attempt = Attempt {
            writer,
            references: known.clone(),
            failed: Vec::new(),
            too_deep: TooDeep::default(),
            seen: Seen::default(),
        };
        let head = Head::of(&task.kind);
        for (at, list) in lists.iter().enumerate() {
            let path = task.kind.list_path(list.namespace.as_deref());
            let mut pager = Pager::new(self.cluster, self.room, format!("list {}", list.what), &path, &list.query);
            let mut begun = false;
            loop {
                match self.take_page(task, list, &head, &mut pager, &mut attempt).await {
                    Ok(true) => begun = true,
                    Ok(false) => break,
                    Err(Stop::List(_, error)) if begun => return Err(Stop::List(at, error)),
                    Err(Stop::List(_, error)) => {
                        attempt.failed.push((at, error));
                        break;
                    }
                    Err(stop) => return Err(stop),
                }
            }
        }
        Ok(attempt)
    }

    /// One page into the stream. `false`: there was none left.
    async fn take_page(
        &self,
        task: &Task,
        list: &List,
        head: &Head,
        pager: &mut Pager<'_>,
        attempt: &mut Attempt<'_>,
    ) -> Result<bool, Stop> {
        let Some(body) = pager.next().await.map_err(stop)? else { return Ok(false) };
        let refuse = |error: serde_json::Error| Stop::List(0, not_a_list(pager.act(), &error));
        let page = body.page().map_err(refuse)?;
        // All of a page is understood before any of it is written.
        let items = read_items(&page).map_err(refuse)?;
        pager.advance(&body, &page);
        let mut written = 0;
        for (json, item) in items {
            if !self.keeps(list.keep, task, &item, json, &mut attempt.references) {
                continue;
            }
            // A Pod that is made again shows which claims its workload uses.
            attempt.seen.see(self.volumes, &task.id, &item.metadata, json);
            if kinds::made_again_by(&task.id, &item.metadata).is_some() {
                continue;
            }
            if task.kind.namespaced && self.selection.cluster_scoped() == ClusterScoped::Referenced {
                attempt.references.collect(&task.kind, &item.metadata, json);
            }
            let status = if kinds::needs_status(&task.id) { item.status() } else { serde_json::Value::Null };
            let mut restorable = kinds::not_created_by(&task.id, &item.metadata, &status).is_none();
            if nesting::depth(json) > nesting::DEEPEST {
                restorable = false;
                attempt.too_deep.add(&task.id, &item.metadata);
            }
            let write = |out: &mut bytes::BytesMut| head.write(&item, json, out);
            attempt.writer.line(&item.metadata.namespace, restorable, write).await.map_err(Stop::Sink)?;
            written += 1;
        }
        self.monitor.advance(written);
        drop::<Body>(body);
        Ok(true)
    }

    fn keeps(&self, keep: Keep, task: &Task, item: &Item<'_>, json: &str, references: &mut References) -> bool {
        let (selection, meta) = (self.selection, &item.metadata);
        let is_there = match keep {
            Keep::All => true,
            Keep::InNamespaces => selection.takes_namespace(&meta.namespace),
            Keep::InOtherNamespaces => !selection.takes_namespace(&meta.namespace),
            // A namespace goes with what is in it, whatever is said of kinds and labels.
            Keep::Namespaces => return selection.takes_namespace(&meta.name),
            Keep::Referenced => true,
            Keep::Deploying => !selection.takes_namespace(&meta.namespace) && deploys_into(selection, json),
        };
        // Without its keys no SealedSecret can be opened again.
        let is_chosen = kinds::is_sealed_secrets_key(&task.id, meta)
            || task.id == plan::NAMESPACES
            || selection.takes_object(&task.kind, meta);
        // What a referenced object refers to is collected only if it is taken.
        is_there && is_chosen && (keep != Keep::Referenced || references.takes(selection, &task.id, meta, json))
    }
}

/// What failed, by name. Where each list of a kind failed, it is the kind.
fn name_failures(id: &str, lists: &[List], failed: Vec<(usize, Error)>) -> Vec<(String, Error)> {
    let all = lists.len() > 1 && failed.len() == lists.len();
    let named = failed.into_iter().filter_map(|(at, error)| lists.get(at).map(|list| (list.what.clone(), error)));
    if all { named.take(1).map(|(_, error)| (format!("kind {id}"), error)).collect() } else { named.collect() }
}

fn read_items<'p>(page: &Page<'p>) -> Result<Vec<(&'p str, Item<'p>)>, serde_json::Error> {
    page.items().iter().map(|raw| Item::read(raw.get()).map(|item| (raw.get(), item))).collect()
}

fn stop(error: Error) -> Stop {
    match error.kind {
        ErrorKind::Unauthenticated | ErrorKind::Unreachable => Stop::Cluster(error),
        _ => Stop::List(0, error),
    }
}
