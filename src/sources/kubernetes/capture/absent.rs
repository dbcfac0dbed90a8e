//! What a text about something that is missing in a backup may be about. The texts are those of `plan`.

use super::super::selection::matches;

/// An object that was looked for in a backup and not found there.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// Its kind (`plural.group`), if that is known.
    pub kind: Option<&'a str>,
    /// Its namespace; empty: it has none.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl Sought<'_> {
    /// Whether it may be in what is missing. `means`: whether a kind is meant where its own is not known. A text that
    /// nobody knows may be about anything.
    #[must_use]
    pub fn may_be_in(&self, missing: &str, means: impl Fn(&str) -> bool) -> bool {
        let is_kind = |kind: &str| self.kind.map_or_else(|| means(kind), |own| own == kind);
        let words: Vec<&str> = missing.split(' ').collect();
        match *words.as_slice() {
            ["kind", kind] => is_kind(kind),
            ["kind", kind, "in", "namespace", namespace] => is_kind(kind) && namespace == self.namespace,
            ["those", "of", "kind", kind, ..] => is_kind(kind),
            [name, "of", "kind", kind] => is_kind(kind) && name == self.name,
            ["namespace", name] => self.is_in(|namespace| namespace == name),
            ["namespaces", "like", pattern] => self.is_in(|namespace| matches(pattern, namespace)),
            ["group", group] => {
                let group = group.rsplit_once('/').map_or(group, |(group, _)| group);
                self.kind.is_none_or(|kind| kind.split_once('.').map_or("", |(_, group)| group) == group)
            }
            _ => true,
        }
    }

    /// A Namespace counts by its name.
    fn is_in(&self, takes: impl Fn(&str) -> bool) -> bool {
        takes(if self.namespace.is_empty() { self.name } else { self.namespace })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_may_be_in_what_names_its_kind_its_namespace_or_its_group() {
        let secret = Sought { kind: Some("secrets"), namespace: "shop", name: "s1" };
        let widget = Sought { kind: Some("widgets.example.org"), namespace: "shop", name: "w" };
        let never = |_: &str| false;
        for text in [
            "kind secrets",
            "kind secrets in namespace shop",
            "namespace shop",
            "namespaces like sh*",
            "source services",
            "something of a later program",
        ] {
            assert!(secret.may_be_in(text, never), "{text}");
        }
        for text in [
            "kind secrets in namespace other",
            "kind configmaps in namespace shop",
            "kind secretstores.example.org",
            "namespace other",
            "namespaces like team-*",
            "group example.org/v1",
            "s2 of kind secrets",
            "those of kind applications.argoproj.io in other namespaces that deploy into the source's",
        ] {
            assert!(!secret.may_be_in(text, never), "{text}");
        }
        assert!(widget.may_be_in("group example.org/v1", never) && !widget.may_be_in("group other.org/v1", never));
        // Where the backup has nothing of the kind, the word that a person wrote decides.
        let unknown = Sought { kind: None, ..secret };
        let means = |kind: &str| kind == "secrets";
        assert!(unknown.may_be_in("kind secrets in namespace shop", means));
        assert!(!unknown.may_be_in("kind configmaps in namespace shop", means));
        let namespace = Sought { kind: Some("namespaces"), namespace: "", name: "shop" };
        assert!(namespace.may_be_in("namespace shop", never) && !namespace.may_be_in("namespace other", never));
    }
}
