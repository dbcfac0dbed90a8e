//! Whether a store gives the name again of what was deleted: tried on a mark that nobody needs.

use bytes::Bytes;

use super::{
    super::{
        Error, Repository,
        backend::{ErrorKind, Key, PutOutcome},
        control, layout,
    },
    Pin,
};
use crate::types::{Clock, Name};

impl Repository {
    /// Whether the store takes an object under the name of one that was deleted, tried on the pin of a backup that there never was;
    /// `None` if this identity may not try it, or another tries it at this moment.
    ///
    /// # Errors
    /// What the store says.
    pub(in super::super) async fn gives_names_again(
        &self,
        (policy, schedule): (&Name, &Name),
        clock: &dyn Clock,
    ) -> Result<Option<bool>, Error> {
        let backup = layout::proof();
        let bytes = control::encode(&Pin::new((policy, schedule, &backup), clock.now()))?;
        match self.try_name_again(&layout::pin(policy, &backup), bytes).await {
            Err(Error::Store(error)) if error.kind == ErrorKind::PermissionDenied => Ok(None),
            tried => tried,
        }
    }

    async fn try_name_again(&self, key: &Key, bytes: Bytes) -> Result<Option<bool>, Error> {
        // Twice, since another one may try it at this moment; where it was tried before, it is so for ever.
        if self.is_refused_for_nothing(key, &bytes).await? && self.is_refused_for_nothing(key, &bytes).await? {
            return Ok(Some(false));
        }
        self.backend.delete(key).await?;
        match self.backend.put_new(key, bytes.clone()).await? {
            PutOutcome::Exists => {
                let refused = self.is_absent(key).await? && self.is_refused_for_nothing(key, &bytes).await?;
                Ok(refused.then_some(false))
            }
            PutOutcome::Created => {
                self.backend.delete(key).await?;
                Ok(Some(true))
            }
        }
    }

    /// Whether a put is refused, and nothing is there.
    async fn is_refused_for_nothing(&self, key: &Key, bytes: &Bytes) -> Result<bool, Error> {
        Ok(self.backend.put_new(key, bytes.clone()).await? == PutOutcome::Exists && self.is_absent(key).await?)
    }
}
