//! Recipients that are added to an encrypted repository.

use std::sync::Arc;

use super::*;
use crate::{
    operations::add_recipient,
    policy::parse,
    repository::crypt::{Access, Epoch, Identity},
};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_recipients_that_are_added_at_once_both_can_read_and_the_newest_file_names_both() {
    let clock = Arc::new(SetClock::new("2026-11-20T02:00:00Z".parse().unwrap()));
    let store = Memory::new(clock.clone());
    let (reader, epoch) = (Identity::generate(), Epoch::generate());
    Repository::init_encrypted(Arc::new(store.clone()), &*clock, &epoch, &[reader.recipient()]).await.unwrap();
    let text = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: orders}}\n\
         repository: {{url: 'file:///x', encryption: {{epoch: {}, recipients: [{}]}}}}\n\
         sources: {{services: {{kubernetes: {{namespaces: [orders]}}}}}}\n\
         schedules: {{daily: {{cron: '0 2 * * *', sources: [services]}}}}\n",
        epoch.name(),
        reader.recipient()
    );
    let policy = parse(std::path::Path::new("p.yaml"), &text).unwrap();
    let run = Run { monitor: Arc::new(Silent), clock: clock.clone(), cancel: CancellationToken::new() };
    let opened = async |identity: &Identity| {
        let access = Access { identities: vec![identity.clone()], ..Access::default() };
        Repository::open(Arc::new(store.clone())).await.unwrap().with_access(access)
    };
    let (one, other) = (Identity::generate(), Identity::generate());
    let repository = opened(&reader).await;
    let (first, second) = (one.recipient().to_string(), other.recipient().to_string());
    let (added, too) = tokio::join!(
        add_recipient(&repository, &policy, &first, &run),
        add_recipient(&repository, &policy, &second, &run)
    );
    assert_ne!(added.unwrap().0, too.unwrap().0, "two files");
    for identity in [&reader, &one, &other] {
        let (_, recipients) = opened(identity).await.open_keys(&epoch.name()).await.unwrap();
        assert!(recipients.contains(&identity.recipient()));
    }
    let files = repository.epoch_files().await.unwrap().remove(0).files;
    let mut newest = files.last().unwrap().recipients.clone().unwrap();
    let mut all: Vec<_> = [&reader, &one, &other].map(|identity| identity.recipient()).into();
    newest.sort_by_key(ToString::to_string);
    all.sort_by_key(ToString::to_string);
    assert_eq!(newest, all);
    // The twin: who is one already is not added again.
    assert!(add_recipient(&repository, &policy, &first, &run).await.is_err());
}
