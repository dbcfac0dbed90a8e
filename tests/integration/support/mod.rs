//! What tests share.

pub(crate) mod azure;
pub(crate) mod bed;
pub(crate) mod cutter;
pub(crate) mod dns;
pub(crate) mod door;
pub(crate) mod dumped;
pub(crate) mod mongo_proxy;
pub(crate) mod mongodb;
pub(crate) mod node;
pub(crate) mod own_postgres;
pub(crate) mod paused;
pub(crate) mod postgres;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod schema;
pub(crate) mod snapshot;
pub(crate) mod spoiled_s3;
pub(crate) mod webhook;
pub(crate) mod workshop;
