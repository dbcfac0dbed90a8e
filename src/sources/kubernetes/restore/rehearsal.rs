//! Whether the server would create an object whose name is still taken: asked by a dry run, under a name that is free.

use http::StatusCode;
use serde_json::{Value, json};

use super::execute::verdict::{self, Verdict};
use crate::{
    sources::kubernetes::{Reply, compare::GroupKind},
    types::Blake3Digest,
};

/// What a person must know of an answer: the name is another one.
pub(super) const HOW: &str = "asked by a dry run under another name";

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rehearsal {
    /// It would create it.
    Accepted,
    /// It would not; why.
    Refused(String),
    /// It cannot be asked so.
    NotTestable(String),
    /// It cannot answer now; why.
    Later(String),
}

/// Labels of a Job's Pods that say its name: of another one they are refused, and the server sets them itself.
const OF_JOB: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// The same object under a name that no other has.
pub(super) fn under_free_name(object: &Value) -> Value {
    let mut copy = object.clone();
    let digest = Blake3Digest::of(object.to_string().as_bytes()).to_string();
    let name = format!("drctl-trial-{}", digest.chars().filter(char::is_ascii_hexdigit).take(12).collect::<String>());
    if let Some(metadata) = copy.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), json!(name));
    }
    if GroupKind::of(object).is("batch", "Job")
        && let Some(labels) = copy.pointer_mut("/spec/template/metadata/labels").and_then(Value::as_object_mut)
    {
        labels.retain(|key, _| !OF_JOB.contains(&key.as_str()));
    }
    copy
}

/// What the answer to the dry run of such a creation means.
pub(super) fn meaning(reply: &Reply) -> Rehearsal {
    let status = reply.status();
    if reply.code == StatusCode::BAD_REQUEST && status.message.contains("does not support dry run") {
        return Rehearsal::NotTestable(status.message);
    }
    match verdict::of(reply) {
        // A port that the live one holds.
        Verdict::Done | Verdict::Exists | Verdict::Taken(_) => Rehearsal::Accepted,
        Verdict::Later(why) => Rehearsal::Later(why),
        // What the live one takes of a quota is free when it is deleted.
        Verdict::Refused(why) if why.contains("exceeded quota") => Rehearsal::NotTestable(why),
        // Of some kinds the name says what they are about.
        Verdict::Refused(why) if is_about_name(reply) => Rehearsal::NotTestable(why),
        Verdict::Refused(why) => Rehearsal::Refused(why),
    }
}

fn is_about_name(reply: &Reply) -> bool {
    let causes = reply.status().details.causes;
    !causes.is_empty() && causes.iter().all(|cause| cause.field == "metadata.name")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn said(code: u16, reason: &str, message: &str, field: &str) -> Rehearsal {
        let causes =
            if field.is_empty() { json!([]) } else { json!([{"field": field, "reason": "FieldValueInvalid"}]) };
        let body = json!({"kind": "Status", "reason": reason, "message": message, "details": {"causes": causes}});
        let body = Bytes::from(body.to_string());
        meaning(&Reply { code: StatusCode::from_u16(code).unwrap(), body, retry_after: None })
    }

    #[test]
    fn a_refusal_keeps_the_live_one_and_what_the_live_one_itself_causes_does_not() {
        assert_eq!(said(201, "", "", ""), Rehearsal::Accepted);
        for (code, reason, words) in [
            (422, "Invalid", "a policy denies it"),
            (403, "Forbidden", "configmaps is forbidden: User \"x\" cannot create resource"),
        ] {
            assert_eq!(said(code, reason, words, ""), Rehearsal::Refused(words.to_owned()));
        }
        assert_eq!(said(422, "Invalid", "no", "spec.x"), Rehearsal::Refused("no".to_owned()));
        for (code, reason, words, field) in [
            (422, "Invalid", "must be version.group", "metadata.name"),
            (403, "Forbidden", "exceeded quota: q", ""),
            (400, "BadRequest", "webhook \"x\" does not support dry run", ""),
        ] {
            assert_eq!(said(code, reason, words, field), Rehearsal::NotTestable(words.to_owned()));
        }
        assert!(matches!(said(500, "InternalError", "failed calling webhook", ""), Rehearsal::Later(_)));
    }

    #[test]
    fn the_name_is_another_one_and_nothing_else_is() {
        let object = json!({"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": {"k": "v"}});
        let mut copy = under_free_name(&object);
        let name = copy["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("drctl-trial-") && name.len() == 24, "{name}");
        copy["metadata"]["name"] = json!("a");
        assert_eq!(copy, object);
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"},
            "spec": {"template": {"metadata": {"labels": {"job-name": "a", "batch.kubernetes.io/job-name": "a", "app": "x"}}}}});
        assert_eq!(under_free_name(&job)["spec"]["template"]["metadata"]["labels"], json!({"app": "x"}));
    }
}
