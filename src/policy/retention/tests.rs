use proptest::{collection::vec, prelude::*};

use super::*;

fn id(time: &str) -> BackupId {
    let time = time.replace(['-', ':'], "");
    BackupId::parse(&format!("{time}-aaaaaa")).unwrap()
}

fn counts(time: &str) -> Candidate {
    Candidate { id: id(time), standing: Standing::Counts, pinned: false, proven: false }
}

fn zone(name: &str) -> TimeZone {
    TimeZone::parse(name).unwrap()
}

fn rules(text: &str) -> Keep {
    let mut keep = Keep::default();
    for rule in text.split_whitespace() {
        let (name, value) = rule.split_once('=').unwrap();
        let count = || Some(value.parse().unwrap());
        match name {
            "last" => keep.last = count(),
            "hourly" => keep.hourly = count(),
            "daily" => keep.daily = count(),
            "weekly" => keep.weekly = count(),
            "monthly" => keep.monthly = count(),
            "yearly" => keep.yearly = count(),
            "within" => keep.within = Some(Period::parse(value).unwrap()),
            _ => panic!("{name}"),
        }
    }
    keep
}

/// The times that are kept, newest first.
fn kept(backups: &[Candidate], keep: &str, now: &str, in_zone: &str) -> Vec<String> {
    let decisions = decide(backups, Some(&rules(keep)), now.parse().unwrap(), &zone(in_zone));
    decisions.iter().filter(|one| one.keeps()).map(|one| one.id.time().to_string()).collect()
}

/// `times`, a space between them; `+` before one that must be kept. All in UTC.
fn table(times: &str, keep: &str, now: &str, in_zone: &str) {
    let mut backups = Vec::new();
    let mut expected = Vec::new();
    for word in times.split_whitespace() {
        let time = word.trim_start_matches('+');
        let time = if time.contains('T') { time.to_owned() } else { format!("{time}T02:00:00Z") };
        if word.starts_with('+') {
            expected.push(time.clone());
        }
        backups.push(counts(&time));
    }
    expected.sort();
    expected.reverse();
    assert_eq!(kept(&backups, keep, now, in_zone), expected, "{keep} in {in_zone}: {times}");
}

const LATER: &str = "2027-12-31T00:00:00Z";

#[test]
fn the_newest_of_each_period_that_has_a_backup_is_kept() {
    // Days without a backup are not counted: four days of them are no empty slots.
    table("2026-11-01 +2026-11-02 +2026-11-07 2026-11-08T01:00:00Z +2026-11-08T23:00:00Z", "daily=3", LATER, "UTC");
    table("2026-11-01 2026-11-02 +2026-11-03 +2026-11-04", "last=2", LATER, "UTC");
    table(
        "2026-11-01T01:00:00Z +2026-11-01T01:59:59Z +2026-11-01T02:00:00Z",
        "hourly=2",
        "2026-11-02T00:00:00Z",
        "UTC",
    );
    table("2024-05-01 +2024-12-31 2025-01-01 +2025-12-31 +2026-06-01", "yearly=3", LATER, "UTC");
}

#[test]
fn the_oldest_is_kept_while_a_counter_is_not_used_up() {
    table("+2026-11-08T01:00:00Z 2026-11-08T02:00:00Z +2026-11-08T03:00:00Z", "daily=2", LATER, "UTC");
    // The twin: once it is used up, the oldest goes.
    table("2026-11-07T01:00:00Z +2026-11-07T02:00:00Z +2026-11-08T03:00:00Z", "daily=2", LATER, "UTC");
}

#[test]
fn one_backup_may_serve_several_rules_and_any_rule_keeps_it() {
    // The newest serves both, so that two and not three remain: restic's way, not borg's.
    table("2026-11-01 +2026-11-08 +2026-11-15", "daily=1 weekly=2", LATER, "UTC");
    // 120 dailies, 7 daily and 4 weekly: 7 days and 3 more ends of weeks, and none for the week that the 7 days have.
    let start: Timestamp = "2026-01-01T02:00:00Z".parse().unwrap();
    let days = |n: i64| counts(&(start + SignedDuration::from_hours(24 * n)).to_string());
    let all: Vec<_> = (0..120).map(days).collect();
    let kept = kept(&all, "daily=7 weekly=4", LATER, "UTC");
    assert_eq!(
        kept,
        [
            "2026-04-30T02:00:00Z",
            "2026-04-29T02:00:00Z",
            "2026-04-28T02:00:00Z",
            "2026-04-27T02:00:00Z",
            "2026-04-26T02:00:00Z",
            "2026-04-25T02:00:00Z",
            "2026-04-24T02:00:00Z",
            "2026-04-19T02:00:00Z",
            "2026-04-12T02:00:00Z",
        ]
    );
}

#[test]
fn a_week_is_never_taken_for_a_month() {
    // kopia keeps both in one map, so that week 2026-01 and month 2026-01 are one: its Sunday the 4th goes.
    table("+2026-01-04 2026-01-05 +2026-01-11 +2026-01-12", "weekly=3 monthly=1", "2026-01-13T00:00:00Z", "UTC");
}

#[test]
fn a_week_over_new_year_is_one_and_weeks_of_two_years_are_two() {
    // 2026-12-28 to 2027-01-03 is week 53 of 2026. rustic splits it at New Year.
    table("+2026-12-27 2026-12-28 2026-12-31 +2027-01-03", "weekly=2", LATER, "UTC");
    // Week 1 of 2025 begins on 2024-12-30, and week 1 of 2026 on 2025-12-29.
    table("+2024-12-30 +2025-12-29", "weekly=2", LATER, "UTC");
    // A year of 53 weeks: week 53 of 2020 and week 1 of 2021 are not the same as week 1 of 2020.
    table("+2019-12-31 +2021-01-03 +2021-01-04", "weekly=3", LATER, "UTC");
}

#[test]
fn two_hours_of_one_day_are_two_although_their_minutes_are_equal() {
    // rustic compares the minute of the hour with the half of the year.
    table("+2026-11-01T10:05:00Z +2026-11-01T11:05:00Z", "hourly=2", LATER, "UTC");
}

#[test]
fn days_are_those_of_the_zone() {
    // 23:30 UTC is the next day in Berlin.
    table("+2026-11-01T22:30:00Z +2026-11-01T23:30:00Z", "daily=2", LATER, "Europe/Berlin");
    table("2026-11-01T22:30:00Z +2026-11-01T23:30:00Z", "daily=1", LATER, "UTC");
    table("+2026-11-01T09:30:00Z +2026-11-01T10:30:00Z", "daily=2", LATER, "Pacific/Auckland");
}

#[test]
fn an_hour_that_the_clock_repeats_is_two_and_a_day_of_25_hours_is_one() {
    // 02:00 to 03:00 comes twice in Berlin on 2026-10-25: at 00:00Z and at 01:00Z.
    table("+2026-10-25T00:30:00Z +2026-10-25T01:30:00Z", "hourly=2", LATER, "Europe/Berlin");
    table("+2026-10-24T21:59:00Z 2026-10-24T22:00:00Z +2026-10-25T22:59:00Z", "daily=2", LATER, "Europe/Berlin");
    // And on 2026-03-29 the hour from 02:00 to 03:00 does not exist: 00:59Z is 01:59, 01:00Z is 03:00.
    table("+2026-03-29T00:59:00Z +2026-03-29T01:00:00Z", "hourly=2", LATER, "Europe/Berlin");
}

#[test]
fn within_counts_days_of_the_calendar_from_the_newest_backup() {
    // From 2026-10-26T02:30 in Berlin (01:30Z) one day back is 02:30, which is 00:30Z or 01:30Z: the earlier is meant.
    table("2026-10-25T00:29:00Z +2026-10-25T00:30:00Z +2026-10-26T01:30:00Z", "within=1d", LATER, "Europe/Berlin");
    table("2026-10-25T01:29:00Z +2026-10-25T01:30:00Z +2026-10-26T01:30:00Z", "within=24h", LATER, "Europe/Berlin");
    // A day that is 23 hours long.
    table("2026-03-28T10:59:00Z +2026-03-28T11:00:00Z +2026-03-29T10:00:00Z", "within=1d", LATER, "Europe/Berlin");
    // Leap days: 2028-02-29 exists, and 2026-02-29 does not.
    table("2028-02-28 +2028-02-29 +2028-03-01", "within=1d", "2028-03-02T00:00:00Z", "UTC");
    table("2026-02-27 +2026-02-28 +2026-03-01", "within=1d", LATER, "UTC");
    // A schedule that stopped a year ago keeps what it had.
    table("2026-10-31 +2026-11-01 +2026-11-30", "within=29d", "2027-11-30T00:00:00Z", "UTC");
    table("2026-11-15 +2026-11-16 +2026-11-30", "within=2w", LATER, "UTC");
}

#[test]
fn what_does_not_count_evicts_nothing_and_goes_when_a_good_one_is_a_week_old() {
    let of = |time: &str, standing| Candidate { standing, ..counts(time) };
    let bad = |time: &str| of(time, Standing::DoesNotCount);
    let backups = [
        counts("2026-11-01T02:00:00Z"),
        bad("2026-11-02T02:00:00Z"),
        bad("2026-11-02T03:00:00Z"),
        bad("2026-11-03T02:00:00Z"),
    ];
    // No good one after them, and the good one stays, whatever they are many.
    assert_eq!(kept(&backups, "last=1", LATER, "UTC").len(), 4);
    let mut backups = backups.to_vec();
    backups.push(counts("2026-11-04T02:00:00Z"));
    let a_week_later = "2026-11-11T02:00:00Z";
    assert_eq!(kept(&backups, "last=1", "2026-11-11T01:59:59Z", "UTC").len(), 4);
    assert_eq!(kept(&backups, "last=1", a_week_later, "UTC"), ["2026-11-04T02:00:00Z"]);
    // `within` covers all alike.
    assert_eq!(kept(&backups, "within=2d", a_week_later, "UTC").len(), 4);
}

#[test]
fn a_time_in_doubt_or_in_the_future_is_never_counted_and_never_removed() {
    let forged = Candidate { standing: Standing::TimeInDoubt, ..counts("2026-11-09T02:00:00Z") };
    let backups =
        [counts("2026-11-01T02:00:00Z"), counts("2026-11-02T02:00:00Z"), forged, counts("2028-01-01T00:00:00Z")];
    let decisions = decide(&backups, Some(&rules("last=1")), "2026-11-10T00:00:00Z".parse().unwrap(), &zone("UTC"));
    let said: Vec<_> = decisions
        .iter()
        .map(|one| one.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        .collect();
    assert_eq!(
        said,
        [
            "its time is in the future",
            "its id and the store disagree about its time",
            "the newest that counts, last",
            ""
        ]
    );
}

#[test]
fn pins_the_newest_and_the_newest_proven_stay() {
    let mut backups: Vec<_> = (1..=9).map(|day| counts(&format!("2026-11-0{day}T02:00:00Z"))).collect();
    backups[1].pinned = true;
    backups[2].proven = true;
    backups[4].proven = true;
    assert_eq!(
        kept(&backups, "last=1", LATER, "UTC"),
        ["2026-11-09T02:00:00Z", "2026-11-05T02:00:00Z", "2026-11-02T02:00:00Z"]
    );
    assert!(decide(&backups, None, LATER.parse().unwrap(), &zone("UTC")).iter().all(Decision::keeps), "no rules");
}

fn candidate() -> impl Strategy<Value = Candidate> {
    // Two years of minutes, so that periods repeat and have gaps.
    let standing =
        prop_oneof![8 => Just(Standing::Counts), 2 => Just(Standing::DoesNotCount), 1 => Just(Standing::TimeInDoubt)];
    (0..2 * 366 * 24 * 60_i64, standing, prop::bool::weighted(0.05), prop::bool::weighted(0.1)).prop_map(
        |(minute, standing, pinned, proven)| {
            let time = Timestamp::from_second(1_767_225_600 + minute * 60).unwrap();
            Candidate { id: id(&time.to_string()), standing, pinned, proven }
        },
    )
}

fn keep() -> impl Strategy<Value = Keep> {
    let count = || prop::option::of(1..6_u32);
    let within = prop::option::of((1..90_u32).prop_map(|days| Period::parse(&format!("{days}d")).unwrap()));
    (count(), count(), count(), count(), count(), count(), within).prop_map(
        |(last, hourly, daily, weekly, monthly, yearly, within)| Keep {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within,
        },
    )
}

fn in_a_zone() -> impl Strategy<Value = TimeZone> {
    prop::sample::select(vec!["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]).prop_map(zone)
}

fn now() -> Timestamp {
    "2027-07-01T00:00:00Z".parse().unwrap()
}

fn staying(backups: &[Candidate], keep: &Keep, zone: &TimeZone) -> Vec<BackupId> {
    decide(backups, Some(keep), now(), zone).into_iter().filter(Decision::keeps).map(|one| one.id).collect()
}

/// Each time once: an id is unique.
fn distinct(mut backups: Vec<Candidate>) -> Vec<Candidate> {
    backups.sort_by(|a, b| a.id.cmp(&b.id));
    backups.dedup_by(|a, b| a.id == b.id);
    backups
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn to_decide_again_removes_nothing_more(all in vec(candidate(), 0..60), keep in keep(), zone in in_a_zone()) {
        let all = distinct(all);
        let once = staying(&all, &keep, &zone);
        let left: Vec<_> = all.into_iter().filter(|backup| once.contains(&backup.id)).collect();
        prop_assert_eq!(staying(&left, &keep, &zone), once);
    }

    #[test]
    fn a_larger_count_or_one_more_rule_keeps_no_less(
        all in vec(candidate(), 0..60), keep in keep(), zone in in_a_zone(), which in 0..6_usize, more in 1..5_u32,
    ) {
        let all = distinct(all);
        let mut larger = keep.clone();
        let rules = [&mut larger.last, &mut larger.hourly, &mut larger.daily, &mut larger.weekly, &mut larger.monthly,
            &mut larger.yearly];
        for (at, rule) in rules.into_iter().enumerate() {
            if at == which { *rule = Some(rule.unwrap_or_default() + more); }
        }
        let (few, many) = (staying(&all, &keep, &zone), staying(&all, &larger, &zone));
        prop_assert!(few.iter().all(|id| many.contains(id)), "{few:?} of {many:?}");
    }

    #[test]
    fn something_that_counts_stays_whatever_the_rules(all in vec(candidate(), 0..60), keep in keep(), zone in in_a_zone()) {
        let all = distinct(all);
        let stays = staying(&all, &keep, &zone);
        let newest = all.iter().rfind(|one| one.standing == Standing::Counts && one.id.time() <= now());
        prop_assert!(newest.is_none_or(|one| stays.contains(&one.id)));
        let proven = all.iter().rfind(|one| one.proven);
        prop_assert!(proven.is_none_or(|one| stays.contains(&one.id)));
        prop_assert!(all.iter().filter(|one| one.pinned).all(|one| stays.contains(&one.id)));
        prop_assert!(all.is_empty() || !stays.is_empty());
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(all in vec(candidate(), 0..40), keep in keep(), zone in in_a_zone(), turn in 0..40_usize) {
        let all = distinct(all);
        let mut turned = all.clone();
        if !turned.is_empty() {
            let by = turn % turned.len();
            turned.rotate_left(by);
            turned[by..].reverse();
        }
        prop_assert_eq!(decide(&turned, Some(&keep), now(), &zone), decide(&all, Some(&keep), now(), &zone));
    }

    #[test]
    fn backups_that_do_not_count_change_nothing_for_those_that_do(
        all in vec(candidate(), 0..60), keep in keep(), zone in in_a_zone(),
    ) {
        let all = distinct(all);
        let good: Vec<_> = all.iter().filter(|one| one.standing == Standing::Counts).cloned().collect();
        let (with, without) = (staying(&all, &keep, &zone), staying(&good, &keep, &zone));
        let proven = |id: &BackupId| good.iter().any(|one| one.id == *id && one.proven);
        // A newer proof of one that does not count is the newest proof then.
        prop_assert!(without.iter().all(|id| with.contains(id) || proven(id)));
    }
}
