//! What of a backup a restore is about, as a person says it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::chosen::split_name;
use crate::{
    sources::kubernetes::{is_pattern, matches},
    types::{LabelSelector, StreamInfo, for_terminal, nearest},
};

/// Which objects of a backup are restored: those of which every part that is not empty has something that fits.
///
/// Namespaces, kinds and names may be patterns, in which `*` stands for any text and `?` for one character.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Choice {
    /// Namespaces of the backup. A cluster-scoped object has none: where this is not empty, its kind must be among
    /// [`Self::kinds`]. A Namespace itself counts by its name.
    pub namespaces: Vec<String>,
    /// Kinds (`plural.group`).
    pub kinds: Vec<String>,
    /// Labels.
    pub selectors: Vec<LabelSelector>,
    /// Names.
    pub names: Vec<String>,
}

/// Something that was chosen is not in the backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotHeld {
    /// A namespace.
    #[error("the backup holds no namespace `{}`{}", for_terminal(.0), meant(.1))]
    Namespace(String, Vec<String>),
    /// A kind.
    #[error("the backup holds no kind `{}`{}; a kind is written `plural.group`", for_terminal(.0), meant(.1))]
    Kind(String, Vec<String>),
    /// A kind that was named by a word.
    #[error("the backup holds no kind `{}`{}", for_terminal(.0), meant(.1))]
    KindWord(String, Vec<String>),
    /// Namespaces or kinds, of a source without objects.
    #[error("source `{}` is a database, and has neither namespaces nor kinds", for_terminal(.0))]
    Database(String),
    /// A name, among the objects that are chosen otherwise.
    #[error("nothing that is chosen has the name `{}`", for_terminal(.0))]
    Name(String),
    /// A namespace that others need, and of which nothing is restored.
    #[error("`--platform {}`: nothing is restored into a namespace of that name{}", for_terminal(.0), meant(.1))]
    Platform(String, Vec<String>),
    /// Volumes are to be adopted, and no claim that is restored had one.
    #[error("`--adopt-volumes`: no claim that is restored was bound to a volume, so there is none to adopt")]
    Volumes,
    /// Nothing at all is chosen.
    #[error("the backup holds nothing that is chosen: {}", for_terminal(.0))]
    Nothing(String),
}

fn meant(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean `{}`?", for_terminal(&near.join("` or `"))) }
}

impl Choice {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether all of a backup is chosen.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Makes sure that the backup, with these streams, has the namespaces and kinds that are chosen.
    ///
    /// # Errors
    /// [`NotHeld`] with what is near.
    pub fn check<'s>(&self, streams: impl Iterator<Item = &'s StreamInfo>) -> Result<(), NotHeld> {
        let (kinds, namespaces) = held(streams);
        let near = |wanted: &str, held: &BTreeSet<&str>| {
            nearest(wanted, held.iter().copied()).into_iter().map(str::to_owned).collect()
        };
        for wanted in &self.namespaces {
            if !namespaces.iter().any(|held| matches(wanted, held)) {
                return Err(NotHeld::Namespace(wanted.clone(), near(wanted, &namespaces)));
            }
        }
        for wanted in &self.kinds {
            if !kinds.iter().any(|held| matches(wanted, held)) {
                return Err(NotHeld::Kind(wanted.clone(), near(wanted, &kinds)));
            }
        }
        Ok(())
    }

    /// Objects of the kind `id` may be chosen.
    #[must_use]
    pub fn takes_kind(&self, id: &str) -> bool {
        self.kinds.is_empty() || fits(&self.kinds, id)
    }

    /// Objects of the kind `id` in `namespace` (empty: cluster-scoped) may be chosen.
    #[must_use]
    pub fn takes_part(&self, id: &str, namespace: &str) -> bool {
        if !self.takes_kind(id) {
            return false;
        }
        match namespace {
            "" => self.namespaces.is_empty() || id == NAMESPACES || !self.kinds.is_empty(),
            namespace => self.takes_namespace(namespace),
        }
    }

    /// What is in `namespace` may be chosen.
    #[must_use]
    pub fn takes_namespace(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || fits(&self.namespaces, namespace)
    }

    /// An object is chosen. `labels` are `None` where they cannot be read: then they are taken to fit, so that the
    /// object is named.
    #[must_use]
    pub fn takes(&self, id: &str, namespace: &str, name: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        let fits_label = |labels| self.selectors.iter().any(|selector| selector.matches(labels));
        self.takes_part(id, namespace)
            && (id != NAMESPACES || self.takes_namespace(name))
            && self.takes_name(name)
            && (self.selectors.is_empty() || labels.is_none_or(fits_label))
    }

    /// The name is among those that are chosen.
    #[must_use]
    pub fn takes_name(&self, name: &str) -> bool {
        self.names.is_empty() || fits(&self.names, name)
    }

    /// How it was said: ` --namespace shop --kind secrets`.
    #[must_use]
    pub fn words(&self) -> String {
        let flag = |flag: &str, values: Vec<String>| {
            values.into_iter().map(|value| format!("--{flag} {value}")).collect::<Vec<_>>()
        };
        let selectors = self.selectors.iter().map(ToString::to_string).collect();
        let words = [
            flag("namespace", self.namespaces.clone()),
            flag("kind", self.kinds.clone()),
            flag("selector", selectors),
            flag("name", self.names.clone()),
        ];
        words.concat().join(" ")
    }
}

pub(super) const NAMESPACES: &str = "namespaces";

fn fits(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, text))
}

/// The kinds and namespaces that streams hold.
fn held<'s>(streams: impl Iterator<Item = &'s StreamInfo>) -> (BTreeSet<&'s str>, BTreeSet<&'s str>) {
    let (mut kinds, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for stream in streams {
        kinds.insert(stream.name.as_str());
        namespaces.extend(stream.parts.iter().map(|part| part.name.as_str()).filter(|name| !name.is_empty()));
    }
    (kinds, namespaces)
}

/// A kind is written with its group: `deployments.apps`, and not `deployments.v1.apps` or `apps/deployments`.
#[must_use]
pub fn is_kind(text: &str) -> bool {
    let (plural, group) = split_name(text);
    let part = |text: &str| {
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'*' | b'?'))
    };
    !plural.is_empty() && part(plural) && part(group) && (is_pattern(text) || text.len() <= 320)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{MediaType, Name, PartInfo};

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn stream(name: &str, parts: &[&str]) -> StreamInfo {
        let part = |name: &&str| PartInfo {
            name: (*name).to_owned(),
            offset: 0,
            length: 0,
            blake3: crate::types::Blake3Digest::of(b""),
            count: 1,
            digest: None,
        };
        StreamInfo {
            number: 0,
            source: Name::new("s").unwrap(),
            name: name.to_owned(),
            media_type: MediaType::KubernetesObjects,
            parts: parts.iter().map(part).collect(),
        }
    }

    fn check(choice: &Choice) -> String {
        let streams = [
            stream("secrets", &["payments", "shop"]),
            stream("deployments.apps", &["shop"]),
            stream("namespaces", &[""]),
        ];
        choice.check(streams.iter()).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_the_backup_does_not_hold_is_named_with_what_is_near() {
        let namespaces = |names: &[&str]| Choice { namespaces: strings(names), ..Choice::default() };
        let kinds = |names: &[&str]| Choice { kinds: strings(names), ..Choice::default() };
        assert_eq!(check(&Choice::all()), "");
        assert_eq!(check(&namespaces(&["shop", "pay*"])), "");
        assert_eq!(check(&namespaces(&["shop", "shp"])), "the backup holds no namespace `shp`; did you mean `shop`?");
        assert_eq!(check(&namespaces(&["team-*"])), "the backup holds no namespace `team-*`");
        assert_eq!(check(&kinds(&["secrets", "*.apps"])), "");
        assert_eq!(
            check(&kinds(&["deployment"])),
            "the backup holds no kind `deployment`; did you mean `deployments.apps`?; a kind is written `plural.group`"
        );
    }

    #[test]
    fn parts_are_anded_and_what_is_in_one_part_is_ored() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let choice = Choice {
            namespaces: strings(&["shop", "team-*"]),
            kinds: strings(&["secrets", "*.apps"]),
            selectors: vec!["app=web".parse().unwrap(), "app=db".parse().unwrap()],
            names: strings(&["w*"]),
        };
        assert!(choice.takes("secrets", "shop", "web", Some(&labels)));
        assert!(choice.takes("deployments.apps", "team-a", "w", Some(&labels)));
        assert!(!choice.takes("configmaps", "shop", "web", Some(&labels)));
        assert!(!choice.takes("secrets", "other", "web", Some(&labels)));
        assert!(!choice.takes("secrets", "shop", "db", Some(&labels)));
        assert!(!choice.takes("secrets", "shop", "web", Some(&BTreeMap::new())));
        assert!(choice.takes("secrets", "shop", "web", None), "what cannot be read is named");
        assert_eq!(
            choice.words(),
            "--namespace shop --namespace team-* --kind secrets --kind *.apps --selector app=web --selector app=db --name w*"
        );
    }

    #[test]
    fn a_namespace_says_nothing_of_what_has_none_unless_its_kind_is_named() {
        let roles = "clusterroles.rbac.authorization.k8s.io";
        let mut choice = Choice { namespaces: strings(&["shop"]), ..Choice::default() };
        assert!(!choice.takes(roles, "", "admin", None));
        assert!(choice.takes("namespaces", "", "shop", None) && !choice.takes("namespaces", "", "other", None));
        choice.kinds = strings(&[roles]);
        assert!(choice.takes(roles, "", "admin", None));
        assert!(!choice.takes("namespaces", "", "shop", None));
        assert!(Choice::all().takes(roles, "", "admin", None));
    }

    #[test]
    fn a_kind_is_its_plural_and_its_group() {
        for good in ["secrets", "deployments.apps", "*.example.com", "w?dgets.*"] {
            assert!(is_kind(good), "{good}");
        }
        for bad in ["", "Secret", "apps/deployments", ".apps", "a b"] {
            assert!(!is_kind(bad), "{bad}");
        }
    }

    proptest! {
        /// More words choose less; and what a part does not take, none of its objects is taken of.
        #[test]
        fn each_flag_only_narrows(
            namespaces in proptest::collection::vec("[ab*]", 0..3),
            kinds in proptest::collection::vec("[cd*]|namespaces", 0..3),
            names in proptest::collection::vec("[ef*]", 0..3),
            namespace in "[ab]?",
            kind in "[cd]|namespaces",
            name in "[abef]",
        ) {
            let choice = Choice { namespaces, kinds, names, selectors: Vec::new() };
            let taken = |choice: &Choice| choice.takes(&kind, &namespace, &name, None);
            if taken(&choice) {
                prop_assert!(choice.takes_part(&kind, &namespace));
                let (any_name, anywhere) = (Choice { names: Vec::new(), ..choice.clone() }, Choice { namespaces: Vec::new(), ..choice.clone() });
                let by_name = Choice { names: vec![name.clone()], ..choice.clone() };
                prop_assert!([any_name, anywhere, by_name].iter().all(taken));
            }
        }
    }
}
