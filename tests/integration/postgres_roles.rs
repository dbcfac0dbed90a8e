//! Roles of a database: with what proves their passwords only from a superuser's backup into an encrypted repository; and
//! made again by hand, as the manual says.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    encryption::encrypt,
    recover::recover,
    support::{
        bed::require,
        postgres::{self, Database, Postgres, Role},
        workshop::Workshop,
    },
};

const PASSWORD: &str = "kept-and-never-told";

/// A database with an owner of its own, who logs in with [`PASSWORD`] and is a member of another role.
fn owned(server: &Postgres) -> (Database, [String; 2]) {
    let database = server.create_database("staffed");
    let group = server.create_role("it\"s a group", "NOLOGIN");
    let app = server
        .create_role("app's", &format!("LOGIN CONNECTION LIMIT 7 VALID UNTIL '2099-01-01' PASSWORD '{PASSWORD}'"));
    database.sql(&format!(
        "CREATE TABLE t AS SELECT 1 AS a; ALTER TABLE t OWNER TO {app}; GRANT {group} TO {app} WITH ADMIN OPTION",
        app = postgres::quoted(&app),
        group = postgres::quoted(&group)
    ));
    (database, [app, group])
}

fn vault(url: &str) -> Workshop {
    let mut workshop = Workshop::of_databases(&[("db", url)]);
    encrypt(&mut workshop, |workshop, lines| {
        workshop.write_database_policy(&[("db", "")]);
        let policy = fs::read_to_string(workshop.policy()).unwrap().replacen("encryption: none", lines, 1);
        fs::write(workshop.policy(), policy).unwrap();
    });
    workshop
}

/// Backs up, recovers by the script, and gives `roles.json` with its file.
fn recovered(workshop: &Workshop, identity: bool) -> (Value, String) {
    workshop.done(&["backup"]);
    let backup = workshop.backups().pop().unwrap();
    let (repository, key, out) =
        (workshop.repository(), workshop.folder().join("one.age"), workshop.folder().join("out"));
    let mut words = vec![repository.as_path(), Path::new(&backup), &out];
    if identity {
        words.splice(0..0, [Path::new("-i"), &key]);
    }
    let made = recover(&words);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = out.join("db/roles.json/000000-whole.txt");
    let text = fs::read_to_string(&file).unwrap();
    (serde_json::from_str(&text).unwrap(), file.to_str().unwrap().to_owned())
}

fn role<'a>(roles: &'a Value, name: &str) -> &'a Value {
    roles["roles"].as_array().unwrap().iter().find(|role| role["name"] == name).unwrap()
}

/// The statements that the manual's `jq` makes of the file.
fn statements(file: &str) -> String {
    let manual = include_str!("../../docs/databases.md");
    let from = manual.find("jq -r 'def name").unwrap() + "jq -r '".len();
    let program = &manual[from..from + manual[from..].find("' roles.json").unwrap()];
    let made = Command::new("jq").args(["-r", program, file]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

fn makes_them_again(server: &Postgres) {
    let (database, [app, group]) = owned(server);
    let workshop = vault(&database.url(Role::Admin));
    let (roles, file) = recovered(&workshop, true);
    let kept = role(&roles, &app)["password"].as_str().unwrap();
    assert!(kept.starts_with("SCRAM-SHA-256$") && !kept.contains(PASSWORD), "{kept}");
    assert!(role(&roles, &group).get("password").is_none(), "it has none");
    for file in workshop.files("") {
        let bytes = fs::read(&file).unwrap();
        let lies_open = bytes.windows(kept.len()).any(|window| window == kept.as_bytes());
        assert!(!lies_open, "{} shows it", file.display());
    }

    // On a server that lost them they are made again, and the application logs in as before.
    let wanted = "SELECT rolname, rolcanlogin, rolconnlimit, rolvaliduntil, rolpassword FROM pg_authid";
    let wanted = |name: &str| server.sql(&format!("{wanted} WHERE rolname = '{}'", name.replace('\'', "''")));
    let before = [wanted(&app), wanted(&group)];
    let both = format!("{}, {}", postgres::quoted(&app), postgres::quoted(&group));
    database.sql(&format!("DROP OWNED BY {both}"));
    server.sql(&format!("DROP ROLE {both}"));
    assert_eq!(wanted(&app), "");
    let statements = statements(&file);
    let own: Vec<&str> = statements
        .lines()
        .filter(|line| line.contains(&postgres::quoted(&app)) || line.contains(&postgres::quoted(&group)))
        .collect();
    assert_eq!(own.len(), 3, "{statements}");
    server.sql(&own.join("\n"));
    assert_eq!([wanted(&app), wanted(&group)], before);
    let member = format!(
        "SELECT admin_option FROM pg_auth_members WHERE roleid = '{}'::regrole AND member = '{}'::regrole",
        postgres::quoted(&group).replace('\'', "''"),
        postgres::quoted(&app).replace('\'', "''")
    );
    assert_eq!(server.sql(&member), "t");
    let login =
        |password: &str| database.try_sql_at(&database.url_as(&app.replace('\'', "%27"), password), "SELECT 1").status;
    assert!(login(PASSWORD).success() && !login("another").success());
}

#[test]
fn roles_are_made_again_with_their_passwords_from_an_encrypted_backup_of_a_superuser_of_15() {
    require!(program "jq");
    require!(program "b3sum");
    makes_them_again(&require!(postgres::v15));
}

#[test]
fn roles_are_made_again_with_their_passwords_from_an_encrypted_backup_of_a_superuser_of_18() {
    require!(program "jq");
    require!(program "b3sum");
    makes_them_again(&require!(postgres::v18));
}

#[test]
fn what_proves_a_password_is_not_captured_by_who_is_no_superuser_or_into_a_repository_without_encryption() {
    let server = require!(postgres::v15);
    require!(program "b3sum");
    let (database, [app, _]) = owned(&server);
    let (roles, _) = recovered(&vault(&database.url(Role::Reader)), true);
    assert!(role(&roles, &app).get("password").is_none(), "{roles}");
    assert!(!roles.to_string().contains("SCRAM"), "{roles}");
    let open = Workshop::of_databases(&[("db", &database.url(Role::Admin))]);
    let (roles, _) = recovered(&open, false);
    assert!(role(&roles, &app)["connectionLimit"] == 7 && !roles.to_string().contains("SCRAM"), "{roles}");
}
