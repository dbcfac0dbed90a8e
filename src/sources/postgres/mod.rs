//! PostgreSQL databases: one `pg_dump` stream split in process, restored beside the live database,
//! compared, and swapped in.

pub mod archive;
mod calm;
pub mod capture;
pub mod connect;
pub mod contents;
mod error;
pub mod export;
pub mod quote;
pub mod restore;
pub mod rows;
mod sent;
mod session;
mod tls;
pub mod tools;
pub mod url;
mod watch;
mod wire;

pub use capture::{PostgresSource, Selection};
pub use connect::Server;
pub use error::{Error, Reason};
pub use session::{ServerVersion, Session};
pub use url::{ConnectionUrl, InvalidUrl, SslMode};
