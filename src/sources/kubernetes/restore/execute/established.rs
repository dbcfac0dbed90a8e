//! Waits until the definitions of a backup are in force.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::Value;
use tokio::time::Instant;

use super::object::Worker;
use crate::sources::kubernetes::restore::live::get;

const AT_ONCE: usize = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Waits for the definitions among `kinds` (places in the plan). Those that do not become
/// established are remembered, so that their objects fail with that reason.
pub(super) async fn wait(worker: &Worker<'_>, kinds: &[usize]) {
    let planned = kinds.iter().filter_map(|kind| worker.plan.kinds.get(*kind));
    let entries = planned.flat_map(|kind| kind.parts.iter().flat_map(|part| &part.entries));
    let names: Vec<String> =
        entries.filter(|entry| entry.action.is_there_after()).map(|entry| entry.name.to_string()).collect();
    if names.is_empty() {
        return;
    }
    worker.context.monitor.phase("waiting for definitions", "definitions", u64::try_from(names.len()).ok());
    let waits = names.into_iter().map(|name| async move {
        if let Err(why) = wait_for(worker, &name).await {
            worker.lose(format!("kind {name}"), format!("its definition is not established: {why}"));
        }
        worker.context.monitor.advance(1);
    });
    stream::iter(waits).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

async fn wait_for(worker: &Worker<'_>, name: &str) -> Result<(), String> {
    let kind = worker.target.kind_of("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let kind = kind.ok_or("the cluster serves no definitions")?;
    let deadline = Instant::now() + worker.options.object_deadline;
    let mut pause = FIRST_PAUSE;
    loop {
        let live = get(worker.context.cluster, kind, "", name).await.map_err(|error| error.to_string())?;
        let why = match live {
            Some(live) if is_true(&live, "Established") => return Ok(()),
            Some(live) => message(&live, "NamesAccepted"),
            None => return Err("it is not there".to_owned()),
        };
        if Instant::now() >= deadline || worker.context.cancel.is_cancelled() {
            return Err(why);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(name))
}

fn is_true(object: &Value, name: &str) -> bool {
    condition(object, name).and_then(|condition| condition.get("status")?.as_str()) == Some("True")
}

fn message(object: &Value, name: &str) -> String {
    let text = condition(object, name).and_then(|condition| condition.get("message")?.as_str());
    text.unwrap_or("the server has not looked at it yet").to_owned()
}
