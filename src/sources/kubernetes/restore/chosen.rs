//! Which part of a backup a plan is about.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    PlanOptions, RestoreError,
    adopt::CLAIMS,
    asked::labels_of,
    choice::{Choice, NAMESPACES},
    recipe::Mapping,
    tiers::tier_of,
};
#[cfg(test)]
use crate::types::PartInfo;
use crate::types::{MediaType, StreamInfo};

/// The Kubernetes streams of the source, in the order of their tiers.
pub(super) fn streams_of<'a>(
    streams: &'a [StreamInfo],
    options: &PlanOptions,
) -> Result<Vec<(usize, &'a StreamInfo)>, RestoreError> {
    let of_source = streams
        .iter()
        .enumerate()
        .filter(|(_, stream)| stream.source == options.source && stream.media_type == MediaType::KubernetesObjects);
    let mut found: Vec<(usize, &StreamInfo)> = of_source.collect();
    if found.is_empty() {
        return Err(RestoreError::NoSuchSource { source_name: options.source.to_string() });
    }
    found.sort_by_key(|(number, stream)| {
        let (plural, group) = split_name(&stream.name);
        (tier_of(group, plural), *number)
    });
    Ok(found)
}

/// `deployments.apps` → `deployments`, `apps`.
pub(super) fn split_name(stream: &str) -> (&str, &str) {
    stream.split_once('.').unwrap_or((stream, ""))
}

/// Which objects of the source's streams a plan is about.
pub(super) struct Chosen {
    choice: Choice,
    mapping: Mapping,
    /// `plural.group` of the kinds that have objects in the chosen namespaces.
    kinds: HashSet<String>,
}

/// Why an object is in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is chosen.
    Chosen,
    /// It is not, but what is chosen may need it: a Namespace, or the definition of a custom resource.
    Support,
    /// It is not in the plan.
    Not,
}

pub(super) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

impl Chosen {
    pub(super) fn of(streams: &[(usize, &StreamInfo)], options: &PlanOptions) -> Self {
        let mapping = options.recipe.mapping.clone();
        let mut chosen = Self { choice: options.choice.clone(), mapping, kinds: HashSet::new() };
        let has_some = |stream: &StreamInfo| stream.parts.iter().any(|part| chosen.holds(&stream.name, &part.name));
        let kinds = streams.iter().filter(|(_, stream)| has_some(stream)).map(|(_, stream)| stream.name.clone());
        let kinds: HashSet<String> = kinds.collect();
        chosen.kinds = kinds;
        chosen
    }

    /// A claim of the backup is chosen: by its namespace, its name and its labels.
    pub(super) fn takes_claim(&self, claim: &Value) -> bool {
        let text = |pointer: &str| claim.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        self.object(CLAIMS, text("/metadata/namespace"), text("/metadata/name"), claim) == Taken::Chosen
    }

    /// Objects of a part may be chosen.
    fn holds(&self, stream: &str, part: &str) -> bool {
        self.choice.takes_part(stream, part) && self.mapping.takes(part)
    }

    /// Whether something of a part may be in the plan.
    pub(super) fn part(&self, stream: &str, part: &str) -> bool {
        self.holds(stream, part) || (part.is_empty() && self.may_support(stream))
    }

    /// A mapped restore brings no cluster-scoped object that is not named, but for the namespaces.
    fn may_support(&self, stream: &str) -> bool {
        stream == NAMESPACES || (stream == DEFINITIONS && self.mapping.is_empty())
    }

    /// Whether an object is in the plan. `name` is that of the backup.
    pub(super) fn object(&self, stream: &str, part: &str, name: &str, object: &Value) -> Taken {
        if self.choice.is_all() && self.mapping.is_empty() {
            return Taken::Chosen;
        }
        let in_mapping = if stream == NAMESPACES { self.mapping.takes(name) } else { self.mapping.takes(part) };
        let labels = labels_of(object);
        let chosen = in_mapping && self.choice.takes(stream, part, name, labels.as_ref());
        // A namespace that is there is another one than that of the backup: it is left alone.
        let is_target = stream == NAMESPACES
            && !self.mapping.is_empty()
            && !self.choice.kinds.iter().any(|kind| kind == NAMESPACES);
        match (chosen && !is_target, stream) {
            (true, _) => Taken::Chosen,
            (false, NAMESPACES) if in_mapping && self.choice.takes_namespace(name) => Taken::Support,
            (false, DEFINITIONS) if self.may_support(stream) && self.kinds.contains(name) => Taken::Support,
            _ => Taken::Not,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        sources::kubernetes::restore::{OnConflict, recipe::Recipe},
        types::{Blake3Digest, Name},
    };

    fn stream(name: &str, parts: &[&str]) -> StreamInfo {
        let part = |name: &&str| PartInfo {
            name: (*name).to_owned(),
            offset: 0,
            length: 0,
            blake3: Blake3Digest::of(b""),
            count: 1,
            digest: None,
        };
        let source = Name::new("s").unwrap();
        let parts = parts.iter().map(part).collect();
        StreamInfo { number: 0, source, name: name.to_owned(), media_type: MediaType::KubernetesObjects, parts }
    }

    fn chosen(choice: Choice, mapping: &[(&str, &str)]) -> Chosen {
        let mapping = Mapping::new(mapping.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))).unwrap();
        let recipe = Recipe { mapping, ..Recipe::default() };
        let streams = [
            stream("secrets", &["a", "b"]),
            stream("widgets.example.com", &["a"]),
            stream("things.example.com", &["b"]),
        ];
        let streams: Vec<_> = streams.iter().enumerate().collect();
        let options = PlanOptions {
            choice: recipe.mapping.narrow(choice).unwrap(),
            recipe: std::sync::Arc::new(recipe),
            ..PlanOptions::of("b".to_owned(), Name::new("s").unwrap(), OnConflict::Fail)
        };
        Chosen::of(&streams, &options)
    }

    fn taken(chosen: &Chosen, stream: &str, part: &str, name: &str) -> Taken {
        let object = json!({"metadata": {"name": name, "labels": {"name": name}}});
        let taken = chosen.object(stream, part, name, &object);
        assert!(taken == Taken::Not || chosen.part(stream, part), "{stream} {part} would not be read");
        taken
    }

    #[test]
    fn of_a_namespace_its_namespace_and_the_definitions_of_its_custom_resources_come_along() {
        let chosen = chosen(Choice { namespaces: vec!["a".to_owned()], ..Choice::default() }, &[]);
        assert_eq!(taken(&chosen, "secrets", "a", "x"), Taken::Chosen);
        assert_eq!(taken(&chosen, "secrets", "b", "x"), Taken::Not);
        assert_eq!(taken(&chosen, "namespaces", "", "a"), Taken::Chosen);
        assert_eq!(taken(&chosen, "namespaces", "", "b"), Taken::Not);
        assert_eq!(taken(&chosen, DEFINITIONS, "", "widgets.example.com"), Taken::Support);
        assert_eq!(taken(&chosen, DEFINITIONS, "", "things.example.com"), Taken::Not);
        assert_eq!(taken(&chosen, "storageclasses.storage.k8s.io", "", "fast"), Taken::Not);
    }

    #[test]
    fn of_single_objects_the_namespace_is_no_more_than_a_support() {
        let chosen = chosen(Choice { names: vec!["x".to_owned()], ..Choice::default() }, &[]);
        assert_eq!(taken(&chosen, "secrets", "a", "x"), Taken::Chosen);
        assert_eq!(taken(&chosen, "secrets", "a", "y"), Taken::Not);
        assert_eq!(taken(&chosen, "namespaces", "", "a"), Taken::Support);
        let by_label = Choice { selectors: vec!["name=x".parse().unwrap()], ..Choice::default() };
        let chosen = super::tests::chosen(by_label, &[]);
        assert_eq!(taken(&chosen, "secrets", "a", "x"), Taken::Chosen);
        assert_eq!(taken(&chosen, "secrets", "a", "y"), Taken::Not);
        assert_eq!(taken(&chosen, "namespaces", "", "a"), Taken::Support);
        assert_eq!(taken(&chosen, DEFINITIONS, "", "widgets.example.com"), Taken::Support);
    }

    #[test]
    fn a_claims_volume_is_adopted_only_if_the_claim_is_chosen_by_all_that_was_said() {
        let claim = |namespace: &str, name: &str, app: &str| json!({"metadata": {"namespace": namespace, "name": name, "labels": {"app": app}}, "spec": {"volumeName": "v"}});
        let strings = |text: &str| vec![text.to_owned()];
        let all = chosen(Choice::all(), &[]);
        assert!(all.takes_claim(&claim("b", "cache", "y")));
        for choice in [
            Choice { namespaces: strings("a"), ..Choice::default() },
            Choice { names: strings("data"), ..Choice::default() },
            Choice { selectors: vec!["app=x".parse().unwrap()], ..Choice::default() },
        ] {
            let chosen = chosen(choice.clone(), &[]);
            assert!(chosen.takes_claim(&claim("a", "data", "x")), "{choice:?}");
            assert!(!chosen.takes_claim(&claim("b", "cache", "y")), "{choice:?}");
        }
        let of_kind = |kind: &str| chosen(Choice { kinds: strings(kind), ..Choice::default() }, &[]);
        assert!(of_kind(CLAIMS).takes_claim(&claim("a", "data", "x")));
        assert!(!of_kind("secrets").takes_claim(&claim("a", "data", "x")));
    }

    #[test]
    fn a_mapped_restore_brings_nothing_cluster_scoped_that_is_not_named() {
        let chosen = chosen(Choice::default(), &[("a", "copy")]);
        assert_eq!(taken(&chosen, "secrets", "a", "x"), Taken::Chosen);
        assert_eq!(taken(&chosen, "secrets", "b", "x"), Taken::Not);
        assert_eq!(taken(&chosen, "namespaces", "", "a"), Taken::Support, "one that is there is left alone");
        assert_eq!(taken(&chosen, "namespaces", "", "b"), Taken::Not);
        assert_eq!(taken(&chosen, DEFINITIONS, "", "widgets.example.com"), Taken::Not);
        assert_eq!(taken(&chosen, "storageclasses.storage.k8s.io", "", "fast"), Taken::Not);
        let named = Choice { kinds: vec![DEFINITIONS.to_owned(), "secrets".to_owned()], ..Choice::default() };
        let chosen = super::tests::chosen(named, &[("a", "copy")]);
        assert_eq!(taken(&chosen, DEFINITIONS, "", "widgets.example.com"), Taken::Chosen);
        assert_eq!(taken(&chosen, "secrets", "a", "x"), Taken::Chosen);
        assert_eq!(taken(&chosen, "namespaces", "", "a"), Taken::Support);
    }

    #[test]
    fn all_of_a_backup_is_all_of_it() {
        let chosen = chosen(Choice::all(), &[]);
        for (stream, part) in [("secrets", "a"), ("namespaces", ""), (DEFINITIONS, ""), ("nodes", "")] {
            assert_eq!(taken(&chosen, stream, part, "x"), Taken::Chosen, "{stream}");
        }
    }
}
