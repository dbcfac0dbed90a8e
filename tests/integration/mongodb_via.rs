//! A MongoDB server that has no address outside its cluster, reached by a port-forward, also where it asks for TLS: then its
//! certificate is checked by the name that it has in the cluster.
//!
//! No image of MongoDB can be had on the bed's Node: the Pod has the machine's network and does nothing, and the way into it
//! leads to the bed's server.

use std::{fs, path::Path};

use drctl::sources::mongodb::{Address, Error, Server};

use crate::{
    mongodb_backup::fill,
    support::{
        bed::require,
        mongodb::{self, MongoDb},
        node::{self, Node},
        workshop::Workshop,
    },
};

/// A name that the bed's certificate has, beside that of this machine.
const NAMED: &str = "db.drctl.test";

const POD: &str = r#"apiVersion: v1
kind: Service
metadata: {name: mongodb, namespace: NAMESPACE}
spec:
  clusterIP: None
  selector: {app: mongodb}
  ports: [{name: mongodb, port: PORT}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: mongodb, namespace: NAMESPACE}
spec:
  serviceName: mongodb
  selector: {matchLabels: {app: mongodb}}
  template:
    metadata: {labels: {app: mongodb}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      containers:
      - {name: mongodb, image: IMAGE, imagePullPolicy: Never, command: [sleep, infinity]}
"#;

/// The server's address with another host, and without what only holds on this machine.
fn address_at(server: &MongoDb, database: &str, host: &str) -> String {
    let (login, _) = server.url().split_once('@').unwrap();
    format!("{login}@{host}/{database}?tls=true&authSource=admin")
}

fn policy(workshop: &Workshop, namespace: &str, port: &str, tls: &str) {
    let text = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{}\nsources:\n  crm-db:\n    mongodb:\n      \
         url: {{env: MONGODB_URI}}\n      consistency: none\n      \
         via: {{kubernetes: {{namespace: {namespace}, service: mongodb, port: {port}}}}}\n      tls: {tls}\n\
         schedules:\n  daily: {{cron: \"0 2 * * *\", sources: [crm-db]}}\n",
        workshop.local_repository(),
    );
    fs::write(workshop.policy(), text).unwrap();
}

fn start(node: &Node, port: &str) -> String {
    let namespace = node.create_namespace("crm");
    let objects = POD.replace("NAMESPACE", &namespace).replace("IMAGE", node.image());
    node.apply(&objects.replace("PORT", port));
    node.wait_until_ready(&namespace, "statefulset/mongodb");
    namespace
}

#[test]
fn a_database_behind_a_service_is_reached_with_the_certificate_that_it_has_in_the_cluster() {
    let (server, authority) = require!(mongodb::with_tls);
    let node = require!(node::node);
    let database = server.database("crm");
    fill(&database);
    let (_, port) = server.address().split_once(':').unwrap();
    let namespace = start(&node, port);
    let mut workshop = Workshop::bare(&node);
    let tls = |more: &str| format!("{{caFile: {}{more}}}", authority.display());
    // The host of the application's address is in the certificate.
    workshop.set("MONGODB_URI", &address_at(&server, database.name(), &format!("{NAMED}:27017")));
    policy(&workshop, &namespace, port, &tls(""));
    workshop.done(&["repository", "init"]);
    workshop.done(&["backup"]);
    assert!(workshop.done(&["doctor"]).stdout.contains("database `"));
    // It is not, although the certificate names this machine, too.
    workshop.set("MONGODB_URI", &address_at(&server, database.name(), "mongodb:27017"));
    let refused = workshop.ends(5, &["backup"]);
    assert!(refused.stderr.contains("its certificate must be for `mongodb`"), "{}", refused.stderr);
    assert_eq!(workshop.backups().len(), 1);
    // The policy says what is.
    policy(&workshop, &namespace, port, &tls(&format!(", serverName: {NAMED}")));
    workshop.done(&["backup"]);
    // A restore goes the same way.
    database.run(r#"{"drop": "contacts"}"#);
    workshop.done(&["restore", "latest", "--yes", "--drop", "*"]);
    assert_eq!(database.contents().len(), 4);
}

/// The same by a name that only name servers could tell of.
fn srv_address_at(server: &MongoDb, database: &str, name: &str) -> String {
    let plain = address_at(server, database, name).replacen("mongodb://", "mongodb+srv://", 1);
    // Such an address asks for TLS by itself.
    plain.replace("tls=true&", "")
}

/// Connects as through a port-forward that leads to the server itself.
async fn connect(server: &MongoDb, host: &str, authority: &Path, name: Option<&str>) -> Result<(), Error> {
    connect_to(server, &address_at(server, "crm", host), authority, name).await
}

async fn connect_to(server: &MongoDb, address: &str, authority: &Path, name: Option<&str>) -> Result<(), Error> {
    let address = Address::parse(address).unwrap();
    let server = Server::new(address, None, Some(authority.to_owned()))?
        .forwarded_to(server.address().parse().unwrap())
        .with_server_name(name.map(str::to_owned));
    server.connect().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_checked_by_the_servers_name_and_not_by_the_address_of_the_port_forward() {
    let (server, authority) = require!(mongodb::with_tls);
    connect(&server, "db.drctl.test:27017", &authority, None).await.unwrap();
    connect(&server, "mongodb:27017", &authority, Some(NAMED)).await.unwrap();
    for (host, name) in [("mongodb:27017", None), ("db.drctl.test:27017", Some("mongodb"))] {
        let refused = connect(&server, host, &authority, name).await.unwrap_err();
        assert!(matches!(refused, Error::Tls { .. }), "{refused}");
        assert!(refused.to_string().contains("its certificate must be for `mongodb`"), "{refused}");
    }
    let not_pem = tempfile::NamedTempFile::new().unwrap();
    let refused = connect(&server, "db.drctl.test:27017", not_pem.path(), None).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_name_servers_is_not_looked_up_where_a_port_forward_leads_to_the_server() {
    let (server, authority) = require!(mongodb::with_tls);
    let named = srv_address_at(&server, "crm", NAMED);
    connect_to(&server, &named, &authority, None).await.unwrap();
    let other = srv_address_at(&server, "crm", "mongodb.crm.svc.cluster.local");
    connect_to(&server, &other, &authority, Some(NAMED)).await.unwrap();
    // It is encrypted and checked, as without a port-forward.
    let refused = connect_to(&server, &other, &authority, None).await.unwrap_err();
    let words = "its certificate must be for `mongodb.crm.svc.cluster.local`";
    assert!(matches!(refused, Error::Tls { .. }) && refused.to_string().contains(words), "{refused}");
}
