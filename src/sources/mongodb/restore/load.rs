//! Documents into a collection, and read back.

use futures::StreamExt as _;
use mongodb_driver::bson::{
    Bson, Document, RawDocumentBuf, doc,
    raw::{RawArrayBuf, RawBsonRef, cstr},
    rawdoc,
};
use mongodb_driver::options::WriteConcern;

use super::{
    super::{Reason, Session, connect::batch_size},
    RestoreContext, RestoreError,
    documents::{Batch, Documents, has_empty_timestamp},
};
use crate::types::{RowDigest, StreamInfo};

/// What was counted of a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) documents: u64,
    pub(super) bytes: u64,
    pub(super) digest: RowDigest,
}

/// Puts all documents of a stream into `place`, in their order if `ordered`.
pub(super) async fn load(
    context: RestoreContext<'_>,
    session: &Session,
    info: &StreamInfo,
    collection: &str,
    place: &str,
    ordered: bool,
) -> Result<(), RestoreError> {
    let mut documents = Documents::new(context.contents, info, collection);
    let mut batch = documents.next().await?;
    let mut untold = 0;
    while !batch.documents.is_empty() {
        untold += batch.bytes as u64;
        context.monitor.advance(untold >> 20);
        untold &= (1 << 20) - 1;
        if batch.is_large() {
            insert(session, batch, collection, place, ordered).await?;
            batch = documents.next().await?;
            continue;
        }
        // The next one is fetched while this one is on its way.
        let (sent, next) = futures::join!(insert(session, batch, collection, place, ordered), documents.next());
        sent?;
        batch = next?;
    }
    Ok(())
}

/// Sends one batch. All of it must be taken.
async fn insert(
    session: &Session,
    mut batch: Batch,
    collection: &str,
    place: &str,
    ordered: bool,
) -> Result<(), RestoreError> {
    if let Some(document) = batch.alone(session.facts.largest_document) {
        return insert_alone(session, document, collection, place).await;
    }
    let sent = batch.documents.len() as u64;
    let mut command = rawdoc! {
        "insert": place, "ordered": ordered, "bypassDocumentValidation": true, "writeConcern": {"w": "majority"},
    };
    if batch.documents.iter().any(|document| has_empty_timestamp(document)) {
        // Else the server writes its own time over it. Servers that do not know this say so.
        command.append(cstr!("bypassEmptyTsReplacement"), true);
    }
    let mut documents = RawArrayBuf::new();
    // Each is let go as soon as it is copied.
    batch.documents.into_iter().for_each(|document| documents.push(document));
    command.append(cstr!("documents"), documents);
    let refused = |refused: u64, reason: Reason| RestoreError::Documents {
        collection: collection.to_owned(),
        refused,
        sent,
        reason,
    };
    let reply = match session.database.run_raw_command(command).await {
        Ok(reply) => reply,
        Err(error) => {
            let reason = Reason::from(&error);
            return Err(match reason.code() {
                Some(_) => refused(sent, reason),
                None => {
                    let doing = format!("insert documents of collection `{}`", crate::types::for_terminal(collection));
                    session.server().failed(&doing, &error).into()
                }
            });
        }
    };
    match verdict(&reply, sent) {
        Ok(()) => Ok(()),
        Err((number, reason)) => Err(refused(number, reason)),
    }
}

/// Sends one large document, of which the driver makes fewer copies this way.
async fn insert_alone(
    session: &Session,
    document: RawDocumentBuf,
    collection: &str,
    place: &str,
) -> Result<(), RestoreError> {
    let into = session.database.collection::<RawDocumentBuf>(place);
    let insert = into.insert_one(&document).bypass_document_validation(true).write_concern(WriteConcern::majority());
    // The driver has its own by now.
    drop(document);
    let Err(error) = insert.await else { return Ok(()) };
    let reason = Reason::from(&error);
    Err(match reason.code() {
        Some(_) => RestoreError::Documents { collection: collection.to_owned(), refused: 1, sent: 1, reason },
        None => {
            let doing = format!("insert documents of collection `{}`", crate::types::for_terminal(collection));
            session.server().failed(&doing, &error).into()
        }
    })
}

/// What the server says of a batch: how many documents it did not take, and why the first.
fn verdict(reply: &Document, sent: u64) -> Result<(), (u64, Reason)> {
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
        return Err((sent.saturating_sub(taken).max(1), reason));
    }
    if let Ok(error) = reply.get_document("writeConcernError") {
        let code = i32::try_from(number(error, "code")).unwrap_or_default();
        return Err((0, Reason::of_server(code, "", error.get_str("errmsg").unwrap_or_default())));
    }
    if taken != sent {
        return Err((sent.saturating_sub(taken), Reason::text(format!("it says that it took {taken}, and not why"))));
    }
    Ok(())
}

/// Reads all documents of `place`, which are those of `name`, and counts them.
pub(super) async fn count(
    session: &Session,
    name: &str,
    place: &str,
    expected: Counted,
) -> Result<Counted, RestoreError> {
    let failed = |error: &mongodb_driver::error::Error| {
        let doing = format!("read collection `{}` back", crate::types::for_terminal(name));
        RestoreError::from(session.server().failed(&doing, error))
    };
    // Whatever member the address prefers: it may not have it yet.
    let collection = session.at_primary(place, true);
    let mut find = collection.find(doc! {});
    if let Some(documents) = expected.bytes.checked_div(expected.documents).and_then(batch_size) {
        find = find.batch_size(documents);
    }
    let mut batches = find.batch().await.map_err(|error| failed(&error))?;
    let mut counted = Counted::default();
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| failed(&error))?;
        let mut documents: Vec<&[u8]> = Vec::new();
        for item in batch.doc_slices().map_err(|error| failed(&error))? {
            if let Ok(RawBsonRef::Document(document)) = item {
                counted.bytes += document.as_bytes().len() as u64;
                documents.push(document.as_bytes());
            }
        }
        counted.documents += documents.len() as u64;
        counted.digest.add_rows(documents);
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_only_if_the_server_says_that_it_took_all_of_it() {
        assert_eq!(verdict(&doc! {"n": 3, "ok": 1}, 3), Ok(()));
        assert_eq!(verdict(&doc! {"n": 2_i64, "ok": 1}, 3).unwrap_err().0, 1);
        assert_eq!(verdict(&doc! {"ok": 1}, 3).unwrap_err().0, 3);
        let twice = doc! {"index": 1, "code": 11000, "errmsg": "E11000 duplicate key dup key: { a: 1 }"};
        let (refused, reason) = verdict(&doc! {"n": 2, "writeErrors": [twice], "ok": 1}, 3).unwrap_err();
        assert_eq!((refused, reason.to_string().as_str()), (1, "E11000 duplicate key (11000)"));
        let lagging = doc! {"n": 3, "writeConcernError": {"code": 64, "errmsg": "waiting timed out"}};
        assert_eq!(verdict(&lagging, 3).unwrap_err().1.code(), Some(64));
    }
}
