use std::sync::Arc;

use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    policy::{Policy, parse},
    repository::{
        BeginOptions, CommitOutcome, ManifestDraft, Repository, Scope, TombstoneBy,
        backend::{Backend as _, Key, Memory},
    },
    types::{BackupId, Clock, Name, SetClock, Silent, State},
};

fn policy(keep: &str) -> Policy {
    let text = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: orders}}\nrepository: {{url: 'file:///x', encryption: none}}\n\
         sources: {{services: {{kubernetes: {{namespaces: [orders]}}}}}}\n\
         schedules: {{daily: {{cron: '0 2 * * *', sources: [services], keep: {keep}}}}}\n"
    );
    parse(std::path::Path::new("p.yaml"), &text).unwrap()
}

struct Bench {
    clock: Arc<SetClock>,
    store: Memory,
    repository: Repository,
}

impl Bench {
    async fn new() -> Self {
        let clock = Arc::new(SetClock::new("2026-11-01T02:00:00Z".parse().unwrap()));
        let store = Memory::new(clock.clone());
        let repository = Repository::init(Arc::new(store.clone()), &*clock).await.unwrap();
        Self { clock, store, repository }
    }

    fn run(&self) -> Run {
        Run { monitor: Arc::new(Silent), clock: self.clock.clone(), cancel: CancellationToken::new() }
    }

    fn pass(&self, hours: i64) {
        self.clock.set(self.clock.now() + SignedDuration::from_hours(hours));
    }

    /// A backup a day.
    async fn backup(&self, schedule: &str, state: State) -> BackupId {
        let name = |text| Name::new(text).unwrap();
        let options = BeginOptions::new(name("orders"), name(schedule), vec![name("services")], self.clock.clone());
        let writer = self.repository.begin(BeginOptions { workers: 1, ..options }).await.unwrap();
        let CommitOutcome::Committed(stored) = writer.commit(ManifestDraft::new(state)).await.unwrap() else {
            panic!("fenced")
        };
        self.pass(24);
        stored.manifest.backup
    }

    async fn plan(&self, keep: &str, max_delete: Option<u64>) -> PrunePlan {
        let asked = PruneAsked { max_delete, look_only: false };
        plan_prune(&self.repository, &policy(keep), asked, &self.run()).await.unwrap()
    }

    fn scope(&self) -> Scope {
        Scope::Policy(Name::new("orders").unwrap())
    }
}

fn fates(plan: &PrunePlan) -> Vec<(Fate, String)> {
    plan.backups.iter().map(|one| (one.fate, one.reasons.join(", "))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_backup_has_its_reasons_and_what_has_none_is_marked_and_then_deleted() {
    let bench = Bench::new().await;
    for state in [State::Complete, State::Complete, State::Partial, State::Complete] {
        bench.backup("daily", state).await;
    }
    bench.pass(7 * 24);
    let plan = bench.plan("{last: 1, within: 1d}", None).await;
    let kept = (Fate::Kept, "the newest that counts, last, within 1d".to_owned());
    assert_eq!(
        fates(&plan),
        [kept.clone(), (Fate::Kept, "within 1d".into()), (Fate::ToMark, String::new()), (Fate::ToMark, String::new())]
    );
    let done = prune(&bench.repository, &policy("{last: 1, within: 1d}"), &plan, &bench.run()).await.unwrap();
    assert_eq!((done.marked.len(), done.deleted.len()), (2, 0));
    bench.pass(25);
    let plan = bench.plan("{last: 1, within: 1d}", None).await;
    assert_eq!((plan.count(Fate::ToDelete), plan.count(Fate::Kept)), (2, 2));
    let done = prune(&bench.repository, &policy("{last: 1, within: 1d}"), &plan, &bench.run()).await.unwrap();
    assert_eq!(done.deleted.len(), 2);
    let entries = bench.repository.backups(&bench.scope()).await.unwrap();
    assert_eq!(entries.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_few_at_once_are_refused_unless_it_is_said() {
    let bench = Bench::new().await;
    for _ in 0..6 {
        bench.backup("daily", State::Complete).await;
    }
    let (keep, before) = ("{last: 1}", bench.store.keys());
    let plan = bench.plan(keep, None).await;
    let refused = prune(&bench.repository, &policy(keep), &plan, &bench.run()).await;
    assert!(matches!(refused, Err(Error::TooManyToPrune { count: 5, allowed: 3 })), "{refused:?}");
    assert_eq!(bench.store.keys(), before);
    let plan = bench.plan(keep, Some(5)).await;
    assert_eq!(prune(&bench.repository, &policy(keep), &plan, &bench.run()).await.unwrap().marked.len(), 5);
    // The twin: three are a few.
    let bench = Bench::new().await;
    for _ in 0..4 {
        bench.backup("daily", State::Complete).await;
    }
    let plan = bench.plan(keep, None).await;
    assert_eq!(prune(&bench.repository, &policy(keep), &plan, &bench.run()).await.unwrap().marked.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_of_a_schedule_that_was_renamed_are_never_pruned_and_are_named() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        bench.backup("nightly", State::Complete).await;
    }
    bench.backup("daily", State::Complete).await;
    let plan = bench.plan("{last: 1}", None).await;
    assert_eq!((plan.count(Fate::Unmanaged), plan.count(Fate::Kept), plan.count(Fate::ToMark)), (3, 1, 0));
    assert_eq!(plan.unmanaged, [Name::new("nightly").unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_mark_anything_but_what_is_pinned_and_the_newest_only_in_words() {
    let bench = Bench::new().await;
    let (first, second) = (bench.backup("daily", State::Complete).await, bench.backup("daily", State::Complete).await);
    let (run, scope, repository) = (bench.run(), bench.scope(), &bench.repository);
    let delete = async |id: &BackupId, newest| delete_backup(repository, &scope, id.as_str(), newest, &run).await;
    let refused = delete(&second, false).await;
    assert!(refused.as_ref().is_err_and(|error| error.to_string().contains("newest good")), "{refused:?}");
    assert!(!pin(repository, &scope, first.as_str(), &run).await.unwrap().already);
    assert!(pin(repository, &scope, first.as_str(), &run).await.unwrap().already);
    let refused = delete(&first, true).await;
    assert!(refused.as_ref().is_err_and(|error| error.to_string().contains("is pinned")), "{refused:?}");
    unpin(repository, &scope, first.as_str()).await.unwrap();
    assert!(!delete(&first, false).await.unwrap().already);
    assert!(delete(&first, false).await.unwrap().already);
    let refused = pin(repository, &scope, first.as_str(), &run).await;
    assert!(refused.as_ref().is_err_and(|error| error.to_string().contains("about to be deleted")), "{refused:?}");
    assert!(!undo_delete(repository, &scope, first.as_str(), &run).await.unwrap().already);
    assert!(!delete(&second, true).await.unwrap().already);
    // What a drill has proven is guarded as well.
    let key = format!("evidence/orders/{first}/20261121T050000Z-drill-passed/report.json");
    bench.store.put_new(&Key::new(key).unwrap(), "{}".into()).await.unwrap();
    assert!(delete(&first, false).await.is_err());
    let none = delete_backup(repository, &scope, "2099", false, &run).await;
    assert!(none.is_err_and(|error| error.to_string().contains("no backup `2099`")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_stops_it_until_that_backup_is_given_up() {
    let bench = Bench::new().await;
    let (first, _) = (bench.backup("daily", State::Complete).await, bench.backup("daily", State::Complete).await);
    let key = Key::new(format!("backups/orders/daily/{first}.json")).unwrap();
    bench.store.overwrite(&key, "not what was written");
    let asked = PruneAsked::default();
    let refused = plan_prune(&bench.repository, &policy("{last: 1}"), asked, &bench.run()).await;
    assert!(matches!(refused, Err(Error::CannotPrune { damaged: true, .. })), "{refused:?}");
    delete_backup(&bench.repository, &bench.scope(), first.as_str(), false, &bench.run()).await.unwrap();
    bench.pass(25);
    let plan = bench.plan("{last: 1}", None).await;
    assert_eq!(plan.count(Fate::ToDelete), 1);
    prune(&bench.repository, &policy("{last: 1}"), &plan, &bench.run()).await.unwrap();
    assert!(!bench.store.keys().contains(&key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_writes_nothing() {
    let bench = Bench::new().await;
    bench.backup("daily", State::Complete).await;
    let before = bench.store.keys();
    let asked = PruneAsked { look_only: true, max_delete: None };
    let writes = bench.store.copy();
    let plan = plan_prune(&bench.repository, &policy("{last: 1}"), asked, &bench.run()).await.unwrap();
    assert_eq!((plan.backups.len(), bench.store.keys()), (1, before));
    assert_eq!(writes.keys(), bench.store.keys());
    let by = TombstoneBy::default();
    assert_eq!(by, TombstoneBy::Retention);
}
