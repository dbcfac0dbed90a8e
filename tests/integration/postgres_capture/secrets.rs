//! The password of a database is nowhere but in the memory of who needs it.

use std::fs;
use std::process::Stdio;

use base64::Engine as _;

use super::door::{Door, Then};
use super::*;
use crate::support::workshop::wait_for;
use crate::support::{postgres::quoted, program::Ended};

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

/// A place where a secret may leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// What everybody on the machine may see of a process.
    Arguments,
    /// What its owner may see.
    Environment,
    Log,
    Output,
    Report,
    Refusal,
    File,
    FileInside,
}

/// Where a process and all that it has started show it.
fn in_processes(pid: u32) -> Vec<Place> {
    let (mut found, mut seen) = (Vec::new(), 0);
    for pid in family(pid) {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let arguments = [read("cmdline"), read("comm")].concat();
        // Of one that has ended there is nothing to be seen.
        seen += usize::from(!arguments.is_empty());
        found.extend(leaks(&arguments).then_some(Place::Arguments));
        found.extend(leaks(&read("environ")).then_some(Place::Environment));
    }
    assert!(seen >= 2, "pg_dump runs");
    found
}

/// A process, and all that it has started and they have.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten() {
        let text = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        all.extend(text.split_whitespace().flat_map(|pid| family(pid.parse().unwrap())));
    }
    all
}

fn in_files(workshop: &Workshop) -> Vec<Place> {
    let mut found = Vec::new();
    for file in workshop.files("") {
        found.extend(leaks(&fs::read(&file).unwrap()).then_some(Place::File));
        let plain = std::process::Command::new("zstd").args(["-dcq"]).arg(&file).output().unwrap().stdout;
        found.extend(leaks(&plain).then_some(Place::FileInside));
    }
    found
}

/// Programs of the test's own: each has done this by the time at which it becomes the real one.
fn programs(workshop: &mut Workshop, server: &Postgres, script: &str) {
    let folder = workshop.folder().join("programs");
    fs::create_dir(&folder).unwrap();
    for program in ["pg_dump", "pg_restore"] {
        let real = server.programs().join(program);
        let script = format!("#!/bin/sh\n{}\nexec '{}' \"$@\"\n", script.replace("PROGRAM", program), real.display());
        fs::write(folder.join(program), script).unwrap();
        fs::set_permissions(folder.join(program), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    workshop.set("DRCTL_PG_BIN_DIR", folder.to_str().unwrap());
}

/// Looks for the password at every place while a backup runs and after it: sorted, each place once. If it is planted, a
/// child of `pg_dump` has it in its arguments, another in its environment, and a table has it for a name, which logs, output,
/// reports and files then have; a file of the repository has it as it is.
fn found(server: &Postgres, planted: bool) -> Vec<Place> {
    let database = server.create_database("secret");
    database.sql("CREATE TABLE t AS SELECT g, md5(g::text) AS a FROM generate_series(1, 100000) g");
    if planted {
        database.sql(&format!("CREATE TABLE {} ()", quoted(PASSWORD)));
    }
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
    let (secret, children) = (workshop.folder().join("secret"), workshop.folder().join("children"));
    fs::write(&children, "").unwrap();
    if planted {
        fs::write(&secret, PASSWORD).unwrap();
        let child = format!("sleep 600 </dev/null >/dev/null 2>&1 & echo $! >> '{}'", children.display());
        let secret = format!("$(cat '{}')", secret.display());
        // Bash names itself as it is told to.
        let script = format!(
            "bash -c 'exec -a \"$0\" sleep 600' \"{secret}\" {}\nLEAK=\"{secret}\" {child}",
            child.trim_start_matches("sleep 600 ")
        );
        programs(&mut workshop, server, &format!("[ \"$1\" = --version ] || {{\n{script}\n}}"));
    }
    let child =
        workshop.command(&["backup", "-o", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Both pipes are read while it runs: a trace is long.
    let pid = child.id();
    let reading = std::thread::spawn(move || -> Ended { child.wait_with_output().unwrap().into() });
    wait_for("the middle of the table", 120, || (door.reached() > 0).then_some(()));
    let mut found = if planted {
        // Each needs a moment to become what it is.
        wait_for("the planted children", 120, || {
            let found = in_processes(pid);
            (found.contains(&Place::Arguments) && found.contains(&Place::Environment)).then_some(found)
        })
    } else {
        in_processes(pid)
    };
    door.open();
    let ended = reading.join().unwrap();
    for pid in fs::read_to_string(&children).unwrap().lines() {
        let _ = std::process::Command::new("kill").arg(pid).status().unwrap();
    }
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.len() > 1_000, "the log is a trace");
    found.extend(leaks(ended.stderr.as_bytes()).then_some(Place::Log));
    found.extend(leaks(ended.stdout.as_bytes()).then_some(Place::Report));
    for args in [&["show", "latest", "-o", "json"][..], &["doctor"], &["policy", "show"], &["list", "-o", "json"]] {
        let ended = workshop.done(args);
        found.extend(leaks(&[ended.stdout.as_bytes(), ended.stderr.as_bytes()].concat()).then_some(Place::Output));
    }
    if planted {
        fs::write(workshop.repository().join("planted"), format!("more {PASSWORD} more")).unwrap();
    }
    found.extend(in_files(&workshop));
    // What is refused says no more than that.
    fs::write(&file, url.replace("postgresql://", "mysql://")).unwrap();
    let policy = fs::read_to_string(workshop.policy()).unwrap();
    if planted {
        // A name that is in its own refusal.
        fs::write(
            workshop.policy(),
            policy.replace("sources: [db]", &format!("sources: [{}]", serde_json::json!(PASSWORD))),
        )
        .unwrap();
    }
    let refused = workshop.run(&["backup"]);
    assert_eq!(refused.code, if planted { 2 } else { 5 }, "{refused:?}");
    found.extend(leaks(&[refused.stdout.as_bytes(), refused.stderr.as_bytes()].concat()).then_some(Place::Refusal));
    found.sort();
    found.dedup();
    found
}

#[test]
fn the_password_is_in_no_argument_environment_log_output_or_file() {
    let server = require!(postgres::v15);
    require!(program "zstd");
    assert_eq!(found(&server, false), []);
}

#[test]
fn a_password_that_is_planted_in_an_argument_environment_log_output_or_file_is_found() {
    use Place::{Arguments, Environment, File, FileInside, Log, Output, Refusal};
    let server = require!(postgres::v15);
    require!(program "zstd");
    let found = found(&server, true);
    for place in [Arguments, Environment, Log, Output, Refusal, File, FileInside] {
        assert!(found.contains(&place), "{place:?}: {found:?}");
    }
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
    let seen = workshop.folder().join("seen");
    let script = format!("{{ echo PROGRAM; cat /proc/$$/environ /proc/$$/cmdline; }} >> '{}'", seen.display());
    programs(&mut workshop, &server, &script);
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
