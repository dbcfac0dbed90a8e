//! Where built-in kinds name images and storage classes.

use serde_json::Value;

use crate::sources::kubernetes::compare::GroupKind;

/// Where an object of a built-in kind describes its Pods, as a JSON pointer to what a Pod calls `spec`.
pub(in super::super) fn pod_spec(kind: GroupKind<'_>) -> Option<&'static str> {
    Some(match (kind.group, kind.kind) {
        ("", "Pod") => "/spec",
        ("", "PodTemplate") => "/template/spec",
        ("", "ReplicationController")
        | ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
        | ("batch", "Job") => "/spec/template/spec",
        ("batch", "CronJob") => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    })
}

/// Every place in which an object of a built-in kind names an image, with its JSON pointer.
pub(super) fn images(object: &mut Value) -> Vec<(String, &mut Value)> {
    let mut found = Vec::new();
    let Some(base) = pod_spec(GroupKind::of(object)) else { return found };
    let Some(spec) = object.pointer_mut(base).and_then(Value::as_object_mut) else { return found };
    for (field, list) in spec.iter_mut() {
        let within = match field.as_str() {
            "containers" | "initContainers" | "ephemeralContainers" => "image",
            "volumes" => "image/reference",
            _ => continue,
        };
        for (place, item) in list.as_array_mut().map(Vec::as_mut_slice).unwrap_or_default().iter_mut().enumerate() {
            if let Some(image) = item.pointer_mut(&format!("/{within}")) {
                found.push((format!("{base}/{field}/{place}/{within}"), image));
            }
        }
    }
    found
}

/// Every place in which an object of a built-in kind names a storage class, with its JSON pointer.
pub(super) fn storage_classes(object: &mut Value) -> Vec<(String, &mut Value)> {
    let (base, is_claim, is_set) = {
        let kind = GroupKind::of(object);
        (pod_spec(kind), kind.is("", "PersistentVolumeClaim"), kind.is("apps", "StatefulSet"))
    };
    let mut claims: Vec<String> = Vec::new();
    if is_claim {
        claims.push(String::new());
    }
    if is_set {
        claims.extend(places(object, "/spec/volumeClaimTemplates", ""));
    }
    if let Some(base) = base {
        claims.extend(places(object, &format!("{base}/volumes"), "/ephemeral/volumeClaimTemplate"));
    }
    let fields = ["spec/storageClassName", "metadata/annotations/volume.beta.kubernetes.io~1storage-class"];
    let wanted = claims.iter().flat_map(|claim| fields.map(|field| format!("{claim}/{field}")));
    pick(object, wanted.collect())
}

/// The pointers of the items of a list, with `more` behind each.
fn places(object: &Value, list: &str, more: &str) -> Vec<String> {
    let count = object.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
    (0..count).map(|place| format!("{list}/{place}{more}")).collect()
}

/// The values at these pointers that are there.
fn pick(object: &mut Value, pointers: Vec<String>) -> Vec<(String, &mut Value)> {
    fn walk<'v>(value: &'v mut Value, at: &str, wanted: &[String], found: &mut Vec<(String, &'v mut Value)>) {
        if wanted.iter().any(|pointer| pointer == at) {
            found.push((at.to_owned(), value));
            return;
        }
        let inside = |at: &str| wanted.iter().any(|pointer| pointer.starts_with(at));
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter_mut() {
                    let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                    if inside(&at) {
                        walk(value, &at, wanted, found);
                    }
                }
            }
            Value::Array(items) => {
                for (place, value) in items.iter_mut().enumerate() {
                    let at = format!("{at}/{place}");
                    if inside(&at) {
                        walk(value, &at, wanted, found);
                    }
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    if !pointers.is_empty() {
        walk(object, "", &pointers, &mut found);
    }
    found
}

/// What an image becomes if `old` becomes `new`. `old` is the whole image, or what it begins with: up to a `/`, or up
/// to its tag or digest.
pub(super) fn mapped_image(image: &str, old: &str, new: &str) -> Option<String> {
    let rest = image.strip_prefix(old)?;
    let is_tag = rest.strip_prefix(':').is_some_and(|tag| !tag.contains('/'));
    let fits = rest.is_empty() || old.ends_with('/') || rest.starts_with('/') || rest.starts_with('@') || is_tag;
    fits.then(|| format!("{new}{rest}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_image_of_a_pod_is_found_and_none_of_a_custom_resource() {
        let pod = json!({"initContainers": [{"image": "i"}], "containers": [{"image": "c"}, {"name": "none"}],
            "ephemeralContainers": [{"image": "e"}], "volumes": [{"image": {"reference": "v"}}, {"emptyDir": {}}]});
        let object = |api: &str, kind: &str, path: &str| {
            let body =
                path.rsplit('/').filter(|key| !key.is_empty()).fold(pod.clone(), |inner, key| json!({key: inner}));
            let mut object = json!({"apiVersion": api, "kind": kind});
            object.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
            object
        };
        for (api, kind, path) in [
            ("v1", "Pod", "/spec"),
            ("v1", "PodTemplate", "/template/spec"),
            ("apps/v1", "Deployment", "/spec/template/spec"),
            ("batch/v1", "Job", "/spec/template/spec"),
            ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template/spec"),
        ] {
            let mut object = object(api, kind, path);
            let mut found: Vec<String> =
                images(&mut object).into_iter().map(|(at, image)| format!("{at} {image}")).collect();
            found.sort();
            let expected = [
                "containers/0/image \"c\"",
                "ephemeralContainers/0/image \"e\"",
                "initContainers/0/image \"i\"",
                "volumes/0/image/reference \"v\"",
            ];
            assert_eq!(found, expected.map(|place| format!("{path}/{place}")), "{kind}");
        }
        assert!(images(&mut object("example.org/v1", "Deployment", "/spec/template/spec")).is_empty());
    }

    #[test]
    fn storage_classes_are_found_in_claims_and_in_templates_of_claims() {
        let found = |object: Value| {
            let mut object = object;
            storage_classes(&mut object).into_iter().map(|(at, class)| format!("{at} {class}")).collect::<Vec<_>>()
        };
        let annotation = json!({"volume.beta.kubernetes.io/storage-class": "old"});
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"annotations": annotation},
            "spec": {"storageClassName": "fast"}});
        let mut both = found(claim);
        both.sort();
        assert_eq!(
            both,
            [
                "/metadata/annotations/volume.beta.kubernetes.io~1storage-class \"old\"",
                "/spec/storageClassName \"fast\""
            ]
        );
        let template = json!({"spec": {"storageClassName": "fast"}});
        let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"volumeClaimTemplates": [{"spec": {}}, template],
            "template": {"spec": {"volumes": [{"ephemeral": {"volumeClaimTemplate": template}}]}}}});
        let mut in_set = found(set);
        in_set.sort();
        assert_eq!(
            in_set,
            [
                "/spec/template/spec/volumes/0/ephemeral/volumeClaimTemplate/spec/storageClassName \"fast\"",
                "/spec/volumeClaimTemplates/1/spec/storageClassName \"fast\"",
            ]
        );
        assert!(
            found(json!({"apiVersion": "example.org/v1", "kind": "Store", "spec": {"storageClassName": "fast"}}))
                .is_empty()
        );
    }

    #[test]
    fn an_image_is_mapped_whole_or_from_its_beginning_up_to_a_border() {
        for (image, old, new, expected) in [
            ("nginx:1.25", "nginx:1.25", "nginx:1.27", Some("nginx:1.27")),
            ("nginx:1.25", "nginx", "mirror.example/nginx", Some("mirror.example/nginx:1.25")),
            ("nginx", "nginx", "mirror.example/nginx", Some("mirror.example/nginx")),
            ("nginx@sha256:ab", "nginx", "m/nginx", Some("m/nginx@sha256:ab")),
            ("nginx-unprivileged:1", "nginx", "m/nginx", None),
            ("example.org/a/b:1", "example.org", "mirror.example", Some("mirror.example/a/b:1")),
            ("example.org/a/b:1", "example.org/", "mirror.example/x/", Some("mirror.example/x/a/b:1")),
            ("example.org:5000/a", "example.org", "mirror.example", None),
            ("example.org/ab", "example.org/a", "m/a", None),
            ("other/a", "example.org", "m", None),
        ] {
            assert_eq!(mapped_image(image, old, new).as_deref(), expected, "{image} {old}");
        }
    }

    proptest! {
        #[test]
        fn an_image_that_is_mapped_to_its_own_name_stays_as_it_is(image in "[ab./:@]{1,8}", old in "[ab./:@]{1,4}") {
            if let Some(mapped) = mapped_image(&image, &old, &old) {
                prop_assert_eq!(mapped, image);
            }
        }
    }
}
