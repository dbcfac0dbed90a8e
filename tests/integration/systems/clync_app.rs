//! The Clync application: four services and a gateway on one cluster, and two PostgreSQL databases that Prisma manages.

use super::adopt;
use crate::support::{
    bed::{self, require},
    postgres::{self, Database, Role},
    workshop::Workshop,
};

/// A service of the document: Node.js behind the gateway, with the address of its database in a Secret.
fn service(name: &str, namespace: &str, port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
stringData: {{DATABASE_URL: 'postgresql://{name}:secret@db.example.com:5432/{name}?schema=public'}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}, labels: {{app.kubernetes.io/part-of: clync}}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
      - name: app
        image: registry.example.com/clync/{name}:1.4.2
        envFrom: [{{secretRef: {{name: {name}}}}}]
        ports: [{{containerPort: {port}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: {port}}}]}}
---
"
    )
}

const INGRESS: &str = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: gateway, namespace: NAMESPACE}
spec:
  rules:
  - host: app.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: gateway, port: {number: 80}}}}
      - {path: /admin, pathType: Prefix, backend: {service: {name: admin, port: {number: 80}}}}
";

/// What `prisma migrate deploy` makes, and what it has done so far.
const PRISMA: &str = "CREATE TABLE _prisma_migrations (
    id varchar(36) PRIMARY KEY NOT NULL, checksum varchar(64) NOT NULL, finished_at timestamptz,
    migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
    started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, applied_steps_count)
SELECT md5(name), md5(name) || md5(name), now(), name, 1
FROM unnest(ARRAY['20240103081500_init', '20240719120000_moderation']) name;";

const SOCIAL: &str = r#"CREATE TYPE "Role" AS ENUM ('USER', 'MODERATOR', 'ADMIN');
CREATE TABLE "User" (id text PRIMARY KEY, email text NOT NULL UNIQUE, role "Role" NOT NULL DEFAULT 'USER',
    "createdAt" timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, profile jsonb);
CREATE TABLE "Post" (id serial PRIMARY KEY, "authorId" text NOT NULL REFERENCES "User" ON UPDATE CASCADE,
    body text NOT NULL, "mediaUrl" text, "likedBy" text[] NOT NULL DEFAULT '{}');
CREATE INDEX "Post_authorId_idx" ON "Post" ("authorId");
INSERT INTO "User" SELECT 'c' || md5(n::text), 'user' || n || '@example.com', (ARRAY['USER', 'ADMIN'])[1 + n % 2]::"Role",
    timestamp '2025-01-01' + n * interval '1 hour', jsonb_build_object('n', n) FROM generate_series(1, 300) n;
INSERT INTO "Post" ("authorId", body, "mediaUrl", "likedBy")
SELECT 'c' || md5((1 + n % 300)::text), E'line one\nline two ' || n, 'https://media.example.com/' || n, ARRAY['a', NULL, 'c']
FROM generate_series(1, 2000) n;"#;

const FINANCIAL: &str = r#"CREATE TABLE "Pocket" (id uuid PRIMARY KEY, owner text NOT NULL, balance numeric(14, 2) NOT NULL CHECK (balance >= 0));
CREATE TABLE "Movement" (id bigserial PRIMARY KEY, "pocketId" uuid NOT NULL REFERENCES "Pocket", amount numeric(14, 2) NOT NULL);
INSERT INTO "Pocket" SELECT md5(n::text)::uuid, 'c' || md5(n::text), n * 10.25 FROM generate_series(1, 300) n;
INSERT INTO "Movement" ("pocketId", amount) SELECT md5((1 + n % 300)::text)::uuid, n / 7.0 FROM generate_series(1, 5000) n;"#;

/// The address as the application's `.env` has it.
fn prisma_url(database: &Database) -> String {
    format!("{}&schema=public&connection_limit=5&pool_timeout=10", database.url(Role::Owner))
}

#[test]
fn the_clync_application_comes_back_with_both_of_its_databases() {
    let (cluster, server) = (require!(bed::source), require!(postgres::v15));
    let namespace = cluster.create_namespace("clync");
    let services = ["gateway", "social", "financial", "flagship", "admin"];
    let objects: String = services.iter().zip(3000..).map(|(name, port)| service(name, &namespace, port)).collect();
    cluster.apply(&format!("{objects}{}", INGRESS.replace("NAMESPACE", &namespace)));
    let (social, financial) = (server.create_database("social"), server.create_database("financial"));
    for (database, schema) in [(&social, SOCIAL), (&financial, FINANCIAL)] {
        database.try_sql_as(Role::Owner, &format!("{PRISMA}{schema}"));
    }
    let before = (social.contents(), financial.contents(), social.schema(), financial.schema());
    assert!(before.0.contains("Post") && before.1.contains("Movement"), "{before:?}");

    let mut workshop = Workshop::bare(&cluster);
    workshop.set("SOCIAL_DATABASE_URL", &prisma_url(&social));
    workshop.set("FINANCIAL_DATABASE_URL", &prisma_url(&financial));
    adopt(&workshop, "clync-app.yaml", &[("namespaces: [clync]", &format!("namespaces: [{namespace}]"))]);

    workshop.done(&["backup"]);
    let shown = workshop.json(0, &["show", "latest"]);
    assert_eq!(shown["state"], "complete", "{shown}");
    let names: Vec<&str> = shown["sources"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert!(["services", "social", "financial"].iter().all(|name| names.contains(name)), "{names:?}");

    cluster.kubectl(&["delete", "namespace", &namespace, "--wait", "--timeout=180s"]);
    social.sql(r#"TRUNCATE "Post", "User"; UPDATE _prisma_migrations SET logs = 'failed'"#);
    financial.sql(r#"DROP TABLE "Movement""#);
    assert_ne!((social.contents(), financial.contents()), (before.0.clone(), before.1.clone()));

    workshop.done(&["restore", "latest", "--yes"]);
    assert_eq!((social.contents(), financial.contents(), social.schema(), financial.schema()), before);
    let restored = cluster.kubectl(&["get", "deployments,services,ingresses,secrets", "-n", &namespace, "-o", "name"]);
    for service in services {
        assert!(restored.contains(&format!("deployment.apps/{service}")), "{restored}");
    }
    // Again: what is there is left alone.
    let again = workshop.done(&["restore", "latest", "--source", "services", "--yes"]);
    assert!(again.stdout.contains("0 created"), "{}", again.stdout);
}
