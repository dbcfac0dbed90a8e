//! A MongoDB database in a policy file.

use std::path::PathBuf;

use super::{
    decode::{Decoder, Table},
    document::secret,
    node::{Node, Value},
    problem::Problem,
    source::via,
};
use crate::{
    policy::{Consistency, MongodbSpec, MongodbTls},
    types::{check_database_name, for_terminal},
};

/// The longest name of a collection with its database, in bytes.
const LONGEST_COLLECTION: usize = 255;

/// Reads one database.
pub(super) fn mongodb(decoder: &mut Decoder, node: &Node, path: &str) -> Option<MongodbSpec> {
    let known = ["url", "database", "via", "tls", "consistency", "include", "exclude", "timeSeries", "users"];
    let table = decoder.table(node, path, &known, &["roles", "oplog"])?;
    let url = decoder.required(&table, "url").and_then(|node| secret(decoder, node, &table.path_of("url")));
    let via = match table.get("via") {
        Some(node) => Some(via(decoder, node, &table.path_of("via"))?),
        None => None,
    };
    let tls = match table.get("tls") {
        Some(node) => Some(tls(decoder, node, &table.path_of("tls"))?),
        None => None,
    };
    if let (Some(MongodbTls { server_name: Some(_), ca_file }), Some(node)) = (&tls, table.get("tls")) {
        let problem = |what: &str| Problem::new(node.place, format!("`{path}.tls.serverName` needs {what}"));
        if via.is_none() {
            let help = "without `via` the certificate must be for the host of the address: leave it out";
            decoder.report(problem(&format!("`{path}.via`")).help(help));
        } else if ca_file.is_none() {
            decoder.report(
                problem(&format!("`{path}.tls.caFile`")).help("name the authorities that sign the certificate"),
            );
        }
    }
    let consistency = table.get("consistency").and_then(|node| {
        decoder.parsed(node, &table.path_of("consistency"), |text| match text {
            "snapshot" => Ok(Consistency::Snapshot),
            "none" => Ok(Consistency::None),
            _ => Err("`consistency` must be `snapshot` or `none`"),
        })
    });
    let database = table.get("database").and_then(|node| database(decoder, node, &table.path_of("database")));
    let time_series = table.get("timeSeries").and_then(|node| decoder.boolean(node, &table.path_of("timeSeries")));
    let users = table.get("users").and_then(|node| decoder.boolean(node, &table.path_of("users")));
    Some(MongodbSpec {
        url: url?,
        database,
        via,
        tls,
        consistency: consistency.unwrap_or_default(),
        include: collections(decoder, &table, "include"),
        exclude: collections(decoder, &table, "exclude"),
        time_series: time_series.unwrap_or_default(),
        users: users.unwrap_or_default(),
    })
}

/// Refuses users and roles in the source `node` where the repository is not encrypted.
pub(super) fn refuse_users(decoder: &mut Decoder, node: &Node, path: &str) {
    let Some(users) = node.at("mongodb").and_then(|node| node.at("users")) else { return };
    if matches!(users.value, Value::Bool(true)) {
        let message =
            format!("`{path}.mongodb.users` needs an encrypted repository, and this one has `encryption: none`");
        let help = "what proves the users' passwords would lie open in the store: encrypt the repository, or leave `users` out";
        decoder.report(Problem::new(users.place, message).help(help));
    }
}

fn database(decoder: &mut Decoder, node: &Node, path: &str) -> Option<String> {
    let name = decoder.text(node, path)?;
    match check_database_name(name) {
        Ok(()) => Some(name.to_owned()),
        Err(invalid) => {
            let problem = Problem::new(node.place, invalid.to_string());
            decoder.report(problem.help("name the application's database"));
            None
        }
    }
}

/// Names of collections, or patterns with `*`.
fn collections(decoder: &mut Decoder, table: &Table<'_>, key: &str) -> Vec<String> {
    let Some(node) = table.get(key) else { return Vec::new() };
    let items = decoder.texts(node, &table.path_of(key)).unwrap_or_default();
    for (place, text) in &items {
        if text.len() > LONGEST_COLLECTION || text.contains('$') || text.contains('\0') {
            decoder.wrong(*place, format!("`{}` is no name of a collection", for_terminal(text)));
        }
    }
    items.into_iter().map(|(_, text)| text.to_owned()).collect()
}

/// A name that a certificate can have.
fn server_name(decoder: &mut Decoder, node: &Node, path: &str) -> Option<String> {
    decoder.parsed(node, path, |text| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
        match text.len() <= 253 && text.bytes().all(fits) {
            true => Ok(text.to_owned()),
            false => Err(format!("`{}` is no name of a host", for_terminal(text))),
        }
    })
}

fn tls(decoder: &mut Decoder, node: &Node, path: &str) -> Option<MongodbTls> {
    let table = decoder.table(node, path, &["caFile", "serverName"], &["certFile", "keyFile"])?;
    let ca_file = table.get("caFile").and_then(|node| decoder.text(node, &table.path_of("caFile"))).map(PathBuf::from);
    let server_name = table.get("serverName").and_then(|node| server_name(decoder, node, &table.path_of("serverName")));
    Some(MongodbTls { ca_file, server_name })
}
