//! The whole server is killed in the middle of a capture, as when its machine's memory is used up.

use super::door::{Door, Then};
use super::*;
use crate::support::own_postgres::OwnPostgres;
use crate::support::program::Ended;
use crate::support::workshop::wait_for;

const ROWS: &str =
    "CREATE TABLE t AS SELECT g, md5(g::text) AS a, md5((g * 7)::text) AS b FROM generate_series(1, 170000) g";

/// A backup that stands still in the middle of the table; `then` happens to its server, and it goes on.
fn backup(server: &mut OwnPostgres, then: impl FnOnce(&mut OwnPostgres)) -> (Workshop, Ended) {
    let door = Door::before(server.port(), 4 << 20, Then::Hold);
    let mut workshop = Workshop::of_databases(&[("db", &door.url(&server.url(), server.port()))]);
    let mut command = workshop.command(&["backup"]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_for("the middle of the table", 60, || (door.reached() > 0).then_some(()));
    then(server);
    door.open();
    let ended: Ended = child.wait_with_output().unwrap().into();
    workshop.set("TEST_URL_DB", &server.url());
    (workshop, ended)
}

#[test]
fn a_server_that_is_killed_as_a_whole_ends_the_backup_and_the_next_one_is_whole() {
    let mut server = OwnPostgres::start(&require!(postgres::v15));
    server.sql(ROWS);
    // The twin: the same backup stands still, and nothing happens to the server.
    let (workshop, ended) = backup(&mut server, |_| ());
    assert_eq!(ended.code, 0, "{ended:?}");
    workshop.done(&["verify", "--level", "content"]);

    let (workshop, ended) = backup(&mut server, OwnPostgres::kill);
    assert_eq!(ended.code, 1, "{ended:?}");
    // Both sessions are gone at the same moment, and one of the two is seen first.
    let lost = ["the session that holds the snapshot was lost: ", "the session that watches the locks was lost: "];
    assert!(lost.iter().any(|lost| ended.stderr.contains(lost)), "{}", ended.stderr);
    for text in
        ["cannot capture database `postgres`", "\nnext: check the server's log and the network, and run it again\n"]
    {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
    assert_eq!(workshop.files("backups"), Vec::<std::path::PathBuf>::new(), "there is a manifest");

    let ended = workshop.ends(5, &["backup"]);
    assert!(ended.stderr.contains("cannot reach"), "{}", ended.stderr);
    server.start_again();
    workshop.done(&["backup"]);
    workshop.done(&["verify", "--level", "content"]);
    let shown = workshop.done(&["show", "latest"]);
    assert!(shown.stdout.contains("170,000") || shown.stdout.contains("170000"), "{}", shown.stdout);
}
