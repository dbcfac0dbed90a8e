//! Users and roles of a database, made with the passwords that they had.
//!
//! No command makes a user of what proves his password. What `mongorestore` does is the one way: the users' documents go into
//! `admin.tempusers`, and the server takes over those that it does not have.

use futures::StreamExt as _;
use mongodb_driver::{
    Database,
    bson::{Bson, Document, RawDocumentBuf, doc, raw::cstr},
};

use super::{
    super::{
        Reason, Session,
        accounts::{self, Account, AccountKind},
        left::TEMPORARY_USERS as TEMPORARY,
    },
    RestoreError,
    plan::{AccountAction, Plan},
    report::Difference,
    writes::{lagging, lasting},
};

/// Such a role or user is there: made since the plan, or by the try before.
const ALREADY: [i32; 2] = [51002, 51003];
/// The role that is named is not there.
const ROLE_NOT_FOUND: i32 = 31;
/// There is no such collection.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// Makes what the plan says, and compares all of it with what the server says then.
pub(super) async fn make(session: &Session, plan: &Plan) -> Result<Vec<Difference>, RestoreError> {
    let made = plan.accounts.iter().filter(|it| it.action == AccountAction::Create).map(|it| &it.kept);
    let (roles, users): (Vec<&Account>, Vec<&Account>) = made.partition(|it| it.kind == AccountKind::Role);
    make_roles(session, roles).await?;
    if let Some(first) = users.first() {
        look_at_temporary(session).await.map_err(|reason| refused(first, reason))?;
        let made = make_users(session, &users).await;
        match (made, remove_temporary(session).await) {
            (Ok(()), None) => {}
            (Err(reason), None) => return Err(refused(first, reason)),
            (Ok(()), Some(stays)) => return Err(refused(first, Reason::text(stays))),
            (Err(reason), Some(stays)) => return Err(refused(first, Reason::text(format!("{reason}; {stays}")))),
        }
    }
    let live = accounts::list(session).await?;
    Ok(plan.accounts.iter().filter_map(|planned| difference(&planned.kept, &live)).collect())
}

fn difference(kept: &Account, live: &[Account]) -> Option<Difference> {
    let how = match live.iter().find(|it| (it.kind, &it.name) == (kept.kind, &kept.name)) {
        None => "it is not there",
        Some(found) if !found.is_like(kept) => "its password, rights or restrictions are others",
        Some(_) => return None,
    };
    Some(Difference { what: kept.shown(), how: how.to_owned() })
}

fn refused(account: &Account, reason: Reason) -> RestoreError {
    RestoreError::Account { account: account.shown(), reason }
}

fn admin(session: &Session) -> Database {
    session.client.database("admin")
}

/// Runs a command that changes something. A majority of the members is to know of it, and not for ever: else a server waits
/// for them as its own default says, which has no end.
async fn change(database: &Database, command: &Document) -> Result<Document, Reason> {
    let command = RawDocumentBuf::try_from(command);
    let mut command = command.map_err(|error| Reason::text(error.to_string()))?;
    command.append(cstr!("writeConcern"), lasting());
    database.run_raw_command(command).await.map_err(|error| Reason::from(&error))
}

/// Whether what the server has done lasts.
fn lasts(reply: &Document) -> Result<(), Reason> {
    let why =
        |reason| format!("the server has done it, and a majority of its replica set does not know of it yet: {reason}");
    lagging(reply).map_or(Ok(()), |reason| Err(Reason::text(why(reason))))
}

/// Roles may have the rights of each other: one that names a role which is not there yet waits for it.
async fn make_roles(session: &Session, mut roles: Vec<&Account>) -> Result<(), RestoreError> {
    while !roles.is_empty() {
        let (mut waiting, mut last) = (Vec::new(), None);
        let before = roles.len();
        for role in roles {
            let mut command = doc! {"createRole": role.name.as_str()};
            let fields = ["privileges", "roles", "authenticationRestrictions"];
            command.extend(fields.iter().filter_map(|key| Some(((*key).to_owned(), role.told.get(key)?.clone()))));
            match change(&session.database, &command).await {
                Ok(reply) => lasts(&reply).map_err(|reason| refused(role, reason))?,
                Err(reason) if reason.code().is_some_and(|code| ALREADY.contains(&code)) => {}
                Err(reason) if reason.code() == Some(ROLE_NOT_FOUND) => {
                    waiting.push(role);
                    last = Some(refused(role, reason));
                }
                Err(reason) => return Err(refused(role, reason)),
            }
        }
        match last {
            Some(error) if waiting.len() == before => return Err(error),
            _ => roles = waiting,
        }
    }
    Ok(())
}

/// What others have put there is not ours to remove, nor to make users of.
async fn look_at_temporary(session: &Session) -> Result<(), Reason> {
    let temporary = admin(session).collection::<Document>(TEMPORARY);
    let found = async { temporary.find(doc! {}).limit(1).await?.next().await.transpose() };
    if found.await.map_err(|error| Reason::from(&error))?.is_some() {
        return Err(Reason::text(format!(
            "`admin.{TEMPORARY}` holds something: another restore is making users, or one has ended badly; drop it by hand"
        )));
    }
    Ok(())
}

async fn make_users(session: &Session, users: &[&Account]) -> Result<(), Reason> {
    let documents: Vec<Bson> = users.iter().map(|user| Bson::Document(user.told.clone())).collect();
    let sent = documents.len();
    let reply = change(&admin(session), &doc! {"insert": TEMPORARY, "documents": documents}).await?;
    let taken = match reply.get("n") {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        Some(Bson::Double(number)) => *number as i64,
        _ => 0,
    };
    if usize::try_from(taken) != Ok(sent) || reply.contains_key("writeErrors") {
        return Err(Reason::text(format!("`admin.{TEMPORARY}` took {taken} of {sent} documents")));
    }
    lasts(&reply)?;
    // Users that are there stay as they are; what else it cannot do, the server only writes into its log.
    let merge = doc! {
        "_mergeAuthzCollections": 1, "tempUsersCollection": format!("admin.{TEMPORARY}"), "drop": false,
        "db": session.server().database(),
    };
    lasts(&change(&admin(session), &merge).await?)
}

/// Removes what proves passwords; says why it may stay.
async fn remove_temporary(session: &Session) -> Option<String> {
    let stays = |what: &str, reason: &Reason| {
        Some(format!("`admin.{TEMPORARY}`, with what proves passwords, {what} drop it by hand: {reason}"))
    };
    match change(&admin(session), &doc! {"drop": TEMPORARY}).await {
        Ok(reply) => match lagging(&reply) {
            Some(reason) => stays(
                "is removed, and a majority of the replica set does not know of it yet; if it comes back,",
                &reason,
            ),
            None => None,
        },
        Err(reason) if reason.code() == Some(NAMESPACE_NOT_FOUND) => None,
        Err(reason) => stays("could not be removed;", &reason),
    }
}
