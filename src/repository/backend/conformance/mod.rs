//! One suite for every [`Backend`]: what the format needs of a store, checked from outside.

mod listing;
mod reading;

use std::sync::Arc;

use bytes::Bytes;
use futures::{TryStreamExt, future::join_all};

use super::{Backend, Error, ErrorKind, Fault, Faulty, Key, ObjectMeta, Op, PutOutcome, Rule};
use crate::types::Sha256Digest;

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
        let made = self.store.head(&name).await?.modified;
        for other in [second, first.clone(), Bytes::new()] {
            let outcome = self.store.put_new(&name, other).await?;
            self.holds(outcome == PutOutcome::Exists, "a later put finds the object there");
        }
        let stored = self.store.get(&name, 100).await?;
        self.holds(stored == first, "later puts do not touch the bytes");
        let mut large = vec![7; 9 << 20];
        let outcome = self.store.put_new(&name, Bytes::from(std::mem::take(&mut large))).await?;
        self.holds(outcome == PutOutcome::Exists, "a later put of a large object finds the small one there");
        let ObjectMeta { size, modified, .. } = self.store.head(&name).await?;
        self.holds(size == first.len() as u64, "a later put does not touch the size");
        self.holds(modified == made, "a later put does not touch the time");
        let sum = self.store.sha256_of(&name).await?;
        self.holds(
            sum.is_none_or(|sum| sum == Sha256Digest::of(&first)),
            "a checksum that is told is that of the bytes",
        );
        let none = self.store.sha256_of(&key("create/none")).await?;
        self.holds(none.is_none(), "what is not there has no checksum");
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
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Directory, Memory, Recording},
        *,
    };
    use crate::types::SystemClock;

    async fn run(name: &str, store: Arc<dyn Backend>) -> Findings {
        let findings = check(store).await;
        println!("{name}: {} checks", findings.checks);
        findings
    }

    #[tokio::test]
    async fn memory_conforms() {
        let findings = run("memory", Arc::new(Memory::default())).await;
        assert_eq!(findings.failures, [""; 0]);
        assert!(findings.checks > 500, "only {} checks", findings.checks);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_local_directory_conforms() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path()).await.unwrap();
        let findings = run("local directory", Arc::new(store)).await;
        assert_eq!(findings.failures, [""; 0]);
    }

    #[tokio::test]
    async fn decorators_without_rules_change_nothing() {
        let findings = run("decorated memory", Recording::new(Faulty::new(Arc::new(Memory::default())))).await;
        assert_eq!(findings.failures, [""; 0]);
    }

    #[tokio::test]
    async fn a_store_that_overwrites_does_not_conform() {
        let findings = run("overwriting memory", Arc::new(Memory::overwriting(Arc::new(SystemClock)))).await;
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
