//! The JSON Schemas in `docs/schemas` are those of the program, and the policies in `policies/` are valid.

use std::{fs, path::Path};

use drctl::{
    operations::{LaterDatabase, PlanWarning, RestoredDatabase, RestoredSource, SavedEnd, SavedPlan},
    report::{self, schema_of},
    sources::{
        kubernetes::restore::{Plan, SavedObject},
        mongodb::restore as mongodb,
        postgres::restore as postgres,
    },
};

use crate::support::{program::run, schema::misfits};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares `docs/schemas/<name>.json` with `current`; writes it if `DRCTL_UPDATE_SCHEMAS` is set.
fn check(name: &str, current: &serde_json::Value) {
    let path = root().join("docs/schemas").join(format!("{name}.json"));
    let text = format!("{current:#}\n");
    if std::env::var_os("DRCTL_UPDATE_SCHEMAS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let command = "DRCTL_UPDATE_SCHEMAS=1 cargo test --test integration schemas";
    assert!(committed == text, "{} is not current; run `{command}`", path.display());
}

#[test]
fn the_policy_schema_is_current_and_is_what_the_program_prints() {
    let schema = drctl::policy::json_schema_of_policy();
    check("policy", &schema);
    let printed = run(&["policy", "schema"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&printed.stdout).unwrap(), schema);
}

#[test]
fn the_schema_of_modifiers_is_current_and_takes_what_the_program_takes() {
    let schema = drctl::policy::json_schema_of_modifiers();
    check("modifiers", &schema);
    let printed = run(&["policy", "schema", "--modifiers"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&printed.stdout).unwrap(), schema);
    let good = r#"{"apiVersion": "drctl/v1", "kind": "Modifiers", "storageClasses": {"a": "b"}, "images": {"c/": "d/"}, "rules": [
        {"kind": "*.apps", "name": "w*", "namespace": "shop", "selector": "app=web", "patch": [
            {"op": "test", "path": "/spec/x", "value": null}, {"op": "add", "path": "/spec/a~1b", "value": {"c": [1]}},
            {"op": "replace", "path": "/spec/r", "value": 1}, {"op": "remove", "path": "/spec/y"},
            {"op": "move", "from": "/spec/m", "path": "/spec/n"}, {"op": "copy", "from": "/spec/m", "path": "/spec/n"}]}]}"#;
    let fits = |text: &str| {
        let document = serde_json::from_str(text).unwrap();
        let misfits = misfits(&schema, &document);
        // JSON is YAML.
        let taken = drctl::policy::parse_modifiers(Path::new("m.yaml"), text).is_ok();
        assert_eq!(misfits.is_empty(), taken, "{misfits:?}: {text}");
        taken
    };
    assert!(fits(good));
    for (from, to) in [
        ("\"Modifiers\"", "\"Policy\""),
        ("\"images\"", "\"image\""),
        ("{\"a\": \"b\"}", "{\"a\": 1}"),
        ("\"name\": \"w*\"", "\"names\": \"w*\""),
        ("\"op\": \"add\"", "\"op\": \"put\""),
        ("{\"op\": \"remove\", \"path\": \"/spec/y\"}", "{\"op\": \"remove\"}"),
        ("\"value\": 1}", "\"from\": \"/a\"}"),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(!fits(&good.replacen(from, to, 1)), "{to}");
    }
}

#[test]
fn the_schemas_of_the_documents_are_current() {
    check("backup", &schema_of::<report::Backup>().to_value());
    check("backup-list", &schema_of::<report::BackupList>().to_value());
    check("backup-report", &schema_of::<report::BackupReport>().to_value());
    check("verify-report", &schema_of::<report::VerifyReport>().to_value());
    check("doctor-report", &schema_of::<report::DoctorReport>().to_value());
    check(
        "restore-plan",
        &schema_of::<report::RestorePlan<'_, Plan, postgres::Plan, mongodb::Plan, LaterDatabase>>().to_value(),
    );
    check(
        "restore-report",
        &schema_of::<report::RestoreReport<'_, RestoredSource, RestoredDatabase, mongodb::Loaded, PlanWarning>>()
            .to_value(),
    );
    check("restore-undo", &schema_of::<report::RestoreUndo<postgres::Switched>>().to_value());
    check("copy-report", &schema_of::<report::CopyReport>().to_value());
    check("accept-report", &schema_of::<report::AcceptReport>().to_value());
    check("prune-report", &schema_of::<report::PruneReport>().to_value());
    check("mark-report", &schema_of::<report::MarkReport>().to_value());
    check("object-list", &schema_of::<report::ObjectList>().to_value());
    check("backup-diff", &schema_of::<report::BackupDiff>().to_value());
    check("object-history", &schema_of::<report::ObjectHistory>().to_value());
    check("repository-info", &schema_of::<report::RepositoryInfo>().to_value());
    check("saved-plan", &schemars::schema_for!(SavedPlan).to_value());
    check("saved-plan-object", &schemars::schema_for!(SavedObject<'_>).to_value());
    check("saved-plan-end", &schemars::schema_for!(SavedEnd).to_value());
    check("shown-plan", &schema_of::<report::ShownPlan<SavedObject<'_>>>().to_value());
    check("recipient-list", &schema_of::<report::RecipientList>().to_value());
    check("recipients-changed", &schema_of::<report::RecipientsChanged>().to_value());
    check("session-list", &schema_of::<report::SessionList>().to_value());
}

#[test]
fn every_policy_of_the_project_is_valid() {
    let mut checked = 0;
    for entry in fs::read_dir(root().join("policies")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let ended = run(&["policy", "check", "-f", path.to_str().unwrap()]);
            assert_eq!(ended.code, 0, "{ended:?}");
            checked += 1;
        }
    }
    assert!(checked > 0);
}
