//! What belongs to the database itself: how it is created, and its owner, grants and settings.

use std::collections::BTreeSet;

use super::{
    super::{
        Error, Session,
        contents::{Database, Setting},
        quote::{identifier, literal},
    },
    ownership::Ownership,
    report::{Difference, LeftOut},
    settings,
};

/// Parameters that are lists: their stored value is several values, each in quotes where it needs them.
pub(super) const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// The statement that creates `name` as the backup's database was: encoding, locale, provider, owner, tablespace. Nobody can
/// connect to it before [`opened`].
pub(super) fn create(
    name: &str,
    database: &Database,
    owner: Option<&str>,
    tablespace: Option<&str>,
    major: u32,
) -> String {
    let locale = &database.locale;
    let mut sql = format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        identifier(name),
        literal(&database.encoding),
        literal(&locale.collate),
        literal(&locale.ctype),
    );
    if let (Some(own), true) = (&locale.locale, major >= 15) {
        match locale.provider.as_str() {
            "icu" => {
                sql.push_str(&format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(own)));
                if let (Some(rules), true) = (&locale.icu_rules, major >= 16) {
                    sql.push_str(&format!(" ICU_RULES {}", literal(rules)));
                }
            }
            "builtin" => sql.push_str(&format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(own))),
            _ => {}
        }
    } else if major >= 15 {
        sql.push_str(" LOCALE_PROVIDER libc");
    }
    if let Some(owner) = owner {
        sql.push_str(&format!(" OWNER {}", identifier(owner)));
    }
    if let Some(tablespace) = tablespace {
        sql.push_str(&format!(" TABLESPACE {}", identifier(tablespace)));
    }
    sql.push_str(" ALLOW_CONNECTIONS = false");
    sql
}

/// Opens what [`create`] has made to its owner and to nobody else: rows are read by who may read them where they
/// were, and what says that (grants of schemas, tables and functions) comes after them. There is no moment in which a
/// session of somebody else could begin.
pub(super) async fn opened(session: &Session, name: &str, comment: Option<&str>) -> Result<(), Error> {
    let database = identifier(name);
    let comment = comment.map(|text| format!("COMMENT ON DATABASE {database} IS {};", literal(text)));
    let sql = format!(
        "BEGIN; REVOKE ALL ON DATABASE {database} FROM PUBLIC; {} ALTER DATABASE {database} ALLOW_CONNECTIONS = true; COMMIT",
        comment.unwrap_or_default()
    );
    let done = session.run("open the new database to its owner", &sql).await;
    if done.is_err() {
        // Without a connection this fails too, and the server has rolled back by itself.
        let _rolled_back = session.run("roll back", "ROLLBACK").await;
    }
    done
}

/// Gives a database the grants, settings and connection limit of the backup's. What the role may not
/// set is named.
pub(super) async fn finish(
    session: &Session,
    name: &str,
    database: &Database,
    ownership: &Ownership,
) -> Result<Vec<LeftOut>, Error> {
    let mut left_out = Vec::new();
    let mut statements = Vec::new();
    if let (Some(acl), true) = (&database.acl, ownership.keeps_grants()) {
        let owner = ownership.name(&database.owner).unwrap_or(&database.owner);
        statements.push(("its grants".to_owned(), grants(name, acl, owner, ownership)));
    } else {
        // What every new database grants, until it is closed to all but its owner.
        let sql = format!("GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC", identifier(name));
        statements.push(("its grants".to_owned(), sql));
    }
    for setting in &database.settings {
        let role = setting.role.as_deref().map(|role| ownership.name(role).unwrap_or(role));
        statements.push((settings::named(role, &setting.name), set(name, setting, ownership)));
    }
    if let Some(limit) = database.connection_limit {
        let sql = format!("ALTER DATABASE {} CONNECTION LIMIT {limit}", identifier(name));
        statements.push(("its connection limit".to_owned(), sql));
    }
    for (what, sql) in statements {
        match session.run("set the properties of the database", &sql).await {
            Ok(()) => {}
            Err(Error::Statement { reason, .. }) if reason.code().is_some() => {
                left_out.push(LeftOut { what: format!("database {}: {what}", database.name), why: reason.to_string() });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(left_out)
}

fn set(name: &str, setting: &Setting, ownership: &Ownership) -> String {
    let values = if LISTS.contains(&setting.name.as_str()) {
        let values: Vec<String> = list(&setting.value).iter().map(|value| literal(value)).collect();
        if values.is_empty() { "''".to_owned() } else { values.join(", ") }
    } else {
        literal(&setting.value)
    };
    let parameter: Vec<String> = setting.name.split('.').map(identifier).collect();
    let parameter = parameter.join(".");
    match &setting.role {
        Some(role) => {
            let role = ownership.name(role).unwrap_or(role);
            format!("ALTER ROLE {} IN DATABASE {} SET {parameter} TO {values}", identifier(role), identifier(name))
        }
        None => format!("ALTER DATABASE {} SET {parameter} TO {values}", identifier(name)),
    }
}

/// The values of a list: `"$user", public`.
pub(super) fn list(value: &str) -> Vec<String> {
    let mut values = Vec::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut one = String::new();
            let mut chars = quoted.char_indices().peekable();
            let mut end = quoted.len();
            while let Some((at, c)) = chars.next() {
                if c == '"' && chars.next_if(|(_, next)| *next == '"').is_none() {
                    end = at + 1;
                    break;
                }
                one.push(c);
            }
            values.push(one);
            rest = &quoted[end..];
            rest = rest.find(',').map_or("", |comma| &rest[comma + 1..]).trim();
        } else {
            let (one, after) = rest.split_once(',').unwrap_or((rest, ""));
            values.push(one.trim().to_owned());
            rest = after.trim();
        }
    }
    values
}

/// One access privilege as PostgreSQL lists it: `reader=c/owner`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Privilege {
    /// Empty: everyone.
    grantee: String,
    letter: char,
    with_option: bool,
}

fn privileges(acl: &[String]) -> BTreeSet<Privilege> {
    let mut all = BTreeSet::new();
    for item in acl {
        let Some((grantee, rest)) = split_item(item) else { continue };
        let mut letters = rest.chars().peekable();
        while let Some(letter) = letters.next_if(|c| *c != '/') {
            let with_option = letters.next_if(|c| *c == '*').is_some();
            all.insert(Privilege { grantee: grantee.clone(), letter, with_option });
        }
    }
    all
}

/// Grantee and privileges of `"odd name"=CTc/owner`.
fn split_item(item: &str) -> Option<(String, &str)> {
    match item.strip_prefix('"') {
        Some(quoted) => {
            let end = quoted.match_indices('"').map(|(at, _)| at).find(|at| quoted[at + 1..].starts_with('='))?;
            Some((quoted[..end].replace("\"\"", "\""), &quoted[end + 2..]))
        }
        None => item.split_once('=').map(|(grantee, rest)| (grantee.to_owned(), rest)),
    }
}

fn grants(name: &str, acl: &[String], owner: &str, ownership: &Ownership) -> String {
    let (name, owner) = (identifier(name), identifier(owner));
    let mut sql =
        format!("BEGIN; REVOKE ALL ON DATABASE {name} FROM PUBLIC; REVOKE ALL ON DATABASE {name} FROM {owner};");
    for privilege in privileges(acl) {
        let word = match privilege.letter {
            'C' => "CREATE",
            'T' => "TEMPORARY",
            'c' => "CONNECT",
            _ => continue,
        };
        let grantee = match privilege.grantee.as_str() {
            "" => "PUBLIC".to_owned(),
            role => identifier(ownership.name(role).unwrap_or(role)),
        };
        let option = if privilege.with_option { " WITH GRANT OPTION" } else { "" };
        sql.push_str(&format!(" GRANT {word} ON DATABASE {name} TO {grantee}{option};"));
    }
    sql.push_str(" COMMIT");
    sql
}

/// What a database grants of which nothing else is said: PostgreSQL keeps no list then.
fn by_default(owner: &str) -> BTreeSet<Privilege> {
    let privilege = |grantee: &str, letter| Privilege { grantee: grantee.to_owned(), letter, with_option: false };
    let everyone = ['T', 'c'].map(|letter| privilege("", letter));
    everyone.into_iter().chain(['C', 'T', 'c'].map(|letter| privilege(owner, letter))).collect()
}

/// Holds the database itself against the backup's.
pub(super) async fn compare(
    session: &Session,
    name: &str,
    database: &Database,
    ownership: &Ownership,
    left_out: &[LeftOut],
) -> Result<Vec<Difference>, Error> {
    let found = settings::found(session, name).await?;
    let mut differences = Vec::new();
    let mut differs = |what: &str, found: String, expected: String| {
        if found != expected && !left_out.iter().any(|left| left.what.ends_with(what)) {
            let how = format!("it is {found}, and in the backup {expected}");
            differences.push(Difference { what: format!("database {}: {what}", database.name), how });
        }
    };
    let mapped_owner = ownership.name(&database.owner).unwrap_or(&database.owner);
    if ownership.keeps_grants() {
        let expected = database.acl.as_ref().map(|acl| {
            let renamed = privileges(acl).into_iter().map(|privilege| {
                let grantee = ownership.name(&privilege.grantee).map_or(privilege.grantee.clone(), str::to_owned);
                Privilege { grantee, ..privilege }
            });
            renamed.collect::<BTreeSet<_>>()
        });
        let shown = |all: BTreeSet<Privilege>| {
            let one = |p: &Privilege| format!("{}={}{}", p.grantee, p.letter, if p.with_option { "*" } else { "" });
            all.iter().map(one).collect::<Vec<_>>().join(" ")
        };
        let found_acl = found.acl.as_deref().map_or_else(|| by_default(&found.owner), privileges);
        differs("its grants", shown(found_acl), shown(expected.unwrap_or_else(|| by_default(mapped_owner))));
    }
    if ownership.keeps_owners() {
        differs("its owner", found.owner.clone(), mapped_owner.to_owned());
    }
    settings::compare(&found, database, ownership, &mut differs);
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn privileges_are_read_as_postgresql_lists_them() {
        let all = privileges(&acl(&["=Tc/postgres", "\"odd=\"\"name\"=C*c/postgres"]));
        let shown: Vec<String> =
            all.iter().map(|p| format!("{}:{}{}", p.grantee, p.letter, if p.with_option { "*" } else { "" })).collect();
        assert_eq!(shown, [":T", ":c", "odd=\"name:C*", "odd=\"name:c"]);
    }

    #[test]
    fn grants_begin_from_none() {
        let sql = grants("d", &acl(&["=c/o", "r=C*/o"]), "o", &Ownership::Keep);
        assert_eq!(
            sql,
            "BEGIN; REVOKE ALL ON DATABASE \"d\" FROM PUBLIC; REVOKE ALL ON DATABASE \"d\" FROM \"o\"; \
             GRANT CONNECT ON DATABASE \"d\" TO PUBLIC; GRANT CREATE ON DATABASE \"d\" TO \"r\" WITH GRANT OPTION; COMMIT"
        );
    }

    #[test]
    fn a_list_is_set_value_by_value_and_nothing_else_is() {
        let setting = |name: &str, value: &str| Setting { role: None, name: name.into(), value: value.into() };
        let set = |name, value| set("d", &setting(name, value), &Ownership::Keep);
        let path = set("search_path", "\"$user\", \"a \"\", b\",public");
        assert_eq!(path, "ALTER DATABASE \"d\" SET \"search_path\" TO '$user', 'a \", b', 'public'");
        assert_eq!(set("app.motto", "a, b"), "ALTER DATABASE \"d\" SET \"app\".\"motto\" TO 'a, b'");
        assert_eq!(set("search_path", ""), "ALTER DATABASE \"d\" SET \"search_path\" TO ''");
    }
}
