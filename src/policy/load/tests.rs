use std::path::Path;

use super::*;
use crate::policy::{ObjectFilter, ObjectRule, SourceSpec};

const GOOD: &str = r#"apiVersion: drctl/v1
kind: Policy
metadata: {name: orders}
repository:
  url: s3://orders-dr/prod
  s3:
    region: eu-central-1
    endpoint: https://s3.example.com:9000
    pathStyle: true
    accessKeyId: {env: KEY_ID}
    secretAccessKey: {file: /run/secrets/key}
  encryption: none
sources:
  services: {kubernetes: {namespaces: [user-service, "team-*"], excludeNamespaces: ["kube-*"]}}
  cluster: {kubernetes: {namespaces: ["*"], clusterScoped: none}}
schedules:
  daily: {cron: "0 2 * * *", timezone: Europe/Berlin, sources: [services], keep: {within: 30d, last: 3}}
  weekly: {cron: "0 3 * * 0", sources: [services, cluster]}
"#;

fn problems_of(text: &str) -> Vec<String> {
    match parse(Path::new("p.yaml"), text) {
        Ok(policy) => panic!("was taken: {policy:?}"),
        Err(invalid) => {
            let show = |p: &Problem| format!("{}:{}: {}", p.line(), p.column(), p.message());
            invalid.problems().iter().map(show).collect()
        }
    }
}

/// The good policy with `from` replaced by `to`.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

#[test]
fn a_good_policy_is_read_whole() {
    let policy = parse(Path::new("p.yaml"), GOOD).unwrap();
    assert_eq!(policy.name.as_str(), "orders");
    assert_eq!(policy.repository.url.to_string(), "s3://orders-dr/prod");
    assert_eq!(policy.sources.len(), 2);
    let daily = &policy.schedules[&crate::types::Name::new("daily").unwrap()];
    assert_eq!(daily.timezone.as_str(), "Europe/Berlin");
    assert_eq!(daily.keep.as_ref().unwrap().within.unwrap().hours(), 720);
}

#[test]
fn locks_are_read_with_their_mode_and_length_and_nothing_else() {
    let lock = |text: &str| with("pathStyle: true", &format!("pathStyle: true\n    objectLock: {text}"));
    let policy = parse(Path::new("p.yaml"), &lock("{mode: compliance, for: 30d}")).unwrap();
    let found = policy.repository.s3.as_ref().unwrap().object_lock.unwrap();
    assert_eq!((found.mode, found.period.hours()), (crate::policy::LockMode::Compliance, 720));
    assert_eq!(Policy::from_embedded(&policy.to_embedded()).unwrap(), policy);
    for (text, problem) in [
        ("{mode: legal, for: 30d}", "`repository.s3.objectLock.mode` must be `governance` or `compliance`"),
        ("{mode: governance}", "`repository.s3.objectLock.for` is missing"),
        ("{for: 30d}", "`repository.s3.objectLock.mode` is missing"),
        ("{mode: governance, for: 30}", "`repository.s3.objectLock.for` must be a text"),
        ("{mode: governance, for: 0d}", "`0d` is not a period"),
        ("{mode: governance, for: 30d, days: 3}", "days"),
        ("yes please", "`repository.s3.objectLock` must be"),
    ] {
        let problems = problems_of(&lock(text));
        assert!(problems.iter().any(|one| one.contains(problem)), "{text}: {problems:?}");
    }
    let azure =
        "url: az://account/backups/prod\n  azure:\n    immutability: {mode: unlocked, for: 2w}\n  encryption: none\n";
    let (before, rest) = GOOD.split_once("url: ").unwrap();
    let (_, rest) = rest.split_once("encryption: none\n").unwrap();
    let policy = parse(Path::new("p.yaml"), &format!("{before}{azure}{rest}")).unwrap();
    let found = policy.repository.azure.unwrap().immutability.unwrap();
    assert_eq!((found.mode, found.period.hours()), (crate::policy::ImmutabilityMode::Unlocked, 336));
}

#[test]
fn a_policy_embeds_as_the_file_says_it_and_comes_back() {
    let policy = parse(Path::new("p.yaml"), GOOD).unwrap();
    let embedded = policy.to_embedded();
    assert_eq!(embedded["metadata"]["name"], "orders");
    assert_eq!(embedded["repository"]["s3"]["secretAccessKey"]["file"], "/run/secrets/key");
    assert_eq!(Policy::from_embedded(&embedded).unwrap(), policy);
    // JSON is YAML: what is embedded is a policy file too.
    assert_eq!(parse(Path::new("p.json"), &embedded.to_string()).unwrap(), policy);
}

/// The good policy with a source that says this besides its namespaces.
fn selecting(more: &str) -> String {
    with("[\"*\"], clusterScoped: none", &format!("[\"*\"],\n    {more}"))
}

#[test]
fn kinds_namespaces_and_labels_are_included_and_excluded() {
    let text = selecting(
        "exclude: [secrets, {kinds: [\"*.example.com\"], namespaces: [\"team-*\"]}], include: [{selector: \"app=web, !old\"}]",
    );
    let policy = parse(Path::new("p.yaml"), &text).unwrap();
    let SourceSpec::Kubernetes(spec) = &policy.sources[&crate::types::Name::new("cluster").unwrap()] else { panic!() };
    let filter = |kinds: &[&str], namespaces: &[&str], selector: Option<&str>| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let selector = selector.map(|text| text.parse().unwrap());
        ObjectRule::Objects(ObjectFilter { kinds: texts(kinds), namespaces: texts(namespaces), selector })
    };
    assert_eq!(spec.exclude, [ObjectRule::Kind("secrets".to_owned()), filter(&["*.example.com"], &["team-*"], None)]);
    assert_eq!(spec.include, [filter(&[], &[], Some("app=web,!old"))]);
    assert_eq!(Policy::from_embedded(&policy.to_embedded()).unwrap(), policy);
}

#[test]
fn a_wrong_rule_of_a_source_is_named_at_its_place() {
    for (more, expected) in [
        ("exclude: secrets", "16:14: `sources.cluster.kubernetes.exclude` must be a list, and is a text"),
        ("exclude: []", "16:14: `sources.cluster.kubernetes.exclude` is empty"),
        ("exclude: [Deployment]", "16:15: `Deployment` is no kind"),
        ("exclude: [{}]", "16:15: `sources.cluster.kubernetes.exclude[]` says nothing about the objects"),
        ("exclude: [{kind: secrets}]", "16:16: unknown key `kind` in `sources.cluster.kubernetes.exclude[]`"),
        ("exclude: [{kinds: [apps/deployments]}]", "16:24: `apps/deployments` is no kind"),
        ("include: [{namespaces: [A]}]", "16:29: `A` is neither a namespace nor a pattern"),
        (
            "include: [{selector: \"app in web\"}]",
            "16:26: `app in web` is not a label selector: `app in web` is no key",
        ),
        ("include: [{selector: 7}]", "16:26: `sources.cluster.kubernetes.include[].selector` must be a text"),
    ] {
        let found = problems_of(&selecting(more));
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{more}: {found:?}");
    }
}

#[test]
fn an_embedded_policy_of_a_later_version_is_read_without_what_is_new() {
    let policy = parse(Path::new("p.yaml"), GOOD).unwrap();
    let mut embedded = policy.to_embedded();
    embedded["drills"] = serde_json::json!({"nightly": {}});
    embedded["schedules"]["daily"]["hooks"] = serde_json::json!(["us"]);
    assert_eq!(Policy::from_embedded(&embedded).unwrap(), policy);
    embedded["kind"] = "Other".into();
    assert!(Policy::from_embedded(&embedded).is_err());
}

#[test]
fn every_problem_is_named_at_its_place() {
    let mut wrong = Vec::new();
    for (from, to, expected) in [
        ("kind: Policy", "kind: Polity", "2:7: `kind` must be `Policy`, and is `Polity`"),
        ("kind: Policy\n", "", "1:1: `kind` is missing"),
        ("{name: orders}", "{name: Orders}", "3:18: `Orders` is not a valid name"),
        ("{name: orders}", "{name: 12}", "3:18: `metadata.name` must be a text, and is a number"),
        ("metadata: {name: orders}", "metadata: orders", "3:11: `metadata` must be keys and values, and is a text"),
        ("s3://orders-dr/prod", "gs://orders-dr/prod", "5:8: not the place of a repository: use s3://"),
        ("region:", "regoin:", "7:5: unknown key `regoin` in `repository.s3`"),
        ("https://s3.example.com:9000", "s3.example.com", "8:15: `endpoint` must be a URL"),
        ("pathStyle: true", "pathStyle: yes", "9:16: `repository.s3.pathStyle` must be true or false, and is a text"),
        ("    accessKeyId: {env: KEY_ID}\n", "", "10:5: `secretAccessKey` needs `accessKeyId` beside it"),
        ("{env: KEY_ID}", "AKIA123", "10:18: `accessKeyId` has a secret in it"),
        ("{env: KEY_ID}", "{env: \"wJalr/K7MDENG\"}", "10:24: `accessKeyId` has a secret in it"),
        ("{file: /run/secrets/key}", "{file: hunter2}", "11:29: `secretAccessKey` has a secret in it"),
        ("{env: KEY_ID}", "{secret: {name: a}}", "10:19: `secret:` references are not in this version"),
        ("{env: KEY_ID}", "{env: A, file: B}", "10:18: `accessKeyId` must have exactly one of `env` and `file`"),
        ("{file: /run/secrets/key}", "hunter2", "11:22: `secretAccessKey` has a secret in it"),
        ("  encryption: none\n", "", "5:3: `repository.encryption` is missing"),
        (
            "encryption: none",
            "encryption: {epoch: a, recipients: [AGE-SECRET-KEY-1X]}",
            "12:23: `repository.encryption` needs public keys",
        ),
        (
            "encryption: none",
            "encryption: {recipients: [AGE-SECRET-KEY-1X]}",
            "12:29: `repository.encryption` needs public keys",
        ),
        ("encryption: none", "encryption: {recipients: []}", "12:28: `repository.encryption.recipients` is empty"),
        ("  encryption: none", "  signers: []\n  encryption: none", "12:12: `repository.signers` is empty"),
        ("encryption: none", "encryption: {epoch: age1}", "12:15: `repository.encryption.recipients` is missing"),
        ("  encryption: none", "  signers: [hunter2]\n  encryption: none", "12:13: a signer must be a public SSH key"),
        ("  encryption: none", "  id: x\n  encryption: none", "12:7: `repository.id`"),
        ("  encryption: none", "  signingKey: hunter2\n  encryption: none", "12:15: `signingKey` has a secret in it"),
        ("encryption: none", "encryption: off", "12:15: `repository.encryption` must be `none`"),
        (
            "{namespaces: [user-service, \"team-*\"]",
            "{namespace: [a], namespaces: [b]",
            "14:27: unknown key `namespace` in",
        ),
        ("user-service, \"team-*\"", "user_service", "14:40: `user_service` is neither a namespace nor a pattern"),
        (
            "user-service, \"team-*\"",
            "a, b, a",
            "14:46: `a` is in `sources.services.kubernetes.namespaces` a second time",
        ),
        ("[user-service, \"team-*\"]", "[]", "14:39: `sources.services.kubernetes.namespaces` is empty"),
        ("clusterScoped: none", "clusterScoped: some", "15:60: `clusterScoped` must be"),
        (
            "cluster: {kubernetes:",
            "services: {kubernetes:",
            "15:3: `services` is here a second time; the first is in line 14",
        ),
        ("cluster: {kubernetes:", "cluster: {container:", "15:13: unknown key `container` in `sources.cluster`"),
        ("0 2 * * *", "0 25 * * *", "17:17: `0 25 * * *` is not a cron expression"),
        ("Europe/Berlin", "Europe/Bern", "17:40: `Europe/Bern` is not a time zone"),
        (
            "sources: [services], keep",
            "sources: [service], keep",
            "17:65: `schedules.daily` names the source `service`",
        ),
        ("within: 30d", "within: 30", "17:91: `schedules.daily.keep.within` must be a text, and is a number"),
        ("last: 3", "last: 0", "17:102: `schedules.daily.keep.last` must be a whole number from 1"),
        ("{within: 30d, last: 3}", "{}", "17:82: `schedules.daily.keep` keeps nothing"),
        (
            "sources: [services], keep",
            "sources: [services], sources: [services], keep",
            "17:76: `sources` is here a second time; the first is in line 17",
        ),
        (
            "keep: {within: 30d, last: 3}",
            "keep: 30d",
            "17:82: `schedules.daily.keep` must be keys and values, and is a text",
        ),
        ("  services: {", "  Services: {", "14:3: `Services` is not a valid name"),
        ("0 2 * * *", "0 2 * *", "17:17: `0 2 * *` is not a cron expression: it has 4 fields"),
        ("  encryption: none", "  password: hunter2\n  encryption: none", "12:3: `password` has a secret in it"),
        ("schedules:", "drills: {}\nschedules:", "16:1: unknown key `drills` at the top"),
        (
            "schedules:",
            "  db: {mongodb: {url: {env: A}, users: true}}\nschedules:",
            "16:40: `sources.db.mongodb.users` needs an encrypted repository",
        ),
        (
            "schedules:",
            "  db: {mongodb: {url: {env: A}, users: yes}}\nschedules:",
            "16:40: `sources.db.mongodb.users` must be true or false",
        ),
        (
            "schedules:",
            "  db: {mongodb: {url: {env: A}, tls: {caFile: /a, serverName: b}}}\nschedules:",
            "16:38: `sources.db.mongodb.tls.serverName` needs `sources.db.mongodb.via`",
        ),
    ] {
        let found = problems_of(&with(from, to));
        if !found.iter().any(|line| line.starts_with(expected)) {
            wrong.push(format!("{to}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The good policy, in Azure Blob storage.
fn in_azure(section: &str) -> String {
    let (from, to) = (GOOD.find("  url: ").unwrap(), GOOD.find("  encryption:").unwrap());
    format!("{}  url: az://account/orders-dr/prod\n{section}{}", &GOOD[..from], &GOOD[to..])
}

#[test]
fn a_policy_in_azure_is_read_and_embeds() {
    let plain = parse(Path::new("p.yaml"), &in_azure("")).unwrap();
    assert_eq!(
        (plain.repository.url.to_string().as_str(), &plain.repository.azure),
        ("az://account/orders-dr/prod", &None)
    );
    let section = "  azure: {endpoint: \"http://127.0.0.1:10000/account/\", accountKey: {env: KEY}, caFile: /ca.pem}\n";
    let policy = parse(Path::new("p.yaml"), &in_azure(section)).unwrap();
    let azure = policy.repository.azure.clone().unwrap();
    assert_eq!(azure.endpoint.as_deref(), Some("http://127.0.0.1:10000/account"));
    assert_eq!((azure.account_key, azure.sas), (Some(crate::policy::SecretRef::Env("KEY".to_owned())), None));
    assert_eq!(policy.to_embedded()["repository"]["azure"]["accountKey"]["env"], "KEY");
    assert_eq!(Policy::from_embedded(&policy.to_embedded()).unwrap(), policy);
}

#[test]
fn what_is_wrong_with_a_store_in_azure_is_named_and_its_secrets_are_not_shown() {
    for (section, expected) in [
        ("  azure: {accountKey: hunter2}\n", "6:23: `accountKey` has a secret in it"),
        ("  azure: {sas: \"sv=1&sig=hunter2\"}\n", "6:16: `sas` has a secret in it"),
        ("  azure: {accountKey: {env: A}, sas: {env: B}}\n", "6:33: `sas` does not go with `accountKey`"),
        ("  azure: {endpoint: \"https://h/?sig=hunter2\"}\n", "6:21: `endpoint` must be a URL like"),
        ("  azure: {region: x}\n", "6:11: unknown key `region` in `repository.azure`"),
        ("  s3: {region: x}\n", "6:3: `repository.s3` does not go with `az://account/orders-dr/prod`"),
    ] {
        let found = problems_of(&in_azure(section));
        assert!(found.iter().any(|line| line.starts_with(expected)), "{section}: {found:?}");
        let shown = parse(Path::new("p.yaml"), &in_azure(section)).unwrap_err().to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn patterns_that_pg_dump_would_refuse_are_named_at_their_place() {
    let with = |patterns: &str| {
        let source = format!("  db: {{postgres: {{url: {{env: URL}}, {patterns}}}}}\nschedules:\n");
        GOOD.replacen("schedules:\n", &source, 1)
    };
    for (patterns, expected) in [
        ("schemas: [a, b.c]", "16:49: `b.c` is no pattern of schemas: the name of a schema has no dot outside quotes"),
        ("excludeTables: ['a.\"b']", "16:52: `a.\"b` is no pattern of tables: a quote is not closed"),
        ("excludeTableData: [.t]", "16:55: `.t` is no pattern of tables: a name is missing before a dot"),
    ] {
        assert_eq!(problems_of(&with(patterns)), [expected]);
    }
    let good =
        with("schemas: ['tenant_*'], excludeTables: ['audit.*', sessions], excludeTableData: ['\"Odd.Name\".t?']");
    assert!(parse(Path::new("p.yaml"), &good).is_ok());
}

#[test]
fn all_problems_are_found_at_once_in_the_order_of_the_file() {
    let text = with("region:", "regoin:").replace("0 2 * * *", "@daily").replace("last: 3", "last: x");
    let found = problems_of(&text);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("7:5") && found[1].starts_with("17:17") && found[2].starts_with("17:"));
}

#[test]
fn a_file_that_is_no_yaml_is_refused_at_its_place() {
    for (text, expected) in [
        ("", "1:1: the file is empty"),
        ("# only a comment\n", "1:1: the file is empty"),
        ("a: [1, 2", "1:"),
        ("a: b: c", "1:"),
        ("a: 1\n\tb: 2", "1:4: while scanning a plain scalar, found a tab"),
        ("a: [*]\n", "1:"),
        ("a: 1\n---\nb: 2\n", "2:"),
        ("<<: {a: 1}\n", "1:1: "),
    ] {
        let found = problems_of(text);
        assert!(found[0].starts_with(expected), "{text:?}: {found:?}");
    }
}

#[test]
fn bombs_are_refused_quickly() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let item = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![item; 10].join(", ")));
    }
    let started = std::time::Instant::now();
    problems_of(&text);
    problems_of(&format!("a: {}", "[".repeat(100_000)));
    problems_of(&format!("a: [{}]", "1,".repeat(200_000)));
    // Expanded, they would be a thousand million values: far more than a slow machine explains.
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn a_problem_is_shown_with_its_line_and_a_caret() {
    let error = parse(Path::new("p.yaml"), &with("region:", "regoin:")).unwrap_err();
    insta::assert_snapshot!(error, @r"
    `p.yaml` is not a valid policy (1 problem); nothing was touched

    p.yaml:7:5: unknown key `regoin` in `repository.s3`
      |
    7 |     regoin: eu-central-1
      |     ^^^^^^
      = help: did you mean `region`?
    ");
}

#[test]
fn a_secret_is_never_shown_not_even_in_the_line_of_its_problem() {
    for (from, to) in [
        ("{file: /run/secrets/key}", "hunter2"),
        ("{env: KEY_ID}", "hunter2"),
        ("region: eu-central-1", "password: hunter2"),
        ("region: eu-central-1", "secretKey: hunter2"),
        ("{file: /run/secrets/key}", "hunter2: x: y"),
        ("{file: /run/secrets/key}", "[hunter2"),
        ("s3://orders-dr/prod", "s3://a:hunter2@orders-dr/prod"),
        ("https://s3.example.com:9000", "https://a:hunter2@s3.example.com:9000"),
    ] {
        let error = parse(Path::new("p.yaml"), &with(from, to)).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

/// The good policy with these copies, and one of them in `copyTo` of its daily schedule.
fn copying(copies: &str, copy_to: &str) -> String {
    with("sources:\n", &format!("copies:\n{copies}sources:\n"))
        .replace("sources: [services], keep", &format!("sources: [services], copyTo: {copy_to}, keep"))
}

const COPIES: &str = "  us: {url: s3://orders-dr-us/prod, s3: {region: us-east-1}, keep: {within: 90d}, bandwidth: 10MiB}\n  \
                      local: {url: file:///copy}\n";

#[test]
fn copies_have_a_place_credentials_and_rules_of_their_own() {
    let policy = parse(Path::new("p.yaml"), &copying(COPIES, "[us, local]")).unwrap();
    let name = |text: &str| crate::types::Name::new(text).unwrap();
    assert_eq!(policy.schedules[&name("daily")].copy_to, [name("us"), name("local")]);
    assert_eq!(policy.schedules[&name("weekly")].copy_to, []);
    assert_eq!(policy.copies[&name("us")].bandwidth.as_ref().unwrap().bytes(), 10 << 20);
    assert_eq!(Policy::from_embedded(&policy.to_embedded()).unwrap(), policy);
    assert_eq!(parse(Path::new("p.json"), &policy.to_embedded().to_string()).unwrap(), policy);
    let there = policy.at_copy(&name("us")).unwrap();
    assert!(there.is_at_copy() && !policy.is_at_copy());
    assert_eq!(there.repository.url.to_string(), "s3://orders-dr-us/prod");
    assert_eq!(there.repository.s3.as_ref().unwrap().region.as_deref(), Some("us-east-1"));
    assert!(there.repository.s3.unwrap().access_key_id.is_none(), "credentials are the copy's own");
    assert!(there.schedules.values().all(|schedule| schedule.keep == policy.copies[&name("us")].keep));
    assert_eq!(there.repository.encryption, policy.repository.encryption);
    assert!(policy.at_copy(&name("eu")).is_none());
}

#[test]
fn what_is_wrong_with_copies_is_named_at_its_place() {
    for (copies, copy_to, expected) in [
        (COPIES, "[eu]", "20:85: `schedules.daily` names the copy `eu`, which the policy does not have"),
        (COPIES, "[us, us]", "20:89: `us` is in `schedules.daily.copyTo` a second time"),
        (COPIES, "us", "20:84: `schedules.daily.copyTo` must be a list, and is a text"),
        ("  us: {keep: {last: 1}}\n", "[us]", "14:7: `copies.us.url` is missing"),
        ("  us: {url: file:///c, encryption: none}\n", "[us]", "14:24: unknown key `encryption` in `copies.us`"),
        ("  us: {url: file:///c, s3: {region: x}}\n", "[us]", "14:24: `copies.us.s3` does not go with `file:///c`"),
        ("  us: {url: file:///c, keep: {}}\n", "[us]", "14:30: `copies.us.keep` keeps nothing: it has no rule"),
        ("  us: {url: file:///c, bandwidth: 5}\n", "[us]", "14:35: `copies.us.bandwidth` must be a text"),
        ("  us: {url: file:///c, bandwidth: 5B}\n", "[us]", "14:35: a bandwidth of less than 1 KiB"),
        ("  us: {url: \"s3://u:p@bucket/x\"}\n", "[us]", "14:13: "),
        ("  repository: {url: file:///c}\n", "[repository]", "14:3: a copy cannot be called `repository`"),
        (
            "  a: {url: file:///c}\n  b: {url: file:///c}\n",
            "[a]",
            "15:3: the copies `a` and `b` are one place: file:///c",
        ),
        (
            "  us: {url: s3://orders-dr/prod, s3: {endpoint: \"https://s3.example.com:9000\"}}\n",
            "[us]",
            "14:3: the copy `us` is the repository itself: s3://orders-dr/prod",
        ),
    ] {
        let found = problems_of(&copying(copies, copy_to));
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{copies}: {found:?}");
        let missing = found.iter().any(|problem| problem.contains("which the policy does not have"));
        assert_eq!(missing, copy_to == "[eu]", "{found:?}");
    }
    // The same bucket on another server is another place.
    let elsewhere = "  us: {url: s3://orders-dr/prod, s3: {endpoint: \"https://s3.example.org\"}}\n";
    parse(Path::new("p.yaml"), &copying(elsewhere, "[us]")).unwrap();
}
