//! The objects of a plan as a file keeps them, and whether a plan is still the one of the file.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    plan::{Action, Answer, Entry, Plan, PlannedKind, PlannedPart, Seen},
    tiers::Tier,
};

/// One object of a saved plan: a line of its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedObject<'a> {
    /// The source in the backup.
    #[serde(borrow)]
    pub source: Cow<'a, str>,
    /// `deployments.apps`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// Empty: cluster-scoped.
    #[serde(borrow)]
    pub namespace: Cow<'a, str>,
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// When its turn comes.
    pub tier: Tier,
    /// Its namespace is needed by others and comes before them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub platform: bool,
    /// What is done.
    pub action: Action,
    /// Why, where there is more to say.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'a, str>,
    /// What the server's own dry run said.
    #[serde(default, skip_serializing_if = "Answer::is_none")]
    pub server: Answer,
    /// Its words, where it did not simply accept.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub server_reason: Cow<'a, str>,
    /// A digest of the object as it would be there: half of its BLAKE3. Empty: nothing would.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub wanted: Cow<'a, str>,
    /// A digest of the live object, without its status and the server's books. Empty: it was not there.
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub live: Cow<'a, str>,
}

impl std::fmt::Display for SavedObject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let safe = crate::types::for_terminal;
        let namespace = if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) };
        write!(f, "{} {}", safe(&self.kind), safe(&format!("{namespace}{}", self.name)))
    }
}

impl SavedObject<'_> {
    /// A Namespace or a definition that is created because something chosen needs it: where it is there, a plan of a
    /// part of a backup says nothing of it.
    #[must_use]
    pub fn is_made_for_others(&self) -> bool {
        self.action == Action::Create
            && self.live.is_empty()
            && matches!(self.kind.as_ref(), "namespaces" | "customresourcedefinitions.apiextensions.k8s.io")
    }

    /// Both are about one object.
    #[must_use]
    pub fn is_of(&self, other: &SavedObject<'_>) -> bool {
        (&self.source, &self.kind, &self.namespace, &self.name)
            == (&other.source, &other.kind, &other.namespace, &other.name)
    }

    /// What has changed since the file was written, if it is about the same object and something has.
    ///
    /// # Errors
    /// If it is about another object: then the file is of another plan.
    pub fn change_to(&self, now: &SavedObject<'_>) -> Result<Option<String>, String> {
        if !self.is_of(now) {
            return Err(format!("it has {self} where the backup has {now}"));
        }
        Ok(if self.live != now.live {
            Some(
                match (self.live.is_empty(), now.live.is_empty()) {
                    (true, _) => "it is there by now",
                    (_, true) => "it is not there any more",
                    _ => "the live object was changed",
                }
                .to_owned(),
            )
        } else if self.action != now.action {
            Some(format!("the plan was to {}, and is to {} now", self.action, now.action))
        } else if self.wanted != now.wanted {
            Some(
                "what would be written is something else now: was the plan made by another version of drctl?"
                    .to_owned(),
            )
        } else if (self.tier, self.platform) != (now.tier, now.platform) {
            Some("its turn comes at another time now".to_owned())
        } else {
            None
        })
    }
}

impl Plan {
    /// Every object as a file keeps it, in the order of the plan. Digests are there if the plan was asked to
    /// remember what it saw.
    pub fn saved(&self) -> impl Iterator<Item = SavedObject<'_>> {
        self.kinds.iter().flat_map(move |kind| {
            kind.parts.iter().flat_map(move |part| {
                let entries = part.entries.iter().enumerate();
                entries.map(move |(place, entry)| self.saved_entry(kind, part, entry, part.seen.get(place).copied()))
            })
        })
    }

    fn saved_entry<'a>(
        &'a self,
        kind: &'a PlannedKind,
        part: &'a PlannedPart,
        entry: &'a Entry,
        seen: Option<Seen>,
    ) -> SavedObject<'a> {
        let seen = seen.unwrap_or_default();
        let digest = |mark: super::seen::Mark| if mark.is_none() { String::new() } else { mark.to_string() };
        SavedObject {
            source: Cow::Borrowed(&self.source),
            kind: Cow::Borrowed(&kind.name),
            namespace: Cow::Borrowed(&part.namespace),
            name: Cow::Borrowed(&entry.name),
            tier: kind.tier,
            platform: part.platform,
            action: entry.action,
            reason: Cow::Borrowed(self.reasons.text(entry.reason)),
            server: entry.answer,
            server_reason: Cow::Borrowed(self.reasons.text(entry.words)),
            wanted: Cow::Owned(digest(seen.wanted)),
            live: Cow::Owned(digest(seen.live)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &'static str, live: &'static str, action: Action) -> SavedObject<'static> {
        SavedObject {
            source: Cow::Borrowed("s"),
            kind: Cow::Borrowed("configmaps"),
            namespace: Cow::Borrowed("n"),
            name: Cow::Borrowed(name),
            tier: Tier::Configuration,
            platform: false,
            action,
            reason: Cow::Borrowed(""),
            server: Answer::None,
            server_reason: Cow::Borrowed(""),
            wanted: Cow::Borrowed("aa"),
            live: Cow::Borrowed(live),
        }
    }

    #[test]
    fn what_changed_is_named() {
        let change = |was: &SavedObject<'_>, is: &SavedObject<'_>| was.change_to(is).unwrap().unwrap_or_default();
        let absent = object("a", "", Action::Create);
        assert_eq!(change(&absent, &absent), "");
        assert_eq!(change(&absent, &object("a", "11", Action::Conflict)), "it is there by now");
        assert_eq!(change(&object("a", "11", Action::Same), &absent), "it is not there any more");
        assert_eq!(
            change(&object("a", "11", Action::Same), &object("a", "22", Action::Same)),
            "the live object was changed"
        );
        let cannot = SavedObject { action: Action::Cannot, ..absent.clone() };
        assert_eq!(change(&absent, &cannot), "the plan was to create, and is to cannot now");
        let other = SavedObject { wanted: Cow::Borrowed("bb"), ..absent.clone() };
        assert!(change(&absent, &other).contains("another version of drctl"));
        let judged = SavedObject { server: Answer::Rejected, reason: Cow::Borrowed("x"), ..absent.clone() };
        assert_eq!(change(&absent, &judged), "", "words change and mean nothing");
        assert_eq!(
            absent.change_to(&object("b", "", Action::Create)).unwrap_err(),
            "it has configmaps n/a where the backup has configmaps n/b"
        );
    }

    #[test]
    fn a_line_reads_back_as_it_was_written_and_has_no_unknown_fields() {
        let saved = SavedObject { reason: Cow::Borrowed("a \"quoted\" word"), ..object("a", "11", Action::Update) };
        let line = serde_json::to_string(&saved).unwrap();
        assert_eq!(serde_json::from_str::<SavedObject<'_>>(&line).unwrap(), saved);
        let more = line.replacen('{', "{\"owner\":1,", 1);
        assert!(serde_json::from_str::<SavedObject<'_>>(&more).is_err());
    }
}
