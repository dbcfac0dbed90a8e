//! Namespaces that are being deleted and do not go away: what holds them.

use serde_json::Value;

/// Conditions of a namespace that is being deleted, which are true while something holds it.
const HOLDING: &[&str] = &[
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
];

/// What holds an object that is being deleted: `: it is held by ...`; empty if it does not say.
pub(super) fn held_by(live: &Value) -> String {
    let conditions = live.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value, field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let holding = conditions
        .filter(|condition| text(condition, "status") == "True" && HOLDING.contains(&text(condition, "type").as_str()));
    let mut reasons: Vec<String> = holding.map(|condition| text(condition, "message")).collect();
    reasons.retain(|reason| !reason.is_empty());
    let finalizers: Vec<&str> = ["/metadata/finalizers", "/spec/finalizers"]
        .iter()
        .filter_map(|list| live.pointer(list)?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| *name != "kubernetes")
        .collect();
    if !finalizers.is_empty() {
        reasons.push(format!("its own finalizers {}", finalizers.join(", ")));
    }
    if reasons.is_empty() { String::new() } else { format!(": it is held by: {}", reasons.join("; ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_holds_a_namespace_is_named_by_its_conditions_and_finalizers() {
        let condition =
            |name: &str, status: &str, message: &str| json!({"type": name, "status": status, "message": message});
        let live = json!({"metadata": {"finalizers": ["a.example.org/keep"]}, "spec": {"finalizers": ["kubernetes"]},
        "status": {"conditions": [
            condition("NamespaceDeletionContentFailure", "False", "All content successfully deleted"),
            condition("NamespaceFinalizersRemaining", "True", "Some content has finalizers: example.org/x in 1 instances"),
        ]}});
        assert_eq!(
            held_by(&live),
            ": it is held by: Some content has finalizers: example.org/x in 1 instances; its own finalizers a.example.org/keep"
        );
        assert_eq!(held_by(&json!({"spec": {"finalizers": ["kubernetes"]}})), "");
    }
}
