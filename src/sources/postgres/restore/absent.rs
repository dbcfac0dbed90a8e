//! What the backup never held: a database that takes the live one's place lacks it.

use super::{
    super::{Server, contents::Database as Document, contents::LeftOut as Absent},
    found,
    plan::{PlanOptions, Scope, Way},
    preflight::{Findings, Target},
    report::LeftOut,
};

/// So many are named in a refusal; the plan has all.
const NAMED: usize = 10;

/// Refuses to put a database without them in the live one's place, unless that is agreed to. Returns what the
/// swap loses.
pub(super) async fn check(
    findings: &mut Findings,
    server: &Server,
    options: &PlanOptions,
    document: &Document,
    target: &Target,
) -> Vec<LeftOut> {
    let (absent, no_rows) = (absent(document), options.scope == Scope::Schema);
    if options.way == Way::Tables || (absent.is_empty() && !no_rows) {
        return Vec::new();
    }
    let replaces = options.way == Way::Beside && !options.no_switch;
    let loses = replaces && target.traces.live.is_some();
    // What an image made of an empty volume holds nothing that could be lost. What cannot be looked at may.
    if !loses || found::found(server, &target.database).await.is_ok_and(|found| found.is_empty()) {
        for left in &absent {
            findings.warn(format!("the backup does not hold {}: {}", left.what, left.why));
        }
        return Vec::new();
    }
    if no_rows {
        findings.refuse(format!(
            "--schema-only would put a database without rows in the place of {}: leave it beside with --no-switch, \
             name an empty one with --in-place, or a new one with --create and --target-database",
            target.database
        ));
    }
    if !absent.is_empty() && !options.leave_out {
        // What cannot be made without that goes with it.
        let lacking = document.lacking.iter().filter(|it| !it.rows_only && options.scope != Scope::Data);
        let lacking = lacking.map(|it| LeftOut { what: it.what.clone(), why: it.why.clone() });
        findings.refuse(refusal(&target.database, &absent.iter().cloned().chain(lacking).collect::<Vec<_>>()));
    }
    absent
}

fn refusal(database: &str, absent: &[LeftOut]) -> String {
    let named = absent.iter().take(NAMED).map(|left| format!("{} ({})", left.what, left.why));
    let mut list = named.collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = absent.len().checked_sub(NAMED) {
        list.push_str(&format!(" and {more} more"));
    }
    format!(
        "the backup does not hold {list}: the live database {database} would lose what it has of that; agree to it with \
         --leave-out, restore beside it with --no-switch, or single tables with --table"
    )
}

/// What is not in the backup and was in the database. Rows of foreign tables were not.
fn absent(document: &Document) -> Vec<LeftOut> {
    let mut absent: Vec<LeftOut> = Vec::new();
    let by_kind = document.left_out.iter().filter(|left| left.why != Absent::ELSEWHERE).cloned();
    for Absent { what, why } in document.exclusions.left_out().into_iter().chain(by_kind) {
        if !absent.iter().any(|left| left.what == what) {
            absent.push(LeftOut { what, why });
        }
    }
    absent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(more: serde_json::Value) -> Document {
        let mut json = serde_json::json!({
            "apiVersion": "drctl/v1", "kind": "PostgresDatabase", "name": "shop", "owner": "shop", "encoding": "UTF8",
            "locale": {"provider": "libc", "collate": "C", "ctype": "C"},
            "server": {"version": "15.18", "number": 150_018},
            "archive": {"version": "1.14", "pgDump": "15.18", "framing": "row", "bytes": 0},
            "snapshot": {"time": "2026-11-21T12:00:00Z"},
        });
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(json).unwrap()
    }

    fn names(more: serde_json::Value) -> Vec<String> {
        absent(&document(more)).into_iter().map(|left| left.what).collect()
    }

    #[test]
    fn a_backup_without_exclusions_lacks_nothing() {
        assert_eq!(names(serde_json::json!({})), Vec::<String>::new());
        let elsewhere = serde_json::json!({"leftOut": [{"what": "rows of public.far", "why": Absent::ELSEWHERE}]});
        assert_eq!(names(elsewhere), Vec::<String>::new());
    }

    #[test]
    fn what_the_policy_and_the_capture_left_out_is_named_once() {
        let found = names(serde_json::json!({
            "exclusions": {"schemas": ["app"], "excludeTables": ["app.tmp"], "excludeTableData": ["app.log"]},
            "leftOut": [
                {"what": "rows of app.log", "why": "the policy's `excludeTableData`"},
                {"what": "all 3 large objects", "why": "role `r` may not read 1 of them"},
            ],
        }));
        assert_eq!(found, ["all schemas but app", "tables app.tmp", "rows of app.log", "all 3 large objects"]);
    }

    #[test]
    fn a_refusal_names_what_would_be_lost_and_the_ways_out() {
        let many: Vec<LeftOut> =
            (0..12).map(|n| LeftOut { what: format!("tables t{n}"), why: "the policy".to_owned() }).collect();
        let text = refusal("shop", &many);
        for word in ["tables t9", "and 2 more", "shop", "--leave-out", "--no-switch", "--table"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("tables t10"), "{text}");
    }
}
