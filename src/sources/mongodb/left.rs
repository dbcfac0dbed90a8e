//! What restores have left in a database.
//!
//! A restore names all that has no place yet after itself. One that was killed, or had no server any more, leaves it; so does
//! a command that the server did long after the connection was lost. Nothing in a database tells whether a restore is still
//! running, so nobody but a person may drop it.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use mongodb_driver::{
    bson::{Document, doc},
    options::ReadPreference,
};

use super::{Session, accounts::AccountKind, connect::in_time, error::Reason};
use crate::types::{counted, for_terminal};

/// So many names are shown of one restore.
const SHOWN: usize = 10;

/// What a restore calls a collection: `drctl_<id>_<n>`, with `_old` what it has set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left<'a> {
    restore: &'a str,
    /// It was live under another name.
    aside: bool,
}

/// Reads the name of a collection; nothing if no restore has given it.
fn read(name: &str) -> Option<Left<'_>> {
    let rest = name.strip_prefix("drctl_")?;
    let (rest, aside) = rest.strip_suffix("_old").map_or((rest, false), |rest| (rest, true));
    let (restore, number) = rest.split_once('_')?;
    let (time, suffix) = restore.as_bytes().split_at_checked(14)?;
    let is_one = time.iter().all(u8::is_ascii_digit)
        && suffix.len() == 4
        && suffix.iter().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
        && !number.is_empty()
        && number.bytes().all(|it| it.is_ascii_digit());
    is_one.then_some(Left { restore, aside })
}

/// Whether a restore has given this name.
pub(super) fn is_of_restore(name: &str) -> bool {
    read(name).is_some()
}

/// Whether the restore `restore` has given this name.
pub(super) fn is_of(name: &str, restore: &str) -> bool {
    read(name).is_some_and(|left| left.restore == restore)
}

/// What one restore has left, and what is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traces {
    pub(super) what: String,
    pub(super) next: String,
}

/// Of all collections of a database those that restores have left, but for the restore `own`: for each what it loaded, and what it
/// set aside.
pub(super) fn traces<'a>(database: &str, names: impl IntoIterator<Item = &'a str>, own: Option<&str>) -> Vec<Traces> {
    let mut all: BTreeMap<(&str, bool), Vec<&str>> = BTreeMap::new();
    for name in names {
        if let Some(Left { restore, aside }) = read(name).filter(|left| Some(left.restore) != own) {
            all.entry((restore, aside)).or_default().push(name);
        }
    }
    all.into_iter().map(|((restore, aside), names)| told(database, restore, aside, &names)).collect()
}

fn told(database: &str, restore: &str, aside: bool, names: &[&str]) -> Traces {
    // mongosh looks at another one than this, unless it is told. No name of a database has quotes in it.
    let db = format!("db.getSiblingDB(\"{}\")", for_terminal(database));
    let mut shown = names.iter().take(SHOWN).map(|name| for_terminal(name)).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        shown.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    let held = counted(names.len() as u64, "collection");
    let first = for_terminal(names.first().copied().unwrap_or_default());
    // Names of restores are of letters, digits and `_` alone. Each is written out: others of this restore may be wanted.
    let drop = match names {
        [_] => format!("{db}.getCollection(\"{first}\").drop()"),
        _ => format!("{names:?}.forEach(it => {db}.getCollection(it).drop())"),
    };
    match aside {
        false => Traces {
            what: format!("restore {restore} has left {held}, loaded or half loaded: {shown}"),
            next: format!(
                "if that restore does not run any more, drop what it has left: `{drop}` in mongosh; some collections may be in their places already: restore again before you drop it"
            ),
        },
        true => Traces {
            what: format!("restore {restore} has set {held} aside that had another name before, and left it: {shown}"),
            next: format!(
                "look at what it holds, which may be nowhere else: `{db}.getCollection(\"{first}\").renameCollection(\"NAME\")` in \
                 mongosh gives it its name back, `.drop()` removes it"
            ),
        },
    }
}

/// The collection in `admin` that a server takes users from: the one that its role `restore` is for.
pub(super) const TEMPORARY_USERS: &str = "tempusers";
/// The same of roles, which drctl makes by a command and mongorestore does not.
const TEMPORARY_ROLES: &str = "temproles";

fn temporary(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::User => TEMPORARY_USERS,
        AccountKind::Role => TEMPORARY_ROLES,
    }
}

/// What restores of users or roles have left in `admin`: drctl's own, or others' by the same way.
///
/// # Errors
/// Why the server does not tell: it lets only those look who may restore users.
pub(super) async fn of_accounts(session: &Session, kind: AccountKind) -> Result<Option<Traces>, Reason> {
    let collection = session.client.database("admin").collection::<Document>(temporary(kind));
    let find = collection
        .find(doc! {})
        .projection(doc! {kind.word(): 1, "db": 1})
        .limit(SHOWN as i64 + 1)
        .selection_criteria(ReadPreference::Primary.into());
    let found = async { find.await?.try_collect::<Vec<Document>>().await };
    let found = in_time(found).await.map_err(|error| Reason::from(&error))?;
    Ok((!found.is_empty()).then(|| told_of_accounts(kind, &found)))
}

fn told_of_accounts(kind: AccountKind, found: &[Document]) -> Traces {
    let text = |document: &Document, key| for_terminal(document.get_str(key).unwrap_or("?")).into_owned();
    let one = |it: &Document| format!("`{}` of {}", text(it, kind.word()), text(it, "db"));
    let mut shown = found.iter().take(SHOWN).map(one).collect::<Vec<_>>().join(", ");
    if found.len() > SHOWN {
        shown.push_str(" and more");
    }
    let (place, held) = (temporary(kind), format!("{}s", kind.word()));
    let proof = match kind {
        AccountKind::User => ", with what proves their passwords,",
        AccountKind::Role => "",
    };
    Traces {
        what: format!(
            "`admin.{place}` holds {held}{proof} that a restore had to make, and that has ended badly or runs still: {shown}"
        ),
        next: format!(
            "if no restore of users or roles runs, drop it: `db.getSiblingDB(\"admin\").{place}.drop()` in mongosh"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restore_has_left_is_told_for_each_restore_and_for_what_was_live_apart() {
        let (one, other) = ("20261120120000ab2d", "20261121120000zz22");
        let names = [
            format!("drctl_{one}_0"),
            format!("drctl_{one}_11"),
            format!("drctl_{one}_3_old"),
            format!("drctl_{other}_0"),
            "contacts".to_owned(),
            "drctl_notes_1".to_owned(),
        ];
        let names = || names.iter().map(String::as_str);
        let told = traces("crm_db", names(), None);
        let whats: Vec<&str> = told.iter().map(|it| it.what.as_str()).collect();
        assert_eq!(
            whats,
            [
                format!("restore {one} has left 2 collections, loaded or half loaded: drctl_{one}_0, drctl_{one}_11"),
                format!(
                    "restore {one} has set 1 collection aside that had another name before, and left it: drctl_{one}_3_old"
                ),
                format!("restore {other} has left 1 collection, loaded or half loaded: drctl_{other}_0"),
            ]
        );
        assert!(told[0].next.contains("does not run any more") && told[0].next.contains(".drop()"));
        assert!(told[0].next.ends_with("in their places already: restore again before you drop it"));
        assert!(told[1].next.contains("nowhere else") && told[1].next.contains(".renameCollection("));
        let db = "db.getSiblingDB(\"crm_db\")";
        assert!(told[0].next.contains(&format!("`[\"drctl_{one}_0\", \"drctl_{one}_11\"].forEach(it")), "{told:?}");
        assert!(told[0].next.contains(&format!("it => {db}.getCollection(it).drop())`")), "{told:?}");
        assert!(told[1].next.contains(&format!("`{db}.getCollection(\"drctl_{one}_3_old\").")), "{told:?}");
        assert!(told[2].next.contains(&format!("`{db}.getCollection(\"drctl_{other}_0\").drop()`")), "{told:?}");
        assert_eq!(traces("crm_db", names(), Some(one)).len(), 1);
        assert_eq!(traces("crm_db", ["contacts"], None), []);
    }

    #[test]
    fn of_many_collections_some_are_shown_and_the_others_counted() {
        let names: Vec<String> = (0..12).map(|number| format!("drctl_20261120120000ab2d_{number}")).collect();
        let told = traces("crm_db", names.iter().map(String::as_str), None);
        assert!(told[0].what.contains("12 collections") && told[0].what.ends_with("and 2 more"), "{told:?}");
    }

    #[test]
    fn what_a_restore_of_users_has_left_is_told_without_what_proves_passwords() {
        let user = |number: usize| doc! {"user": format!("app{number}"), "db": "crm", "credentials": {"key": "pepper"}};
        let told = told_of_accounts(AccountKind::User, &[user(0), user(1)]);
        assert!(
            told.what.starts_with("`admin.tempusers` holds users, with what proves") && !told.what.contains("pepper")
        );
        assert!(told.what.ends_with("`app0` of crm, `app1` of crm"), "{}", told.what);
        assert!(told.next.contains(".tempusers.drop()"), "{}", told.next);
        let many: Vec<Document> = (0..=SHOWN).map(user).collect();
        assert!(told_of_accounts(AccountKind::User, &many).what.ends_with("`app9` of crm and more"));
        let told = told_of_accounts(AccountKind::Role, &[doc! {"role": "boss", "db": "crm"}, doc! {}]);
        assert!(
            told.what.starts_with("`admin.temproles` holds roles that")
                && told.what.ends_with("`boss` of crm, `?` of ?")
        );
    }

    #[test]
    fn only_names_of_the_exact_form_are_a_restores() {
        let left = "drctl_20261120120000ab2d_0";
        assert!(is_of_restore(left) && is_of_restore("drctl_20261120120000ab2d_12_old"));
        for name in [
            "drctl_20261120120000ab2d_",
            "drctl_20261120120000ab2d_x",
            "drctl_20261120_0",
            "drctl_notes_1",
            "drctl_",
            "contacts",
        ] {
            assert!(!is_of_restore(name), "{name}");
        }
    }
}
