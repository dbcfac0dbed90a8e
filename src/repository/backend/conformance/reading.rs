//! Reading: what was written, all of it or a part, and what was not or is no more.

use std::ops::Range;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{Suite, bytes_of, key, kind};
use crate::repository::backend::{Error, ErrorKind, PutOutcome};

/// The largest object of the format.
const LARGEST: usize = 16 << 20;
/// How far the store's clock may be from this one here.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

impl Suite {
    pub(super) async fn read_after_write(&mut self) -> Result<(), Error> {
        for n in 0..20 {
            let (name, bytes) = (key(format!("fresh/{n:02}")), Bytes::from(vec![b'x'; n * 1000]));
            let before = Timestamp::now();
            self.store.put_new(&name, bytes.clone()).await?;
            let read = self.store.get(&name, 1 << 20).await?;
            self.holds(read == bytes, "an object is read as it was written");
            let seen = self.store.head(&name).await?;
            self.holds(seen.key == name && seen.size == bytes.len() as u64, "head says key and size");
            let near = seen.modified >= before - CLOCKS && seen.modified <= Timestamp::now() + CLOCKS;
            self.holds(near, format!("head says the time of the write, not {}", seen.modified));
            let listed = self.list("fresh/").await?;
            self.holds(listed.len() == n + 1, "a listing holds every object as soon as it is written");
            let same = listed.last().is_some_and(|last| {
                // Listings of some stores have whole seconds, heads have not, or the other way round.
                let apart = last.modified.duration_since(seen.modified).abs();
                last.key == name && last.size == seen.size && apart < SignedDuration::from_secs(1)
            });
            self.holds(same, "a listing says what head says");
        }
        Ok(())
    }

    pub(super) async fn ranges(&mut self) -> Result<(), Error> {
        let name = key("range/object");
        let bytes: Bytes = (0..10_000u32).flat_map(u32::to_be_bytes).collect::<Vec<u8>>().into();
        let size = bytes.len() as u64;
        self.store.put_new(&name, bytes.clone()).await?;
        for range in [0..1, 0..size, 1..2, 17_000..23_001, size - 1..size, size - 4..size, 0..0, 5..5, size..size] {
            let read = self.store.get_range(&name, range.clone()).await?;
            let expected = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let expected = expected.and_then(|(start, end)| bytes.get(start..end));
            self.holds(expected == Some(&read[..]), format!("bytes {range:?} are those of the object"));
        }
        let beyond =
            [0..size + 1, size - 1..size + 1, size..size + 1, size + 1..size + 2, size + 1..size + 1, 0..u64::MAX];
        for range in beyond.into_iter().chain([Range { start: 9, end: 8 }]) {
            let read = kind(self.store.get_range(&name, range.clone()).await);
            self.holds(
                read == Some(ErrorKind::Other),
                format!("bytes {range:?} are refused as not within, not {read:?}"),
            );
        }
        Ok(())
    }

    pub(super) async fn limits(&mut self) -> Result<(), Error> {
        let (name, empty, large) = (key("limit/ten"), key("limit/empty"), key("limit/large"));
        self.store.put_new(&name, bytes_of("0123456789")).await?;
        for limit in [10, 11, u64::MAX] {
            let read = self.store.get(&name, limit).await?;
            self.holds(read.len() == 10, format!("a limit of {limit} lets ten bytes through"));
        }
        for limit in [0, 1, 9] {
            let read = kind(self.store.get(&name, limit).await);
            self.holds(
                read == Some(ErrorKind::TooLarge),
                format!("a limit of {limit} refuses ten bytes, not {read:?}"),
            );
        }
        self.store.put_new(&empty, Bytes::new()).await?;
        let read = self.store.get(&empty, 0).await?;
        self.holds(read.is_empty(), "an empty object is read as empty");
        let nothing = self.store.get_range(&empty, 0..0).await?;
        self.holds(nothing.is_empty(), "nothing of an empty object can be read");
        let one = kind(self.store.get_range(&empty, 0..1).await);
        self.holds(one == Some(ErrorKind::Other), "one byte of an empty object is refused");
        let size = self.store.head(&empty).await?.size;
        self.holds(size == 0, "an empty object has no bytes");
        let again = self.store.put_new(&empty, bytes_of("more")).await?;
        self.holds(again == PutOutcome::Exists, "an empty object is there");

        let bytes: Bytes = (0u32..).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(LARGEST).collect();
        let outcome = self.store.put_new(&large, bytes.clone()).await?;
        self.holds(outcome == PutOutcome::Created, "an object of 16 MiB is created");
        let read = self.store.get(&large, LARGEST as u64).await?;
        self.holds(read == bytes, "an object of 16 MiB is read as it was written");
        let end = self.store.get_range(&large, (LARGEST - 5) as u64..LARGEST as u64).await?;
        self.holds(Some(&end[..]) == bytes.get(LARGEST - 5..), "its end is read alone");
        let refused = kind(self.store.get(&large, LARGEST as u64 - 1).await);
        self.holds(refused == Some(ErrorKind::TooLarge), "it is refused by a limit that is one byte less");
        Ok(())
    }

    pub(super) async fn missing(&mut self) -> Result<(), Error> {
        self.put("missing/a/b").await?;
        // The last three are, on a file system, a folder, below a file, and below nothing.
        for name in ["missing/c", "missing/a", "missing/a/b/c", "missing/x/y/z"] {
            let missing = key(name);
            for (call, found) in [
                ("get", kind(self.store.get(&missing, 10).await)),
                ("range", kind(self.store.get_range(&missing, 0..1).await)),
                ("empty range", kind(self.store.get_range(&missing, 0..0).await)),
                ("head", kind(self.store.head(&missing).await)),
            ] {
                self.holds(
                    found == Some(ErrorKind::NotFound),
                    format!("{call} of `{name}` is not found, not {found:?}"),
                );
            }
            let deleted = self.store.delete(&missing).await;
            self.holds(deleted.is_ok(), format!("the deletion of `{name}`, which is not there, is no error"));
        }
        let left = self.names("missing/").await?;
        self.holds(left == ["missing/a/b"], "none of this touches what is there");
        Ok(())
    }

    pub(super) async fn deletion(&mut self) -> Result<(), Error> {
        let name = key("deleted/a");
        for sibling in ["deleted/a", "deleted/a-", "deleted/b/c"] {
            self.put(sibling).await?;
        }
        self.store.delete(&name).await?;
        self.store.delete(&name).await?;
        self.store.delete(&key("deleted/b/c")).await?;
        let read = kind(self.store.get(&name, 100).await);
        self.holds(read == Some(ErrorKind::NotFound), "a deleted object is not found");
        let left = self.names("deleted/").await?;
        self.holds(left == ["deleted/a-"], "a deleted object is not listed, and the others are");
        let outcome = self.put("deleted/b/d").await?;
        self.holds(outcome == PutOutcome::Created, "where the last object was deleted another can be created");
        Ok(())
    }
}
