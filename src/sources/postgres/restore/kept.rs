//! A database that an earlier restore has loaded and left beside: compared again, before it may be swapped in.

use super::{
    super::{Error, Server, Session, quote::identifier},
    Phases, Restore, RestoreError,
    beside::extension_tables,
    copy::Load,
    databases, heartbeat,
    journal::Stage,
    loading_session,
    names::RestoreId,
    properties,
    report::Loaded,
    since::{self, Brought},
    work::Work,
};
use crate::types::StreamInfo;

/// A database that was restored and never swapped in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub database: String,
    /// The restore that has loaded it.
    pub restore: RestoreId,
    /// The backup that it was loaded from.
    pub backup: String,
}

/// What earlier restores of `database` have loaded, compared and left beside it, newest first. Nothing is written.
///
/// # Errors
/// The server's.
pub async fn kept(server: &Server, database: &str) -> Result<Vec<Kept>, Error> {
    let session = databases::beside(server, database).await?;
    let traces = databases::traces(&session, database).await?;
    let found = |(database, marker): &(databases::Database, super::Marker)| {
        let restore = RestoreId::parse(&marker.restore)?;
        Some(Kept { database: database.name.clone(), restore, backup: marker.backup.clone() })
    };
    let mut all: Vec<Kept> = traces.kept().filter_map(found).collect();
    all.sort_by(|one, other| other.restore.as_str().cmp(one.restore.as_str()));
    Ok(all)
}

impl Restore<'_> {
    /// Everything is compared as after a load. What is equal is ready for the swap, whatever was found the last time.
    pub(super) async fn compare_again(&self) -> Result<Loaded, RestoreError> {
        let plan = self.plan;
        let traces = databases::traces(&self.session, &plan.database).await?;
        let name = plan.loaded_database();
        let Some((kept, _)) = traces.kept().find(|(database, _)| database.name == name) else {
            return Err(RestoreError::NotReady { database: name.to_owned() });
        };
        if !kept.open {
            // A run that was killed right before its swap has left it so.
            self.unseal().await;
        }
        let mut phases = Phases::begin();
        let session = loading_session(self.context.server, name).await?;
        let compared = tokio::select! {
            compared = self.compare_by(&session, &mut phases) => compared,
            () = async { tokio::join!(self.keep(), heartbeat::keep(&session)); } => Err(RestoreError::Interrupted),
        };
        session.close().await;
        let mut loaded = compared?;
        let (document, ownership) = (&plan.inner.document, &plan.ownership);
        self.writes();
        let left_out = properties::finish(&self.session, name, document, ownership).await?;
        let differs = properties::compare(&self.session, name, document, ownership, &left_out).await?;
        loaded.left_out.extend(left_out);
        loaded.differences.extend(differs);
        self.mark(if loaded.is_equal() { Stage::Ready } else { Stage::Differs }).await?;
        loaded.phases = std::mem::take(&mut phases.done);
        Ok(loaded)
    }

    /// Row security came after the rows, and may bind this role by now: the first comparison was before it.
    async fn can_read_back(&self, session: &Session, loads: &[Load]) -> Result<(), RestoreError> {
        let names: Vec<&str> = loads.iter().map(|load| load.table.as_str()).collect();
        let tables = since::hidden(session, &names).await?;
        if tables.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "row security would hide rows of {} from role {}, and they cannot be compared: ALTER ROLE {2} BYPASSRLS, or run it \
             as a superuser; or restore from the backup again without --no-switch, which compares before row security is there",
            tables.join(", "),
            self.context.server.url().user,
            identifier(&self.context.server.url().user),
        );
        Err(RestoreError::Refused { database: self.plan.database.clone(), reasons: vec![reason] })
    }

    async fn compare_by(&self, session: &Session, phases: &mut Phases) -> Result<Loaded, RestoreError> {
        let (plan, context) = (self.plan, self.context);
        context.monitor.phase("comparing", "bytes", Some(plan.bytes));
        let mut loads = plan.inner.loads.clone();
        extension_tables(session, &mut loads).await?;
        self.can_read_back(session, &loads).await?;
        let objects: Vec<&StreamInfo> =
            plan.inner.objects.iter().filter_map(|place| context.contents.streams().get(*place)).collect();
        let database = plan.loaded_database();
        let work = Work { rows: self.rows(), server: context.server, database, jobs: plan.inner.jobs };
        let worked = work.compare(&loads, &objects).await?;
        let mut loaded = Loaded {
            database: plan.loaded_database().to_owned(),
            tables: plan.tables,
            rows: plan.rows,
            bytes: plan.bytes,
            large_objects: plan.large_objects,
            compared_tables: worked.compared_tables,
            compared_large_objects: worked.compared_objects,
            differences: worked.differences,
            left_out: plan.left_out.clone(),
            ..Loaded::default()
        };
        phases.end("compare");
        context.monitor.phase("comparing the catalogs", "step", None);
        // A key that did not hold may have been left out, or hold by now.
        let builder = self.builder(self.replication_role(session).await?)?;
        let tried = self.try_doubtful(session, &builder).await?;
        loaded.left_out.extend(tried.left_out);
        self.compare_catalogs(session, true, tried.failures, &tried.out, &mut loaded).await?;
        self.compare_changed(session, Brought { loads, marks: worked.marks }, &mut loaded).await?;
        phases.end("catalogs");
        Ok(loaded)
    }
}
