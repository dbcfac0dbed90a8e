//! Where an exported object lies in a folder.

use std::path::PathBuf;

use super::super::{kind::segment, restore::Tier};
use crate::types::Blake3Digest;

/// The longest name of a file that is used as it is. File systems take 255 bytes.
const MAX_NAME: usize = 200;

/// In which form an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// YAML, for people and kubectl.
    Yaml,
    /// The bytes that the server sent.
    Json,
}

/// Which object it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The step of the order in which it is restored.
    pub tier: Tier,
    /// Its kind: `deployments.apps`.
    pub kind: String,
    /// Its namespace; empty: it has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its form.
    pub form: Form,
}

impl Place {
    /// Its file, relative to the export's folder: `09-workloads/shop/deployments.apps/web.yaml`. Names are
    /// percent-encoded, so that none leaves its place; kubectl reads the files in their order.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let tier = format!("{:02}-{}", number(self.tier), self.tier.as_str().replace(' ', "-"));
        // No namespace is called so: `_` is not in their names.
        let namespace = if self.namespace.is_empty() { "_cluster".to_owned() } else { plain(&self.namespace) };
        let end = match self.form {
            Form::Yaml => "yaml",
            Form::Json => "json",
        };
        PathBuf::from(tier).join(namespace).join(plain(&self.kind)).join(format!("{}.{end}", plain(&self.name)))
    }
}

/// The step's place in the order, from 1.
fn number(tier: Tier) -> u8 {
    match tier {
        Tier::Definitions => 1,
        Tier::Namespaces => 2,
        Tier::Classes => 3,
        Tier::Accounts => 4,
        Tier::Bindings => 5,
        Tier::Configuration => 6,
        Tier::Services => 7,
        Tier::Claims => 8,
        Tier::Workloads => 9,
        Tier::CustomResources => 10,
        Tier::Routing => 11,
        Tier::Quotas => 12,
        Tier::Admission => 13,
    }
}

/// A name as a file's name: percent-encoded, and cut where no file system would take it.
fn plain(name: &str) -> String {
    let encoded = segment(name);
    match encoded.get(..MAX_NAME) {
        Some(beginning) if encoded.len() > MAX_NAME => {
            let digest = Blake3Digest::of(name.as_bytes()).to_string();
            format!("{beginning}~{}", digest.get(..16).unwrap_or_default())
        }
        _ => encoded,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn place(namespace: &str, name: &str) -> Place {
        Place {
            tier: Tier::Workloads,
            kind: "deployments.apps".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            form: Form::Yaml,
        }
    }

    #[test]
    fn paths_are_for_people_and_in_the_order_of_a_restore() {
        assert_eq!(place("shop", "web").path(), PathBuf::from("09-workloads/shop/deployments.apps/web.yaml"));
        let role = Place {
            tier: Tier::Accounts,
            kind: "clusterroles.rbac.authorization.k8s.io".to_owned(),
            ..place("", "system:a")
        };
        let expected = "04-accounts-and-roles/_cluster/clusterroles.rbac.authorization.k8s.io/system:a.yaml";
        assert_eq!(role.path(), PathBuf::from(expected));
        let definitions = Place { tier: Tier::Definitions, ..place("", "x") };
        assert!(definitions.path() < place("a", "b").path());
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_place(namespace in ".{1,40}", name in "(\\PC|/|\\.|\0){1,300}") {
            let path = place(&namespace, &name).path();
            prop_assert_eq!(path.components().count(), 4);
            prop_assert!(path.components().all(|part| matches!(part, Component::Normal(name) if name.len() <= 255)));
        }
    }
}
