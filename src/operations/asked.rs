//! What a person asks of a restore beyond all of a backup as it is: a part of it, other namespaces, other fields.

use std::{collections::BTreeSet, sync::Arc};

use super::{Error, RestoreOptions};
use crate::{
    policy::{ModifierFile, ModifierKey, Replacement},
    sources::kubernetes::restore::{
        Choice, Mapping, ModifierRef, ModifierRule, Modifiers, NotHeld, PatchStep, Plan, Recipe, Substitution,
    },
    types::{StreamInfo, nearest},
};

/// What is asked of a restore of objects.
#[derive(Debug, Clone, Default)]
pub struct AskedRestore {
    /// Which objects.
    pub choice: Choice,
    /// Which namespaces under which other names.
    pub mapping: Mapping,
    /// What is changed in them.
    pub modifiers: Option<ModifierFile>,
}

impl AskedRestore {
    /// Not all that a backup holds is restored to where it was.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.choice.is_all() || !self.mapping.is_empty()
    }

    /// What is made of objects.
    ///
    /// # Errors
    /// [`Error::PatchStep`] if an operation is none.
    pub(super) fn recipe(&self) -> Result<Arc<Recipe>, Error> {
        let modifiers = self.modifiers.as_ref().map(modifiers).transpose()?.unwrap_or_default();
        Ok(Arc::new(Recipe { mapping: self.mapping.clone(), modifiers }))
    }

    /// Which objects of a backup with these streams.
    ///
    /// # Errors
    /// [`Error::NotChosen`] if the backup does not hold what is named, [`Error::Mapping`] if what is chosen is not
    /// mapped.
    pub(super) fn choice<'s>(&self, streams: impl Iterator<Item = &'s StreamInfo> + Clone) -> Result<Choice, Error> {
        let mapped =
            Choice { namespaces: self.mapping.pairs().map(|(from, _)| from.clone()).collect(), ..Choice::all() };
        mapped.check(streams.clone())?;
        self.choice.check(streams)?;
        Ok(self.mapping.narrow(self.choice.clone())?)
    }

    /// Takes out the plans of sources of which nothing is chosen. Refuses what was asked for and is about nothing.
    ///
    /// # Errors
    /// [`Error::NotChosen`] and [`Error::Modifiers`]. Nothing was written.
    pub(super) fn settle(&self, plans: &mut Vec<Plan>) -> Result<(), Error> {
        if self.is_partial() {
            if let Some(name) = self.choice.names.iter().find(|name| !plans.iter().any(|plan| plan.has_name(name))) {
                return Err(NotHeld::Name(name.clone()).into());
            }
            plans.retain(|plan| plan.size() > 0);
            if plans.is_empty() {
                return Err(NotHeld::Nothing(self.words()).into());
            }
        }
        let Some(file) = &self.modifiers else { return Ok(()) };
        let used: Vec<ModifierRef> = plans.iter().flat_map(Plan::used_modifiers).collect();
        let recipe = self.recipe()?;
        let unused =
            recipe.modifiers.all().filter(|modifier| !used.contains(modifier)).map(|modifier| match modifier {
                ModifierRef::Rule(place) => ModifierKey::Rule(place),
                ModifierRef::StorageClass(place) => ModifierKey::StorageClass(place),
                ModifierRef::Image(place) => ModifierKey::Image(place),
            });
        match unused.collect::<Vec<_>>() {
            unused if unused.is_empty() => Ok(()),
            unused => Err(Error::Modifiers(Box::new(file.match_nothing(&unused)))),
        }
    }

    /// How it was said.
    #[must_use]
    pub fn words(&self) -> String {
        let mapped = self.mapping.pairs().map(|(from, to)| format!("--map-namespace {from}={to}"));
        let chosen = Some(self.choice.words()).filter(|words| !words.is_empty());
        let modifiers = self.modifiers.is_some().then(|| "--modifiers".to_owned());
        let words: Vec<String> = mapped.chain(chosen).chain(modifiers).collect();
        words.join(" ")
    }
}

/// An option that is about nothing is a mistake, and not nothing to do.
pub(super) fn refuse_what_is_about_nothing(options: &RestoreOptions, plans: &[Plan]) -> Result<(), NotHeld> {
    let namespaces: BTreeSet<&str> = plans.iter().flat_map(Plan::namespaces).collect();
    if let Some(stranger) = options.platform.iter().find(|name| !namespaces.contains(name.as_str())) {
        let near = nearest(stranger, namespaces.iter().copied()).into_iter().map(str::to_owned).collect();
        return Err(NotHeld::Platform(stranger.clone(), near));
    }
    if options.adopt_volumes && !plans.iter().any(Plan::looks_at_volumes) {
        return Err(NotHeld::Volumes);
    }
    Ok(())
}

fn modifiers(file: &ModifierFile) -> Result<Modifiers, Error> {
    let substitution = |it: &Replacement| Substitution { at: it.at.clone(), old: it.old.clone(), new: it.new.clone() };
    let mut rules = Vec::new();
    for rule in &file.rules {
        let steps = rule.patch.iter().map(|it| PatchStep::new(it.at.clone(), it.operation.clone()));
        rules.push(ModifierRule {
            at: rule.at.clone(),
            kind: rule.kind.clone(),
            name: rule.name.clone(),
            namespace: rule.namespace.clone(),
            selector: rule.selector.clone(),
            patch: steps.collect::<Result<_, _>>()?,
        });
    }
    let storage_classes = file.storage_classes.iter().map(substitution).collect();
    Ok(Modifiers { rules, storage_classes, images: file.images.iter().map(substitution).collect() })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_file_of_modifiers_becomes_what_a_restore_does() {
        let text = "apiVersion: drctl/v1\nkind: Modifiers\nimages: {a: b}\nrules:\n- kind: secrets\n  patch: [{op: add, path: /a, value: 1}]\n";
        let file = crate::policy::parse_modifiers(Path::new("m.yaml"), text).unwrap();
        let asked = AskedRestore { modifiers: Some(file), ..AskedRestore::default() };
        let recipe = asked.recipe().unwrap();
        assert_eq!(recipe.modifiers.all().count(), 2);
        assert_eq!(
            (recipe.modifiers.rules[0].at.as_str(), recipe.modifiers.rules[0].patch[0].at.as_str()),
            ("m.yaml:5:3", "m.yaml:6:11")
        );
        assert!(!asked.is_partial());
        let error = asked.settle(&mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("m.yaml:3:10: no object that is restored has the image `a`"), "{error}");
        assert!(error.contains("m.yaml:5:3: this rule is about no object"), "{error}");
    }

    #[test]
    fn what_was_asked_is_told_as_it_was_said() {
        let asked = AskedRestore {
            choice: Choice { kinds: vec!["secrets".to_owned()], ..Choice::default() },
            mapping: Mapping::new([("shop".to_owned(), "copy".to_owned())]).unwrap(),
            modifiers: None,
        };
        assert_eq!(asked.words(), "--map-namespace shop=copy --kind secrets");
        assert!(asked.is_partial() && !AskedRestore::default().is_partial());
    }
}
