//! Making a replica, and telling one from another repository.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};

use super::super::{
    CopyRefused, Error, Header, Repository,
    backend::{Backend, ErrorKind, PutOutcome},
    control,
    crypt::MAX_KEY_FILE,
    layout, locks,
    objects::put_own,
};
use crate::types::Clock;

/// Places whose times are so close may become one: a time is cut to the second, in a store's clock as well, and one second apart is the
/// same.
const CLOSE: SignedDuration = SignedDuration::from_secs(3);

/// How long it is, at `there`, until what is put gets another time than `own`, whatever a store makes of fractions of a second.
fn until_apart(own: Timestamp, there: Timestamp) -> Duration {
    let ahead = there.duration_since(own);
    if ahead.abs() < CLOSE { (CLOSE - ahead).unsigned_abs() } else { Duration::ZERO }
}

impl Repository {
    /// The replica of this repository in `store`, if there is one.
    ///
    /// # Errors
    /// [`CopyRefused::OtherRepository`] if it is one of another repository, [`CopyRefused::SamePlace`] if it is this one by
    /// another name, [`Error::Damaged`] if its `repository.json` says
    /// something else than this one's, and what the stores say.
    pub async fn find_replica_in(&self, store: Arc<dyn Backend>) -> Result<Option<Self>, Error> {
        let own = self.header_bytes().await?;
        match store.get(&layout::header(), control::MAX_CONTROL as u64).await {
            Ok(found) => {
                self.check_header(&*store, &found, &own)?;
                if self.is_in(&*store).await? {
                    let (location, original) = (store.location().to_owned(), self.location().to_owned());
                    return Err(CopyRefused::SamePlace { location, original }.into());
                }
            }
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) if error.kind == ErrorKind::TooLarge => {
                return Err(self.other(&*store, "its `repository.json` is a file of something else"));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Some(self.on(store)))
    }

    /// The replica of this repository in `store`, which is made if there is none: the key files first, and `repository.json`
    /// last, both byte for byte. Key files that have come since are sent.
    ///
    /// # Errors
    /// As [`Self::find_replica_in`], and [`Error::CreateOnlyIgnored`].
    pub async fn replica_in(&self, store: Arc<dyn Backend>, clock: &dyn Clock) -> Result<Self, Error> {
        let own = self.header_bytes().await?;
        locks::prepare(&*store, clock).await?;
        let is_there = self.find_replica_in(Arc::clone(&store)).await?.is_some();
        self.send_key_files(&*store).await?;
        if !is_there {
            // Twice: the second put finds the first, or the store overwrites.
            for second in [false, true] {
                match store.put_new(&layout::header(), own.clone()).await? {
                    PutOutcome::Created if second => {
                        return Err(Error::CreateOnlyIgnored { location: store.location().to_owned() });
                    }
                    PutOutcome::Created => {}
                    PutOutcome::Exists => {
                        let found = store.get(&layout::header(), control::MAX_CONTROL as u64).await;
                        let found = found.map_err(|error| match error.kind {
                            ErrorKind::NotFound => Error::spent(store.location(), &layout::header()),
                            _ => error.into(),
                        })?;
                        self.check_header(&*store, &found, &own)?;
                    }
                }
            }
        }
        Ok(self.on(store))
    }

    /// How long to wait until a `repository.json` that is put into `store` gets a time of its own, by the store's clock, and how long
    /// after it was put: then one that this process puts elsewhere has another. By that time the places of a repository are told from each
    /// other, and stores tell it by the second. Nothing, if there is one already.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn waits_for_replica_in(
        &self,
        store: &dyn Backend,
        clock: &dyn Clock,
    ) -> Result<(Duration, Duration), Error> {
        match store.head(&layout::header()).await {
            Err(error) if error.is_not_found() => {}
            _ => return Ok((Duration::ZERO, Duration::ZERO)),
        }
        let own = self.place().await?;
        let there = store.clock().await?.unwrap_or_else(|| clock.now());
        Ok((until_apart(own, there), CLOSE.unsigned_abs()))
    }

    /// This repository in a store that has nothing of it yet, and that nothing is written to.
    #[must_use]
    pub fn planned_in(&self, store: Arc<dyn Backend>) -> Self {
        self.on(store)
    }

    /// This repository, in another store.
    fn on(&self, store: Arc<dyn Backend>) -> Self {
        let (header, access) = (Arc::clone(&self.header), Arc::clone(&self.access));
        Self { backend: store, header, access, came: Arc::default() }
    }

    async fn header_bytes(&self) -> Result<Bytes, Error> {
        let key = layout::header();
        self.backend.get(&key, control::MAX_CONTROL as u64).await.map_err(|error| Error::reading(&key, error))
    }

    fn check_header(&self, store: &dyn Backend, found: &Bytes, own: &Bytes) -> Result<(), Error> {
        if found == own {
            return Ok(());
        }
        match control::decode::<Header>(found) {
            Ok(header) if header.id == self.header.id => {
                let reason =
                    format!("it differs from that of {}, although both are of one repository", self.location());
                Err(Error::damaged(format!("{}/{}", store.location(), layout::header()), reason))
            }
            Ok(header) => Err(self.other(store, &format!("it is the repository {}", header.id))),
            Err(control::Refusal::NotOne) => {
                Err(self.other(store, "its `repository.json` is a file of something else"))
            }
            Err(damaged) => Err(damaged.into_error(&layout::header())),
        }
    }

    fn other(&self, store: &dyn Backend, why: &str) -> Error {
        CopyRefused::OtherRepository {
            location: store.location().to_owned(),
            original: self.location().to_owned(),
            why: why.to_owned(),
        }
        .into()
    }

    /// Sends the key files that are not there; those that are must be equal, or the copy could not be read when it is all
    /// that is left. They are encrypted to their recipients: no key is needed for it.
    async fn send_key_files(&self, store: &dyn Backend) -> Result<(), Error> {
        let there: HashSet<_> = store.list(layout::KEYS).map_ok(|meta| meta.key).try_collect().await?;
        let mut files = self.backend.list(layout::KEYS);
        while let Some(meta) = files.try_next().await? {
            if layout::parse_key_file(&meta.key).is_none() {
                continue;
            }
            let bytes = self.backend.get(&meta.key, MAX_KEY_FILE).await;
            let bytes = bytes.map_err(|error| Error::reading(&meta.key, error))?;
            if !there.contains(&meta.key) {
                put_own(store, &meta.key, bytes).await?;
                continue;
            }
            let found = match store.get(&meta.key, MAX_KEY_FILE).await {
                Ok(found) => Some(found),
                Err(error) if error.kind == ErrorKind::TooLarge => None,
                Err(error) => return Err(Error::reading(&meta.key, error)),
            };
            if found.as_ref() != Some(&bytes) {
                let reason = format!("it is not the same in {} and in {}", self.location(), store.location());
                return Err(Error::damaged(&meta.key, reason));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_made_at_another_second_than_the_one_before_it() {
        let at = |milliseconds: i64| Timestamp::from_millisecond(1_795_140_000_000 + milliseconds).unwrap();
        let cases = [
            (0, 3_000),
            (500, 2_500),
            (2_999, 1),
            (3_000, 0),
            (86_400_000, 0),
            (-1, 3_001),
            (-2_999, 5_999),
            (-3_000, 0),
        ];
        for (ahead, wait) in cases {
            assert_eq!(until_apart(at(0), at(ahead)), Duration::from_millis(wait), "{ahead}");
        }
    }
}
