//! Which part of a cluster a source is. Pure: it decides by names and labels alone.

use std::collections::BTreeMap;

use super::{
    discovery::{Discovery, Unread},
    kind::{Kind, kind_id},
    kinds::{self, Meta},
};
use crate::types::{LabelSelector, nearest};

/// Which objects of a cluster belong to a source.
///
/// Namespaces and kinds are written as names or as patterns, in which `*` stands for any text and
/// `?` for one character.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubernetesSelection {
    /// Namespaces. One that is written without a pattern must exist, else it is missing.
    pub namespaces: Vec<String>,
    /// Namespaces to leave out; beats [`Self::namespaces`].
    pub exclude_namespaces: Vec<String>,
    /// Objects that are captured also where [`Self::exclude`] leaves them out; and kinds that are captured also
    /// where they are left out by default.
    pub include: Vec<ObjectRule>,
    /// Objects to leave out. With the kind `*` only what is included is captured.
    pub exclude: Vec<ObjectRule>,
    /// Which cluster-scoped objects; without a word: [`ClusterScoped::All`] if the namespaces
    /// contain `*`, else [`ClusterScoped::Referenced`].
    pub cluster_scoped: Option<ClusterScoped>,
}

/// Objects of a source: those of which all parts of the rule are true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectRule {
    /// Kinds (`plural.group`), by name or pattern; empty: every kind that is not left out by default.
    pub kinds: Vec<String>,
    /// Namespaces, by name or pattern; empty: any, and objects without one.
    pub namespaces: Vec<String>,
    /// Their labels; absent: any.
    pub selector: Option<LabelSelector>,
}

impl ObjectRule {
    /// The rule of all objects of a kind.
    #[must_use]
    pub fn of_kind(kind: impl Into<String>) -> Self {
        Self { kinds: vec![kind.into()], ..Self::default() }
    }

    /// It speaks of kinds, and of nothing else.
    fn is_of_kinds_alone(&self) -> bool {
        !self.kinds.is_empty() && self.namespaces.is_empty() && self.selector.is_none()
    }

    /// It speaks of this kind, by name or pattern.
    pub(super) fn names_kind(&self, id: &str) -> bool {
        any_matches(&self.kinds, id)
    }

    fn takes(&self, id: &str, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.speaks_of(id) && self.reaches(namespace) && self.selector.as_ref().is_none_or(|it| it.matches(labels))
    }

    fn speaks_of(&self, id: &str) -> bool {
        self.kinds.is_empty() || self.names_kind(id)
    }

    /// What is in `namespace`, or in none if it is empty, may be among its objects.
    pub(super) fn reaches(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || (!namespace.is_empty() && any_matches(&self.namespaces, namespace))
    }
}

/// A kind that a policy names and that a cluster does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownKind {
    /// The kind, as the policy writes it.
    pub name: String,
    /// What may be meant, the nearest first.
    pub near: Vec<String>,
}

/// Which cluster-scoped objects belong to a source. The objects of its namespaces always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterScoped {
    /// All of them.
    All,
    /// Those that its namespaced objects refer to.
    Referenced,
    /// None.
    None,
}

/// How the namespaced kinds of a source are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// Namespace by namespace.
    Each(Vec<String>),
    /// All namespaces at once; what does not belong is dropped.
    Cluster,
}

/// More namespaces than this are cheaper to read in one list of the whole cluster.
const LISTED_ONE_BY_ONE: usize = 20;

impl KubernetesSelection {
    /// `namespace` belongs to the source.
    #[must_use]
    pub fn takes_namespace(&self, namespace: &str) -> bool {
        any_matches(&self.namespaces, namespace) && !any_matches(&self.exclude_namespaces, namespace)
    }

    /// Objects of the kind may belong to the source (as far as their namespace does). Which of them,
    /// [`Self::takes_object`] says.
    #[must_use]
    pub fn takes_kind(&self, kind: &Kind) -> bool {
        let id = kind.id();
        if self.include.iter().any(|rule| rule.names_kind(&id)) {
            return true;
        }
        let excluded = self.exclude.iter().any(|rule| rule.is_of_kinds_alone() && rule.names_kind(&id));
        // A rule without a kind may include some of it.
        is_default(kind, &id) && (!excluded || self.include.iter().any(|rule| rule.kinds.is_empty()))
    }

    /// Objects of the kind in `namespace` (empty: in none) may belong to the source: where none can, none is listed.
    pub(super) fn takes_kind_in(&self, kind: &Kind, namespace: &str) -> bool {
        let id = kind.id();
        self.may_hold(&id, is_default(kind, &id), namespace)
    }

    /// As [`Self::takes_kind_in`], of a kind of which only its name is known, and whether it is captured where nobody
    /// says anything of it.
    pub(super) fn may_hold(&self, id: &str, default: bool, namespace: &str) -> bool {
        let speaks = |rule: &ObjectRule| rule.speaks_of(id) && rule.reaches(namespace);
        self.include.iter().any(|rule| (default || !rule.kinds.is_empty()) && speaks(rule))
            || (default && !self.exclude.iter().any(|rule| rule.selector.is_none() && speaks(rule)))
    }

    /// An object of a kind that [`Self::takes_kind`] takes belongs to the source, as far as its namespace does.
    #[must_use]
    pub fn takes_object(&self, kind: &Kind, meta: &Meta) -> bool {
        let id = kind.id();
        let takes = |rule: &ObjectRule| rule.takes(&id, &meta.namespace, &meta.labels);
        let default = is_default(kind, &id);
        // What is left out by default must be named: a label alone brings no Events back.
        self.include.iter().any(|rule| (default || !rule.kinds.is_empty()) && takes(rule))
            || (default && !self.exclude.iter().any(takes))
    }

    /// No object of the kind belongs to the source, because the policy says so; as far as a kind's id can tell.
    #[must_use]
    pub fn leaves_out_kind(&self, id: &str) -> bool {
        self.exclude.iter().any(|rule| rule.is_of_kinds_alone() && rule.names_kind(id))
            && !self.include.iter().any(|rule| rule.kinds.is_empty() || rule.names_kind(id))
    }

    /// The kinds that are named without a pattern.
    fn named_kinds(&self) -> impl Iterator<Item = &str> {
        let kinds = self.include.iter().chain(&self.exclude).flat_map(|rule| &rule.kinds);
        kinds.map(String::as_str).filter(|kind| !is_pattern(kind))
    }

    /// Whether it names a kind without a pattern, which the cluster must then know.
    #[must_use]
    pub fn names_kinds(&self) -> bool {
        self.named_kinds().next().is_some()
    }

    /// The kinds that it names without a pattern and that the cluster does not know. One whose group did not answer
    /// may be there.
    #[must_use]
    pub fn unknown_kinds(&self, discovery: &Discovery) -> Vec<UnknownKind> {
        let served: Vec<String> = discovery.ids().collect();
        let unread = |name: &str| {
            let group = name.split_once('.').map_or("", |(_, group)| group);
            discovery.unread().iter().any(|unread| unread.group == group)
        };
        let known = |name: &str| served.iter().any(|id| id == name) || kinds::left_out(name).is_some() || unread(name);
        let mut unknown: Vec<UnknownKind> = Vec::new();
        for name in self.named_kinds().filter(|name| !known(name)) {
            if !unknown.iter().any(|other| other.name == name) {
                let near = nearest(name, served.iter().map(String::as_str)).into_iter().map(str::to_owned).collect();
                unknown.push(UnknownKind { name: name.to_owned(), near });
            }
        }
        unknown
    }

    /// Which cluster-scoped objects belong to the source.
    #[must_use]
    pub fn cluster_scoped(&self) -> ClusterScoped {
        let default = if self.takes_all_namespaces() { ClusterScoped::All } else { ClusterScoped::Referenced };
        self.cluster_scoped.unwrap_or(default)
    }

    /// The namespaces that are named without a pattern and not left out again: they must exist.
    pub fn named_namespaces(&self) -> impl Iterator<Item = &str> {
        let named = self.namespaces.iter().filter(|name| !is_pattern(name));
        named.map(String::as_str).filter(|name| !any_matches(&self.exclude_namespaces, name))
    }

    fn takes_all_namespaces(&self) -> bool {
        self.namespaces.iter().any(|pattern| pattern == "*")
    }

    /// How to list namespaced kinds, given the namespaces that exist.
    pub(super) fn reach(&self, existing: &[String]) -> Reach {
        let chosen: Vec<String> = existing.iter().filter(|name| self.takes_namespace(name)).cloned().collect();
        if self.takes_all_namespaces() || chosen.len() > LISTED_ONE_BY_ONE {
            Reach::Cluster
        } else {
            Reach::Each(chosen)
        }
    }

    /// What it means for the source that the kinds of a group are not known.
    pub(super) fn judge_unread(&self, unread: &Unread) -> Unanswered {
        let group = &unread.group;
        let any = self.include.iter().any(|rule| rule.kinds.is_empty());
        let mut excluded = self.exclude.iter().filter(|rule| rule.is_of_kinds_alone()).flat_map(|rule| &rule.kinds);
        if self.include.iter().flat_map(|rule| &rule.kinds).any(|pattern| can_match_in(pattern, group)) {
            Unanswered::Missing
        } else if excluded.any(|pattern| matches_all_of(pattern, group)) && (!any || unread.aggregated) {
            Unanswered::Nothing
        } else if unread.aggregated {
            Unanswered::Note
        } else {
            Unanswered::Missing
        }
    }
}

/// What an API group that did not answer means for a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Objects may be missing.
    Missing,
    /// It would have been left out; worth a line.
    Note,
    /// It was left out by the policy.
    Nothing,
}

/// The kind is captured where nobody says anything of it.
fn is_default(kind: &Kind, id: &str) -> bool {
    !kind.aggregated && kinds::left_out(id).is_none()
}

/// `pattern` matches whatever kind `group` has.
fn matches_all_of(pattern: &str, group: &str) -> bool {
    // No plural has such characters, so that only `*` stands for this one.
    matches(pattern, &kind_id("\u{1}\u{1}\u{1}", group))
}

/// `pattern` matches a kind that `group` could have.
fn can_match_in(pattern: &str, group: &str) -> bool {
    if group.is_empty() {
        return !pattern.contains('.');
    }
    let rest = format!(".{group}");
    pattern.char_indices().any(|(at, c)| (at > 0 || c == '*') && matches(pattern.get(at..).unwrap_or_default(), &rest))
}

/// `text` is a pattern and no name.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

fn any_matches(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, text))
}

/// `text` matches `pattern`, in which `*` stands for any text and `?` for one character. It takes
/// at most `pattern` × `text` steps, whatever the pattern.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the latest `*` stands, and up to where it has eaten the text.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, eaten)) => {
                    star = Some((at, eaten + 1));
                    p = at + 1;
                    t = eaten + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests;
