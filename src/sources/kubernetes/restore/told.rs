//! What the server's dry run says of one object, and what follows from that.

use http::StatusCode;
use serde_json::Value;

use super::{
    conflicts::{REPLACE, never_replaced},
    plan::Answer,
};
use crate::sources::kubernetes::compare::{GroupKind, compare};

/// What the server says of one object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) answer: Answer,
    pub(super) words: String,
    /// Why the live object stays as it is: what would become of it is refused, and not only the Pods of it.
    pub(super) stays: Option<String>,
}

impl Told {
    pub(super) fn new(answer: Answer, words: impl Into<String>) -> Self {
        Self { answer, words: words.into(), stays: None }
    }
}

/// Why an object stays that the server does not let be updated, with what helps.
pub(super) fn refused_update(code: StatusCode, words: &str, object: &Value, live: &Value) -> String {
    let next = match never_replaced(object, live) {
        // Who may not do the one may not do the other either.
        _ if matches!(code, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => String::new(),
        Some(never) => format!("; {never}: change it by hand, or leave it with --on-conflict skip"),
        None => REPLACE.to_owned(),
    };
    format!("the server refuses the update: {words}{next}")
}

/// It cannot be known yet.
pub(super) fn is_not_testable(told: &Told) -> bool {
    told.answer == Answer::NotTestable
}

/// Whether a workload that is updated makes new Pods: its template changes, or there are more of them.
pub(super) fn makes_pods_anew(sent: &Value, live: &Value) -> bool {
    let Some(template) = GroupKind::of(sent).pod_spec().and_then(|path| path.strip_suffix(".spec")) else {
        return false;
    };
    let found = compare(sent, live);
    let mut paths = found.differences.iter().map(|difference| &difference.path).chain(&found.additions);
    let is_other = paths.any(|path| path.starts_with(template));
    let replicas = |object: &Value| object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    is_other || replicas(sent) > replicas(live)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_asked_about_only_where_an_update_makes_new_ones() {
        let set = |replicas: u64, image: &str, label: &str| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"labels": {"l": label}}, "spec": {"replicas": replicas,
                "template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
        };
        let live = set(2, "a:1", "x");
        assert!(!makes_pods_anew(&set(2, "a:1", "y"), &live) && !makes_pods_anew(&set(1, "a:1", "x"), &live));
        assert!(makes_pods_anew(&set(2, "a:2", "x"), &live) && makes_pods_anew(&set(3, "a:1", "x"), &live));
        let mut restarted = set(2, "a:1", "x");
        restarted["spec"]["template"]["metadata"] = json!({"annotations": {"restartedAt": "now"}});
        assert!(makes_pods_anew(&live, &restarted), "what an update takes away makes new Pods too");
        assert!(!makes_pods_anew(&json!({"kind": "ConfigMap"}), &Value::Null));
    }

    #[test]
    fn advice_is_given_only_where_it_helps() {
        let object = |kind: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}});
        let of = |code: StatusCode, kind: &str| refused_update(code, "no", &object(kind), &object(kind));
        assert!(
            of(StatusCode::UNPROCESSABLE_ENTITY, "ConfigMap").ends_with("--on-conflict replace deletes and creates it")
        );
        assert!(!of(StatusCode::FORBIDDEN, "ConfigMap").contains("--on-conflict"));
        let claim = of(StatusCode::UNPROCESSABLE_ENTITY, "PersistentVolumeClaim");
        assert!(claim.contains("never replaced") && !claim.contains("--on-conflict replace"), "{claim}");
        assert!(!claim.contains("--on-conflict update"), "{claim}");
    }
}
