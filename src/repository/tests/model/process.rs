//! A process of the model: production code whose every call of the store waits for its answer.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use super::{
    super::*,
    shelf::Object,
    world::{Bug, Who, World},
};
use crate::{
    repository::backend::{Error, ErrorKind, Listing, ObjectMeta, PutOutcome},
    types::BackupId,
};

/// What a process asks of the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Call {
    /// Nothing yet: it has not begun.
    Begin,
    Put(Key, Bytes),
    Get(Key, u64),
    Range(Key, Range<u64>),
    Head(Key),
    List(String),
    Delete(Key),
}

impl Call {
    /// A word for what is asked.
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Begin => "begins",
            Self::Put(..) => "puts",
            Self::Get(..) => "reads",
            Self::Range(..) => "reads a range of",
            Self::Head(_) => "looks at",
            Self::List(_) => "lists",
            Self::Delete(_) => "deletes",
        }
    }

    /// The key or prefix.
    pub(super) fn subject(&self) -> &str {
        match self {
            Self::Begin => "",
            Self::Put(key, _) | Self::Get(key, _) | Self::Range(key, _) | Self::Head(key) | Self::Delete(key) => {
                key.as_str()
            }
            Self::List(prefix) => prefix,
        }
    }

    /// Whether it may change the store.
    pub(super) fn writes(&self) -> bool {
        matches!(self, Self::Put(..) | Self::Delete(_))
    }
}

/// What the store says.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Begun,
    Put(PutOutcome),
    Bytes(Bytes),
    Meta(Arc<Object>),
    List(Arc<[Arc<Object>]>),
    Deleted,
    Failed(ErrorKind),
}

impl Answer {
    /// It as a number. What proves the store is of no account.
    pub(super) fn number(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        std::mem::discriminant(self).hash(&mut hasher);
        match self {
            Self::Begun | Self::Deleted => {}
            Self::Put(outcome) => (*outcome == PutOutcome::Created).hash(&mut hasher),
            Self::Bytes(bytes) => bytes.hash(&mut hasher),
            Self::Meta(object) => object.listed.hash(&mut hasher),
            Self::List(all) => all.iter().for_each(|object| object.listed.hash(&mut hasher)),
            Self::Failed(kind) => kind.hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// What a process does next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Next {
    Call(Call),
    /// It has ended; with the backups that it was told to have committed.
    Ended(Vec<BackupId>),
}

/// Calls that wait for their answers.
#[derive(Debug, Default)]
struct Mail {
    waiting: VecDeque<(Call, oneshot::Sender<Answer>)>,
    ended: Option<Vec<BackupId>>,
    /// The name by chance of what proves the store.
    proof: Option<String>,
}

#[derive(Debug, Default)]
struct Post {
    mail: Mutex<Mail>,
    changed: Notify,
}

impl Post {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of what proves the store, after the folder.
const PROOF: &str = "19700101T";

/// Whether a key, or a prefix, is of what proves the store.
pub(super) fn is_proof(subject: &str) -> bool {
    subject.contains("/19700101T")
}

/// A process that runs as far as it is answered. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    clock: Arc<SetClock>,
    post: Arc<Post>,
    task: JoinHandle<()>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Process {
    /// Starts one, within a set of tasks of this thread; it asks to begin.
    pub(super) fn start(world: &World, who: Who, bug: Bug) -> Self {
        let (clock, post) = (Arc::new(SetClock::new(world.start)), Arc::<Post>::default());
        let asking = Arc::new(Asking { post: Arc::clone(&post), clock: clock.clone(), who, under: "" });
        let (work, of_task) = (world.work(who, bug, asking.clone(), clock.clone()), Arc::clone(&post));
        let task = tokio::task::spawn_local(async move {
            let begun = asking.ask(Call::Begin).await.is_ok();
            let done = if begun { work.await } else { Vec::new() };
            of_task.mail().ended = Some(done);
            of_task.changed.notify_one();
        });
        Self { clock, post, task }
    }

    /// Waits until it asks something or has ended.
    pub(super) async fn settled(&self) -> Next {
        loop {
            let changed = self.post.changed.notified();
            {
                let mail = self.post.mail();
                if let Some((call, _)) = mail.waiting.front() {
                    return Next::Call(call.clone());
                }
                if let Some(ended) = &mail.ended {
                    return Next::Ended(ended.clone());
                }
            }
            changed.await;
        }
    }

    /// Answers what it asks.
    pub(super) fn answer(&self, answer: &Answer, at: Timestamp) {
        self.clock.set(at);
        let first = self.post.mail().waiting.pop_front();
        if let Some((_, sender)) = first {
            let _ = sender.send(answer.clone());
        }
    }
}

/// The store as one process sees it, or what lies under a prefix of it.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    post: Arc<Post>,
    clock: Arc<SetClock>,
    who: Who,
    under: &'static str,
}

impl Asking {
    /// What lies under a prefix.
    pub(super) fn of(&self, under: &'static str) -> Arc<Self> {
        Arc::new(Self { under, ..self.clone() })
    }

    /// The name of what proves the store, for all but the process itself.
    fn proof(&self) -> String {
        format!("19700101T000001Z-proof{}", char::from(b'a' + self.who))
    }

    /// `text` with the name that others know.
    fn public(&self, text: &str) -> String {
        let Some((folder, rest)) = text.split_once(PROOF) else { return text.to_owned() };
        let name: String = format!("{PROOF}{rest}").chars().take(self.proof().len()).collect();
        let ending = rest.get(name.len() - PROOF.len()..).unwrap_or_default();
        self.post.mail().proof = Some(name);
        format!("{folder}{}{ending}", self.proof())
    }

    fn public_key(&self, key: &Key) -> Key {
        let text = if is_proof(key.as_str()) { self.public(key.as_str()) } else { key.to_string() };
        Key::new(format!("{}{text}", self.under)).unwrap()
    }

    /// `meta` with the name that the process knows.
    fn private(&self, meta: ObjectMeta) -> ObjectMeta {
        let public = self.proof();
        let text = meta.key.as_str();
        let text = text.strip_prefix(self.under).unwrap_or(text);
        let name = self.post.mail().proof.clone().unwrap_or_default();
        let text = if text.contains(&public) { text.replace(&public, &name) } else { text.to_owned() };
        ObjectMeta { key: Key::new(text).unwrap(), ..meta }
    }

    async fn ask(&self, call: Call) -> Result<Answer, Error> {
        let subject = call.subject().to_owned();
        let (sender, receiver) = oneshot::channel();
        self.post.mail().waiting.push_back((call, sender));
        self.post.changed.notify_one();
        match receiver.await.unwrap_or(Answer::Failed(ErrorKind::Unreachable)) {
            Answer::Failed(kind) => Err(self.error(kind, &subject)),
            answer => Ok(answer),
        }
    }

    fn error(&self, kind: ErrorKind, subject: &str) -> Error {
        Error {
            kind,
            act: "reach",
            subject: subject.to_owned(),
            location: self.location().to_owned(),
            reason: "the model says so".to_owned(),
            source: None,
        }
    }

    fn unfit<T>(&self, answer: &Answer) -> Result<T, Error> {
        panic!("an answer to another call: {answer:?}");
    }
}

#[async_trait]
impl Backend for Asking {
    fn location(&self) -> &str {
        "memory://"
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<PutOutcome, Error> {
        // The mark that proves the store has its name inside.
        let bytes = if is_proof(key.as_str()) { Bytes::from_static(b"a proof\n") } else { bytes };
        match self.ask(Call::Put(self.public_key(key), bytes)).await? {
            Answer::Put(outcome) => Ok(outcome),
            other => self.unfit(&other),
        }
    }

    async fn get(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        match self.ask(Call::Get(self.public_key(key), limit)).await? {
            Answer::Bytes(bytes) => Ok(bytes),
            other => self.unfit(&other),
        }
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
        match self.ask(Call::Range(self.public_key(key), range)).await? {
            Answer::Bytes(bytes) => Ok(bytes),
            other => self.unfit(&other),
        }
    }

    async fn head(&self, key: &Key) -> Result<ObjectMeta, Error> {
        match self.ask(Call::Head(self.public_key(key))).await? {
            Answer::Meta(object) => Ok(self.private(object.meta.clone())),
            other => self.unfit(&other),
        }
    }

    fn list(&self, prefix: &str) -> Listing {
        let asking = self.clone();
        let prefix = prefix.to_owned();
        let all = async move {
            let prefix = if is_proof(&prefix) { asking.public(&prefix) } else { prefix };
            let answer = asking.ask(Call::List(format!("{}{prefix}", asking.under))).await;
            let all = match answer {
                Ok(Answer::List(all)) => all.iter().map(|object| Ok(asking.private(object.meta.clone()))).collect(),
                Ok(other) => vec![asking.unfit(&other)],
                Err(error) => vec![Err(error)],
            };
            stream::iter(all)
        };
        stream::once(all).flatten().boxed()
    }

    async fn clock(&self) -> Result<Option<Timestamp>, Error> {
        Ok(Some(self.clock.now()))
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        match self.ask(Call::Delete(self.public_key(key))).await? {
            Answer::Deleted => Ok(()),
            other => self.unfit(&other),
        }
    }
}
