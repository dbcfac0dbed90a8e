//! Whose word about the time of an original prune takes: backups of days that have passed are not made afterwards.

use jiff::SignedDuration;

use super::{
    copy::{copied, copy_between, empty, replica},
    prune::{data, options},
    *,
};
use crate::{
    repository::{Copied, PruneOptions, control, crypt::SigningKey, layout},
    types::BackupId,
};

const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// A repository that is 40 days old, with a backup of today.
async fn old() -> (Bench, StoredManifest) {
    let bench = Bench::new().await;
    bench.pass(40 * 24);
    let today = bench.backup(&data(0)).await;
    (bench, today)
}

/// A backup that is made now and says that it is ten days old, and that its session is one of a copy.
async fn planted(bench: &Bench, store: &Memory) -> StoredManifest {
    planted_of(bench, store, 10).await
}

async fn planted_of(bench: &Bench, store: &Memory, days: i32) -> StoredManifest {
    let backup = BackupId::new(bench.clock.now() - A_DAY * days);
    let repository = bench.open_on(Arc::new(store.clone())).await;
    let writer = repository.begin(BeginOptions { backup, ..bench.options() }).await.unwrap();
    write(&writer, &data(1)).await.unwrap();
    let made = committed(writer.commit(draft(&data(1))).await.unwrap());
    says_copied(&repository, store, &made).await;
    made
}

/// What the session of a copy says of its original, in the session of a run.
async fn says_copied(repository: &Repository, store: &Memory, made: &StoredManifest) {
    let manifest = &made.manifest;
    let mut session = repository.session(&manifest.policy, &manifest.backup).await.unwrap();
    session.copied = Some(Copied { session: Some(manifest.backup.time()) });
    let key = layout::session(&manifest.policy, &manifest.backup);
    store.overwrite(&key, control::encode(&session).unwrap());
}

/// Whether the time of a backup is in doubt in a place, which the policy calls a copy or not.
async fn in_doubt(bench: &Bench, store: &Memory, backup: &StoredManifest, is_copy: bool) -> bool {
    let options = PruneOptions { is_copy, ..options(bench) };
    let survey = bench.open_on(Arc::new(store.clone())).await.survey(&options, true).await.unwrap();
    let found = survey.backups.into_iter().find(|one| one.entry.backup == backup.manifest.backup).unwrap();
    found.time_in_doubt
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_planted_as_a_copy_of_a_past_day_counts_nowhere_and_a_real_copy_counts_in_a_copy() {
    let (bench, today) = old().await;
    let past = planted(&bench, &bench.store).await;
    assert!(in_doubt(&bench, &bench.store, &past, false).await);
    assert!(!in_doubt(&bench, &bench.store, &today, false).await);
    // Nor is what it says passed on to a copy that is made of it.
    let store = empty(&bench);
    bench.pass(3 * 24);
    let (from, to) = (bench.open().await, replica(&bench, Arc::new(store.clone())).await);
    for backup in [&past, &today] {
        copied(copy_between(&bench, &from, &to, backup).await.unwrap());
    }
    assert!(in_doubt(&bench, &store, &past, true).await);
    assert!(!in_doubt(&bench, &store, &today, true).await);
    // From one copy into the next the time of the first session goes on.
    let third = empty(&bench);
    bench.pass(24);
    let next = replica(&bench, Arc::new(third.clone())).await;
    let options = crate::repository::CopyOptions { from_copy: true, ..super::copy::options(&bench) };
    let copier = crate::repository::Copier::new(&to, &next, options);
    let manifest = &today.manifest;
    copied(copier.copy(&manifest.policy, &manifest.schedule, &manifest.backup).await.unwrap());
    assert!(!in_doubt(&bench, &third, &today, true).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_brought_back_counts_if_it_is_older_than_the_place() {
    let (bench, today) = old().await;
    // The place is not called a copy: the policy names it as the repository now.
    let back = empty(&bench);
    bench.pass(24);
    copied(
        copy_between(&bench, &bench.open().await, &replica(&bench, Arc::new(back.clone())).await, &today)
            .await
            .unwrap(),
    );
    assert!(!in_doubt(&bench, &back, &today, false).await);
    // Of the time since then nothing is believed that was not seen here.
    bench.pass(20 * 24);
    let past = planted(&bench, &back).await;
    assert!(in_doubt(&bench, &back, &past, false).await);
    // Nor of the time before: the repository was brought back long ago, and this comes only now.
    let older = planted_of(&bench, &back, 30).await;
    assert!(in_doubt(&bench, &back, &older, false).await);
    assert!(!in_doubt(&bench, &back, &today, false).await, "what was brought back then still counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_signers_are_pinned_the_time_of_a_copy_counts_if_the_backup_is_signed() {
    for signed in [true, false] {
        let mut bench = Bench::new().await;
        let key = SigningKey::generate("drctl orders").unwrap();
        bench.access = Access { signing_key: signed.then(|| key.clone()), ..Access::default() };
        bench.pass(40 * 24);
        let past = planted(&bench, &bench.store).await;
        bench.access = Access { signers: vec![key.signer()], ..Access::default() };
        assert_eq!(in_doubt(&bench, &bench.store, &past, false).await, !signed, "signed: {signed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_repository_was_brought_back_nothing_counts_that_says_it_was_copied_there_before() {
    for before in [true, false] {
        let (bench, _) = old().await;
        let header = layout::header();
        let bytes = bench.store.get(&header, u64::MAX).await.unwrap();
        let early = if before { Some(planted(&bench, &bench.store).await) } else { None };
        bench.pass(24);
        bench.store.delete(&header).await.unwrap();
        bench.store.put_new(&header, bytes).await.unwrap();
        let past = match early {
            Some(past) => past,
            None => planted(&bench, &bench.store).await,
        };
        assert_eq!(in_doubt(&bench, &bench.store, &past, false).await, before, "before: {before}");
    }
}
