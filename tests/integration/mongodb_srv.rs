//! `mongodb+srv`: a name server says where the servers are and what the address leaves out, and the connection is encrypted.

use crate::{
    mongodb_backup::fill,
    support::{
        bed::require,
        dns::{self, Dns},
        mongo_proxy::{MongoProxy, Part},
        mongodb::{self, Database, MongoDb, unordered},
        workshop::Workshop,
    },
};

/// What the address names, and what is asked for in its place.
const NAME: &str = "crm.drctl.test";
const SERVICE: &str = "_mongodb._tcp.crm.drctl.test";
/// A name that the certificate of the bed's server has.
const HOST: &str = "db.drctl.test";
const NONE: &str = ", consistency: none";
const RESTORE: [&str; 4] = ["restore", "--yes", "--drop", "*"];

/// The address of a database by its name, without a host, a port and whom its user is known to.
fn named(database: &Database, options: &str) -> String {
    let (login, _) = database.server().url().split_once('@').unwrap();
    format!("{}@{NAME}/{}{options}", login.replacen("mongodb://", "mongodb+srv://", 1), database.name())
}

fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// A policy for the address, run where `dns` is asked.
fn workshop(dns: &Dns, url: &str, more: &str) -> Workshop {
    let mut workshop = Workshop::of_mongodb(url, more);
    workshop.run_in(dns.namespace());
    workshop
}

/// A played replica set without TLS, and a database on it.
fn plain(server: &MongoDb) -> (MongoProxy, Database) {
    let proxy = MongoProxy::before(server, Part::ReplicaSet);
    proxy.remember();
    let database = server.database("crm");
    fill(&database);
    (proxy, database)
}

/// What a test of a refusal looks at: repository and database are as they were.
fn state(workshop: &Workshop, database: &Database) -> (usize, Vec<(String, u64, String)>) {
    (workshop.contents().len(), unordered(&database.contents()))
}

/// Both directions end with 5 and say this, and nothing was changed.
#[track_caller]
fn refused(workshop: &Workshop, database: &Database, words: &str) {
    let before = state(workshop, database);
    for run in [&["backup"][..], &RESTORE] {
        let ended = workshop.ends(5, run);
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
        let password = database.server().password().unwrap();
        assert!(!ended.stderr.contains(password) && !ended.stderr.contains("Query {"), "{}", ended.stderr);
    }
    assert_eq!(state(workshop, database), before);
}

#[test]
fn a_name_leads_to_the_servers_and_to_what_the_address_does_not_say() {
    let server = require!(mongodb::ferretdb);
    let dns = require!(dns::own);
    let (proxy, database) = plain(&server);
    dns.srv(SERVICE, &[(HOST, port_of(proxy.address()))]);
    // Without it the user would be looked for in the database itself.
    dns.txt(NAME, &["authSource=admin&replicaSet=played"]);
    let workshop = workshop(&dns, &named(&database, "?tls=false"), "");
    workshop.done(&["backup"]);
    let shown = workshop.json(0, &["show", "latest"]);
    assert_eq!(shown["sources"][0]["consistency"], "snapshot", "{shown}");
    assert!(dns.asked().iter().any(|name| name == SERVICE), "{:?}", dns.asked());
    let before = unordered(&database.contents());
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    assert!(workshop.done(&["doctor"]).stdout.contains("the connection to crm.drctl.test is not encrypted"));
    workshop.done(&RESTORE);
    assert_eq!(unordered(&database.contents()), before);
    let logins = proxy.logins();
    assert!(!logins.is_empty() && logins.iter().all(|known_to| known_to == "admin"), "{logins:?}");

    // What the name server says counts: a set of another name, and an option that it has no business with.
    for (text, words) in [
        ("authSource=admin&replicaSet=another", "cannot reach the MongoDB server crm.drctl.test"),
        ("authSource=admin&readPreference=secondary", "readpreference"),
    ] {
        dns.txt(NAME, &[text]);
        refused(&workshop, &database, words);
    }
    // This server looks for its users everywhere.
    dns.txt(NAME, &["replicaSet=played"]);
    workshop.done(&["doctor"]);
    assert!(proxy.logins().iter().any(|known_to| known_to == database.name()), "{:?}", proxy.logins());
    dns.txt(NAME, &["authSource=admin&replicaSet=played"]);
    workshop.done(&["backup"]);
}

#[test]
fn a_name_alone_asks_for_encryption_with_a_certificate_of_the_server_that_it_leads_to() {
    let (server, authority) = require!(mongodb::with_tls);
    let dns = require!(dns::own);
    let database = server.database("crm");
    fill(&database);
    let port = port_of(server.address());
    dns.srv(SERVICE, &[(HOST, port)]);
    dns.txt(NAME, &["authSource=admin"]);
    let trusted = format!("{NONE}, tls: {{caFile: {}}}", authority.display());
    let mut workshop = workshop(&dns, &named(&database, ""), &trusted);
    workshop.done(&["backup"]);
    let before = unordered(&database.contents());
    database.run(r#"{"insert": "contacts", "documents": [{"_id": "later"}]}"#);
    workshop.done(&RESTORE);
    assert_eq!(unordered(&database.contents()), before);

    // Its authority is asked for, and its name. Waiting helps none of these.
    workshop.set("TEST_URL_CRM_DB", &named(&database, "?serverSelectionTimeoutMS=5000"));
    workshop.write_mongodb_policy(NONE);
    refused(
        &workshop,
        &database,
        "cannot encrypt the connection to crm.drctl.test: invalid peer certificate: UnknownIssuer",
    );
    workshop.write_mongodb_policy(&trusted);
    dns.srv(SERVICE, &[("other.drctl.test", port)]);
    refused(&workshop, &database, "cannot encrypt the connection to crm.drctl.test: invalid peer certificate");
    dns.srv(SERVICE, &[(HOST, port)]);
    workshop.set("TEST_URL_CRM_DB", &named(&database, ""));
    workshop.done(&["backup"]);
    workshop.set("TEST_URL_CRM_DB", &named(&database, "?serverSelectionTimeoutMS=5000"));

    // A server that takes no encrypted connections says nothing.
    dns.srv(SERVICE, &[(HOST, port_of(require!(mongodb::ferretdb).address()))]);
    refused(&workshop, &database, "perhaps since it takes no encrypted connections");
}

#[test]
fn a_name_that_leads_nowhere_or_elsewhere_ends_a_run_before_anything_is_changed() {
    let server = require!(mongodb::ferretdb);
    let dns = require!(dns::own);
    let (proxy, database) = plain(&server);
    let here = [(HOST, port_of(proxy.address()))];
    dns.srv(SERVICE, &here);
    dns.txt(NAME, &["authSource=admin"]);
    let workshop = workshop(&dns, &named(&database, "?tls=false"), "");
    workshop.done(&["backup"]);

    dns.srv(SERVICE, &[]);
    refused(
        &workshop,
        &database,
        "cannot reach the MongoDB server crm.drctl.test: the name server knows no servers of _mongodb._tcp.crm.drctl.test (SRV)",
    );
    // Who can answer in the name server's place could else send the password anywhere.
    dns.srv(SERVICE, &[here[0], ("db.elsewhere.test", here[0].1)]);
    refused(
        &workshop,
        &database,
        "SRV lookup for crm.drctl.test returned result db.elsewhere.test, which does not match",
    );
    dns.srv(SERVICE, &here);
    dns.be_silent(true);
    dns.wait_for(1);
    refused(&workshop, &database, "cannot reach the MongoDB server crm.drctl.test: no name server answers");
    assert!(!proxy.seen().iter().any(|it| it.command == "insert"));

    dns.be_silent(false);
    dns.wait_for(30);
    workshop.done(&["backup"]);
    workshop.done(&RESTORE);
}
