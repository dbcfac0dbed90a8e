//! Which values a difference shows. Reports are mailed and pasted into tickets; a password may stand
//! in a Secret, and also in a ConfigMap, a variable, an argument, an annotation, the header of a probe,
//! and anywhere in a custom resource.

use serde_json::Value;

use super::{
    super::kind::is_built_in_group,
    kind::GroupKind,
    path::{Path, Step},
};

/// Characters of a value that a difference shows.
const SHOWN: usize = 120;
/// Fields whose values are not shown, wherever they are.
const HIDDEN: &[&str] = &[
    "annotations",
    "args",
    "binaryData",
    "command",
    "data",
    "env",
    "httpHeaders",
    "mountOptions",
    "stringData",
    "url",
    "volumeAttributes",
];
/// A key with one of these in it names a secret. Written without capitals, `-`, `_` and `.`.
const SECRET_WORDS: &[&str] =
    &["accesskey", "apikey", "credential", "passphrase", "passwd", "password", "privatekey", "secret", "token"];
/// Fields of built-in kinds with such a word that say where a secret is, or whether there is one.
const REFERENCES: &[&str] = &[
    "automountServiceAccountToken",
    "controllerExpandSecretRef",
    "controllerPublishSecretRef",
    "imagePullSecrets",
    "nodeExpandSecretRef",
    "nodePublishSecretRef",
    "nodeStageSecretRef",
    "secret",
    "secretKeyRef",
    "secretName",
    "secretNamespace",
    "secretRef",
    "secrets",
    "serviceAccountToken",
    "tokenRequests",
];
/// Deeper values are not searched, and not shown.
const DEEPEST: usize = 24;

/// The value at `path` of an object of `kind`, as far as it may be shown. With `reveal` only a Secret's are hidden.
pub(super) fn show(kind: GroupKind<'_>, path: &Path, value: &Value, reveal: bool) -> String {
    let hidden = kind.is("", "Secret") || (!reveal && Place::of(kind, path).hides(value, 0));
    if hidden { "a value that is not shown".to_owned() } else { shortened(value) }
}

/// Where a value stands, as far as that decides whether it is shown.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    /// Of a kind that the API server itself serves: its fields are known.
    built_in: bool,
    /// In `metadata`, whose fields are known for every kind.
    in_metadata: bool,
    /// Nothing here is shown.
    hidden: bool,
    /// Hidden only because it is a variable: one that names where its value stands is shown.
    variable: bool,
    /// The field that it is in.
    field: &'a str,
    /// No field was entered yet.
    root: bool,
}

impl<'a> Place<'a> {
    fn of(kind: GroupKind<'_>, path: &'a Path) -> Self {
        let built_in = is_built_in_group(kind.group);
        let root = Self { built_in, in_metadata: false, hidden: false, variable: false, field: "", root: true };
        path.steps().iter().fold(root, |place, step| match step {
            Step::Key(key) => place.field(key),
            // What is in a list is in its field.
            _ => place,
        })
    }

    /// Inside it the field or key `key`.
    fn field(self, key: &'a str) -> Self {
        let from_elsewhere = self.variable && self.field == "env" && key == "valueFrom";
        let begins = HIDDEN.contains(&key)
            || (self.field == "httpGet" && key == "path")
            || (names_secret(key) && !(self.built_in && REFERENCES.contains(&key)));
        let is_env = key == "env" && !self.hidden;
        Self {
            in_metadata: self.in_metadata || (self.root && key == "metadata"),
            hidden: !from_elsewhere && (self.hidden || begins),
            variable: !from_elsewhere && (is_env || (self.variable && self.hidden)),
            field: key,
            root: false,
            ..self
        }
    }

    /// Whether the value, or something in it, must not be shown.
    fn hides(self, value: &Value, depth: usize) -> bool {
        match value {
            _ if self.hidden || depth > DEEPEST => true,
            Value::Object(map) => map.iter().any(|(key, value)| self.field(key).hides(value, depth + 1)),
            Value::Array(items) => items.iter().any(|item| self.hides(item, depth + 1)),
            // What a field of a custom resource means, only its own controller knows.
            Value::String(_) => !self.built_in && !self.in_metadata && !self.names_kind(),
            _ => false,
        }
    }

    fn names_kind(self) -> bool {
        matches!(self.field, "apiVersion" | "kind")
    }
}

fn names_secret(key: &str) -> bool {
    let plain: String =
        key.chars().filter(|char| !matches!(char, '-' | '_' | '.')).map(|char| char.to_ascii_lowercase()).collect();
    SECRET_WORDS.iter().any(|word| plain.contains(word))
}

/// The value as JSON, cut to what a line of a report can hold.
pub(crate) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::changes, *};

    /// The old value of each change, by path, in an object of `kind` with these fields.
    fn olds(head: (&str, &str), old: Value, new: Value, reveal: bool) -> Vec<String> {
        let object = |mut fields: Value| {
            fields["apiVersion"] = json!(head.0);
            fields["kind"] = json!(head.1);
            fields
        };
        let found = changes(&object(old), &object(new), reveal);
        let mut texts: Vec<_> = found
            .iter()
            .map(|change| {
                let hidden = change.expected.as_deref() == Some("a value that is not shown");
                assert!(!hidden || change.live.as_deref() == change.expected.as_deref() || change.live.is_none());
                format!("{} {}", change.path, if hidden { "hidden" } else { "shown" })
            })
            .collect();
        texts.sort();
        texts
    }

    #[test]
    fn strings_of_custom_resources_are_shown_only_if_that_is_asked_for() {
        let spec = |text: &str, number: u32| {
            json!({"metadata": {"labels": {"tier": text}, "annotations": {"k": text}},
                "spec": {"engine": text, "size": number, "pin": {"password": number}, "list": [{"a": text}]}})
        };
        let crd = ("example.org/v1", "Database");
        let expected = [
            "metadata.annotations.k hidden",
            "metadata.labels.tier shown",
            "spec.engine hidden",
            "spec.list[0].a hidden",
            "spec.pin.password hidden",
            "spec.size shown",
        ];
        assert_eq!(olds(crd, spec("hunter2", 2), spec("hunter3", 3), false), expected);
        let revealed = olds(crd, spec("hunter2", 2), spec("hunter3", 3), true);
        assert!(revealed.iter().all(|line| line.ends_with("shown")), "{revealed:?}");
        // A whole map with a string in it is hidden, one with numbers alone is not.
        let gone = olds(crd, json!({"spec": {"a": {"b": "hunter2"}, "c": {"d": 1}}}), json!({"spec": {}}), false);
        assert_eq!(gone, ["spec.a hidden", "spec.c shown"]);
    }

    #[test]
    fn headers_and_paths_of_probes_are_hidden_and_their_ports_are_not() {
        let pod = |text: &str, port: u16| {
            json!({"spec": {"containers": [{"name": "a", "image": text, "livenessProbe": {"httpGet": {
                "path": text, "port": port, "httpHeaders": [{"name": "Authorization", "value": text}]}}}]}})
        };
        let probe = "spec.containers[name=a].livenessProbe.httpGet";
        let expected = [
            "spec.containers[name=a].image shown".to_owned(),
            format!("{probe}.httpHeaders[0].value hidden"),
            format!("{probe}.path hidden"),
            format!("{probe}.port shown"),
        ];
        assert_eq!(olds(("v1", "Pod"), pod("/x?token=1", 80), pod("/x?token=2", 81), false), expected);
    }

    #[test]
    fn where_a_variable_has_its_value_from_is_shown_and_a_key_of_that_name_elsewhere_is_not() {
        let map = |text: &str| json!({"data": {"valueFrom": text, "env": text}});
        assert_eq!(
            olds(("v1", "ConfigMap"), map("hunter2"), map("hunter3"), false),
            ["data.env hidden", "data.valueFrom hidden"]
        );
        let pod = |text: &str| {
            json!({"spec": {"containers": [{"name": "a", "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": text, "key": "k"}}}, {"name": "B", "value": text}]}]}})
        };
        let env = "spec.containers[name=a].env";
        let expected =
            [format!("{env}[name=A].valueFrom.secretKeyRef.name shown"), format!("{env}[name=B].value hidden")];
        assert_eq!(olds(("v1", "Pod"), pod("one"), pod("two"), false), expected);
    }

    #[test]
    fn keys_that_name_a_secret_are_hidden_and_references_to_one_are_not() {
        for key in ["password", "DB_PASSWD", "client-secret", "authToken", "api_key", "awsCredentials", "private.key"] {
            assert!(names_secret(key), "{key}");
        }
        for key in ["image", "key", "tier", "passive", "path"] {
            assert!(!names_secret(key), "{key}");
        }
        let class = |text: &str| json!({"parameters": {"adminPassword": text, "type": text}});
        assert_eq!(
            olds(("storage.k8s.io/v1", "StorageClass"), class("a"), class("b"), false),
            ["parameters.adminPassword hidden", "parameters.type shown"]
        );
        let account = |text: &str| json!({"imagePullSecrets": [{"name": text}], "automountServiceAccountToken": true});
        let shown = olds(("v1", "ServiceAccount"), account("a"), account("b"), false);
        assert!(!shown.is_empty() && shown.iter().all(|line| line.ends_with("shown")), "{shown:?}");
    }
}
