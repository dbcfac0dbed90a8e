//! What an API server's answer to a write means.

use http::StatusCode;

use crate::sources::kubernetes::{Reply, StatusCause};

/// What to do next about an object that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    /// It is done.
    Done,
    /// There is one of this name.
    Exists,
    /// The server cannot take it yet; why.
    Later(String),
    /// Fields of it are taken: the node ports of a Service.
    Taken(Vec<String>),
    /// The server does not take it; why.
    Refused(String),
}

/// Refusals that go away by themselves soon after what they miss was created: the API server's
/// admission looks into caches of its own.
const NOT_YET: &[(&str, &str)] = &[
    ("error looking up service account", "not found"),
    ("no PriorityClass with name", "was found"),
    ("RuntimeClass", "not found"),
    ("status unknown for quota", ""),
    ("unable to find a quota", ""),
    ("not yet ready to handle request", ""),
];

const REPLACED: &str = "another object of its name took its place meanwhile; run the restore again";

/// What the answer to a create or a patch means.
pub(in super::super) fn of(reply: &Reply) -> Verdict {
    if reply.is_success() {
        return Verdict::Done;
    }
    let status = reply.status();
    let words = if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
    let has_cause = |reason: &str| status.details.causes.iter().any(|cause| cause.reason == reason);
    match reply.code {
        StatusCode::CONFLICT if status.reason == "AlreadyExists" => Verdict::Exists,
        StatusCode::CONFLICT if is_other_uid(&words) => Verdict::Refused(REPLACED.to_owned()),
        StatusCode::UNPROCESSABLE_ENTITY if status.details.causes.iter().any(|cause| cause.field == "metadata.uid") => {
            Verdict::Refused(REPLACED.to_owned())
        }
        // The port of a health check is allocated apart from the others, and a failure of it names no field.
        StatusCode::INTERNAL_SERVER_ERROR
            if words.contains("HealthCheck NodePort") && words.contains("already allocated") =>
        {
            Verdict::Taken(vec!["spec.healthCheckNodePort".to_owned()])
        }
        // A webhook that does not answer is a 500.
        StatusCode::CONFLICT | StatusCode::INTERNAL_SERVER_ERROR | StatusCode::NOT_FOUND => Verdict::Later(words),
        _ if reply.is_transient() => Verdict::Later(words),
        StatusCode::FORBIDDEN if has_cause("NamespaceTerminating") => Verdict::Later(words),
        StatusCode::FORBIDDEN if NOT_YET.iter().any(|(a, b)| words.contains(a) && words.contains(b)) => {
            Verdict::Later(words)
        }
        StatusCode::UNPROCESSABLE_ENTITY => match taken_ports(&status.details.causes) {
            fields if fields.is_empty() => Verdict::Refused(words),
            fields => Verdict::Taken(fields),
        },
        _ => Verdict::Refused(words),
    }
}

/// Whether the server may have done what it answers with a failure: a gateway that lost it, or a
/// server that failed after the write. One that is busy says so before it does anything.
pub(super) fn is_uncertain(reply: &Reply) -> bool {
    matches!(reply.code, StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT)
}

/// Whether a conflict is about the uid that the patch named: that does not go away by itself.
fn is_other_uid(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    words.contains("precondition") && words.contains("uid")
}

/// The fields of node ports that belong to another Service, if that is all that is wrong.
fn taken_ports(causes: &[StatusCause]) -> Vec<String> {
    let is_taken = |cause: &&StatusCause| {
        cause.field.to_ascii_lowercase().ends_with("nodeport") && cause.message.contains("already allocated")
    };
    let taken: Vec<String> = causes.iter().filter(is_taken).map(|cause| cause.field.clone()).collect();
    if taken.len() == causes.len() { taken } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn reply(code: u16, reason: &str, message: &str, causes: serde_json::Value) -> Reply {
        let body = json!({"kind": "Status", "reason": reason, "message": message, "details": {"causes": causes}});
        Reply { code: StatusCode::from_u16(code).unwrap(), body: Bytes::from(body.to_string()), retry_after: None }
    }

    #[test]
    fn a_port_that_is_taken_is_told_from_other_invalid_fields() {
        let taken = json!([{"reason": "FieldValueInvalid", "field": "spec.ports[1].nodePort",
                            "message": "Invalid value: 30080: provided port is already allocated"}]);
        let answer = reply(422, "Invalid", "Service is invalid", taken);
        assert_eq!(of(&answer), Verdict::Taken(vec!["spec.ports[1].nodePort".to_owned()]));
        let other =
            json!([{"reason": "FieldValueInvalid", "field": "spec.ports[1].nodePort", "message": "not in the range"}]);
        assert_eq!(of(&reply(422, "Invalid", "no", other)), Verdict::Refused("no".to_owned()));
    }

    #[test]
    fn the_port_of_a_health_check_that_is_taken_is_found_in_the_words() {
        let words = "failed to allocate requested HealthCheck NodePort 30988: provided port is already allocated";
        let answer = reply(500, "InternalError", words, json!([]));
        assert_eq!(of(&answer), Verdict::Taken(vec!["spec.healthCheckNodePort".to_owned()]));
        let full = "failed to allocate requested HealthCheck NodePort 30988: the range is full";
        assert_eq!(of(&reply(500, "InternalError", full, json!([]))), Verdict::Later(full.to_owned()));
    }

    #[test]
    fn an_object_that_was_replaced_is_not_patched_again() {
        let words = "Operation cannot be fulfilled on configmaps \"x\": Precondition failed: UID in precondition: \
                     6f5f6e7a, UID in object meta: 7a6e5f6f";
        assert_eq!(of(&reply(409, "Conflict", words, json!([]))), Verdict::Refused(REPLACED.to_owned()));
        let immutable =
            json!([{"reason": "FieldValueInvalid", "field": "metadata.uid", "message": "field is immutable"}]);
        assert_eq!(of(&reply(422, "Invalid", "x is invalid", immutable)), Verdict::Refused(REPLACED.to_owned()));
        let busy = "Operation cannot be fulfilled on configmaps \"x\": the object has been modified";
        assert!(matches!(of(&reply(409, "Conflict", busy, json!([]))), Verdict::Later(_)));
    }

    #[test]
    fn a_failure_of_the_server_or_of_a_gateway_may_have_been_a_success() {
        for (code, uncertain) in [(500, true), (502, true), (504, true), (503, false), (429, false), (404, false)] {
            assert_eq!(is_uncertain(&reply(code, "x", "x", json!([]))), uncertain, "{code}");
        }
    }

    #[test]
    fn what_goes_away_by_itself_is_tried_again() {
        let none = || json!([]);
        for (code, reason, message) in [
            (429, "TooManyRequests", "slow down"),
            (500, "InternalError", "failed calling webhook"),
            (404, "NotFound", "the server could not find the requested resource"),
            (403, "Forbidden", "error looking up service account a/b: serviceaccount \"b\" not found"),
            (409, "Conflict", "try again"),
        ] {
            assert_eq!(of(&reply(code, reason, message, none())), Verdict::Later(message.to_owned()));
        }
        let terminating = json!([{"reason": "NamespaceTerminating", "message": "", "field": ""}]);
        assert!(matches!(of(&reply(403, "Forbidden", "x", terminating)), Verdict::Later(_)));
    }

    #[test]
    fn a_refusal_is_final() {
        for code in [400, 401, 403, 405, 413, 415, 422] {
            assert_eq!(of(&reply(code, "No", "no", json!([]))), Verdict::Refused("no".to_owned()), "{code}");
        }
        assert_eq!(of(&reply(409, "AlreadyExists", "x", json!([]))), Verdict::Exists);
        assert_eq!(of(&reply(201, "", "", json!([]))), Verdict::Done);
    }
}
