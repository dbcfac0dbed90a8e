//! The sources of a policy file: one table a kind.

use std::path::PathBuf;

use super::{
    decode::{Decoder, Table},
    document::secret,
    mongodb::mongodb,
    node::{Node, Value},
    problem::Problem,
    volumes::volumes,
};
use crate::{
    policy::{
        ClusterScoped, KubernetesSpec, ObjectFilter, ObjectRule, PostgresSpec, PostgresTls, SourceSpec, Via, ViaService,
    },
    types::{InvalidPattern, LabelSelector, Name, SchemaPattern, TablePattern},
};

const KINDS: [&str; 3] = ["kubernetes", "postgres", "mongodb"];
const LATER: [&str; 3] = ["container", "azureSql", "command"];

/// Whether a source is of the data itself, and not of a cluster's objects, which say where it is.
pub(super) fn holds_data(node: &Node) -> bool {
    match &node.value {
        Value::Table(entries) => entries.iter().any(|(key, _)| key.name != "kubernetes"),
        _ => false,
    }
}

/// Reads one source: exactly one kind. `data` are the policy's sources that can have the data of volumes.
pub(super) fn source(decoder: &mut Decoder, node: &Node, path: &str, data: &[Name]) -> Option<SourceSpec> {
    let table = decoder.table(node, path, &KINDS, &LATER)?;
    // An unknown kind was named already; then nothing is missing.
    if LATER.iter().any(|kind| table.entry(kind).is_some()) {
        return None;
    }
    let mut kinds = KINDS.iter().filter_map(|kind| table.entry(kind));
    let (first, second) = (kinds.next(), kinds.next());
    if let Some((key, _)) = second {
        let problem = Problem::new(key.place, format!("`{path}` has two kinds; a source has one"));
        decoder.report(problem.help("make a second source of it, and name both in the schedule"));
        return None;
    }
    let kind = first.map_or("kubernetes", |(key, _)| key.name.as_str());
    let node = decoder.required(&table, kind)?;
    let path = table.path_of(kind);
    match kind {
        "postgres" => postgres(decoder, node, &path).map(SourceSpec::Postgres),
        "mongodb" => mongodb(decoder, node, &path).map(SourceSpec::Mongodb),
        _ => kubernetes(decoder, node, &path, data).map(SourceSpec::Kubernetes),
    }
}

fn kubernetes(decoder: &mut Decoder, node: &Node, path: &str, data: &[Name]) -> Option<KubernetesSpec> {
    let known = ["namespaces", "excludeNamespaces", "include", "exclude", "clusterScoped", "volumes"];
    let table = decoder.table(node, path, &known, &[])?;
    let namespaces =
        decoder.required(&table, "namespaces").and_then(|node| patterns(decoder, &table, "namespaces", node));
    let exclude = table.get("excludeNamespaces").and_then(|node| patterns(decoder, &table, "excludeNamespaces", node));
    let cluster_scoped = table.get("clusterScoped").and_then(|node| {
        decoder.parsed(node, &table.path_of("clusterScoped"), |text| match text {
            "all" => Ok(ClusterScoped::All),
            "referenced" => Ok(ClusterScoped::Referenced),
            "none" => Ok(ClusterScoped::None),
            _ => Err("`clusterScoped` must be `all`, `referenced` or `none`"),
        })
    });
    let volumes = table.get("volumes").map(|node| volumes(decoder, node, &table.path_of("volumes"), data));
    Some(KubernetesSpec {
        volumes: volumes.unwrap_or_default(),
        include: object_rules(decoder, &table, "include"),
        exclude: object_rules(decoder, &table, "exclude"),
        namespaces: namespaces?,
        exclude_namespaces: exclude.unwrap_or_default(),
        cluster_scoped,
    })
}

/// Kinds by name or pattern, and tables of what must be true of an object.
fn object_rules(decoder: &mut Decoder, table: &Table<'_>, key: &str) -> Vec<ObjectRule> {
    let path = table.path_of(key);
    let Some(items) = table.get(key).and_then(|node| decoder.list(node, &path)) else { return Vec::new() };
    let path = format!("{path}[]");
    let rule = |node: &Node| match &node.value {
        Value::Table(_) => object_filter(decoder, node, &path).map(ObjectRule::Objects),
        _ => kind_pattern(decoder, node, &path).map(ObjectRule::Kind),
    };
    items.iter().filter_map(rule).collect()
}

fn object_filter(decoder: &mut Decoder, node: &Node, path: &str) -> Option<ObjectFilter> {
    let known = ["kinds", "namespaces", "selector"];
    let table = decoder.table(node, path, &known, &[])?;
    if known.iter().all(|key| table.get(key).is_none()) {
        let problem = Problem::new(table.place, format!("`{path}` says nothing about the objects that it means"));
        decoder.report(problem.help("give it `kinds`, `namespaces` or `selector`"));
    }
    let kinds = table.get("kinds").and_then(|node| decoder.list(node, &table.path_of("kinds"))).unwrap_or_default();
    let kinds = kinds.iter().filter_map(|node| kind_pattern(decoder, node, &format!("{path}.kinds[]"))).collect();
    let namespaces = table.get("namespaces").and_then(|node| patterns(decoder, &table, "namespaces", node));
    Some(ObjectFilter {
        kinds,
        namespaces: namespaces.unwrap_or_default(),
        selector: table.get("selector").and_then(|node| selector(decoder, node, &table.path_of("selector"))),
    })
}

pub(super) fn selector(decoder: &mut Decoder, node: &Node, path: &str) -> Option<LabelSelector> {
    decoder.parsed(node, path, str::parse::<LabelSelector>)
}

/// A kind as `plural.group`, or a pattern of such.
pub(super) fn kind_pattern(decoder: &mut Decoder, node: &Node, path: &str) -> Option<String> {
    let text = decoder.text(node, path)?;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'*' | b'?');
    if text.len() <= 320 && text.bytes().all(allowed) {
        return Some(text.to_owned());
    }
    let problem = Problem::new(node.place, format!("`{}` is no kind", crate::types::for_terminal(text)));
    decoder.report(problem.help("write its plural and its group: `secrets`, `deployments.apps`, `*.example.com`"));
    None
}

fn patterns(decoder: &mut Decoder, table: &Table<'_>, key: &str, node: &Node) -> Option<Vec<String>> {
    let items = decoder.texts(node, &table.path_of(key))?;
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'*');
    for (place, text) in &items {
        if text.len() > 63 || !text.bytes().all(allowed) {
            let message = format!("`{text}` is neither a namespace nor a pattern: use a-z, 0-9, '-' and '*'");
            decoder.wrong(*place, message);
        }
    }
    Some(items.into_iter().map(|(_, text)| text.to_owned()).collect())
}

fn postgres(decoder: &mut Decoder, node: &Node, path: &str) -> Option<PostgresSpec> {
    let known = ["url", "via", "tls", "schemas", "excludeTables", "excludeTableData"];
    let table = decoder.table(node, path, &known, &["ownership", "consistency", "replica"])?;
    let url = decoder.required(&table, "url").and_then(|node| secret(decoder, node, &table.path_of("url")));
    let via = match table.get("via") {
        Some(node) => Some(via(decoder, node, &table.path_of("via"))?),
        None => None,
    };
    let tls = match table.get("tls") {
        Some(node) => Some(tls(decoder, node, &table.path_of("tls"))?),
        None => None,
    };
    Some(PostgresSpec {
        url: url?,
        via,
        tls,
        schemas: checked(decoder, &table, "schemas", |text| SchemaPattern::parse(text).map(drop)),
        exclude_tables: checked(decoder, &table, "excludeTables", |text| TablePattern::parse(text).map(drop)),
        exclude_table_data: checked(decoder, &table, "excludeTableData", |text| TablePattern::parse(text).map(drop)),
    })
}

/// Patterns of `pg_dump`, each of which `check` takes.
fn checked(
    decoder: &mut Decoder,
    table: &Table<'_>,
    key: &str,
    check: impl Fn(&str) -> Result<(), InvalidPattern>,
) -> Vec<String> {
    let Some(node) = table.get(key) else { return Vec::new() };
    let items = decoder.texts(node, &table.path_of(key)).unwrap_or_default();
    for (place, text) in &items {
        if text.len() > 300 || text.contains(char::is_control) {
            let text = crate::types::for_terminal(text);
            decoder.wrong(*place, format!("`{text}` is neither a name nor a pattern of pg_dump"));
        } else if let Err(error) = check(text) {
            decoder.wrong(*place, error.to_string());
        }
    }
    items.into_iter().map(|(_, text)| text.to_owned()).collect()
}

pub(super) fn via(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Via> {
    let table = decoder.table(node, path, &["kubernetes"], &["ssh"])?;
    let node = decoder.required(&table, "kubernetes")?;
    let table = decoder.table(node, &table.path_of("kubernetes"), &["namespace", "service", "port"], &[])?;
    let namespace = dns_label(decoder, &table, "namespace");
    let service = dns_label(decoder, &table, "service");
    let port = decoder.required(&table, "port")?;
    let port = match &port.value {
        Value::Number(number) => number.parse::<u16>().ok().filter(|port| *port > 0),
        _ => None,
    }
    .or_else(|| {
        decoder.wrong(port.place, format!("`{}` must be a port from 1 to 65535", table.path_of("port")));
        None
    });
    Some(Via::Kubernetes(ViaService { namespace: namespace?, service: service?, port: port? }))
}

fn dns_label(decoder: &mut Decoder, table: &Table<'_>, key: &str) -> Option<String> {
    let node = decoder.required(table, key)?;
    decoder.parsed(node, &table.path_of(key), |text| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.len() <= 63 && text.bytes().all(fits) {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` is no name of a {key}: use a-z, 0-9 and '-'"))
        }
    })
}

fn tls(decoder: &mut Decoder, node: &Node, path: &str) -> Option<PostgresTls> {
    let table = decoder.table(node, path, &["caFile"], &["mode", "certFile", "keyFile"])?;
    let ca_file = table.get("caFile").and_then(|node| decoder.text(node, &table.path_of("caFile"))).map(PathBuf::from);
    Some(PostgresTls { ca_file })
}
