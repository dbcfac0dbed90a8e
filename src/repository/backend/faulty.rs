//! A decorator that makes calls fail, stall or lose their acknowledgement, as a test says.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::watch;

use super::{
    Backend, BucketLock, Error, ErrorKind, Key, Listing, LockOptions, ObjectMeta, Op, Powers, PutOutcome, Relock,
    failure::Failure,
};
use crate::types::Sha256Digest;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not carried out, and fails like this.
    Fail(ErrorKind),
    /// It is carried out, and then fails as if its answer had been lost.
    LoseAcknowledgement,
    /// It is not carried out before [`Faulty::release`].
    Stall,
}

/// Which calls a fault happens to.
#[derive(Debug, Clone)]
pub struct Rule {
    op: Option<Op>,
    prefix: String,
    first: u64,
    times: u64,
    fault: Fault,
    seen: u64,
}

impl Rule {
    /// `fault` at the first call of `op`.
    #[must_use]
    pub fn new(op: Op, fault: Fault) -> Self {
        Self { op: Some(op), ..Self::any(fault) }
    }

    /// `fault` at the first call of whatever method.
    #[must_use]
    pub fn any(fault: Fault) -> Self {
        Self { op: None, prefix: String::new(), first: 1, times: 1, fault, seen: 0 }
    }

    /// Only calls whose key or prefix begins with `prefix` count.
    #[must_use]
    pub fn under(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Only from the `n`th call that counts, the first being 1.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { first: n, ..self }
    }

    /// At `n` calls in a row, not one.
    #[must_use]
    pub fn times(self, n: u64) -> Self {
        Self { times: n, ..self }
    }

    /// At every call from then on.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    fn applies(&mut self, op: Op, subject: &str) -> bool {
        if self.op.is_some_and(|mine| mine != op) || !subject.starts_with(&self.prefix) {
            return false;
        }
        self.seen += 1;
        self.seen >= self.first && self.seen - self.first < self.times
    }
}

/// A store that fails as its rules say; without any it is the store below it.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Backend>,
    state: Arc<Mutex<State>>,
    released: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    calls: u64,
    writes: u64,
    /// The numbers of calls and of writes after which nothing succeeds.
    last_call: Option<u64>,
    last_write: Option<u64>,
    stalled: usize,
}

impl Faulty {
    /// Faults before `inner`; none yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>) -> Arc<Self> {
        Arc::new(Self { inner, state: Arc::default(), released: watch::Sender::new(0) })
    }

    /// Adds a rule. The first rule that applies decides; all of them count the call.
    pub fn on(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    /// As if the process died: `n` more calls are carried out, and all later ones fail.
    pub fn crash_after_calls(&self, n: u64) {
        let mut state = self.state();
        state.last_call = Some(state.calls + n);
    }

    /// As if the process died: calls are carried out until `n` more puts and deletions are, and all later ones fail.
    pub fn crash_after_writes(&self, n: u64) {
        let mut state = self.state();
        state.last_write = Some(state.writes + n);
    }

    /// Ends all faults and crashes, and lets the stalled calls go on.
    pub fn heal(&self) {
        {
            let mut state = self.state();
            state.rules.clear();
            (state.last_call, state.last_write) = (None, None);
        }
        self.release();
    }

    /// Lets the stalled calls go on.
    pub fn release(&self) {
        self.released.send_modify(|times| *times += 1);
    }

    /// How many calls stand still now.
    #[must_use]
    pub fn stalled(&self) -> usize {
        self.state().stalled
    }

    /// How many calls there were, failed ones included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many puts and deletions there were, failed ones included.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.state().writes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Counts the call, and says what is to happen to it.
    fn fault(&self, op: Op, subject: &str) -> Option<Fault> {
        let mut state = self.state();
        let dead = |last: Option<u64>, so_far: u64| last.is_some_and(|last| so_far >= last);
        let crashed = dead(state.last_call, state.calls) || dead(state.last_write, state.writes);
        state.calls += 1;
        state.writes += u64::from(op.is_write());
        if crashed {
            return Some(Fault::Fail(ErrorKind::Unreachable));
        }
        let applying: Vec<Fault> =
            state.rules.iter_mut().filter_map(|rule| rule.applies(op, subject).then_some(rule.fault)).collect();
        applying.first().copied()
    }

    /// What ends when the calls that stand still now are released.
    fn stall(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut released = self.released.subscribe();
        let standing = Standing::new(&self.state);
        async move {
            // It fails only when the store itself is gone.
            let _ = released.changed().await;
            drop(standing);
        }
    }

    fn error(&self, kind: ErrorKind, op: Op, subject: &str) -> Error {
        let act = match op {
            Op::PutNew => "write",
            Op::Get | Op::GetRange => "read",
            Op::Head => "look at",
            Op::List => "list",
            Op::Delete => "delete",
            Op::KeepLocked => "lock",
        };
        Failure::new(kind, "a fault of the test").at(act, subject, self.inner.location())
    }

    /// The call with the fault, if any, that is to happen to it.
    async fn with_fault<T>(
        &self,
        op: Op,
        subject: &str,
        call: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        match self.fault(op, subject) {
            None => call.await,
            Some(Fault::Fail(kind)) => Err(self.error(kind, op, subject)),
            Some(Fault::LoseAcknowledgement) => {
                call.await?;
                Err(self.error(ErrorKind::TimedOut, op, subject))
            }
            Some(Fault::Stall) => {
                self.stall().await;
                call.await
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a call that stands still, also when it is dropped.
struct Standing(Arc<Mutex<State>>);

impl Standing {
    fn new(state: &Arc<Mutex<State>>) -> Self {
        lock(state).stalled += 1;
        Self(Arc::clone(state))
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        lock(&self.0).stalled -= 1;
    }
}

#[async_trait]
impl Backend for Faulty {
    fn location(&self) -> &str {
        self.inner.location()
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error> {
        self.with_fault(Op::PutNew, key.as_str(), self.inner.put_new(key, bytes)).await
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        self.with_fault(Op::Get, key.as_str(), self.inner.get(key, limit)).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        self.with_fault(Op::GetRange, key.as_str(), self.inner.get_range(key, range)).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error> {
        self.with_fault(Op::Head, key.as_str(), self.inner.head(key)).await
    }

    fn list(&self, prefix: &str) -> Listing {
        let (inner, subject) = (Arc::clone(&self.inner), prefix.to_owned());
        match self.fault(Op::List, prefix) {
            None => inner.list(prefix),
            Some(Fault::Fail(kind)) => stream::iter([Err(self.error(kind, Op::List, prefix))]).boxed(),
            Some(Fault::LoseAcknowledgement) => {
                let lost = self.error(ErrorKind::TimedOut, Op::List, prefix);
                inner.list(prefix).chain(stream::iter([Err(lost)])).boxed()
            }
            Some(Fault::Stall) => {
                let stall = self.stall();
                let wait = async move {
                    stall.await;
                    Ok::<_, Error>(inner.list(&subject))
                };
                stream::once(wait).try_flatten().boxed()
            }
        }
    }

    async fn strangers(&self, prefix: &str) -> Result<Vec<Key>, Error> {
        self.with_fault(Op::List, prefix, self.inner.strangers(prefix)).await
    }

    async fn clock(&self) -> Result<Option<jiff::Timestamp>, Error> {
        self.with_fault(Op::Head, "", self.inner.clock()).await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        self.with_fault(Op::Delete, key.as_str(), self.inner.delete(key)).await
    }

    fn locks(&self) -> Option<&LockOptions> {
        self.inner.locks()
    }

    async fn lock_ready(&self) -> Result<Option<BucketLock>, Error> {
        self.inner.lock_ready().await
    }

    async fn keep_locked(&self, key: &Key) -> Result<Relock, Error> {
        self.with_fault(Op::KeepLocked, key.as_str(), self.inner.keep_locked(key)).await
    }

    async fn probe(&self, key: &Key, bytes: Bytes) -> Result<Option<Powers>, Error> {
        self.inner.probe(key, bytes).await
    }

    async fn locked_until(&self, key: &Key) -> Result<Option<jiff::Timestamp>, Error> {
        self.inner.locked_until(key).await
    }

    async fn sha256_of(&self, key: &Key) -> Result<Option<Sha256Digest>, Error> {
        self.inner.sha256_of(key).await
    }

    async fn remove_leftovers(&self, before: jiff::Timestamp) -> Result<u64, Error> {
        self.inner.remove_leftovers(before).await
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Memory, *};

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn store() -> (Memory, Arc<Faulty>) {
        let memory = Memory::default();
        (memory.clone(), Faulty::new(Arc::new(memory)))
    }

    async fn put(store: &Faulty, text: &str) -> Result<PutOutcome, ErrorKind> {
        store.put_new(&key(text), Bytes::new()).await.map_err(|error| error.kind)
    }

    #[tokio::test]
    async fn without_rules_nothing_fails() {
        let (memory, store) = store();
        assert_eq!(put(&store, "a").await, Ok(PutOutcome::Created));
        assert_eq!(store.list("").count().await, 1);
        store.delete(&key("a")).await.unwrap();
        assert_eq!(memory.keys(), []);
        assert_eq!((store.calls(), store.writes()), (3, 2));
    }

    #[tokio::test]
    async fn only_the_calls_that_the_rule_names_fail() {
        let (memory, store) = store();
        store.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::Full)).under("data/").nth(2).times(2));
        assert_eq!(put(&store, "meta/1").await, Ok(PutOutcome::Created));
        assert_eq!(put(&store, "data/1").await, Ok(PutOutcome::Created));
        assert_eq!(store.head(&key("data/1")).await.unwrap().size, 0);
        assert_eq!(put(&store, "data/2").await, Err(ErrorKind::Full));
        assert_eq!(put(&store, "data/2").await, Err(ErrorKind::Full));
        assert_eq!(put(&store, "data/2").await, Ok(PutOutcome::Created));
        assert_eq!(memory.keys().len(), 3);
    }

    #[tokio::test]
    async fn a_lost_acknowledgement_leaves_the_object() {
        let (memory, store) = store();
        store.on(Rule::new(Op::PutNew, Fault::LoseAcknowledgement));
        assert_eq!(put(&store, "a").await, Err(ErrorKind::TimedOut));
        assert_eq!(memory.keys(), [key("a")]);
        assert_eq!(put(&store, "a").await, Ok(PutOutcome::Exists));
    }

    #[tokio::test]
    async fn after_a_crash_nothing_succeeds_until_it_is_healed() {
        let (memory, store) = store();
        store.crash_after_writes(2);
        assert!(put(&store, "a").await.is_ok());
        assert!(store.get(&key("a"), 0).await.is_ok());
        assert!(put(&store, "b").await.is_ok());
        assert_eq!(store.get(&key("a"), 0).await.unwrap_err().kind, ErrorKind::Unreachable);
        assert!(put(&store, "c").await.is_err());
        assert!(store.list("").try_next().await.is_err());
        store.heal();
        store.crash_after_calls(1);
        assert!(put(&store, "c").await.is_ok());
        assert!(put(&store, "d").await.is_err());
        assert_eq!(memory.keys().len(), 3);
    }

    #[tokio::test]
    async fn a_stalled_call_is_carried_out_when_it_is_released() {
        let (memory, store) = store();
        store.on(Rule::any(Fault::Stall));
        let task = tokio::spawn({
            let store = Arc::clone(&store);
            async move { put(&store, "a").await }
        });
        while store.stalled() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(memory.keys(), []);
        store.release();
        assert_eq!(task.await.unwrap(), Ok(PutOutcome::Created));
        assert_eq!((store.stalled(), memory.keys().len()), (0, 1));

        store.on(Rule::new(Op::List, Fault::Stall));
        let mut listing = store.list("");
        assert_eq!(store.stalled(), 1);
        store.release();
        assert_eq!(listing.try_next().await.unwrap().unwrap().key, key("a"));
        assert_eq!(store.stalled(), 0);
        store.on(Rule::new(Op::List, Fault::Stall));
        drop(store.list(""));
        assert_eq!(store.stalled(), 0, "a call that is dropped stands still no more");
    }
}
