//! What a database has: its collections, and what defines them.

use futures::StreamExt as _;
use mongodb_driver::{
    bson::{RawDocumentBuf, raw::RawBsonRef, rawdoc},
    error::Error as DriverError,
    raw_batch_cursor::RawBatchCursor,
};

use super::{
    super::{
        Error, Reason, Session,
        connect::in_time,
        definition::{Definition, Kind, find_buckets, index_name},
    },
    failed_capture,
    failure::Failure,
};

/// The most bytes of all definitions together.
const MOST: usize = 32 << 20;
/// There is no such collection: it was dropped or renamed since it was listed.
const NAMESPACE_NOT_FOUND: i32 = 26;
/// How often collections are listed in which one goes meanwhile.
const TRIES: u32 = 5;

/// All collections and views of the database in the order of their names, with their indexes.
pub(in crate::sources::mongodb) async fn list(session: &Session) -> Result<Vec<Definition>, Error> {
    for _ in 1..TRIES {
        let (all, gone) = once(session, rawdoc! {"listCollections": 1, "cursor": {}}).await?;
        // One that was renamed between the two lists is in neither of them.
        if !gone {
            return Ok(all);
        }
    }
    Ok(once(session, rawdoc! {"listCollections": 1, "cursor": {}}).await?.0)
}

/// What is called `name` now, with its indexes; nothing if there is nothing of that name.
pub(in crate::sources::mongodb) async fn find(session: &Session, name: &str) -> Result<Option<Definition>, Error> {
    let command = rawdoc! {"listCollections": 1, "filter": {"name": name}, "cursor": {}};
    let (all, _) = once(session, command).await?;
    Ok(all.into_iter().find(|it| it.name == name))
}

/// What the server lists, and whether one of it was gone when its indexes were asked for.
async fn once(session: &Session, command: RawDocumentBuf) -> Result<(Vec<Definition>, bool), Error> {
    let server = session.server();
    let command = session.database.run_raw_cursor_command(command);
    let entries = match in_time(command.batch()).await {
        Ok(cursor) => documents(cursor).await,
        Err(error) => Err(error),
    };
    let entries = entries.map_err(|error| server.failed("list the collections", &error))?;
    let listing = |what: String| failed_capture(server, Failure::Listing(what));
    let mut all = Vec::new();
    let (mut bytes, mut gone) = (0, false);
    for entry in entries {
        let mut definition = Definition::of_entry(&entry).map_err(|error| listing(error.to_string()))?;
        // A view has none, and the buckets of a time series are listed with the collection itself.
        let has_indexes = definition.kind != Kind::View && !definition.name.starts_with("system.");
        if has_indexes || definition.name == "system.js" {
            let Some(indexes) = indexes(session, &definition.name).await? else {
                gone = true;
                continue;
            };
            definition.indexes = indexes;
        }
        let indexes = definition.indexes.iter().map(|index| index.as_bytes().len()).sum::<usize>();
        bytes += definition.entry.as_bytes().len() + indexes;
        if bytes > MOST {
            return Err(listing(format!("the definitions have more than {MOST} bytes")));
        }
        all.push(definition);
    }
    find_buckets(&mut all);
    all.sort_by(|one, other| one.name.cmp(&other.name));
    if let Some(twice) = all.windows(2).find(|pair| pair.first().map(|it| &it.name) == pair.last().map(|it| &it.name)) {
        let name = twice.first().map(|it| it.name.clone()).unwrap_or_default();
        return Err(listing(format!("collection `{}` is there twice", crate::types::for_terminal(&name))));
    }
    Ok((all, gone))
}

/// The indexes of a collection in the order of their names; nothing if it is gone.
pub(in crate::sources::mongodb) async fn indexes(
    session: &Session,
    collection: &str,
) -> Result<Option<Vec<RawDocumentBuf>>, Error> {
    let command = session.database.run_raw_cursor_command(rawdoc! {"listIndexes": collection, "cursor": {}});
    let listed = match in_time(command.batch()).await {
        Ok(cursor) => documents(cursor).await,
        Err(error) => Err(error),
    };
    match listed {
        Ok(mut indexes) => {
            indexes.sort_by(|one, other| index_name(one).cmp(index_name(other)));
            Ok(Some(indexes))
        }
        Err(error) if Reason::from(&error).code() == Some(NAMESPACE_NOT_FOUND) => Ok(None),
        Err(error) => {
            let doing = format!("list the indexes of `{}`", crate::types::for_terminal(collection));
            Err(session.server().failed(&doing, &error))
        }
    }
}

async fn documents(mut cursor: RawBatchCursor) -> Result<Vec<RawDocumentBuf>, DriverError> {
    let mut all = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = in_time(async { cursor.next().await.transpose() }).await? {
        for item in batch.doc_slices()? {
            if let RawBsonRef::Document(document) = item? {
                bytes += document.as_bytes().len();
                if bytes > MOST {
                    return Err(DriverError::custom(format!("the list has more than {MOST} bytes")));
                }
                all.push(document.to_owned());
            }
        }
    }
    Ok(all)
}
