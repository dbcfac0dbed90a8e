//! Faults at the k-th command of a kind.

use std::{sync::Arc, time::Duration};

use super::{
    Inner, State,
    bson::{ARRAY, DOCUMENT, Elements},
    wire::Message,
};

/// How long a pause lasts at most, and how long a test waits for it to be reached.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Something that goes wrong with the `nth` command of a kind, counted from 1 over all connections.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    command: String,
    collection: Option<String>,
    nth: usize,
    times: usize,
    effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The server never hears of it; this is the answer.
    Error(i32),
    /// The connection is lost before the server hears of it.
    Cut,
    /// The server has done it, and the connection is lost with its answer.
    CutAfter,
    /// The last document of an insert is refused with this code. The others are passed on.
    Refuse(i32),
    /// The server has done it, and says that a majority of the members has not.
    Lag,
    /// The connection is lost, and the server does it when the next `drop` comes, before that.
    Late,
    Pause,
}

impl Fault {
    pub(super) fn new(command: &str, nth: usize, effect: Effect) -> Self {
        Self { command: command.to_owned(), collection: None, nth, times: 1, effect }
    }

    /// The command is answered with an error: 43 (CursorNotFound), 239 (SnapshotTooOld), 246 (SnapshotUnavailable), ...
    pub(crate) fn error(command: &str, nth: usize, code: i32) -> Self {
        Self::new(command, nth, Effect::Error(code))
    }

    /// The last document of the `nth` insert is refused, with 121 (DocumentValidationFailure) or 11000 (a duplicate key).
    pub(crate) fn refused_document(nth: usize, code: i32) -> Self {
        Self::new("insert", nth, Effect::Refuse(code))
    }

    /// The command is done, and a majority of the members has not heard of it (64).
    pub(crate) fn not_on_a_majority(command: &str, nth: usize) -> Self {
        Self::new(command, nth, Effect::Lag)
    }

    /// The connection is lost, and the command waits in the server: it is done when the next `drop` comes, before that.
    pub(crate) fn late(command: &str, nth: usize) -> Self {
        Self::new(command, nth, Effect::Late)
    }

    /// The connection is lost before the server hears of the command.
    pub(crate) fn cut(command: &str, nth: usize) -> Self {
        Self::new(command, nth, Effect::Cut)
    }

    /// The connection is lost after the server has done it.
    pub(crate) fn cut_after(command: &str, nth: usize) -> Self {
        Self::new(command, nth, Effect::CutAfter)
    }

    /// Counts only commands about this collection.
    pub(crate) fn of(mut self, collection: &str) -> Self {
        self.collection = Some(collection.to_owned());
        self
    }

    /// Happens this many times, one after the other.
    pub(crate) fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }
}

/// A fault, and how far it has come.
#[derive(Debug)]
pub(super) struct Counted {
    fault: Fault,
    heard: usize,
    pub(super) made: usize,
    pub(super) released: bool,
}

impl From<Fault> for Counted {
    fn from(fault: Fault) -> Self {
        Self { fault, heard: 0, made: 0, released: false }
    }
}

impl Counted {
    pub(super) fn hears(&mut self, request: &Message) -> Option<Effect> {
        let about = self.fault.collection.as_deref();
        if request.command() != self.fault.command || (about.is_some() && request.collection() != about) {
            return None;
        }
        self.heard += 1;
        let is_now = (self.fault.nth..self.fault.nth.saturating_add(self.fault.times)).contains(&self.heard);
        self.made += usize::from(is_now);
        is_now.then_some(self.fault.effect)
    }

    pub(super) fn is_held(&self) -> bool {
        self.fault.effect == Effect::Pause && self.made > 0 && !self.released
    }
}

/// A pause at a message. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Pause {
    state: Arc<State>,
    number: usize,
}

impl Pause {
    pub(super) fn new(state: Arc<State>, number: usize) -> Self {
        Self { state, number }
    }

    /// Waits until the message has come.
    ///
    /// # Panics
    /// If it does not come within two minutes.
    pub(crate) fn wait_until_reached(&self) {
        let inner = self.state.inner.lock().unwrap();
        let awaited = |inner: &mut Inner| inner.faults[self.number].made == 0;
        let (_inner, waited) = self.state.paused.wait_timeout_while(inner, PATIENCE, awaited).unwrap();
        assert!(!waited.timed_out(), "the message of the pause did not come");
    }

    /// Lets go: the message is passed on.
    pub(crate) fn release(self) {}
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.state.inner.lock().unwrap().faults[self.number].released = true;
        self.state.paused.notify_all();
    }
}

/// What a server answers that cannot do a command.
pub(super) fn error(code: i32) -> Elements {
    let (name, text) = told(code);
    let mut body = Elements::default();
    body.set_double("ok", 0.0).set_text("errmsg", text).set_int("code", code).set_text("codeName", name);
    body
}

fn told(code: i32) -> (&'static str, &'static str) {
    match code {
        2 => ("BadValue", "Standalones may not specify commitQuorum"),
        13 => ("Unauthorized", "not authorized to execute command"),
        20 => ("IllegalOperation", "renaming system.js collection or renaming to system.js is not allowed"),
        43 => ("CursorNotFound", "cursor id 1 not found"),
        72 => ("InvalidOptions", "no option found to get"),
        121 => ("DocumentValidationFailure", "Document failed validation"),
        123 => ("NotAReplicaSet", "node needs to be a replica set member to use read concern"),
        175 => ("QueryPlanKilled", "collection dropped. UUID 1"),
        239 => ("SnapshotTooOld", "Read timestamp is older than the oldest available timestamp"),
        246 => ("SnapshotUnavailable", "Unable to read from a snapshot due to pending collection catalog changes"),
        11000 => ("DuplicateKey", "E11000 duplicate key error collection"),
        _ => ("InternalError", "a fault of the tests"),
    }
}

/// Takes the last document out of an insert; returns its place in it. None where it brings none.
pub(super) fn take_last(request: &mut Message) -> Option<usize> {
    if let Some(sequence) = request.sequences.iter_mut().find(|each| each.name == "documents") {
        sequence.documents.pop()?;
        return Some(sequence.documents.len());
    }
    let mut documents = request.body.inner("documents")?;
    documents.0.pop()?;
    request.body.set_inner(ARRAY, "documents", &documents);
    Some(documents.0.len())
}

/// What a server answers that has inserted none of an insert's documents.
pub(super) fn nothing_inserted() -> Elements {
    let mut body = Elements::default();
    body.set_int("n", 0).set_double("ok", 1.0);
    body
}

/// Adds the error of the document that was taken out.
pub(super) fn refuse(answer: &mut Message, at: usize, code: i32) {
    let (_, text) = told(code);
    let mut one = Elements::default();
    one.set_int("index", i32::try_from(at).unwrap()).set_int("code", code).set_text("errmsg", text);
    let mut errors = answer.body.inner("writeErrors").unwrap_or_default();
    let name = errors.0.len().to_string();
    errors.set_inner(DOCUMENT, &name, &one);
    answer.body.set_inner(ARRAY, "writeErrors", &errors);
}

/// Adds what a server says whose other members lag behind.
pub(super) fn lag(answer: &mut Message) {
    let mut error = Elements::default();
    error.set_int("code", 64).set_text("codeName", "WriteConcernTimeout").set_text("errmsg", "waiting timed out");
    answer.body.set_inner(DOCUMENT, "writeConcernError", &error);
}
