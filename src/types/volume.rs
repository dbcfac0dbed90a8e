//! Claims of volumes: a backup of Kubernetes objects holds the claim, and not what is on the volume.

use serde::{Deserialize, Serialize};

use super::Name;

/// A PersistentVolumeClaim of a source, and who has the data that is on its volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Volume {
    /// The claim's namespace.
    pub namespace: String,
    /// The claim's name.
    pub name: String,
    /// What it asks for, in Kubernetes' words: `10Gi`. Empty if it does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub size: String,
    /// Who has its data.
    #[serde(flatten)]
    pub protection: Protection,
}

/// Who has the data that is on a volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "protection", rename_all = "kebab-case")]
pub enum Protection {
    /// A source of the policy captures it.
    #[serde(rename_all = "camelCase")]
    Covered {
        /// That source.
        covered_by: Name,
    },
    /// The policy says that nobody needs it.
    Disposable,
    /// Nobody. A word of a later version counts as this, too: it must not look safer than it is known to be.
    #[serde(other)]
    Unprotected,
}

/// How many claims there are of each sort.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeCounts {
    /// A source captures their data.
    pub covered: u64,
    /// Nobody needs their data.
    pub disposable: u64,
    /// Nobody has their data.
    pub unprotected: u64,
}

impl VolumeCounts {
    /// Counts `volumes`.
    #[must_use]
    pub fn of(volumes: &[Volume]) -> Self {
        let mut counts = Self::default();
        for volume in volumes {
            *match volume.protection {
                Protection::Covered { .. } => &mut counts.covered,
                Protection::Disposable => &mut counts.disposable,
                Protection::Unprotected => &mut counts.unprotected,
            } += 1;
        }
        counts
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.covered.saturating_add(self.disposable).saturating_add(self.unprotected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_written_flat_and_read_back() {
        let covered = Protection::Covered { covered_by: Name::new("orders-db").unwrap() };
        for (protection, text) in [
            (covered, r#""protection":"covered","coveredBy":"orders-db""#),
            (Protection::Disposable, r#""protection":"disposable""#),
            (Protection::Unprotected, r#""protection":"unprotected""#),
        ] {
            let volume = Volume { namespace: "a".to_owned(), name: "b".to_owned(), size: "1Gi".to_owned(), protection };
            let json = serde_json::to_string(&volume).unwrap();
            assert_eq!(json, format!(r#"{{"namespace":"a","name":"b","size":"1Gi",{text}}}"#));
            assert_eq!(serde_json::from_str::<Volume>(&json).unwrap(), volume);
        }
    }

    #[test]
    fn a_protection_that_is_not_known_is_none() {
        let volume: Volume =
            serde_json::from_str(r#"{"namespace":"a","name":"b","protection":"snapshotted"}"#).unwrap();
        assert_eq!(volume.protection, Protection::Unprotected);
    }
}
