//! Schedules as a policy file says them, over months, on stores in memory with one clock for the store and everybody.

mod growth;
mod keys;
mod made;
mod orders;

use std::sync::Arc;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub(super) use self::made::Made;
use super::{
    BackupOptions, BackupOutcome, Copies, CopyAsked, CopyPlace, Error, Run, WhichBackups,
    backup::{Asked, backup_connected},
    copy,
    sources::Connected,
};
use crate::{
    policy::Policy,
    repository::{
        Repository,
        backend::{Backend as _, Memory},
    },
    sources::Source,
    types::{Name, SetClock, Silent},
};

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A policy, its repository in memory, and the time.
#[derive(Debug)]
struct Bench {
    clock: Arc<SetClock>,
    store: Memory,
    repository: Repository,
    policy: Policy,
}

impl Bench {
    async fn new(policy: Policy, at: Timestamp) -> Self {
        let clock = Arc::new(SetClock::new(at));
        let store = Memory::new(clock.clone());
        let repository = Repository::init(Arc::new(store.clone()), &*clock).await.unwrap();
        Self { clock, store, repository, policy }
    }

    fn run(&self) -> Run {
        Run { monitor: Arc::new(Silent), clock: self.clock.clone(), cancel: CancellationToken::new() }
    }

    /// What `drctl backup SCHEDULE` does once it is connected to `source`.
    async fn back_up(&self, schedule: &str, full: bool, source: Made) -> Result<BackupOutcome, Error> {
        let options = BackupOptions { schedule: Some(name(schedule)), full, ..BackupOptions::default() };
        let asked = Asked::new(&self.policy, &options)?;
        let sources: Vec<Box<dyn Source>> = vec![Box::new(source)];
        let connected = Connected { sources, identity: None, failed: Default::default(), forwards: Vec::new() };
        backup_connected((&self.repository, &self.policy), asked, connected, &options, &self.run()).await
    }

    /// The copy `us` of the policy, which is made with its first backup.
    async fn copy_of(&self, store: &Memory) -> Repository {
        self.repository.replica_in(Arc::new(store.clone()), &*self.clock).await.unwrap()
    }

    /// What `drctl backup SCHEDULE` does for `copyTo`, once both places are open.
    async fn copy(&self, schedule: &str, to: &Repository) -> Copies {
        let asked = CopyAsked {
            from: CopyPlace::Repository,
            to: CopyPlace::Copy(name("us")),
            which: WhichBackups::Schedule(name(schedule)),
            bandwidth: None,
            dry_run: false,
        };
        copy::between((&self.repository, to), &self.policy, &asked, &self.run()).await.unwrap()
    }

    /// All bytes that are stored.
    async fn stored(&self) -> u64 {
        let sizes = self.store.list("").map_ok(|meta| meta.size);
        sizes.try_fold(0, |sum, size| std::future::ready(Ok(sum + size))).await.unwrap()
    }
}
