//! What runs that were killed have left half loaded, and how it goes.

use super::{
    super::{Error, quote::identifier},
    Restore, RestoreError, databases,
    journal::Stage,
    properties,
};

/// A closed database that was opened to its owner, to see from within whether it holds something.
#[derive(Debug)]
struct Opened {
    name: String,
    /// What everybody might do with it before.
    granted: Vec<&'static str>,
}

impl Opened {
    /// The statements that close it again, to those who could use it before.
    fn close(&self) -> String {
        let name = identifier(&self.name);
        let grants: String =
            self.granted.iter().map(|what| format!(" GRANT {what} ON DATABASE {name} TO PUBLIC;")).collect();
        format!("BEGIN; ALTER DATABASE {name} ALLOW_CONNECTIONS = false;{grants} COMMIT")
    }
}

impl Restore<'_> {
    /// Drops what the plan has found half loaded, if it still is: nobody else has the lock.
    pub(super) async fn drop_half_loaded(&self) -> Result<(), RestoreError> {
        if self.plan.dropped.is_empty() {
            return Ok(());
        }
        let mut opened = Vec::new();
        let dropped = self.drop_those_half_loaded(&mut opened).await;
        // Whatever came of it: what is still there and was closed belongs to somebody else.
        let closed = self.close_again(&opened).await;
        dropped.and(closed)
    }

    async fn drop_those_half_loaded(&self, opened: &mut Vec<Opened>) -> Result<(), RestoreError> {
        self.open_unmarked(opened).await?;
        let traces = databases::traces_of(self.context.server, &self.session, &self.plan.database).await?;
        for (half, marker) in traces.abandoned {
            if marker.stage != Stage::Loading || !self.plan.dropped.contains(&half.name) {
                continue;
            }
            if databases::drop_unused(&self.session, &half.name).await? {
                self.writes();
                opened.retain(|other| other.name != half.name);
            } else {
                self.context
                    .monitor
                    .note(&format!("Database {} was left half loaded, and is in use: it stays.", half.name));
            }
        }
        Ok(())
    }

    /// Opens what a run has created and not marked any more, to its owner: whether it holds something is seen from within.
    async fn open_unmarked(&self, opened: &mut Vec<Opened>) -> Result<(), RestoreError> {
        const RIGHTS: [&str; 3] = ["CONNECT", "TEMPORARY", "CREATE"];
        let traces = databases::traces(&self.session, &self.plan.database).await?;
        let closed = traces.unmarked.into_iter().filter(|(half, _)| half.owned && !half.open);
        for (half, _) in closed.filter(|(half, _)| self.plan.dropped.contains(&half.name)) {
            let sql = "SELECT pg_catalog.has_database_privilege('public', $1::pg_catalog.oid, r.name) \
                 FROM pg_catalog.unnest($2::pg_catalog.text[]) WITH ORDINALITY AS r(name, place) ORDER BY r.place";
            let rights = RIGHTS.as_slice();
            let may = self.session.rows("look at the grants of the database", sql, &[&half.oid, &rights]).await?;
            let granted = RIGHTS.into_iter().zip(&may).filter(|(_, row)| row.get(0)).map(|(right, _)| right).collect();
            // Before: if the answer is lost, it may be open all the same.
            opened.push(Opened { name: half.name.clone(), granted });
            properties::opened(&self.session, &half.name, None).await?;
        }
        Ok(())
    }

    async fn close_again(&self, opened: &[Opened]) -> Result<(), RestoreError> {
        let mut failed: Option<Error> = None;
        for other in opened {
            let done = self.session.run("close a database that is somebody else's", &other.close()).await;
            if let Err(error) = done {
                // None is open after it; without a connection this fails too.
                let _rolled_back = self.session.run("roll back", "ROLLBACK").await;
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
