//! How deep an object is nested: an API server takes custom resources that no reader with a bounded
//! stack follows.

/// The deepest nesting of an object that a restore reads. It is the JSON reader's own bound.
pub(super) const DEEPEST: usize = 127;

/// The deepest nesting of objects and arrays in `json`, which is valid JSON. Without recursion.
pub(super) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json.bytes() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn brackets_in_texts_do_not_count() {
        for (json, expected) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[{},{"b":[]}],"c":{}}"#, 4),
            (r#"{"a":"{[{[\"{","b":[]}"#, 2),
            (r#"{"\\":{}}"#, 2),
            (r#"{"\\\"{":{}}"#, 2),
        ] {
            assert_eq!(depth(json), expected, "{json}");
        }
    }

    #[test]
    fn the_bound_is_that_of_the_reader() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
            let (last, first) = (nested(DEEPEST), nested(DEEPEST + 1));
            assert_eq!((depth(&last), depth(&first)), (DEEPEST, DEEPEST + 1));
            assert!(serde_json::from_str::<Value>(&last).is_ok());
            assert!(serde_json::from_str::<Value>(&first).is_err());
        }
    }
}
