//! Objects that somebody has made to do harm: refused within bounds, never believed, never a panic.

use proptest::prelude::*;

use super::*;
use crate::{
    repository::{
        Error, FindingKind, Level, Manifest, VerifyOptions, VerifyReport,
        backend::Key,
        codec::{Encoder, LineWriter},
        control,
        header::Gate,
        index, layout, refs,
        streams::{IndexRecord, Streams},
        verify,
    },
    types::{Blake3Digest, Sha256Digest},
};

async fn replace(bench: &Bench, key: &str, bytes: impl Into<Bytes>) {
    bench.store.overwrite(&Key::new(key).unwrap(), bytes.into());
}

/// Puts `bytes` in place of an object that the manifest names, with a manifest that says so.
async fn replace_meta(bench: &Bench, stored: &StoredManifest, name: &str, bytes: Bytes) -> Manifest {
    let mut manifest = stored.manifest.clone();
    let object = if name.starts_with("refs") { &mut manifest.refs } else { &mut manifest.streams };
    (object.size, object.sha256) = (bytes.len() as u64, Sha256Digest::of(&bytes));
    replace(bench, &format!("meta/{}/{name}", stored.manifest.backup), bytes).await;
    manifest
}

fn sample() -> Vec<TestStream> {
    vec![TestStream::new("configmaps", MediaType::Text, &[("a", &noise(1, 1_000)), ("b", &noise(2, 1_000))])]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_meta_that_decompresses_without_end_is_refused_early() {
    let bench = Bench::new().await;
    let stored = bench.backup(&sample()).await;
    let mut bomb = LineWriter::new().unwrap();
    let line = vec![b'x'; 1 << 20];
    (0..300).for_each(|_| bomb.line(&line).unwrap());
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 100_000);
    let manifest = replace_meta(&bench, &stored, "streams.jsonl.zst", bomb).await;
    let read = bench.open().await.read(&manifest).await.unwrap_err();
    assert!(read.to_string().contains("a line is longer than it may be"), "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_names_another_backups_objects_is_not_believed() {
    let bench = Bench::new().await;
    let first = bench.backup(&sample()).await;
    for name in ["../20261120T020000Z-aaaaaa/streams.jsonl.zst", "refs.tsv.zst", "", "streams.jsonl.zst.age"] {
        let mut manifest = first.manifest.clone();
        manifest.streams.name = name.to_owned();
        let read = bench.open().await.read(&manifest).await;
        assert!(matches!(read, Err(Error::Damaged { .. })), "{name}: {read:?}");
    }
    let mut manifest = first.manifest.clone();
    manifest.streams.size = u64::MAX;
    assert!(matches!(bench.open().await.read(&manifest).await, Err(Error::Damaged { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_under_another_key_or_from_another_repository_is_damage() {
    let bench = Bench::new().await;
    let stored = bench.backup(&sample()).await;
    let repository = bench.open().await;
    let moved = format!("backups/other/daily/{}.json", stored.manifest.backup);
    replace(&bench, &moved, control::encode(&stored.manifest).unwrap()).await;
    let loaded = repository.manifest(&name("other"), &name("daily"), &stored.manifest.backup).await;
    assert!(matches!(loaded, Err(Error::Damaged { .. })), "{loaded:?}");
    let foreign = Manifest { repository: crate::repository::RepositoryId::random(), ..stored.manifest.clone() };
    let key = format!("backups/orders/daily/{}.json", stored.manifest.backup);
    replace(&bench, &key, control::encode(&foreign).unwrap()).await;
    let loaded = repository.manifest(&name("orders"), &name("daily"), &stored.manifest.backup).await;
    assert!(matches!(loaded, Err(Error::Damaged { .. })), "{loaded:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_with_other_contents_under_a_chunks_place_gives_no_byte() {
    let bench = Bench::new().await;
    let stored = bench.backup(&[TestStream::new("x", MediaType::Text, &[("a", &[b'a'; 1_000])])]).await;
    let pack = bench.keys("data/")[0].clone();
    let size = bench.store.get(&Key::new(pack.clone()).unwrap(), u64::MAX).await.unwrap().len();
    // A whole, valid frame of the same length in plain and stored bytes, with other contents.
    let other = (b'b'..=b'z').find_map(|byte| {
        let frame = Encoder::new(3).unwrap().encode(0, &[byte; 1_000]).unwrap().to_vec();
        (frame.len() == size).then_some(frame)
    });
    replace(&bench, &pack, other.unwrap()).await;
    let reader = bench.open().await.read(&stored.manifest).await.unwrap();
    let pieces: Vec<_> = futures::StreamExt::collect(reader.read_part(&reader.streams()[0], 0).await.unwrap()).await;
    let [Err(error)] = &pieces[..] else { panic!("{pieces:?}") };
    assert!(error.source.to_string().contains("does not have its id"), "{}", error.source);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_from_a_backup_cannot_move_the_cursor() {
    let bench = Bench::new().await;
    let stored = bench.backup(&[TestStream::new("x\u{1b}[2J", MediaType::Text, &[("a\u{1b}c", &noise(1, 100))])]).await;
    for pack in bench.keys("data/") {
        bench.store.delete(&Key::new(pack).unwrap()).await.unwrap();
    }
    let reader = bench.open().await.read(&stored.manifest).await.unwrap();
    let mut pieces = reader.read_part(&reader.streams()[0], 0).await.unwrap();
    let error = futures::StreamExt::next(&mut pieces).await.unwrap().unwrap_err();
    assert!(!error.to_string().contains('\u{1b}') && error.to_string().contains("u{1b}"), "{error}");
}

/// A line file whose lines are those of `lines`, joined by fields that may mean anything.
fn line_file(lines: &[Vec<u8>]) -> Bytes {
    let mut writer = LineWriter::new().unwrap();
    lines.iter().for_each(|line| writer.line(line).unwrap());
    writer.finish().unwrap()
}

fn any_field() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("0".to_owned()),
        Just("4294967295".to_owned()),
        Just("18446744073709551615".to_owned()),
        Just("-1".to_owned()),
        Just("20261120T020000Z-abcdef".to_owned()),
        Just(Blake3Digest::of(b"").to_string()),
        "[ -~]{0,20}",
    ]
}

fn any_json_line() -> impl Strategy<Value = String> {
    let number =
        prop_oneof![Just("0"), Just("1"), Just("4294967295"), Just("18446744073709551615"), Just("-1"), Just("\"x\"")];
    let hash = Blake3Digest::of(b"").to_string();
    prop_oneof![
        (number.clone(), number.clone(), number.clone()).prop_map({
            let hash = hash.clone();
            move |(n, size, lines)| {
                format!(r#"{{"type":"index","index":{n},"size":{size},"sha256":"{hash}","lines":{lines}}}"#)
            }
        }),
        (number.clone(), number.clone(), number.clone(), number.clone()).prop_map(|(n, length, chunks, parts)| format!(
            r#"{{"type":"stream","stream":{n},"source":"a","name":"x","mediaType":"text/plain","length":{length},"chunks":{chunks},"parts":{parts},"indexes":[[0,{n}]]}}"#
        )),
        (number.clone(), number.clone(), number.clone(), number).prop_map(move |(n, part, offset, length)| format!(
            r#"{{"type":"part","stream":{n},"part":{part},"name":"x","offset":{offset},"length":{length},"blake3":"{hash}","count":0}}"#
        )),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let bytes = Bytes::from(bytes);
        let _ = Streams::decode(bytes.clone());
        let _ = Streams::decode_indexes(bytes.clone());
        let _ = index::decode(bytes.clone(), drop);
        let _ = refs::decode(bytes.clone());
        let _ = control::decode::<Gate>(&bytes);
        let _ = control::decode::<Manifest>(&bytes);
        let lines: Vec<_> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        let _ = Streams::decode(line_file(&lines));
        let _ = index::decode(line_file(&lines), drop);
        let _ = refs::decode(line_file(&lines));
    }

    #[test]
    fn no_fields_make_a_decoder_panic(
        rows in proptest::collection::vec(proptest::collection::vec(any_field(), 0..10), 0..6),
        json in proptest::collection::vec(any_json_line(), 0..6),
    ) {
        let lines: Vec<_> = rows.iter().map(|row| row.join("\t").into_bytes()).collect();
        let _ = index::decode(line_file(&lines), drop);
        let _ = refs::decode(line_file(&lines));
        let json: Vec<_> = json.into_iter().map(String::into_bytes).collect();
        let _ = Streams::decode(line_file(&json));
    }
}

/// What a verify says after the manifest was replaced by `manifest`.
async fn verified_with(bench: &Bench, manifest: &Manifest, level: Level) -> VerifyReport {
    let key = format!("backups/orders/daily/{}.json", manifest.backup);
    replace(bench, &key, control::encode(manifest).unwrap()).await;
    let backups = [(manifest.policy.clone(), manifest.schedule.clone(), manifest.backup.clone())];
    let (silent, cancel) = (crate::types::Silent, tokio_util::sync::CancellationToken::new());
    verify(&bench.open().await, &backups, &VerifyOptions::new(level), &silent, &cancel).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_not_what_its_blake3_says_counts_neither_for_a_reader_nor_for_a_verify() {
    let bench = Bench::new().await;
    let stored = bench.backup(&sample()).await;
    let key = layout::streams(&stored.manifest.backup, false);
    let mut streams = Streams::decode(bench.store.get(&key, u64::MAX).await.unwrap()).unwrap();
    let right = streams.streams[0].info.parts[1].blake3;
    for (blake3, sound) in [(right, true), (Blake3Digest::of(b"something else"), false)] {
        streams.streams[0].info.parts[1].blake3 = blake3;
        let manifest = replace_meta(&bench, &stored, "streams.jsonl.zst", streams.encode().unwrap()).await;
        let report = verified_with(&bench, &manifest, Level::Content).await;
        assert_eq!(report.is_sound(), sound, "{report:#?}");
        let reader = bench.open().await.read(&manifest).await.unwrap();
        for part in 0..2 {
            let read: Result<Vec<Bytes>, _> =
                reader.read_part(&reader.streams()[0], part).await.unwrap().try_collect().await;
            assert_eq!(read.is_ok(), sound || part == 0, "part {part}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refs_and_totals_that_do_not_agree_with_the_streams_are_found() {
    let bench = Bench::new().await;
    let stored = bench.backup(&sample()).await;
    let key = layout::refs(&stored.manifest.backup);
    let lines = refs::decode(bench.store.get(&key, u64::MAX).await.unwrap()).unwrap();
    for (used, sound) in [(lines[0].used, true), (lines[0].used - 1, false)] {
        let line = refs::Ref { used, ..lines[0].clone() };
        let manifest = replace_meta(&bench, &stored, "refs.tsv.zst", refs::encode(&[line]).unwrap()).await;
        let report = verified_with(&bench, &manifest, Level::Content).await;
        assert_eq!(report.is_sound(), sound, "{report:#?}");
        assert!(sound || report.findings[0].object == key.as_str(), "{report:#?}");
    }
    let other = refs::Ref { pack: Sha256Digest::from_bytes([255; 32]), size: 1, used: 0, ..lines[0].clone() };
    let unused = layout::pack(&other.backup, &other.pack);
    replace(&bench, unused.as_str(), "x").await;
    let both = refs::encode(&[lines[0].clone(), other]).unwrap();
    let manifest = replace_meta(&bench, &stored, "refs.tsv.zst", both).await;
    let report = verified_with(&bench, &manifest, Level::Content).await;
    assert!(report.is_sound() && report.notes.len() == 1, "{report:#?}");
    replace_meta(&bench, &stored, "refs.tsv.zst", refs::encode(&lines).unwrap()).await;
    let wrong: [fn(&mut Manifest); 5] = [
        |m| m.totals.streams += 1,
        |m| m.totals.parts += 1,
        |m| m.totals.objects += 1,
        |m| m.totals.plain_bytes += 1,
        |m| m.totals.chunks += 1,
    ];
    for change in wrong {
        let mut manifest = stored.manifest.clone();
        change(&mut manifest);
        let report = verified_with(&bench, &manifest, Level::Content).await;
        assert!(report.has_damage() && report.findings.len() == 1, "{report:#?}");
    }
    assert!(verified_with(&bench, &stored.manifest, Level::Content).await.is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_no_stream_needs_is_missed_all_the_same() {
    for level in [Level::Presence, Level::Content] {
        let bench = Bench::new().await;
        let stored = bench.backup(&sample()).await;
        let key = layout::streams(&stored.manifest.backup, false);
        let mut streams = Streams::decode(bench.store.get(&key, u64::MAX).await.unwrap()).unwrap();
        let empty = index::encode(&[]).unwrap();
        let (size, sha256) = (empty.len() as u64, Sha256Digest::of(&empty));
        streams.indexes.push(IndexRecord { index: 1, size, sha256, lines: 0 });
        let manifest = replace_meta(&bench, &stored, "streams.jsonl.zst", streams.encode().unwrap()).await;
        let report = verified_with(&bench, &manifest, level).await;
        let idle = layout::index(&stored.manifest.backup, 1, false);
        assert_eq!(report.findings.len(), 1, "{report:#?}");
        assert_eq!(
            (report.findings[0].object.as_str(), report.findings[0].kind),
            (idle.as_str(), FindingKind::Missing)
        );
        replace(&bench, idle.as_str(), empty).await;
        assert!(verified_with(&bench, &manifest, level).await.is_sound());
    }
}
