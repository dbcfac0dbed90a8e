//! `drctl diff` of two backups of a database: tables by rows and digest, what is defined, large objects.

use serde_json::Value;

use crate::support::{
    bed::require,
    postgres::{self, Database, Role},
    workshop::Workshop,
};

fn backup(workshop: &Workshop) -> String {
    workshop.json(0, &["backup"])["backup"]["id"].as_str().unwrap().to_owned()
}

/// Each change as `mark what name`, sorted.
fn changes(diff: &Value) -> Vec<String> {
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    let all = diff["changes"].as_array().unwrap().iter();
    let mut lines: Vec<String> =
        all.map(|item| format!("{} {} {}", text(item, "change"), text(item, "what"), text(item, "name"))).collect();
    lines.sort();
    lines
}

/// The fields of a changed thing, as (path, old, new).
fn fields(diff: &Value, what: &str, name: &str) -> Vec<(String, String, String)> {
    let all = diff["changes"].as_array().unwrap();
    let found = all.iter().find(|item| item["what"] == what && item["name"] == name);
    let found = found.unwrap_or_else(|| panic!("{what} {name} in {diff:#}"));
    let text = |field: &Value, key: &str| field[key].as_str().unwrap().to_owned();
    let fields = found["fields"].as_array().unwrap().iter();
    fields.map(|field| (text(field, "path"), text(field, "old"), text(field, "new"))).collect()
}

fn change(database: &Database) {
    database.sql(
        "UPDATE orders SET text = 'changed' WHERE id = 7;
         DELETE FROM orders WHERE id = 9;
         INSERT INTO orders VALUES (2001, 'new'), (2002, 'new');
         UPDATE swapped SET id = 4 WHERE id = 3;
         DROP TABLE gone;
         CREATE TABLE added (id int);
         INSERT INTO added VALUES (1);
         CREATE OR REPLACE FUNCTION price() RETURNS int LANGUAGE sql AS 'SELECT 2';
         CREATE INDEX orders_text ON orders (text);
         SELECT lo_put(4242, 0, 'xyz');",
    );
}

#[test]
fn two_backups_of_a_database_differ_in_just_what_was_changed() {
    let server = require!(postgres::v15);
    let database = server.create_database("shop");
    database.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, text text);
         INSERT INTO orders SELECT n, md5(n::text) FROM generate_series(1, 1000) n;
         CREATE TABLE untouched (id int);
         INSERT INTO untouched SELECT generate_series(1, 500);
         CREATE TABLE swapped (id int);
         INSERT INTO swapped VALUES (1), (2), (3);
         CREATE TABLE gone (id int);
         CREATE FUNCTION price() RETURNS int LANGUAGE sql AS 'SELECT 1';
         SELECT lo_from_bytea(4242, 'abc');",
    );
    let workshop = Workshop::of_databases(&[("shop", &database.url(Role::Admin))]);
    let first = backup(&workshop);
    // The twin: nothing has changed, and no rows are read to know that.
    let again = backup(&workshop);
    let same = workshop.json(0, &["diff", &first, &again, "--exit-code"]);
    assert_eq!(changes(&same), [""; 0], "{same:#}");
    assert!(same["summary"]["partsEqual"].as_u64().unwrap() >= 4 && same["summary"]["partsRead"] == 0, "{same:#}");

    change(&database);
    let second = backup(&workshop);
    let diff = workshop.json(0, &["diff", &again, &second]);
    crate::inspect::fits("backup-diff", &diff);
    assert_eq!(
        changes(&diff),
        [
            "added definition INDEX public.orders_text",
            "added definition TABLE public.added",
            "added table public.added",
            "changed definition FUNCTION public.\"price()\"",
            "changed largeObjects large objects",
            "changed table public.orders",
            "changed table public.swapped",
            "removed definition TABLE public.gone",
            "removed table public.gone",
        ],
        "{diff:#}"
    );
    let orders = fields(&diff, "table", "public.orders");
    let counted: Vec<_> = orders.iter().filter(|(path, ..)| path == "rows").collect();
    assert_eq!(counted, [&("rows".to_owned(), "1000".to_owned(), "1001".to_owned())], "{orders:?}");
    // As many rows, as many bytes: only the digest tells.
    let swapped = fields(&diff, "table", "public.swapped");
    assert!(matches!(&swapped[..], [(path, old, new)] if path == "digest" && old != new), "{swapped:?}");
    let summary = &diff["summary"];
    assert_eq!((&summary["added"], &summary["removed"], &summary["changed"]), (&3.into(), &2.into(), &4.into()));

    let text = workshop.ends(4, &["diff", &again, &second, "--exit-code"]).stdout;
    for line in [
        "~ table public.orders of shop\n    rows: 1000 -> 1001\n",
        "+ table public.added of shop\n",
        "- definition TABLE public.gone of shop\n",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
    assert!(!text.contains("untouched"), "{text}");
    // The other way round, and what the choices leave.
    let back = workshop.json(0, &["diff", &second, &again]);
    assert!(changes(&back).contains(&"removed table public.added".to_owned()), "{back:#}");
    // A database has no namespaces: "no differences" would be no answer.
    let of_objects = workshop.ends(2, &["diff", &again, &second, "--namespace", "shop", "--exit-code"]);
    assert!(of_objects.stderr.contains("namespace"), "{of_objects:?}");
    let of_source = workshop.json(4, &["diff", &again, &second, "--source", "shop", "--exit-code"]);
    assert_eq!(changes(&of_source), changes(&diff));
}
