//! Packs put in the store; and those that a planted fault of the protocol keeps back until the manifest is there.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::{
    super::{Error, backend::Key, objects::put_own},
    Pipeline,
};

/// Packs that only the planted fault keeps back.
#[derive(Debug, Default)]
pub(super) struct Late(Mutex<Vec<(Key, Bytes)>>);

impl Pipeline {
    /// Puts a pack; with the planted fault it only remembers it.
    pub(super) async fn put_pack(&self, key: Key, bytes: Bytes) -> Result<(), Error> {
        if self.options.packs_last {
            self.late.0.lock().unwrap_or_else(PoisonError::into_inner).push((key, bytes));
            return Ok(());
        }
        put_own(&*self.backend, &key, bytes).await
    }

    /// Stores the packs that the planted fault has kept back.
    pub(crate) async fn store_late(&self) -> Result<(), Error> {
        let late = std::mem::take(&mut *self.late.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (key, bytes) in late {
            put_own(&*self.backend, &key, bytes).await?;
        }
        Ok(())
    }
}
