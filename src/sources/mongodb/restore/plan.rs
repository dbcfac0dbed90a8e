//! What a restore of a database would do. To plan writes nothing.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    super::{
        Session,
        accounts::{self, Account, AccountKind},
        capture::listing,
        contents,
        contents::Collection,
        definition::{Definition, Kind},
        left,
    },
    RestoreContext, RestoreError,
    chosen::{accounts_of, chosen, kept_of},
    live,
};
use crate::types::{Name, counted, for_terminal};

/// The functions that an application keeps in the server, which refuses to rename them.
pub(super) const FUNCTIONS: &str = "system.js";
/// The option of a collection that is encrypted by its application (Queryable Encryption).
const ENCRYPTED: &str = "encryptedFields";
/// All collections of the backup.
pub(super) const ALL: &str = "*";
/// The longest `database.collection`, in bytes.
const LONGEST: usize = 255;
/// From this size on the average, documents are large.
const LARGE: u64 = 1 << 20;

/// What is asked of a restore.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The backup, for people.
    pub backup: String,
    /// The source.
    pub source: Name,
    /// Only these collections; empty: all.
    pub collections: Vec<String>,
    /// Live collections that may be replaced; `*`: all that the backup has.
    pub drop: Vec<String>,
    /// Users and roles, too.
    pub users: bool,
    /// What this restore is called: letters and digits.
    pub id: String,
    /// Of how many collections before those of this source names of the restore tell: two sources may be of one database.
    pub first: usize,
}

/// What becomes of a live collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CollectionAction")]
pub enum Action {
    /// There is none: it is made.
    Create,
    /// It is dropped in the moment in which the restored one takes its name.
    Replace,
}

/// A collection of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedCollection {
    /// Its name.
    pub name: String,
    /// `collection`, `view` or `timeseries`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Documents in the backup.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What becomes of the live one.
    pub action: Action,
    /// Documents in the live one, about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_documents: Option<u64>,
    /// The name that it has until it is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<String>,
    /// The live one may be dropped with what is in it.
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) agreed: bool,
    /// What the live one is called while it is looked at, whether it is still empty.
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) aside: String,
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) kept: Kept,
}

impl PlannedCollection {
    /// Whether the memory is better spent on it alone.
    pub(super) fn has_large_documents(&self) -> bool {
        self.bytes.checked_div(self.documents).is_some_and(|average| average >= LARGE)
    }
}

/// A user or a role of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedAccount {
    /// Its name.
    pub name: String,
    /// `user` or `role`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What becomes of it.
    pub action: AccountAction,
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) kept: Account,
}

/// What becomes of a user or a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AccountAction {
    /// There is none: it is made.
    Create,
    /// It is there as the backup has it.
    Same,
}

/// What the backup has of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kept {
    pub(super) definition: Definition,
    pub(super) collection: Collection,
}

/// What a restore of one database would do.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "MongodbPlan")]
pub struct Plan {
    /// The backup.
    pub backup: String,
    /// The source.
    pub source: String,
    /// `snapshot` or `none`: the backup is not point-in-time.
    pub consistency: String,
    /// The server that it was taken of.
    pub backup_server: String,
    /// The server, host and port.
    pub server: String,
    /// Its version.
    pub server_version: String,
    /// The database in the backup.
    pub origin: String,
    /// The database that is restored into.
    pub database: String,
    /// Collections first, then views.
    pub collections: Vec<PlannedCollection>,
    /// Roles first, then users; only if they are asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<PlannedAccount>,
    /// What is worth a line.
    pub notes: Vec<String>,
    /// Why it cannot be done; empty: it can.
    pub refusals: Vec<String>,
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) source_name: Name,
    /// What the restore is called.
    #[serde(skip)]
    #[schemars(skip)]
    pub(super) id: String,
}

impl Plan {
    /// Whether it can be done.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Documents in the backup.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.collections.iter().map(|collection| collection.documents).sum()
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.collections.iter().map(|collection| collection.bytes).sum()
    }

    /// Live collections that would be dropped.
    pub fn replaced(&self) -> impl Iterator<Item = &PlannedCollection> {
        self.collections.iter().filter(|collection| collection.action == Action::Replace)
    }

    /// Whether two of one run would be in each other's way.
    #[must_use]
    pub fn is_about_the_same(&self, other: &Self) -> bool {
        self.server == other.server && self.database.eq_ignore_ascii_case(&other.database)
    }
}

/// Plans the restore of a source. Nothing is written.
///
/// # Errors
/// [`RestoreError`] if backup or server cannot be read, or what is asked for is not in the backup.
pub async fn plan(context: RestoreContext<'_>, options: &PlanOptions) -> Result<Plan, RestoreError> {
    let (database, kept) = kept_of(contents::read(context.contents, &options.source).await?);
    let chosen = chosen(kept, options)?;
    let session = context.server.connect().await?;
    let live = listing::list(&session).await?;
    let mut plan = Plan {
        backup: options.backup.clone(),
        source: options.source.to_string(),
        consistency: database.consistency.clone(),
        backup_server: database.server.clone(),
        server: context.server.shown(),
        server_version: session.facts.shown(),
        origin: database.name.clone(),
        database: context.server.database().to_owned(),
        collections: Vec::new(),
        accounts: Vec::new(),
        notes: Vec::new(),
        refusals: Vec::new(),
        source_name: options.source.clone(),
        id: options.id.clone(),
    };
    for (number, kept) in (options.first..).zip(chosen) {
        plan.add(&session, kept, number, &live, options).await?;
    }
    // A backup may have one of such a name, if it was asked for.
    let names =
        live.iter().map(|it| it.name.as_str()).filter(|name| !plan.collections.iter().any(|it| it.name == *name));
    let left = left::traces(&plan.database, names, Some(&options.id));
    plan.notes.extend(left.into_iter().map(|left::Traces { what, next }| format!("{what}: {next}")));
    plan.look_at_names(&session).await?;
    if options.users {
        let kept = accounts_of(context.contents, options, &database).await?;
        plan.add_accounts(kept, &accounts::list(&session).await?);
        plan.look_at_temporary(&session).await;
    }
    if plan.consistency != "snapshot" {
        plan.notes.push(format!("the backup is not point-in-time (consistency: {})", for_terminal(&plan.consistency)));
    }
    Ok(plan)
}

impl Plan {
    async fn add(
        &mut self,
        session: &Session,
        kept: Kept,
        number: usize,
        live: &[Definition],
        options: &PlanOptions,
    ) -> Result<(), RestoreError> {
        let name = kept.collection.name.clone();
        let shown = for_terminal(&name).into_owned();
        if self.database.len() + 1 + name.len() > LONGEST {
            self.refusals.push(format!("collection {shown} has too long a name for database {}", self.database));
        }
        let found = live.iter().find(|live| live.name == name);
        let documents = match found {
            Some(found) if found.kind == Kind::Collection => Some(live::count(session, &name).await?),
            _ => None,
        };
        let in_place = kept.definition.kind == Kind::TimeSeries || name == FUNCTIONS;
        let is_encrypted =
            |it: &Definition| it.options().is_some_and(|options| matches!(options.get(ENCRYPTED), Ok(Some(_))));
        if is_encrypted(&kept.definition) || found.is_some_and(is_encrypted) {
            self.refusals.push(format!(
                "collection {shown} is encrypted by its application (Queryable Encryption), and servers do not rename such ones: name \
                 the others with --collection, and bring this one back by `drctl export` and mongorestore"
            ));
        }
        let may = options.drop.iter().any(|item| item == ALL || *item == name);
        let action = if found.is_some() { Action::Replace } else { Action::Create };
        match (found, documents) {
            (Some(live), _) if live.kind == Kind::TimeSeries || in_place => {
                let word = if name == FUNCTIONS { "collection" } else { "time-series collection" };
                self.refusals.push(format!(
                    "{word} {shown} is there already, and such ones cannot be renamed: drop it by hand, or use another database \
                     with --target-database"
                ));
            }
            (Some(live), documents) if !may && documents != Some(0) => {
                let word = live.kind.word();
                let held = documents
                    .map_or_else(String::new, |documents| format!(" with about {}", counted(documents, "document")));
                let option = super::names::drop_option(&name);
                self.refusals.push(format!(
                    "{word} {shown} is there already{held}: `{option}` replaces it once the backup's is loaded and compared; \
                     --target-database names another database"
                ));
            }
            _ => {}
        }
        if kept.definition.kind == Kind::TimeSeries {
            self.notes.push(format!("time-series collection {shown} is restored as buckets, which is not tested"));
        }
        if kept.definition.expires() {
            self.notes.push(format!(
                "documents of collection {shown} expire (TTL): the server removes those whose time has passed, also if that was after \
                 the backup, within about a minute"
            ));
        }
        let beside =
            (kept.definition.kind == Kind::Collection && !in_place).then(|| format!("drctl_{}_{number}", options.id));
        self.collections.push(PlannedCollection {
            kind: kept.definition.kind.word().to_owned(),
            documents: kept.collection.documents,
            bytes: kept.collection.bytes,
            action,
            live_documents: documents,
            beside,
            agreed: may,
            aside: format!("drctl_{}_{number}_old", options.id),
            name,
            kept,
        });
        Ok(())
    }

    /// A user or a role that is there already stays as it is.
    fn add_accounts(&mut self, kept: Vec<Account>, live: &[Account]) {
        if !kept.is_empty() && self.database != self.origin {
            let (origin, database) = (for_terminal(&self.origin), for_terminal(&self.database));
            self.refusals.push(format!(
                "users and roles belong to database {origin}, and cannot be made for {database}: leave out --users"
            ));
        }
        for kept in kept {
            let found = live.iter().find(|it| (it.kind, &it.name) == (kept.kind, &kept.name));
            let shown = kept.shown();
            let action = if found.is_some() { AccountAction::Same } else { AccountAction::Create };
            if found.is_some_and(|live| !live.is_like(&kept)) {
                self.refusals
                    .push(format!("{shown} is there already and is another: drop it by hand, or leave out --users"));
            } else if found.is_none() && !kept.is_whole() {
                self.refusals.push(format!(
                    "the backup does not have the password of {shown}: make it by hand, and leave out --users"
                ));
            }
            self.accounts.push(PlannedAccount {
                name: kept.name.clone(),
                kind: kept.kind.word().to_owned(),
                action,
                kept,
            });
        }
    }

    /// Users are made out of a collection that every restore of users uses: said before documents are loaded, which may take long.
    async fn look_at_temporary(&mut self, session: &Session) {
        let makes = |it: &PlannedAccount| it.action == AccountAction::Create && it.kept.kind == AccountKind::User;
        // Who may not look is told when the users are made.
        if self.accounts.iter().any(makes)
            && let Ok(Some(left)) = left::of_accounts(session, AccountKind::User).await
        {
            self.refusals.push(format!("{}: {}", left.what, left.next));
        }
    }
}
