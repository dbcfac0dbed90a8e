//! The lines of a saved plan that are not objects: what was asked, and the end.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::wrong;
use crate::{
    operations::{AskedRestore, Error},
    policy,
    sources::kubernetes::restore::{Choice, Mapping, OnConflict, Target, is_kind},
    types::{BackupId, Blake3Digest, LabelSelector, Name, Sha256Digest},
};

/// A larger file of modifiers is carried by no plan: its text is in the plan's first line.
pub(super) const MAX_MODIFIERS: usize = 256 << 10;

/// The first line of a saved plan: what was asked, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedPlan {
    /// `drctl/v1`.
    pub api_version: String,
    /// `SavedPlan`.
    pub kind: String,
    /// The version of drctl that made it.
    pub drctl: String,
    /// When it was made.
    pub made: Timestamp,
    /// The backup's identifier.
    #[schemars(with = "String")]
    pub backup: BackupId,
    /// SHA-256 of the backup's manifest as stored.
    #[schemars(with = "String")]
    pub manifest_sha256: Sha256Digest,
    /// The cluster that it was made for.
    pub target: Target,
    /// What was asked.
    pub options: SavedOptions,
    /// Sources of the backup that are databases: a plan is of objects only, and its execution does not touch them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub databases_left_out: Vec<Name>,
}

/// What was asked of a plan: all of it, so that nothing has to be said again when it is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedOptions {
    /// The sources of the backup.
    #[schemars(with = "Vec<String>")]
    pub sources: Vec<Name>,
    /// What is done about live objects that differ.
    pub on_conflict: OnConflict,
    /// Namespaces that were named to come first.
    pub platform: Vec<String>,
    /// Volumes of the backup are taken over by their claims.
    pub adopt_volumes: bool,
    /// Which objects, into which namespaces, and how changed; absent: all of them, as they were.
    #[serde(default, skip_serializing_if = "SavedAsked::is_nothing")]
    pub asked: SavedAsked,
}

/// Which objects of the backup, into which namespaces, and how changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SavedAsked {
    /// Only objects of these namespaces, by name or pattern.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Only objects of these kinds (`plural.group`), by name or pattern.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Only objects with the labels of one of these selectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub selectors: Vec<LabelSelector>,
    /// Only objects of these names, by name or pattern.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Namespaces of the backup, and those that they are restored as.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mapped_namespaces: BTreeMap<String, String>,
    /// The file of changes to objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modifiers: Option<SavedModifiers>,
}

/// A file of modifiers, as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedModifiers {
    /// How it was called. It is not read again.
    pub file: String,
    /// What is in it: at most 256 KiB.
    pub text: String,
}

/// The last line of a saved plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedEnd {
    /// How many objects there are in it.
    pub objects: u64,
    /// BLAKE3 of all lines before this one: `head -n -1 FILE | b3sum`.
    #[schemars(with = "String")]
    pub blake3: Blake3Digest,
}

impl SavedAsked {
    /// Nothing: all of the backup is restored as it was.
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What a plan keeps of what was asked.
    ///
    /// # Errors
    /// [`Error::PlanFile`] if the modifiers are too large for it.
    pub(super) fn of(asked: &AskedRestore) -> Result<Self, Error> {
        let modifiers = asked
            .modifiers
            .as_ref()
            .map(|file| SavedModifiers { file: file.path().display().to_string(), text: file.text().to_owned() });
        if let Some(modifiers) = modifiers.as_ref().filter(|it| it.text.len() > MAX_MODIFIERS) {
            let why = format!(
                "a plan carries its modifiers, at most 256 KiB of them, and `{}` has {} bytes",
                modifiers.file,
                modifiers.text.len()
            );
            return Err(Error::PlanFile { why });
        }
        let Choice { namespaces, kinds, selectors, names } = asked.choice.clone();
        let mapped_namespaces = asked.mapping.pairs().map(|(from, to)| (from.clone(), to.clone())).collect();
        Ok(Self { namespaces, kinds, selectors, names, mapped_namespaces, modifiers })
    }

    /// What it asks of a restore.
    ///
    /// # Errors
    /// [`Error::PlanFile`] if it cannot have been asked.
    pub(super) fn asked(&self) -> Result<AskedRestore, Error> {
        if let Some(kind) = self.kinds.iter().find(|kind| !is_kind(kind)) {
            return Err(wrong(1, &format!("`{kind}` is no kind")));
        }
        let mapping = Mapping::new(self.mapped_namespaces.clone()).map_err(|error| wrong(1, &error.to_string()))?;
        let read = |it: &SavedModifiers| {
            let too_large = it.text.len() > MAX_MODIFIERS;
            if too_large {
                return Err(wrong(1, "its modifiers are larger than 256 KiB"));
            }
            policy::parse_modifiers(Path::new(&it.file), &it.text).map_err(|error| wrong(1, &error.to_string()))
        };
        let modifiers = self.modifiers.as_ref().map(read).transpose()?;
        let choice = Choice {
            namespaces: self.namespaces.clone(),
            kinds: self.kinds.clone(),
            selectors: self.selectors.clone(),
            names: self.names.clone(),
        };
        Ok(AskedRestore { choice, mapping, modifiers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> AskedRestore {
        AskedRestore {
            choice: Choice {
                namespaces: vec!["shop".to_owned()],
                kinds: vec!["*.apps".to_owned()],
                selectors: vec!["app=web,!old".parse().unwrap()],
                names: vec!["w*".to_owned()],
            },
            mapping: Mapping::new([("shop".to_owned(), "copy".to_owned())]).unwrap(),
            modifiers: Some(policy::parse_modifiers(Path::new("m.yaml"), text).unwrap()),
        }
    }

    const MODIFIERS: &str = "apiVersion: drctl/v1\nkind: Modifiers\nimages: {a: b}\n";

    #[test]
    fn all_that_was_asked_comes_back_from_its_json() {
        let saved = SavedAsked::of(&asked(MODIFIERS)).unwrap();
        let read: SavedAsked = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
        assert_eq!(read, saved);
        let again = read.asked().unwrap();
        assert_eq!((&again.choice, &again.mapping), (&asked(MODIFIERS).choice, &asked(MODIFIERS).mapping));
        let file = again.modifiers.unwrap();
        assert_eq!((file.text(), file.images[0].at.as_str()), (MODIFIERS, "m.yaml:3:10"));
        assert!(SavedAsked::of(&AskedRestore::default()).unwrap().is_nothing());
    }

    #[test]
    fn what_cannot_have_been_asked_is_refused() {
        let good = SavedAsked::of(&asked(MODIFIERS)).unwrap();
        let refused = |change: fn(&mut SavedAsked), why: &str| {
            let mut saved = good.clone();
            change(&mut saved);
            let error = saved.asked().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        };
        refused(|it| it.kinds = vec!["Deployment".to_owned()], "line 1: `Deployment` is no kind");
        refused(|it| drop(it.mapped_namespaces.insert("a".to_owned(), "a".to_owned())), "mapped to itself");
        refused(|it| it.modifiers.as_mut().unwrap().text = "images: {a: b}".to_owned(), "is not a valid file");
        refused(|it| it.modifiers.as_mut().unwrap().text = " ".repeat(MAX_MODIFIERS + 1), "larger than 256 KiB");
    }

    #[test]
    fn modifiers_that_a_plan_cannot_carry_are_refused_when_it_is_saved() {
        let of = |spaces: usize| SavedAsked::of(&asked(&format!("{MODIFIERS}#{}\n", " ".repeat(spaces))));
        let room = MAX_MODIFIERS - MODIFIERS.len() - 2;
        assert!(of(room).is_ok());
        assert!(of(room + 1).unwrap_err().to_string().contains("at most 256 KiB"));
    }
}
