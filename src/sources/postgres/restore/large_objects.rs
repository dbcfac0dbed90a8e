//! Large objects: their contents in, and back for the comparison. `pg_restore` has made them before.

use bytes::Bytes;
use futures::TryStreamExt;

use super::{super::Session, RestoreError, copy::contradiction, report::Difference, rows::Rows};
use crate::types::{Blake3Hasher, PartInfo, RowDigest, StreamInfo};

/// Bytes of large objects in one statement; a larger object is written and read in pieces of it.
const PIECE: u64 = 1 << 20;
/// Large objects in one statement.
const AT_ONCE: usize = 500;

/// Large objects that are read or written by one statement: places of parts, or one that needs several.
#[derive(Debug, PartialEq, Eq)]
enum Group {
    Small(Vec<usize>),
    Large(usize),
}

fn groups(parts: &[PartInfo]) -> Vec<Group> {
    let mut groups = Vec::new();
    let (mut small, mut bytes) = (Vec::new(), 0);
    for (place, part) in parts.iter().enumerate() {
        if part.length > PIECE {
            groups.push(Group::Large(place));
            continue;
        }
        if !small.is_empty() && (bytes + part.length > PIECE || small.len() == AT_ONCE) {
            groups.push(Group::Small(std::mem::take(&mut small)));
            bytes = 0;
        }
        small.push(place);
        bytes += part.length;
    }
    if !small.is_empty() {
        groups.push(Group::Small(small));
    }
    groups
}

fn oid(part: &PartInfo) -> Result<u32, RestoreError> {
    part.name.parse().map_err(|_| contradiction(format!("a large object is called `{}`", part.name)))
}

impl Rows<'_> {
    /// Writes the contents of all large objects of a stream.
    pub(super) async fn load_large_objects(self, session: &Session, stream: &StreamInfo) -> Result<(), RestoreError> {
        for group in groups(&stream.parts) {
            match group {
                Group::Small(places) => self.load_small(session, stream, &places).await?,
                Group::Large(place) => self.load_large(session, stream, place).await?,
            }
        }
        Ok(())
    }

    async fn load_small(self, session: &Session, stream: &StreamInfo, places: &[usize]) -> Result<(), RestoreError> {
        let (mut oids, mut contents) = (Vec::new(), Vec::new());
        for (place, part) in places.iter().filter_map(|place| Some((*place, stream.parts.get(*place)?))) {
            let mut whole = Vec::new();
            let mut pieces = self.contents.read_part(stream, place).await?;
            while let Some(piece) = self.next(pieces.try_next()).await?? {
                whole.extend_from_slice(&piece);
            }
            self.monitor.advance(part.length);
            oids.push(oid(part)?);
            contents.push(whole);
        }
        let sql = "SELECT pg_catalog.lo_put(o.oid, 0, o.bytes) FROM unnest($1::oid[], $2::bytea[]) AS o(oid, bytes)";
        session.rows("write large objects", sql, &[&oids, &contents]).await?;
        Ok(())
    }

    /// One transaction, so that an object is whole or empty.
    async fn load_large(self, session: &Session, stream: &StreamInfo, place: usize) -> Result<(), RestoreError> {
        let Some(part) = stream.parts.get(place) else { return Ok(()) };
        session.run("begin a transaction", "BEGIN").await?;
        let written = self.write_pieces(session, stream, place, oid(part)?).await;
        let end = if written.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = session.run("end the transaction", end).await;
        written?;
        Ok(ended?)
    }

    async fn write_pieces(
        self,
        session: &Session,
        stream: &StreamInfo,
        place: usize,
        oid: u32,
    ) -> Result<(), RestoreError> {
        let mut at = 0i64;
        let mut pieces = self.contents.read_part(stream, place).await?;
        while let Some(mut piece) = self.next(pieces.try_next()).await?? {
            while !piece.is_empty() {
                let some: Bytes = piece.split_to(piece.len().min(PIECE as usize));
                let sql = "SELECT pg_catalog.lo_put($1, $2, $3)";
                session.rows("write a large object", sql, &[&oid, &at, &some.as_ref()]).await?;
                at = at.saturating_add(i64::try_from(some.len()).unwrap_or(i64::MAX));
                self.monitor.advance(some.len() as u64);
            }
        }
        Ok(())
    }

    /// Reads all large objects of a stream back and holds them against the backup's.
    pub(super) async fn compare_large_objects(
        self,
        session: &Session,
        stream: &StreamInfo,
    ) -> Result<Vec<Difference>, RestoreError> {
        let mut differences = Vec::new();
        for group in groups(&stream.parts) {
            match group {
                Group::Small(places) => self.compare_small(session, stream, &places, &mut differences).await?,
                Group::Large(place) => self.compare_large(session, stream, place, &mut differences).await?,
            }
        }
        Ok(differences)
    }

    async fn compare_small(
        self,
        session: &Session,
        stream: &StreamInfo,
        places: &[usize],
        differences: &mut Vec<Difference>,
    ) -> Result<(), RestoreError> {
        let parts: Vec<&PartInfo> = places.iter().filter_map(|place| stream.parts.get(*place)).collect();
        let oids = parts.iter().map(|part| oid(part)).collect::<Result<Vec<u32>, _>>()?;
        // One byte more than there should be shows an object that is too long.
        let lengths: Vec<i32> =
            parts.iter().map(|part| i32::try_from(part.length).unwrap_or(i32::MAX).saturating_add(1)).collect();
        let sql = "SELECT CASE WHEN m.oid IS NOT NULL THEN pg_catalog.lo_get(o.oid, 0, o.length) END \
             FROM unnest($1::oid[], $2::int4[]) WITH ORDINALITY AS o(oid, length, place) \
             LEFT JOIN pg_catalog.pg_largeobject_metadata m ON m.oid = o.oid ORDER BY o.place";
        let rows = self.next(session.rows("read large objects back", sql, &[&oids, &lengths])).await??;
        for (part, row) in parts.into_iter().zip(&rows) {
            let found: Option<&[u8]> = row.get(0);
            let digest = found.map(|bytes| {
                let mut hasher = Blake3Hasher::default();
                hasher.update(bytes);
                (hasher, bytes.len() as u64)
            });
            differences.extend(difference(part, digest));
            self.monitor.advance(part.length);
        }
        Ok(())
    }

    async fn compare_large(
        self,
        session: &Session,
        stream: &StreamInfo,
        place: usize,
        differences: &mut Vec<Difference>,
    ) -> Result<(), RestoreError> {
        let Some(part) = stream.parts.get(place) else { return Ok(()) };
        let oid = oid(part)?;
        let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE oid = $1)";
        if !session.row("look for a large object", sql, &[&oid]).await?.get::<_, bool>(0) {
            differences.extend(difference(part, None));
            return Ok(());
        }
        let (mut hasher, mut at) = (Blake3Hasher::default(), 0u64);
        loop {
            let sql = "SELECT pg_catalog.lo_get($1, $2, $3)";
            let (offset, length) = (i64::try_from(at).unwrap_or(i64::MAX), PIECE as i32);
            let row = self.next(session.row("read a large object back", sql, &[&oid, &offset, &length])).await??;
            let piece: &[u8] = row.get(0);
            if piece.is_empty() {
                break;
            }
            hasher.update(piece);
            at += piece.len() as u64;
            self.monitor.advance(piece.len() as u64);
        }
        differences.extend(difference(part, Some((hasher, at))));
        Ok(())
    }
}

fn difference(part: &PartInfo, found: Option<(Blake3Hasher, u64)>) -> Option<Difference> {
    let what = format!("large object {}", part.name);
    let Some((hasher, length)) = found else { return Some(Difference { what, how: "it is missing".to_owned() }) };
    let digest = RowDigest::from_bytes(*hasher.finish().as_bytes());
    let same = length == part.length && part.digest.is_none_or(|expected| expected == digest);
    (!same).then(|| Difference { what, how: "its contents are not those of the backup".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Blake3Digest;

    fn part(name: &str, length: u64) -> PartInfo {
        PartInfo { name: name.to_owned(), offset: 0, length, blake3: Blake3Digest::of(b""), count: 1, digest: None }
    }

    #[test]
    fn small_objects_share_a_statement_and_large_ones_do_not() {
        let parts = [part("1", 10), part("2", PIECE), part("3", PIECE + 1), part("4", 0), part("5", 5)];
        assert_eq!(
            groups(&parts),
            [Group::Small(vec![0]), Group::Large(2), Group::Small(vec![1, 3]), Group::Small(vec![4])]
        );
        let many: Vec<PartInfo> = (0..1001).map(|n| part(&n.to_string(), 0)).collect();
        assert_eq!(groups(&many).len(), 3);
        assert_eq!(groups(&[]), []);
    }

    #[test]
    fn a_large_object_is_known_by_its_oid() {
        assert_eq!(oid(&part("16482", 1)).unwrap(), 16482);
        assert!(oid(&part("x", 1)).is_err());
    }

    #[test]
    fn contents_are_equal_by_length_and_digest() {
        let hashed = |bytes: &[u8]| {
            let mut hasher = Blake3Hasher::default();
            hasher.update(bytes);
            Some((hasher, bytes.len() as u64))
        };
        let mut digest = RowDigest::default();
        digest.add_row(b"hello");
        let part = PartInfo { digest: Some(digest), ..part("1", 5) };
        assert_eq!(difference(&part, hashed(b"hello")), None);
        for other in [hashed(b"hellp"), hashed(b"hell"), hashed(b"hello\0"), None] {
            assert!(difference(&part, other).is_some());
        }
    }
}
