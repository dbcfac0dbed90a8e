//! The last moment of a restored database under its own name: between the last comparison and the swap nobody writes into
//! it unseen.
//!
//! From the comparison on it has the grants of the backup, and its owner and superusers may come in all the time. So it is
//! closed before the swap, its sessions are ended, and what the server has counted since the comparison is looked at by
//! the one session that is left.

use super::{
    super::{
        Session,
        quote::{identifier, readable},
    },
    Restore, RestoreError,
    databases::{self, Database},
    loading_session,
    plan::Scope,
    sequences, sessions,
    since::{self, Written},
};

impl Restore<'_> {
    /// Closes the restored database for the swap, which opens it. If somebody has written into it since it was compared, that
    /// is an error; [`Self::unseal`] opens it then.
    pub(super) async fn seal(&self, restored: &Database) -> Result<(), RestoreError> {
        let strangers = databases::strangers(&self.session, &restored.name).await?;
        if !strangers.is_empty() {
            let user = &self.context.server.url().user;
            return Err(self.not_swapped(format!(
                "role {user} may not end the sessions of {} in database {}: stop them (a superuser's), or GRANT pg_signal_backend \
                 TO {}; then `drctl restore --switch` compares again and swaps in",
                strangers.join(", "),
                restored.name,
                readable(user)
            )));
        }
        let session = loading_session(self.context.server, &restored.name).await?;
        let close = format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", identifier(&restored.name));
        self.session.run("close the restored database", &close).await?;
        let sealed = self.nobody_wrote(restored, &session).await;
        session.close().await;
        sealed
    }

    async fn nobody_wrote(&self, restored: &Database, session: &Session) -> Result<(), RestoreError> {
        // Our own sessions may still be on their way out: those count as nobody's.
        let alone = since::is_alone(session).await?;
        sessions::end_others(&self.session, restored, session.pid).await?;
        let mut written = match self.written(session).await? {
            Written::To(written) => written,
            Written::Unknown if alone || self.plan.scope == Scope::Schema => Vec::new(),
            Written::Unknown => {
                return Err(self.not_swapped(format!(
                    "somebody was in database {} after it had been compared, and this server does not count what is written: see \
                     that nobody is in it; then `drctl restore --switch` compares again and swaps in",
                    restored.name
                )));
            }
        };
        if self.plan.scope != Scope::Schema {
            let differ = sequences::compare(session, &self.sequences()).await?;
            written.extend(differ.into_iter().map(|difference| difference.what));
        }
        if written.is_empty() {
            return Ok(());
        }
        Err(self.not_swapped(format!(
            "somebody wrote into database {} after it had been compared ({}): see that nobody is in it; then `drctl restore \
             --switch` compares again and swaps in",
            restored.name,
            written.join(", ")
        )))
    }

    fn not_swapped(&self, reason: String) -> RestoreError {
        RestoreError::Refused { database: self.plan.database.clone(), reasons: vec![reason] }
    }

    /// Opens the restored database, if it was not swapped in.
    pub(super) async fn unseal(&self) {
        let name = self.plan.loaded_database();
        let open = format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", identifier(name));
        if let Err(error) = self.session.run("open the restored database", &open).await {
            // Somebody may have dropped it; or there is no connection, and `--switch` opens it.
            tracing::debug!(%error, database = name, "the restored database was not opened again");
        }
    }
}
