//! Where everything lies: the only file that spells the keys of a repository.

use super::backend::Key;
use crate::types::{BackupId, Name, Sha256Digest};

/// Under these prefixes lies everything that a backup writes.
pub(crate) const EVERYTHING: [&str; 4] = ["backups/", "data/", "meta/", "sessions/"];

/// Every prefix of the format.
pub(crate) const FOLDERS: [&str; 9] =
    ["accepts/", "backups/", "data/", "evidence/", "keys/", "meta/", "pins/", "sessions/", "tombstones/"];

/// What an object of a repository is for, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A manifest: without it there is no backup.
    Manifest,
    /// A pack.
    Pack,
    /// What says where a backup's chunks lie.
    Meta,
    /// The mark of a run.
    Session,
    /// A mark that accepts a backup.
    Accept,
    /// Anything else.
    Other,
}

impl Place {
    /// What the object under `key` is for.
    #[must_use]
    pub fn of(key: &str) -> Self {
        match key.split_once('/') {
            Some(("backups", file)) if file.ends_with(".json") => Self::Manifest,
            Some(("data", _)) => Self::Pack,
            Some(("meta", _)) => Self::Meta,
            Some(("sessions", _)) => Self::Session,
            Some(("accepts", _)) => Self::Accept,
            _ => Self::Other,
        }
    }
}

/// The secrets of the epochs.
pub(crate) const KEYS: &str = "keys/";

/// Whether the object under `key` is needed to read backups, and so is locked where a policy asks for locks.
/// Sessions, tombstones and other marks are not: they must go when they are done with.
#[must_use]
pub fn is_locked(key: &Key) -> bool {
    let key = key.as_str();
    key == "repository.json" || ["data/", "meta/", "backups/", KEYS].iter().any(|prefix| key.starts_with(prefix))
}

/// The key of the repository's header.
pub(crate) fn header() -> Key {
    Key::from_checked("repository.json".to_owned())
}

/// A pack, named by the SHA-256 of its stored bytes, under the backup that wrote it.
pub(crate) fn pack(backup: &BackupId, pack: &Sha256Digest) -> Key {
    Key::from_checked(format!("data/{backup}/{pack}"))
}

/// All packs that `backup` wrote.
pub(crate) fn packs_of(backup: &BackupId) -> String {
    format!("data/{backup}/")
}

/// The pack that `key` names.
pub(crate) fn parse_pack(key: &Key) -> Option<(BackupId, Sha256Digest)> {
    let (backup, pack) = key.as_str().strip_prefix("data/")?.split_once('/')?;
    Some((BackupId::parse(backup).ok()?, Sha256Digest::parse(pack).ok()?))
}

/// All packs.
pub(crate) const PACKS: &str = "data/";
/// All that says where chunks lie.
pub(crate) const META: &str = "meta/";

/// What says where the chunks of a backup lie.
pub(crate) fn meta_of(backup: &BackupId) -> String {
    format!("meta/{backup}/")
}

/// The run that an object under `meta/` belongs to.
pub(crate) fn run_of_meta(key: &Key) -> Option<BackupId> {
    let (backup, _) = key.as_str().strip_prefix("meta/")?.split_once('/')?;
    BackupId::parse(backup).ok()
}

/// The run whose list `key` names: its streams, its refs, or one of its indexes.
pub(crate) fn run_of_list(key: &Key) -> Option<BackupId> {
    let run = run_of_meta(key)?;
    let is_named = [streams(&run, false), streams(&run, true), refs(&run)].contains(key);
    (is_named || parse_index(key).is_some()).then_some(run)
}

/// What follows the names of encrypted lists.
fn suffix(sealed: bool) -> &'static str {
    if sealed { ".age" } else { "" }
}

/// The names of all indexes of a backup, for people.
pub(crate) fn index_names(backup: &BackupId, sealed: bool) -> String {
    format!("meta/{backup}/index-*.tsv.zst{}", suffix(sealed))
}

/// The streams of a backup, in an encrypted repository or a plain one.
pub(crate) fn streams(backup: &BackupId, sealed: bool) -> Key {
    Key::from_checked(format!("meta/{backup}/streams.jsonl.zst{}", suffix(sealed)))
}

/// The `n`th index of a backup, from 0, in an encrypted repository or a plain one.
pub(crate) fn index(backup: &BackupId, n: u32, sealed: bool) -> Key {
    Key::from_checked(format!("meta/{backup}/index-{n}.tsv.zst{}", suffix(sealed)))
}

/// A key file of an epoch, which is named by its public key.
pub(crate) fn key_file(epoch: &str, n: u32) -> Key {
    Key::from_checked(format!("keys/{epoch}-{n}.age"))
}

/// All key files, or those of one epoch.
pub(crate) fn keys_of(epoch: Option<&str>) -> String {
    epoch.map_or_else(|| "keys/".to_owned(), |epoch| format!("keys/{epoch}-"))
}

/// The epoch and the number of the key file that `key` names.
pub(crate) fn parse_key_file(key: &Key) -> Option<(&str, u32)> {
    let (epoch, n) = key.as_str().strip_prefix("keys/")?.strip_suffix(".age")?.rsplit_once('-')?;
    let good = epoch.starts_with("age1") && epoch.len() < 100 && epoch.bytes().all(|b| b.is_ascii_alphanumeric());
    good.then_some((epoch, n.parse().ok()?))
}

/// All indexes of a backup.
pub(crate) fn indexes_of(backup: &BackupId) -> String {
    format!("meta/{backup}/index-")
}

/// The number of the index that `key` names.
pub(crate) fn parse_index(key: &Key) -> Option<(BackupId, u32)> {
    let (backup, file) = key.as_str().strip_prefix("meta/")?.split_once('/')?;
    let n = file.strip_prefix("index-")?;
    let n = n.strip_suffix(".age").unwrap_or(n).strip_suffix(".tsv.zst")?;
    let canonical = n == "0" || (!n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit()));
    if canonical { Some((BackupId::parse(backup).ok()?, n.parse().ok()?)) } else { None }
}

/// The packs that a backup needs.
pub(crate) fn refs(backup: &BackupId) -> Key {
    Key::from_checked(format!("meta/{backup}/refs.tsv.zst"))
}

/// A backup's manifest or abort marker.
pub(crate) fn manifest(policy: &Name, schedule: &Name, backup: &BackupId) -> Key {
    Key::from_checked(format!("backups/{policy}/{schedule}/{backup}.json"))
}

/// What follows the key of a signed object.
pub(crate) const SIGNATURE: &str = ".sig";

/// The signature of the object under `key`.
pub(crate) fn signature(key: &Key) -> Key {
    Key::from_checked(format!("{key}{SIGNATURE}"))
}

/// All manifests; of one policy; of one schedule of it.
pub(crate) fn manifests_of(policy: Option<&Name>, schedule: Option<&Name>) -> String {
    match (policy, schedule) {
        (None, _) => "backups/".to_owned(),
        (Some(policy), None) => format!("backups/{policy}/"),
        (Some(policy), Some(schedule)) => format!("backups/{policy}/{schedule}/"),
    }
}

/// Policy, schedule and backup of the manifest that `key` names (not of a signature beside it).
pub(crate) fn parse_manifest(key: &Key) -> Option<(Name, Name, BackupId)> {
    let mut segments = key.as_str().strip_prefix("backups/")?.split('/');
    let (policy, schedule, file) = (segments.next()?, segments.next()?, segments.next()?);
    if segments.next().is_some() {
        return None;
    }
    let backup = BackupId::parse(file.strip_suffix(".json")?).ok()?;
    Some((Name::new(policy).ok()?, Name::new(schedule).ok()?, backup))
}

/// The run beside whose manifest, or its place, lies the signature that `key` names.
pub(crate) fn parse_signature(key: &Key) -> Option<BackupId> {
    let of = Key::new(key.as_str().strip_suffix(SIGNATURE)?).ok()?;
    parse_manifest(&of).map(|(_, _, backup)| backup)
}

/// The mark of a running backup.
pub(crate) fn session(policy: &Name, backup: &BackupId) -> Key {
    Key::from_checked(format!("sessions/{policy}/{backup}.json"))
}

/// The backup whose session is no run, and stays for ever: a store is proven on it ([`super::proof`]).
pub(crate) fn proof() -> BackupId {
    BackupId::parse("19700101T000000Z-doctor").unwrap_or_else(|_| BackupId::new(jiff::Timestamp::UNIX_EPOCH))
}

/// All sessions, or those of one policy.
pub(crate) fn sessions_of(policy: Option<&Name>) -> String {
    policy.map_or_else(|| "sessions/".to_owned(), |policy| format!("sessions/{policy}/"))
}

/// Prune's mark that a backup is about to go.
pub(crate) fn tombstone(policy: &Name, backup: &BackupId) -> Key {
    Key::from_checked(format!("tombstones/{policy}/{backup}.json"))
}

/// All tombstones, or those of one policy.
pub(crate) fn tombstones_of(policy: Option<&Name>) -> String {
    policy.map_or_else(|| "tombstones/".to_owned(), |policy| format!("tombstones/{policy}/"))
}

/// All pins, or those of one policy.
pub(crate) fn pins_of(policy: Option<&Name>) -> String {
    policy.map_or_else(|| "pins/".to_owned(), |policy| format!("pins/{policy}/"))
}

/// The mark that keeps a backup from prune.
pub(crate) fn pin(policy: &Name, backup: &BackupId) -> Key {
    Key::from_checked(format!("pins/{policy}/{backup}.json"))
}

/// How many names a pin or a tombstone has.
pub(crate) const MARK_NAMES: u32 = 99;

/// The `n`th name of a pin or a tombstone, from 1, by its `first`.
pub(crate) fn numbered(first: &Key, n: u32) -> Key {
    match first.as_str().strip_suffix(".json") {
        Some(stem) if n > 1 => Key::from_checked(format!("{stem}.{n}.json")),
        _ => first.clone(),
    }
}

/// What all names of a pin or a tombstone begin with.
pub(crate) fn names_of(first: &Key) -> String {
    first.as_str().strip_suffix("json").unwrap_or(first.as_str()).to_owned()
}

/// The mark that makes a suspect backup the new base.
pub(crate) fn accept(policy: &Name, backup: &BackupId) -> Key {
    Key::from_checked(format!("accepts/{policy}/{backup}.json"))
}

/// All accept marks, or those of one policy.
pub(crate) fn accepts_of(policy: Option<&Name>) -> String {
    policy.map_or_else(|| "accepts/".to_owned(), |policy| format!("accepts/{policy}/"))
}

/// What a verification found damaged of the packs that `backup` needs.
pub(crate) fn damaged_packs(policy: &Name, backup: &BackupId, at: jiff::Timestamp) -> Key {
    let time = at.strftime("%Y%m%dT%H%M%SZ");
    Key::from_checked(format!("evidence/{policy}/{backup}/{time}-verify-damaged/packs.json"))
}

/// What a verification found of a backup: its report, by outcome and by what was looked at.
pub(crate) fn verify_evidence(
    (policy, backup): (&Name, &BackupId),
    at: jiff::Timestamp,
    outcome: &str,
    what: &str,
) -> Key {
    let time = at.strftime("%Y%m%dT%H%M%SZ");
    Key::from_checked(format!("evidence/{policy}/{backup}/{time}-verify-{outcome}/{what}.json"))
}

/// What the key of a verification's report says: policy, backup, time, outcome, and what was looked at.
pub(crate) fn parse_verify_evidence(key: &Key) -> Option<(Name, BackupId, jiff::Timestamp, &str, &str)> {
    let mut segments = key.as_str().strip_prefix("evidence/")?.split('/');
    let policy = Name::new(segments.next()?).ok()?;
    let backup = BackupId::parse(segments.next()?).ok()?;
    let (time, outcome) = segments.next()?.split_once("-verify-")?;
    let what = segments.next()?.strip_suffix(".json")?;
    if segments.next().is_some() {
        return None;
    }
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some((policy, backup, time, outcome, what))
}

/// All evidence of a policy, or of all of them.
pub(crate) fn all_evidence_of(policy: Option<&Name>) -> String {
    policy.map_or_else(|| "evidence/".to_owned(), evidence_of)
}

/// All evidence of a policy.
pub(crate) fn evidence_of(policy: &Name) -> String {
    format!("evidence/{policy}/")
}

/// All evidence about a backup.
pub(crate) fn evidence_about(policy: &Name, backup: &BackupId) -> String {
    format!("evidence/{policy}/{backup}/")
}

/// The run that a piece of evidence is about.
pub(crate) fn run_of_evidence(key: &Key) -> Option<BackupId> {
    BackupId::parse(key.as_str().strip_prefix("evidence/")?.split('/').nth(1)?).ok()
}

/// The backup that a drill has proven, by the key of its evidence: `<time>-drill-passed/<file>`.
pub(crate) fn parse_drill_passed(key: &Key) -> Option<BackupId> {
    let outcome = key.as_str().strip_prefix("evidence/")?.split('/').nth(2)?;
    let time = outcome.strip_suffix("-drill-passed")?;
    jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    run_of_evidence(key)
}

/// When the damaged packs that `key` names were found; the texts sort by time.
pub(crate) fn parse_damaged_packs(key: &Key) -> Option<&str> {
    let mut segments = key.as_str().strip_prefix("evidence/")?.split('/');
    Name::new(segments.next()?).ok()?;
    BackupId::parse(segments.next()?).ok()?;
    let time = segments.next()?.strip_suffix("-verify-damaged")?;
    let ended = segments.next() == Some("packs.json") && segments.next().is_none();
    let is_time = time.len() == 16 && time.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'T' | b'Z'));
    (ended && is_time).then_some(time)
}

/// Policy and backup of a key like `<folder>/<policy>/<backup>.json`: sessions, tombstones, pins, accepts; and of the further names
/// of tombstones and pins.
pub(crate) fn parse_mark(key: &Key) -> Option<(Name, BackupId)> {
    let mut segments = key.as_str().split('/');
    let (folder, policy, file) = (segments.next()?, segments.next()?, segments.next()?);
    if segments.next().is_some() || !matches!(folder, "sessions" | "tombstones" | "pins" | "accepts") {
        return None;
    }
    let stem = file.strip_suffix(".json")?;
    let stem = match stem.split_once('.') {
        Some((backup, n)) if matches!(folder, "tombstones" | "pins") && is_further(n) => backup,
        _ => stem,
    };
    Some((Name::new(policy).ok()?, BackupId::parse(stem).ok()?))
}

/// Whether this is the number of a further name, as it is written.
fn is_further(n: &str) -> bool {
    n.parse::<u32>().is_ok_and(|number| (2..=MARK_NAMES).contains(&number) && number.to_string() == n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spelled_as_the_format_says_and_parsed_back() {
        let id = BackupId::parse("20261120T020000Z-abcdef").unwrap();
        let name = |text| Name::new(text).unwrap();
        let sha = Sha256Digest::of(b"");
        let spelled = [
            header(),
            pack(&id, &sha),
            streams(&id, false),
            index(&id, 12, false),
            refs(&id),
            manifest(&name("orders"), &name("daily"), &id),
            session(&name("orders"), &id),
            tombstone(&name("orders"), &id),
            accept(&name("orders"), &id),
        ];
        let spelled: Vec<_> = spelled.iter().map(Key::as_str).collect();
        assert_eq!(
            spelled,
            [
                "repository.json",
                "data/20261120T020000Z-abcdef/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                "meta/20261120T020000Z-abcdef/streams.jsonl.zst",
                "meta/20261120T020000Z-abcdef/index-12.tsv.zst",
                "meta/20261120T020000Z-abcdef/refs.tsv.zst",
                "backups/orders/daily/20261120T020000Z-abcdef.json",
                "sessions/orders/20261120T020000Z-abcdef.json",
                "tombstones/orders/20261120T020000Z-abcdef.json",
                "accepts/orders/20261120T020000Z-abcdef.json",
            ]
        );
        assert_eq!(parse_pack(&pack(&id, &sha)), Some((id.clone(), sha)));
        assert_eq!(parse_index(&index(&id, 12, false)), Some((id.clone(), 12)));
        for list in [streams(&id, true), streams(&id, false), index(&id, 1, true), refs(&id)] {
            assert_eq!(run_of_list(&list), Some(id.clone()));
        }
        assert_eq!(
            parse_manifest(&manifest(&name("orders"), &name("daily"), &id)),
            Some((name("orders"), name("daily"), id.clone()))
        );
        let signed = signature(&manifest(&name("orders"), &name("daily"), &id));
        assert_eq!(parse_signature(&signed), Some(id.clone()));
        assert_eq!(parse_signature(&accept(&name("orders"), &id)), None);
        assert_eq!(parse_mark(&session(&name("orders"), &id)), Some((name("orders"), id)));
    }

    #[test]
    fn the_mark_of_damaged_packs_tells_its_time() {
        let (policy, id) = (Name::new("orders").unwrap(), BackupId::parse("20261120T020000Z-abcdef").unwrap());
        let key = damaged_packs(&policy, &id, "2026-11-21T13:05:09.5Z".parse().unwrap());
        let folder = "evidence/orders/20261120T020000Z-abcdef";
        assert_eq!(key.as_str(), format!("{folder}/20261121T130509Z-verify-damaged/packs.json"));
        assert_eq!(parse_damaged_packs(&key), Some("20261121T130509Z"));
        for other in ["20261121T130509Z-drill-passed/packs.json", "x-verify-damaged/packs.json", "packs.json"] {
            assert_eq!(parse_damaged_packs(&Key::new(format!("{folder}/{other}")).unwrap()), None, "{other}");
        }
    }

    #[test]
    fn the_evidence_of_a_verification_tells_what_it_is_by_its_key() {
        let (policy, id) = (Name::new("orders").unwrap(), BackupId::parse("20261120T020000Z-abcdef").unwrap());
        let at: jiff::Timestamp = "2026-11-21T13:05:09Z".parse().unwrap();
        let key = verify_evidence((&policy, &id), at, "sound", "content");
        let folder = "evidence/orders/20261120T020000Z-abcdef";
        assert_eq!(key.as_str(), format!("{folder}/20261121T130509Z-verify-sound/content.json"));
        assert_eq!(parse_verify_evidence(&key), Some((policy, id, at, "sound", "content")));
        for other in ["20261121T130509Z-drill-passed/x.json", "x-verify-sound/content.json", "content.json"] {
            assert_eq!(parse_verify_evidence(&Key::new(format!("{folder}/{other}")).unwrap()), None, "{other}");
        }
    }

    #[test]
    fn keys_of_something_else_are_not_taken() {
        for other in [
            "backups/orders/daily/20261120T020000Z-abcdef.json.sig",
            "backups/orders/daily/x/20261120T020000Z-abcdef.json",
            "backups/Orders/daily/20261120T020000Z-abcdef.json",
            "backups/orders/daily/latest.json",
            "meta/20261120T020000Z-abcdef/index-012.tsv.zst",
            "meta/20261120T020000Z-abcdef/index-.tsv.zst",
            "meta/20261120T020000Z-abcdef/index-+1.tsv.zst",
            "meta/20261120T020000Z-abcdef/index-4294967296.tsv.zst",
            "data/20261120T020000Z-abcdef/E3B0",
            "evidence/orders/20261120T020000Z-abcdef.json",
            "sessions/orders/x/20261120T020000Z-abcdef.json",
        ] {
            let key = Key::new(other).unwrap();
            assert_eq!(run_of_list(&key), None, "{other}");
            assert!(
                parse_manifest(&key).is_none()
                    && parse_index(&key).is_none()
                    && parse_pack(&key).is_none()
                    && parse_mark(&key).is_none(),
                "{other} was taken"
            );
        }
    }
}
