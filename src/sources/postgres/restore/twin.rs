//! What the target server itself makes of the archive's statements.
//!
//! A server writes an expression that it has read in words of its own: with other parentheses and casts, and another
//! major version in other words still. Whether two such texts mean the same is nothing that can be seen from the texts.
//! So the archive's statements are run again, in a database that holds no rows: what the same server says of that, by
//! the same means, is what it has to say of the restored one, to the letter.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    super::{Session, archive::Toc, quote::identifier},
    Restore, RestoreError,
    build::Builder,
    catalogs::{self, Compared, Strictness},
    databases,
    journal::{Marker, Stage},
    loading_session,
    names::RestoreId,
    pause::{self, Point},
    plan::Way,
    properties,
    report::{Difference, LeftOut, Loaded},
};

impl Restore<'_> {
    /// Holds the catalogs against the archive: by their texts, and by a twin where those do not tell.
    pub(super) async fn prove(
        &self,
        wanted: &[u32],
        found: &Toc,
        strictness: Strictness,
        loaded: &mut Loaded,
    ) -> Result<(), RestoreError> {
        let inner = &self.plan.inner;
        let mut compared = catalogs::compare(&inner.toc, wanted, found, None, strictness);
        if !compared.unproven.is_empty() {
            match self.twin(loaded).await {
                Ok(twin) => compared = catalogs::compare(&inner.toc, wanted, found, Some(twin.as_ref()), strictness),
                Err(RestoreError::Interrupted) => return Err(RestoreError::Interrupted),
                Err(error) => self.not_compared(&mut compared, &error, loaded),
            }
        }
        loaded.compared_objects = compared.entries;
        loaded.differences.extend(compared.differences);
        loaded.notes.extend(compared.notes);
        Ok(())
    }

    /// What cannot be compared is not equal. In place nothing is swapped: there it is said, and no more.
    fn not_compared(&self, compared: &mut Compared, error: &RestoreError, loaded: &mut Loaded) {
        for unproven in std::mem::take(&mut compared.unproven) {
            let why = format!("{}, and was not compared: {error}", unproven.how);
            if self.plan.way == Way::InPlace {
                loaded.left_out.push(LeftOut { what: format!("the comparison of {}", unproven.what), why });
            } else {
                compared.differences.push(Difference { how: why, ..unproven });
            }
        }
    }

    /// Makes the twin, reads it, and drops it. A run that is killed meanwhile leaves a half loaded database, which the
    /// next one drops.
    async fn twin(&self, loaded: &mut Loaded) -> Result<Arc<Toc>, RestoreError> {
        let (plan, inner) = (self.plan, &self.plan.inner);
        let id = RestoreId::new(Timestamp::now());
        let name = id.scratch(&plan.database);
        let owner = self.owner().filter(|_| plan.scratch.is_some());
        let (owner, tablespace) = (owner.as_deref(), inner.tablespace.as_deref());
        let sql = properties::create(&name, &inner.document, owner, tablespace, inner.target_major);
        self.session.run("create a database to compare definitions with", &sql).await?;
        let marker = Marker { restore: id.as_str().to_owned(), ..self.marker(Stage::Loading) };
        let read = self.fill_twin(&name, &marker).await;
        if let Err(error) = databases::drop_database(&self.session, &name).await {
            let drop = format!("DROP DATABASE {};", identifier(&name));
            loaded.notes.push(format!(
                "database {name}, made to compare definitions with, could not be dropped: {error}; {drop}"
            ));
        }
        read
    }

    async fn fill_twin(&self, name: &str, marker: &Marker) -> Result<Arc<Toc>, RestoreError> {
        properties::opened(&self.session, name, Some(&marker.text())).await?;
        pause::at(Point::Twin).await;
        let session = loading_session(self.context.server, name).await?;
        let made = self.make_twin(&session, name).await;
        session.close().await;
        made?;
        catalogs::read(self.pg_dump()?, self.context.server, name, self.context.cancel).await
    }

    /// What cannot be made is missing in the twin, and nothing is equal to it then.
    async fn make_twin(&self, session: &Session, name: &str) -> Result<(), RestoreError> {
        let inner = &self.plan.inner;
        let builder = self.builder(self.replication_role(session).await?)?;
        let builder = Builder { database: name, jobs: 1, ..builder };
        // Large objects are rows; a database with a subscription could not be dropped again.
        let is_of_twin = |id: &&u32| {
            inner.toc.entry(**id).is_some_and(|entry| {
                !catalogs::is_of_large_objects(&entry) && !entry.description().starts_with("SUBSCRIPTION")
            })
        };
        let selection = &inner.selection;
        let before: Vec<u32> = selection.before.iter().filter(is_of_twin).copied().collect();
        let after = selection.after.iter().chain(&selection.doubtful);
        let after: Vec<u32> = after.filter(is_of_twin).copied().collect();
        let mut failed = builder.make("make definitions to compare with", &before).await?;
        self.own_public(session).await?;
        failed.extend(builder.make("make definitions to compare with", &after).await?);
        for words in failed {
            tracing::debug!(words, "not made in the twin");
        }
        Ok(())
    }
}
