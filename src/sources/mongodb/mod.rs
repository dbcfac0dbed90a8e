//! MongoDB databases: read with the official driver, document by document as the server sends them.
//!
//! `capture` writes what [`contents`] describes: one stream a collection, its documents byte for byte, and what defines
//! the collections. `restore` makes a database of it, `export` a folder for `mongorestore`.

mod accounts;
mod bridge;
pub mod capture;
mod connect;
pub mod contents;
mod definition;
mod error;
pub mod export;
mod extjson;
mod left;
mod replies;
pub mod restore;
mod shard;
mod url;

pub use capture::{Consistency, MongodbSource, Selection};
pub use connect::{Facts, Server, Session};
pub use error::{Error, Reason};
pub use url::{Address, InvalidUrl};
