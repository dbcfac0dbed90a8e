//! Commands that write, on their way to the server.
//!
//! A server goes on with a command whose client has gone, and an insert or an index that comes after a `drop` makes the
//! collection again. So each command is waited for until the server has answered, also when the restore has ended early.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mongodb_driver::{
    bson::{Document, RawDocumentBuf, rawdoc},
    error::{Error as DriverError, ErrorKind},
};
use tokio_util::task::TaskTracker;

use super::super::{Reason, Session};

/// How long a majority of the members may take to know of what is no document, in milliseconds.
const MAJORITY: i64 = 60_000;

/// What a majority of the members is to know of, and not for ever.
pub(super) fn lasting() -> RawDocumentBuf {
    rawdoc! {"w": "majority", "wtimeout": MAJORITY}
}

/// What a server says that has done something, and a majority of the members has not.
pub(super) fn lagging(reply: &Document) -> Option<Reason> {
    let error = reply.get_document("writeConcernError").ok()?;
    let code = error.get_i32("code").unwrap_or_default();
    let name = error.get_str("codeName").unwrap_or_default();
    Some(Reason::of_server(code, name, error.get_str("errmsg").unwrap_or_default()))
}

/// The writing commands of a restore. A clone is about the same ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Writes {
    running: TaskTracker,
    /// An answer was lost: what the server does with its command, or will do, nobody knows.
    lost: Arc<AtomicBool>,
}

impl Writes {
    /// Sends a command now; its end is the server's, not that of who waits for the answer.
    pub(super) fn send<T: Send + 'static>(
        &self,
        command: impl Future<Output = Result<T, DriverError>> + Send + 'static,
    ) -> impl Future<Output = Result<T, DriverError>> + Send + 'static {
        // A task that ends otherwise than by its own end takes the answer with it, too.
        let task = self.running.spawn(self.send_here(command));
        async move { task.await.unwrap_or_else(|ended| Err(DriverError::custom(ended.to_string()))) }
    }

    /// Runs a command on the thread that waits for its answer: the allocator keeps what is freed for each thread, and of
    /// something large that is too much. If it is given up half-way, its answer is lost.
    pub(super) fn send_here<T, C>(&self, command: C) -> impl Future<Output = Result<T, DriverError>> + use<T, C>
    where
        C: Future<Output = Result<T, DriverError>>,
    {
        let half_way = HalfWay(Some(Arc::clone(&self.lost)));
        async move {
            let answer = command.await;
            if !answer.as_ref().is_err_and(is_lost) {
                half_way.end();
            }
            answer
        }
    }

    /// Runs a command in the database.
    pub(super) fn run(
        &self,
        session: &Session,
        command: RawDocumentBuf,
    ) -> impl Future<Output = Result<Document, DriverError>> + Send + 'static {
        let database = session.database.clone();
        self.send(async move { database.run_raw_command(command).await })
    }

    /// Waits until nothing is on its way; false if that takes longer.
    pub(super) async fn ended(&self, within: Duration) -> bool {
        // It takes others all the same.
        self.running.close();
        tokio::time::timeout(within, self.running.wait()).await.is_ok()
    }

    /// Whether nothing is on its way.
    pub(super) fn are_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether all that was sent has been answered.
    pub(super) fn are_answered(&self) -> bool {
        self.are_idle() && !self.lost.load(Ordering::Relaxed)
    }
}

/// A command whose answer is lost with it.
struct HalfWay(Option<Arc<AtomicBool>>);

impl HalfWay {
    fn end(mut self) {
        self.0 = None;
    }
}

impl Drop for HalfWay {
    fn drop(&mut self) {
        if let Some(lost) = &self.0 {
            lost.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether the server may have heard of a command, and what came of it is not known.
pub(super) fn is_lost(error: &DriverError) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Command(_) | ErrorKind::Write(_) | ErrorKind::InsertMany(_) => false,
        // It was not sent.
        ErrorKind::ServerSelection { .. } | ErrorKind::InvalidArgument { .. } | ErrorKind::Authentication { .. } => {
            false
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_goes_on_when_nobody_waits_for_it_and_is_waited_for() {
        let writes = Writes::default();
        let (answer, wait) = tokio::sync::oneshot::channel::<()>();
        let sent = writes.send(async move { wait.await.map_err(|error| DriverError::custom(error.to_string())) });
        drop(sent);
        assert!(!writes.ended(Duration::from_millis(1)).await);
        assert!(!writes.are_answered());
        answer.send(()).unwrap();
        assert!(writes.ended(Duration::from_secs(120)).await);
        assert!(writes.are_answered());
    }

    #[tokio::test]
    async fn an_answer_that_is_lost_is_remembered_and_a_refusal_is_none() {
        let writes = Writes::default();
        let refused = mongodb_driver::options::ConnectionString::parse("nothing").unwrap_err();
        assert!(writes.send(async move { Err::<(), _>(refused) }).await.is_err());
        assert!(writes.are_answered());
        let lost = DriverError::from(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        assert!(writes.send(async move { Err::<(), _>(lost) }).await.is_err());
        assert!(!writes.are_answered());
    }

    #[tokio::test]
    async fn a_command_whose_task_panics_has_lost_its_answer() {
        let writes = Writes::default();
        let sent = writes.send(async { panic!("a fault of the test") });
        let ended: Result<(), _> = sent.await;
        assert!(ended.is_err());
        assert!(writes.are_idle() && !writes.are_answered());
    }

    #[tokio::test]
    async fn a_large_command_that_is_given_up_half_way_is_lost_and_one_that_is_answered_is_not() {
        let writes = Writes::default();
        assert!(writes.send_here(async { Ok(()) }).await.is_ok());
        assert!(writes.are_answered());
        let never = writes.send_here(std::future::pending::<Result<(), DriverError>>());
        assert!(tokio::time::timeout(Duration::from_millis(1), never).await.is_err());
        assert!(!writes.are_answered());
    }
}
