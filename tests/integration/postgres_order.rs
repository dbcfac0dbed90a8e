//! A namespace with its own database, on a Node where Pods really run: the database comes back before the application
//! starts, which migrates and writes as soon as it does.

use std::fs;

use crate::support::{
    bed::require,
    node::{self, Node},
    program::Ended,
    workshop::{Workshop, wait_for},
};

/// What an application does: it migrates, notes what it finds, and goes on writing.
const APPLICATION: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: {namespace}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: {image}
        imagePullPolicy: Never
        command: [sh, -c]
        args:
        - |
          until psql -qXAt -c 'SELECT 1' > /dev/null 2>&1; do sleep 0.1; done
          psql -qX -v ON_ERROR_STOP=1 -c 'CREATE TABLE IF NOT EXISTS orders (id serial PRIMARY KEY, what text)' \
            -c 'CREATE TABLE IF NOT EXISTS starts (seen bigint)' \
            -c 'INSERT INTO starts SELECT count(*) FROM orders' || exit 1
          while psql -qX -c "INSERT INTO orders (what) VALUES ('by the application')"; do sleep 0.2; done
        env:
        - {name: PGHOST, value: 127.0.0.1}
        - {name: PGPORT, value: "{port}"}
        - {name: PGUSER, value: postgres}
        - {name: PGDATABASE, value: shop}
        - {name: PGPASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
"#;

struct Shop {
    node: Node,
    namespace: String,
    port: u16,
    workshop: Workshop,
}

impl Shop {
    /// The namespace with its database, 500 orders in it, and a policy.
    fn open(node: Node) -> Self {
        let namespace = node.create_namespace("shop");
        let port = node::free_port();
        let database = node.postgres(&namespace, "db", port, "a-password");
        node.apply(&database.replace("env: [", "env: [{name: POSTGRES_DB, value: shop}, "));
        node.wait_until_ready(&namespace, "statefulset/db");
        let mut workshop = Workshop::bare(&node);
        workshop.set("DATABASE_URL", "postgresql+psycopg2://postgres:a-password@db.shop.svc:5432/shop");
        let text = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: shop}}\n{}\nsources:\n  \
             services: {{kubernetes: {{namespaces: [{namespace}]}}}}\n  db:\n    postgres:\n      \
             url: {{env: DATABASE_URL}}\n      via: {{kubernetes: {{namespace: {namespace}, service: db, port: {port}}}}}\n\
             schedules:\n  daily: {{cron: \"0 2 * * *\", sources: [services, db]}}\n",
            workshop.local_repository(),
        );
        fs::write(workshop.policy(), text).unwrap();
        workshop.done(&["repository", "init"]);
        let shop = Self { node, namespace, port, workshop };
        shop.sql("CREATE TABLE orders (id serial PRIMARY KEY, what text); INSERT INTO orders (what) SELECT 'order ' || n FROM generate_series(1, 500) n");
        let app = APPLICATION.replace("{namespace}", &shop.namespace).replace("{port}", &shop.port.to_string());
        shop.node.apply(&app.replace("{image}", shop.node.image()));
        shop.node.wait_until_ready(&shop.namespace, "deployment/app");
        wait_for("an application that writes", 60, || (shop.count("orders") > 500).then_some(()));
        shop
    }

    fn sql(&self, sql: &str) -> String {
        let script = format!(
            "PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -p {} -U postgres -d shop -XAtc \"$0\"",
            self.port
        );
        self.node.kubectl(&["exec", "-n", &self.namespace, "db-0", "--", "sh", "-c", &script, sql])
    }

    fn count(&self, table: &str) -> u64 {
        self.sql(&format!("SELECT count(*) FROM {table}")).trim().parse().unwrap()
    }

    fn destroy(&self) {
        self.node.kubectl(&["delete", "namespace", &self.namespace, "--wait", "--timeout=120s"]);
    }

    fn restore(&self, more: &[&str]) -> Ended {
        self.workshop.run(&[&["restore", "latest", "--yes"], more].concat())
    }

    fn has_application(&self) -> bool {
        !self.node.kubectl(&["get", "deployments", "-n", &self.namespace, "-o", "name"]).trim().is_empty()
    }
}

#[test]
fn the_database_is_back_and_compared_before_the_application_starts() {
    let shop = Shop::open(require!(node::node));
    let backup = shop.workshop.run(&["backup"]);
    assert_eq!(backup.code, 0, "{backup:?}");
    shop.destroy();

    // A workload that cannot be waited for long enough: nothing is loaded, and nothing else is started.
    let hurried = shop.restore(&["--wait-timeout", "1s"]);
    assert_eq!(hurried.code, 1, "{hurried:?}");
    assert!(
        hurried.stderr.contains("the workload of a database is not ready: statefulsets.apps"),
        "{}",
        hurried.stderr
    );
    assert!(!shop.has_application(), "the application was started without its database");

    let plan = shop.workshop.run(&["restore", "latest", "--dry-run"]);
    assert!([0, 5].contains(&plan.code), "{plan:?}");
    shop.node.wait_until_ready(&shop.namespace, "statefulset/db");
    shop.destroy();

    let plan = shop.workshop.run(&["restore", "latest", "--dry-run"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(plan.stdout.contains("whose workload comes back first"), "{}", plan.stdout);

    let restored = shop.restore(&[]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert!(shop.has_application());
    wait_for("the application to write", 60, || (shop.count("starts") > 1).then_some(()));
    let seen: Vec<u64> = shop.sql("SELECT seen FROM starts").lines().map(|line| line.parse().unwrap()).collect();
    // The first start was before the backup; what it found then is in the backup. The second found all of it.
    assert_eq!(seen[0], 500, "{seen:?}");
    assert!(seen[1] > 500, "the application started before its data was back: {seen:?}");
    assert_eq!(shop.sql("SELECT count(*) FROM orders WHERE what LIKE 'order %'").trim(), "500");
    let before = shop.sql("SELECT datname FROM pg_database WHERE datname LIKE 'shop_before_%'");
    assert!(!before.trim().is_empty(), "what the image had made was kept");
}
