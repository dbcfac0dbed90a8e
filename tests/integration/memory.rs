//! Every command stays within 128 MiB, whatever the size of what it works on.

mod documents;
mod looking;
mod tables;
mod wide_rows;

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::{
    bed::{self, require},
    workshop::Workshop,
};

pub(crate) const LIMIT: u64 = 128 << 20;

/// Runs `drctl` and returns the peak of its resident memory, in bytes.
pub(crate) fn peak(workshop: &Workshop, args: &[&str]) -> u64 {
    peak_of(workshop.command(args))
}

/// Runs this and returns the peak of its resident memory, in bytes.
///
/// # Panics
/// If it does not end with 0.
pub(crate) fn peak_of(mut command: Command) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let code = loop {
        // The kernel keeps the high-water mark; the last look before the end is the peak.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = mark.and_then(|mark| mark.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or_default() * 1024);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(code, Some(0), "{command:?}");
    assert!(peak > 0);
    peak
}

#[test]
fn three_hundred_secrets_of_900_kib_stay_within_the_memory_limit() {
    let source = require!(bed::source);
    let namespace = source.create_namespace("large");
    let value = "QUJDREVGR0hJSktM".repeat(900 * 1024 / 16);
    for first in (0..300).step_by(30) {
        let object = |n: usize| {
            serde_json::json!({"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": format!("large-{n:03}"), "namespace": namespace}, "data": {"value": value}})
        };
        let items: Vec<_> = (first..first + 30).map(object).collect();
        source.create(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    }
    let workshop = Workshop::new(&source, &[&namespace]);
    let mut peaks = vec![("backup", peak(&workshop, &["backup"]))];
    peaks.push(("list", peak(&workshop, &["list"])));
    peaks.push(("show", peak(&workshop, &["show", "latest"])));
    peaks.push(("verify", peak(&workshop, &["verify", "latest", "--level", "content"])));
    source.kubectl(&["delete", "namespace", &namespace, "--wait=true", "--timeout=180s"]);
    peaks.push(("restore", peak(&workshop, &["restore", "latest", "--yes"])));
    for (command, peak) in &peaks {
        eprintln!("{command}: peak RSS {:.1} MiB", *peak as f64 / f64::from(1 << 20));
    }
    let over: Vec<_> = peaks.iter().filter(|(_, peak)| *peak > LIMIT).collect();
    assert!(over.is_empty(), "over 128 MiB: {over:?}");
}
