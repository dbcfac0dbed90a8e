//! Repositories that are not there, not ours, newer, or damaged: exact exit code, message, untouched target.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{
    bed::{self, Cluster, require},
    workshop::{Workshop, flip, make_writable},
};

/// A workshop with one backup of a namespace with some objects, and that namespace.
fn with_a_backup(source: &Cluster, suffix: &str) -> (Workshop, String) {
    let namespace = source.create_namespace(suffix);
    source.apply(&include_str!("../data/shop.yaml").replace("NAMESPACE", &namespace));
    let workshop = Workshop::new(source, &[&namespace]);
    workshop.done(&["backup"]);
    (workshop, namespace)
}

fn only(files: &[PathBuf]) -> &Path {
    assert!(!files.is_empty(), "no such object in the repository");
    &files[0]
}

fn key(workshop: &Workshop, file: &Path) -> String {
    file.strip_prefix(workshop.repository()).unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_folder_that_is_no_repository_is_refused_and_stays_as_it_is() {
    let source = require!(bed::source);
    let workshop = Workshop::bare(&source);
    workshop.write_policy(&workshop.local_repository(), &["default"]);
    let absent = workshop.ends(5, &["backup"]);
    assert!(absent.stderr.contains("does not exist"), "{}", absent.stderr);
    assert!(!workshop.repository().exists());

    fs::create_dir(workshop.repository()).unwrap();
    fs::write(workshop.repository().join("notes.txt"), "mine").unwrap();
    let before = workshop.contents();
    for words in [&["backup"][..], &["list"], &["verify", "--all"], &["repository", "info"]] {
        let ended = workshop.ends(5, words);
        assert!(ended.stderr.contains("is not a drctl repository"), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("drctl repository init"), "{words:?}: {}", ended.stderr);
    }
    assert_eq!(workshop.contents(), before);
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    let source = require!(bed::source);
    let (workshop, _) = with_a_backup(&source, "shop");
    let before = workshop.contents();
    let refused = workshop.ends(5, &["repository", "init"]);
    assert!(refused.stderr.contains("already has a `repository.json`"), "{}", refused.stderr);
    assert_eq!(workshop.contents(), before);
}

/// Changes `repository.json` by text, with a checksum line that fits again.
fn rewrite_header(workshop: &Workshop, from: &str, to: &str) {
    let file = workshop.repository().join("repository.json");
    let text = fs::read_to_string(&file).unwrap();
    let line = text.lines().next().unwrap();
    assert!(line.contains(from), "{line}");
    let line = format!("{}\n", line.replacen(from, to, 1));
    let sum = sha256(line.trim_end());
    let sum_with_end = sha256(&line);
    let old = text.lines().nth(1).unwrap();
    // Whether the line end belongs to what is summed, the present file tells.
    let of_line = sha256(text.lines().next().unwrap());
    let new = if old.contains(&of_line) {
        old.replace(&of_line, &sum)
    } else {
        old.replace(&sha256(&format!("{}\n", text.lines().next().unwrap())), &sum_with_end)
    };
    make_writable(&file);
    fs::write(&file, format!("{line}{new}\n")).unwrap();
}

fn sha256(text: &str) -> String {
    drctl::types::Sha256Digest::of(text.as_bytes()).to_string()
}

#[test]
fn a_newer_format_and_an_unknown_feature_are_refused_before_anything_is_written() {
    let source = require!(bed::source);
    for (from, to, says) in [
        ("\"format\":1", "\"format\":2", "format 2"),
        ("\"requires\":[]", "\"requires\":[\"time-travel\"]", "time-travel"),
    ] {
        let workshop = Workshop::new(&source, &["default"]);
        workshop.done(&["list"]);
        rewrite_header(&workshop, from, to);
        let before = workshop.contents();
        for words in [&["backup"][..], &["list"], &["restore", "latest", "--yes"]] {
            let ended = workshop.ends(5, words);
            assert!(ended.stderr.contains(says) && ended.stderr.contains("newer drctl"), "{words:?}: {}", ended.stderr);
        }
        assert_eq!(workshop.contents(), before);
    }
}

#[test]
fn a_flipped_byte_in_any_object_is_found_named_and_never_restored() {
    let source = require!(bed::source);
    for folder in ["data", "meta", "backups"] {
        let (workshop, namespace) = with_a_backup(&source, folder);
        workshop.done(&["verify", "--all", "--level", "content"]);
        let id = workshop.backups()[0].clone();
        for file in workshop.files(folder) {
            let sound = fs::read(&file).unwrap();
            flip(&file);
            let ended = workshop.ends(4, &["verify", "--all", "--level", "content"]);
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(said.contains(&key(&workshop, &file)), "{} is not named:\n{said}", key(&workshop, &file));
            assert!(said.contains(&id), "the backup is not named:\n{said}");
            fs::write(&file, sound).unwrap();
        }
        workshop.done(&["verify", "--all", "--level", "content"]);

        // A damaged backup is not restored, not even in part.
        let files = workshop.files(folder);
        flip(only(&files));
        source.kubectl(&["delete", "namespace", &namespace, "--wait=true"]);
        workshop.ends(4, &["restore", &id, "--yes"]);
        assert!(source.get("namespace", "default", &namespace).is_none(), "damage in {folder}: something was restored");
        flip(only(&files));
        workshop.done(&["restore", &id, "--yes"]);
    }
}

#[test]
fn a_damaged_session_is_found_and_does_not_stop_the_next_backup() {
    let source = require!(bed::source);
    let (workshop, _) = with_a_backup(&source, "shop");
    flip(only(&workshop.files("sessions")));
    workshop.ends(4, &["verify", "--all"]);
    workshop.done(&["backup"]);
    workshop.done(&["verify", "latest", "--level", "content"]);
}

#[test]
fn a_missing_pack_is_named_with_its_streams_and_backups_and_the_next_backup_heals() {
    let source = require!(bed::source);
    let (workshop, namespace) = with_a_backup(&source, "shop");
    workshop.done(&["backup"]);
    let ids = workshop.backups();
    let packs = workshop.files("data");
    assert_eq!(packs.len(), 1, "an unchanged second backup stored data: {packs:?}");
    let pack = packs[0].clone();
    fs::remove_file(&pack).unwrap();

    for level in ["presence", "content"] {
        let ended = workshop.ends(4, &["verify", "--all", "--level", level]);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        for word in [key(&workshop, &pack), "services/configmaps".to_owned(), ids[0].clone(), ids[1].clone()] {
            assert!(said.contains(&word), "{word} is not named by {level}:\n{said}");
        }
    }
    source.kubectl(&["delete", "namespace", &namespace, "--wait=true"]);
    workshop.ends(4, &["restore", "latest", "--yes"]);
    assert!(source.get("namespace", "default", &namespace).is_none());

    // The next backup does not rely on what is gone.
    source.kubectl(&["create", "namespace", &namespace]);
    source.apply(&include_str!("../data/shop.yaml").replace("NAMESPACE", &namespace));
    workshop.done(&["backup"]);
    workshop.done(&["verify", "latest", "--level", "content"]);
}

#[test]
fn a_repository_without_a_backup_proves_nothing() {
    let source = require!(bed::source);
    let workshop = Workshop::new(&source, &["default"]);
    for words in [&["verify", "--all"][..], &["verify", "latest"], &["verify", "--all", "--level", "content"]] {
        let ended = workshop.ends(5, words);
        assert!(ended.stderr.contains("drctl backup"), "{words:?}: {}", ended.stderr);
        assert!(!ended.stdout.contains(": sound"), "{words:?}: {}", ended.stdout);
    }
    let report = workshop.json(5, &["verify", "--all"]);
    assert_eq!((&report["sound"], report["backups"].as_array().unwrap().len()), (&false.into(), 0), "{report}");
    workshop.done(&["backup"]);
    workshop.done(&["verify", "--all"]);
}

#[test]
fn a_deleted_manifest_is_missed_by_the_backup_after_it() {
    let source = require!(bed::source);
    let (workshop, _) = with_a_backup(&source, "chain");
    workshop.done(&["backup"]);
    workshop.done(&["verify", "--all"]);
    let ids = workshop.backups();
    let manifest = workshop.files("backups").remove(0);
    let kept = fs::read(&manifest).unwrap();
    fs::remove_file(&manifest).unwrap();
    let ended = workshop.ends(4, &["verify", "--all"]);
    for word in [&key(&workshop, &manifest), &ids[0], &ids[1]] {
        assert!(ended.stdout.contains(word), "{word} is not named: {}", ended.stdout);
    }
    assert!(ended.stderr.contains("next: put the missing manifest back"), "{}", ended.stderr);
    fs::write(&manifest, kept).unwrap();
    workshop.done(&["verify", "--all"]);
}

#[test]
fn links_in_a_repository_are_damage_that_is_named_and_never_followed() {
    use std::os::unix::fs::symlink;

    let source = require!(bed::source);
    let (workshop, _) = with_a_backup(&source, "links");
    workshop.done(&["backup"]);
    let stranger = workshop.repository().join("data/elsewhere");
    symlink(workshop.folder(), &stranger).unwrap();
    workshop.done(&["list"]);
    let ended = workshop.ends(4, &["verify", "--all"]);
    assert!(ended.stdout.contains("data/elsewhere: it is a symbolic link"), "{}", ended.stdout);
    workshop.done(&["backup"]);
    fs::remove_file(&stranger).unwrap();
    workshop.done(&["verify", "--all"]);

    let manifest = workshop.files("backups").pop().unwrap();
    let kept = workshop.folder().join("kept.json");
    fs::rename(&manifest, &kept).unwrap();
    symlink(&kept, &manifest).unwrap();
    let listed = workshop.ends(4, &["list"]);
    assert!(listed.stdout.contains("damaged") && listed.stdout.contains("symbolic link"), "{}", listed.stdout);
    let ended = workshop.ends(4, &["verify", "--all"]);
    assert!(ended.stdout.contains(&key(&workshop, &manifest)), "{}", ended.stdout);
    fs::remove_file(&manifest).unwrap();
    fs::rename(&kept, &manifest).unwrap();
    workshop.done(&["verify", "--all"]);
}

#[test]
fn a_missing_bucket_and_wrong_keys_are_told_apart() {
    let source = require!(bed::source);
    let bucket = require!(bed::bucket);
    let namespace = source.create_namespace("keys");
    let mut workshop = Workshop::on_s3(&source, &bucket, &bucket.endpoint, &[&namespace]);
    workshop.done(&["list"]);

    let text = fs::read_to_string(workshop.policy()).unwrap();
    fs::write(workshop.policy(), text.replace(&bucket.name, "no-such-bucket-here")).unwrap();
    let ended = workshop.ends(5, &["backup"]);
    assert!(
        ended.stderr.contains("no-such-bucket-here") && ended.stderr.contains("does not exist"),
        "{}",
        ended.stderr
    );
    fs::write(workshop.policy(), text).unwrap();

    workshop.set("TEST_SECRET_KEY", "0123456789wrong");
    let ended = workshop.ends(5, &["backup"]);
    assert!(!ended.stderr.contains("0123456789wrong"), "the key is shown: {}", ended.stderr);
    assert!(ended.stderr.contains("secret key") || ended.stderr.contains("credentials"), "{}", ended.stderr);
    workshop.set("TEST_SECRET_KEY", &bucket.secret_key);
    workshop.done(&["backup"]);
}

#[test]
fn a_lost_repository_json_is_said_and_never_answered_with_a_new_repository() {
    let source = require!(bed::source);
    let (workshop, _) = with_a_backup(&source, "headless");
    let header = workshop.repository().join("repository.json");
    let kept = fs::read(&header).unwrap();
    fs::remove_file(&header).unwrap();
    let before = workshop.contents();
    for words in [&["list"][..], &["backup"], &["repository", "init"], &["restore", "latest", "--yes"]] {
        let ended = workshop.ends(5, words);
        assert!(ended.stderr.contains("`repository.json` is missing"), "{words:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("drctl repository init"), "{words:?}: {}", ended.stderr);
    }
    assert_eq!(workshop.contents(), before);
    // Overwritten by something else, it is no more a place for a new repository.
    fs::write(&header, "x\n").unwrap();
    for words in [&["list"][..], &["backup"]] {
        let ended = workshop.ends(5, words);
        assert!(ended.stderr.contains("`repository.json` is missing or overwritten"), "{words:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("drctl repository init"), "{words:?}: {}", ended.stderr);
    }
    fs::write(&header, kept).unwrap();
    workshop.done(&["verify", "latest", "--level", "content"]);
}

#[test]
fn a_damaged_newest_backup_is_not_passed_over_in_silence() {
    let source = require!(bed::source);
    let (workshop, _) = with_a_backup(&source, "silent");
    workshop.done(&["backup"]);
    let ids = workshop.backups();
    let manifest = workshop.files("backups").pop().unwrap();
    assert!(manifest.to_string_lossy().contains(&ids[1]));
    workshop.done(&["verify", "latest"]);
    flip(&manifest);
    let ended = workshop.ends(4, &["verify", "latest"]);
    assert!(ended.stderr.contains("warning") && ended.stderr.contains(&ids[1]), "{}", ended.stderr);
    let ended = workshop.done(&["restore", "latest", "--dry-run"]);
    assert!(ended.stderr.contains("warning") && ended.stderr.contains(&ids[1]), "{}", ended.stderr);
}

#[test]
fn a_full_backup_relies_on_nothing_that_is_stored() {
    let source = require!(bed::source);
    let (workshop, _) = with_a_backup(&source, "full");
    workshop.done(&["backup"]);
    assert_eq!(workshop.files("data").len(), 1, "an unchanged second backup stored data");
    flip(&workshop.files("data")[0]);
    workshop.done(&["backup", "--full"]);
    workshop.done(&["verify", "latest", "--level", "content"]);
    assert_eq!(workshop.files("data").len(), 2);
}

#[test]
fn a_dry_run_for_another_cluster_than_the_named_one_is_refused() {
    let source = require!(bed::source);
    let (workshop, _) = with_a_backup(&source, "named");
    let refused = workshop.ends(5, &["restore", "latest", "--dry-run", "--cluster", "1234"]);
    assert!(refused.stderr.contains("and not 1234"), "{}", refused.stderr);
    workshop.done(&["restore", "latest", "--dry-run"]);
}
