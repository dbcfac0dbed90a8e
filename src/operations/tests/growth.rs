//! What a month of daily backups costs where a table grows by 1 % a day.

use bytes::Bytes;
use jiff::SignedDuration;

use super::{Bench, Made};
use crate::{policy::parse, types::Clock as _};

const POLICY: &str = "
apiVersion: drctl/v1
kind: Policy
metadata: {name: orders}
repository: {url: 'file:///orders', encryption: none}
sources: {orders-db: {postgres: {url: {env: ORDERS_DB}}}}
schedules: {daily: {cron: '0 2 * * *', timezone: UTC, sources: [orders-db], keep: {within: 30d}}}
";

const DAYS: u64 = 30;
const ROWS: u64 = 60_000;

/// Rows of orders in COPY's text form: what repeats in real ones does here, and what does not does not.
fn rows(count: u64) -> Bytes {
    let words = ["pending", "paid", "shipped", "returned", "cancelled"];
    let mut text = String::new();
    for id in 1..=count {
        let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (day, word) = (mixed % 28 + 1, words[usize::try_from(mixed >> 40).unwrap() % words.len()]);
        text.push_str(&format!(
            "{id}\t{mixed:016x}\tcustomer-{}@example.com\t{}.{:02}\tEUR\t{word}\t2026-{:02}-{day:02} 12:{:02}:00+00\t\\N\n",
            mixed >> 44,
            (mixed >> 20) % 900,
            mixed % 100,
            mixed % 12 + 1,
            (mixed >> 8) % 60,
        ));
    }
    text.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_dailies_of_a_table_that_grows_by_1_percent_a_day_cost_at_most_half_of_thirty_dumps_beside_the_full_one()
{
    let policy = || parse(std::path::Path::new("orders.yaml"), POLICY).unwrap();
    let start = "2026-10-10T02:00:00Z".parse().unwrap();
    // The twin takes no parents: each of its backups is a whole dump, compressed.
    let (dailies, dumps) = (Bench::new(policy(), start).await, Bench::new(policy(), start).await);
    let (mut before, mut full_dumps, mut first) = (0, 0, 0);
    let empty = dailies.stored().await;
    for day in 0..DAYS {
        let table = rows(ROWS * (100 + day) / 100);
        let plain = table.len();
        let outcome = dailies.back_up("daily", false, Made::table("orders-db", table.clone())).await.unwrap();
        let stored = dailies.stored().await - empty;
        println!("day {day}: {plain} B of rows, {} B stored, {} B new", stored, stored - before);
        // Every tenth dump is made; those between cost what their neighbours do, as the table grows steadily.
        if day % 10 == 0 {
            let there = dumps.stored().await;
            dumps.back_up("daily", true, Made::table("orders-db", table)).await.unwrap();
            let dump = dumps.stored().await - there;
            // Not more than the ten really cost: the table only grows.
            full_dumps += 10 * dump;
            if day == 0 {
                first = dump;
            }
        }
        assert_eq!(outcome.manifest.full_since, start, "one line of backups, one full one alive");
        before = stored;
        for bench in [&dailies, &dumps] {
            bench.clock.set(bench.clock.now() + SignedDuration::from_hours(24));
        }
    }
    println!("{DAYS} dailies: {before} B; {DAYS} dumps: {full_dumps} B at least; the full one: {first} B");
    assert!(before <= full_dumps / 2 + first, "{before} B of {full_dumps} B");
    // What is compared with is real: a dump holds no parent's bytes.
    assert!(full_dumps > u64::from(u32::try_from(DAYS).unwrap()) * first * 95 / 100);
}
