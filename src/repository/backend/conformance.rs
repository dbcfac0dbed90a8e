//! One suite for every [`Backend`]: what the format needs of a store, checked from outside.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use jiff::{SignedDuration, Timestamp};

use super::{Backend, Error, ErrorKind, Fault, Faulty, Key, ObjectMeta, Op, PutOutcome, Rule};

/// What the suite found.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many things were checked.
    pub checks: usize,
    /// What does not hold, each as a sentence.
    pub failures: Vec<String>,
}

/// How many writers want the same key.
const RACERS: usize = 16;
/// More than the 1,000 keys of a page of S3.
const MANY: usize = 1_005;
/// The largest object of the format.
const LARGEST: usize = 16 << 20;
/// How far the store's clock may be from this one here.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// Runs the whole suite on `store`, which must be empty. What is put stays there.
pub async fn check(store: Arc<dyn Backend>) -> Findings {
    let mut suite = Suite { store, findings: Findings::default() };
    // The listing of everything comes first, while that is nothing.
    let sections: [(&str, Result<(), Error>); 13] = [
        ("an empty store", suite.empty_store().await),
        ("create-only puts", suite.create_only().await),
        ("racing writers", suite.racers().await),
        ("lost acknowledgement", suite.lost_acknowledgement().await),
        ("reading after writing", suite.read_after_write().await),
        ("ranges", suite.ranges().await),
        ("sizes and limits", suite.limits().await),
        ("missing objects", suite.missing().await),
        ("deletion", suite.deletion().await),
        ("odd names", suite.odd_names().await),
        ("prefixes", suite.prefixes().await),
        ("the order of listings", suite.order().await),
        ("long listings", suite.long_listing().await),
    ];
    for (section, result) in sections {
        if let Err(error) = result {
            suite.findings.failures.push(format!("{section}: ended early: {error}"));
        }
    }
    suite.findings
}

struct Suite {
    store: Arc<dyn Backend>,
    findings: Findings,
}

fn key(text: impl Into<String>) -> Key {
    // Every key of the suite is valid; this one only stands in for a mistake in it.
    Key::new(text).unwrap_or_else(|_| Key("not-a-valid-key-of-the-suite".to_owned()))
}

fn bytes_of(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind)
}

impl Suite {
    fn holds(&mut self, holds: bool, what: impl Into<String>) {
        self.findings.checks += 1;
        if !holds {
            self.findings.failures.push(what.into());
        }
    }

    async fn put(&self, name: &str) -> Result<PutOutcome, Error> {
        self.store.put_new(&key(name), bytes_of(name)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, Error> {
        self.store.list(prefix).try_collect().await
    }

    async fn names(&self, prefix: &str) -> Result<Vec<String>, Error> {
        Ok(self.list(prefix).await?.into_iter().map(|meta| meta.key.to_string()).collect())
    }

    async fn empty_store(&mut self) -> Result<(), Error> {
        let all = self.names("").await?;
        self.holds(all.is_empty(), "a store to be tested is empty");
        let none = self.names("no/such/prefix").await?;
        self.holds(none.is_empty(), "a prefix without objects lists nothing, without an error");
        self.holds(self.store.location().contains("://"), "the location is a URL");
        Ok(())
    }

    async fn create_only(&mut self) -> Result<(), Error> {
        let (name, first, second) = (key("create/only"), bytes_of("first"), bytes_of("the second, longer"));
        let outcome = self.store.put_new(&name, first.clone()).await?;
        self.holds(outcome == PutOutcome::Created, "the first put creates");
        for other in [second, first.clone(), Bytes::new()] {
            let outcome = self.store.put_new(&name, other).await?;
            self.holds(outcome == PutOutcome::Exists, "a later put finds the object there");
        }
        let stored = self.store.get(&name, 100).await?;
        self.holds(stored == first, "later puts do not touch the bytes");
        let mut large = vec![7; 9 << 20];
        let outcome = self.store.put_new(&name, Bytes::from(std::mem::take(&mut large))).await?;
        self.holds(outcome == PutOutcome::Exists, "a later put of a large object finds the small one there");
        let size = self.store.head(&name).await?.size;
        self.holds(size == first.len() as u64, "a later put does not touch the size");
        Ok(())
    }

    async fn racers(&mut self) -> Result<(), Error> {
        for round in 0..4 {
            let name = key(format!("race/{round}"));
            let size = if round < 2 { 16 } else { 256 << 10 };
            let contents: Vec<Bytes> =
                (0..RACERS).map(|racer| Bytes::from(format!("{racer:016}").repeat(size / 16))).collect();
            let puts = contents.iter().map(|bytes| {
                let (store, name, bytes) = (Arc::clone(&self.store), name.clone(), bytes.clone());
                tokio::spawn(async move { store.put_new(&name, bytes).await })
            });
            let outcomes = join_all(puts).await;
            let mut winners = Vec::new();
            for (outcome, bytes) in outcomes.into_iter().zip(&contents) {
                match outcome {
                    Ok(Ok(PutOutcome::Created)) => winners.push(bytes.clone()),
                    Ok(Ok(PutOutcome::Exists)) => {}
                    Ok(Err(error)) => return Err(error),
                    Err(stopped) => self.holds(false, format!("a racer stopped: {stopped}")),
                }
            }
            let stored = self.store.get(&name, size as u64).await?;
            self.holds(winners.len() == 1, format!("of {RACERS} racers one creates, not {}", winners.len()));
            self.holds(winners.first() == Some(&stored), "the object holds the winner's bytes");
        }
        Ok(())
    }

    async fn lost_acknowledgement(&mut self) -> Result<(), Error> {
        let faulty = Faulty::new(Arc::clone(&self.store));
        faulty.on(Rule::new(Op::PutNew, Fault::LoseAcknowledgement));
        let (name, bytes) = (key("lost/acknowledgement"), bytes_of("ours"));
        let lost = faulty.put_new(&name, bytes.clone()).await;
        self.holds(lost.is_err(), "the put whose acknowledgement is lost fails");
        let again = faulty.put_new(&name, bytes.clone()).await?;
        self.holds(again == PutOutcome::Exists, "the put that is tried again finds the object there");
        let stored = faulty.get(&name, 100).await?;
        self.holds(stored == bytes, "and the bytes are ours");
        Ok(())
    }

    async fn read_after_write(&mut self) -> Result<(), Error> {
        for n in 0..20 {
            let (name, bytes) = (key(format!("fresh/{n:02}")), Bytes::from(vec![b'x'; n * 1000]));
            let before = Timestamp::now();
            self.store.put_new(&name, bytes.clone()).await?;
            let read = self.store.get(&name, 1 << 20).await?;
            self.holds(read == bytes, "an object is read as it was written");
            let seen = self.store.head(&name).await?;
            self.holds(seen.key == name && seen.size == bytes.len() as u64, "head says key and size");
            let near = seen.modified >= before - CLOCKS && seen.modified <= Timestamp::now() + CLOCKS;
            self.holds(near, format!("head says the time of the write, not {}", seen.modified));
            let listed = self.list("fresh/").await?;
            self.holds(listed.len() == n + 1, "a listing holds every object as soon as it is written");
            let same = listed.last().is_some_and(|last| {
                // Listings of some stores have whole seconds, heads have not, or the other way round.
                let apart = last.modified.duration_since(seen.modified).abs();
                last.key == name && last.size == seen.size && apart < SignedDuration::from_secs(1)
            });
            self.holds(same, "a listing says what head says");
        }
        Ok(())
    }

    async fn ranges(&mut self) -> Result<(), Error> {
        let name = key("range/object");
        let bytes: Bytes = (0..10_000u32).flat_map(u32::to_be_bytes).collect::<Vec<u8>>().into();
        let size = bytes.len() as u64;
        self.store.put_new(&name, bytes.clone()).await?;
        for range in [0..1, 0..size, 1..2, 17_000..23_001, size - 1..size, size - 4..size, 0..0, 5..5, size..size] {
            let read = self.store.get_range(&name, range.clone()).await?;
            let expected = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let expected = expected.and_then(|(start, end)| bytes.get(start..end));
            self.holds(expected == Some(&read[..]), format!("bytes {range:?} are those of the object"));
        }
        let beyond =
            [0..size + 1, size - 1..size + 1, size..size + 1, size + 1..size + 2, size + 1..size + 1, 0..u64::MAX];
        for range in beyond.into_iter().chain([Range { start: 9, end: 8 }]) {
            let read = kind(self.store.get_range(&name, range.clone()).await);
            self.holds(
                read == Some(ErrorKind::Other),
                format!("bytes {range:?} are refused as not within, not {read:?}"),
            );
        }
        Ok(())
    }

    async fn limits(&mut self) -> Result<(), Error> {
        let (name, empty, large) = (key("limit/ten"), key("limit/empty"), key("limit/large"));
        self.store.put_new(&name, bytes_of("0123456789")).await?;
        for limit in [10, 11, u64::MAX] {
            let read = self.store.get(&name, limit).await?;
            self.holds(read.len() == 10, format!("a limit of {limit} lets ten bytes through"));
        }
        for limit in [0, 1, 9] {
            let read = kind(self.store.get(&name, limit).await);
            self.holds(
                read == Some(ErrorKind::TooLarge),
                format!("a limit of {limit} refuses ten bytes, not {read:?}"),
            );
        }
        self.store.put_new(&empty, Bytes::new()).await?;
        let read = self.store.get(&empty, 0).await?;
        self.holds(read.is_empty(), "an empty object is read as empty");
        let nothing = self.store.get_range(&empty, 0..0).await?;
        self.holds(nothing.is_empty(), "nothing of an empty object can be read");
        let one = kind(self.store.get_range(&empty, 0..1).await);
        self.holds(one == Some(ErrorKind::Other), "one byte of an empty object is refused");
        let size = self.store.head(&empty).await?.size;
        self.holds(size == 0, "an empty object has no bytes");
        let again = self.store.put_new(&empty, bytes_of("more")).await?;
        self.holds(again == PutOutcome::Exists, "an empty object is there");

        let bytes: Bytes = (0u32..).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(LARGEST).collect();
        let outcome = self.store.put_new(&large, bytes.clone()).await?;
        self.holds(outcome == PutOutcome::Created, "an object of 16 MiB is created");
        let read = self.store.get(&large, LARGEST as u64).await?;
        self.holds(read == bytes, "an object of 16 MiB is read as it was written");
        let end = self.store.get_range(&large, (LARGEST - 5) as u64..LARGEST as u64).await?;
        self.holds(Some(&end[..]) == bytes.get(LARGEST - 5..), "its end is read alone");
        let refused = kind(self.store.get(&large, LARGEST as u64 - 1).await);
        self.holds(refused == Some(ErrorKind::TooLarge), "it is refused by a limit that is one byte less");
        Ok(())
    }

    async fn missing(&mut self) -> Result<(), Error> {
        self.put("missing/a/b").await?;
        // The last three are, on a file system, a folder, below a file, and below nothing.
        for name in ["missing/c", "missing/a", "missing/a/b/c", "missing/x/y/z"] {
            let missing = key(name);
            for (call, found) in [
                ("get", kind(self.store.get(&missing, 10).await)),
                ("range", kind(self.store.get_range(&missing, 0..1).await)),
                ("empty range", kind(self.store.get_range(&missing, 0..0).await)),
                ("head", kind(self.store.head(&missing).await)),
            ] {
                self.holds(
                    found == Some(ErrorKind::NotFound),
                    format!("{call} of `{name}` is not found, not {found:?}"),
                );
            }
            let deleted = self.store.delete(&missing).await;
            self.holds(deleted.is_ok(), format!("the deletion of `{name}`, which is not there, is no error"));
        }
        let left = self.names("missing/").await?;
        self.holds(left == ["missing/a/b"], "none of this touches what is there");
        Ok(())
    }

    async fn deletion(&mut self) -> Result<(), Error> {
        let name = key("deleted/a");
        for sibling in ["deleted/a", "deleted/a-", "deleted/b/c"] {
            self.put(sibling).await?;
        }
        self.store.delete(&name).await?;
        self.store.delete(&name).await?;
        self.store.delete(&key("deleted/b/c")).await?;
        let read = kind(self.store.get(&name, 100).await);
        self.holds(read == Some(ErrorKind::NotFound), "a deleted object is not found");
        let left = self.names("deleted/").await?;
        self.holds(left == ["deleted/a-"], "a deleted object is not listed, and the others are");
        let outcome = self.put("deleted/b/d").await?;
        self.holds(outcome == PutOutcome::Created, "where the last object was deleted another can be created");
        Ok(())
    }

    async fn odd_names(&mut self) -> Result<(), Error> {
        let long = vec!["k".repeat(100); 8].join("/");
        let mut names: Vec<String> = [
            "plus+plus",
            "a space",
            " leading",
            "trailing ",
            "per%cent",
            "%",
            "%41",
            "%2F",
            "%2e%2e",
            "%25",
            "grüße",
            "命名",
            "e\u{301}",
            "\u{1f600}",
            "~tilde",
            "...",
            "..a",
            ".hidden",
            ".tmp-not-temporary",
            "a.",
            "a:b",
            "a=b&c",
            "a?b#c",
            "'quote'",
            "\"double\"",
            "<tag>&amp;",
            "{}[]^`|",
            "*",
            "$HOME",
            "-flag",
            "a,b;c",
            "!()@",
            "CON",
            "UPPER",
            "upper",
        ]
        .map(str::to_owned)
        .into();
        names.push(long);
        names = names.iter().flat_map(|name| [format!("odd/{name}"), format!("odd-folders/{name}/in")]).collect();
        for name in &names {
            let (name, bytes) = (key(name.as_str()), bytes_of(name));
            let created = self.store.put_new(&name, bytes.clone()).await?;
            self.holds(created == PutOutcome::Created, format!("`{name}` is created"));
            let again = self.store.put_new(&name, Bytes::new()).await?;
            self.holds(again == PutOutcome::Exists, format!("`{name}` is created once"));
            let read = self.store.get(&name, 10_000).await?;
            self.holds(read == bytes, format!("`{name}` is read"));
            let range = self.store.get_range(&name, 1..3).await?;
            self.holds(bytes.get(1..3) == Some(&range[..]), format!("a part of `{name}` is read"));
            let seen = self.store.head(&name).await?;
            self.holds(seen.size == bytes.len() as u64, format!("`{name}` is seen"));
            let alone = self.names(name.as_str()).await?;
            self.holds(alone.contains(&name.to_string()), format!("`{name}` is listed by its own name"));
        }
        names.sort();
        let listed = self.names("odd").await?;
        self.holds(listed == names, format!("all odd names are listed in order: {listed:?}"));
        for name in &names {
            self.store.delete(&key(name.as_str())).await?;
        }
        let left = self.names("odd").await?;
        self.holds(left.is_empty(), format!("all odd names are deleted, but {left:?}"));
        Ok(())
    }

    async fn prefixes(&mut self) -> Result<(), Error> {
        let names = ["p/2026", "p/2026-x/a", "p/20261120/a", "p/20261120/b", "p/20261121", "p/2027/a", "p2/a"];
        for name in names {
            self.put(name).await?;
        }
        for prefix in [
            "p/2026",
            "p/20261",
            "p/20261120",
            "p/20261120/",
            "p/20261120/a",
            "p/2027",
            "p/2027/",
            "p/",
            "p",
            "p2",
            "p/3",
        ] {
            let expected: Vec<&str> = names.into_iter().filter(|name| name.starts_with(prefix)).collect();
            let listed = self.names(prefix).await?;
            let theirs: Vec<&String> =
                listed.iter().filter(|name| name.starts_with("p/") || name.starts_with("p2/")).collect();
            self.holds(theirs == expected, format!("the prefix `{prefix}` is a text and no folder: {listed:?}"));
        }
        for prefix in ["p/../p", "p//", "/p", "../", "p/20261120/a/"] {
            let listed = self.names(prefix).await?;
            self.holds(listed.is_empty(), format!("no key begins with `{prefix}`: {listed:?}"));
        }
        Ok(())
    }

    async fn order(&mut self) -> Result<(), Error> {
        let mut names = [
            "order/a/x",
            "order/a/y/z",
            "order/a-b",
            "order/a.b",
            "order/a0",
            "order/a b",
            "order/a!",
            "order/a~",
            "order/aé",
            "order/a-/x",
            "order/a-b-c/x",
            "order/a./x",
            "order/B",
            "order/b/é",
            "order/b/z",
            "order/\u{fb00}",
            "order/\u{10000}",
        ];
        for name in names {
            self.put(name).await?;
        }
        names.sort_unstable();
        for prefix in ["order/", "order/a", "order/a-", "order/b/"] {
            let expected: Vec<&str> = names.into_iter().filter(|name| name.starts_with(prefix)).collect();
            let listed = self.names(prefix).await?;
            self.holds(listed == expected, format!("`{prefix}` is listed in the byte order of the keys: {listed:?}"));
        }
        Ok(())
    }

    async fn long_listing(&mut self) -> Result<(), Error> {
        let mut names: Vec<String> = (0..MANY).map(|n| format!("many/{:x}/{n}", n % 16)).collect();
        let outcomes = stream::iter(names.clone())
            .map(|name| {
                let store = Arc::clone(&self.store);
                async move { store.put_new(&key(name), Bytes::new()).await }
            })
            .buffer_unordered(8);
        let outcomes: Vec<PutOutcome> = outcomes.try_collect().await?;
        self.holds(outcomes.iter().all(|outcome| *outcome == PutOutcome::Created), "many objects are created");
        names.sort();
        let listed = self.names("many/").await?;
        self.holds(
            listed == names,
            format!("a listing over pages holds all {MANY} keys in order, not {}", listed.len()),
        );
        let first = tokio::time::timeout(Duration::from_secs(60), self.store.list("many/").next()).await;
        let first = first.ok().flatten().transpose()?.map(|meta| meta.key.to_string());
        self.holds(first.as_ref() == names.first(), "a listing can be left after its first key");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Directory, Memory},
        *,
    };
    use crate::types::SystemClock;

    async fn run(name: &str, store: impl Backend + 'static) -> Findings {
        let findings = check(Arc::new(store)).await;
        println!("{name}: {} checks", findings.checks);
        findings
    }

    #[tokio::test]
    async fn memory_conforms() {
        let findings = run("memory", Memory::default()).await;
        assert_eq!(findings.failures, [""; 0]);
        assert!(findings.checks > 500, "only {} checks", findings.checks);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_local_directory_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let findings = run("local directory", Directory::open(folder.path()).await.unwrap()).await;
        assert_eq!(findings.failures, [""; 0]);
    }

    #[tokio::test]
    async fn a_store_that_overwrites_does_not_conform() {
        let findings = run("overwriting memory", Memory::overwriting(Arc::new(SystemClock))).await;
        for sign in ["later puts do not touch the bytes", "of 16 racers one creates, not 16"] {
            assert!(findings.failures.iter().any(|failure| failure == sign), "{:?}", findings.failures);
        }
    }

    #[tokio::test]
    async fn a_store_that_fails_does_not_conform() {
        for op in [Op::PutNew, Op::Get, Op::GetRange, Op::Head, Op::List, Op::Delete] {
            let faulty = Faulty::new(Arc::new(Memory::default()));
            faulty.on(Rule::new(op, Fault::Fail(ErrorKind::Full)).nth(5).always());
            let findings = check(faulty).await;
            assert_ne!(findings.failures, [""; 0], "{op:?}");
        }
    }
}
