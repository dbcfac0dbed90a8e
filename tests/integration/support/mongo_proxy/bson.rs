//! As much of BSON as the proxy needs: the elements of a document, in order, with values that stay bytes. So what it does
//! not change passes through it byte for byte, also documents that no driver would make.

/// One element: type, name, and the value's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) kind: u8,
    pub(super) name: String,
    pub(super) value: Vec<u8>,
}

impl Element {
    pub(super) fn is_true(&self) -> bool {
        self.kind == BOOLEAN && self.value == [1]
    }
}

/// A document or an array, taken apart one level deep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Elements(pub(super) Vec<Element>);

pub(super) const DOUBLE: u8 = 0x01;
pub(super) const STRING: u8 = 0x02;
pub(super) const DOCUMENT: u8 = 0x03;
pub(super) const ARRAY: u8 = 0x04;
pub(super) const OBJECT_ID: u8 = 0x07;
pub(super) const BOOLEAN: u8 = 0x08;
pub(super) const DATE: u8 = 0x09;
pub(super) const INT32: u8 = 0x10;
pub(super) const TIMESTAMP: u8 = 0x11;
pub(super) const INT64: u8 = 0x12;

impl Elements {
    /// Takes a document apart.
    ///
    /// # Panics
    /// If it is none: both sides of the proxy are drivers and servers, which send whole documents.
    pub(super) fn of(document: &[u8]) -> Self {
        assert_eq!(length_at(document, 0), document.len(), "a document's length");
        let mut elements = Vec::new();
        let mut at = 4;
        while document[at] != 0 {
            let name_end = at + 1 + zero_after(&document[at + 1..]);
            let name = String::from_utf8_lossy(&document[at + 1..name_end]).into_owned();
            let begin = name_end + 1;
            let end = begin + length_of_value(document[at], &document[begin..]);
            elements.push(Element { kind: document[at], name, value: document[begin..end].to_vec() });
            at = end;
        }
        Self(elements)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        for each in &self.0 {
            bytes.push(each.kind);
            bytes.extend_from_slice(each.name.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(&each.value);
        }
        bytes.push(0);
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    pub(super) fn get(&self, name: &str) -> Option<&Element> {
        self.0.iter().find(|each| each.name == name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.get(name).filter(|each| each.kind == STRING)?;
        std::str::from_utf8(&found.value[4..found.value.len() - 1]).ok()
    }

    /// A document or an array in it.
    pub(super) fn inner(&self, name: &str) -> Option<Self> {
        self.get(name).filter(|each| [DOCUMENT, ARRAY].contains(&each.kind)).map(|each| Self::of(&each.value))
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Element> {
        let at = self.0.iter().position(|each| each.name == name)?;
        Some(self.0.remove(at))
    }

    /// Replaces an element where it is, or adds it at the end.
    pub(super) fn set(&mut self, kind: u8, name: &str, value: impl Into<Vec<u8>>) -> &mut Self {
        let element = Element { kind, name: name.to_owned(), value: value.into() };
        match self.0.iter_mut().find(|each| each.name == name) {
            Some(there) => *there = element,
            None => self.0.push(element),
        }
        self
    }

    pub(super) fn set_text(&mut self, name: &str, text: &str) -> &mut Self {
        let length = u32::try_from(text.len() + 1).unwrap();
        self.set(STRING, name, [&length.to_le_bytes()[..], text.as_bytes(), &[0]].concat())
    }

    pub(super) fn set_bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.set(BOOLEAN, name, [u8::from(value)])
    }

    pub(super) fn set_int(&mut self, name: &str, value: i32) -> &mut Self {
        self.set(INT32, name, value.to_le_bytes())
    }

    pub(super) fn set_double(&mut self, name: &str, value: f64) -> &mut Self {
        self.set(DOUBLE, name, value.to_le_bytes())
    }

    pub(super) fn set_inner(&mut self, kind: u8, name: &str, inner: &Self) -> &mut Self {
        self.set(kind, name, inner.to_bytes())
    }

    pub(super) fn set_timestamp(&mut self, name: &str, (seconds, count): (u32, u32)) -> &mut Self {
        self.set(TIMESTAMP, name, (u64::from(seconds) << 32 | u64::from(count)).to_le_bytes())
    }

    pub(super) fn timestamp(&self, name: &str) -> Option<(u32, u32)> {
        let found = self.get(name).filter(|each| each.kind == TIMESTAMP)?;
        let value = u64::from_le_bytes(found.value[..].try_into().ok()?);
        Some(((value >> 32) as u32, value as u32))
    }

    pub(super) fn int(&self, name: &str) -> Option<i64> {
        let found = self.get(name)?;
        match found.kind {
            INT32 => Some(i64::from(i32::from_le_bytes(found.value[..].try_into().ok()?))),
            INT64 => Some(i64::from_le_bytes(found.value[..].try_into().ok()?)),
            DOUBLE => Some(f64::from_le_bytes(found.value[..].try_into().ok()?) as i64),
            _ => None,
        }
    }
}

pub(super) fn length_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn zero_after(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte == 0).expect("a name ends with zero")
}

fn length_of_value(kind: u8, value: &[u8]) -> usize {
    match kind {
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x02 | 0x0d | 0x0e => 4 + length_at(value, 0),
        0x03 | 0x04 | 0x0f => length_at(value, 0),
        0x05 => 5 + length_at(value, 0),
        0x06 | 0x0a | 0xff | 0x7f => 0,
        0x07 => 12,
        0x08 => 1,
        0x0b => {
            let pattern = zero_after(value) + 1;
            pattern + zero_after(&value[pattern..]) + 1
        }
        0x0c => 4 + length_at(value, 0) + 12,
        0x10 => 4,
        0x13 => 16,
        _ => panic!("no BSON type {kind:#x}"),
    }
}
