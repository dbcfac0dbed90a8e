//! Archives that are cut, damaged, hostile, or of another kind.

use proptest::prelude::*;

use super::*;

#[test]
fn a_cut_anywhere_is_found() {
    for (name, bytes) in archives() {
        let mut borders = 0;
        for end in (0..400).chain((400..bytes.len()).step_by(97)).chain(bytes.len() - 40..bytes.len()) {
            match split([bytes.slice(..end)]) {
                Err(Error::CutShort { at, .. }) => assert_eq!(at, end as u64),
                Err(Error::Missing { at, .. }) => {
                    assert_eq!(at, end as u64);
                    borders += 1;
                }
                other => panic!("{name} cut at {end}: {other:?}"),
            }
        }
        // Between two blocks nothing but the table of contents tells that something is missing.
        let toc = split([bytes.clone()]).unwrap().toc;
        assert!(matches!(split([toc]), Err(Error::Missing { .. })));
        assert!(borders < 40, "{borders}");
    }
}

#[test]
fn every_block_must_come_exactly_once() {
    let bytes = archive("pg-15");
    let plain = split([bytes]).unwrap();
    for at in 0..plain.blocks.len() {
        let mut without = plain.clone();
        let (dump_id, _) = without.blocks.remove(at);
        let error = split([assemble(&without, usize::MAX).into()]).unwrap_err();
        assert!(error.to_string().contains(&format!("dump id {dump_id}")), "{error}");
        assert!(matches!(error, Error::Missing { count: 1, .. }), "{error}");

        let mut twice = plain.clone();
        twice.blocks.push(plain.blocks[at].clone());
        let error = split([assemble(&twice, usize::MAX).into()]).unwrap_err();
        assert!(matches!(&error, Error::Damaged { .. }), "{error}");
    }
    let mut stranger = plain.clone();
    stranger.blocks[0].0 = 1;
    let error = split([assemble(&stranger, usize::MAX).into()]).unwrap_err();
    assert!(error.to_string().contains("which no entry has"), "{error}");
    let mut swapped = plain.clone();
    swapped.blocks.swap(0, 1);
    assert_eq!(split([assemble(&swapped, usize::MAX).into()]).unwrap().framing, Framing::Other);
}

#[test]
fn other_archives_are_refused_by_name() {
    let bytes = archive("pg-15");
    let changed = |at: usize, to: u8| {
        let mut changed = bytes.to_vec();
        changed[at] = to;
        split([changed.into()]).unwrap_err()
    };
    assert!(changed(6, 13).to_string().contains("version 1.13"));
    assert!(changed(6, 17).to_string().contains("version 1.17"));
    assert!(matches!(changed(0, b'X'), Error::NotAnArchive(_)));
    assert!(matches!(changed(10, 3), Error::NotAnArchive(_)));
    // Compressed by level 6.
    assert!(matches!(changed(12, 6), Error::Options(_)));
}

#[test]
fn what_no_archive_needs_is_refused_before_it_is_held() {
    let header = header();
    let with = |after: &[u8]| Bytes::from([&header, after].concat());
    let error = split([with(&read::encode_int(400_001))]).unwrap_err();
    assert!(matches!(error, Error::OverLimit(_)), "{error}");
    let error = split([with(&read::encode_int(-1))]).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    // An entry whose name goes on for ever.
    let ints = |values: &[i64]| values.iter().flat_map(|value| read::encode_int(*value)).collect::<Vec<_>>();
    let entry = [ints(&[1, 7, 0, 1]), b"0".to_vec(), ints(&[1]), b"0".to_vec(), ints(&[1 << 30])].concat();
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    let endless = std::iter::once(with(&entry)).chain(std::iter::repeat_n(piece, 200));
    let error = split(endless).unwrap_err();
    assert!(matches!(error, Error::OverLimit(_)), "{error}");
    let too_long = [ints(&[1, 7, 0, 1]), b"0".to_vec(), ints(&[1]), b"0".to_vec(), ints(&[(1 << 30) + 1])].concat();
    let error = split([with(&too_long)]).unwrap_err();
    assert!(error.to_string().contains("a text cannot have"), "{error}");
}

#[test]
fn two_entries_with_one_number_are_refused() {
    let bytes = archive("pg-15");
    let toc = Toc::parse(split([bytes]).unwrap().toc).unwrap();
    let (first, second) = (toc.get(3).unwrap(), toc.get(4).unwrap());
    let mut twice = toc.bytes().to_vec();
    twice.copy_within(first.place().start..first.place().start + 5, second.place().start);
    let error = Toc::parse(twice.into()).unwrap_err();
    assert!(error.to_string().contains(&format!("dump id {}", first.dump_id())), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_archives_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        within in prop_oneof![Just(200usize), Just(20_000), Just(usize::MAX)],
    ) {
        let mut bytes = archive("pg-15").to_vec();
        let within = within.min(bytes.len());
        for (at, to) in changes {
            bytes[at.index(within)] = to;
        }
        if let Ok(plain) = split([bytes.into()]) {
            // A change inside of a value is for the checksums of the backup to find.
            let toc = Toc::parse(plain.toc).unwrap();
            for entry in toc.entries() {
                let _ = (entry.root(), entry.copy_line(), entry.dependencies().count(), entry.creates());
            }
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut begun = header().to_vec();
        begun.extend_from_slice(&bytes);
        prop_assert!(split([begun.into()]).is_err());
        prop_assert!(split([bytes.into()]).is_err());
    }
}
