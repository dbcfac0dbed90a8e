//! Documents into a collection.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use mongodb_driver::{
    bson::{Bson, Document, RawDocumentBuf, raw::cstr, rawdoc},
    error::{Error as DriverError, ErrorKind, WriteFailure},
    options::WriteConcern,
};

use super::{
    super::{Reason, Session},
    RestoreContext, RestoreError,
    documents::{Batch, Documents, Several, goes_alone},
    plan::FUNCTIONS,
    room::{Room, Share},
    writes::{Writes, lagging},
};
use crate::types::{StreamInfo, for_terminal};

/// Batches on their way at once. The server works on one while another one comes.
const ON_THEIR_WAY: usize = 2;

/// How long a majority of the members may take to have what the first one has.
const MAJORITY: Duration = Duration::from_secs(120);

/// Where documents go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) session: Session,
    pub(super) writes: Writes,
    pub(super) room: Room,
    /// What the backup calls it.
    pub(super) collection: String,
    /// What it is called for now.
    pub(super) place: String,
    /// In the order in which they are in the backup.
    pub(super) ordered: bool,
}

/// Puts all documents of a stream into a collection. Says whether there was a large one among them.
pub(super) async fn load(context: RestoreContext<'_>, info: &StreamInfo, to: &Target) -> Result<bool, RestoreError> {
    let mut documents = Documents::new(context.contents, info, &to.collection, to.room.clone());
    let mut some_large = false;
    let mut on_their_way = FuturesUnordered::new();
    let most = if to.ordered { 1 } else { ON_THEIR_WAY };
    let mut untold = 0;
    while let Some(batch) = documents.next().await? {
        untold += batch.bytes() as u64;
        context.monitor.advance(untold >> 20);
        untold &= (1 << 20) - 1;
        let is_large = matches!(batch, Batch::Large(..));
        some_large |= is_large;
        let one_by_one = is_large || to.room.has_had_large();
        let most = if one_by_one { 1 } else { most };
        while on_their_way.len() >= most
            && let Some(taken) = on_their_way.next().await
        {
            taken?;
        }
        on_their_way.push(to.insert(batch).await);
        // Nothing is fetched beside a large one, nor after it.
        while one_by_one && let Some(taken) = on_their_way.next().await {
            taken?;
        }
    }
    while let Some(taken) = on_their_way.next().await {
        taken?;
    }
    Ok(some_large)
}

impl Target {
    /// Sends one batch as soon as there is room for it. All of it must be taken.
    async fn insert(&self, batch: Batch) -> futures::future::BoxFuture<'static, Result<(), RestoreError>> {
        match batch {
            Batch::Some(several) => Box::pin(self.insert_several(several, self.room.beside_others().await)),
            Batch::Large(document, share) if goes_alone(&document, self.session.facts.largest_document) => {
                Box::pin(self.insert_alone(document, share))
            }
            Batch::Large(document, share) => {
                let mut several = Several::default();
                several.add(&document);
                drop(document);
                Box::pin(self.insert_several(several, share))
            }
        }
    }

    /// A collection of the server's own has no validator, and who may make one has no right to pass by it there.
    fn passes_by_validators(&self) -> bool {
        self.place != FUNCTIONS
    }

    fn insert_several(
        &self,
        batch: Several,
        share: Share,
    ) -> impl Future<Output = Result<(), RestoreError>> + Send + 'static {
        let sent = batch.count as u64;
        let mut command = rawdoc! {
            "insert": self.place.as_str(), "ordered": self.ordered, "bypassDocumentValidation": self.passes_by_validators(),
            "writeConcern": {"w": "majority", "wtimeout": MAJORITY.as_millis() as i64},
        };
        if batch.empty_timestamp {
            // Else the server writes its own time over it. Servers that do not know this say so.
            command.append(cstr!("bypassEmptyTsReplacement"), true);
        }
        command.append(cstr!("documents"), batch.documents);
        let database = self.session.database.clone();
        // The share goes back when the server has answered, whoever looks at the answer, and when.
        let command = async move {
            let answer = database.run_raw_command(command).await;
            drop(share);
            answer
        };
        let answer = match self.room.has_had_large() {
            true => self.writes.send_here(command).boxed(),
            false => self.writes.send(command).boxed(),
        };
        let to = self.clone();
        async move {
            match answer.await {
                Ok(reply) => verdict(&reply, sent).map_err(|refusal| to.refused(refusal, sent)),
                Err(error) => Err(to.failed(&error, sent)),
            }
        }
    }

    /// Sends one large document, of which the driver makes fewer copies this way.
    fn insert_alone(
        &self,
        document: RawDocumentBuf,
        share: Share,
    ) -> impl Future<Output = Result<(), RestoreError>> + Send + 'static {
        let bypass = self.passes_by_validators();
        let into = self.session.database.collection::<RawDocumentBuf>(&self.place);
        let answer = self.writes.send_here(async move {
            let insert = into.insert_one(&document).bypass_document_validation(bypass);
            let mut concern = WriteConcern::majority();
            concern.w_timeout = Some(MAJORITY);
            let insert = insert.write_concern(concern);
            // The driver has its own by now.
            drop(document);
            insert.await
        });
        let to = self.clone();
        async move {
            let answer = answer.await;
            drop(share);
            let Err(error) = answer else { return Ok(()) };
            let is_taken = matches!(*error.kind, ErrorKind::Write(WriteFailure::WriteConcernError(_)));
            if is_taken {
                Err(to.refused(Refusal::MayNotLast(Reason::from(&error)), 1))
            } else {
                Err(to.failed(&error, 1))
            }
        }
    }

    fn refused(&self, refusal: Refusal, sent: u64) -> RestoreError {
        let collection = self.collection.clone();
        match refusal {
            Refusal::NotTaken(refused, reason) => RestoreError::Documents { collection, refused, sent, reason },
            Refusal::MayNotLast(reason) => {
                RestoreError::MayNotLast { done: "the documents of".to_owned(), collection, reason }
            }
        }
    }

    fn failed(&self, error: &DriverError, sent: u64) -> RestoreError {
        let reason = Reason::from(error);
        match reason.code() {
            Some(_) => self.refused(Refusal::NotTaken(sent, reason), sent),
            None => {
                let doing = format!("insert documents of collection `{}`", for_terminal(&self.collection));
                self.session.server().failed(&doing, error).into()
            }
        }
    }
}

/// What a server says of a batch that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// So many documents it did not take; why the first.
    NotTaken(u64, Reason),
    /// It has all of them, and fewer members have them than were asked for.
    MayNotLast(Reason),
}

/// What the server says of a batch.
fn verdict(reply: &Document, sent: u64) -> Result<(), Refusal> {
    let number = |document: &Document, key: &str| match document.get(key) {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        Some(Bson::Double(number)) => *number as i64,
        _ => 0,
    };
    let taken = u64::try_from(number(reply, "n")).unwrap_or_default();
    let errors = reply.get_array("writeErrors").ok();
    if let Some(first) = errors.and_then(|errors| errors.first()).and_then(Bson::as_document) {
        let code = i32::try_from(number(first, "code")).unwrap_or_default();
        let reason = Reason::of_server(code, "", first.get_str("errmsg").unwrap_or_default());
        return Err(Refusal::NotTaken(sent.saturating_sub(taken).max(1), reason));
    }
    if taken != sent {
        let reason = Reason::text(format!("it says that it took {taken}, and not why"));
        return Err(Refusal::NotTaken(sent.saturating_sub(taken), reason));
    }
    lagging(reply).map_or(Ok(()), |reason| Err(Refusal::MayNotLast(reason)))
}

#[cfg(test)]
mod tests {
    use mongodb_driver::bson::doc;

    use super::*;

    #[test]
    fn a_batch_counts_only_if_the_server_says_that_it_took_all_of_it_and_that_it_lasts() {
        let not_taken = |reply: Document| match verdict(&reply, 3) {
            Err(Refusal::NotTaken(number, reason)) => (number, reason.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(verdict(&doc! {"n": 3, "ok": 1}, 3), Ok(()));
        assert_eq!(not_taken(doc! {"n": 2_i64, "ok": 1}).0, 1);
        assert_eq!(not_taken(doc! {"ok": 1}).0, 3);
        let twice = doc! {"index": 1, "code": 11000, "errmsg": "E11000 duplicate key dup key: { a: 1 }"};
        let told = not_taken(doc! {"n": 2, "writeErrors": [twice], "ok": 1});
        assert_eq!(told, (1, "E11000 duplicate key (11000)".to_owned()));
        let lagging = doc! {"n": 3, "writeConcernError": {"code": 64, "errmsg": "waiting timed out"}};
        let Err(Refusal::MayNotLast(reason)) = verdict(&lagging, 3) else { panic!("it may not last") };
        assert_eq!(reason.code(), Some(64));
        assert_eq!(not_taken(doc! {"n": 1, "writeConcernError": {"code": 64, "errmsg": "w"}}).0, 2);
    }
}
