//! The tree of a policy file → a policy.

use std::collections::BTreeMap;

use super::{
    copies::{copies, copy_to},
    decode::{Decoder, Table},
    mongodb::refuse_users,
    node::{Node, Value},
    problem::{Place, Problem},
    source::{holds_data, source},
    store, trust,
};
use crate::{
    policy::{
        Cron, Encryption, Evidence, Keep, Period, Policy, Repository, Schedule, SecretRef, TimeZone,
        embed::{API_VERSION, KIND},
    },
    types::{InvalidLocation, Location, Name},
};

const TOP: [&str; 8] = ["apiVersion", "kind", "metadata", "repository", "copies", "sources", "schedules", "evidence"];
const TOP_LATER: [&str; 6] = ["drills", "checks", "runbook", "dedupe", "notify", "memory"];
const REPOSITORY: [&str; 7] = ["url", "s3", "azure", "id", "signers", "signingKey", "encryption"];
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
    let places = top.get("copies").map(|node| copies(decoder, node, repository.as_ref())).unwrap_or_default();
    // A copy with a fault in it is not missing too.
    let copies = top.get("copies").map(names_of).unwrap_or_default();
    let sources = decoder.required(&top, "sources");
    let sources = sources.map_or_else(Vec::new, |node| decoder.named(node, "sources"));
    // Names alone decide whether a schedule's source exists: one with a fault in it is not missing too.
    let names: Vec<Name> = sources.iter().map(|(name, ..)| name.clone()).collect();
    let data: Vec<Name> = sources.iter().filter(|(.., node)| holds_data(node)).map(|(name, ..)| name.clone()).collect();
    let mut specs = BTreeMap::new();
    for (name, _, node) in sources {
        let path = format!("sources.{name}");
        if repository.as_ref().is_some_and(|repository| repository.encryption == Encryption::None) {
            refuse_users(decoder, node, &path);
        }
        specs.extend(source(decoder, node, &path, &data).map(|spec| (name, spec)));
    }
    let mut schedules = BTreeMap::new();
    if let Some(node) = decoder.required(&top, "schedules") {
        for (name, _, node) in decoder.named(node, "schedules") {
            let schedule = schedule(decoder, node, &format!("schedules.{name}"), (&names, &copies));
            schedules.extend(schedule.map(|schedule| (name, schedule)));
        }
    }
    let evidence = top.get("evidence").and_then(|node| evidence(decoder, node)).unwrap_or_default();
    Some(Policy { name: name?, repository: repository?, copies: places, sources: specs, schedules, evidence })
}

/// The names that are keys of a table, whatever is under them.
fn names_of(node: &Node) -> Vec<Name> {
    let Value::Table(entries) = &node.value else { return Vec::new() };
    entries.iter().filter_map(|(key, _)| Name::new(key.name.as_str()).ok()).collect()
}

fn evidence(decoder: &mut Decoder, node: &Node) -> Option<Evidence> {
    let table = decoder.table(node, "evidence", &["keep"], &[])?;
    let keep = table.get("keep")?;
    Some(Evidence { keep: decoder.parsed(keep, "evidence.keep", Period::parse)? })
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
    let table = decoder.table(node, "repository", &REPOSITORY, &[])?;
    let url = decoder.required(&table, "url").and_then(|node| url(decoder, node, "repository.url"));
    let encryption = match table.get("encryption") {
        Some(node) => trust::encryption(decoder, node),
        None => {
            let problem = Problem::new(table.place, "`repository.encryption` is missing: it must be said");
            let help = "write `encryption: none` (whoever reads the store then reads the Secrets in it) or `encryption: {recipients: [age1...]}`";
            decoder.report(problem.help(help));
            None
        }
    };
    let s3 = section(decoder, &table, "s3", url.as_ref(), |url| matches!(url, Location::S3 { .. }));
    let s3 = s3.map(|node| store::s3(decoder, node, "repository.s3").map(Some));
    let azure = section(decoder, &table, "azure", url.as_ref(), |url| matches!(url, Location::Azure { .. }));
    let azure = azure.map(|node| store::azure(decoder, node, "repository.azure").map(Some));
    let id = table.get("id").and_then(|node| decoder.parsed(node, "repository.id", trust::repository_id));
    let signers = table.get("signers").map(|node| trust::signers(decoder, node)).unwrap_or_default();
    let signing_key = table.get("signingKey").and_then(|node| secret(decoder, node, "signingKey"));
    Some(Repository {
        url: url?,
        id,
        signers,
        signing_key,
        s3: s3.unwrap_or(Some(None))?,
        azure: azure.unwrap_or(Some(None))?,
        encryption: encryption?,
    })
}

/// How a kind of store is reached, which goes only with a URL of that kind.
pub(super) fn section<'a>(
    decoder: &mut Decoder,
    table: &Table<'a>,
    name: &str,
    url: Option<&Location>,
    fits: impl Fn(&Location) -> bool,
) -> Option<&'a Node> {
    let (key, node) = table.entry(name).filter(|(_, node)| !matches!(node.value, Value::Null))?;
    if let Some(other) = url.filter(|url| !fits(url)) {
        decoder.wrong(key.place, format!("`{}` does not go with `{other}`", table.path_of(name)));
    }
    Some(node)
}

pub(super) fn url(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Location> {
    let text = decoder.text(node, path)?;
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

fn schedule(decoder: &mut Decoder, node: &Node, path: &str, (known, copies): (&[Name], &[Name])) -> Option<Schedule> {
    let table = decoder.table(node, path, &["cron", "timezone", "sources", "keep", "copyTo"], &["hooks"])?;
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
    let copy_to = copy_to(decoder, &table, copies);
    Some(Schedule { cron: cron?, timezone: timezone.unwrap_or_default(), sources, keep, copy_to })
}

pub(super) fn keep(decoder: &mut Decoder, node: &Node, path: &str) -> Option<Keep> {
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
