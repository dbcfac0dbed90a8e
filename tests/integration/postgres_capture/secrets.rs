//! The password of a database is nowhere but in the memory of who needs it.

use std::fs;
use std::process::Stdio;

use base64::Engine as _;

use super::door::{Door, Then};
use super::*;
use crate::support::program::Ended;
use crate::support::workshop::wait_for;

const PASSWORD: &str = "p@ss/w:rd%20+ü\\'\"";

/// The forms in which a secret may have been written.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let escaped: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let url = url_escaped(secret);
    let mut forms = vec![
        secret.as_bytes().to_vec(),
        escaped.into_bytes(),
        url.clone().into_bytes(),
        url.to_lowercase().into_bytes(),
    ];
    forms.push(serde_json::to_string(secret).unwrap().trim_matches('"').as_bytes().to_vec());
    forms.push(secret.replace('\\', "\\\\").replace(':', "\\:").into_bytes());
    // Inside of other text base64 has three alignments; the first and last letters depend on the neighbours.
    for lead in 0..3 {
        let padded = [vec![b'x'; lead], secret.as_bytes().to_vec()].concat();
        for engine in
            [base64::engine::general_purpose::STANDARD_NO_PAD, base64::engine::general_purpose::URL_SAFE_NO_PAD]
        {
            let text = engine.encode(&padded);
            forms.push(text.as_bytes()[lead + 1..text.len() - 2].to_vec());
        }
    }
    forms
}

fn url_escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn leaks(text: &[u8]) -> bool {
    forms(PASSWORD).iter().any(|form| text.windows(form.len()).any(|window| window == form.as_slice()))
}

#[test]
fn a_planted_leak_is_found() {
    assert!(!leaks(b"nothing to see"));
    for planted in [PASSWORD.to_owned(), url_escaped(PASSWORD), serde_json::json!({ "a": PASSWORD }).to_string()] {
        assert!(leaks(format!("some {planted} text").as_bytes()), "{planted}");
    }
    for lead in ["", "a", "ab", "abc"] {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{lead}:{PASSWORD}:more"));
        assert!(leaks(text.as_bytes()), "{text}");
    }
}

/// What everybody on the machine may see of a process, and what its owner may see.
fn seen_of(pid: u32) -> Vec<u8> {
    let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    [read("cmdline"), read("environ"), read("comm")].concat()
}

fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let text = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        all.extend(text.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
    all
}

#[test]
fn the_password_is_in_no_argument_environment_log_output_or_file() {
    let server = require!(postgres::v15);
    require!(program "zstd");
    let database = server.create_database("secret");
    database.sql("CREATE TABLE t AS SELECT g, md5(g::text) AS a FROM generate_series(1, 100000) g");
    let role = server.create_role("reads", "LOGIN IN ROLE pg_read_all_data");
    server.sql(&format!("ALTER ROLE \"{role}\" PASSWORD E'{}'", PASSWORD.replace('\\', "\\\\").replace('\'', "\\'")));
    let door = Door::before(server.port(), 2 << 20, Then::Hold);
    let url = door.url(&database.url_as(&role, &url_escaped(PASSWORD)), server.port());

    let mut workshop = Workshop::of_databases(&[("db", "not used")]);
    let file = workshop.folder().join("url");
    fs::write(&file, format!("{url}\n")).unwrap();
    let policy = fs::read_to_string(workshop.policy()).unwrap();
    fs::write(workshop.policy(), policy.replace("{env: TEST_URL_DB}", &format!("{{file: {}}}", file.display())))
        .unwrap();
    workshop.set("DRCTL_LOG", "trace");
    let child =
        workshop.command(&["backup", "-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Both pipes are read while it runs: a trace is long.
    let pid = child.id();
    let reading = std::thread::spawn(move || -> Ended { child.wait_with_output().unwrap().into() });
    wait_for("the middle of the table", 60, || (door.reached() > 0).then_some(()));
    let family = family(pid);
    assert!(family.len() >= 2, "pg_dump runs");
    for pid in family {
        let seen = seen_of(pid);
        assert!(!seen.is_empty() && !leaks(&seen), "process {pid}: {}", String::from_utf8_lossy(&seen));
    }
    door.open();
    let ended = reading.join().unwrap();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.len() > 1_000, "the log is a trace");
    assert!(!leaks(ended.stdout.as_bytes()) && !leaks(ended.stderr.as_bytes()));
    for args in [&["show", "latest", "-o", "json"][..], &["doctor"], &["policy", "show"], &["list", "-o", "json"]] {
        let ended = workshop.done(args);
        assert!(!leaks(ended.stdout.as_bytes()) && !leaks(ended.stderr.as_bytes()), "{args:?}");
    }
    for file in workshop.files("") {
        let bytes = fs::read(&file).unwrap();
        let plain = std::process::Command::new("zstd").args(["-dcq"]).arg(&file).output().unwrap().stdout;
        assert!(!leaks(&bytes) && !leaks(&plain), "{}", file.display());
    }
    // What is refused says no more than that.
    fs::write(&file, url.replace("postgresql://", "mysql://")).unwrap();
    let refused = workshop.ends(5, &["backup"]);
    assert!(!leaks(refused.stderr.as_bytes()) && !leaks(refused.stdout.as_bytes()), "{}", refused.stderr);
}

#[test]
fn the_password_is_nowhere_in_a_restore_either() {
    let server = require!(postgres::v15);
    let database = server.create_database("secret");
    let role = server.create_role("restores", "LOGIN CREATEDB");
    server.sql(&format!("ALTER ROLE \"{role}\" PASSWORD E'{}'", PASSWORD.replace('\\', "\\\\").replace('\'', "\\'")));
    server.sql(&format!("ALTER DATABASE {} OWNER TO \"{role}\"", database.quoted()));
    database.sql(&format!("CREATE TABLE t AS SELECT 1 AS one; ALTER TABLE t OWNER TO \"{role}\""));
    let mut workshop = Workshop::of_databases(&[("db", &database.url_as(&role, &url_escaped(PASSWORD)))]);
    workshop.done(&["backup"]);

    // Each program writes down what everybody, and what its owner, may see of it, and is then the real one.
    let (folder, seen) = (workshop.folder().join("programs"), workshop.folder().join("seen"));
    fs::create_dir(&folder).unwrap();
    for program in ["pg_dump", "pg_restore"] {
        let real = server.programs().join(program);
        let script = format!(
            "#!/bin/sh\n{{ echo {program}; cat /proc/$$/environ /proc/$$/cmdline; }} >> '{}'\nexec '{}' \"$@\"\n",
            seen.display(),
            real.display()
        );
        fs::write(folder.join(program), script).unwrap();
        fs::set_permissions(folder.join(program), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    workshop.set("DRCTL_PG_BIN_DIR", folder.to_str().unwrap());
    workshop.set("DRCTL_LOG", "trace");
    for args in [
        &["restore", "--dry-run", "-o", "json"][..],
        &["restore", "--yes", "-o", "json"],
        &["restore", "--undo", "--yes"],
        &["restore", "--yes", "--no-switch"],
        &["restore", "--switch", "--yes"],
    ] {
        let ended = workshop.done(args);
        assert!(!leaks(ended.stdout.as_bytes()) && !leaks(ended.stderr.as_bytes()), "{args:?}");
    }
    let seen = fs::read(seen).unwrap();
    let text = String::from_utf8_lossy(&seen);
    assert!(text.contains("pg_restore\n") && text.contains("PGPASSFILE=") && text.contains("PGUSER="), "{text}");
    assert!(!leaks(&seen), "{text}");
}
