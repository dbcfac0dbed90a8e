//! Which part of a cluster a source is. Pure: it decides by names alone.

use super::{
    discovery::Unread,
    kind::{Kind, kind_id},
    kinds::{self},
};

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
    /// Kinds (`plural.group`) that are captured also where they are left out by default or by
    /// [`Self::exclude`].
    pub include: Vec<String>,
    /// Kinds (`plural.group`) to leave out. With `*` only what is included is captured.
    pub exclude: Vec<String>,
    /// Which cluster-scoped objects; without a word: [`ClusterScoped::All`] if the namespaces
    /// contain `*`, else [`ClusterScoped::Referenced`].
    pub cluster_scoped: Option<ClusterScoped>,
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

    /// Objects of the kind belong to the source (as far as their namespace does).
    #[must_use]
    pub fn takes_kind(&self, kind: &Kind) -> bool {
        let id = kind.id();
        if any_matches(&self.include, &id) {
            return true;
        }
        !kind.aggregated && kinds::left_out(&id).is_none() && !any_matches(&self.exclude, &id)
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
        if self.include.iter().any(|pattern| can_match_in(pattern, group)) {
            Unanswered::Missing
        } else if self.exclude.iter().any(|pattern| matches_all_of(pattern, group)) {
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

fn is_pattern(text: &str) -> bool {
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
