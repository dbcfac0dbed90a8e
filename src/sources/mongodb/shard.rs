//! Whether a server has only a part of its database: one shard of a sharded cluster, or the cluster's config server.

use mongodb_driver::bson::{Bson, Document, doc};

use super::{Error, Reason, Session, connect::in_time};

/// What a shard's replica set has in `admin.system.version` since it was added to a cluster.
const IDENTITY: &str = "shardIdentity";
/// How a server is started that may become one.
const ROLE: &str = "shardsvr";
const OPTION: &str = "--shardsvr";
/// The user may not ask; there is no such command; a hosted server lets nobody give it.
const NOT_TOLD: [i32; 4] = [13, 59, 115, 8000];

/// Looks as far as the user may: who has no rights on the cluster is told nothing, and then it counts as whole.
///
/// # Errors
/// [`Error`] if the server does not answer, or otherwise than by saying that it does not tell.
pub(super) async fn is_one(session: &Session, hello: &Document) -> Result<bool, Error> {
    if is_config(hello) {
        return Ok(true);
    }
    let admin = session.client.database("admin");
    let options = told(session, in_time(admin.run_command(doc! {"getCmdLineOpts": 1})).await)?;
    let may_be = options.as_ref().map(may_be);
    if may_be == Some(false) {
        return Ok(false);
    }
    let identity = in_time(admin.collection::<Document>("system.version").find_one(doc! {"_id": IDENTITY})).await;
    Ok(match told(session, identity)? {
        Some(found) => found.is_some(),
        // It may be one, and does not say whether it was added to a cluster.
        None => may_be == Some(true),
    })
}

/// What a server says; nothing if it does not tell.
fn told<T>(session: &Session, said: mongodb_driver::error::Result<T>) -> Result<Option<T>, Error> {
    match said {
        Ok(said) => Ok(Some(said)),
        Err(error) if Reason::from(&error).code().is_some_and(|code| NOT_TOLD.contains(&code)) => Ok(None),
        Err(error) => Err(session.server().failed("ask whether the server is a shard", &error)),
    }
}

fn is_config(hello: &Document) -> bool {
    hello.get("configsvr").is_some()
}

/// What the options say with which the server was started.
fn may_be(options: &Document) -> bool {
    let parsed = options.get_document("parsed").ok();
    let role = parsed.and_then(|it| it.get_document("sharding").ok()).and_then(|it| it.get_str("clusterRole").ok());
    let words = options.get_array("argv").into_iter().flatten().filter_map(Bson::as_str);
    role == Some(ROLE) || words.into_iter().any(|word| word == OPTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_may_be_a_shard_was_started_so() {
        assert!(!may_be(&doc! {"argv": ["mongod", "--replSet", "rs0"], "parsed": {"replication": {"replSet": "rs0"}}}));
        assert!(may_be(&doc! {"argv": ["mongod", "--shardsvr"], "parsed": {}}));
        assert!(may_be(&doc! {"argv": ["mongod", "-f", "x"], "parsed": {"sharding": {"clusterRole": "shardsvr"}}}));
        assert!(!may_be(&doc! {"parsed": {"sharding": {"clusterRole": "configsvr"}}}));
        assert!(!may_be(&doc! {}));
        assert!(is_config(&doc! {"configsvr": 2}) && !is_config(&doc! {"setName": "rs0"}));
    }
}
