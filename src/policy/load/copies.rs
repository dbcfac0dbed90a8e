//! `copies` of a policy, and the names of them in `copyTo`.

use std::collections::BTreeMap;

use super::{
    decode::{Decoder, Table},
    document::{keep, section, url},
    node::Node,
    problem::Problem,
    store,
};
use crate::{
    policy::{CopySpec, Repository, copies::Bandwidth},
    types::{Location, Name},
};

const KEYS: [&str; 5] = ["url", "s3", "azure", "keep", "bandwidth"];

/// What `drctl copy` calls the place of the repository itself.
const OWN_PLACE: &str = "repository";

/// The copies under `copies`, each at a place of its own. Those with a problem are left out.
pub(super) fn copies(decoder: &mut Decoder, node: &Node, repository: Option<&Repository>) -> BTreeMap<Name, CopySpec> {
    let mut copies: BTreeMap<Name, CopySpec> = BTreeMap::new();
    for (name, key, node) in decoder.named(node, "copies") {
        let spec = copy(decoder, node, &format!("copies.{name}"));
        if name.as_str() == OWN_PLACE {
            let problem = Problem::new(key.place, format!("a copy cannot be called `{OWN_PLACE}`"));
            decoder
                .report(problem.help("in --from and --to that is the repository itself; give the copy another name"));
            continue;
        }
        let Some(spec) = spec else { continue };
        if repository.is_some_and(|repository| repository.place() == spec.place()) {
            let problem = Problem::new(key.place, format!("the copy `{name}` is the repository itself: {}", spec.url));
            decoder
                .report(problem.help("a copy needs another bucket, container or folder, at best of another account"));
            continue;
        }
        match copies.iter().find(|(_, other)| other.place() == spec.place()) {
            Some((other, _)) => {
                let message = format!("the copies `{other}` and `{name}` are one place: {}", spec.url);
                decoder.wrong(key.place, message);
            }
            None => {
                copies.insert(name, spec);
            }
        }
    }
    copies
}

fn copy(decoder: &mut Decoder, node: &Node, path: &str) -> Option<CopySpec> {
    let table = decoder.table(node, path, &KEYS, &[])?;
    let place = decoder.required(&table, "url").and_then(|node| url(decoder, node, &table.path_of("url")));
    let s3 = section(decoder, &table, "s3", place.as_ref(), |url| matches!(url, Location::S3 { .. }));
    let s3 = s3.map(|node| store::s3(decoder, node, &table.path_of("s3")).map(Some));
    let azure = section(decoder, &table, "azure", place.as_ref(), |url| matches!(url, Location::Azure { .. }));
    let azure = azure.map(|node| store::azure(decoder, node, &table.path_of("azure")).map(Some));
    let keep = table.get("keep").map(|node| keep(decoder, node, &table.path_of("keep")).map(Some));
    let bandwidth = table.get("bandwidth");
    let bandwidth = bandwidth.map(|node| decoder.parsed(node, &table.path_of("bandwidth"), Bandwidth::parse).map(Some));
    Some(CopySpec {
        url: place?,
        s3: s3.unwrap_or(Some(None))?,
        azure: azure.unwrap_or(Some(None))?,
        keep: keep.unwrap_or(Some(None))?,
        bandwidth: bandwidth.unwrap_or(Some(None))?,
    })
}

/// `copyTo` of the schedule at `table`: names of `known`.
pub(super) fn copy_to(decoder: &mut Decoder, table: &Table<'_>, known: &[Name]) -> Vec<Name> {
    let Some(node) = table.get("copyTo") else { return Vec::new() };
    let mut names = Vec::new();
    for (place, text) in decoder.texts(node, &table.path_of("copyTo")).unwrap_or_default() {
        match known.iter().find(|name| name.as_str() == text) {
            Some(name) => names.push(name.clone()),
            None => {
                let message = format!("`{}` names the copy `{text}`, which the policy does not have", table.path);
                let all = known.iter().map(Name::as_str).collect::<Vec<_>>().join(", ");
                let help = if all.is_empty() { "it has no `copies`".to_owned() } else { format!("its copies: {all}") };
                decoder.report(Problem::new(place, message).help(help));
            }
        }
    }
    names
}
