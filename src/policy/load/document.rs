//! The tree of a policy file → a policy.

use std::collections::BTreeMap;

use super::{
    decode::{Decoder, Table},
    node::{Node, Value},
    problem::{Place, Problem},
    source::{holds_data, source},
    store,
};
use crate::{
    policy::{
        Cron, Encryption, Keep, Period, Policy, Repository, Schedule, SecretRef, TimeZone,
        embed::{API_VERSION, KIND},
    },
    types::{InvalidLocation, Location, Name},
};

const TOP: [&str; 6] = ["apiVersion", "kind", "metadata", "repository", "sources", "schedules"];
const TOP_LATER: [&str; 8] = ["copies", "drills", "checks", "runbook", "dedupe", "evidence", "notify", "memory"];
const KEEP: [&str; 7] = ["last", "hourly", "daily", "weekly", "monthly", "yearly", "within"];

/// Reads a policy out of `root`. `None` only if the decoder has got a problem.
pub(super) fn policy(decoder: &mut Decoder, root: &Node) -> Option<Policy> {
    if matches!(root.value, Value::Null) {
        decoder.wrong(Place::start(), "the file is empty");
        return None;
    }
    let top = decoder.table(root, "", &TOP, &TOP_LATER)?;
    constant(decoder, &top, "apiVersion", API_VERSION);
    constant(decoder, &top, "kind", KIND);
    let name = decoder.required(&top, "metadata").and_then(|node| metadata(decoder, node));
    let repository = decoder.required(&top, "repository").and_then(|node| repository(decoder, node));
    let sources = decoder.required(&top, "sources");
    let sources = sources.map_or_else(Vec::new, |node| decoder.named(node, "sources"));
    // Names alone decide whether a schedule's source exists: one with a fault in it is not missing too.
    let names: Vec<Name> = sources.iter().map(|(name, ..)| name.clone()).collect();
    let data: Vec<Name> = sources.iter().filter(|(.., node)| holds_data(node)).map(|(name, ..)| name.clone()).collect();
    let mut specs = BTreeMap::new();
    for (name, _, node) in sources {
        specs.extend(source(decoder, node, &format!("sources.{name}"), &data).map(|spec| (name, spec)));
    }
    let mut schedules = BTreeMap::new();
    if let Some(node) = decoder.required(&top, "schedules") {
        for (name, _, node) in decoder.named(node, "schedules") {
            let schedule = schedule(decoder, node, &format!("schedules.{name}"), &names);
            schedules.extend(schedule.map(|schedule| (name, schedule)));
        }
    }
    Some(Policy { name: name?, repository: repository?, sources: specs, schedules })
}

fn constant(decoder: &mut Decoder, table: &Table<'_>, key: &str, expected: &str) {
    let Some(node) = decoder.required(table, key) else { return };
    if let Some(found) = decoder.text(node, key)
        && found != expected
    {
        decoder.wrong(node.place, format!("`{key}` must be `{expected}`, and is `{found}`"));
    }
}

fn metadata(decoder: &mut Decoder, node: &Node) -> Option<Name> {
    let table = decoder.table(node, "metadata", &["name"], &[])?;
    let name = decoder.required(&table, "name")?;
    decoder.parsed(name, "metadata.name", |text| Name::new(text))
}

fn repository(decoder: &mut Decoder, node: &Node) -> Option<Repository> {
    let table = decoder.table(node, "repository", &["url", "s3", "azure", "encryption"], &["id", "signers"])?;
    let url = decoder.required(&table, "url").and_then(|node| url(decoder, node));
    let encryption = match table.get("encryption") {
        Some(node) => encryption(decoder, node),
        None => {
            let problem = Problem::new(table.place, "`repository.encryption` is missing: it must be said");
            let help = "write `encryption: none`; whoever reads the store then reads the Secrets in it";
            decoder.report(problem.help(help));
            None
        }
    };
    let s3 = section(decoder, &table, "s3", url.as_ref(), |url| matches!(url, Location::S3 { .. }));
    let s3 = s3.map(|node| store::s3(decoder, node).map(Some));
    let azure = section(decoder, &table, "azure", url.as_ref(), |url| matches!(url, Location::Azure { .. }));
    let azure = azure.map(|node| store::azure(decoder, node).map(Some));
    Some(Repository {
        url: url?,
        s3: s3.unwrap_or(Some(None))?,
        azure: azure.unwrap_or(Some(None))?,
        encryption: encryption?,
    })
}

/// How a kind of store is reached, which goes only with a URL of that kind.
fn section<'a>(
    decoder: &mut Decoder,
    table: &Table<'a>,
    name: &str,
    url: Option<&Location>,
    fits: impl Fn(&Location) -> bool,
) -> Option<&'a Node> {
    let (key, node) = table.entry(name).filter(|(_, node)| !matches!(node.value, Value::Null))?;
    if let Some(other) = url.filter(|url| !fits(url)) {
        decoder.wrong(key.place, format!("`repository.{name}` does not go with `{other}`"));
    }
    Some(node)
}

fn url(decoder: &mut Decoder, node: &Node) -> Option<Location> {
    let text = decoder.text(node, "repository.url")?;
    match text.parse() {
        Ok(location) => Some(location),
        Err(error) => {
            let hide = matches!(error, InvalidLocation::Credentials);
            let problem = Problem::new(node.place, error.to_string());
            decoder.report(if hide { problem.hidden() } else { problem });
            None
        }
    }
}

fn encryption(decoder: &mut Decoder, node: &Node) -> Option<Encryption> {
    match &node.value {
        Value::Text(text) if text == "none" => return Some(Encryption::None),
        Value::Table(_) => {
            let problem = Problem::new(node.place, "encrypted repositories are not in this version of drctl");
            decoder.report(problem.help("write `encryption: none`, and let the store encrypt at rest"));
        }
        _ => decoder.wrong(node.place, "`repository.encryption` must be `none`"),
    }
    None
}

pub(super) fn secret(decoder: &mut Decoder, node: &Node, path: &str) -> Option<SecretRef> {
    if !matches!(node.value, Value::Table(_)) {
        decoder.inline_secret(node.place, path);
        return None;
    }
    let table = decoder.table(node, path, &["env", "file", "secret"], &[])?;
    if let Some((key, _)) = table.entry("secret") {
        // It would need the right to read Secrets, which an identity that backs up should not need.
        let problem = Problem::new(key.place, "`secret:` references are not in this version of drctl");
        decoder.report(problem.help("mount the Secret into the Pod, and name it by `file:` or `env:`"));
        return None;
    }
    match (table.get("env"), table.get("file")) {
        (Some(node), None) => {
            let name = decoder.text(node, &table.path_of("env"))?;
            if !is_variable(name) {
                decoder.inline_secret(node.place, path);
                return None;
            }
            Some(SecretRef::Env(name.to_owned()))
        }
        (None, Some(node)) => {
            let file = decoder.text(node, &table.path_of("file"))?;
            if !file.starts_with('/') {
                decoder.inline_secret(node.place, path);
                return None;
            }
            Some(SecretRef::File(file.into()))
        }
        _ => {
            decoder.wrong(table.place, format!("`{path}` must have exactly one of `env` and `file`"));
            None
        }
    }
}

/// Whether `name` can be that of an environment variable. What cannot is most likely the secret itself, in
/// the wrong place, and is not shown.
fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn schedule(decoder: &mut Decoder, node: &Node, path: &str, known: &[Name]) -> Option<Schedule> {
    let table = decoder.table(node, path, &["cron", "timezone", "sources", "keep"], &["copyTo", "hooks"])?;
    let cron = decoder.required(&table, "cron");
    let cron = cron.and_then(|node| decoder.parsed(node, &table.path_of("cron"), Cron::parse));
    let timezone = table.get("timezone");
    let timezone = timezone.and_then(|node| decoder.parsed(node, &table.path_of("timezone"), TimeZone::parse));
    let mut sources = Vec::new();
    if let Some(node) = decoder.required(&table, "sources") {
        for (place, text) in decoder.texts(node, &table.path_of("sources")).unwrap_or_default() {
            match known.iter().find(|name| name.as_str() == text) {
                Some(name) => sources.push(name.clone()),
                None => {
                    let all = known.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
                    let message = format!("`{path}` names the source `{text}`, which the policy does not have");
                    decoder.report(Problem::new(place, message).help(format!("its sources: {all}")));
                }
            }
        }
    }
    let keep = table.get("keep").and_then(|node| keep(decoder, node, &table.path_of("keep")));
    Some(Schedule { cron: cron?, timezone: timezone.unwrap_or_default(), sources, keep })
}

fn keep(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Keep> {
    let table = decoder.table(node, path, &KEEP, &[])?;
    if KEEP.iter().all(|key| table.get(key).is_none()) {
        let problem = Problem::new(table.place, format!("`{path}` keeps nothing: it has no rule"));
        decoder.report(problem.help("leave `keep` out to keep every backup"));
    }
    let mut count = |key: &str| table.get(key).and_then(|node| decoder.count(node, &table.path_of(key)));
    Some(Keep {
        last: count("last"),
        hourly: count("hourly"),
        daily: count("daily"),
        weekly: count("weekly"),
        monthly: count("monthly"),
        yearly: count("yearly"),
        within: table.get("within").and_then(|node| decoder.parsed(node, &table.path_of("within"), Period::parse)),
    })
}
