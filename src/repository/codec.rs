//! zstd: one frame a chunk, proven before it is kept; and the line files of `meta/`.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};

use bytes::{Buf as _, Bytes, buf};
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::{self, CParameter},
};

use super::{
    Error,
    chunker::MAX_CHUNK,
    large,
    levels::{Choice, Levels, QUICK},
};

/// zstd's level for the files of `meta/`: most of them is digests, which nothing makes smaller.
const META_LEVEL: i32 = 3;
/// The largest window that a file of `meta/` may ask a reader to hold, as a power of two: 8 MiB.
const META_WINDOW_LOG: u32 = 23;

/// Compresses chunks. One a thread; it keeps its buffers.
pub(crate) struct Encoder {
    compressor: Compressor<'static>,
    /// If another level was asked for than that.
    quick: Option<Compressor<'static>>,
    levels: Levels,
    decoder: Decoder,
    frame: Vec<u8>,
    /// Of a chunk that is compressed at both levels.
    other: Vec<u8>,
    decoded: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    pub(crate) fn new(level: i32) -> Result<Self, Error> {
        let quick = if level > QUICK { Some(compressor(QUICK)?) } else { None };
        let (levels, decoder) = (Levels::default(), Decoder::new()?);
        let (frame, other, decoded) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { compressor: compressor(level)?, quick, levels, decoder, frame, other, decoded })
    }

    /// The frame of `plain`, a chunk of `stream`, decoded again and found to be equal: a fault of the library or of
    /// the memory must show now, when the source is still there.
    pub(crate) fn encode(&mut self, stream: u32, plain: &[u8]) -> Result<&[u8], Error> {
        self.compress(stream, plain)?;
        // It only grows: what a shorter chunk leaves of it is not cleared for the next longer one.
        if self.decoded.len() < plain.len() {
            large::make_room(&mut self.decoded, plain.len());
            self.decoded.resize(plain.len(), 0);
        }
        let decoded = self.decoded.get_mut(..plain.len()).unwrap_or_default();
        self.decoder.decode_into(&self.frame, decoded).map_err(|reason| {
            Error::Internal(format!("a chunk that was just compressed cannot be decoded: {reason}"))
        })?;
        if decoded != plain {
            return Err(Error::Internal("a chunk that was just compressed decodes to other bytes".to_owned()));
        }
        Ok(&self.frame)
    }

    fn compress(&mut self, stream: u32, plain: &[u8]) -> Result<(), Error> {
        let Some(quick) = &mut self.quick else { return frame_of(&mut self.compressor, plain, &mut self.frame) };
        match self.levels.choose(stream, plain.len()) {
            Choice::Quick => frame_of(quick, plain, &mut self.frame),
            Choice::Thorough => frame_of(&mut self.compressor, plain, &mut self.frame),
            Choice::Both => {
                frame_of(&mut self.compressor, plain, &mut self.frame)?;
                frame_of(quick, plain, &mut self.other)?;
                let (thorough, quick) = (self.frame.len(), self.other.len());
                if !self.levels.found(stream, plain.len(), (quick, thorough)) && quick < thorough {
                    std::mem::swap(&mut self.frame, &mut self.other);
                }
                Ok(())
            }
        }
    }
}

fn compressor(level: i32) -> Result<Compressor<'static>, Error> {
    let failed = |error: io::Error| Error::Internal(format!("zstd could not be started: {error}"));
    let mut compressor = Compressor::new(level).map_err(failed)?;
    // No checksum of zstd's own: the chunk's id proves the plain bytes, and the pack's name the stored ones (ADR 0018).
    compressor.set_parameter(CParameter::ContentSizeFlag(true)).map_err(failed)?;
    // By itself the quick level looks back over half a megabyte only. Over the whole chunk it costs the same, and saves most
    // of what the higher level saves of rows that resemble each other: of pgbench's 17 of 18 percent.
    compressor.set_parameter(CParameter::WindowLog(MAX_CHUNK.ilog2())).map_err(failed)?;
    Ok(compressor)
}

fn frame_of(compressor: &mut Compressor<'static>, plain: &[u8], frame: &mut Vec<u8>) -> Result<(), Error> {
    frame.clear();
    large::make_room(frame, zstd_safe::compress_bound(plain.len()));
    compressor
        .compress_to_buffer(plain, frame)
        .map(drop)
        .map_err(|error| Error::Internal(format!("a chunk could not be compressed: {error}")))
}

/// Decodes chunks. One a thread.
pub(crate) struct Decoder(Decompressor<'static>);

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

impl Decoder {
    pub(crate) fn new() -> Result<Self, Error> {
        Decompressor::new().map(Self).map_err(|error| Error::Internal(format!("zstd could not be started: {error}")))
    }

    /// The plain bytes of exactly one frame, of exactly `length` bytes.
    ///
    /// # Errors
    /// What is wrong with the frame, for people.
    pub(crate) fn decode(&mut self, frame: &[u8], length: usize) -> Result<Vec<u8>, String> {
        check(frame, length)?;
        let mut plain = Vec::new();
        large::make_room(&mut plain, length);
        plain.resize(length, 0);
        self.fill(frame, &mut plain)?;
        Ok(plain)
    }

    /// Into `plain`, which has the very length of the chunk.
    fn decode_into(&mut self, frame: &[u8], plain: &mut [u8]) -> Result<(), String> {
        check(frame, plain.len())?;
        self.fill(frame, plain)
    }

    /// A frame may hold more than it says: it gets no more room than that.
    fn fill(&mut self, frame: &[u8], plain: &mut [u8]) -> Result<(), String> {
        let written = self.0.decompress_to_buffer(frame, plain).map_err(|error| format!("zstd: {error}"))?;
        if written == plain.len() { Ok(()) } else { Err("a frame decodes to another length".to_owned()) }
    }
}

/// Whether `frame` is exactly one, and says the length that a chunk is to have.
fn check(frame: &[u8], length: usize) -> Result<(), String> {
    if length > MAX_CHUNK {
        return Err(format!("a chunk of {length} bytes is over 4 MiB"));
    }
    match zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) if size == length as u64 => {}
        Ok(_) => return Err("a frame does not have the chunk's length".to_owned()),
        Err(_) => return Err("a chunk does not begin with a zstd frame".to_owned()),
    }
    match zstd_safe::find_frame_compressed_size(frame) {
        Ok(size) if size == frame.len() => Ok(()),
        _ => Err("a chunk is not exactly one zstd frame".to_owned()),
    }
}

/// Writes a file of `meta/`: lines in one zstd frame with a checksum.
pub(crate) struct LineWriter {
    encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
    lines: u64,
}

impl std::fmt::Debug for LineWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LineWriter({} lines)", self.lines)
    }
}

fn write_failed(error: io::Error) -> Error {
    Error::Internal(format!("a meta file could not be compressed: {error}"))
}

impl LineWriter {
    pub(crate) fn new() -> Result<Self, Error> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), META_LEVEL).map_err(write_failed)?;
        encoder.include_checksum(true).map_err(write_failed)?;
        Ok(Self { encoder, lines: 0 })
    }

    /// Appends `line`, which has no line end.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<(), Error> {
        self.lines += 1;
        self.encoder.write_all(line).and_then(|()| self.encoder.write_all(b"\n")).map_err(write_failed)
    }

    /// The bytes to store.
    pub(crate) fn finish(self) -> Result<Bytes, Error> {
        self.encoder.finish().map(Bytes::from).map_err(write_failed)
    }
}

/// Reads a file of `meta/` line by line, within bounds.
pub(crate) struct LineReader {
    decoder: BufReader<zstd::stream::read::Decoder<'static, BufReader<buf::Reader<Bytes>>>>,
    max_line: usize,
    left: u64,
    line: Vec<u8>,
}

impl std::fmt::Debug for LineReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LineReader")
    }
}

impl LineReader {
    /// Reads `stored`: no line longer than `max_line`, and no more than `max_total` plain bytes.
    ///
    /// # Errors
    /// What is wrong with it, for people; so with the other methods.
    pub(crate) fn new(stored: Bytes, max_line: usize, max_total: u64) -> Result<Self, String> {
        let zstd = |error: io::Error| format!("zstd: {error}");
        if stored.is_empty() {
            return Err("it is empty".to_owned());
        }
        let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::new(stored.reader())).map_err(zstd)?;
        decoder.window_log_max(META_WINDOW_LOG).map_err(zstd)?;
        let decoder = BufReader::with_capacity(64 << 10, decoder.single_frame());
        Ok(Self { decoder, max_line, left: max_total, line: Vec::new() })
    }

    /// The next line without its end; `None` after the last, when the file has ended as it must.
    pub(crate) fn next_line(&mut self) -> Result<Option<&[u8]>, String> {
        self.line.clear();
        // One byte more than a line and its end may have, so that a longer one shows.
        let bound = self.max_line as u64 + 2;
        let mut bounded = (&mut self.decoder).take(bound.min(self.left.saturating_add(1)));
        let read = bounded.read_until(b'\n', &mut self.line).map_err(|error| format!("zstd: {error}"))?;
        if read as u64 > self.left {
            return Err("it is longer than any such object may be".to_owned());
        }
        self.left -= read as u64;
        if read == 0 {
            return self.nothing_follows().map(|()| None);
        }
        match self.line.pop() {
            Some(b'\n') if self.line.len() <= self.max_line => Ok(Some(&self.line)),
            _ if read > self.max_line => Err("a line is longer than it may be".to_owned()),
            _ => Err("its last line is cut off".to_owned()),
        }
    }

    fn nothing_follows(&mut self) -> Result<(), String> {
        let inner = self.decoder.get_mut().get_mut();
        match inner.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err("something follows its zstd frame".to_owned()),
            Err(error) => Err(format!("zstd: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::repository::tests::noise;

    fn lines(stored: Bytes, max_line: usize, max_total: u64) -> Result<Vec<Vec<u8>>, String> {
        let mut reader = LineReader::new(stored, max_line, max_total)?;
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line()? {
            lines.push(line.to_vec());
        }
        Ok(lines)
    }

    fn stored(lines: &[&[u8]]) -> Bytes {
        let mut writer = LineWriter::new().unwrap();
        lines.iter().for_each(|line| writer.line(line).unwrap());
        writer.finish().unwrap()
    }

    #[test]
    fn lines_read_back_within_their_bounds() {
        let file = stored(&[b"one", b"", b"three"]);
        assert_eq!(lines(file.clone(), 5, 11).unwrap(), [&b"one"[..], b"", b"three"]);
        assert_eq!(lines(file.clone(), 4, 11).unwrap_err(), "a line is longer than it may be");
        assert_eq!(lines(file, 5, 10).unwrap_err(), "it is longer than any such object may be");
        assert_eq!(lines(stored(&[]), 5, 10).unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_line_file_that_is_cut_flipped_or_longer_is_refused() {
        let file = stored(&[b"one", b"two"]);
        for at in 0..file.len() {
            assert!(lines(file.slice(..at), 100, 100).is_err(), "cut at {at}");
        }
        let longer = [&file[..], b"x"].concat();
        assert_eq!(lines(longer.into(), 100, 100).unwrap_err(), "something follows its zstd frame");
        let twice = [&file[..], &file[..]].concat();
        assert_eq!(lines(twice.into(), 100, 100).unwrap_err(), "something follows its zstd frame");
    }

    #[test]
    fn a_frame_of_another_length_is_refused_before_it_is_decoded() {
        let frame = Encoder::new(3).unwrap().encode(0, &[7; 1000]).unwrap().to_vec();
        let mut decoder = Decoder::new().unwrap();
        assert_eq!(decoder.decode(&frame, 1000).unwrap(), [7; 1000]);
        assert_eq!(decoder.decode(&frame, 999).unwrap_err(), "a frame does not have the chunk's length");
        assert_eq!(decoder.decode(&frame, MAX_CHUNK + 1).unwrap_err(), "a chunk of 4194305 bytes is over 4 MiB");
        let two = [&frame[..], &frame[..]].concat();
        assert_eq!(decoder.decode(&two, 1000).unwrap_err(), "a chunk is not exactly one zstd frame");
        assert!(decoder.decode(b"", 0).is_err());
    }

    /// Frames refer to what is in the encoder's dictionary, and are decoded by another one: a library that decodes to
    /// other bytes of the same length.
    #[test]
    fn a_frame_that_decodes_to_other_bytes_is_not_handed_out() {
        let (plain, other) = (noise(1, 1000), noise(2, 1000));
        let encoded = |decoded_by: &[u8], checksum: bool| {
            let mut encoder = Encoder::new(3).unwrap();
            encoder.compressor.set_dictionary(3, &plain).unwrap();
            encoder.compressor.set_parameter(CParameter::ChecksumFlag(checksum)).unwrap();
            encoder.decoder.0.set_dictionary(decoded_by).unwrap();
            encoder.encode(0, &plain).map(<[u8]>::to_vec).map_err(|error| error.to_string())
        };
        let error = encoded(&other, false).unwrap_err();
        assert!(error.contains("a chunk that was just compressed decodes to other bytes"), "{error}");
        let error = encoded(&other, true).unwrap_err();
        assert!(error.contains("a chunk that was just compressed cannot be decoded"), "{error}");
        for checksum in [false, true] {
            assert!(encoded(&plain, checksum).unwrap().len() < 100, "the frame must refer to the dictionary");
        }
    }

    #[test]
    fn a_stream_of_which_the_higher_level_saves_nothing_gets_the_quick_one_and_the_smaller_frame() {
        let hex: String = noise(1, 150_000).iter().map(|byte| format!("{byte:02x}")).collect();
        let text = "apiVersion: v1, kind: ConfigMap, name: settings-of-the-shop, ".repeat(4_000);
        let mut encoder = Encoder::new(19).unwrap();
        for (stream, plain) in [(0, hex.as_bytes()), (1, text.as_bytes())] {
            let tried = encoder.encode(stream, plain).unwrap().len();
            let chosen = encoder.encode(stream, plain).unwrap().len();
            let alone = |level| Encoder { quick: None, ..Encoder::new(level).unwrap() }.encode(0, plain).unwrap().len();
            let (quick, thorough) = (alone(QUICK), alone(19));
            assert!(tried <= quick.min(thorough) + thorough * 3 / 100, "{tried} of {quick} and {thorough}");
            let saved = quick.saturating_sub(thorough);
            let worth = saved * 100 >= quick * 5 && saved * 1000 >= plain.len() * 5;
            assert_eq!(chosen, if worth { thorough } else { quick }, "stream {stream}");
        }
    }

    proptest! {
        #[test]
        fn every_frame_decodes_to_its_chunk_and_with_a_checksum_no_flipped_one_does(
            plain in proptest::collection::vec(any::<u8>(), 0..5000), at in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            // As earlier versions wrote them; without one it is the chunk's id that tells.
            let mut encoder = Encoder::new(3).unwrap();
            encoder.compressor.set_parameter(CParameter::ChecksumFlag(true)).unwrap();
            let mut frame = encoder.encode(0, &plain).unwrap().to_vec();
            let mut decoder = Decoder::new().unwrap();
            prop_assert_eq!(&decoder.decode(&frame, plain.len()).unwrap(), &plain);
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            // A flip that the frame's checksum does not see must still not change the bytes.
            if let Ok(decoded) = decoder.decode(&frame, plain.len()) {
                prop_assert_eq!(decoded, plain);
            }
        }
    }
}
