//! The expense tracker, on a Node where Pods really run: its database is in its own namespace, and comes back before the
//! backend starts, which migrates and writes as soon as it does.

use super::adopt;
use crate::support::{
    bed::require,
    node::{self, Node},
    program::Ended,
    workshop::{Workshop, wait_for},
};

/// The backend: Alembic's migrations, a note of what it finds, and then its work.
const APPLICATION: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: backend, namespace: {namespace}}
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
          psql -qX -v ON_ERROR_STOP=1 \
            -c 'CREATE TABLE IF NOT EXISTS alembic_version (version_num varchar(32) PRIMARY KEY)' \
            -c 'CREATE TABLE IF NOT EXISTS expenses (id serial PRIMARY KEY, what text)' \
            -c 'CREATE TABLE IF NOT EXISTS starts (seen bigint)' \
            -c 'INSERT INTO starts SELECT count(*) FROM expenses' || exit 1
          while psql -qX -c "INSERT INTO expenses (what) VALUES ('by the application')"; do sleep 0.2; done
        env:
        - {name: PGHOST, value: 127.0.0.1}
        - {name: PGPORT, value: "{port}"}
        - {name: PGUSER, value: postgres}
        - {name: PGDATABASE, value: expenses}
        - {name: PGPASSWORD, valueFrom: {secretKeyRef: {name: postgres, key: password}}}
"#;

/// The frontend only serves files.
const FRONTEND: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend, namespace: {namespace}}
spec:
  selector: {matchLabels: {app: frontend}}
  template:
    metadata: {labels: {app: frontend}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      containers: [{name: web, image: {image}, imagePullPolicy: Never, command: [sleep, infinity]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: tracker, namespace: {namespace}}
spec:
  rules:
  - host: tracker.example.com
    http: {paths: [{path: /api, pathType: Prefix, backend: {service: {name: backend, port: {number: 8000}}}}]}
"#;

/// Users, expenses, settings, and Alembic's note of how far it has migrated.
const SCHEMA: &str = "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('8f2c1d7a9b3e');
CREATE TABLE users (id serial PRIMARY KEY, email text UNIQUE NOT NULL);
CREATE TABLE expenses (id serial PRIMARY KEY, what text, owner integer REFERENCES users);
CREATE TABLE settings (owner integer PRIMARY KEY REFERENCES users, value json);
INSERT INTO users (email) SELECT 'user' || n || '@example.com' FROM generate_series(1, 50) n;
INSERT INTO expenses (what, owner) SELECT 'expense ' || n, 1 + n % 50 FROM generate_series(1, 500) n;
INSERT INTO settings SELECT id, '{}' FROM users;";

/// What the application leaves alone: users, settings and how far Alembic has migrated, all of it, and the sequence of
/// users.
const AT_REST: &str = "SELECT 'users ' || count(*) || md5(string_agg(u::text, ',' ORDER BY id)) FROM users u
UNION ALL SELECT 'settings ' || count(*) || md5(string_agg(s::text, ',' ORDER BY owner)) FROM settings s
UNION ALL SELECT 'expenses of before ' || count(*) || md5(string_agg(e::text, ',' ORDER BY id)) FROM expenses e WHERE id <= 500
UNION ALL SELECT 'alembic ' || string_agg(version_num, ',') FROM alembic_version
UNION ALL SELECT 'sequence ' || last_value || is_called FROM users_id_seq
UNION ALL SELECT 'keys ' || pg_get_serial_sequence('users', 'id') || pg_get_serial_sequence('expenses', 'id')";

/// Whether the next expense gets a key of its own.
const SEQUENCE: &str = "SELECT (SELECT last_value FROM expenses_id_seq) >= (SELECT max(id) FROM expenses)";

struct Tracker {
    node: Node,
    namespace: String,
    port: u16,
    workshop: Workshop,
}

impl Tracker {
    /// The namespace with its database, 500 orders in it, and a policy.
    fn open(node: Node) -> Self {
        let namespace = node.create_namespace("expense-tracker");
        let port = node::free_port();
        let database = node.postgres(&namespace, "postgres", port, "a-password");
        node.apply(&database.replace("env: [", "env: [{name: POSTGRES_DB, value: expenses}, "));
        node.apply(&FRONTEND.replace("{namespace}", &namespace).replace("{image}", node.image()));
        node.wait_until_ready(&namespace, "statefulset/postgres");
        let mut workshop = Workshop::bare(&node);
        workshop.set("DATABASE_URL", "postgresql+psycopg2://postgres:a-password@postgres:5432/expenses");
        let changes = [
            ("namespaces: [expense-tracker]", format!("namespaces: [{namespace}]")),
            (
                "{namespace: expense-tracker, service: postgres, port: 5432}",
                format!("{{namespace: {namespace}, service: postgres, port: {port}}}"),
            ),
        ];
        adopt(&workshop, "expense-tracker.yaml", &changes.each_ref().map(|(old, new)| (*old, new.as_str())));
        let tracker = Self { node, namespace, port, workshop };
        tracker.sql(SCHEMA);
        let app = APPLICATION.replace("{namespace}", &tracker.namespace).replace("{port}", &tracker.port.to_string());
        tracker.node.apply(&app.replace("{image}", tracker.node.image()));
        tracker.node.wait_until_ready(&tracker.namespace, "deployment/backend");
        wait_for("an application that writes", 60, || (tracker.count("expenses") > 500).then_some(()));
        tracker
    }

    fn sql(&self, sql: &str) -> String {
        let script = format!(
            "PGPASSWORD=$POSTGRES_PASSWORD psql -h 127.0.0.1 -p {} -U postgres -d expenses -XAtc \"$0\"",
            self.port
        );
        self.node.kubectl(&["exec", "-n", &self.namespace, "postgres-0", "--", "sh", "-c", &script, sql])
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
        self.node
            .kubectl(&["get", "deployments", "-n", &self.namespace, "-o", "name"])
            .contains("deployment.apps/backend")
    }
}

#[test]
fn the_database_is_back_and_compared_before_the_application_starts() {
    let tracker = Tracker::open(require!(node::node));
    let at_rest = tracker.sql(AT_REST);
    assert!(at_rest.contains("alembic 8f2c1d7a9b3e") && at_rest.contains("sequence 50"), "{at_rest}");
    let backup = tracker.workshop.run(&["backup"]);
    assert_eq!(backup.code, 0, "{backup:?}");
    tracker.destroy();

    // A workload that cannot be waited for long enough: nothing is loaded, and nothing else is started.
    let hurried = tracker.restore(&["--wait-timeout", "1s"]);
    assert_eq!(hurried.code, 1, "{hurried:?}");
    assert!(
        hurried.stderr.contains("the workload of a database is not ready: statefulsets.apps"),
        "{}",
        hurried.stderr
    );
    assert!(!tracker.has_application(), "the application was started without its database");

    let plan = tracker.workshop.run(&["restore", "latest", "--dry-run"]);
    assert!([0, 5].contains(&plan.code), "{plan:?}");
    tracker.node.wait_until_ready(&tracker.namespace, "statefulset/postgres");
    tracker.destroy();

    let plan = tracker.workshop.run(&["restore", "latest", "--dry-run"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(plan.stdout.contains("whose workload comes back first"), "{}", plan.stdout);

    let restored = tracker.restore(&[]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert!(tracker.has_application());
    wait_for("the application to write", 60, || (tracker.count("starts") > 1).then_some(()));
    let seen: Vec<u64> = tracker.sql("SELECT seen FROM starts").lines().map(|line| line.parse().unwrap()).collect();
    // The first start was before the backup; what it found then is in the backup. The second found all of it.
    assert_eq!(seen[0], 500, "{seen:?}");
    assert!(seen[1] > 500, "the application started before its data was back: {seen:?}");
    assert_eq!(tracker.sql("SELECT count(*) FROM expenses WHERE what LIKE 'expense %'").trim(), "500");
    assert_eq!(tracker.sql(AT_REST), at_rest, "what is not the application's to write is as it was");
    assert_eq!(tracker.sql(SEQUENCE).trim(), "t");
    let before = tracker.sql("SELECT datname FROM pg_database WHERE datname LIKE 'expenses_before_%'");
    assert!(!before.trim().is_empty(), "what the image had made was kept");
}
