//! `volumes:` of a cluster's source: who has the data of its claims.

use std::collections::BTreeMap;

use super::{
    decode::{Decoder, Table},
    node::{Node, Value},
    problem::Problem,
};
use crate::{policy::VolumeRule, types::Name};

const KNOWN: [&str; 5] = ["namespace", "name", "selector", "coveredBy", "disposable"];

/// Reads the rules. `data` are the sources that can have the data of volumes.
pub(super) fn volumes(decoder: &mut Decoder, node: &Node, path: &str, data: &[Name]) -> Vec<VolumeRule> {
    let rules = decoder.list(node, path).unwrap_or_default().iter();
    rules.enumerate().filter_map(|(place, node)| rule(decoder, node, &format!("{path}[{place}]"), data)).collect()
}

fn rule(decoder: &mut Decoder, node: &Node, path: &str, data: &[Name]) -> Option<VolumeRule> {
    let table = decoder.table(node, path, &KNOWN, &["storageClass"])?;
    let namespace = decoder.required(&table, "namespace");
    let namespace = namespace.and_then(|node| pattern(decoder, node, &table.path_of("namespace"), 63));
    let name = table.get("name").and_then(|node| pattern(decoder, node, &table.path_of("name"), 253));
    let selector = table.get("selector").map(|node| labels(decoder, node, &table.path_of("selector")));
    let covered_by = table.get("coveredBy").and_then(|node| covered_by(decoder, node, &table, data));
    let disposable = table.get("disposable").and_then(|node| decoder.boolean(node, &table.path_of("disposable")));
    match (table.entry("coveredBy"), table.entry("disposable"), disposable) {
        (None, None, _) => {
            let problem = Problem::new(table.place, format!("`{path}` does not say who has the data"));
            decoder.report(problem.help("write `coveredBy: SOURCE`, or `disposable: true` if nobody needs it"));
        }
        (Some(_), Some((key, _)), _) => {
            decoder.wrong(key.place, format!("`{path}` must have exactly one of `coveredBy` and `disposable`"));
        }
        (None, Some((_, node)), Some(false)) => {
            let problem = Problem::new(node.place, format!("`{path}.disposable` can only be true"));
            decoder.report(problem.help("a claim that no rule names is unprotected: leave the rule out"));
        }
        _ => {}
    }
    Some(VolumeRule {
        namespace: namespace?,
        name,
        selector: selector.unwrap_or_default(),
        covered_by,
        disposable: disposable.unwrap_or_default(),
    })
}

fn covered_by(decoder: &mut Decoder, node: &Node, table: &Table<'_>, data: &[Name]) -> Option<Name> {
    let path = table.path_of("coveredBy");
    let text = decoder.text(node, &path)?;
    let found = data.iter().find(|name| name.as_str() == text);
    if found.is_none() {
        let problem = Problem::new(node.place, format!("`{path}` names `{text}`, which is no source of data here"));
        let names = data.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
        decoder.report(problem.help(match names.is_empty() {
            true => "the policy has no database source".to_owned(),
            false => format!("the policy's: {names}"),
        }));
    }
    found.cloned()
}

fn pattern(decoder: &mut Decoder, node: &Node, path: &str, longest: usize) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'*');
    decoder.parsed(node, path, |text| {
        if text.len() <= longest && text.bytes().all(allowed) {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` is neither a name nor a pattern: use a-z, 0-9, '-', '.' and '*'"))
        }
    })
}

/// Labels, each with a text as its value.
fn labels(decoder: &mut Decoder, node: &Node, path: &str) -> BTreeMap<String, String> {
    let Value::Table(entries) = &node.value else {
        decoder.wrong(node.place, format!("`{path}` must be labels, and is {}", node.kind()));
        return BTreeMap::new();
    };
    let mut labels = BTreeMap::new();
    for (key, value) in entries {
        // A label's value may be empty, unlike other texts.
        let text = match &value.value {
            Value::Text(text) => text.clone(),
            _ => {
                let problem =
                    Problem::new(value.place, format!("`{path}.{}` must be a text, and is {}", key.name, value.kind()));
                decoder.report(problem.help("put it in quotes"));
                continue;
            }
        };
        if labels.insert(key.name.clone(), text).is_some() {
            decoder.wrong(key.place, format!("`{}` is here a second time", key.name));
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::policy::{Problem, SourceSpec, parse};

    fn policy(volumes: &str) -> String {
        format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\nrepository: {{url: 'file:///r', encryption: none}}\n\
             sources:\n  db: {{postgres: {{url: {{env: URL}}}}}}\n  objects:\n    kubernetes:\n      namespaces: [shop]\n      \
             volumes: {volumes}\nschedules:\n  daily: {{cron: '0 2 * * *', sources: [objects, db]}}\n"
        )
    }

    #[test]
    fn rules_are_read_in_their_order_and_embed() {
        let text = policy(
            "[{namespace: shop, name: data-*, coveredBy: db}, {namespace: 'm*', selector: {app: prometheus, x: ''}, disposable: true}]",
        );
        let policy = parse(Path::new("p.yaml"), &text).unwrap();
        let SourceSpec::Kubernetes(spec) = policy.sources.values().next_back().unwrap() else { panic!() };
        assert_eq!(spec.volumes.len(), 2);
        assert_eq!(spec.volumes[0].covered_by.as_ref().unwrap().as_str(), "db");
        assert!(spec.volumes[1].disposable && spec.volumes[1].selector.len() == 2);
        let embedded = policy.to_embedded();
        assert_eq!(crate::policy::Policy::from_embedded(&embedded).unwrap(), policy);
        assert_eq!(parse(Path::new("p.json"), &embedded.to_string()).unwrap(), policy);
    }

    #[test]
    fn every_problem_of_a_rule_is_named_at_its_place() {
        for (volumes, expected) in [
            ("[]", "10:16: `sources.objects.kubernetes.volumes` is empty"),
            ("[{name: a, disposable: true}]", "10:17: `sources.objects.kubernetes.volumes[0].namespace` is missing"),
            ("[{namespace: a}]", "10:17: `sources.objects.kubernetes.volumes[0]` does not say who has the data"),
            (
                "[{namespace: a, disposable: false}]",
                "10:44: `sources.objects.kubernetes.volumes[0].disposable` can only be true",
            ),
            (
                "[{namespace: a, coveredBy: db, disposable: true}]",
                "10:47: `sources.objects.kubernetes.volumes[0]` must have exactly one",
            ),
            (
                "[{namespace: a, coveredBy: nothing}]",
                "10:43: `sources.objects.kubernetes.volumes[0].coveredBy` names `nothing`, which is no",
            ),
            (
                "[{namespace: a, coveredBy: objects}]",
                "10:43: `sources.objects.kubernetes.volumes[0].coveredBy` names `objects`, which is no",
            ),
            ("[{namespace: A, disposable: true}]", "10:29: `A` is neither a name nor a pattern"),
            (
                "[{namespace: a, selector: x, disposable: true}]",
                "10:42: `sources.objects.kubernetes.volumes[0].selector` must be labels, and is a text",
            ),
            (
                "[{namespace: a, selector: {a: 1}, disposable: true}]",
                "10:46: `sources.objects.kubernetes.volumes[0].selector.a` must be a text",
            ),
            (
                "[{namespace: a, selctor: {a: b}, disposable: true}]",
                "10:32: unknown key `selctor` in `sources.objects.kubernetes.volumes[0]`",
            ),
        ] {
            let invalid = parse(Path::new("p.yaml"), &policy(volumes)).expect_err(volumes);
            let show = |p: &Problem| format!("{}:{}: {}", p.line(), p.column(), p.message());
            let shown: Vec<_> = invalid.problems().iter().map(show).collect();
            assert!(shown.len() == 1 && shown[0].starts_with(expected), "{volumes}: {shown:?}");
        }
    }
}
