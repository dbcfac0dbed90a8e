use std::path::Path;

use super::*;
use crate::policy::parse;

const LOCATION: &str = r#"apiVersion: velero.io/v1
kind: BackupStorageLocation
metadata: {name: default, namespace: velero}
spec:
  provider: velero.io/aws
  default: true
  credential: {name: cloud-credentials, key: cloud}
  objectStorage: {bucket: company-backups, prefix: prod}
  config: {region: eu-central-1, s3Url: "https://s3.example.com:9000", s3ForcePathStyle: "true"}
"#;

const SCHEDULES: &str = r#"apiVersion: v1
kind: List
items:
- apiVersion: velero.io/v1
  kind: Schedule
  metadata: {name: daily-services, namespace: velero, managedFields: [{manager: velero}]}
  spec:
    schedule: "CRON_TZ=Europe/Berlin 0 2 * * *"
    template:
      includedNamespaces: [user-service, order-service]
      ttl: 720h0m0s
      snapshotVolumes: false
- apiVersion: velero.io/v1
  kind: Schedule
  metadata: {name: Weekly.All}
  spec:
    schedule: "@weekly"
    useOwnerReferencesInBackup: false
    template:
      includedNamespaces: ["*"]
      excludedNamespaces: ["kube-*"]
      includeClusterResources: true
      storageLocation: default
      ttl: 2160h
      hooks: {resources: [{name: freeze}]}
      labelSelector: {matchLabels: {app: web}}
      csiSnapshotTimeout: 10m0s
  status: {phase: Enabled}
"#;

fn file(name: &str, text: &str) -> VeleroFile {
    VeleroFile { path: name.into(), text: text.to_owned() }
}

fn of(texts: &[&str], options: &VeleroOptions) -> Result<FromVelero, FromVeleroError> {
    let files: Vec<_> = texts.iter().enumerate().map(|(n, text)| file(&format!("f{n}.yaml"), text)).collect();
    from_velero(&files, options)
}

fn problems(text: &str) -> Vec<String> {
    match of(&[text], &VeleroOptions::default()) {
        Err(FromVeleroError::Invalid(invalid)) => {
            invalid.problems().iter().map(|p| format!("{}:{}: {}", p.line(), p.column(), p.message())).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_choice_of_namespaces_that_cannot_be_said_never_becomes_all_of_them() {
    let chosen = |list: &str| {
        let text = SCHEDULES.replacen("[user-service, order-service]", list, 1);
        of(&[LOCATION, &text], &VeleroOptions::default()).map(|made| made.text().unwrap())
    };
    for list in ["[\"team-[ab]\"]", "[\"team-[ab]\", \"{x,y}\"]"] {
        let error = chosen(list).unwrap_err();
        assert!(matches!(error, FromVeleroError::Invalid(_)), "{error:?}");
        assert!(format!("{error:?}").contains("`includedNamespaces` has nothing that a policy can say"), "{error:?}");
    }
    // The twins: what can be said is taken, the rest is named; and no choice at all is all of them.
    let some = chosen("[\"team-[ab]\", shop]").unwrap();
    assert!(some.contains("shop"), "{some}");
    assert!(chosen("[]").unwrap().contains("'*'") || chosen("[]").unwrap().contains("\"*\""));
}

#[test]
fn schedules_and_their_location_become_a_policy_that_the_loader_takes() {
    let made = of(&[LOCATION, SCHEDULES], &VeleroOptions::default()).unwrap();
    let text = made.text().unwrap();
    assert_eq!(parse(Path::new("p.yaml"), &text).unwrap(), made.policy, "{text}");
    let policy = &made.policy;
    assert_eq!(
        (policy.name.as_str(), policy.repository.url.to_string().as_str()),
        ("cluster", "s3://company-backups/prod-drctl")
    );
    let s3 = policy.repository.s3.as_ref().unwrap();
    assert_eq!(
        (s3.region.as_deref(), s3.endpoint.as_deref(), s3.path_style),
        (Some("eu-central-1"), Some("https://s3.example.com:9000"), true)
    );
    let shown = serde_json::to_value(&made.policy).unwrap();
    assert_eq!(
        shown["sources"],
        serde_json::json!({
            "daily-services": {"kubernetes": {"namespaces": ["user-service", "order-service"]}},
            "weekly-all": {"kubernetes": {"namespaces": ["*"], "excludeNamespaces": ["kube-*"], "clusterScoped": "all",
                "exclude": ["*"],
                "include": [{"selector": "app=web"}, "customresourcedefinitions.apiextensions.k8s.io"]}},
        })
    );
    assert_eq!(
        shown["schedules"],
        serde_json::json!({
            "daily-services": {"cron": "0 2 * * *", "timezone": "Europe/Berlin", "sources": ["daily-services"], "keep": {"within": "30d"}},
            "weekly-all": {"cron": "0 0 * * 0", "timezone": "UTC", "sources": ["weekly-all"], "keep": {"within": "90d"}},
        })
    );
    let lost: Vec<String> = made.notes.iter().filter(|note| note.lost).map(ToString::to_string).collect();
    assert_eq!(lost.len(), 2, "{lost:#?}");
    for (start, note) in ["f1.yaml:25: `hooks`", "f1.yaml:27: `csiSnapshotTimeout`"].iter().zip(&lost) {
        assert!(note.starts_with(start), "{note}");
    }
    assert!(text.starts_with("# Made of Velero's objects in f0.yaml, f1.yaml by"), "{text}");
    assert!(text.contains("#   f1.yaml:25: `hooks`: commands in Pods"), "{text}");
}

#[test]
fn documents_in_one_file_are_told_apart_and_what_is_not_veleros_is_passed_over() {
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let text = format!("---\n{LOCATION}---\n{other}---\n---\n{SCHEDULES}");
    let made = of(&[&text], &VeleroOptions::default()).unwrap();
    assert_eq!(made.policy.schedules.len(), 2);
    assert!(
        made.notes.iter().any(|note| note.to_string().starts_with("f0.yaml:12: ConfigMap of v1 is passed over")),
        "{:#?}",
        made.notes
    );
}

#[test]
fn tasks_that_take_the_same_share_a_source_and_names_stay_apart() {
    let schedule = |name: &str| {
        format!(
            "---\napiVersion: velero.io/v1\nkind: Schedule\nmetadata: {{name: {name}}}\nspec: {{schedule: '@daily', template: {{includedNamespaces: [a]}}}}\n"
        )
    };
    let text = format!("{LOCATION}{}{}{}", schedule("a.b"), schedule("a-b"), schedule("c"));
    let policy = of(&[&text], &VeleroOptions::default()).unwrap().policy;
    let names: Vec<_> = policy.schedules.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["a-b", "a-b-2", "c"]);
    assert_eq!(policy.sources.len(), 1);
}

#[test]
fn a_backup_of_a_schedule_is_passed_over_and_one_of_its_own_becomes_a_schedule() {
    let backup = |labels: &str| {
        format!(
            "{LOCATION}---\napiVersion: velero.io/v1\nkind: Backup\nmetadata: {{name: before, labels: {{{labels}}}}}\nspec: {{includedNamespaces: [a], snapshotVolumes: false}}\n"
        )
    };
    let made = of(&[&backup("")], &VeleroOptions::default()).unwrap();
    assert_eq!(made.policy.schedules.len(), 1);
    assert!(made.notes.iter().any(|note| note.lost && note.text.contains("was taken once")));
    let none = of(&[&backup("velero.io/schedule-name: daily")], &VeleroOptions::default()).unwrap_err();
    assert_eq!(none.to_string(), "there is no Schedule and no Backup of Velero in f0.yaml");
}

#[test]
fn a_policy_has_one_repository() {
    let other = SCHEDULES.replace("storageLocation: default", "storageLocation: far");
    let far = LOCATION
        .replace("name: default,", "name: far,")
        .replace("default: true", "default: false")
        .replace("prefix: prod", "prefix: far");
    let error = of(&[LOCATION, &far, &other], &VeleroOptions::default()).unwrap_err().to_string();
    assert!(error.contains("several storage locations (default, far)"), "{error}");
    let options = VeleroOptions { location: Some("far".to_owned()), ..VeleroOptions::default() };
    let made = of(&[LOCATION, &far, &other], &options).unwrap();
    assert_eq!(
        (made.policy.name.as_str(), made.policy.repository.url.to_string().as_str()),
        ("far", "s3://company-backups/far-drctl")
    );
    assert_eq!(made.policy.schedules.len(), 1);
    assert!(made.notes.iter().any(|note| note.lost && note.text.contains("`--location default`")));
    let options = VeleroOptions { location: Some("near".to_owned()), ..VeleroOptions::default() };
    assert!(
        of(&[LOCATION, &other], &options)
            .unwrap_err()
            .to_string()
            .contains("no schedule uses the storage location `near`")
    );
}

#[test]
fn where_the_repository_is_must_be_known() {
    let error = of(&[SCHEDULES], &VeleroOptions::default()).unwrap_err().to_string();
    assert!(error.contains("the BackupStorageLocation `default` is in none of the files"), "{error}");
    let options = VeleroOptions { url: Some("file:///backups".parse().unwrap()), ..VeleroOptions::default() };
    assert_eq!(of(&[SCHEDULES], &options).unwrap().policy.repository.url.to_string(), "file:///backups");
    let whole = LOCATION.replace(", prefix: prod", "");
    let made = of(&[&whole, SCHEDULES], &VeleroOptions::default()).unwrap();
    assert_eq!(made.policy.repository.url.to_string(), "s3://company-backups-drctl/prod");
    assert!(made.notes.iter().any(|note| note.lost && note.text.contains("make `company-backups-drctl`")));
    let google = LOCATION.replace("velero.io/aws", "gcp");
    let error = of(&[&google, SCHEDULES], &VeleroOptions::default()).unwrap_err().to_string();
    assert!(error.contains("the provider `gcp` is not known"), "{error}");
    let azure = LOCATION.replace("velero.io/aws", "azure").replace("region: eu-central-1", "storageAccount: companydr");
    let azure = azure.replace(", s3Url: \"https://s3.example.com:9000\", s3ForcePathStyle: \"true\"", "");
    let made = of(&[&azure, SCHEDULES], &VeleroOptions::default()).unwrap();
    assert_eq!(made.policy.repository.url.to_string(), "az://companydr/company-backups/prod-drctl");
}

#[test]
fn every_problem_is_named_at_its_place() {
    for (text, expected) in [
        ("a: [", ""),
        ("kind: Schedule\napiVersion: velero.io/v1\n", "1:1: `spec` is missing"),
        ("- 1\n", "1:1: a document must be keys and values, and is a list"),
        ("apiVersion: velero.io/v1\nmetadata: {}\n", "1:1: `kind` is missing"),
        ("apiVersion: velero.io/v2\nkind: Schedule\n", "1:1: `velero.io/v2` is not known"),
        ("apiVersion: v1\nkind: List\nitems: 3\n", "3:8: `items` must be a list, and is a number"),
    ] {
        let found = problems(text);
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{text}: {found:?}");
    }
    for (from, to, expected) in [
        ("0 2 * * *\"", "0 25 * * *\"", "8:15: `0 25 * * *` is not a cron expression"),
        ("CRON_TZ=Europe/Berlin", "CRON_TZ=Europe/Bern", "8:15: `Europe/Bern` is not a time zone"),
        ("720h0m0s", "30d", "11:12: `spec.template.ttl` must be a length of time like 720h0m0s"),
        ("720h0m0s", "99999999h", "11:12:"),
        ("720h0m0s", "12", "11:12: `spec.template.ttl` must be a text, and is a number"),
        ("[user-service, order-service]", "user-service", "10:27: `spec.template.includedNamespaces` must be a list"),
        (
            "includeClusterResources: true",
            "includeClusterResources: \"yes\"",
            "22:32: `spec.template.includeClusterResources` must be true or false",
        ),
        ("    schedule: \"@weekly\"\n", "", "17:5: `spec.schedule` is missing"),
        ("{name: Weekly.All}", "{}", "15:13: `metadata.name` is missing"),
    ] {
        assert!(SCHEDULES.contains(from), "{from}");
        let found = problems(&SCHEDULES.replacen(from, to, 1));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{to}: {found:?}");
    }
    for (from, to, expected) in [
        ("bucket: company-backups, ", "", "8:18: `spec.objectStorage.bucket` is missing"),
        ("https://s3.example.com:9000", "https://key:secret@s3.example.com", "9:41: `s3Url` must be a URL"),
        ("default: true", "default: 1", "6:12: `spec.default` must be true or false"),
    ] {
        let found = problems(&LOCATION.replacen(from, to, 1));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{to}: {found:?}");
    }
}

#[test]
fn hostile_text_ends_and_leaves_no_mark() {
    let deep = format!("apiVersion: velero.io/v1\nkind: Schedule\nspec: {}1{}\n", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(problems(&deep).len(), 1);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]\n";
    assert!(!problems(bomb).is_empty());
    let rude = SCHEDULES.replace("name: Weekly.All", "name: \"a\\u001b[2J\\n# b\"");
    let made = of(&[LOCATION, &rude], &VeleroOptions::default()).unwrap();
    let text = made.text().unwrap();
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_eq!(parse(Path::new("p.yaml"), &text).unwrap(), made.policy);
}
