//! `policies/orders.yaml`, as it is shipped, through 100 days of the year 2026: which backups there are after each, in the
//! repository and in its copy, held against what was worked out by hand.
//!
//! What the hand worked with. The daily begins at 02:00, the weekly on Sundays at 03:00, prune at 04:00, all UTC: that
//! Europe leaves summer time on 2026-10-25 and the United States on 2026-11-01, both Sundays, changes nothing.
//!
//! - `within: 30d` is seen from the newest daily that counts, and what is 30 days old to the second is within: 31 dailies.
//!   `within: 90d` of a Sunday reaches 12 Sundays back (84 days) and not 13 (91): 13 weeklies.
//! - In the copy, whose `within: 90d` is of both schedules: 91 dailies and 13 weeklies. It has no pins and no drills.
//! - What is not kept gets a tombstone, and goes when this is 24 hours *and ten minutes* old: not with the prune of the next
//!   day at the same time, but with the one after it. So two dailies are listed with a tombstone, those of 31 and 32 days.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

use super::{Bench, Made, name};
use crate::{
    operations::{self, Error, PruneAsked},
    policy::parse,
    repository::{
        Level, Listed, Pruned, Repository, Scope, VerifyOptions,
        backend::{Backend as _, Key},
        verify_all,
    },
    types::{BackupId, Clock as _, Silent, State},
};

const POLICY: &str = include_str!("../../../policies/orders.yaml");
const FIRST: &str = "2026-08-17";
const LAST: &str = "2026-11-24";

/// The node is taken away under this daily: there is none.
const INTERRUPTED: &str = "2026-09-10";
/// These dailies are partial: what is newest of those that count is then the one before.
const PARTIAL: [&str; 2] = ["2026-10-20", "2026-11-10"];
/// Somebody pins this daily when it is five days old.
const PINNED: &str = "2026-09-15";
/// A drill restores this one, and no later one, the day after.
const PROVEN: &str = "2026-10-02";
/// Nobody prunes on these days.
const NO_PRUNE: [&str; 5] = ["2026-10-31", "2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04"];
/// On the day after, 5 are to go at once (the dailies of 09-30 to 10-05 but the proven one), of 49 that have no tombstone (37
/// dailies since 09-30, the pinned one, 11 weeklies): more than a tenth of them, and refused. A day later somebody has
/// looked, and says that they are meant.
const REFUSED: &str = "2026-11-05";
const MAX_DELETE: &str = "2026-11-06";

/// The second region cannot be reached on these days, the first of which is a Sunday. The dailies come with that of the day
/// after, the weekly with the next weekly.
const NO_COPY: [&str; 2] = ["2026-09-20", "2026-09-21"];
const WEEKLY_COMES: &str = "2026-09-27";

/// How many days the oldest daily is back that is listed, and the oldest without a tombstone, from a day on until that of the
/// next line. Days without a backup, what is pinned and what is proven aside.
const BY_HAND: [(&str, i32, i32); 18] = [
    (FIRST, 32, 30),
    // Partial: seen from the 19th, 09-19 is still within, so nothing is marked.
    ("2026-10-20", 32, 31),
    // 09-19 and 09-20 are marked together,
    ("2026-10-21", 32, 30),
    // so that a day later nothing goes,
    ("2026-10-22", 33, 30),
    // and the day after both.
    ("2026-10-23", 32, 30),
    // Nobody prunes: all stays from 09-28, and 09-28 and 09-29 have their tombstones since the 29th and the 30th.
    ("2026-10-31", 33, 31),
    ("2026-11-01", 34, 32),
    ("2026-11-02", 35, 33),
    ("2026-11-03", 36, 34),
    ("2026-11-04", 37, 35),
    // Refused: nothing is changed, although two could go.
    ("2026-11-05", 38, 36),
    // 09-28 and 09-29 go, 09-30 to 10-06 are marked,
    ("2026-11-06", 37, 30),
    // are not 24 hours and ten minutes old a day later,
    ("2026-11-07", 38, 30),
    // and go.
    ("2026-11-08", 32, 30),
    // The other partial one, as above.
    ("2026-11-10", 32, 31),
    ("2026-11-11", 32, 30),
    ("2026-11-12", 33, 30),
    ("2026-11-13", 32, 30),
];

/// What there is in the end: schedule and day; `†` has a tombstone.
const IN_THE_END: &str = "
    daily 2026-09-15
    daily 2026-10-02
    daily 2026-10-23 †
    daily 2026-10-24 †
    daily 2026-10-25
    daily 2026-10-26
    daily 2026-10-27
    daily 2026-10-28
    daily 2026-10-29
    daily 2026-10-30
    daily 2026-10-31
    daily 2026-11-01
    daily 2026-11-02
    daily 2026-11-03
    daily 2026-11-04
    daily 2026-11-05
    daily 2026-11-06
    daily 2026-11-07
    daily 2026-11-08
    daily 2026-11-09
    daily 2026-11-10
    daily 2026-11-11
    daily 2026-11-12
    daily 2026-11-13
    daily 2026-11-14
    daily 2026-11-15
    daily 2026-11-16
    daily 2026-11-17
    daily 2026-11-18
    daily 2026-11-19
    daily 2026-11-20
    daily 2026-11-21
    daily 2026-11-22
    daily 2026-11-23
    daily 2026-11-24
    weekly 2026-08-30
    weekly 2026-09-06
    weekly 2026-09-13
    weekly 2026-09-20
    weekly 2026-09-27
    weekly 2026-10-04
    weekly 2026-10-11
    weekly 2026-10-18
    weekly 2026-10-25
    weekly 2026-11-01
    weekly 2026-11-08
    weekly 2026-11-15
    weekly 2026-11-22
";

/// What there is in the copy in the end, but for the dailies from 2026-08-26 on, which it has all, without a tombstone.
const IN_THE_COPY: &str = "
    daily 2026-08-24 †
    daily 2026-08-25 †
    weekly 2026-08-30
    weekly 2026-09-06
    weekly 2026-09-13
    weekly 2026-09-20
    weekly 2026-09-27
    weekly 2026-10-04
    weekly 2026-10-11
    weekly 2026-10-18
    weekly 2026-10-25
    weekly 2026-11-01
    weekly 2026-11-08
    weekly 2026-11-15
    weekly 2026-11-22
";

/// A schedule, a day, and whether it has a tombstone.
type Row = (String, Date, bool);

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

fn at(day: Date, hour: i8) -> Timestamp {
    day.at(hour, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp()
}

/// What must be listed after a day.
fn by_hand(day: Date) -> Vec<Row> {
    let (_, listed, kept) = BY_HAND.iter().rfind(|line| date(line.0) <= day).unwrap();
    let (listed, kept) = (day - listed.days(), day - kept.days());
    let mut rows = Vec::new();
    for daily in date(FIRST).series(1.day()).take_while(|daily| *daily <= day) {
        let for_ever = daily == date(PINNED) || daily == date(PROVEN);
        if daily != date(INTERRUPTED) && (daily >= listed || for_ever) {
            rows.push(("daily".to_owned(), daily, daily < kept && !for_ever));
        }
    }
    // The first Sunday is 08-23. The last, 11-22, is 91 days later: then it is marked, and gone two days after.
    for weekly in date("2026-08-23").series(7.days()).take_while(|weekly| *weekly <= day) {
        let is_first = weekly == date("2026-08-23");
        if !is_first || day < date("2026-11-24") {
            rows.push(("weekly".to_owned(), weekly, is_first && day >= date("2026-11-22")));
        }
    }
    rows
}

/// What must be listed in the copy after a day. Nothing is older than 90 days before 2026-11-16; from then on one daily a day
/// is marked, and goes two days later. The days without a prune, the refused one and the partial ones change nothing.
fn by_hand_in_the_copy(day: Date) -> Vec<Row> {
    let no_copy = |of: Date| NO_COPY.iter().any(|text| date(text) == of);
    let mut rows = Vec::new();
    for daily in date(FIRST).series(1.day()).take_while(|daily| *daily <= day) {
        let is_not_there_yet = no_copy(daily) && no_copy(day);
        if daily != date(INTERRUPTED) && daily >= day - 92.days() && !is_not_there_yet {
            rows.push(("daily".to_owned(), daily, daily < day - 90.days()));
        }
    }
    for weekly in date("2026-08-23").series(7.days()).take_while(|weekly| *weekly <= day) {
        let is_first = weekly == date("2026-08-23");
        let is_there = !no_copy(weekly) || day >= date(WEEKLY_COMES);
        if is_there && (!is_first || day < date("2026-11-24")) {
            rows.push(("weekly".to_owned(), weekly, is_first && day >= date("2026-11-22")));
        }
    }
    rows
}

/// What is listed in a place, and the ids.
async fn listed_in(repository: &Repository, scope: &Scope) -> BTreeMap<Row, BackupId> {
    let entries = repository.backups(scope).await.unwrap();
    let backups = entries.into_iter().filter(|entry| matches!(entry.listed, Listed::Backup(_)));
    let row = |entry: crate::repository::BackupEntry| {
        let day = entry.backup.time().to_zoned(TimeZone::UTC).date();
        ((entry.schedule.to_string(), day, entry.tombstoned), entry.backup)
    };
    backups.map(row).collect()
}

/// Rows as the tables by hand have them.
fn in_words(rows: impl IntoIterator<Item = Row>) -> Vec<String> {
    let row = |(schedule, day, marked): Row| format!("{schedule} {day}{}", if marked { " †" } else { "" });
    rows.into_iter().map(row).collect()
}

fn lines(table: &str) -> Vec<&str> {
    table.trim().lines().map(str::trim).collect()
}

/// Each backup restores: every chunk is there, and what it was.
async fn restores(repository: &Repository, scope: &Scope, count: usize) {
    let (options, cancel) = (VerifyOptions::new(Level::Content), tokio_util::sync::CancellationToken::new());
    let report = verify_all(repository, scope, &options, &Silent, &cancel).await.unwrap();
    assert_eq!((report.findings, report.backups.len()), (Vec::new(), count));
}

impl Bench {
    fn scope(&self) -> Scope {
        Scope::Policy(self.policy.name.clone())
    }

    /// What is listed, and the ids.
    async fn listed(&self) -> BTreeMap<Row, BackupId> {
        listed_in(&self.repository, &self.scope()).await
    }

    async fn id(&self, daily: &str) -> BackupId {
        let listed = self.listed().await;
        listed[&("daily".to_owned(), date(daily), false)].clone()
    }

    /// All that begins on a day by the cron expressions of the policy, in its order.
    fn due(&self, day: Date) -> Vec<(Timestamp, String)> {
        let (mut from, to) = (at(day, 0) - 1.second(), at(day + 1.day(), 0));
        let mut due = Vec::new();
        for (schedule, spec) in &self.policy.schedules {
            while let Some(next) = spec.cron.next_after(from, &spec.timezone).filter(|next| *next < to) {
                due.push((next, schedule.to_string()));
                from = next;
            }
            from = at(day, 0) - 1.second();
        }
        due.sort();
        due
    }

    async fn prune_once(&self, max_delete: Option<u64>) -> Result<Pruned, Error> {
        let (asked, run) = (PruneAsked { max_delete, look_only: false }, self.run());
        let plan = operations::plan_prune(&self.repository, &self.policy, asked, &run).await?;
        operations::prune(&self.repository, &self.policy, &plan, &run).await
    }

    /// What `drctl prune --copy us --yes` does.
    async fn prune_the_copy(&self, copy: &Repository) -> Pruned {
        let (at_copy, run) = (self.policy.at_copy(&name("us")).unwrap(), self.run());
        let plan = operations::plan_prune(copy, &at_copy, PruneAsked::default(), &run).await.unwrap();
        operations::prune(copy, &at_copy, &plan, &run).await.unwrap()
    }

    /// The backups of a day, each with what is done for its `copyTo`.
    async fn back_up_all(&self, day: Date, number: u64, copy: Option<&Repository>) {
        let of = |namespaces: &[&str]| namespaces.iter().map(ToString::to_string).collect::<Vec<_>>();
        let services = of(&["ingress-system", "order-service", "payment-service", "user-service"]);
        let others = (0..16).map(|other| format!("team-{other}"));
        let cluster: Vec<String> = services.iter().cloned().chain(others).collect();
        for (time, schedule) in self.due(day) {
            self.clock.set(time);
            let made = match schedule.as_str() {
                "daily" => Made::namespaces("services", &services, number),
                _ => Made::namespaces("cluster", &cluster, number),
            };
            let day = day.to_string();
            if schedule == "daily" && day == INTERRUPTED {
                let interrupted = self.back_up(&schedule, false, made.interrupted()).await;
                assert!(interrupted.is_err(), "{interrupted:?}");
                continue;
            }
            let partial = schedule == "daily" && PARTIAL.contains(&day.as_str());
            let made = if partial { made.partial() } else { made };
            let state = self.back_up(&schedule, false, made).await.unwrap().manifest.state;
            assert_eq!(state, if partial { State::Partial } else { State::Complete }, "{schedule} of {day}");
            if let Some(copy) = copy.filter(|_| !NO_COPY.contains(&day.as_str())) {
                let copies = self.copy(&schedule, copy).await;
                assert!(copies.is_whole() && copies.copied() >= 1, "{schedule} of {day}: {copies:?}");
            }
        }
    }

    /// What people do on a day, and prune.
    async fn care(&self, day: Date) -> Option<Pruned> {
        let (text, run) = (day.to_string(), self.run());
        if day == date(PINNED) + 5.days() {
            operations::pin(&self.repository, &self.scope(), self.id(PINNED).await.as_str(), &run).await.unwrap();
        }
        if day == date(PROVEN) + 1.day() {
            let key = format!("evidence/orders/{}/20261003T050000Z-drill-passed/report.json", self.id(PROVEN).await);
            self.store.put_new(&Key::new(key).unwrap(), "{}".into()).await.unwrap();
        }
        self.clock.set(at(day, 4));
        match text.as_str() {
            none if NO_PRUNE.contains(&none) => None,
            REFUSED => {
                let refused = self.prune_once(None).await;
                assert!(matches!(refused, Err(Error::TooManyToPrune { count: 5, allowed: 4 })), "{refused:?}");
                None
            }
            MAX_DELETE => Some(self.prune_once(Some(10)).await.unwrap()),
            _ => Some(self.prune_once(None).await.unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_each_of_100_days_there_is_what_was_worked_out_by_hand() {
    let policy = parse(std::path::Path::new("policies/orders.yaml"), POLICY).unwrap();
    assert_eq!(policy.name, name("orders"));
    let bench = Bench::new(policy, at(date(FIRST), 0)).await;
    let days: Vec<Date> = date(FIRST).series(1.day()).take_while(|day| *day <= date(LAST)).collect();
    assert_eq!(days.len(), 100);
    let second = crate::repository::backend::Memory::new(bench.clock.clone());
    let copy = bench.copy_of(&second).await;
    let mut fenced = Vec::new();
    for (day, number) in days.iter().zip(0..) {
        let before = bench.stored().await;
        bench.back_up_all(*day, number, Some(&copy)).await;
        let stored = bench.stored().await;
        let pruned = bench.care(*day).await;
        let listed: Vec<Row> = bench.listed().await.into_keys().collect();
        println!(
            "{day}: {:7} B new, {:7} B freed, {:8} B in all; {} backups, {} of them marked",
            stored - before,
            pruned.as_ref().map_or(0, |pruned| pruned.bytes),
            bench.stored().await,
            listed.len(),
            listed.iter().filter(|row| row.2).count()
        );
        assert_eq!(listed, by_hand(*day), "after {day}");
        if pruned.is_some() {
            assert_eq!(bench.prune_the_copy(&copy).await.fenced, [], "after {day}");
        }
        let copied: Vec<Row> = listed_in(&copy, &bench.scope()).await.into_keys().collect();
        assert_eq!(copied, by_hand_in_the_copy(*day), "in the copy after {day}");
        fenced.extend(pruned.into_iter().flat_map(|pruned| pruned.fenced).map(|id| (*day, id.time())));
    }
    // The run that died at 02:00 is 26 hours old at the next prune but one, and was 2 hours old at the next.
    assert_eq!(fenced, [(date(INTERRUPTED) + 1.day(), at(date(INTERRUPTED), 2))]);

    let listed = in_words(bench.listed().await.into_keys());
    assert_eq!(listed, lines(IN_THE_END));
    assert_eq!(listed.len(), 2 + 2 + 31 + 13);
    restores(&bench.repository, &bench.scope(), listed.len()).await;

    let copied = in_words(listed_in(&copy, &bench.scope()).await.into_keys());
    let (dailies, others): (Vec<String>, Vec<String>) =
        copied.into_iter().partition(|row| row.starts_with("daily") && !row.ends_with('†'));
    assert_eq!(others, lines(IN_THE_COPY));
    // 08-26 to 11-24 are 91 days, on one of which there was none.
    assert_eq!(
        (dailies.len(), dailies.first(), dailies.last()),
        (90, Some(&"daily 2026-08-26".into()), Some(&"daily 2026-11-24".into()))
    );
    restores(&copy, &bench.scope(), dailies.len() + others.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_has_stopped_keeps_its_newest_backups_however_old_they_are() {
    let policy = parse(std::path::Path::new("policies/orders.yaml"), POLICY).unwrap();
    let bench = Bench::new(policy, at(date(FIRST), 0)).await;
    for (day, number) in date(FIRST).series(1.day()).take(3).zip(0..) {
        bench.back_up_all(day, number, None).await;
    }
    let listed = bench.listed().await;
    // A year without backups, and prunes all the same.
    for months in 1..=12 {
        bench.clock.set(at(date(FIRST) + months.months(), 4));
        bench.prune_once(None).await.unwrap();
    }
    assert_eq!(bench.listed().await, listed);
    assert_eq!(listed.len(), 3);
    // The twin: one new daily, and they go.
    let again = date(FIRST) + 13.months();
    bench.back_up_all(again, 400, None).await;
    bench.clock.set(at(again, 4));
    assert_eq!(bench.prune_once(None).await.unwrap().marked.len(), 3);
    assert_eq!(bench.clock.now(), at(again, 4));
}
