//! What the proxy makes the server seem to be.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    State,
    bson::{ARRAY, DATE, DOCUMENT, Elements, INT64, OBJECT_ID},
    fault,
    wire::Message,
};

/// The part that the proxy plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// None: the server is what it is.
    Itself,
    /// A server without replication, which refuses to read snapshots, as a real one does.
    Standalone,
    /// The primary of a replica set with one member.
    ReplicaSet,
    /// A member of a replica set that has no primary.
    Secondary,
    /// A server that was started for a replica set, and is in none yet.
    Ghost,
    /// A router of a sharded cluster.
    Mongos,
    /// A server that was added to a sharded cluster.
    Shard,
}

/// The name of the replica set that is played.
pub(crate) const SET_NAME: &str = "played";
/// What a real server has by default, in seconds.
const WINDOW: i32 = 300;

/// What becomes of a request.
pub(super) enum Asked {
    /// The proxy answers itself.
    Answer(Elements),
    /// It is passed on. If it reads a snapshot: at this time.
    Pass(Option<(u32, u32)>),
}

pub(super) fn is_hello(command: &str) -> bool {
    ["hello", "isMaster", "ismaster"].contains(&command)
}

pub(super) fn now_seconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32
}

/// Takes out of a request what the server behind would not know.
pub(super) fn ask(request: &mut Message, state: &State) -> Asked {
    let concern = request.body.inner("readConcern").unwrap_or_default();
    let is_snapshot = concern.text("level") == Some("snapshot");
    let names = ["renameCollection", "to"].map(|name| request.body.text(name).unwrap_or_default());
    if request.command() == "renameCollection" && names.iter().any(|name| name.ends_with(".system.js")) {
        return Asked::Answer(fault::error(20));
    }
    match state.part {
        Part::Standalone if request.body.get("commitQuorum").is_some() => Asked::Answer(fault::error(2)),
        Part::Standalone if is_snapshot => Asked::Answer(fault::error(123)),
        Part::ReplicaSet if request.body.get("minSnapshotHistoryWindowInSeconds").is_some() => {
            let window = state.inner.lock().unwrap().window.unwrap_or(WINDOW);
            let mut body = Elements::default();
            body.set_int("minSnapshotHistoryWindowInSeconds", window).set_double("ok", 1.0);
            Asked::Answer(body)
        }
        Part::ReplicaSet => {
            request.body.remove("readConcern");
            request.body.remove("$clusterTime");
            request.body.remove("commitQuorum");
            let time = || concern.timestamp("atClusterTime").unwrap_or_else(|| state.tick());
            Asked::Pass(is_snapshot.then(time))
        }
        Part::Shard if request.command() == "getCmdLineOpts" => Asked::Answer(started_as_shard()),
        Part::Shard if request.collection() == Some("system.version") => Asked::Answer(identity()),
        Part::Itself | Part::Standalone | Part::Secondary | Part::Ghost | Part::Mongos | Part::Shard => {
            Asked::Pass(None)
        }
    }
}

fn started_as_shard() -> Elements {
    let (mut role, mut parsed, mut body) = (Elements::default(), Elements::default(), Elements::default());
    role.set_text("clusterRole", "shardsvr");
    parsed.set_inner(DOCUMENT, "sharding", &role);
    body.set_inner(DOCUMENT, "parsed", &parsed).set_double("ok", 1.0);
    body
}

/// What a cluster writes into `admin.system.version` of a replica set that is added to it.
fn identity() -> Elements {
    let (mut one, mut batch, mut cursor) = (Elements::default(), Elements::default(), Elements::default());
    one.set_text("_id", "shardIdentity").set_text("shardName", "shard1");
    batch.set_inner(DOCUMENT, "0", &one);
    cursor.set(INT64, "id", 0_i64.to_le_bytes()).set_text("ns", "admin.system.version");
    cursor.set_inner(ARRAY, "firstBatch", &batch);
    let mut body = Elements::default();
    body.set_inner(DOCUMENT, "cursor", &cursor).set_double("ok", 1.0);
    body
}

/// Changes an answer to what the part would say.
pub(super) fn answer(asked: &Message, answer: &mut Message, snapshot: Option<(u32, u32)>, state: &State) {
    if is_hello(asked.command()) {
        hello(&mut answer.body, state);
    } else if state.part == Part::ReplicaSet {
        answer.body.set_timestamp("operationTime", state.operation_time());
    }
    let Some(time) = snapshot else { return };
    match answer.body.inner("cursor") {
        Some(mut cursor) => {
            cursor.set_timestamp("atClusterTime", time);
            answer.body.set_inner(DOCUMENT, "cursor", &cursor);
        }
        None => {
            answer.body.set_timestamp("atClusterTime", time);
        }
    }
}

fn hello(body: &mut Elements, state: &State) {
    match state.part {
        Part::Itself | Part::Shard => (),
        Part::Standalone => {
            for each in ["setName", "hosts", "me", "primary", "msg"] {
                body.remove(each);
            }
        }
        Part::Ghost | Part::Secondary => {
            for each in ["setName", "hosts", "me", "primary", "msg"] {
                body.remove(each);
            }
            for each in ["ismaster", "isWritablePrimary"] {
                body.set_bool(each, false);
            }
            body.set_bool("secondary", state.part == Part::Secondary);
            if state.part == Part::Ghost {
                body.set_bool("isreplicaset", true);
                return;
            }
            let mut hosts = Elements::default();
            hosts.set_text("0", &state.address);
            body.set_inner(ARRAY, "hosts", &hosts).set_text("setName", SET_NAME).set_text("me", &state.address);
        }
        Part::Mongos => {
            body.remove("setName");
            body.set_text("msg", "isdbgrid");
        }
        Part::ReplicaSet => {
            let mut hosts = Elements::default();
            hosts.set_text("0", &state.address);
            let mut last = Elements::default();
            last.set(DATE, "lastWriteDate", (i64::from(now_seconds()) * 1000).to_le_bytes());
            body.set_inner(ARRAY, "hosts", &hosts)
                .set_text("setName", SET_NAME)
                .set_int("setVersion", 1)
                .set_bool("secondary", false)
                .set_text("primary", &state.address)
                .set_text("me", &state.address)
                .set(OBJECT_ID, "electionId", [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1])
                .set_inner(DOCUMENT, "lastWrite", &last);
        }
    }
}
