//! Users and roles of a database: as the server tells of them, and as a backup keeps them.
//!
//! What proves a password (SCRAM) is kept with a user, never a password itself. Still, who has it can try passwords for as
//! long as he likes: a policy asks for it only with an encrypted repository.

use mongodb_driver::bson::{Bson, Document, RawDocumentBuf, doc, raw::RawDocument};

use super::{Error, Session, connect::in_time, error::Reason};
use crate::types::for_terminal;

/// Servers that have no roles of users' own do not know the command.
const UNKNOWN_COMMANDS: [i32; 2] = [59, 238];
/// What is kept of a user: what the server itself keeps.
const OF_USER: [&str; 8] =
    ["_id", "userId", "user", "db", "credentials", "customData", "roles", "authenticationRestrictions"];
/// What is kept of a role.
const OF_ROLE: [&str; 5] = ["role", "db", "privileges", "roles", "authenticationRestrictions"];
/// What says the same in any order.
const UNORDERED: [&str; 2] = ["privileges", "roles"];
/// What only tells two users of the same name apart.
const IDS: [&str; 2] = ["_id", "userId"];

/// What an [`Account`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum AccountKind {
    Role,
    User,
}

impl AccountKind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::User => "user",
        }
    }

    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Role => &OF_ROLE,
            Self::User => &OF_USER,
        }
    }
}

/// A user or a role of a database.
#[derive(Clone, PartialEq)]
pub(super) struct Account {
    pub(super) kind: AccountKind,
    pub(super) name: String,
    pub(super) told: Document,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("kind", &self.kind).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Account {
    /// Takes what is kept out of what a server says.
    fn of(kind: AccountKind, said: &Document) -> Option<Self> {
        let name = said.get_str(kind.word()).ok().filter(|name| !name.is_empty())?.to_owned();
        let kept = kind.fields().iter().filter_map(|key| Some(((*key).to_owned(), said.get(key)?.clone())));
        let mut told: Document = kept.collect();
        if let Some(restrictions) = told.get("authenticationRestrictions") {
            match flat(restrictions) {
                all if all.is_empty() => drop(told.remove("authenticationRestrictions")),
                all => drop(told.insert("authenticationRestrictions", all)),
            }
        }
        Some(Self { kind, name, told })
    }

    /// For people: "user `app`".
    pub(super) fn shown(&self) -> String {
        format!("{} `{}`", self.kind.word(), for_terminal(&self.name))
    }

    /// Whether a user could log in with it: roles do not.
    pub(super) fn is_whole(&self) -> bool {
        self.kind == AccountKind::Role || self.told.get_document("credentials").is_ok_and(|it| !it.is_empty())
    }

    /// Whether it lets the same people do the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let plain = |account: &Self| {
            let mut told = account.told.clone();
            for key in IDS {
                told.remove(key);
            }
            for key in UNORDERED {
                if let Ok(list) = told.get_array_mut(key) {
                    list.sort_by_key(ToString::to_string);
                }
            }
            let mut fields: Vec<(String, Bson)> = told.into_iter().collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            fields
        };
        (self.kind, &self.name, plain(self)) == (other.kind, &other.name, plain(other))
    }

    /// As a backup keeps it.
    pub(super) fn to_raw(&self) -> Result<RawDocumentBuf, String> {
        RawDocumentBuf::try_from(&doc! {self.kind.word(): self.told.clone()}).map_err(|error| error.to_string())
    }

    /// Reads what [`Self::to_raw`] made.
    pub(super) fn of_raw(raw: &RawDocument) -> Result<Self, String> {
        let document = Document::try_from(raw).map_err(|error| error.to_string())?;
        [AccountKind::Role, AccountKind::User]
            .into_iter()
            .find_map(|kind| Self::of(kind, document.get_document(kind.word()).ok()?))
            .ok_or_else(|| "it holds what is neither a user nor a role".to_owned())
    }
}

/// Restrictions as they are given to a server: some say them as a list of lists with one field each.
fn flat(restrictions: &Bson) -> Vec<Bson> {
    let Bson::Array(restrictions) = restrictions else { return Vec::new() };
    let one = |entry: &Bson| match entry {
        Bson::Array(fields) => {
            let fields = fields.iter().filter_map(Bson::as_document).flat_map(Document::clone);
            Bson::Document(fields.collect())
        }
        other => other.clone(),
    };
    restrictions.iter().map(one).collect()
}

/// All roles and users of the database, each in the order of their names.
pub(super) async fn list(session: &Session) -> Result<Vec<Account>, Error> {
    let roles = doc! {"rolesInfo": 1, "showPrivileges": true, "showAuthenticationRestrictions": true};
    let mut all = match told(session, roles, AccountKind::Role).await {
        Err(Error::Accounts { reason, .. }) if reason.code().is_some_and(|code| UNKNOWN_COMMANDS.contains(&code)) => {
            Vec::new()
        }
        roles => roles?,
    };
    let users = told(session, doc! {"usersInfo": 1, "showCredentials": true}, AccountKind::User).await?;
    for mut user in users {
        // Servers tell it only of one that is asked for by name.
        let exactly = doc! {"user": user.name.as_str(), "db": session.server().database()};
        let ask = doc! {"usersInfo": exactly, "showCredentials": true, "showAuthenticationRestrictions": true};
        if session.facts.product.is_none() {
            match told(session, ask, AccountKind::User).await?.into_iter().find(|it| it.name == user.name) {
                Some(again) => user = again,
                // It was dropped since it was listed.
                None => continue,
            }
        }
        all.push(user);
    }
    all.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    Ok(all)
}

async fn told(session: &Session, command: Document, kind: AccountKind) -> Result<Vec<Account>, Error> {
    let reply = match in_time(session.database.run_command(command)).await {
        Ok(reply) => reply,
        Err(error) if Reason::from(&error).code().is_some() => {
            return Err(Error::Accounts {
                database: for_terminal(session.server().database()).into_owned(),
                server: session.server().shown(),
                reason: Reason::from(&error),
            });
        }
        Err(error) => return Err(session.server().failed("read users and roles", &error)),
    };
    let key = format!("{}s", kind.word());
    let all = reply.get_array(&key).into_iter().flatten().filter_map(Bson::as_document);
    // A server's own roles are in every database.
    let own = all.filter(|it| !it.get_bool("isBuiltin").unwrap_or(false));
    Ok(own.filter_map(|it| Account::of(kind, it)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(salt: &str, roles: &[&str]) -> Account {
        let roles: Vec<Bson> = roles.iter().map(|role| Bson::Document(doc! {"role": *role, "db": "crm"})).collect();
        let said = doc! {
            "_id": "crm.app", "userId": salt, "user": "app", "db": "crm", "mechanisms": ["SCRAM-SHA-256"],
            "credentials": {"SCRAM-SHA-256": {"salt": salt}}, "roles": roles,
        };
        Account::of(AccountKind::User, &said).unwrap()
    }

    #[test]
    fn an_account_is_read_back_as_it_was_kept_and_shows_no_credentials() {
        let before = user("pepper", &["read"]);
        assert!(!before.told.contains_key("mechanisms"));
        assert_eq!(Account::of_raw(&before.to_raw().unwrap()).unwrap(), before);
        assert!(!format!("{before:?}").contains("pepper"));
        let raw = RawDocumentBuf::try_from(&doc! {"user": {"db": "crm"}}).unwrap();
        assert!(Account::of_raw(&raw).is_err());
    }

    #[test]
    fn users_are_alike_whatever_the_order_of_their_roles_and_not_if_a_password_is_another() {
        assert!(user("a", &["read", "write"]).is_like(&user("a", &["write", "read"])));
        assert!(!user("a", &["read"]).is_like(&user("b", &["read"])));
        assert!(!user("a", &["read"]).is_like(&user("a", &["read", "write"])));
        let mut other = user("a", &[]);
        other.told.insert("userId", "another");
        assert!(user("a", &[]).is_like(&other));
        other.told.remove("credentials");
        assert!(!other.is_whole() && user("a", &[]).is_whole());
    }

    #[test]
    fn restrictions_are_kept_in_the_form_in_which_they_are_given() {
        let given = doc! {"clientSource": ["10.0.0.0/8"], "serverAddress": ["10.0.0.1"]};
        let nested = Bson::Array(vec![Bson::Array(vec![
            Bson::Document(doc! {"clientSource": ["10.0.0.0/8"]}),
            Bson::Document(doc! {"serverAddress": ["10.0.0.1"]}),
        ])]);
        assert_eq!(flat(&nested), [Bson::Document(given.clone())]);
        assert_eq!(flat(&Bson::Array(vec![Bson::Document(given.clone())])), [Bson::Document(given)]);
    }
}
