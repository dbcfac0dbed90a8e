//! The gate against lost tests: `testbed/check-not-run`.

use std::process::Command;

const LISTED: &str = "[[test]]\nname = 'a::listed'\nreason = 'no server'\nruns = 'by hand'\n";

/// Exit code and findings for a log and a list.
fn check(log: &str, list: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let (log_path, list_path) = (folder.path().join("log"), folder.path().join("list"));
    std::fs::write(&log_path, log).unwrap();
    std::fs::write(&list_path, list).unwrap();
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/testbed/check-not-run");
    let output = Command::new(program).args([log_path, list_path]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn tests_that_ran_and_listed_ones_that_did_not_are_well() {
    let log = "RAN\ta::one\nRAN\ta::listed\nNOT RUN\ta::listed\tno server\n";
    assert_eq!(check(log, LISTED), (Some(0), String::new()));
}

#[test]
fn an_unlisted_test_that_did_not_run_fails() {
    let (code, findings) = check("RAN\ta::one\nNOT RUN\ta::two\tno server\n", "");
    assert_eq!((code, findings.as_str()), (Some(1), "check-not-run: a::two was NOT RUN: no server\n"));
}

#[test]
fn a_listed_test_that_ran_fails() {
    let (code, findings) = check("RAN\ta::listed\n", LISTED);
    assert_eq!(code, Some(1));
    assert!(findings.contains("a::listed ran: take it out"), "{findings}");
}

#[test]
fn a_listed_test_that_is_gone_fails() {
    let (code, findings) = check("RAN\ta::one\n", LISTED);
    assert_eq!(code, Some(1));
    assert!(findings.contains("no such test reported"), "{findings}");
}

#[test]
fn an_empty_log_fails() {
    let (code, findings) = check("", "");
    assert_eq!(code, Some(1));
    assert!(findings.contains("no test reported anything"), "{findings}");
}

#[test]
fn a_list_without_reasons_fails() {
    assert_eq!(check("RAN\ta::one\n", "[[test]]\nname = 'a::listed'\n").0, Some(1));
}
