//! Claims of volumes, as `backup`, `show` and `list` show them.

use schemars::JsonSchema;
use serde::Serialize;

use super::{table::Table, words};
use crate::types::for_terminal;

/// How many claims there are, by who has the data on their volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VolumeCounts {
    /// A source of the policy captures it.
    pub covered: u64,
    /// The policy says that nobody needs it.
    pub disposable: u64,
    /// Nobody has it.
    pub unprotected: u64,
}

/// The claims of a source.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Volumes {
    /// How many there are.
    #[serde(flatten)]
    pub counts: VolumeCounts,
    /// The claims; those that are unprotected first. Of very many only some are listed.
    pub claims: Vec<VolumeClaim>,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it asks for: `10Gi`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub size: String,
    /// Who has the data on its volume: `covered`, `disposable` or `unprotected`.
    pub protection: String,
    /// The source that captures it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<String>,
}

/// Claims that are named in one line.
const NAMED: usize = 5;

impl VolumeCounts {
    fn words(self) -> String {
        let Self { covered, disposable, unprotected } = self;
        let sorts = [(covered, "covered"), (disposable, "disposable"), (unprotected, "UNPROTECTED")];
        let some = sorts.iter().filter(|(count, _)| *count > 0);
        some.map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
    }
}

impl Volumes {
    /// One line, with the first claims whose data nobody has.
    pub(super) fn line(&self) -> String {
        let named: Vec<String> = self.unprotected().take(NAMED).collect();
        let left = self.counts.unprotected.saturating_sub(named.len() as u64);
        let more = if left > 0 && !named.is_empty() { format!(" and {left} more") } else { String::new() };
        let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
        format!("  volumes: {}{named}{more}\n", self.counts.words())
    }

    /// The names of the claims whose data nobody has.
    pub(super) fn unprotected(&self) -> impl Iterator<Item = String> {
        let unprotected = self.claims.iter().filter(|claim| claim.protection == "unprotected");
        unprotected.map(VolumeClaim::full_name)
    }

    /// All of them; `sources` are those that the backup holds.
    pub(super) fn text(&self, sources: &[&str]) -> String {
        let mut table = Table::new(&["CLAIM", ">SIZE", "DATA"]);
        for claim in &self.claims {
            let data = match &claim.covered_by {
                Some(source) if sources.contains(&source.as_str()) => format!("covered by {source}"),
                Some(source) => format!("covered by {source}, which is not in this backup"),
                None if claim.protection == "unprotected" => "UNPROTECTED".to_owned(),
                None => claim.protection.clone(),
            };
            table.row([claim.full_name(), claim.size.clone(), data]);
        }
        let listed = u64::try_from(self.claims.len()).unwrap_or(u64::MAX);
        let total = [self.counts.covered, self.counts.disposable, self.counts.unprotected].iter().sum::<u64>();
        let left = total.saturating_sub(listed);
        let more = if left > 0 { format!("and {left} more\n") } else { String::new() };
        format!("\n{} of volumes: {}\n{}{more}", words::count(total, "claim"), self.counts.words(), table.text())
    }
}

impl VolumeClaim {
    fn full_name(&self) -> String {
        for_terminal(&format!("{}/{}", self.namespace, self.name)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, protection: &str, covered_by: Option<&str>) -> VolumeClaim {
        VolumeClaim {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            size: "10Gi".to_owned(),
            protection: protection.to_owned(),
            covered_by: covered_by.map(str::to_owned),
        }
    }

    #[test]
    fn a_claim_says_who_has_its_data_and_whether_that_is_in_the_backup() {
        let claims = vec![
            claim("uploads", "unprotected", None),
            claim("cache", "disposable", None),
            claim("data-a-0", "covered", Some("a")),
            claim("data-b-0", "covered", Some("b")),
        ];
        let volumes = Volumes { counts: VolumeCounts { covered: 2, disposable: 1, unprotected: 7 }, claims };
        assert_eq!(volumes.line(), "  volumes: 2 covered, 1 disposable, 7 UNPROTECTED: shop/uploads and 6 more\n");
        let text = volumes.text(&["a"]);
        for line in [
            "10 claims of volumes: 2 covered, 1 disposable, 7 UNPROTECTED",
            "shop/uploads   10Gi  UNPROTECTED",
            "shop/cache     10Gi  disposable",
            "shop/data-a-0  10Gi  covered by a\n",
            "shop/data-b-0  10Gi  covered by b, which is not in this backup",
            "and 6 more",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
