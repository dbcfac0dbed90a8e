//! The policy as plain data: what [`load`](super::load) makes of a file, and what a manifest embeds.
//!
//! A value of these types is valid: names are names, schedules name sources that exist, cron
//! expressions and time zones were read. The serialised form is the policy file's own.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    CopySpec, Cron, Period, TimeZone,
    encryption::{Encryption, EncryptionForm},
    lock::{Immutability, ObjectLock},
    mongodb::MongodbSpec,
    schema::{LocationSchema, NameSchema, NamesSchema},
};
use crate::types::{LabelSelector, Location, Name};

/// One policy: what to back up, when, where to, and how long to keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "super::embed::Document", into = "super::embed::Document")]
pub struct Policy {
    /// `metadata.name`: a part of the keys of its backups.
    pub name: Name,
    /// Where its backups are kept.
    pub repository: Repository,
    /// Where copies of the repository are kept, by name.
    pub copies: BTreeMap<Name, CopySpec>,
    /// What it protects, by name; at least one.
    pub sources: BTreeMap<Name, SourceSpec>,
    /// When, and which sources, by name; at least one.
    pub schedules: BTreeMap<Name, Schedule>,
    /// How long what proves backups is kept.
    pub evidence: Evidence,
}

/// How long the reports of verifications and drills are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Evidence {
    /// After this time they go, once their backup is gone, too. Absent: `400d`.
    #[serde(default = "a_year_and_a_month")]
    #[schemars(default = "a_year_and_a_month")]
    pub keep: Period,
}

fn a_year_and_a_month() -> Period {
    Period::days(400)
}

impl Default for Evidence {
    fn default() -> Self {
        Self { keep: a_year_and_a_month() }
    }
}

impl Evidence {
    /// Whether it is as if nothing were said.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where backups are kept, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Repository {
    /// The store and the prefix in it: `s3://bucket/prefix`, `az://account/container/prefix` or `file:///path`.
    #[schemars(with = "LocationSchema")]
    pub url: Location,
    /// How an S3 store is reached; only with an `s3://` URL. Absent: the AWS SDK's own chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
    /// How an Azure Blob store is reached; only with an `az://` URL. Absent: the environment, the Pod's or the
    /// machine's identity, the login of `az`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<Azure>,
    /// The repository's identity, as `drctl repository init` prints it. Another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9a-f]{32}$"))]
    pub id: Option<String>,
    /// The public SSH keys whose signatures are believed (`ssh-ed25519 AAAA...`). With one or more, a backup that none
    /// of them has signed does not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<String>,
    /// The secret SSH key that backups are signed with. Absent: the environment variable `DRCTL_SIGNING_KEY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key: Option<SecretRef>,
    /// Whether contents are encrypted. There is no default: it must be said.
    #[schemars(with = "EncryptionForm")]
    pub encryption: Encryption,
}

/// How an S3 store is reached. What is absent comes from the AWS SDK's own chain (environment,
/// profile, IRSA, instance role).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct S3 {
    /// The region: `eu-central-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The endpoint of a store that is not AWS: `https://s3.example.com:9000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path and not in the host name, as most stores that are not AWS need it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub path_style: bool,
    /// A PEM file with authorities that may sign the endpoint's certificate, beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The access key id; together with `secretAccessKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<SecretRef>,
    /// The secret access key; together with `accessKeyId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<SecretRef>,
    /// How what a backup needs is locked against deletion. The bucket must have object lock. Absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_lock: Option<ObjectLock>,
}

/// How an Azure Blob store is reached. What is absent comes from the usual places of Azure clients (the variables
/// `AZURE_...`, workload identity, managed identity, `az login`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Azure {
    /// The address of the account's blob service, where it is not `https://ACCOUNT.blob.core.windows.net`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The account's key; without `sas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_key: Option<SecretRef>,
    /// A shared access signature (`sv=...&sig=...`); without `accountKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sas: Option<SecretRef>,
    /// How what a backup needs is locked against deletion. The container must have version-level immutability. Absent:
    /// not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immutability: Option<Immutability>,
    /// A PEM file with authorities that may sign the endpoint's certificate, beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Where a secret is. The value itself is never part of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub enum SecretRef {
    /// In the environment variable of this name.
    Env(String),
    /// In this file; one line end after it is not part of it. A Kubernetes Secret is mounted, and named so.
    File(PathBuf),
}

/// One thing that a policy protects: exactly one kind of source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub enum SourceSpec {
    /// Namespaces of a Kubernetes cluster.
    Kubernetes(KubernetesSpec),
    /// A PostgreSQL database.
    Postgres(PostgresSpec),
    /// A MongoDB database.
    Mongodb(MongodbSpec),
}

/// One PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PostgresSpec {
    /// Where its address is, as the application has it: a libpq, Prisma or SQLAlchemy URL, with the password in it.
    pub url: SecretRef,
    /// How its server is reached, where the address alone does not do from where drctl runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// How its server's certificate is checked. Absent: as the address says, else `verify-full` with the system's authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<PostgresTls>,
    /// Only these schemas, by name or by a pattern of `pg_dump --schema`. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    /// Tables that are left out, by name or by a pattern of `pg_dump --exclude-table`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_tables: Vec<String>,
    /// Tables whose rows are left out, and whose definition is kept: a pattern of `pg_dump --exclude-table-data`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_table_data: Vec<String>,
}

/// A way to a server that has no address where drctl runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub enum Via {
    /// Through a port-forward to a Pod of a Service. The Service also says which workload is the database's own.
    Kubernetes(ViaService),
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ViaService {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service.
    pub service: String,
    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

/// How a database server's certificate is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PostgresTls {
    /// A PEM file with the authorities that sign it. The certificate must then be signed by one of them and name the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

/// Namespaces of a cluster. Which cluster, the command line says (`--kubeconfig`, `--context`), never the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct KubernetesSpec {
    /// Namespaces by name or by a pattern with `*`: `orders`, `team-*`, `*`. At least one.
    #[schemars(length(min = 1))]
    pub namespaces: Vec<String>,
    /// Namespaces, by name or pattern, that are left out of those.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_namespaces: Vec<String>,
    /// Objects that are taken also where `exclude` leaves them out, and kinds that are left out by default
    /// (docs/kinds.md).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<ObjectRule>,
    /// Objects of those namespaces that are left out. With `"*"` only what `include` names is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<ObjectRule>,
    /// Which objects without a namespace are taken too. Absent: `all` if `namespaces` has `*`, else `referenced`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_scoped: Option<ClusterScoped>,
    /// Who has the data of claims of volumes: the first rule that matches a claim decides. A claim behind the Service
    /// of a database source's `via` is covered by that source; what else no rule names is UNPROTECTED.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeRule>,
}

/// Who has the data of some claims of volumes. Exactly one of `coveredBy` and `disposable` is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct VolumeRule {
    /// The claims' namespace, or a pattern with `*`.
    pub namespace: String,
    /// The claims' name, or a pattern with `*`: `data-postgres-*`. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels that the claims have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// The source of this policy that captures their data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<NameSchema>")]
    pub covered_by: Option<Name>,
    /// `true`: nobody needs their data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disposable: bool,
}

/// Some objects of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ObjectRule {
    /// All of one kind (`plural.group`), or of those that a pattern with `*` names: `secrets`, `*.example.com`.
    Kind(String),
    /// Those of which all of this is true.
    Objects(ObjectFilter),
}

/// What must be true of an object. At least one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
pub struct ObjectFilter {
    /// Its kind is one of these (`plural.group`), by name or pattern.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Its namespace is one of these, by name or pattern.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Which objects without a namespace belong to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClusterScoped {
    /// All of them.
    All,
    /// Those that the namespaces' objects refer to.
    Referenced,
    /// None.
    None,
}

/// When a backup is taken, of which sources, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Schedule {
    /// When it is due: minute, hour, day of the month, month, day of the week. This version has no
    /// scheduler of its own: a CronJob or a timer runs `drctl backup` at these times.
    pub cron: Cron,
    /// The IANA zone that the cron expression is read in. Absent: UTC.
    #[serde(default)]
    pub timezone: TimeZone,
    /// The sources that a backup of this schedule holds; at least one.
    #[schemars(with = "NamesSchema")]
    pub sources: Vec<Name>,
    /// Which backups `drctl prune` keeps. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// The copies that get its backups, by name, once each is made. A copy that fails leaves the backup as it is, and the run
    /// ends with 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "NamesSchema")]
    pub copy_to: Vec<Name>,
}

/// Which complete backups are kept: those that at least one of these rules names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields, extend("minProperties" = 1))]
pub struct Keep {
    /// The newest so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub last: Option<u32>,
    /// The newest of each of so many hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub hourly: Option<u32>,
    /// The newest of each of so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub daily: Option<u32>,
    /// The newest of each of so many weeks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub weekly: Option<u32>,
    /// The newest of each of so many months.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub monthly: Option<u32>,
    /// The newest of each of so many years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub yearly: Option<u32>,
    /// All that are not older than this, seen from the newest complete backup. Days and weeks are those of the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Period>,
}

impl KubernetesSpec {
    /// Which objects without a namespace are taken: what is said, else `all` with `*` and `referenced` without.
    #[must_use]
    pub fn cluster_scope(&self) -> ClusterScoped {
        let everything = self.namespaces.iter().any(|pattern| pattern == "*");
        self.cluster_scoped.unwrap_or(if everything { ClusterScoped::All } else { ClusterScoped::Referenced })
    }
}

impl Policy {
    /// The policy as a manifest embeds it: the file's own form, with references and never a secret.
    #[must_use]
    pub fn to_embedded(&self) -> serde_json::Value {
        // Maps with text keys and plain values only: this cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// A policy out of a manifest. What a later version has added to it is left out.
    ///
    /// # Errors
    /// The text of what cannot be read.
    pub fn from_embedded(value: &serde_json::Value) -> Result<Self, super::InvalidEmbedded> {
        Self::deserialize(value).map_err(|error| super::InvalidEmbedded(error.to_string()))
    }
}
