//! Messages of MongoDB's wire protocol: OP_MSG, and OP_QUERY with its OP_REPLY, in which a driver says hello.

use std::io::{self, Read, Write};

use super::bson::{Elements, length_at};

const OP_REPLY: u32 = 1;
const OP_QUERY: u32 = 2004;
const OP_MSG: u32 = 2013;
const HEADER: usize = 16;
const CHECKSUM: u32 = 1;
const MORE_TO_COME: u32 = 1 << 1;

/// A message with its one body taken apart. What else it has (a sequence of documents) stays bytes.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: u32,
    pub(super) to: u32,
    code: u32,
    flags: u32,
    /// Of OP_QUERY and OP_REPLY: what lies between the flags and the document.
    between: Vec<u8>,
    pub(super) body: Elements,
    pub(super) sequences: Vec<Sequence>,
}

/// Documents beside the body, such as those of an insert.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub(super) name: String,
    pub(super) documents: Vec<Vec<u8>>,
}

impl Message {
    /// The next message; None where the connection ends.
    pub(super) fn read(from: &mut impl Read) -> Option<Self> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header).ok()?;
        let number = |at| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let mut rest = vec![0; (number(0) as usize).checked_sub(HEADER)?];
        from.read_exact(&mut rest).ok()?;
        let (id, to, code, flags) = (number(4), number(8), number(12), length_at(&rest, 0) as u32);
        let mut message =
            Self { id, to, code, flags, between: Vec::new(), body: Elements::default(), sequences: Vec::new() };
        match code {
            OP_MSG => message.take_sections(&rest[4..]),
            OP_QUERY => {
                let name_end = rest[4..].iter().position(|byte| *byte == 0)? + 5;
                message.take_document(&rest, name_end + 8);
            }
            OP_REPLY => message.take_document(&rest, 20),
            other => panic!("the proxy does not know messages of kind {other}; is compression on?"),
        }
        Some(message)
    }

    fn take_document(&mut self, rest: &[u8], at: usize) {
        self.between = rest[4..at].to_vec();
        self.body = Elements::of(&rest[at..at + length_at(rest, at)]);
    }

    fn take_sections(&mut self, mut rest: &[u8]) {
        if self.flags & CHECKSUM != 0 {
            rest = &rest[..rest.len() - 4];
            self.flags &= !CHECKSUM; // it would not fit any more
        }
        while let Some((kind, after)) = rest.split_first() {
            let (section, left) = after.split_at(length_at(after, 0));
            rest = left;
            if *kind == 0 {
                self.body = Elements::of(section);
                continue;
            }
            let name_end = 4 + section[4..].iter().position(|byte| *byte == 0).expect("a name ends with zero");
            let name = String::from_utf8_lossy(&section[4..name_end]).into_owned();
            let mut documents = Vec::new();
            let mut at = name_end + 1;
            while at < section.len() {
                documents.push(section[at..at + length_at(section, at)].to_vec());
                at += length_at(section, at);
            }
            self.sequences.push(Sequence { name, documents });
        }
    }

    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        if self.code == OP_MSG {
            bytes.push(0);
            bytes.extend_from_slice(&self.body.to_bytes());
            for each in &self.sequences {
                let documents = each.documents.concat();
                let length = u32::try_from(4 + each.name.len() + 1 + documents.len()).unwrap();
                bytes.push(1);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(each.name.as_bytes());
                bytes.push(0);
                bytes.extend_from_slice(&documents);
            }
        } else {
            bytes.extend_from_slice(&self.between);
            bytes.extend_from_slice(&self.body.to_bytes());
        }
        let length = u32::try_from(HEADER + bytes.len()).unwrap();
        let header = [length, self.id, self.to, self.code].map(u32::to_le_bytes).concat();
        to.write_all(&header)?;
        to.write_all(&bytes)
    }

    /// An answer of the proxy's own to this request.
    pub(super) fn answered(&self, body: Elements) -> Self {
        let (code, between) = match self.code {
            OP_QUERY => (OP_REPLY, [&[0; 12][..], &1_u32.to_le_bytes()].concat()),
            _ => (OP_MSG, Vec::new()),
        };
        let flags = if code == OP_REPLY { 8 } else { 0 };
        Self { id: self.id.wrapping_add(1 << 30), to: self.id, code, flags, between, body, sequences: Vec::new() }
    }

    /// Whether another message of the same side follows, of which this one does not wait for an answer.
    pub(super) fn has_more_to_come(&self) -> bool {
        self.code == OP_MSG && self.flags & MORE_TO_COME != 0
    }

    /// The command's name, which is its first element's.
    pub(super) fn command(&self) -> &str {
        self.body.0.first().map_or("", |first| first.name.as_str())
    }

    pub(super) fn database(&self) -> &str {
        self.body.text("$db").unwrap_or("admin")
    }

    /// What the command is about: a collection, where it is about one.
    pub(super) fn collection(&self) -> Option<&str> {
        match self.command() {
            "getMore" => self.body.text("collection"),
            command => self.body.text(command),
        }
    }
}
