//! What a database says of itself: its encoding, locale, connection limit and settings, held against the backup's.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        Error, Session,
        contents::{Database, Locale},
    },
    ownership::Ownership,
    properties::{LISTS, list},
};

/// The values of parameters, by the role that they are for (absent: all) and by their name in small letters.
type Settings = BTreeMap<(Option<String>, String), String>;

/// A database as the server describes it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) owner: String,
    pub(super) acl: Option<Vec<String>>,
    major: u32,
    encoding: String,
    locale: Locale,
    /// Below zero: any number.
    connection_limit: i32,
    settings: Settings,
}

/// A setting for people. What could not be set is found by it.
pub(super) fn named(role: Option<&str>, parameter: &str) -> String {
    role.map_or_else(|| format!("setting {parameter}"), |role| format!("setting {parameter} of role {role}"))
}

/// Asks the server.
pub(super) async fn found(session: &Session, name: &str) -> Result<Found, Error> {
    let major = session.version.major;
    let (provider, locale, rules) = match major {
        17.. => ("d.datlocprovider", "d.datlocale", "d.daticurules"),
        16 => ("d.datlocprovider", "d.daticulocale", "d.daticurules"),
        15 => ("d.datlocprovider", "d.daticulocale", "NULL"),
        _ => ("'c'", "NULL", "NULL"),
    };
    let sql = format!(
        "SELECT pg_catalog.pg_get_userbyid(d.datdba)::text, d.datacl::text[], \
         pg_catalog.pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text, d.datconnlimit, \
         {provider}::text, {locale}::text, {rules}::text FROM pg_catalog.pg_database d WHERE d.datname = $1"
    );
    let row = session.row("read the properties of the database", &sql, &[&name]).await?;
    let provider = match row.get::<_, &str>(6) {
        "i" => "icu",
        "b" => "builtin",
        _ => "libc",
    };
    let sql = "SELECT r.rolname::text, x.setting FROM pg_catalog.pg_db_role_setting s \
         JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
         CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS x(setting) WHERE d.datname = $1";
    let mut settings = Settings::new();
    for row in session.rows("read the settings of the database", sql, &[&name]).await? {
        let (name, value) = row.get::<_, &str>(1).split_once('=').unwrap_or_default();
        settings.insert((row.get(0), name.to_ascii_lowercase()), value.to_owned());
    }
    Ok(Found {
        owner: row.get(0),
        acl: row.get(1),
        major,
        encoding: row.get(2),
        locale: Locale {
            provider: provider.to_owned(),
            collate: row.get(3),
            ctype: row.get(4),
            locale: row.get(7),
            icu_rules: row.get(8),
            version: None,
        },
        connection_limit: row.get(5),
        settings,
    })
}

/// Holds it against the backup's, both ways. `differs` is told each pair of what is found and what is expected.
pub(super) fn compare(
    found: &Found,
    database: &Database,
    ownership: &Ownership,
    differs: &mut impl FnMut(&str, String, String),
) {
    let none = || "none".to_owned();
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(none);
    differs("its encoding", found.encoding.clone(), database.encoding.clone());
    let (here, there) = (&found.locale, &database.locale);
    differs("its collation", here.collate.clone(), there.collate.clone());
    differs("its character classes", here.ctype.clone(), there.ctype.clone());
    differs("its locale provider", here.provider.clone(), there.provider.clone());
    // From 16 on, a server writes the names of ICU's locales in another way than it is given them.
    let is_written_alike = (found.major >= 16) == (database.server.number >= 160_000);
    if is_written_alike || there.provider != "icu" {
        differs("its locale", or_none(&here.locale), or_none(&there.locale));
    }
    differs("its rules of sorting", or_none(&here.icu_rules), or_none(&there.icu_rules));
    let limit = |limit: Option<i32>| limit.filter(|limit| *limit >= 0).map_or_else(none, |limit| limit.to_string());
    let (here, there) = (limit(Some(found.connection_limit)), limit(database.connection_limit));
    differs("its connection limit", here, there);

    let expected: Settings = (database.settings.iter())
        .map(|setting| {
            let role = setting.role.as_deref().map(|role| ownership.name(role).unwrap_or(role).to_owned());
            ((role, setting.name.to_ascii_lowercase()), setting.value.clone())
        })
        .collect();
    let all: BTreeSet<_> = found.settings.keys().chain(expected.keys()).collect();
    for key in all {
        let (here, there) = (found.settings.get(key), expected.get(key));
        let (role, parameter) = key;
        if here.zip(there).is_some_and(|(here, there)| is_same(parameter, here, there)) {
            continue;
        }
        let as_written = database.settings.iter().find(|setting| setting.name.eq_ignore_ascii_case(parameter));
        let parameter = as_written.map_or(parameter.as_str(), |setting| setting.name.as_str());
        let shown = |value: Option<&String>| value.map_or_else(none, |value| format!("`{value}`"));
        differs(&named(role.as_deref(), parameter), shown(here), shown(there));
    }
}

/// Values of lists are quoted where the server finds that they need it.
fn is_same(parameter: &str, one: &str, other: &str) -> bool {
    one == other || LISTS.contains(&parameter) && list(one) == list(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_compared_value_by_value_and_nothing_else_is() {
        assert!(is_same("search_path", "\"$user\", \"public\"", "\"$user\",public"));
        assert!(!is_same("search_path", "\"$user\", public", "public, \"$user\""));
        assert!(!is_same("app.motto", "a, b", "a,b"));
        assert_eq!(named(None, "x"), "setting x");
        assert_eq!(named(Some("r"), "x"), "setting x of role r");
    }
}
