//! What a server says to `pg_dump`, with the rows taken out.
//!
//! `pg_dump` asks for each table by a `COPY … TO stdout`. It would only write the rows into a pipe, from which drctl
//! would take them again: so they are taken here, from the server's own messages, and `pg_dump` is told the rest: it
//! sees each table as one without rows.

use bytes::BytesMut;

use crate::sources::postgres::rows::{CutRow, RowScanner, RowTotals};

/// Kind and length of a message.
const HEAD: usize = 5;
/// Rows are handed out in pieces of about this size.
const BATCH: usize = 512 << 10;
/// The most bytes of a message that is looked at as a whole.
const SMALL: usize = 64 << 10;
/// Authentication by one of several mechanisms.
const SASL: [u8; 4] = [0, 0, 0, 10];
/// The mechanism that is bound to the TLS connection, which ends here and not at `pg_dump`.
const BOUND: &[u8] = b"SCRAM-SHA-256-PLUS";

/// What has come of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The rows of the next table begin.
    Begin,
    /// There are so many in [`Replies::rows`] that they should be taken.
    Rows,
    /// The rows of the table have ended.
    End(End),
}

/// A table's rows as the server and as `pg_dump` have seen them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// How many the server says that there were.
    pub(super) sent: u64,
    /// Those that were given to `pg_dump` as well.
    pub(super) given: RowTotals,
}

/// What no server of PostgreSQL says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadReply {
    /// Its length is impossible, or it is larger than it may be.
    #[error("a message of kind {kind:?} says a length of {length} bytes")]
    Length {
        /// Its kind.
        kind: char,
        /// Its length.
        length: u32,
    },
    /// A message comes where it makes no sense.
    #[error("a message of kind {0:?} comes where none may be")]
    OutOfPlace(char),
    /// The end of a table says something else than a count.
    #[error("the rows of a table end with the words `{0}`")]
    Tag(String),
    /// A row is not whole.
    #[error(transparent)]
    Cut(#[from] CutRow),
}

/// Takes what a server says apart, in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Replies {
    state: State,
    head: Vec<u8>,
    /// The body of a message that is looked at as a whole.
    body: Vec<u8>,
    copy: Copy,
    /// Of the present table: those that `pg_dump` gets.
    given: RowScanner,
    /// Rows that have not been taken.
    pub(super) rows: BytesMut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// In front of a message, or within its head.
    #[default]
    Head,
    /// So many bytes of a message go on as they are.
    Pass(usize),
    /// So many bytes of a row's message are left; whether it goes on to `pg_dump` as well.
    Row { left: usize, give: bool },
    /// So many bytes are missing of a message that is looked at.
    Look(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Copy {
    #[default]
    No,
    /// Rows come.
    Rows,
    /// They have ended; how many there were comes next.
    Done,
}

impl Replies {
    /// Takes from `input` until something has come of the rows, or there is no more. `pass` gets what goes on to
    /// `pg_dump`; rows as well, if `give`.
    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        pass: &mut Vec<u8>,
        give: bool,
    ) -> Result<Option<Reply>, BadReply> {
        if self.rows.capacity() < BATCH && self.copy != Copy::No {
            self.rows.reserve(BATCH + BATCH / 4 - self.rows.len());
        }
        loop {
            if self.rows.len() >= BATCH {
                return Ok(Some(Reply::Rows));
            }
            if self.state == State::Head && self.head.is_empty() && self.copy == Copy::Rows && !give {
                self.whole_rows(input);
                if self.rows.len() >= BATCH {
                    continue;
                }
            }
            if input.is_empty() {
                return Ok(None);
            }
            let reply = match self.state {
                State::Head => self.head(input, pass, give)?,
                State::Pass(left) => {
                    let come = take(input, left);
                    pass.extend_from_slice(come);
                    self.after(left - come.len(), State::Pass);
                    None
                }
                State::Row { left, give } => {
                    self.part_of_row(input, pass, left, give);
                    None
                }
                State::Look(left) => {
                    let come = take(input, left);
                    self.body.extend_from_slice(come);
                    if come.len() < left {
                        self.state = State::Look(left - come.len());
                        None
                    } else {
                        self.look(pass)?
                    }
                }
            };
            if reply.is_some() {
                return Ok(reply);
            }
        }
    }

    /// The quick way: rows that have come as a whole.
    fn whole_rows(&mut self, input: &mut &[u8]) {
        let all = *input;
        let mut at = 0;
        while let Some((head, rest)) = all.get(at..).and_then(|rest| rest.split_at_checked(HEAD)) {
            let length = match head {
                [b'd', a, b, c, d] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
                _ => break,
            };
            let Some(row) = length.checked_sub(4).and_then(|length| rest.get(..length)) else { break };
            if self.rows.len() + row.len() > BATCH + BATCH / 4 {
                break;
            }
            self.rows.extend_from_slice(row);
            at += HEAD + row.len();
            if self.rows.len() >= BATCH {
                break;
            }
        }
        *input = all.get(at..).unwrap_or_default();
    }

    fn head(&mut self, input: &mut &[u8], pass: &mut Vec<u8>, give: bool) -> Result<Option<Reply>, BadReply> {
        let come = take(input, HEAD - self.head.len());
        self.head.extend_from_slice(come);
        let [kind, a, b, c, d] = self.head[..] else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]);
        let bad = BadReply::Length { kind: kind.into(), length };
        let body = usize::try_from(length).ok().and_then(|length| length.checked_sub(4)).ok_or(bad.clone())?;
        match (kind, self.copy) {
            (b'd', Copy::Rows) => {
                if give {
                    pass.append(&mut self.head);
                }
                self.head.clear();
                self.after(body, |left| State::Row { left, give });
                return Ok(None);
            }
            (b'd', _) | (b'H', Copy::Rows | Copy::Done) | (b'c', Copy::No | Copy::Done) => {
                return Err(BadReply::OutOfPlace(kind.into()));
            }
            // An error ends the rows; `pg_dump` hears of it.
            (b'E', _) => self.copy = Copy::No,
            (b'Z', Copy::Rows | Copy::Done) => return Err(BadReply::OutOfPlace('Z')),
            (b'c', Copy::Rows) => self.copy = Copy::Done,
            (b'R', _) | (b'C', Copy::Done) if body > SMALL => return Err(bad),
            (b'R', _) | (b'C', Copy::Done) => {
                self.body.clear();
                if body > 0 {
                    self.state = State::Look(body);
                    return Ok(None);
                }
                return self.look(pass);
            }
            _ => {}
        }
        pass.append(&mut self.head);
        self.after(body, State::Pass);
        if kind == b'H' {
            (self.copy, self.given) = (Copy::Rows, RowScanner::default());
            return Ok(Some(Reply::Begin));
        }
        Ok(None)
    }

    fn after(&mut self, left: usize, state: impl FnOnce(usize) -> State) {
        self.state = if left == 0 { State::Head } else { state(left) };
    }

    fn part_of_row(&mut self, input: &mut &[u8], pass: &mut Vec<u8>, left: usize, give: bool) {
        // A row may be larger than memory: it comes in pieces.
        let come = take(input, left.min(BATCH));
        self.rows.extend_from_slice(come);
        if give {
            pass.extend_from_slice(come);
            self.given.push(come);
        }
        self.after(left - come.len(), |left| State::Row { left, give });
    }

    /// A message that is here as a whole: what may be offered for the authentication, or the end of a table.
    fn look(&mut self, pass: &mut Vec<u8>) -> Result<Option<Reply>, BadReply> {
        self.state = State::Head;
        let kind = self.head.first().copied().unwrap_or_default();
        if kind == b'R' {
            let offered = without_binding(&self.body);
            let length = u32::try_from(offered.len() + 4).unwrap_or(u32::MAX);
            pass.push(kind);
            pass.extend_from_slice(&length.to_be_bytes());
            pass.extend_from_slice(&offered);
            self.head.clear();
            return Ok(None);
        }
        let words = self.body.strip_suffix(&[0]).unwrap_or(&self.body);
        let sent = words.strip_prefix(b"COPY ").and_then(|count| std::str::from_utf8(count).ok()?.parse().ok());
        let sent = sent.ok_or_else(|| BadReply::Tag(String::from_utf8_lossy(words).into_owned()))?;
        pass.append(&mut self.head);
        pass.extend_from_slice(&self.body);
        self.copy = Copy::No;
        Ok(Some(Reply::End(End { sent, given: self.given.take()? })))
    }
}

/// The mechanisms that are offered, but for the one that `pg_dump` would refuse on a connection without TLS of its own.
fn without_binding(body: &[u8]) -> Vec<u8> {
    let Some(offered) = body.strip_prefix(&SASL) else { return body.to_vec() };
    let kept = offered.split_inclusive(|byte| *byte == 0).filter(|name| name.strip_suffix(&[0]) != Some(BOUND));
    kept.fold(SASL.to_vec(), |mut body, name| {
        body.extend_from_slice(name);
        body
    })
}

/// Takes at most `most` bytes off the front.
fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (come, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    come
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn table(rows: &[&str]) -> Vec<u8> {
        let mut all = message(b'H', &[0, 0, 1, 0, 0]);
        rows.iter().for_each(|row| all.extend(message(b'd', row.as_bytes())));
        all.extend(message(b'c', b""));
        all.extend(message(b'C', format!("COPY {}\0", rows.len()).as_bytes()));
        all.extend(message(b'Z', b"T"));
        all
    }

    type Tables = Vec<(Vec<u8>, u64, u64)>;

    /// What went on, and of each table its rows, how many the server said, how many were given.
    fn heard(bytes: &[u8], pieces: &mut dyn Iterator<Item = usize>, give: bool) -> Result<(Vec<u8>, Tables), BadReply> {
        let (mut replies, mut pass, mut tables, mut rest) = (Replies::default(), Vec::new(), Vec::new(), bytes);
        while !rest.is_empty() {
            let mut piece = take(&mut rest, pieces.next().unwrap_or(usize::MAX).max(1));
            while let Some(reply) = replies.next(&mut piece, &mut pass, give)? {
                let Some((rows, sent, given)) = tables.last_mut() else {
                    assert_eq!(reply, Reply::Begin);
                    tables.push((Vec::new(), 0, 0));
                    continue;
                };
                match reply {
                    Reply::Begin => tables.push((Vec::new(), 0, 0)),
                    Reply::Rows => rows.extend_from_slice(&replies.rows.split()),
                    Reply::End(end) => {
                        rows.extend_from_slice(&replies.rows.split());
                        (*sent, *given) = (end.sent, end.given.rows);
                    }
                }
            }
        }
        Ok((pass, tables))
    }

    fn whole(bytes: &[u8], give: bool) -> Result<(Vec<u8>, Tables), BadReply> {
        heard(bytes, &mut std::iter::empty(), give)
    }

    #[test]
    fn rows_are_taken_out_and_all_else_goes_on() {
        let around = message(b'T', b"columns");
        let stream = [around.clone(), table(&["a\n", "b\n"]), around.clone(), table(&[])].concat();
        let (pass, tables) = whole(&stream, false).unwrap();
        let mut two = table(&[]);
        let tag = two.windows(7).position(|bytes| bytes == b"COPY 0\0").unwrap();
        two[tag + 5] = b'2';
        assert_eq!(pass, [around.clone(), two, around, table(&[])].concat());
        assert_eq!(tables, [(b"a\nb\n".to_vec(), 2, 0), (Vec::new(), 0, 0)]);
    }

    #[test]
    fn rows_that_are_given_are_taken_as_well_and_counted() {
        let stream = table(&["a\n", "b\n", "c\n"]);
        assert_eq!(whole(&stream, true).unwrap(), (stream, vec![(b"a\nb\nc\n".to_vec(), 3, 3)]));
    }

    #[test]
    fn the_mechanism_that_is_bound_to_tls_is_not_offered() {
        let offer = |names: &[&str]| {
            let names: String = names.iter().map(|name| format!("{name}\0")).collect();
            message(b'R', &[&SASL[..], names.as_bytes(), b"\0"].concat())
        };
        let (both, one) = (offer(&["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]), offer(&["SCRAM-SHA-256"]));
        assert_eq!(whole(&both, false).unwrap().0, one);
        assert_eq!(whole(&one, false).unwrap().0, one);
        let other = message(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]);
        assert_eq!(whole(&other, false).unwrap().0, other);
        assert_eq!(whole(&message(b'R', b""), false).unwrap().0, message(b'R', b""));
    }

    #[test]
    fn what_no_server_says_is_refused() {
        let (begin, row) = (message(b'H', b"\0\0\0"), message(b'd', b"a\n"));
        let done = message(b'c', b"");
        for (stream, says) in [
            (row.clone(), "kind 'd' comes where none may be"),
            ([begin.clone(), begin.clone()].concat(), "kind 'H' comes"),
            (done.clone(), "kind 'c' comes"),
            ([begin.clone(), message(b'Z', b"T")].concat(), "kind 'Z' comes"),
            ([begin.clone(), done.clone(), row].concat(), "kind 'd' comes"),
            ([begin.clone(), done, message(b'C', b"SELECT 1\0")].concat(), "end with the words `SELECT 1`"),
            (vec![b'd', 0, 0, 0, 3], "a length of 3 bytes"),
            (vec![b'R', 1, 0, 0, 0], "a length of 16777216 bytes"),
        ] {
            let error = whole(&stream, false).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let cut = [begin, message(b'd', b"half"), message(b'c', b""), message(b'C', b"COPY 1\0")].concat();
        assert!(whole(&cut, true).unwrap_err().to_string().contains("end within a row"));
    }

    #[test]
    fn an_error_ends_the_rows_and_the_next_statement_may_follow() {
        let failed = [message(b'H', b"\0\0\0"), message(b'd', b"a\n"), message(b'E', b"Mno\0\0"), message(b'Z', b"E")];
        let (pass, tables) = whole(&[failed.concat(), table(&["b\n"])].concat(), false).unwrap();
        assert!(pass.windows(3).any(|bytes| bytes == b"Mno"));
        assert_eq!(tables.len(), 2);
    }

    proptest! {
        #[test]
        fn nothing_depends_on_the_pieces(
            tables in proptest::collection::vec(proptest::collection::vec("[a-z]{0,20}\n", 0..20), 0..5),
            pieces in proptest::collection::vec(1usize..40, 0..60),
            give in any::<bool>(),
        ) {
            let stream: Vec<u8> = tables.iter()
                .flat_map(|rows| table(&rows.iter().map(String::as_str).collect::<Vec<_>>()))
                .collect();
            let all = whole(&stream, give).unwrap();
            let rows: Vec<Vec<u8>> = all.1.iter().map(|(rows, ..)| rows.clone()).collect();
            let expected: Vec<Vec<u8>> = tables.iter().map(|rows| rows.concat().into_bytes()).collect();
            prop_assert_eq!(rows, expected);
            prop_assert_eq!(heard(&stream, &mut pieces.iter().copied(), give).unwrap(), all);
        }
    }
}
