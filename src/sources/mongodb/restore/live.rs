//! What a live collection holds.

use futures::StreamExt as _;
use mongodb_driver::bson::doc;

use super::super::{Error, Session, connect::in_time};

/// How many documents a live collection has; exactly whether it has any.
pub(super) async fn count(session: &Session, name: &str) -> Result<u64, Error> {
    if is_empty(session, name).await? {
        return Ok(0);
    }
    // It may be wrong after a crash, and it is for people only.
    let about = in_time(session.at_primary(name, false).estimated_document_count()).await;
    Ok(about.map_err(|error| session.server().failed("count documents", &error))?.max(1))
}

/// Whether a live collection has no documents, not even one that an election may still take back.
pub(super) async fn is_empty(session: &Session, name: &str) -> Result<bool, Error> {
    let collection = session.at_primary(name, false);
    let first = async { collection.find(doc! {}).limit(1).await?.next().await.transpose() };
    Ok(in_time(first).await.map_err(|error| session.server().failed("look for documents", &error))?.is_none())
}
