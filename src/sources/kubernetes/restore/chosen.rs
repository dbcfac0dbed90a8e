//! Which part of a backup a plan is about.

use std::collections::HashSet;

use super::{PlanOptions, RestoreError, tiers::tier_of};
use crate::types::{MediaType, PartInfo, StreamInfo};

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

/// Which namespaces, and which cluster-scoped objects with them.
pub(super) struct Chosen {
    namespaces: Option<HashSet<String>>,
    /// `plural.group` of the custom kinds that have objects in the chosen namespaces.
    kinds: HashSet<String>,
}

impl Chosen {
    pub(super) fn of(all: &[StreamInfo], streams: &[(usize, &StreamInfo)], options: &PlanOptions) -> Self {
        let namespaces: Option<HashSet<String>> =
            options.namespaces.as_ref().map(|names| names.iter().cloned().collect());
        let has_some = |stream: &StreamInfo| {
            let chosen = |part: &PartInfo| namespaces.as_ref().is_none_or(|names| names.contains(&part.name));
            stream.parts.iter().any(chosen)
        };
        let of_streams = streams.iter().filter_map(|(number, _)| all.get(*number));
        let kinds = of_streams.filter(|stream| has_some(stream)).map(|stream| stream.name.clone()).collect();
        Self { namespaces, kinds }
    }

    pub(super) fn takes_namespace(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(namespace))
    }

    pub(super) fn part(&self, stream: &str, part: &str) -> bool {
        let Some(namespaces) = &self.namespaces else { return true };
        namespaces.contains(part)
            || (part.is_empty() && matches!(stream, "namespaces" | "customresourcedefinitions.apiextensions.k8s.io"))
    }

    pub(super) fn object(&self, stream: &str, part: &str, name: &str) -> bool {
        let Some(namespaces) = &self.namespaces else { return true };
        match (part, stream) {
            ("", "namespaces") => namespaces.contains(name),
            ("", _) => self.kinds.contains(name),
            _ => true,
        }
    }
}
