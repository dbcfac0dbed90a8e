//! Releases of Helm: it keeps them in Secrets (or ConfigMaps), which are restored like all others.

use serde_json::Value;

use crate::sources::kubernetes::compare::GroupKind;

/// What a person must know of a release that an interrupted `helm` has left: it takes no upgrade as it is.
pub(super) fn pending(object: &Value) -> Option<String> {
    let label = |key: &str| {
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object)?;
        labels.get(key).and_then(Value::as_str)
    };
    let status = label("status").filter(|status| status.starts_with("pending-"))?;
    let name = label("name").filter(|_| label("owner") == Some("helm"))?;
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let next = match status {
        "pending-install" => format!("helm uninstall {name} -n {namespace}"),
        _ => format!("helm rollback {name} -n {namespace}"),
    };
    Some(format!("the Helm release `{name}` was `{status}` when it was backed up; before its next upgrade: {next}"))
}

/// Why a release is not restored into another namespace.
pub(super) const ELSEWHERE: &str = "a Helm release names the namespace that it was installed into, and `helm uninstall` in the new one would \
     delete there; install the chart anew, or leave the clone without Helm";

/// Whether Helm keeps a release in it.
pub(super) fn is_release(object: &Value) -> bool {
    let kind = GroupKind::of(object);
    let is_type = object.get("type").and_then(Value::as_str).is_some_and(|it| it.starts_with("helm.sh/release."));
    let is_owned = object.pointer("/metadata/labels/owner").and_then(Value::as_str) == Some("helm");
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    (kind.is("", "Secret") && is_type)
        || ((kind.is("", "Secret") || kind.is("", "ConfigMap")) && is_owned && name.starts_with("sh.helm.release."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(owner: &str, status: &str) -> Value {
        json!({"metadata": {"name": "sh.helm.release.v1.web.v2", "namespace": "shop",
                            "labels": {"owner": owner, "status": status, "name": "web", "version": "2"}}})
    }

    #[test]
    fn only_a_pending_release_of_helm_is_worth_a_word() {
        let text = pending(&release("helm", "pending-upgrade")).unwrap();
        assert!(text.contains("`web` was `pending-upgrade`") && text.ends_with("helm rollback web -n shop"), "{text}");
        assert!(pending(&release("helm", "pending-install")).unwrap().ends_with("helm uninstall web -n shop"));
        for (owner, status) in [("helm", "deployed"), ("helm", "superseded"), ("other", "pending-upgrade")] {
            assert_eq!(pending(&release(owner, status)), None, "{owner} {status}");
        }
        assert_eq!(pending(&json!({"metadata": {"labels": null}})), None);
    }

    #[test]
    fn a_release_is_found_in_either_place_that_helm_keeps_it_in() {
        let kept = |kind: &str, name: &str, r#type: &str, owner: &str| json!({"apiVersion": "v1", "kind": kind, "type": r#type, "metadata": {"name": name, "labels": {"owner": owner}}});
        assert!(is_release(&kept("Secret", "sh.helm.release.v1.web.v1", "helm.sh/release.v1", "helm")));
        assert!(is_release(&kept("ConfigMap", "sh.helm.release.v1.web.v1", "", "helm")));
        assert!(!is_release(&kept("ConfigMap", "settings", "", "helm")));
        assert!(!is_release(&kept("Secret", "sh.helm.release.v1.web.v1", "Opaque", "me")));
    }
}
