//! One session of a server, and what is asked of it.

use std::time::Duration;

use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, Row, types::ToSql};

use super::error::Error;

/// The version of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// 15 of 15.18.
    pub major: u32,
    /// `server_version_num`: 150018.
    pub number: u32,
    /// As the server says it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub text: String,
}

/// One session. It ends when this is dropped.
#[derive(Debug)]
pub struct Session {
    pub(super) client: Client,
    pub(super) driver: JoinHandle<()>,
    pub(super) server: String,
    pub(super) database: String,
    /// The process number of its backend.
    pub pid: i32,
    /// The server's version.
    pub version: ServerVersion,
    /// The database's encoding, as PostgreSQL names it: `UTF8`.
    pub encoding: String,
}

impl Session {
    /// The client itself, for COPY.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The client itself, for transactions.
    #[must_use]
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs statements, several with `;` between them. `doing` completes "cannot …".
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn run(&self, doing: &str, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await.map_err(|error| self.failed(doing, &error))
    }

    /// The rows of a query.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn rows(&self, doing: &str, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.client.query(sql, values).await.map_err(|error| self.failed(doing, &error))
    }

    /// The one row of a query.
    ///
    /// # Errors
    /// [`Error::Statement`].
    pub async fn row(&self, doing: &str, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        self.client.query_one(sql, values).await.map_err(|error| self.failed(doing, &error))
    }

    /// Makes the error of a statement that failed.
    #[must_use]
    pub fn failed(&self, doing: &str, error: &tokio_postgres::Error) -> Error {
        Error::Statement {
            doing: doing.to_owned(),
            database: self.database.clone(),
            server: self.server.clone(),
            reason: error.into(),
        }
    }

    /// Ends the session and waits until the server was told.
    pub async fn close(self) {
        let Self { client, driver, .. } = self;
        drop(client);
        let _ended = timeout(Duration::from_secs(5), driver).await;
    }
}
