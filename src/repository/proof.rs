//! What a store must do for backups, proven on the store itself before one is taken.

use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::Map;

use super::{
    Error, Repository, Session,
    backend::{BucketLock, Powers, PutOutcome},
    control, layout, tool,
    writer::{MAX_SKEW, nearest_if_apart},
};
use crate::types::{BackupId, Clock, Name};

/// What was proven of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key that a second object was refused under.
    pub key: String,
    /// Whether the mark was put just now; else an earlier proof has left it.
    pub put: bool,
    /// How the bucket is set up for locks; absent where none are asked for, or where this identity may not look.
    pub bucket_lock: Option<BucketLock>,
    /// What this identity may do beyond what a backup needs; absent where it cannot be found out.
    pub powers: Option<Powers>,
    /// Whether the store takes an object under the name of one that was deleted; absent where this identity may not delete.
    pub gives_names_again: Option<bool>,
    /// Whether this identity may read an object of `keys/`, which no backup needs; absent if there is none.
    pub reads_keys: Option<bool>,
    /// How far the store's clock is ahead of this machine's; absent if the store does not say its time.
    pub ahead: Option<SignedDuration>,
}

impl Repository {
    /// Proves that the store takes an object, that it refuses a second one under the same key, and that its
    /// clock and this machine's agree. It tries whether this identity may overwrite or delete, and whether a locked
    /// object can be deleted, all on the object that it leaves.
    ///
    /// Where this identity may delete, it also tries whether the name of what was deleted can be given again, on the pin of the
    /// same run, which it takes away.
    ///
    /// It leaves one object, the same one each time: the session of a run that began in 1970 and that no
    /// backup ever shares anything with (`layout::proof`). So an identity that may not delete can prove as
    /// often as it likes.
    ///
    /// # Errors
    /// [`Error::CreateOnlyIgnored`], [`Error::ClockSkew`], or what the store says.
    pub async fn prove(&self, policy: &Name, schedule: &Name, clock: &dyn Clock) -> Result<Proof, Error> {
        let backup = layout::proof();
        let key = layout::session(policy, &backup);
        let session = Session {
            repository: self.header.id.clone(),
            policy: policy.clone(),
            schedule: schedule.clone(),
            full_since: backup.time(),
            started: backup.time(),
            backup,
            parents: Vec::new(),
            tool: tool(),
            copied: None,
            unknown: Map::new(),
        };
        let bytes = control::encode(&session)?;
        let before = clock.now();
        let bucket_lock = self.backend.lock_ready().await?;
        let put = self.backend.put_new(&key, bytes.clone()).await? == PutOutcome::Created;
        if self.backend.put_new(&key, bytes.clone()).await? == PutOutcome::Created {
            return Err(Error::CreateOnlyIgnored { location: self.location().to_owned() });
        }
        let seen = match self.backend.head(&key).await {
            Err(error) if error.is_not_found() => return Err(self.spent(&key)),
            seen => seen?,
        };
        let store = if put { Some(seen.modified) } else { self.backend.clock().await? };
        let ahead = store.map(|store| self.compare_clocks(before, store, clock.now())).transpose()?;
        let powers = self.backend.probe(&key, bytes).await?;
        let gives_names_again = match powers {
            Some(Powers { deletes: Some(true), .. }) => self.gives_names_again((policy, schedule), clock).await?,
            _ => None,
        };
        let reads_keys = match self.backend.list(layout::KEYS).try_next().await? {
            Some(found) => Some(self.backend.get(&found.key, control::MAX_CONTROL as u64).await.is_ok()),
            None => None,
        };
        Ok(Proof { key: key.to_string(), put, bucket_lock, powers, gives_names_again, reads_keys, ahead })
    }

    fn compare_clocks(&self, before: Timestamp, store: Timestamp, after: Timestamp) -> Result<SignedDuration, Error> {
        match nearest_if_apart(before, store, after) {
            Some(local) => Err(Error::ClockSkew { location: self.location().to_owned(), local, store }),
            None => Ok(store.duration_since(store.clamp(before, after.max(before)))),
        }
    }
}

/// Whether `backup` is no run but what [`Repository::prove`] leaves.
pub(super) fn is_proof(backup: &BackupId) -> bool {
    *backup == layout::proof()
}

/// How far the clocks may be apart.
pub const MOST_APART: SignedDuration = MAX_SKEW;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        repository::{
            BeginOptions,
            backend::{Backend, ErrorKind, Fault, Faulty, Memory, Op, Rule},
        },
        types::{SetClock, SystemClock},
    };

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    async fn made(store: Arc<dyn Backend>) -> Repository {
        Repository::init(store, &SystemClock).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_good_store_is_proven_as_often_as_one_likes_and_keeps_one_mark() {
        let repository = made(Arc::new(Memory::default())).await;
        for first in [true, false, false] {
            let proof = repository.prove(&name("shop"), &name("daily"), &SystemClock).await.unwrap();
            assert_eq!(proof.key, "sessions/shop/19700101T000000Z-doctor.json");
            assert!(proof.put == first && proof.ahead.is_some_and(|ahead| ahead.abs().as_secs() < 60), "{proof:?}");
        }
        // The mark is no run: nobody sees it, and nobody resumes it.
        assert_eq!(repository.sessions(None).await.unwrap(), []);
        let options = BeginOptions::new(name("shop"), name("daily"), vec![name("a")], Arc::new(SystemClock));
        let writer = repository.begin(options).await.unwrap();
        assert_eq!((writer.stats().parents, writer.stats().notes), (vec![], vec![]));
        assert_eq!(repository.sessions(None).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_store_that_overwrites_or_refuses_is_found_out() {
        let good = Memory::default();
        let repository = made(Arc::new(good.clone())).await;
        let refusing = Faulty::new(Arc::new(good));
        refusing.on(Rule::new(Op::PutNew, Fault::Fail(ErrorKind::PermissionDenied)).always());
        let refused = Repository::open(refusing).await.unwrap();
        assert!(matches!(refused.prove(&name("shop"), &name("daily"), &SystemClock).await, Err(Error::Store(_))));
        let overwriting = Arc::new(Memory::overwriting(Arc::new(SystemClock)));
        let header = control::encode(repository.header()).unwrap();
        overwriting.put_new(&layout::header(), header).await.unwrap();
        let found = Repository::open(overwriting).await.unwrap();
        let found = found.prove(&name("shop"), &name("daily"), &SystemClock).await;
        assert!(matches!(found, Err(Error::CreateOnlyIgnored { .. })), "{found:?}");
        repository.prove(&name("shop"), &name("daily"), &SystemClock).await.unwrap();
    }

    #[tokio::test]
    async fn clocks_more_than_two_minutes_apart_are_found_out() {
        for (minutes, wrong) in [(0, false), (1, false), (3, true), (-3, true)] {
            let here = SetClock::new(Timestamp::now() + SignedDuration::from_mins(minutes));
            let repository = made(Arc::new(Memory::default())).await;
            for _ in 0..2 {
                let proof = repository.prove(&name("shop"), &name("daily"), &here).await;
                assert_eq!(matches!(proof, Err(Error::ClockSkew { .. })), wrong, "{minutes}: {proof:?}");
            }
        }
    }
}
