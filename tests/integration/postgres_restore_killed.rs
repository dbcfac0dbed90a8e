//! The whole target server is killed in the middle of a restore, as when its machine loses power, and comes back.

use crate::support::{
    bed::require,
    own_postgres::OwnPostgres,
    paused::Paused,
    postgres::{self},
    program::Ended,
    workshop::Workshop,
};

const ROWS: &str = "CREATE TABLE a AS SELECT g, md5(g::text) AS t FROM generate_series(1, 20000) g; CREATE TABLE b AS SELECT 'old' AS t";

/// What the live database says, in a line.
fn says(server: &OwnPostgres) -> String {
    server.sql_in("shop", "SELECT count(*) || ' ' || (SELECT t FROM b) FROM a")
}

fn databases(server: &OwnPostgres) -> String {
    server.sql("SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname LIKE 'shop%'")
}

/// A restore that stands still at a point; `then` happens to its server, and it goes on.
fn restore(server: &mut OwnPostgres, workshop: &Workshop, point: &str, then: impl FnOnce(&mut OwnPostgres)) -> Ended {
    let paused = Paused::at(workshop, point, &["restore", "--yes"]);
    then(server);
    paused.go_on()
}

#[test]
fn a_server_that_is_killed_in_a_restore_keeps_its_live_database_and_the_next_run_succeeds() {
    let mut server = OwnPostgres::start(&require!(postgres::v15));
    server.sql("CREATE DATABASE shop");
    server.sql_in("shop", ROWS);
    let workshop = Workshop::of_databases(&[("db", &server.url_of("shop"))]);
    workshop.done(&["backup"]);
    let spoil = |server: &OwnPostgres| {
        server.sql_in("shop", "DELETE FROM a WHERE g > 10; UPDATE b SET t = 'new'; CHECKPOINT");
        assert_eq!(says(server), "10 new");
    };

    // The twin: the same restore stands still, and nothing happens to the server.
    spoil(&server);
    let ended = restore(&mut server, &workshop, "loaded", |_| ());
    assert_eq!((ended.code, says(&server).as_str()), (0, "20000 old"), "{ended:?}");
    for name in databases(&server).split(' ').filter(|name| *name != "shop") {
        server.sql(&format!("DROP DATABASE {name}"));
    }

    // In the middle of the rows, and with the live database closed for the swap.
    for (point, text, after) in
        [("loaded", "cannot ", "10 new"), ("closed", "the connection was lost during the swap", "")]
    {
        spoil(&server);
        let ended = restore(&mut server, &workshop, point, OwnPostgres::kill);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains(text) && ended.stderr.contains("\nnext: "), "{point}: {}", ended.stderr);
        let again = workshop.ends(5, &["restore", "--yes"]);
        assert!(again.stderr.contains("cannot reach"), "{}", again.stderr);
        server.start_again();
        if after.is_empty() {
            assert_eq!(server.sql("SELECT datallowconn FROM pg_database WHERE datname = 'shop'"), "f");
            workshop.done(&["restore", "--undo", "--yes"]);
        }
        assert_eq!(says(&server), "10 new", "{point}");

        let ended = workshop.done(&["restore", "--yes"]);
        assert!(ended.stdout.contains("equal to the backup"), "{}", ended.stdout);
        assert_eq!(says(&server), "20000 old", "{point}");
        for name in databases(&server).split(' ').filter(|name| *name != "shop") {
            server.sql(&format!("DROP DATABASE {name}"));
        }
    }
}
