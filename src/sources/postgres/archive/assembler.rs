//! Puts the data of an archive into its frames again.

use super::{
    Framing, LARGE_OBJECTS_BLOCK, TABLE_BLOCK, TERMINATOR,
    framing::{BLOCK_FRAME, LARGE_OBJECT_FRAME},
    read::{encode_int, int_of},
};

/// Writes blocks from plain bytes. After the table of contents and a block of each entry with data, in the order of
/// the table of contents, the result is the very archive that was split, if its framing is not [`Framing::Other`].
///
/// Of each call the result is appended to `out`. What it holds back is at most a row, and at most 32 MiB: a row
/// that is longer still is written in frames of that size, which is valid, but not the very bytes of pg_dump.
#[derive(Debug)]
pub struct Assembler {
    framing: Framing,
    /// Plain bytes whose frame is not complete.
    held: Vec<u8>,
    /// Frames of this size, in this large object or block; 0: by rows.
    size: usize,
}

/// The longest row that gets one frame whatever its length.
const LONGEST_ROW: usize = 32 << 20;

impl Assembler {
    /// An assembler that writes frames by this rule.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, held: Vec::new(), size: 0 }
    }

    /// Begins the block of a table.
    pub fn begin_table(&mut self, dump_id: u32, out: &mut Vec<u8>) {
        self.size = if self.framing == Framing::Block { BLOCK_FRAME } else { 0 };
        out.push(TABLE_BLOCK);
        out.extend_from_slice(&encode_int(i64::from(dump_id)));
    }

    /// Rows of the table, in pieces of any size.
    pub fn rows(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.size > 0 {
            return self.frames_of_size(bytes, out);
        }
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (row, after) = rest.split_at(end + 1);
            if self.held.is_empty() {
                frame(row, out);
            } else {
                self.held.extend_from_slice(row);
                self.flush(out);
            }
            rest = after;
        }
        self.held.extend_from_slice(rest);
        while self.held.len() > LONGEST_ROW {
            frame(&self.held[..LONGEST_ROW], out);
            self.held.drain(..LONGEST_ROW);
        }
    }

    /// Ends the block of the table.
    pub fn end_table(&mut self, out: &mut Vec<u8>) {
        if self.size > 0 {
            self.frames_of_size(TERMINATOR, out);
        } else {
            self.flush(out);
            frame(TERMINATOR, out);
        }
        self.end_frames(out);
    }

    /// Begins a block of large objects.
    pub fn begin_large_objects(&mut self, dump_id: u32, out: &mut Vec<u8>) {
        out.push(LARGE_OBJECTS_BLOCK);
        out.extend_from_slice(&encode_int(i64::from(dump_id)));
    }

    /// Begins a large object.
    pub fn begin_large_object(&mut self, oid: u32, out: &mut Vec<u8>) {
        self.size = if self.framing == Framing::Block { BLOCK_FRAME } else { LARGE_OBJECT_FRAME };
        out.extend_from_slice(&encode_int(int_of(oid)));
    }

    /// Contents of the large object, in pieces of any size.
    pub fn contents(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.frames_of_size(bytes, out);
    }

    /// Ends the large object.
    pub fn end_large_object(&mut self, out: &mut Vec<u8>) {
        self.end_frames(out);
    }

    /// Ends the block of large objects.
    pub fn end_large_objects(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&encode_int(0));
    }

    fn frames_of_size(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let (now, after) = bytes.split_at((self.size - self.held.len()).min(bytes.len()));
            if now.len() == self.size {
                frame(now, out);
            } else {
                self.held.extend_from_slice(now);
                if self.held.len() == self.size {
                    self.flush(out);
                }
            }
            bytes = after;
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        frame(&self.held, out);
        self.held.clear();
        if self.held.capacity() > BLOCK_FRAME {
            // One long row is no reason to hold its memory for all others.
            self.held = Vec::new();
        }
    }

    fn end_frames(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        out.extend_from_slice(&encode_int(0));
    }
}

/// One frame; no bytes are no frame.
fn frame(bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        out.extend_from_slice(&encode_int(bytes.len() as i64));
        out.extend_from_slice(bytes);
    }
}
