use serde_json::json;

use super::*;
use crate::sources::kubernetes::restore::transform::{Prepared, transform};

impl Recipe {
    fn prepare(&self, kind_id: &str, object: Value) -> Result<Outcome, RecipeError> {
        self.apply(kind_id, object, |object| transform(kind_id, object))
    }
}

fn step(operation: Value) -> PatchStep {
    PatchStep::new("m.yaml:9:9".to_owned(), operation).unwrap()
}

fn rule(kind: &str, patch: Vec<Value>) -> ModifierRule {
    ModifierRule {
        at: "m.yaml:7:5".to_owned(),
        kind: kind.to_owned(),
        name: None,
        namespace: None,
        selector: None,
        patch: patch.into_iter().map(step).collect(),
    }
}

fn rules(rules: Vec<ModifierRule>) -> Recipe {
    Recipe { modifiers: Modifiers { rules, ..Modifiers::default() }, ..Recipe::default() }
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop", "labels": {"tier": "front"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "c", "image": "example.org/web:1"}]}}}})
}

fn prepared(recipe: &Recipe, kind: &str, object: &Value) -> Prepared {
    match recipe.prepare(kind, object.clone()).unwrap() {
        Outcome::Restore(prepared) => *prepared,
        Outcome::Leave(why) => panic!("{why}"),
    }
}

fn asked(prepared: &Prepared) -> Vec<String> {
    let asked = prepared.changes.iter().filter(|change| change.asked);
    asked.map(|change| format!("{} {}: {}", change.reason, change.rule_path, change.what)).collect()
}

#[test]
fn a_patch_changes_what_the_comparison_then_expects_and_each_step_is_told() {
    let recipe = rules(vec![rule(
        "deployments.apps",
        vec![
            json!({"op": "test", "path": "/spec/replicas", "value": 3}),
            json!({"op": "replace", "path": "/spec/replicas", "value": 1}),
            json!({"op": "add", "path": "/metadata/annotations", "value": {"clone": "yes"}}),
            json!({"op": "remove", "path": "/metadata/labels/tier"}),
            json!({"op": "copy", "from": "/spec/replicas", "path": "/spec/minReadySeconds"}),
        ],
    )]);
    let prepared = prepared(&recipe, "deployments.apps", &deployment());
    assert_eq!(prepared.expected()["spec"]["replicas"], json!(1));
    assert_eq!(prepared.expected()["spec"]["minReadySeconds"], json!(1));
    assert_eq!(prepared.object["metadata"]["annotations"], json!({"clone": "yes"}));
    assert_eq!(
        asked(&prepared),
        [
            "m.yaml:9:9 /spec/replicas: 3 to 1",
            "m.yaml:9:9 /metadata/annotations: added {\"clone\":\"yes\"}",
            "m.yaml:9:9 /metadata/labels/tier: removed \"front\"",
            "m.yaml:9:9 /spec/minReadySeconds: added 1",
        ]
    );
    assert_eq!(prepared.used, [ModifierRef::Rule(0)]);
}

#[test]
fn a_rule_is_about_what_all_of_its_words_fit_in_the_backup() {
    let patch = || vec![json!({"op": "replace", "path": "/spec/replicas", "value": 1})];
    let of = |change: &dyn Fn(&mut ModifierRule)| {
        let mut rule = rule("deployments.apps", patch());
        change(&mut rule);
        let mut recipe = rules(vec![rule]);
        // The rule speaks of the namespace of the backup, whatever it is mapped to.
        recipe.mapping = Mapping::new([("shop".to_owned(), "copy".to_owned())]).unwrap();
        !prepared(&recipe, "deployments.apps", &deployment()).used.is_empty()
    };
    assert!(of(&|_| {}));
    assert!(of(&|rule| rule.kind = "*.apps".to_owned()));
    assert!(!of(&|rule| rule.kind = "statefulsets.apps".to_owned()));
    assert!(of(&|rule| rule.name = Some("w*".to_owned())));
    assert!(!of(&|rule| rule.name = Some("db".to_owned())));
    assert!(of(&|rule| rule.namespace = Some("shop".to_owned())));
    assert!(!of(&|rule| rule.namespace = Some("copy".to_owned())));
    assert!(of(&|rule| rule.selector = Some("tier=front".parse().unwrap())));
    assert!(!of(&|rule| rule.selector = Some("tier=back".parse().unwrap())));
}

#[test]
fn a_test_that_fails_means_that_the_rule_is_not_about_the_object() {
    for test in [
        json!({"op": "test", "path": "/spec/replicas", "value": 2}),
        json!({"op": "test", "path": "/spec/absent", "value": 2}),
    ] {
        // Also where something was changed before the test.
        let change = json!({"op": "replace", "path": "/spec/replicas", "value": 9});
        let recipe = rules(vec![rule("deployments.apps", vec![change, test])]);
        let prepared = prepared(&recipe, "deployments.apps", &deployment());
        assert_eq!((prepared.object["spec"]["replicas"].clone(), prepared.used.len()), (json!(3), 0));
        assert!(asked(&prepared).is_empty());
    }
}

#[test]
fn a_step_that_does_not_fit_is_named_with_its_place_and_the_object() {
    let recipe =
        rules(vec![rule("deployments.apps", vec![json!({"op": "replace", "path": "/spec/replica", "value": 1})])]);
    let error = recipe.prepare("deployments.apps", deployment()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "m.yaml:9:9: cannot replace `/spec/replica` of deployments.apps shop/web: there is no such place in the object"
    );
    let recipe =
        rules(vec![rule("deployments.apps", vec![json!({"op": "move", "from": "/spec/no", "path": "/spec/x"})])]);
    let error = recipe.prepare("deployments.apps", deployment()).unwrap_err();
    assert!(error.to_string().ends_with("there is nothing at `from`"), "{error}");
}

#[test]
fn no_modifier_makes_another_object_of_it() {
    for operation in [
        json!({"op": "replace", "path": "/metadata/name", "value": "x"}),
        json!({"op": "replace", "path": "/kind", "value": "StatefulSet"}),
        json!({"op": "add", "path": "/metadata/uid", "value": "x"}),
        json!({"op": "copy", "from": "/metadata/labels/tier", "path": "/metadata/namespace"}),
        json!({"op": "replace", "path": "/metadata", "value": {"name": "x"}}),
    ] {
        let recipe = rules(vec![rule("deployments.apps", vec![operation.clone()])]);
        let error = recipe.prepare("deployments.apps", deployment()).unwrap_err();
        assert!(matches!(error, RecipeError::Identity { .. }), "{operation}: {error}");
    }
}

#[test]
fn the_value_of_a_secret_is_not_told() {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "data": {"k": "aHVudGVyMg=="}});
    let recipe =
        rules(vec![rule("secrets", vec![json!({"op": "replace", "path": "/data/k", "value": "c3dvcmRmaXNo"})])]);
    let prepared = prepared(&recipe, "secrets", &secret);
    assert_eq!(asked(&prepared), ["m.yaml:9:9 /data/k: (hidden) to (hidden)"]);
    assert_eq!(prepared.object["data"]["k"], json!("c3dvcmRmaXNo"));
}

#[test]
fn classes_and_images_come_before_the_rules_and_the_longest_image_counts() {
    let substitution =
        |old: &str, new: &str| Substitution { at: "m.yaml:2:3".to_owned(), old: old.to_owned(), new: new.to_owned() };
    let mut recipe = rules(vec![rule(
        "deployments.apps",
        vec![json!({"op": "test", "path": "/spec/template/spec/containers/0/image", "value": "special/web:1"})],
    )]);
    recipe.modifiers.images =
        vec![substitution("example.org", "mirror"), substitution("example.org/web", "special/web")];
    recipe.modifiers.storage_classes = vec![substitution("gp2", "gp3")];
    let web = prepared(&recipe, "deployments.apps", &deployment());
    assert_eq!(web.used, [ModifierRef::Image(1), ModifierRef::Rule(0)]);
    assert_eq!(asked(&web), ["m.yaml:2:3 /spec/template/spec/containers/0/image: example.org/web:1 to special/web:1"]);
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "shop"},
        "spec": {"storageClassName": "gp2"}});
    let claim = prepared(&recipe, "persistentvolumeclaims", &claim);
    assert_eq!(
        (claim.used.as_slice(), &claim.object["spec"]["storageClassName"]),
        (&[ModifierRef::StorageClass(0)][..], &json!("gp3"))
    );
    assert_eq!(recipe.modifiers.all().count(), 4);
}

#[test]
fn a_recipe_is_written_down_and_read_again() {
    let mut recipe = rules(vec![rule("deployments.apps", vec![json!({"op": "remove", "path": "/spec/replicas"})])]);
    recipe.mapping = Mapping::new([("shop".to_owned(), "copy".to_owned())]).unwrap();
    let text = serde_json::to_string(&recipe).unwrap();
    assert_eq!(serde_json::from_str::<Recipe>(&text).unwrap(), recipe);
}
