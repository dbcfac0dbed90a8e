//! Frames of a block: taken off, and held against the rules.

use bytes::Bytes;

use super::{Frame, Splitter, State, TERMINATOR};
use crate::sources::postgres::archive::{Error, read::INT};

/// Plain bytes come in batches of about this size.
const BATCH: usize = 256 << 10;

/// How far frames were read.
pub(super) enum Progress {
    NeedsMore,
    Batch(Bytes),
    Ended,
}

impl Splitter {
    /// Reads frames until a batch is full, the input is empty, or the frames have ended.
    pub(super) fn read_frames(&mut self) -> Result<Progress, Error> {
        if self.batch.capacity() < BATCH {
            self.batch.reserve(BATCH + BATCH / 4 - self.batch.len());
        }
        loop {
            if self.state == State::Length && self.cut.is_empty() {
                self.whole_frames();
            }
            if self.batch.len() >= BATCH {
                return Ok(Progress::Batch(self.full_batch()));
            }
            if let State::Frame(frame) = self.state {
                if self.input.is_empty() {
                    return Ok(Progress::NeedsMore);
                }
                self.part_of_frame(frame);
                continue;
            }
            let length = match self.take_int()? {
                None => return Ok(Progress::NeedsMore),
                Some(0) => {
                    self.state = State::Ended;
                    return Ok(Progress::Ended);
                }
                Some(length) => usize::try_from(length)
                    .map_err(|_| self.damaged(format!("a frame has a length of {length} bytes")))?,
            };
            self.state = State::Frame(Frame { length, left: length, line_inside: false });
        }
    }

    /// The quick way: frames that have come as a whole and fit into the batch.
    fn whole_frames(&mut self) {
        let input = &self.input[..];
        let mut at = 0;
        while let Some((head, rest)) = input.get(at..).and_then(|rest| rest.split_at_checked(INT)) {
            let length = match head {
                [0, a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]) as usize,
                _ => break,
            };
            let fits = length > 0 && self.batch.len() + length <= BATCH;
            let Some(frame) = rest.get(..length).filter(|_| fits) else { break };
            if self.block.table {
                self.proof.table_frame(frame);
            } else {
                self.proof.large_object_frame(length);
            }
            self.batch.extend_from_slice(frame);
            at += INT + length;
        }
        self.advance(at);
    }

    /// The slow way: what has come of one frame.
    fn part_of_frame(&mut self, mut frame: Frame) {
        if frame.length <= TERMINATOR.len() && self.input.len() + self.cut.len() < frame.length {
            // Short enough to wait for the whole of it: it may be the terminator.
            self.cut.extend_from_slice(&self.input);
            let come = self.input.len();
            self.advance(come);
            return;
        }
        if frame.length <= TERMINATOR.len() {
            let missing = frame.length - self.cut.len();
            self.cut.extend_from_slice(&self.input[..missing]);
            self.advance(missing);
            let whole = std::mem::take(&mut self.cut);
            if self.block.table {
                self.proof.table_frame(&whole);
            } else {
                self.proof.large_object_frame(whole.len());
            }
            self.batch.extend_from_slice(&whole);
            self.state = State::Length;
            return;
        }
        let room = BATCH.saturating_sub(self.batch.len());
        let take = frame.left.min(self.input.len()).min(room);
        let come = &self.input[..take];
        frame.left -= take;
        let line_end = memchr::memchr(b'\n', come);
        let last = frame.left == 0 && line_end.is_some_and(|at| at + 1 == take);
        frame.line_inside |= line_end.is_some() && !last;
        self.batch.extend_from_slice(come);
        self.advance(take);
        self.state = State::Frame(frame);
        if frame.left == 0 {
            self.proof.long_frame(frame.length, last && !frame.line_inside);
            self.state = State::Length;
        }
    }

    /// Hands out whole rows, or a batch of one long row. What may be a terminator stays.
    fn full_batch(&mut self) -> Bytes {
        if !self.block.table {
            return self.hand_out(self.batch.len());
        }
        let most = self.batch.len().saturating_sub(TERMINATOR.len());
        let rows = self.batch.get(..most).and_then(|bytes| memchr::memrchr(b'\n', bytes));
        self.hand_out(rows.map_or(most, |at| at + 1))
    }

    pub(super) fn hand_out(&mut self, bytes: usize) -> Bytes {
        let out = self.batch.split_to(bytes).freeze();
        self.block.in_row = out.last().map_or(self.block.in_row, |byte| *byte != b'\n');
        out
    }
}
