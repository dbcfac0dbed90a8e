//! All tests that run the real thing: clusters, an S3 server, the binary itself.
//!
//! A test asks for what it needs with `require!` (see `support::bed`); without it the test is NOT RUN, which
//! `testbed/check-not-run` counts.

// The allowances of `clippy.toml` end at the body of a `#[test]`; helpers of tests are tests, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod as_of;
mod backends;
mod bad_cluster;
mod bad_repository;
mod busy_server;
mod capture;
mod cli_output;
mod confirm;
mod copy;
mod copy_lost;
mod diff_databases;
mod disaster;
mod doctor;
mod encrypted_stores;
mod encryption;
mod ephemeral;
mod export;
mod format;
mod format_encrypted;
mod from_velero;
mod helm;
mod history;
mod inspect;
mod interrupted;
mod latest;
mod list_signed;
mod memory;
mod mongo_proxy;
mod mongodb_backup;
mod mongodb_definitions;
mod mongodb_faults;
mod mongodb_left;
mod mongodb_live;
mod mongodb_places;
mod mongodb_restore;
mod mongodb_sabotage;
mod mongodb_series;
mod mongodb_users;
mod mongodb_via;
mod not_run;
mod object_lock;
mod orders;
mod permissions;
mod policy_errors;
mod postgres_capture;
mod postgres_doctor;
mod postgres_exclusions;
mod postgres_restore;
mod postgres_restore_faults;
mod postgres_restore_killed;
mod postgres_restore_lost;
mod postgres_restore_ways;
mod postgres_rows;
mod postgres_sabotage;
mod postgres_switch;
mod postgres_together;
mod postgres_via;
mod prune;
mod rbac;
mod recover;
mod restore_conflicts;
mod restore_dry_run;
mod restore_every_request;
mod restore_faults;
mod restore_flow;
mod restore_guards;
mod restore_order;
mod restore_parts;
mod restore_plan_parts;
mod restore_plans;
mod restore_rules;
mod restore_together;
mod schemas;
mod stranger;
mod support;
mod suspect;
mod systems;
mod testbed;
mod tombstones;
mod volumes;
