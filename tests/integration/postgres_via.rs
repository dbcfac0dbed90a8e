//! A database that has no address outside its cluster, in a Pod that really runs: reached by a port-forward.

use std::fs;

use crate::rbac;
use crate::support::{
    bed::require,
    node::{self, Node},
    program::Ended,
    workshop::Workshop,
};

const PASSWORD: &str = "S3cret/of:the@database";

/// A namespace with PostgreSQL in it, and what tests put into it.
struct InCluster {
    node: Node,
    namespace: String,
    port: u16,
}

impl InCluster {
    fn start(node: Node) -> Self {
        let namespace = node.create_namespace("shop");
        let port = node::free_port();
        node.apply(&node.postgres(&namespace, "db", port, PASSWORD));
        node.wait_until_ready(&namespace, "statefulset/db");
        let this = Self { node, namespace, port };
        this.psql("CREATE TABLE orders (id int PRIMARY KEY, what text); INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 500) n");
        this
    }

    fn psql(&self, sql: &str) -> String {
        let script =
            format!("PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -p {} -U postgres -XAtc \"$0\"", self.port);
        let words = ["exec", "-n", &self.namespace, "db-0", "--", "sh", "-c", &script, sql];
        self.node.kubectl(&words)
    }

    /// A policy with the database, reached through `service`; its address is in `url`.
    fn workshop(&self, url: &str, service: &str, port: u16) -> Workshop {
        let mut workshop = Workshop::bare(&self.node);
        workshop.set("DATABASE_URL", url);
        let text = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{}\nsources:\n  db:\n    postgres:\n      \
             url: {{env: DATABASE_URL}}\n      via: {{kubernetes: {{namespace: {}, service: {service}, port: {port}}}}}\n\
             schedules:\n  daily: {{cron: \"0 2 * * *\", sources: [db]}}\n",
            workshop.local_repository(),
            self.namespace
        );
        fs::write(workshop.policy(), text).unwrap();
        workshop.done(&["repository", "init"]);
        workshop
    }
}

fn address(form: &str) -> String {
    let password = "S3cret%2Fof%3Athe%40database";
    format!("{form}://postgres:{password}@db.shop.svc:5432/postgres")
}

fn no_password(ended: &Ended) {
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.contains("S3cret"), "{text}");
    }
}

#[test]
fn a_database_behind_a_service_is_backed_up_by_a_port_forward() {
    let database = InCluster::start(require!(node::node));
    for url in [address("postgresql+psycopg2"), format!("{}?schema=public&connection_limit=3", address("postgresql"))] {
        let workshop = database.workshop(&url, "db", database.port);
        let ended = workshop.run(&["backup"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        no_password(&ended);
        let shown = workshop.run(&["show", "latest"]);
        assert!(shown.stdout.contains("PostgreSQL 15") && shown.stdout.contains("500"), "{}", shown.stdout);
        assert_eq!(workshop.run(&["verify", "--all"]).code, 0);
    }

    // The same under exactly the roles that the program prints for this policy, and the twin without them.
    let mut workshop = database.workshop(&address("postgresql"), "db", database.port);
    let kubeconfig = rbac::account(&database.node, &workshop, &database.namespace);
    workshop.use_kubeconfig(&kubeconfig);
    assert_eq!(workshop.run(&["backup"]).code, 5);
    rbac::give(&database.node, &workshop, &format!("{}/drctl", database.namespace));
    let ended = workshop.run(&["backup"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let account = format!("{}:drctl", database.namespace);
    for words in [&["list", "secrets"][..], &["get", "secrets"], &["create", "pods", "--subresource=exec"]] {
        let here = [words, &["-n", &database.namespace]].concat();
        assert!(!rbac::may(&database.node, &account, &here), "{words:?}");
    }
}

#[test]
fn a_way_that_leads_nowhere_is_named_and_nothing_is_stored() {
    let database = InCluster::start(require!(node::node));
    let none = "apiVersion: v1\nkind: Service\nmetadata: {name: elsewhere, namespace: NS}\nspec: {type: ExternalName, externalName: db.example.com, ports: [{port: 5432}]}";
    database.node.apply(&none.replace("NS", &database.namespace));
    for (service, port, why) in [
        ("nothing", database.port, "not found"),
        ("db", 9, "the Service has no port 9; it has:"),
        ("elsewhere", 5432, "the Service has no selector"),
    ] {
        let workshop = database.workshop(&address("postgresql"), service, port);
        let ended = workshop.run(&["backup"]);
        assert_eq!(ended.code, 5, "{ended:?}");
        let act = format!("cannot open a port-forward to Service {}/{service} port {port}", database.namespace);
        assert!(ended.stderr.contains(&act) && ended.stderr.contains(why), "{}", ended.stderr);
        no_password(&ended);
        assert!(!workshop.repository().join("sessions").exists(), "a session was written");
    }
}

#[test]
fn a_wrong_password_through_a_port_forward_is_the_servers_refusal() {
    let database = InCluster::start(require!(node::node));
    let workshop = database.workshop("postgresql://postgres:wr0ng@db.shop.svc/postgres", "db", database.port);
    let ended = workshop.run(&["backup"]);
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(ended.stderr.contains("refuses role `postgres`"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("wr0ng"), "{}", ended.stderr);
}

/// Two databases of a namespace, `orders` and `billing`, each with its own server and Service.
struct Two {
    node: Node,
    namespace: String,
    workshop: Workshop,
}

impl Two {
    fn start(node: Node) -> Self {
        let namespace = node.create_namespace("two");
        let mut workshop = Workshop::bare(&node);
        let mut sources = format!("  services: {{kubernetes: {{namespaces: [{namespace}]}}}}\n");
        for name in ["orders", "billing"] {
            let port = node::free_port();
            let server = node.postgres(&namespace, name, port, "a-password");
            let server = server.replace("env: [", "env: [{name: POSTGRES_DB, value: shop}, ");
            // This one's Pod is ready only once an application has migrated.
            let probe = format!("[pg_isready, -h, 127.0.0.1, -p, \"{port}\"]");
            assert!(server.contains(&probe));
            let sql = "CREATE TABLE IF NOT EXISTS migrated ()";
            let migrates = format!("[psql, -h, /tmp, -p, \"{port}\", -U, postgres, -d, shop, -qc, \"{sql}\"]");
            node.apply(&if name == "orders" { server.replace(&probe, &migrates) } else { server });
            let variable = format!("URL_{name}");
            workshop.set(&variable, &format!("postgresql://postgres:a-password@{name}:{port}/shop"));
            sources.push_str(&format!(
                "  {name}: {{postgres: {{url: {{env: {variable}}}, \
                 via: {{kubernetes: {{namespace: {namespace}, service: {name}, port: {port}}}}}}}}}\n"
            ));
        }
        for name in ["orders", "billing"] {
            node.wait_until_ready(&namespace, &format!("statefulset/{name}"));
        }
        let text = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: two}}\n{}\nsources:\n{sources}\
             schedules:\n  daily: {{cron: \"0 2 * * *\", sources: [services, orders, billing]}}\n",
            workshop.local_repository()
        );
        fs::write(workshop.policy(), text).unwrap();
        workshop.done(&["repository", "init"]);
        workshop.done(&["backup"]);
        Self { node, namespace, workshop }
    }
}

#[test]
fn only_the_database_whose_own_workload_is_gone_comes_back_with_it_and_what_was_written_meanwhile_is_kept() {
    let two = Two::start(require!(node::node));
    let delete = ["delete", "statefulset", "orders", "-n", &two.namespace, "--cascade=foreground", "--wait"];
    two.node.kubectl(&delete);
    let plan = two.workshop.json(0, &["restore", "--dry-run"]);
    let sources = |list: &serde_json::Value| {
        let list = list.as_array().unwrap();
        list.iter().map(|database| database["source"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (sources(&plan["laterDatabases"]), sources(&plan["databases"])),
        (vec!["orders".to_owned()], vec!["billing".to_owned()])
    );

    let ended = two.workshop.ends(1, &["restore", "--yes", "--source", "services", "--source", "orders"]);
    for text in
        ["source orders could not be restored into its new server", "holds something already (table public.migrated)"]
    {
        assert!(ended.stderr.contains(text), "{text}: {}", ended.stderr);
    }
    // Now it is there, and the plan says what it replaces.
    let ended = two.workshop.ends(2, &["restore", "--source", "services", "--source", "orders"]);
    assert!(ended.stderr.contains("REPLACES database `shop`"), "{}", ended.stderr);
    two.workshop.done(&["restore", "--yes", "--source", "services", "--source", "orders"]);
}
