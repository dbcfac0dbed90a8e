//! Users and roles of MongoDB databases: only into encrypted repositories, only if they are asked for, and those that live
//! stay as they are.

use std::fs;

use serde_json::Value;

use crate::{
    encryption::encrypt,
    mongodb_backup::fill,
    mongodb_faults::left_in,
    mongodb_left::kill_at,
    mongodb_live::UNCHANGED,
    support::{
        bed::require,
        mongo_proxy::{self, Fault, MongoProxy, Part},
        mongodb::{self, Database, MongoDb, unordered},
        workshop::{Workshop, wait_for},
    },
};

const NONE: &str = ", consistency: none";
const USERS: &str = ", consistency: none, users: true";

/// An encrypted repository of a source at `url`, which takes users; whoever runs `drctl` may read, too.
fn vault(url: &str) -> Workshop {
    let mut workshop = Workshop::of_mongodb(url, NONE);
    encrypt(&mut workshop, |workshop, lines| encrypted(workshop, lines, USERS));
    workshop
}

/// Writes the policy with another repository, and what the source says.
fn encrypted(workshop: &Workshop, lines: &str, more: &str) {
    workshop.write_mongodb_policy(more);
    let policy = fs::read_to_string(workshop.policy()).unwrap().replacen("encryption: none", lines, 1);
    fs::write(workshop.policy(), policy).unwrap();
}

/// A role, a role that has its rights, and a user of each, as an application has them.
fn make_users(database: &Database) {
    let name = database.name();
    for command in [
        format!(
            r#"{{"createRole": "seller", "privileges": [{{"resource": {{"db": "{name}", "collection": "contacts"}},
                "actions": ["find", "update"]}}], "roles": []}}"#
        ),
        format!(r#"{{"createRole": "boss", "privileges": [], "roles": [{{"role": "seller", "db": "{name}"}}]}}"#),
        format!(r#"{{"createUser": "app", "pwd": "first-password", "roles": [{{"role": "boss", "db": "{name}"}}]}}"#),
        format!(r#"{{"createUser": "report", "pwd": "a-password", "roles": [{{"role": "read", "db": "{name}"}}]}}"#),
    ] {
        database.run(&command);
    }
}

fn drop_users(database: &Database) {
    for command in
        [r#"{"dropUser": "app"}"#, r#"{"dropUser": "report"}"#, r#"{"dropRole": "boss"}"#, r#"{"dropRole": "seller"}"#]
    {
        database.run(command);
    }
}

/// What the server says of them: names, what proves the passwords, rights in any order.
fn told(database: &Database) -> Vec<Value> {
    let users = database.run(r#"{"usersInfo": 1, "showCredentials": true}"#)["users"].clone();
    let roles = database.run(r#"{"rolesInfo": 1, "showPrivileges": true}"#)["roles"].clone();
    let sorted = |list: &Value| {
        let mut items: Vec<String> = list.as_array().into_iter().flatten().map(Value::to_string).collect();
        items.sort();
        items
    };
    let one = |it: &Value| {
        serde_json::json!({
            "user": it["user"], "role": it["role"], "db": it["db"], "credentials": it["credentials"],
            "roles": sorted(&it["roles"]), "privileges": sorted(&it["privileges"]),
        })
    };
    let mut all: Vec<Value> = [users, roles].iter().filter_map(Value::as_array).flatten().map(one).collect();
    all.sort_by_key(Value::to_string);
    all
}

/// A server whose users the proxy keeps, or a real one.
fn server(test: &str) -> Option<(MongoDb, MongoProxy)> {
    mongo_proxy::standalone(test)
}

#[test]
fn users_are_refused_at_their_place_in_a_policy_without_encryption() {
    let server = require!(mongodb::server);
    let database = server.database("crm");
    fill(&database);
    let workshop = Workshop::of_mongodb(&database.url(), NONE);
    workshop.write_mongodb_policy(USERS);
    let refused = workshop.ends(2, &["backup"]);
    let words = "`sources.crm-db.mongodb.users` needs an encrypted repository";
    assert!(refused.stderr.contains(words) && refused.stderr.contains("policy.yaml:6:"), "{}", refused.stderr);
    assert!(workshop.files("backups").is_empty());
    workshop.write_mongodb_policy(NONE);
    workshop.done(&["backup"]);
}

#[test]
fn users_and_roles_come_back_with_their_passwords_only_if_they_are_asked_for() {
    require!(program "age-keygen");
    let (server, proxy) = require!(server);
    let database = server.behind(proxy.address()).database("crm");
    fill(&database);
    make_users(&database);
    let before = told(&database);
    let workshop = vault(&database.url());
    workshop.done(&["backup"]);
    let shown = workshop.done(&["show", "latest"]).stdout;
    assert!(shown.contains("2 users and 2 roles of the database are in the backup"), "{shown}");

    // Not asked for: not made.
    drop_users(&database);
    let nobody = told(&database);
    workshop.done(&["restore", "--yes", "--drop", "*"]);
    assert_eq!(told(&database), nobody);

    // Asked for: the plan says so, and does nothing.
    let plan = workshop.done(&["restore", "--dry-run", "--users", "--drop", "*"]).stdout;
    assert!(plan.contains("create: role boss") && plan.contains("create: user app"), "{plan}");
    assert_eq!(told(&database), nobody);
    // Other members of the set lag behind: that has an end, and is said.
    for (command, words) in [
        ("createRole", "cannot make role `"),
        ("insert", "cannot make user `"),
        ("_mergeAuthzCollections", "cannot make user `"),
        (
            "drop",
            "is removed, and a majority of the replica set does not know of it yet; if it comes back, drop it by hand",
        ),
    ] {
        let fault = Fault::not_on_a_majority(command, 1);
        let made = proxy.faults_made();
        proxy.inject(if matches!(command, "insert" | "drop") { fault.of("tempusers") } else { fault });
        let ended = workshop.ends(1, &["restore", "--yes", "--users", "--drop", "*"]);
        assert_eq!(proxy.faults_made(), made + 1, "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains(words) && ended.stderr.contains("a majority of"), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains("no live collection was changed"), "{command}: {}", ended.stderr);
        for each in [
            r#"{"dropUser": "app"}"#,
            r#"{"dropUser": "report"}"#,
            r#"{"dropRole": "boss"}"#,
            r#"{"dropRole": "seller"}"#,
        ] {
            // Only some of them were made.
            database.try_run(each);
        }
    }
    let asked = |it: &mongo_proxy::Seen| {
        let is_temporary = it.collection.as_deref() == Some("tempusers");
        match it.command.as_str() {
            "createRole" | "_mergeAuthzCollections" => true,
            "insert" | "drop" => is_temporary,
            _ => false,
        }
    };
    let seen: Vec<_> = proxy.seen().into_iter().filter(asked).filter(|it| it.write_concern.is_some()).collect();
    assert!(seen.iter().all(|it| it.write_concern == Some(("majority".to_owned(), 60_000))), "{seen:?}");
    let kinds: std::collections::BTreeSet<&str> = seen.iter().map(|it| it.command.as_str()).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["_mergeAuthzCollections", "createRole", "drop", "insert"]);
    assert_eq!(told(&database), nobody);
    let before_faults = proxy.faults_made();
    // What proves passwords stays behind: that is said beside why.
    proxy.inject(Fault::error("_mergeAuthzCollections", 1, 43));
    proxy.inject(Fault::error("drop", 1, 13).of("tempusers"));
    let ended = workshop.ends(1, &["restore", "--yes", "--users", "--drop", "*"]);
    assert!(ended.stderr.contains("not found (CursorNotFound, 43); `admin.tempusers`"), "{}", ended.stderr);
    assert!(ended.stderr.contains("could not be removed; drop it by hand"), "{}", ended.stderr);
    assert_eq!(proxy.faults_made(), before_faults + 2);
    // `doctor` names it, and so does the next plan, before anything is loaded.
    let admin = server.behind(proxy.address()).other_database("admin");
    let again = ["restore", "--yes", "--users", "--drop", "*"];
    let named = |words: &str| {
        let all = [
            format!("`app` of {0}, `report` of {0}", database.name()),
            "with what proves their passwords".to_owned(),
            r#"drop it: `db.getSiblingDB("admin").tempusers.drop()` in mongosh"#.to_owned(),
        ];
        words.contains("`admin.tempusers` holds users") && all.iter().all(|it| words.contains(it))
    };
    let refused_for_it = || {
        let doctor = workshop.done(&["doctor"]).stdout;
        assert!(named(&doctor), "{doctor}");
        let inserts = || proxy.seen().iter().filter(|it| it.command == "insert").count();
        let before = inserts();
        let refused = workshop.ends(5, &again);
        assert!(named(&refused.stderr), "{}", refused.stderr);
        assert_eq!(inserts(), before);
    };
    refused_for_it();
    // Who may not look is told so.
    proxy.inject(Fault::error("find", 1, 13).of("tempusers"));
    let doctor = workshop.done(&["doctor"]).stdout;
    let words = "cannot see whether a restore of users has left something in `admin.tempusers`";
    assert!(doctor.contains(words) && !named(&doctor), "{doctor}");
    admin.run(r#"{"drop": "tempusers"}"#);
    // A restore that is killed while it makes users leaves the same: three collections have documents, then the users come.
    kill_at(&workshop, &proxy, ("insert", 4), &again);
    wait_for("the server to do what it was told last", 120, || {
        let found = admin.run(r#"{"find": "tempusers"}"#);
        (found["cursor"]["firstBatch"].as_array().map(Vec::len) == Some(2)).then_some(())
    });
    refused_for_it();
    admin.run(r#"{"drop": "tempusers"}"#);
    admin.run(r#"{"insert": "temproles", "documents": [{"_id": "crm.boss", "role": "boss", "db": "crm"}]}"#);
    let doctor = workshop.done(&["doctor"]).stdout;
    assert!(doctor.contains("`admin.temproles` holds roles") && !doctor.contains("tempusers"), "{doctor}");
    admin.run(r#"{"drop": "temproles"}"#);
    assert!(!workshop.done(&["doctor"]).stdout.contains("`admin."));
    // The killed one had made the roles.
    for each in [r#"{"dropRole": "boss"}"#, r#"{"dropRole": "seller"}"#] {
        database.run(each);
    }
    for name in left_in(&database) {
        database.run(&format!(r#"{{"drop": "{name}"}}"#));
    }
    let report = workshop.json(0, &["restore", "--yes", "--users", "--drop", "*"]);
    assert_eq!(report["mongodbDatabases"][0]["accounts"], 4, "{report}");
    assert_eq!(told(&database), before);
    let temporary = server.other_database("admin").run(r#"{"listCollections": 1, "filter": {"name": "tempusers"}}"#);
    assert_eq!(temporary["cursor"]["firstBatch"].as_array().map(Vec::len), Some(0), "{temporary}");

    // They are there: the same again.
    let plan = workshop.done(&["restore", "--dry-run", "--users", "--drop", "*"]).stdout;
    assert!(plan.contains("same: user app") && !plan.contains("create: user"), "{plan}");
    let done = workshop.done(&["restore", "--yes", "--users", "--drop", "*"]).stdout;
    assert!(done.contains("4 users and roles compared"), "{done}");
    assert_eq!(told(&database), before);

    // One that is another now is not touched, and nothing else is.
    database.run(r#"{"dropUser": "app"}"#);
    database.run(r#"{"createUser": "app", "pwd": "second-password", "roles": []}"#);
    let (changed, live) = (told(&database), database.contents());
    let refused = workshop.ends(5, &["restore", "--yes", "--users", "--drop", "*"]);
    assert!(refused.stderr.contains("user `app` is there already and is another"), "{}", refused.stderr);
    assert_eq!((told(&database), database.contents()), (changed, live));
    let scratch = ["restore", "--yes", "--users", "--target-database", &format!("{}-other", database.name())];
    let refused = workshop.ends(5, &scratch);
    assert!(refused.stderr.contains("belong to database"), "{}", refused.stderr);
    drop_users_if_real(&server, &database);

    // A backup without them has none to restore.
    encrypted_without_users(&workshop);
    workshop.done(&["backup"]);
    let refused = workshop.ends(2, &["restore", "--yes", "--users", "--drop", "*"]);
    assert!(refused.stderr.contains("the backup has no users"), "{}", refused.stderr);
}

#[test]
fn of_several_databases_no_collection_takes_its_place_before_the_users_of_all_are_equal() {
    require!(program "age-keygen");
    let (server, proxy) = require!(server);
    let through = server.behind(proxy.address());
    let (first, second) = (through.database("crm"), through.database("shop"));
    for each in [&first, &second] {
        fill(each);
        make_users(each);
    }
    let all = || [unordered(&first.contents()), unordered(&second.contents())];
    let (before, users) = (all(), told(&second));
    let mut workshop = vault(&first.url());
    workshop.set("OTHER_URL", &second.url());
    let policy = fs::read_to_string(workshop.policy()).unwrap();
    let source = "other-db: {mongodb: {url: {env: OTHER_URL}, consistency: none, users: true}}";
    let policy = policy.replacen("\nschedules:", &format!("\n  {source}\nschedules:"), 1);
    fs::write(workshop.policy(), policy.replacen("sources: [crm-db]", "sources: [crm-db, other-db]", 1)).unwrap();
    workshop.done(&["backup"]);
    for each in [&first, &second] {
        each.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    }
    let live = all();
    drop_users(&second);
    let restore = ["restore", "--yes", "--users", "--drop", "*"];
    // Those of the first are there already, and the second's are refused.
    proxy.inject(Fault::error("createRole", 1, 13));
    let ended = workshop.ends(1, &restore);
    assert!(ended.stderr.contains("cannot make role `") && ended.stderr.contains(UNCHANGED), "{}", ended.stderr);
    assert_eq!((proxy.faults_made(), all()), (1, live));
    workshop.done(&restore);
    assert_eq!((all(), told(&second)), (before, users));
    for each in [&first, &second] {
        drop_users_if_real(&server, each);
    }
}

fn encrypted_without_users(workshop: &Workshop) {
    let policy = fs::read_to_string(workshop.policy()).unwrap();
    fs::write(workshop.policy(), policy.replacen(", users: true", "", 1)).unwrap();
}

/// Users of a real server outlive their database.
fn drop_users_if_real(server: &MongoDb, database: &Database) {
    if server.is_real() {
        drop_users(database);
    }
}

#[test]
fn a_server_that_does_not_tell_its_users_or_what_proves_a_password_is_named() {
    require!(program "age-keygen");
    let server = require!(mongodb::ferretdb);
    let database = server.database("crm");
    fill(&database);
    let mut workshop = vault(&database.url());
    let refused = workshop.ends(5, &["backup"]);
    assert!(refused.stderr.contains("does not tell the users and roles of database"), "{}", refused.stderr);
    assert!(refused.stderr.contains("showCredentials") && refused.stderr.contains("`userAdmin`"), "{}", refused.stderr);
    assert!(workshop.files("backups").is_empty());

    // One without a password can be kept, and not be made again.
    let proxy = MongoProxy::before(&server, Part::Standalone);
    proxy.remember();
    let through = server.behind(proxy.address()).database("crm");
    through.run(r#"{"createUser": "bare", "roles": []}"#);
    workshop.set("TEST_URL_CRM_DB", &proxy.url(&database));
    let partial = workshop.ends(3, &["backup"]);
    assert!((partial.stdout + &partial.stderr).contains("the password of user `bare`"));
    let backup = workshop.backups().remove(0);
    workshop.done(&["restore", &backup, "--yes", "--users", "--drop", "*"]);
    through.run(r#"{"dropUser": "bare"}"#);
    let refused = workshop.ends(5, &["restore", &backup, "--yes", "--users", "--drop", "*"]);
    assert!(refused.stderr.contains("does not have the password of user `bare`"), "{}", refused.stderr);

    encrypted_without_users(&workshop);
    workshop.set("TEST_URL_CRM_DB", &database.url());
    workshop.done(&["backup"]);
}

#[test]
fn a_restored_user_logs_in_with_the_password_that_he_had() {
    require!(program "age-keygen");
    let server = require!(mongodb::real);
    let database = server.database("crm");
    fill(&database);
    make_users(&database);
    let plain = database.url().replace("&authSource=admin", "");
    let (_, after) = plain.split_once('@').unwrap();
    let as_user = |password: &str| {
        let url = format!("mongodb://app:{password}@{after}");
        let asked = server.client(&["read", database.name()]).env("MONGODB_URL", url).output().unwrap();
        // He may not list the collections: what counts is whether the server knows him.
        !String::from_utf8_lossy(&asked.stderr).contains("Authentication failed")
    };
    assert!(as_user("first-password") && !as_user("second-password"));
    let workshop = vault(&database.url());
    workshop.done(&["backup"]);
    drop_users(&database);
    assert!(!as_user("first-password"));
    workshop.done(&["restore", "--yes", "--users", "--drop", "*"]);
    assert!(as_user("first-password") && !as_user("second-password"));
    drop_users(&database);
}
