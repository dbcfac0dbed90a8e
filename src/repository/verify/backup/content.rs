//! The contents of a stream: each part's bytes against its BLAKE3 and its count, what is proven already passed over.

use std::sync::Arc;

use super::Verifier;
use crate::{
    repository::{
        BackupReader, Error,
        ahead::ReadAhead,
        chunks::{StreamChunk, StreamChunks},
        fetch::Piece,
        reader::check_part,
        verify::{BackupName, count::Counter},
    },
    types::{Blake3Hasher, PartInfo, StreamInfo, for_terminal},
};

/// Parts that are remembered as proven, so that another backup's equal part is not read again.
const MAX_PROVEN: usize = 1 << 17;

impl Verifier<'_> {
    /// Reads what is not proven yet of a stream, and is in the sample: runs of parts in one go, so that chunks which
    /// several small parts share are read once.
    pub(super) async fn content(
        &mut self,
        backup: &BackupName,
        reader: &BackupReader,
        stream: &StreamInfo,
        chunks: &Arc<StreamChunks>,
    ) -> Result<(), Error> {
        let fingerprints: Vec<_> = stream.parts.iter().map(|part| fingerprint(stream, part, chunks)).collect();
        let is_in_sample: Vec<bool> = stream.parts.iter().map(|part| self.options.proves(stream, part)).collect();
        let mut at = 0;
        while let (Some(fingerprint), Some(part)) = (fingerprints.get(at), stream.parts.get(at)) {
            if is_in_sample.get(at) != Some(&true) {
                self.monitor.advance(part.length);
                at += 1;
                continue;
            }
            if self.proven.contains(fingerprint) {
                self.report.parts += 1;
                self.report.plain_bytes += part.length;
                self.report.shared_bytes += part.length;
                self.monitor.advance(part.length);
                at += 1;
                continue;
            }
            let next = fingerprints.iter().zip(&is_in_sample).skip(at);
            let run = next.take_while(|(known, taken)| **taken && !self.proven.contains(*known)).count();
            let parts = stream.parts.get(at..at + run).unwrap_or_default();
            let length = parts.iter().map(|part| part.length).sum();
            let mut ahead = reader.range(Arc::clone(chunks), part.offset, length);
            let mut pending = None;
            for (part, fingerprint) in parts.iter().zip(fingerprints.iter().skip(at)) {
                if self.cancel.is_cancelled() {
                    return Ok(());
                }
                if self.part(backup, stream, part, &mut ahead, &mut pending).await? && self.proven.len() < MAX_PROVEN {
                    self.proven.insert(*fingerprint);
                }
            }
            self.report.stored_bytes += ahead.requested();
            at += run;
        }
        Ok(())
    }

    /// Reads one part from a run of them; `pending` is what a chunk holds of the next part.
    async fn part(
        &mut self,
        backup: &BackupName,
        stream: &StreamInfo,
        part: &PartInfo,
        ahead: &mut ReadAhead,
        pending: &mut Option<Piece>,
    ) -> Result<bool, Error> {
        let name = format!("{}/{}", stream.source, stream.name);
        let (mut hasher, mut counter) = (Blake3Hasher::default(), Counter::new(stream.media_type));
        let (mut length, mut sound) = (0, true);
        while length < part.length {
            let (mut piece, fresh) = match pending.take() {
                Some(piece) => (piece, false),
                None => match ahead.next().await {
                    Some(piece) => (piece, true),
                    None => break,
                },
            };
            let here = piece.length.min(part.length - length);
            length += here;
            piece.length -= here;
            self.monitor.advance(here);
            match &mut piece.bytes {
                Ok(bytes) => {
                    self.timeouts = 0;
                    let bytes = bytes.split_to(usize::try_from(here).unwrap_or(usize::MAX).min(bytes.len()));
                    hasher.update(&bytes);
                    counter.update(&bytes);
                }
                Err(error) => {
                    if fresh && self.ends(error) {
                        return piece.bytes.map(|_| false);
                    }
                    self.findings.take(backup, Some(&name), "data/", error);
                    sound = false;
                }
            }
            *pending = Some(piece).filter(|piece| piece.length > 0);
        }
        if sound {
            let key = self.streams_key(&backup.2);
            let counted = |()| {
                let reason = |what| Error::damaged(&key, format!("part `{}` {what}", for_terminal(&part.name)));
                counter.check(part).map_err(reason)
            };
            if let Err(error) = check_part(&key, part, length, &hasher).and_then(counted) {
                self.findings.take(backup, Some(&name), key.as_str(), &error);
                sound = false;
            } else {
                self.report.parts += 1;
                self.report.plain_bytes += length;
            }
        }
        Ok(sound)
    }
}

/// Where a chunk lies, and from which byte of it on it is meant.
fn add_chunk(hasher: &mut Blake3Hasher, chunk: &StreamChunk, from: u64, chunks: &StreamChunks) {
    for number in [from, u64::from(chunk.offset), u64::from(chunk.length), u64::from(chunk.plain)] {
        hasher.update(&number.to_be_bytes());
    }
    hasher.update(chunk.id.as_bytes());
    if let Some((backup, sha256)) = chunks.packs.get(chunk.pack as usize) {
        hasher.update(backup.as_str().as_bytes());
        hasher.update(sha256.as_bytes());
    }
}

/// What a part is and where its chunks lie: two parts with one fingerprint are read from the same bytes.
fn fingerprint(stream: &StreamInfo, part: &PartInfo, chunks: &StreamChunks) -> [u8; 32] {
    let mut hasher = Blake3Hasher::default();
    let PartInfo { offset, length, blake3, count, digest, .. } = part;
    let recorded = format!("{:?} {length} {blake3} {count} {digest:?}\n", stream.media_type);
    hasher.update(recorded.as_bytes());
    let end = offset + length;
    let first = chunks.chunks.partition_point(|chunk| chunk.start + u64::from(chunk.plain) <= *offset);
    for chunk in chunks.chunks.iter().skip(first).take_while(|chunk| chunk.start < end) {
        // Where the part begins or ends in a chunk belongs to it as well.
        add_chunk(&mut hasher, chunk, offset.saturating_sub(chunk.start), chunks);
    }
    *hasher.finish().as_bytes()
}
