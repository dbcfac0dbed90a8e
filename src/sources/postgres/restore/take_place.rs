//! A restored database takes the live one's place, or gives it back within the same run.

use super::{
    Restore, RestoreError,
    databases::{self, Database},
    journal::Stage,
    lost::{self, Lost},
    pause,
    plan::{Plan, Way},
    report::Switched,
    sessions, switch,
};

impl Plan {
    /// Whether `live`, which has the database's name now, is the one that the plan was made for.
    pub(super) fn is_of(&self, live: Option<&Database>) -> Result<(), RestoreError> {
        if live.map(|live| live.oid) == self.inner.live {
            return Ok(());
        }
        let why = match (self.way, live) {
            (Way::Create, Some(_)) => format!("database {} exists by now", self.database),
            _ => format!(
                "database {} is not the one any more that the plan was made for: another restore may have ended meanwhile; \
                 look at the plan again",
                self.database
            ),
        };
        Err(RestoreError::Refused { database: self.database.clone(), reasons: vec![why] })
    }
}

impl Restore<'_> {
    /// Puts what [`Self::load`] has loaded in the live database's place.
    ///
    /// # Errors
    /// [`RestoreError`]; then the live database is as it was, or the error says what is to be done.
    pub async fn switch(&mut self) -> Result<Switched, RestoreError> {
        let scratch = self.plan.loaded_database();
        pause::at(pause::Point::Ready).await;
        if self.context.cancel.is_cancelled() {
            return Err(RestoreError::Interrupted);
        }
        self.awake().await?;
        let traces = databases::traces(&self.session, &self.plan.database).await?;
        self.plan.is_of(traces.live.as_ref())?;
        let restored = traces.kept().find(|(database, _)| database.name == scratch).map(|(database, _)| database);
        let before = self.plan.inner.id.before(&self.plan.database);
        let comment = self.plan.inner.document.comment.clone();
        let switched = async {
            if let Some(restored) = restored {
                self.seal(restored).await?;
            }
            switch::switch(&self.session, scratch, &before, comment).await
        };
        let switched = match switched.await {
            Err(error) if self.session.is_closed() => {
                let restored = restored.map(|database| database.oid);
                self.find_out(error, restored, &before).await
            }
            switched => switched,
        };
        if switched.is_err() {
            self.unseal().await;
        }
        switched
    }

    /// The lock's session may have ended meanwhile: with the swap of another database of this run that it was in, or with
    /// its connection.
    async fn awake(&mut self) -> Result<(), RestoreError> {
        if self.session.run("look for the session", "SELECT 1").await.is_ok() {
            return Ok(());
        }
        self.session = databases::beside(self.context.server, &self.plan.database).await?;
        sessions::call(&self.session, &self.plan.inner.id).await?;
        databases::lock(&self.session, &self.plan.database).await
    }

    /// What became of a swap whose connection was lost. A live database that it has left closed is opened.
    async fn find_out(
        &mut self,
        source: RestoreError,
        restored: Option<u32>,
        before: &str,
    ) -> Result<Switched, RestoreError> {
        let database = self.plan.database.clone();
        let (session, became) = lost::became(self.context.server, &database, restored).await;
        if let Some(session) = session {
            self.session = session;
            // Without its name, it is taken for another run's; no more comes of that than a refusal.
            let _called = sessions::call(&self.session, &self.plan.inner.id).await;
        }
        let state = match became {
            Lost::Done(traces) => {
                let is_kept = traces.replaced.iter().any(|(old, _)| old.name == before);
                let closed = traces.live.is_some_and(|live| !live.open);
                return Ok(Switched { closed, ..Switched::known(&database, is_kept.then_some(before)) });
            }
            Lost::Not(state) => format!("{state}, and was not swapped"),
            Lost::Unknown => {
                "may be closed to new sessions; as soon as the server answers, `drctl restore --undo` opens it, \
                 and so does `drctl restore --switch`, which swaps again"
                    .to_owned()
            }
        };
        Err(RestoreError::LostInSwap { database, state, source: Box::new(source) })
    }

    /// Undoes [`Self::switch`]: what was live before is live again, and the restored database beside it, ready to
    /// be swapped in another time.
    ///
    /// # Errors
    /// [`RestoreError`]; then the restored database is still live, or the next run says what is to be mended.
    pub async fn switch_back(&mut self) -> Result<Switched, RestoreError> {
        self.awake().await?;
        let traces = databases::traces(&self.session, &self.plan.database).await?;
        let (id, scratch) = (&self.plan.inner.id, self.plan.loaded_database());
        let Some(live) = &traces.live else {
            return Err(RestoreError::NotReady { database: self.plan.database.clone() });
        };
        match traces.replaced.iter().find(|(_, marker)| marker.restore == id.as_str()) {
            Some(before) => switch::undo(&self.session, Some(live), before, (scratch, Stage::Ready)).await,
            None => switch::give_back(&self.session, live, scratch, &self.marker(Stage::Ready)).await,
        }
    }
}
