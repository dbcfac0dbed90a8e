//! What holds for any two objects.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Comparison, compare};

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1.0e9..1.0e9_f64).prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn widget(spec: Value) -> Value {
    json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
}

proptest! {
    #[test]
    fn an_object_equals_itself_and_two_objects_without_a_difference_or_addition_are_one(left in json(), right in json()) {
        let (left, right) = (widget(left), widget(right));
        prop_assert_eq!(compare(&left, &left), Comparison::default());
        let found = compare(&left, &right);
        prop_assert_eq!(found == Comparison::default(), left == right);
    }

    #[test]
    fn what_travels_as_text_comes_back_as_it_was(value in json()) {
        let text = value.to_string();
        let back: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back, &value);
        prop_assert_eq!(back.to_string(), text);
    }

    #[test]
    fn an_addition_to_a_map_is_no_difference(value in json(), more in json()) {
        let expected = widget(json!({"a": value}));
        let live = widget(json!({"a": value, "b": more}));
        let found = compare(&expected, &live);
        prop_assert!(found.is_equal());
        prop_assert_eq!(found.additions, ["spec.b"]);
    }
}
