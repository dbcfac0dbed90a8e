//! Telling a copy from the repository itself that is reached in another way: by a link, or another name of the server.

use futures::TryStreamExt;

use super::super::{
    Error, Repository,
    backend::{Backend, Key, ObjectMeta},
    control, layout,
};

impl Repository {
    /// Whether `store` is the place of this repository, whatever it is called. An object has one time in whatever way it is
    /// reached, and the sessions of a copy are its own: one that is the same in both says that both are one.
    pub(super) async fn is_in(&self, store: &dyn Backend) -> Result<bool, Error> {
        let (Some(own), Some(there)) =
            (head(&*self.backend, &layout::header()).await?, head(store, &layout::header()).await?)
        else {
            return Ok(false);
        };
        if own.modified != there.modified {
            return Ok(false);
        }
        // A copy may have been made in the same second.
        let mut sessions = self.backend.list(&layout::sessions_of(None));
        while let Some(own) = sessions.try_next().await? {
            let Some(there) = head(store, &own.key).await? else { continue };
            if (own.modified, own.size) != (there.modified, there.size) {
                return Ok(false);
            }
            let limit = control::MAX_CONTROL as u64;
            let (own_bytes, bytes) = (self.backend.get(&own.key, limit).await?, store.get(&own.key, limit).await?);
            return Ok(own_bytes == bytes);
        }
        Ok(false)
    }
}

async fn head(store: &dyn Backend, key: &Key) -> Result<Option<ObjectMeta>, Error> {
    match store.head(key).await {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
