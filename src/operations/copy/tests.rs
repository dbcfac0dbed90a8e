//! Backups that are given up in the copy, before their copying or under it.

use std::sync::Arc;

use super::*;
use crate::{
    policy::parse,
    repository::{
        BeginOptions, CommitOutcome, ManifestDraft,
        backend::{Backend as _, Fault, Faulty, Key, Memory, Op, Recording, Rule},
    },
    types::{Clock as _, SetClock, Sha256Digest, Silent, State},
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A repository with two backups, and an empty store for its copy.
struct Bench {
    clock: Arc<SetClock>,
    policy: Policy,
    from: Repository,
    store: Memory,
    backups: Vec<BackupId>,
}

impl Bench {
    async fn new() -> Self {
        let text = "apiVersion: drctl/v1\nkind: Policy\nmetadata: {name: orders}\nrepository: {url: 'file:///x', encryption: none}\n\
                    sources: {services: {kubernetes: {namespaces: [orders]}}}\n\
                    schedules: {daily: {cron: '0 2 * * *', sources: [services]}}\n";
        let policy = parse(std::path::Path::new("p.yaml"), text).unwrap();
        let clock = Arc::new(SetClock::new("2026-11-01T02:00:00Z".parse().unwrap()));
        let from = Repository::init(Arc::new(Memory::new(clock.clone())), &*clock).await.unwrap();
        let mut backups = Vec::new();
        for _ in 0..2 {
            let options = BeginOptions::new(name("orders"), name("daily"), vec![name("services")], clock.clone());
            let writer = from.begin(BeginOptions { workers: 1, ..options }).await.unwrap();
            let outcome = writer.commit(ManifestDraft::new(State::Complete)).await.unwrap();
            let CommitOutcome::Committed(stored) = outcome else { panic!("fenced") };
            backups.push(stored.manifest.backup);
            clock.set(clock.now() + jiff::SignedDuration::from_hours(24));
        }
        let store = Memory::new(clock.clone());
        Self { clock, policy, from, store, backups }
    }

    fn options(&self) -> CopyOptions {
        CopyOptions::new(self.clock.clone(), Arc::new(Silent), Rate::new(None))
    }

    /// Puts the marker that gives a backup up in the copy.
    async fn give_up(&self, backup: &BackupId) {
        let line = format!(
            "{{\"drctl\":\"abort\",\"policy\":\"orders\",\"schedule\":\"daily\",\"backup\":\"{backup}\",\"state\":\"aborted\",\
             \"at\":\"2026-11-01T02:00:00Z\",\"reason\":\"a test\"}}\n"
        );
        let bytes = format!("{line}{}\n", Sha256Digest::of(line.as_bytes()));
        let key = Key::new(format!("backups/orders/daily/{backup}.json")).unwrap();
        self.store.put_new(&key, bytes.into()).await.unwrap();
    }

    /// Copies what is chosen. While the first backup's lists are on their way, it is given up; if `fenced`.
    async fn copy(&self, which: &WhichBackups, fenced: bool) -> Result<Copies, Error> {
        let faulty = Faulty::new(Arc::new(self.store.clone()));
        let to = self.from.replica_in(faulty.clone(), &*self.clock).await.unwrap();
        let place = CopyPlace::Copy(name("us"));
        let target = Target { repository: Some(&to), place: &place, policy: &self.policy };
        let mut chosen = chosen(&self.from, &target, which, self.clock.now()).await?;
        let copier = Copier::new(&self.from, &to, self.options());
        let mut copies = Copies {
            from: String::new(),
            to: String::new(),
            backups: Vec::new(),
            accepts: 0,
            made: false,
            ended: None,
        };
        let originals = Originals::default();
        those_that_are_whole((&copier, &originals), (&self.from, &to), &self.policy.name, &mut chosen).await?;
        if fenced {
            faulty.on(Rule::new(Op::PutNew, Fault::Stall).under(format!("meta/{}", self.backups[0])));
        }
        let meanwhile = async {
            while fenced && faulty.stalled() == 0 {
                tokio::task::yield_now().await;
            }
            if fenced {
                self.give_up(&self.backups[0]).await;
                faulty.release();
            }
        };
        let nothing = &mut None;
        let (ended, ()) = futures::join!(each((&copier, &target), chosen, nothing, &mut copies), meanwhile);
        ended.map(|()| copies)
    }

    /// What `doctor` finds of the schedule.
    async fn behind(&self, there: &Repository) -> Behind {
        let run = Run { clock: self.clock.clone(), monitor: Arc::new(Silent), cancel: Default::default() };
        let (from, at) = ((&self.from, there), (&name("us"), &self.policy));
        let found = behind(from, at, &[&name("daily")], (&Originals::default(), &run)).await.unwrap();
        found.into_iter().next().unwrap()
    }

    fn named(&self) -> WhichBackups {
        WhichBackups::One(self.backups[0].as_str().parse().unwrap())
    }
}

fn fates(copies: &Copies) -> Vec<String> {
    let of = |one: &CopiedBackup| match &one.fate {
        CopyFate::Copied(_) => "copied".to_owned(),
        CopyFate::Mended(_) => "mended".to_owned(),
        CopyFate::There => "there".to_owned(),
        CopyFate::GivenUp(why) => format!("given up: it {why}"),
        CopyFate::Going(why) => format!("going: it {why}"),
        CopyFate::LeftOut(why) => format!("left out: {why}"),
        CopyFate::Failed(error) => format!("failed: {error}"),
    };
    copies.backups.iter().map(of).collect()
}

#[tokio::test]
async fn a_backup_that_is_given_up_while_it_is_copied_keeps_no_other_from_being_copied() {
    let bench = Bench::new().await;
    let fates_of = fates(&bench.copy(&WhichBackups::All, true).await.unwrap());
    assert!(fates_of[0].starts_with("given up: it was given up in the copy `us`"), "{fates_of:?}");
    assert_eq!(fates_of[1..], ["copied"]);
    // The twin: nobody gives it up.
    let bench = Bench::new().await;
    assert_eq!(fates(&bench.copy(&WhichBackups::All, false).await.unwrap()), ["copied", "copied"]);
}

#[tokio::test]
async fn a_backup_that_is_asked_for_by_name_and_given_up_is_a_failure() {
    for under_way in [true, false] {
        let bench = Bench::new().await;
        if !under_way {
            bench.give_up(&bench.backups[0]).await;
        }
        let copies = bench.copy(&bench.named(), under_way).await.unwrap();
        assert_eq!(copies.backups.len(), 1);
        let is = copies.failed().map(|(_, error)| matches!(error, Error::Unusable { .. })).collect::<Vec<_>>();
        // Under way something was written, which the error says.
        assert_eq!(is, [!under_way], "{:?}", fates(&copies));
        assert!(!copies.is_whole());
        // Among others it is left out.
        let all = fates(&bench.copy(&WhichBackups::All, false).await.unwrap());
        assert!(all[0].starts_with("given up: it was given up in the copy `us`"), "{all:?}");
        assert_eq!(all[1..], ["copied"]);
    }
    let bench = Bench::new().await;
    assert_eq!(fates(&bench.copy(&bench.named(), false).await.unwrap()), ["copied"]);
}

#[tokio::test]
async fn a_pin_of_the_copy_counts_on_the_way_back_and_not_on_the_way_there() {
    let bench = Bench::new().await;
    let mut policy = bench.policy.clone();
    let keep = crate::policy::Keep { last: Some(1), ..crate::policy::Keep::default() };
    for schedule in policy.schedules.values_mut() {
        schedule.keep = Some(keep.clone());
    }
    let spec = crate::policy::CopySpec {
        url: policy.repository.url.clone(),
        s3: None,
        azure: None,
        keep: Some(keep),
        bandwidth: None,
    };
    let mut at_copy = policy.clone();
    at_copy.copies.insert(name("us"), spec);
    assert!(at_copy.is_at_copy() && !policy.is_at_copy());
    let first_is_left_out = async |at_target: &Policy| {
        let place = if at_target.is_at_copy() { CopyPlace::Copy(name("us")) } else { CopyPlace::Repository };
        let target = Target { repository: None, place: &place, policy: at_target };
        let all = chosen(&bench.from, &target, &WhichBackups::All, bench.clock.now()).await.unwrap();
        assert!(all.len() == 2 && all[1].left_out.is_none(), "{all:?}");
        all[0].left_out.is_some()
    };
    assert!(first_is_left_out(&policy).await, "`last: 1` keeps the second alone");
    let daily = name("daily");
    bench.from.pin((&policy.name, &daily, &bench.backups[0]), &*bench.clock).await.unwrap();
    assert!(!first_is_left_out(&policy).await, "it is pinned in the place that it comes from");
    assert!(first_is_left_out(&at_copy).await, "a copy has pins of its own");
    // On the way back it is brought with its backup, and never with one that is there: somebody may have unpinned that.
    for to_copy in [true, false] {
        let to = bench.from.replica_in(Arc::new(bench.store.copy()), &*bench.clock).await.unwrap();
        let copier = Copier::new(&bench.from, &to, CopyOptions { to_copy, ..bench.options() });
        copier.copy(&policy.name, &daily, &bench.backups[0]).await.unwrap();
        assert_eq!(to.is_pinned(&policy.name, &bench.backups[0]).await.unwrap(), !to_copy);
        to.unpin(&policy.name, &bench.backups[0]).await.unwrap();
        for backup in &bench.backups {
            copier.copy(&policy.name, &daily, backup).await.unwrap();
            assert!(!to.is_pinned(&policy.name, backup).await.unwrap(), "{backup}");
        }
    }
}

#[tokio::test]
async fn two_copies_that_one_command_makes_are_two_places_and_without_the_wait_they_would_be_one() {
    let bench = Bench::new().await;
    let run = Run { clock: bench.clock.clone(), monitor: Arc::new(Silent), cancel: Default::default() };
    let folder = tempfile::tempdir().unwrap();
    let mut places = Vec::new();
    for copy in ["b", "c"] {
        let mut at = bench.policy.clone();
        at.repository.url = format!("file://{}", folder.path().join(copy).display()).parse().unwrap();
        places.push(make_target(&bench.from, &at, &run).await.unwrap());
    }
    let made =
        async |place: &Repository| place.backend().head(&Key::new("repository.json").unwrap()).await.unwrap().modified;
    // A second apart is the same place yet.
    let apart = made(&places[1]).await.duration_since(made(&places[0]).await);
    assert!(apart > jiff::SignedDuration::from_secs(2), "{apart}");
    // The twin, by a clock that stands still.
    let [one, other] = [bench.store.copy(), bench.store.copy()].map(Arc::new);
    let one = bench.from.replica_in(one, &*bench.clock).await.unwrap();
    let other = bench.from.replica_in(other, &*bench.clock).await.unwrap();
    assert_eq!(made(&one).await, made(&other).await);
}

#[test]
fn a_copy_within_the_repository_is_refused_also_through_a_link_and_one_beside_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (prod, link) = (folder.path().join("prod"), folder.path().join("link"));
    std::fs::create_dir(&prod).unwrap();
    std::os::unix::fs::symlink(&prod, &link).unwrap();
    let at = |path: &std::path::Path| {
        let text = format!(
            "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: orders}}\n\
             repository: {{url: 'file://{}', encryption: none}}\n\
             sources: {{services: {{kubernetes: {{namespaces: [orders]}}}}}}\n\
             schedules: {{daily: {{cron: '0 2 * * *', sources: [services]}}}}\n",
            path.display()
        );
        parse(std::path::Path::new("p.yaml"), &text).unwrap()
    };
    let place = CopyPlace::Copy(name("us"));
    let source = at(&prod);
    for (other, refused) in [
        (prod.clone(), true),
        (link.clone(), true),
        (link.join("deeper/down"), true),
        (folder.path().to_owned(), true),
        (folder.path().join("product"), false),
        (folder.path().join("us/prod"), false),
    ] {
        let outcome = refuse_within(&source, &at(&other), &place);
        assert_eq!(matches!(outcome, Err(CopyError::Within { .. })), refused, "{}", other.display());
    }
}

#[tokio::test]
async fn where_the_repository_is_gone_its_copies_are_named_and_without_copies_what_makes_one() {
    let bench = Bench::new().await;
    let folder = tempfile::tempdir().unwrap();
    let mut policy = bench.policy.clone();
    policy.repository.url = format!("file://{}", folder.path().display()).parse().unwrap();
    let open =
        async |policy: &Policy| crate::operations::open_of(policy, &KeyOptions::default(), None).await.unwrap_err();
    let alone = open(&policy).await.to_string();
    assert!(alone.contains("drctl repository init"), "{alone}");
    let url = format!("file://{}", folder.path().join("us").display()).parse().unwrap();
    let spec = crate::policy::CopySpec { url, s3: None, azure: None, keep: None, bandwidth: None };
    policy.copies.insert(name("us"), spec);
    let error = open(&policy).await;
    assert!(matches!(&error, Error::Copy(CopyError::Lost { copies, .. }) if copies == &["us"]), "{error}");
    assert!(!error.to_string().contains("drctl repository init"), "{error}");
    let gone = folder.path().join("gone");
    policy.repository.url = format!("file://{}", gone.display()).parse().unwrap();
    assert!(matches!(open(&policy).await, Error::Copy(CopyError::Lost { .. })));
}

#[tokio::test]
async fn what_was_deleted_from_a_place_is_not_brought_back_under_its_tombstone() {
    let bench = Bench::new().await;
    let there = bench.from.replica_in(Arc::new(bench.store.clone()), &*bench.clock).await.unwrap();
    let (policy, daily) = (name("orders"), name("daily"));
    let mark = (&policy, &daily, &bench.backups[0]);
    there.put_tombstone(mark, crate::repository::TombstoneBy::Asked, &*bench.clock).await.unwrap();
    let before = bench.store.keys();
    let refused = bench.copy(&bench.named(), false).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Unusable { why, .. } if why.contains("its tombstone is still there")),
        "{refused}"
    );
    assert_eq!(bench.store.keys(), before, "nothing was written");
    let all = fates(&bench.copy(&WhichBackups::All, false).await.unwrap());
    assert!(all[0].starts_with("left out: was deleted from the copy `us`"), "{all:?}");
    assert_eq!(all[1..], ["copied"]);
    let listed = there.backups(&Scope::Policy(policy.clone())).await.unwrap();
    assert_eq!(listed.iter().map(|entry| &entry.backup).collect::<Vec<_>>(), [&bench.backups[1]]);
    let behind = bench.behind(&there).await;
    assert_eq!(
        (behind.backups, behind.lacking, behind.given_up),
        (0, vec![], vec![]),
        "nobody is told to copy what is left out"
    );
}

#[tokio::test]
async fn what_belongs_into_a_copy_and_has_a_tombstone_there_is_named_and_the_copy_is_not_whole() {
    let (policy, daily, asked) = (name("orders"), name("daily"), crate::repository::TombstoneBy::Asked);
    for (in_copy, in_original) in [(true, false), (true, true), (false, false)] {
        let bench = Bench::new().await;
        assert_eq!(fates(&bench.copy(&WhichBackups::All, false).await.unwrap()), ["copied", "copied"]);
        let there = bench.from.replica_in(Arc::new(bench.store.clone()), &*bench.clock).await.unwrap();
        let mark = (&policy, &daily, &bench.backups[0]);
        if in_copy {
            there.put_tombstone(mark, asked, &*bench.clock).await.unwrap();
        }
        if in_original {
            bench.from.put_tombstone(mark, asked, &*bench.clock).await.unwrap();
        }
        let copies = bench.copy(&WhichBackups::All, false).await.unwrap();
        let (all, behind) = (fates(&copies), bench.behind(&there).await);
        let goes = format!(
            "has a tombstone in the copy `us`, and is about to be deleted there: `drctl prune --undo {} --copy us` saves it, \
             within a day",
            bench.backups[0]
        );
        let (said, whole) = match (in_copy, in_original) {
            (true, false) => (format!("going: it {goes}"), false),
            // The twins: it is given up in both places, or in none.
            (true, true) => (format!("left out: {goes}"), true),
            _ => ("there".to_owned(), true),
        };
        assert_eq!((all[0].as_str(), all[1].as_str(), copies.is_whole()), (said.as_str(), "there", whole));
        assert_eq!(behind.going, if whole { vec![] } else { vec![bench.backups[0].clone()] });
    }
}

#[tokio::test]
async fn each_place_is_listed_once_however_many_schedules_and_copies_there_are() {
    let bench = Bench::new().await;
    assert_eq!(fates(&bench.copy(&WhichBackups::All, false).await.unwrap()), ["copied", "copied"]);
    let from = Recording::new(bench.from.backend().clone());
    let source = Repository::open(from.clone()).await.unwrap();
    let run = Run { clock: bench.clock.clone(), monitor: Arc::new(Silent), cancel: Default::default() };
    let (daily, originals) = (name("daily"), Originals::default());
    for _copy in 0..2 {
        let to = Recording::new(Arc::new(bench.store.copy()));
        let there = bench.from.replica_in(to.clone(), &*bench.clock).await.unwrap();
        let at = (&name("us"), &bench.policy);
        let found = behind((&source, &there), at, &[&daily, &daily], (&originals, &run)).await.unwrap();
        assert!(found.len() == 2 && found.iter().all(|one| one.backups == 0 && one.lacking.is_empty()), "{found:?}");
        // A copy after a backup shares them, too.
        let asked = CopyAsked {
            from: CopyPlace::Repository,
            to: CopyPlace::Repository,
            which: WhichBackups::All,
            bandwidth: None,
            dry_run: true,
        };
        let place = CopyPlace::Copy(name("us"));
        let target = Target { repository: Some(&there), place: &place, policy: &bench.policy };
        let chosen = chosen(&source, &target, &asked.which, bench.clock.now()).await.unwrap();
        let copies = bring((&source, Some(&there)), &bench.policy, (&asked, &originals), (chosen, &run)).await.unwrap();
        assert_eq!(fates(&copies), ["there", "there"]);
        for prefix in ["data/", "meta/"] {
            assert_eq!((from.count(Op::List, prefix), to.count(Op::List, prefix)), (1, 2), "{prefix}");
        }
    }
}
