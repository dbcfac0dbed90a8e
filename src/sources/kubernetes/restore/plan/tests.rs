use serde_json::json;

use super::*;

fn plan(entries: Vec<(&str, Action, &str)>) -> Plan {
    let mut reasons = Reasons::default();
    let entry = |(name, action, reason): (&str, Action, &str)| Entry {
        name: name.into(),
        uid: Uid::default(),
        action,
        reason: reasons.intern(reason),
        first: false,
        answer: Answer::None,
        words: Reason::default(),
    };
    let entries = entries.into_iter().map(entry).collect();
    let namespace = "shop".to_owned();
    let part = PlannedPart { part: 0, namespace, platform: false, entries, seen: Vec::new() };
    let kind =
        PlannedKind { stream: 0, name: "secrets".to_owned(), tier: Tier::Configuration, kind: None, parts: vec![part] };
    let mut plan = Plan {
        backup: "b".to_owned(),
        source: "s".to_owned(),
        target: Target { uid: "u".to_owned(), name: "n".to_owned(), version: "v".to_owned() },
        on_conflict: OnConflict::Fail,
        counts: Counts::new(),
        kinds: vec![kind],
        reasons,
        databases: Vec::new(),
        referenced: HashSet::new(),
        adoption: Adoption::default(),
        asked: Asked::default(),
        warnings: Vec::new(),
        agreed: std::collections::HashMap::new(),
        needed_first: std::collections::BTreeSet::new(),
    };
    plan.recount();
    plan
}

#[test]
fn a_databases_server_comes_back_only_with_the_workload_behind_its_own_service() {
    let service = |name: &str| ServiceName { namespace: "shop".to_owned(), name: name.to_owned() };
    let mut plan = plan(vec![("orders-db", Action::Create, ""), ("billing-db", Action::Same, "")]);
    let behind = |entry, name| Behind { kind: 0, part: 0, entry, services: vec![service(name)] };
    plan.databases = vec![behind(0, "orders"), behind(1, "billing")];
    assert!(plan.creates_behind(&service("orders")));
    assert!(!plan.creates_behind(&service("billing")), "its workload is there");
    assert!(!plan.creates_behind(&service("web")), "no workload is behind it");
}

#[test]
fn a_plan_counts_and_serialises_every_object() {
    let plan = plan(vec![("a", Action::Create, ""), ("b", Action::Conflict, "differs"), ("c", Action::Create, "")]);
    assert_eq!((plan.total(Action::Create), plan.conflicts(), plan.writes()), (2, 1, 2));
    let shown = serde_json::to_value(&plan).unwrap();
    assert_eq!(shown["counts"][0]["create"], json!(2));
    assert_eq!(
        shown["objects"][1],
        json!({"kind": "secrets", "namespace": "shop", "name": "b", "tier": "configuration", "action": "conflict", "reason": "differs"})
    );
    assert_eq!(shown["onConflict"], json!("fail"));
}

#[test]
fn a_plan_of_a_million_objects_stays_small() {
    assert!(std::mem::size_of::<Entry>() <= 48, "{}", std::mem::size_of::<Entry>());
}
