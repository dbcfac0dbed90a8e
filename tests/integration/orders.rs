//! `policies/orders.yaml`, as it is shipped, on the bed's cluster and S3 server, with its copy in a second bucket: three days of
//! backups and prunes, and what is left a month later. Its 100 days are a unit test (`src/operations/tests/orders.rs`).

use std::{fs, path::Path, sync::Arc};

use drctl::{
    operations::{self, BackupOptions, PruneAsked, Run},
    policy::Policy,
    repository::{
        Copier, CopyOptions, CopyOutcome, Level, Listed, Rate, Repository, Scope, VerifyOptions, backend::S3,
        verify_all,
    },
    sources::kubernetes::ConnectOptions,
    types::{BackupId, Clock, Name, Silent, State},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backends::options,
    copy::copy_of,
    prune::Days,
    support::{
        bed::{self, require},
        workshop::{Workshop, s3_repository},
    },
};

/// The shipped policy, with the bed's buckets in the places of the real ones, and namespaces that only this test has.
fn shipped(repository: &str, copy: &str, namespaces: &[String]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/orders.yaml");
    let text = fs::read_to_string(file).unwrap();
    let replace = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "{from}: {text}");
        text.replacen(from, to, 1)
    };
    let from = text.find("repository:\n").unwrap();
    let to = text.find("\nsources:\n").unwrap();
    let real = &text[from..to];
    assert!(real.contains("\ncopies:\n  us:\n") && real.contains("\n    keep: {within: 90d}\n"), "{real}");
    let text = format!("{}{repository}\ncopies:\n{copy}    keep: {{within: 90d}}\n{}", &text[..from], &text[to..]);
    let named = format!("[{}]", namespaces.join(", "));
    let text = replace(text, "[user-service, order-service, payment-service, ingress-system]", &named);
    // Other tests make and remove namespaces all the time: of the whole cluster only those of this one.
    replace(text, "[\"*\"]", &named)
}

async fn listed(repository: &Repository) -> Vec<(BackupId, bool, State)> {
    let entries = repository.backups(&Scope::Policy(Name::new("orders").unwrap())).await.unwrap();
    let state = |listed: &Listed| match listed {
        Listed::Backup(summary) => summary.state,
        _ => State::Aborted,
    };
    entries.into_iter().map(|entry| (entry.backup, entry.tombstoned, state(&entry.listed))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_days_of_the_shipped_policy_and_a_month_later() {
    let source = require!(bed::source);
    let (bucket, second) = (require!(bed::bucket), require!(bed::bucket));
    let namespaces: Vec<String> =
        ["user", "order", "payment", "ingress"].iter().map(|name| source.create_namespace(name)).collect();
    for namespace in &namespaces {
        source.kubectl(&["-n", namespace, "create", "configmap", "settings", "--from-literal=a=1"]);
    }
    let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let workshop = Workshop::on_s3(&source, &bucket, &bucket.endpoint, &names);
    let us = copy_of("us", &s3_repository(&second, &second.endpoint));
    let text = shipped(&s3_repository(&bucket, &bucket.endpoint), &us, &namespaces);
    fs::write(workshop.policy(), &text).unwrap();

    // The first day by the command line, as the CronJobs run it.
    for schedule in ["daily", "weekly"] {
        let made = workshop.json(0, &["backup", schedule]);
        let copies = made["copies"].as_array().unwrap();
        assert_eq!((copies.len(), &copies[0]["copied"], &copies[0]["whole"]), (1, &1.into(), &true.into()), "{made}");
    }
    for place in [&["prune", "--yes"][..], &["prune", "--copy", "us", "--yes"]] {
        let pruned = workshop.json(0, place);
        let kept = pruned["backups"].as_array().unwrap().iter().filter(|one| one["action"] == "keep").count();
        assert_eq!(kept, 2, "{pruned}");
    }

    // The others by what the commands call, because days pass at once here.
    let store = S3::open(&bucket.name, "prod", &options(&bucket)).await.unwrap();
    let days = Days::new(Arc::new(store));
    let clock: Arc<dyn Clock> = Arc::new(days.clone());
    let repository = Repository::open(Arc::new(days.clone())).await.unwrap();
    let policy: Policy = drctl::policy::parse(&workshop.policy(), &text).unwrap();
    let there = days.beside(Arc::new(S3::open(&second.name, "prod", &options(&second)).await.unwrap()));
    let there = repository.replica_in(Arc::new(there), &*clock).await.unwrap();
    let run = Run { monitor: Arc::new(Silent), clock, cancel: CancellationToken::new() };
    let connect = ConnectOptions { kubeconfig: Some(source.kubeconfig().to_owned()), context: None };
    let back_up = async || {
        let schedule = Some(Name::new("daily").unwrap());
        let options = BackupOptions { schedule, connect: connect.clone(), ..BackupOptions::default() };
        let made = operations::backup(&repository, &policy, &options, &run).await.unwrap().manifest;
        // What `copyTo` does once both places are open.
        let copy = CopyOptions::new(run.clock.clone(), run.monitor.clone(), Rate::new(None));
        let copied = Copier::new(&repository, &there, copy).copy(&made.policy, &made.schedule, &made.backup).await;
        assert!(matches!(copied, Ok(CopyOutcome::Copied(_))), "{copied:?}");
        made.backup
    };
    let at_copy = policy.at_copy(&Name::new("us").unwrap()).unwrap();
    let prune_at = async |place: &Repository, policy: &Policy| {
        let plan = operations::plan_prune(place, policy, PruneAsked::default(), &run).await.unwrap();
        operations::prune(place, policy, &plan, &run).await.unwrap()
    };
    let prune = async || prune_at(&repository, &policy).await;
    let mut dailies = Vec::new();
    for _ in 0..2 {
        days.pass(24);
        dailies.push(back_up().await);
        let pruned = prune().await;
        assert_eq!((pruned.marked.len(), pruned.deleted.len(), pruned.packs), (0, 0, 0), "{pruned:?}");
        let pruned = prune_at(&there, &at_copy).await;
        assert_eq!((pruned.marked.len(), pruned.deleted.len(), pruned.packs), (0, 0, 0), "{pruned:?}");
    }
    let after_three = listed(&repository).await;
    assert_eq!(after_three.len(), 4, "three dailies and a weekly: {after_three:?}");
    assert!(after_three.iter().all(|one| !one.1 && one.2 == State::Complete), "{after_three:?}");
    assert_eq!(listed(&there).await, after_three);

    // 31 days after the first daily, a little over 30 after the second, and 29 after the third: the weekly stays.
    days.pass(24 * 29);
    dailies.push(back_up().await);
    let marked = prune().await.marked;
    assert_eq!(marked.len(), 2, "{marked:?}");
    assert!(marked.contains(&dailies[0]) && !marked.contains(&dailies[1]));
    days.pass(25);
    assert_eq!(prune().await.deleted, marked);
    let left = listed(&repository).await;
    assert_eq!(left.len(), 3, "{left:?}");
    // The copy keeps them for 90 days.
    assert_eq!(prune_at(&there, &at_copy).await.marked, []);
    assert_eq!(listed(&there).await.len(), 5);
    let (options, cancel) = (VerifyOptions::new(Level::Content), CancellationToken::new());
    let scope = Scope::Policy(policy.name.clone());
    let report = verify_all(&repository, &scope, &options, &Silent, &cancel).await.unwrap();
    assert_eq!((report.findings, report.backups.len()), (vec![], 3));
    let report = verify_all(&there, &scope, &options, &Silent, &cancel).await.unwrap();
    assert_eq!((report.findings, report.backups.len()), (vec![], 5));
    // And to the command line, by its own clock.
    for (place, count) in [(&["list"][..], 3), (&["list", "--copy", "us"], 5)] {
        let list = workshop.json(0, place);
        assert_eq!(list["backups"].as_array().unwrap().len(), count, "{list}");
    }
}
