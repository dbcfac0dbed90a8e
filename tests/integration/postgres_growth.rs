//! What a month of daily backups of a real table costs that grows by 1 % a day, beside 30 dumps of it.
//! `DRCTL_GROWTH_ROWS=150000` makes a table of 20 MB, whose figures are in docs/prune.md.

use std::{fs, path::Path, sync::Arc, time::Instant};

use drctl::{
    operations::{self, BackupOptions, PruneAsked, Run},
    policy::Policy,
    repository::{Level, Repository, Scope, VerifyOptions, backend::Directory, verify},
    types::{Clock, Name, Silent, State},
};
use tokio_util::sync::CancellationToken;

use crate::{
    prune::Days,
    support::{
        bed::require,
        postgres::{self, Database, Role},
    },
};

const DAYS: u64 = 30;
/// Some 5 MB of rows.
const ROWS: u64 = 40_000;
/// On each of so many days a dump is made, which counts for those between, too, as the table only grows; and a prune.
const DUMPED: u64 = 10;

/// What policies/orders.yaml keeps of its dailies, for a database.
fn policy(folder: &Path, url: &str) -> Policy {
    fs::write(folder.join("url"), url).unwrap();
    let text = format!(
        "apiVersion: drctl/v1\nkind: Policy\nmetadata: {{name: orders}}\n\
         repository: {{url: 'file://{0}/repository', encryption: none}}\n\
         sources: {{orders-db: {{postgres: {{url: {{file: '{0}/url'}}}}}}}}\n\
         schedules: {{daily: {{cron: '0 2 * * *', timezone: UTC, sources: [orders-db], keep: {{within: 30d}}}}}}\n",
        folder.display()
    );
    let policy = drctl::policy::parse(&folder.join("policy.yaml"), &text).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/orders.yaml");
    let shipped = drctl::policy::parse(&file, &fs::read_to_string(&file).unwrap()).unwrap();
    let daily = Name::new("daily").unwrap();
    assert_eq!(policy.schedules[&daily].keep, shipped.schedules[&daily].keep);
    policy
}

/// New orders, up to this number of them: what repeats in real ones does here, and what does not does not.
fn insert(database: &Database, until: u64) {
    database.sql(&format!(
        "INSERT INTO orders
         SELECT g, md5(g::text)::uuid, 'customer-' || abs(hashint8(g)) % 40000 || '@example.com', (g * 7919 % 90000) / 100.0, 'EUR',
                (ARRAY['pending', 'paid', 'shipped', 'returned', 'cancelled'])[1 + abs(hashint8(g + 1)) % 5],
                timestamptz '2026-01-01 00:00:00+00' + g * interval '53 seconds', NULL
         FROM generate_series((SELECT coalesce(max(id), 0) + 1 FROM orders), {until}) g"
    ));
}

/// The smaller one of `pg_dump -Fc` and of a plain dump through zstd, as drctl compresses.
fn dumped(database: &Database) -> u64 {
    let custom = database.dump(&["-Fc"]).len();
    let plain = database.dump(&["-Fp"]);
    let zstd = zstd::bulk::compress(&plain, 3).unwrap().len();
    eprintln!("  a dump: {} B plain, {custom} B by pg_dump -Fc, {zstd} B by zstd -3", plain.len());
    custom.min(zstd) as u64
}

/// All that is in the store: packs, lists, manifests, sessions.
fn stored(folder: &Path) -> u64 {
    let sizes = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        if entry.path().is_dir() { stored(&entry.path()) } else { entry.metadata().unwrap().len() }
    });
    sizes.sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_dailies_of_a_real_table_that_grows_by_1_percent_a_day_cost_at_most_half_of_thirty_dumps() {
    let server = require!(postgres::v15);
    let database = server.create_database("growing");
    database.sql(
        "CREATE TABLE orders (id bigint PRIMARY KEY, reference uuid NOT NULL, customer text NOT NULL, total numeric NOT NULL,
           currency text NOT NULL, state text NOT NULL, made timestamptz NOT NULL, note text)",
    );
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(folder.path(), &database.url(Role::Reader));
    let place = folder.path().join("repository");
    let days = Days::new(Arc::new(Directory::make(&place).await.unwrap()));
    let clock: Arc<dyn Clock> = Arc::new(days.clone());
    let repository = Repository::init(Arc::new(days.clone()), &*clock).await.unwrap();
    let run = Run { monitor: Arc::new(Silent), clock, cancel: CancellationToken::new() };
    let rows = std::env::var("DRCTL_GROWTH_ROWS").map_or(ROWS, |rows| rows.parse().unwrap());
    let (began, mut dumps, mut dump, mut full, mut before) = (Instant::now(), 0, 0, 0, stored(&place));
    let (empty, mut newest) = (before, None);
    for day in 0..DAYS {
        insert(&database, rows * (100 + day) / 100);
        if day % DUMPED == 0 {
            dump = dumped(&database);
        }
        dumps += dump;
        let made = operations::backup(&repository, &policy, &BackupOptions::default(), &run).await.unwrap().manifest;
        assert_eq!((made.state, made.totals.objects), (State::Complete, rows * (100 + day) / 100));
        if day % DUMPED == DUMPED - 1 {
            let plan = operations::plan_prune(&repository, &policy, PruneAsked::default(), &run).await.unwrap();
            let pruned = operations::prune(&repository, &policy, &plan, &run).await.unwrap();
            assert_eq!((pruned.marked.len(), pruned.deleted.len(), pruned.packs), (0, 0, 0), "{pruned:?}");
        }
        let now = stored(&place);
        eprintln!("day {day}: {} B of rows, {} B new in the store", made.totals.plain_bytes, now - before);
        if day == 0 {
            full = now - empty;
        }
        before = now;
        newest = Some(made);
        days.pass(24);
    }
    let all = before - empty;
    eprintln!(
        "{DAYS} dailies: {all} B; {DAYS} dumps: {dumps} B at least, of which that is {:.3}; the one full: {full} B, and what came \
         after it {:.2} of that; {:.0} s",
        all as f64 / dumps as f64,
        (all - full) as f64 / full as f64,
        began.elapsed().as_secs_f64()
    );
    assert!(all * 2 <= dumps, "{all} B of {dumps} B");
    // What is compared with is what a full backup costs, too: neither is padded.
    assert!((dumps / DAYS).abs_diff(full) < full / 2, "{dumps} B of {DAYS} dumps, {full} B of a full backup");
    // None of the thirty is gone, one full backup is alive, and the newest is whole.
    let entries = repository.backups(&Scope::Policy(policy.name.clone())).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.is_good() && !entry.tombstoned).count() as u64, DAYS);
    let newest = newest.unwrap();
    assert_eq!(newest.full_since.as_second(), entries[0].backup.time().as_second());
    let names = [(newest.policy, newest.schedule, newest.backup)];
    let options = VerifyOptions::new(Level::Content);
    let report = verify(&repository, &names, &options, &Silent, &CancellationToken::new()).await.unwrap();
    assert_eq!(report.findings, vec![]);
}
