//! What was loaded, read back.

use futures::{Stream, StreamExt as _};
use mongodb_driver::{
    bson::{doc, raw::RawBsonRef},
    error::Error as DriverError,
    raw_batch_cursor::RawBatch,
};

use super::{
    super::{
        connect::in_time,
        replies::{batch_size, is_large},
    },
    RestoreError,
    load::Target,
};
use crate::types::{RowDigest, for_terminal};

/// What was counted of a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) documents: u64,
    pub(super) bytes: u64,
    pub(super) digest: RowDigest,
}

impl Counted {
    fn add(&mut self, batch: &RawBatch) -> Result<(), DriverError> {
        let mut documents: Vec<&[u8]> = Vec::new();
        for item in batch.doc_slices()? {
            if let Ok(RawBsonRef::Document(document)) = item {
                self.bytes += document.as_bytes().len() as u64;
                documents.push(document.as_bytes());
            }
        }
        self.documents += documents.len() as u64;
        self.digest.add_rows(documents);
        Ok(())
    }
}

/// Reads all documents of the place of `to`, and counts them. Replies to come may be `large`: then each of them is alone.
pub(super) async fn count(to: &Target, expected: Counted, large: bool) -> Result<Counted, RestoreError> {
    let all = read(to, expected, large).await;
    all.map_err(|error| {
        let doing = format!("read collection `{}` back", for_terminal(&to.collection));
        to.session.server().failed(&doing, &error).into()
    })
}

async fn read(to: &Target, expected: Counted, large: bool) -> Result<Counted, DriverError> {
    // Whatever member the address prefers: it may not have it yet.
    let collection = to.session.at_primary(&to.place, true);
    let mut find = collection.find(doc! {});
    if let Some(documents) = expected.bytes.checked_div(expected.documents).and_then(batch_size) {
        find = find.batch_size(documents);
    }
    let mut share = to.room.share(large).await;
    let mut batches = in_time(find.batch()).await?;
    let mut counted = Counted::default();
    let mut batch = next(&mut batches).await?;
    while let Some(present) = batch {
        if large || is_large(&present) {
            counted.add(&present)?;
            drop(present);
            // What waits to be sent comes in between.
            drop(share);
            share = to.room.share(large).await;
            batch = next(&mut batches).await?;
            continue;
        }
        drop(share);
        share = to.room.share(large).await;
        // The next one is on its way while this one is counted.
        let (following, added) = futures::join!(next(&mut batches), async { counted.add(&present) });
        added?;
        batch = following?;
    }
    Ok(counted)
}

/// What the server sends next; nothing at the end.
async fn next<T>(batches: &mut (impl Stream<Item = Result<T, DriverError>> + Unpin)) -> Result<Option<T>, DriverError> {
    in_time(async { batches.next().await.transpose() }).await
}
