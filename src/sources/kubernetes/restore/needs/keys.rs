//! The keys that open SealedSecrets. No field names them, and they lie in the namespace of their controller: a
//! restore of SealedSecrets alone may bring what nobody can open.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{MissingReference, stream_of};
use crate::sources::kubernetes::{
    Call, Patience,
    compare::GroupKind,
    kinds::SEALED_SECRETS_KEY_LABEL,
    restore::{RestoreContext, RestoreError, lines::Lines, plan::Plan, report::ObjectName, target::TargetCluster},
    segment,
};

const SECRETS: &str = "secrets";
/// More bytes of keys no cluster has.
const LIMIT: usize = 16 << 20;

/// The SealedSecrets among the chosen objects.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    first: Option<ObjectName>,
    others: u64,
}

/// A key: its namespace and name, and its certificate, which tells it from others.
type Key = ((String, String), String);

impl Sealed {
    /// Takes note of `object`, which is restored under `name`.
    pub(super) fn see(&mut self, name: &ObjectName, object: &Value) {
        if !GroupKind::of(object).is("bitnami.com", "SealedSecret") {
            return;
        }
        match self.first {
            None => self.first = Some(name.clone()),
            Some(_) => self.others += 1,
        }
    }

    /// The keys of the backup that are neither restored by `plan` nor live; and if there is no key at all, that.
    pub(super) async fn settle(
        self,
        context: RestoreContext<'_>,
        target: &TargetCluster,
        plan: &Plan,
    ) -> Result<Vec<MissingReference>, RestoreError> {
        let Some(first) = self.first else { return Ok(Vec::new()) };
        let held = held(context, plan).await?;
        let live = live(context, target).await?;
        let planned: BTreeSet<(String, String)> = plan
            .objects()
            .filter(|object| object.kind == SECRETS && object.action.is_there_after())
            .map(|object| (object.namespace.to_owned(), object.name.to_owned()))
            .collect();
        let missing = missing(&held, &live, &planned).into_iter().map(|((namespace, name), in_backup, reason)| {
            let object = ObjectName { kind: SECRETS.to_owned(), namespace, name };
            let reason = reason.to_owned();
            MissingReference { object, needed_by: first.clone(), others: self.others, in_backup, reason }
        });
        Ok(missing.collect())
    }
}

const NOT_CHOSEN: &str = "the backup holds it, and it is not chosen: without this key of the sealed-secrets controller \
                          what was sealed with it cannot be opened";
const NO_KEY: &str = "neither the cluster nor the backup holds a key of the sealed-secrets controller, and no SealedSecret can be opened";

/// Which keys are missing, whether the backup holds them, and why.
fn missing(
    held: &BTreeMap<(String, String), String>,
    live: &BTreeSet<String>,
    planned: &BTreeSet<(String, String)>,
) -> Vec<((String, String), bool, &'static str)> {
    if held.is_empty() && live.is_empty() {
        let any = format!("with the label {SEALED_SECRETS_KEY_LABEL}");
        return vec![((String::new(), any), false, NO_KEY)];
    }
    let absent = held.iter().filter(|(name, certificate)| !planned.contains(name) && !live.contains(*certificate));
    absent.map(|(name, _)| (name.clone(), true, NOT_CHOSEN)).collect()
}

fn key_of(object: &Value) -> Option<Key> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    object.pointer("/metadata/labels")?.get(SEALED_SECRETS_KEY_LABEL)?;
    Some(((text("/metadata/namespace"), text("/metadata/name")), text("/data/tls.crt")))
}

/// The keys that the backup holds.
async fn held(context: RestoreContext<'_>, plan: &Plan) -> Result<BTreeMap<(String, String), String>, RestoreError> {
    let mut held = BTreeMap::new();
    let Some(stream) = stream_of(context, plan, SECRETS) else { return Ok(held) };
    for part in 0..stream.parts.len() {
        let mut lines = Lines::open(context.contents, stream, part).await?;
        while let Some(line) = lines.next().await? {
            held.extend(key_of(lines.parse(&line)?.fields()));
        }
    }
    Ok(held)
}

/// The certificates of the keys that the cluster holds, whatever they are called and wherever they are.
async fn live(context: RestoreContext<'_>, target: &TargetCluster) -> Result<BTreeSet<String>, RestoreError> {
    let Some(kind) = target.kind_of("v1", "Secret") else { return Ok(BTreeSet::new()) };
    let act = "list the keys of sealed-secrets";
    let path = format!("{}?labelSelector={}", kind.list_path(None), segment(SEALED_SECRETS_KEY_LABEL));
    let call = Call::get(act, &path, LIMIT);
    let reply = context.cluster.read(&call, Patience::default()).await.map_err(|error| error.into_error(&call))?;
    let body = reply.success(act)?;
    let list: Value = serde_json::from_slice(&body).unwrap_or_default();
    let items = list.get("items").and_then(Value::as_array).into_iter().flatten();
    Ok(items.filter_map(key_of).map(|(_, certificate)| certificate).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(name: &str) -> (String, String) {
        ("kube-system".to_owned(), name.to_owned())
    }

    #[test]
    fn a_key_is_missing_that_is_neither_live_under_any_name_nor_restored() {
        let held =
            BTreeMap::from([(name("a"), "A".to_owned()), (name("b"), "B".to_owned()), (name("c"), "C".to_owned())]);
        let found = missing(&held, &BTreeSet::from(["A".to_owned()]), &BTreeSet::from([name("b")]));
        assert_eq!(found, [(name("c"), true, NOT_CHOSEN)]);
        let other = missing(&held, &BTreeSet::from(["X".to_owned()]), &BTreeSet::new());
        assert_eq!(other.len(), 3, "a cluster with keys of its own opens none of them");
    }

    #[test]
    fn no_key_at_all_is_named_too_and_a_cluster_that_has_some_is_believed() {
        let nothing = missing(&BTreeMap::new(), &BTreeSet::new(), &BTreeSet::new());
        assert_eq!((nothing.len(), nothing[0].1, nothing[0].2), (1, false, NO_KEY));
        assert_eq!(missing(&BTreeMap::new(), &BTreeSet::from(["X".to_owned()]), &BTreeSet::new()), []);
    }

    #[test]
    fn a_key_is_known_by_its_label() {
        let secret = |labels: Value| json!({"metadata": {"namespace": "kube-system", "name": "a", "labels": labels}, "data": {"tls.crt": "A"}});
        assert_eq!(key_of(&secret(json!({SEALED_SECRETS_KEY_LABEL: "active"}))), Some((name("a"), "A".to_owned())));
        assert_eq!(key_of(&secret(json!({"app": "x"}))), None);
    }
}
