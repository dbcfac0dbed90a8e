//! What the target server is and can take. Everything that stands in the way is found before any write.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    super::{
        Server, Session,
        archive::{Field, Toc},
        contents::Database as Document,
        quote::readable,
    },
    RestoreError, closed,
    copy::Load,
    databases::{self, Traces},
    journal::{self, Stage},
    ownership::{self, Ownership},
    plan::{PlanOptions, Scope, Way},
    planner::text_list,
    selection::{Abilities, Selection},
    tablespace,
};
use crate::types::counted;

/// What was found: why it cannot be done, and what a person should know.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) refusals: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    pub(super) fn refuse(&mut self, why: impl Into<String>) {
        self.refusals.push(why.into());
    }

    pub(super) fn warn(&mut self, what: impl Into<String>) {
        self.warnings.push(what.into());
    }
}

/// The server and the role, as far as the plan needs them.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) database: String,
    pub(super) traces: Traces,
    major: u32,
    user: String,
    superuser: bool,
    create_db: bool,
    /// Each role of the server, and whether this one may act as it.
    roles: BTreeMap<String, bool>,
    /// Each tablespace, and whether this role may create something in it.
    tablespaces: BTreeMap<String, bool>,
    /// Databases that new ones are copies of.
    templates: BTreeSet<String>,
    /// What the server's files are known by, wherever it is reached, if this role may ask.
    pub(super) system: Option<String>,
    extensions: HashMap<String, bool>,
    collations: BTreeSet<String>,
    slots: Vec<String>,
    subscriptions: Vec<String>,
    /// Roles of sessions in the live database that this one may not end.
    strangers: Vec<String>,
}

impl Target {
    pub(super) async fn look(server: &Server, session: &Session, database: &str) -> Result<Self, RestoreError> {
        let row = session
            .row(
                "look at the role",
                "SELECT rolsuper, rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user",
                &[],
            )
            .await?;
        let (superuser, create_db): (bool, bool) = (row.get(0), row.get(1));
        let roles = "SELECT rolname::text, pg_catalog.pg_has_role(oid, 'MEMBER') FROM pg_catalog.pg_roles";
        let roles = session.rows("list the roles", roles, &[]).await?;
        let trusted = if session.version.major >= 13 { "v.trusted" } else { "false" };
        let extensions = format!(
            "SELECT e.name::text, pg_catalog.bool_or($1 OR NOT v.superuser OR {trusted}) \
             FROM pg_catalog.pg_available_extensions e \
             JOIN pg_catalog.pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version GROUP BY 1"
        );
        let extensions = session.rows("list the extensions", &extensions, &[&superuser]).await?;
        let collations = "SELECT collcollate::text FROM pg_catalog.pg_collation WHERE collcollate IS NOT NULL \
             UNION SELECT datcollate::text FROM pg_catalog.pg_database UNION SELECT datctype::text FROM pg_catalog.pg_database";
        let slots = "SELECT slot_name::text FROM pg_catalog.pg_replication_slots WHERE database = $1 ORDER BY 1";
        let slots = session.rows("list the replication slots", slots, &[&database]).await?;
        let subscriptions = "SELECT s.subname::text FROM pg_catalog.pg_subscription s \
             JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = $1 ORDER BY 1";
        // Not every role may ask.
        let subscriptions =
            session.rows("list the subscriptions", subscriptions, &[&database]).await.unwrap_or_default();
        let texts = |rows: Vec<tokio_postgres::Row>| rows.iter().map(|row| row.get(0)).collect::<Vec<String>>();
        Ok(Self {
            database: database.to_owned(),
            traces: databases::traces_of(server, session, database).await?,
            major: session.version.major,
            user: server.url().user.clone(),
            superuser,
            create_db: superuser || create_db,
            roles: roles.iter().map(|row| (row.get(0), row.get(1))).collect(),
            tablespaces: session
                .rows("list the tablespaces", TABLESPACES, &[])
                .await?
                .iter()
                .map(|row| (row.get(0), row.get(1)))
                .collect(),
            templates: text_list(
                session,
                "list the templates",
                "SELECT datname::text FROM pg_catalog.pg_database WHERE datistemplate",
            )
            .await?
            .into_iter()
            .collect(),
            // Not every server lets every role ask.
            system: session.row("identify the server", SYSTEM, &[]).await.ok().map(|row| row.get(0)),
            extensions: extensions.iter().map(|row| (row.get(0), row.get(1))).collect(),
            collations: text_list(session, "list the collations", collations).await?.into_iter().collect(),
            slots: texts(slots),
            subscriptions: texts(subscriptions),
            strangers: databases::strangers(session, database).await?,
        })
    }

    pub(super) fn abilities(&self, options: &PlanOptions) -> Abilities {
        Abilities {
            superuser: self.superuser,
            extensions: self.extensions.clone(),
            grants: options.ownership.keeps_grants(),
        }
    }

    /// The archive names tablespaces that are not here.
    pub(super) fn lacks_tablespaces(&self, toc: &Toc) -> bool {
        let mut named = toc.entries().map(|entry| entry.text(Field::Tablespace));
        named.any(|name| !name.is_empty() && !self.tablespaces.contains_key(name.as_ref()))
    }

    /// The tablespace of the database that is created, if it is not the server's default one: that of the live database,
    /// whose place it takes, or else that of the backup.
    pub(super) fn tablespace(&self, findings: &mut Findings, document: &Document) -> Option<String> {
        let live = self.traces.live.as_ref().map(|live| live.tablespace.as_str());
        let (chosen, warnings) =
            tablespace::choose(live, document.tablespace.as_deref(), &self.tablespaces, &self.user);
        warnings.into_iter().for_each(|what| findings.warn(what));
        chosen
    }

    /// Half loaded databases of runs that ended: their lock is free, or the plan is refused later. Only its owner drops one.
    pub(super) fn dropped(&self) -> Vec<String> {
        let half = self.traces.abandoned.iter().filter(|(_, marker)| marker.stage == Stage::Loading);
        let half = half.filter(|(database, _)| database.owned);
        half.map(|(database, _)| database.name.clone()).collect()
    }
}

const TABLESPACES: &str =
    "SELECT spcname::text, pg_catalog.has_tablespace_privilege(oid, 'CREATE') FROM pg_catalog.pg_tablespace";

/// What tells one server from another.
const SYSTEM: &str = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";

/// Why a database of the server itself is not restored into.
fn is_the_servers(document: &Document, target: &Target) -> Option<String> {
    let (name, original) = (&target.database, &document.name);
    if target.templates.contains(name) {
        return Some(format!(
            "database {name} is a template, which the server copies for every new database: name another one with \
             --target-database, such as {original}"
        ));
    }
    (name == "postgres" && original != name).then(|| {
        format!(
            "database postgres is the server's own, which its tools connect to, and the backup is of {original}: name the \
             one that is meant with --target-database, such as {original}"
        )
    })
}

/// Looks for everything that stands in the way.
pub(super) fn check(
    findings: &mut Findings,
    options: &PlanOptions,
    document: &Document,
    toc: &Toc,
    selection: &Selection,
    target: &Target,
) {
    versions(findings, document, target);
    if let Some(why) = is_the_servers(document, target) {
        return findings.refuse(why);
    }
    match options.way {
        Way::Beside | Way::Create => {
            new_database(findings, options, document, target);
            live_database(findings, options, document, target);
        }
        Way::InPlace | Way::Tables => in_live(findings, options, document, target),
    }
    if options.scope != Scope::Data && options.way != Way::Tables {
        roles(findings, options, document, toc, selection, target);
    }
}

/// Tables that no statement of ours can name: in a database without an encoding, names may be no UTF-8.
pub(super) fn names(findings: &mut Findings, document: &Document, loads: &[Load], options: &PlanOptions) {
    const SHOWN: usize = 5;
    let is_odd = |name: &str| name.contains(char::REPLACEMENT_CHARACTER);
    if document.encoding != "SQL_ASCII" || options.scope == Scope::Schema {
        return;
    }
    let odd = loads.iter().filter(|load| is_odd(&load.table) || load.columns.iter().any(|column| is_odd(column)));
    let odd: Vec<&str> = odd.map(|load| load.shown.as_str()).collect();
    if !odd.is_empty() {
        findings.refuse(format!(
            "names that are no UTF-8 cannot be loaded, of {}{} (the database has no encoding): `drctl export` writes the archive, \
             which pg_restore takes; others can be had with --table",
            odd.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", "),
            if odd.len() > SHOWN { ", …" } else { "" }
        ));
    }
}

fn versions(findings: &mut Findings, document: &Document, target: &Target) {
    let backup = document.server.number / 10_000;
    if target.major < backup {
        findings.refuse(format!(
            "the server is PostgreSQL {}, older than the {backup} that the backup was taken of: restore into {backup} or newer",
            target.major
        ));
    } else if target.major > backup {
        findings.warn(format!("the backup was taken of PostgreSQL {backup}, and the server is {}", target.major));
    }
}

fn new_database(findings: &mut Findings, options: &PlanOptions, document: &Document, target: &Target) {
    if !target.create_db {
        findings.refuse(format!(
            "role {} may not create databases: ALTER ROLE {} CREATEDB, or restore into an empty database with --in-place",
            target.user,
            readable(&target.user)
        ));
    }
    let locale = &document.locale;
    for name in [&locale.collate, &locale.ctype] {
        let known = ["C", "POSIX", "C.UTF-8", "C.utf8"].contains(&name.as_str()) || target.collations.contains(name);
        if !known {
            findings.warn(format!("no database and no collation of the server uses the locale {name}; it may lack it"));
        }
    }
    if locale.provider == "icu" && target.major < 15 || locale.provider == "builtin" && target.major < 17 {
        findings.refuse(format!("the server knows no locale provider {}", locale.provider));
    }
    if options.scope == Scope::Data {
        findings.refuse("--data-only needs tables that are there: use it with --in-place");
    }
}

fn live_database(findings: &mut Findings, options: &PlanOptions, document: &Document, target: &Target) {
    let Some(live) = &target.traces.live else {
        if options.way == Way::Beside {
            findings.refuse(format!("there is no database {} on the server: create it with --create", target.database));
        }
        return;
    };
    if options.way == Way::Create {
        findings.refuse(format!(
            "database {} exists ({}): leave --create out, and the restored one takes its place after the comparison",
            target.database,
            counted(live.sessions, "session")
        ));
        return;
    }
    if !live.owned && !target.superuser {
        findings.refuse(format!("database {} belongs to {}: only its owner may rename it", live.name, live.owner));
    }
    if !options.no_switch {
        journal::remembers(live).into_iter().for_each(|why| findings.refuse(why));
    }
    if live.prepared > 0 {
        findings.refuse(format!(
            "database {} has {}, and cannot be renamed: commit or roll back what is in pg_prepared_xacts",
            live.name,
            counted(live.prepared, "prepared transaction")
        ));
    }
    if !target.strangers.is_empty() {
        findings.refuse(format!(
            "role {} may not end the sessions of {}: GRANT pg_signal_backend TO {}, or stop them (a superuser's: restore as a superuser)",
            target.user,
            target.strangers.join(", "),
            readable(&target.user)
        ));
    }
    if live.encoding != document.encoding {
        findings.warn(format!(
            "database {} has the encoding {}, and the restored one will have {}",
            live.name, live.encoding, document.encoding
        ));
    }
    if live.sessions > 0 {
        findings.warn(format!(
            "{} of database {} ended for the swap",
            counted(live.sessions, "session"),
            if live.sessions == 1 { format!("{} is", live.name) } else { format!("{} are", live.name) }
        ));
    }
    closed::beside(findings, options, live, target);
    for slot in &target.slots {
        findings.warn(format!(
            "replication slot {slot} stays with the old database: what reads it (change data capture) must be set up again"
        ));
    }
    for subscription in &target.subscriptions {
        findings.warn(format!("subscription {subscription} stays with the old database"));
    }
}

fn in_live(findings: &mut Findings, options: &PlanOptions, document: &Document, target: &Target) {
    let Some(live) = &target.traces.live else {
        findings.refuse(format!("there is no database {} on the server", target.database));
        return;
    };
    closed::within(findings, options, live, target);
    if live.encoding != document.encoding {
        findings.refuse(format!(
            "database {} has the encoding {}, and the backup {}: restore beside it instead",
            live.name, live.encoding, document.encoding
        ));
    }
    if options.way == Way::InPlace && live.prepared > 0 {
        findings.refuse(format!(
            "database {} has {}, which may hold locks: commit or roll back what is in pg_prepared_xacts",
            live.name,
            counted(live.prepared, "prepared transaction")
        ));
    }
    if options.way == Way::InPlace && live.sessions > 0 {
        findings.refuse(format!(
            "{} in database {}: stop what uses it, or restore beside it",
            counted(live.sessions, "session"),
            live.name
        ));
    }
}

fn roles(
    findings: &mut Findings,
    options: &PlanOptions,
    document: &Document,
    toc: &Toc,
    selection: &Selection,
    target: &Target,
) {
    if options.ownership == Ownership::None {
        return;
    }
    let mut needed = ownership::needed(toc, &selection.made());
    needed.owners.insert(options.ownership.name(&document.owner).unwrap_or(&document.owner).to_owned());
    let missing: Vec<&String> =
        needed.owners.iter().chain(&needed.named).filter(|role| !target.roles.contains_key(*role)).collect();
    let mut named = BTreeSet::new();
    for role in missing {
        if named.insert(role) {
            findings.refuse(format!(
                "role {role} is not on the server: CREATE ROLE {}, put another in its place with {}, or use --ownership none",
                readable(role),
                map_role(role)
            ));
        }
    }
    if target.superuser {
        return;
    }
    for role in needed.owners.iter().filter(|role| target.roles.get(*role) == Some(&false)) {
        findings.refuse(format!(
            "role {} is no member of {role}, and may not give it objects: GRANT {} TO {}, restore as a superuser, or use --ownership none",
            target.user,
            readable(role),
            readable(&target.user)
        ));
    }
}

/// The option that puts another role in the place of this one, as a shell takes it.
fn map_role(role: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if role.chars().all(plain) {
        return format!("--map-role {role}=OTHER");
    }
    format!("--map-role '{}=OTHER'", role.replace('\'', "'\\''"))
}
