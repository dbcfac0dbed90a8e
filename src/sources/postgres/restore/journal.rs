//! What a restore writes about itself on the server: a comment on the database that it makes.
//!
//! A comment is written in the same transaction as the step that it tells of, follows the database
//! through a rename, and may be written by the database's owner. So the next run, after a crash at any
//! place, reads from the server alone how far the last one came.

use serde::{Deserialize, Serialize};

use super::{databases::Database, names::RestoreId};

/// What every marker begins with; the rest is JSON.
const PREFIX: &str = "drctl restore ";
/// A longer comment is not ours, and no longer one is written: what cannot be read back cannot be undone.
const LONGEST: usize = 1024 * 1024;

/// How far a restore has come with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is being loaded, or was when the run ended.
    Loading,
    /// The comparison found differences; it is kept to be looked at.
    Differs,
    /// It is loaded and compared, and equal to the backup.
    Ready,
    /// The live database is closed for the swap; this is the one that takes its place.
    Switching,
    /// It was the live database until another took its place.
    Replaced,
    /// The live database is closed for the way back; this is the one that had its place before.
    Undoing,
    /// It was restored and swapped in, and then swapped out again.
    Undone,
}

/// The comment on a database that a restore has made or moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// The restore.
    pub restore: String,
    /// The backup that it restores.
    pub backup: String,
    /// The name of the database whose place is at stake.
    pub of: String,
    /// How far it came.
    pub stage: Stage,
    /// The database's own comment, which comes back with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// While a swap or the way back is under way: somebody had closed the live database before, and it stays closed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

impl Marker {
    /// The comment's text.
    #[must_use]
    pub fn text(&self) -> String {
        // A struct of texts always serialises.
        format!("{PREFIX}{}", serde_json::to_string(self).unwrap_or_default())
    }

    /// Whether it can be read back from the comment of a database: it holds that one's own comment, which has any length.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.text().len() <= LONGEST
    }

    /// The marker in a comment, if it is one.
    #[must_use]
    pub fn parse(comment: &str) -> Option<Self> {
        let json = comment.strip_prefix(PREFIX)?;
        (comment.len() <= LONGEST).then(|| serde_json::from_str(json).ok())?
    }

    /// Whether the database of this name is the one that the marker tells of: whoever owns a database can
    /// write any comment on it, and a restore acts only on what it has named itself.
    #[must_use]
    pub fn is_of(&self, name: &str) -> bool {
        let Some(id) = RestoreId::parse(&self.restore) else { return false };
        match self.stage {
            Stage::Loading | Stage::Differs | Stage::Ready | Stage::Switching => name == id.scratch(&self.of),
            Stage::Replaced | Stage::Undoing => name == id.before(&self.of),
            // Its name has the time of the way back, which the marker does not tell. It is named, and nothing is done with it.
            Stage::Undone => RestoreId::of_undone(name, &self.of).is_some(),
        }
    }

    /// The same restore, at another stage.
    #[must_use]
    pub fn at(&self, stage: Stage) -> Self {
        Self { stage, ..self.clone() }
    }
}

/// Why the comment of a live database cannot be kept for the way back; absent: it can.
pub(super) fn remembers(live: &Database) -> Option<String> {
    // As long as any identifier of ours gets.
    let filler = "-".repeat(64);
    let (restore, backup, of) = (filler.clone(), filler, live.name.clone());
    let marker = Marker { restore, backup, of, stage: Stage::Switching, comment: live.comment.clone(), closed: true };
    (!marker.fits()).then(|| {
        format!(
            "the comment on database {} is of {} bytes, too long to be kept for the way back: shorten it by COMMENT ON DATABASE",
            live.name,
            live.comment.as_deref().unwrap_or_default().len()
        )
    })
}

/// A comment that a database gets from a backup or from a marker. One that reads as a marker is none: the
/// next run would act on it.
pub(super) fn own_comment(comment: Option<String>) -> Option<String> {
    comment.filter(|comment| Marker::parse(comment).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_tells_only_of_the_database_that_the_restore_has_named() {
        let marker = |restore: &str, stage| Marker {
            restore: restore.to_owned(),
            backup: "b".to_owned(),
            of: "orders".to_owned(),
            stage,
            comment: None,
            closed: false,
        };
        let id = "20261121150501abcd";
        for stage in [Stage::Loading, Stage::Differs, Stage::Ready, Stage::Switching] {
            assert!(marker(id, stage).is_of("orders_drctl_20261121150501abcd"));
            for other in ["orders", "billing", "orders_before_20261121150501abcd", "orders_drctl_20261121150501abce"] {
                assert!(!marker(id, stage).is_of(other), "{other}");
            }
        }
        for stage in [Stage::Replaced, Stage::Undoing] {
            assert!(marker(id, stage).is_of("orders_before_20261121150501abcd"));
            assert!(!marker(id, stage).is_of("orders_drctl_20261121150501abcd"));
        }
        assert!(!marker("x", Stage::Loading).is_of("orders_drctl_x"));
    }

    #[test]
    fn a_marker_that_could_not_be_read_back_does_not_fit() {
        for (length, fits) in [(66_000, true), (LONGEST - 1000, true), (LONGEST, false)] {
            let (restore, of) = ("20261121150501abcd".to_owned(), "orders".to_owned());
            let comment = Some("c".repeat(length));
            let marker = Marker { restore, backup: "b".to_owned(), of, stage: Stage::Replaced, comment, closed: false };
            assert_eq!((marker.fits(), Marker::parse(&marker.text()).is_some()), (fits, fits), "{length}");
        }
    }

    #[test]
    fn a_comment_that_reads_as_a_marker_is_never_given_to_a_database() {
        let text = "drctl restore {\"restore\":\"r\",\"backup\":\"b\",\"of\":\"o\",\"stage\":\"loading\"}";
        assert_eq!(own_comment(Some(text.to_owned())), None);
        assert_eq!(own_comment(Some("the shop".to_owned())).as_deref(), Some("the shop"));
    }

    #[test]
    fn a_marker_is_read_back_and_other_comments_are_none() {
        let marker = Marker {
            restore: "20261121150501abcd".to_owned(),
            backup: "20261120T020000Z-k3x7pq".to_owned(),
            of: "orders \"x\"".to_owned(),
            stage: Stage::Switching,
            comment: Some("the shop's orders".to_owned()),
            closed: true,
        };
        assert_eq!(Marker::parse(&marker.text()), Some(marker.clone()));
        assert_eq!(Marker::parse(&marker.at(Stage::Ready).text()).unwrap().stage, Stage::Ready);
        // One of an earlier program.
        let older = "drctl restore {\"restore\":\"r\",\"backup\":\"b\",\"of\":\"o\",\"stage\":\"switching\"}";
        assert!(!Marker::parse(older).unwrap().closed);
        for other in ["", "orders", "drctl restore", "drctl restore {}", "drctl restore {\"restore\":1}"] {
            assert_eq!(Marker::parse(other), None, "{other}");
        }
    }
}
