//! Counts what a part holds, from its bytes alone.

use crate::types::{Blake3Hasher, MediaType, PartInfo, RowDigest};

/// Counts lines or documents, and sums their digests, as the bytes come.
#[derive(Debug)]
pub(super) enum Counter {
    /// Of bytes that have no inner borders that the repository knows.
    Nothing,
    /// Of lines: Kubernetes objects, rows of a table.
    Lines(Rows),
    /// Of BSON documents, each of which begins with its length.
    Documents {
        /// The documents so far.
        rows: Rows,
        /// The bytes of a length that are there so far.
        prefix: Vec<u8>,
        /// Bytes of the present document that are to come.
        left: u64,
        /// A length was impossible.
        broken: bool,
    },
}

/// Rows so far, and the one that is not at its end.
#[derive(Debug, Default)]
pub(super) struct Rows {
    count: u64,
    sum: RowDigest,
    open: Option<Blake3Hasher>,
}

impl Rows {
    fn take(&mut self, bytes: &[u8]) {
        self.open.get_or_insert_default().update(bytes);
    }

    fn end(&mut self) {
        let hasher = self.open.take().unwrap_or_default();
        self.count += 1;
        self.sum.add(&RowDigest::from_bytes(*hasher.finish().as_bytes()));
    }
}

impl Counter {
    pub(super) fn new(media_type: MediaType) -> Self {
        match media_type {
            MediaType::KubernetesObjects | MediaType::Table => Self::Lines(Rows::default()),
            MediaType::Collection => {
                Self::Documents { rows: Rows::default(), prefix: Vec::new(), left: 0, broken: false }
            }
            MediaType::Text | MediaType::Blob => Self::Nothing,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Nothing => {}
            Self::Lines(rows) => {
                let mut lines = bytes.split(|byte| *byte == b'\n');
                // What follows the last line end is the beginning of a line, even if it is empty.
                let rest = lines.next_back().unwrap_or_default();
                for line in lines {
                    rows.take(line);
                    rows.end();
                }
                if !rest.is_empty() {
                    rows.take(rest);
                }
            }
            Self::Documents { rows, prefix, left, broken } => {
                let mut bytes = bytes;
                while !bytes.is_empty() && !*broken {
                    if *left == 0 {
                        let (length, rest) = bytes.split_at(bytes.len().min(4 - prefix.len()));
                        prefix.extend_from_slice(length);
                        bytes = rest;
                        if let Ok(length) = <[u8; 4]>::try_from(prefix.as_slice()) {
                            let length = u32::from_le_bytes(length);
                            rows.take(prefix);
                            prefix.clear();
                            // The shortest document is its length and a zero.
                            *broken = !(5..=1 << 30).contains(&length);
                            *left = u64::from(length).saturating_sub(4);
                        }
                    } else {
                        let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                        let (document, rest) = bytes.split_at(here);
                        rows.take(document);
                        bytes = rest;
                        *left -= here as u64;
                        if *left == 0 {
                            rows.end();
                        }
                    }
                }
            }
        }
    }

    /// Compares with what is recorded.
    ///
    /// # Errors
    /// What is different, for people.
    pub(super) fn check(self, info: &PartInfo) -> Result<(), String> {
        let rows = match self {
            Self::Nothing => return Ok(()),
            Self::Lines(rows) => rows,
            Self::Documents { broken: true, .. } => return Err("holds what is no BSON document".to_owned()),
            Self::Documents { rows, .. } => rows,
        };
        if rows.open.is_some() {
            return Err("ends within a row".to_owned());
        }
        if rows.count != info.count {
            return Err(format!("holds {} rows, and {} are recorded", rows.count, info.count));
        }
        match info.digest {
            Some(digest) if digest != rows.sum => Err("does not have the digest that is recorded".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::Blake3Digest;

    fn info(count: u64, digest: Option<RowDigest>) -> PartInfo {
        PartInfo { name: String::new(), offset: 0, length: 0, blake3: Blake3Digest::of(b""), count, digest }
    }

    fn check(media_type: MediaType, bytes: &[u8], piece: usize, info: &PartInfo) -> Result<(), String> {
        let mut counter = Counter::new(media_type);
        bytes.chunks(piece).for_each(|piece| counter.update(piece));
        counter.check(info)
    }

    #[test]
    fn what_does_not_add_up_is_named() {
        let lines = |bytes: &[u8], count| check(MediaType::Table, bytes, 100, &info(count, None));
        assert_eq!(lines(b"a\n\nb\n", 3), Ok(()));
        assert_eq!(lines(b"", 0), Ok(()));
        assert_eq!(lines(b"a\n", 2).unwrap_err(), "holds 1 rows, and 2 are recorded");
        assert_eq!(lines(b"a\nb", 1).unwrap_err(), "ends within a row");
        let wrong = info(1, Some(RowDigest::default()));
        assert_eq!(
            check(MediaType::Table, b"a\n", 1, &wrong).unwrap_err(),
            "does not have the digest that is recorded"
        );
        let documents = |bytes: &[u8]| check(MediaType::Collection, bytes, 100, &info(1, None));
        assert_eq!(documents(&[5, 0, 0, 0, 0]), Ok(()));
        assert_eq!(documents(&[4, 0, 0, 0, 0]).unwrap_err(), "holds what is no BSON document");
        assert_eq!(documents(&[6, 0, 0, 0, 0]).unwrap_err(), "ends within a row");
    }

    proptest! {
        #[test]
        fn rows_add_up_however_their_bytes_come(
            rows in proptest::collection::vec("[a-z]{0,20}", 0..20), piece in 1_usize..50,
        ) {
            let (mut lines, mut documents) = (Vec::new(), Vec::new());
            let (mut of_lines, mut of_documents) = (RowDigest::default(), RowDigest::default());
            for row in &rows {
                lines.extend_from_slice(row.as_bytes());
                lines.push(b'\n');
                of_lines.add_row(row.as_bytes());
                let length = u32::try_from(row.len() + 5).unwrap();
                let document = [&length.to_le_bytes()[..], row.as_bytes(), &[0]].concat();
                of_documents.add_row(&document);
                documents.extend(document);
            }
            let count = rows.len() as u64;
            prop_assert_eq!(check(MediaType::KubernetesObjects, &lines, piece, &info(count, Some(of_lines))), Ok(()));
            prop_assert_eq!(check(MediaType::Collection, &documents, piece, &info(count, Some(of_documents))), Ok(()));
        }
    }
}
