//! Canonical Extended JSON, version 2, of BSON documents: the form of `*.metadata.json` in a folder of `mongodump`.
//!
//! Keys stay in their order, which is part of what an index is.

use std::fmt::Write as _;

use base64::Engine as _;
use mongodb_driver::bson::{Timestamp, raw::RawBsonRef, raw::RawDocument};

/// The deepest nesting that is written; servers take less.
const DEEPEST: usize = 200;

/// A document cannot be written as Extended JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDocument {
    /// It is no BSON.
    #[error("it is no BSON document: {0}")]
    Malformed(String),
    /// It is nested too deeply.
    #[error("it is nested more than {DEEPEST} levels deep")]
    TooDeep,
}

/// `document` as canonical Extended JSON.
pub(super) fn canonical(document: &RawDocument) -> Result<String, InvalidDocument> {
    let mut text = String::new();
    write_document(&mut text, document, 0)?;
    Ok(text)
}

fn malformed(error: &impl ToString) -> InvalidDocument {
    InvalidDocument::Malformed(error.to_string())
}

fn write_document(out: &mut String, document: &RawDocument, depth: usize) -> Result<(), InvalidDocument> {
    if depth >= DEEPEST {
        return Err(InvalidDocument::TooDeep);
    }
    out.push('{');
    for (place, element) in document.iter().enumerate() {
        let (key, value) = element.map_err(|error| malformed(&error))?;
        if place > 0 {
            out.push(',');
        }
        write_text(out, key.as_str());
        out.push(':');
        write_value(out, value, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

fn write_value(out: &mut String, value: RawBsonRef<'_>, depth: usize) -> Result<(), InvalidDocument> {
    if depth >= DEEPEST {
        return Err(InvalidDocument::TooDeep);
    }
    match value {
        RawBsonRef::Double(number) => wrapped(out, "$numberDouble", &double(number)),
        RawBsonRef::String(text) => write_text(out, text),
        RawBsonRef::Document(document) => write_document(out, document, depth)?,
        RawBsonRef::Array(array) => {
            out.push('[');
            for (place, item) in array.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_value(out, item.map_err(|error| malformed(&error))?, depth + 1)?;
            }
            out.push(']');
        }
        RawBsonRef::Boolean(value) => out.push_str(if value { "true" } else { "false" }),
        RawBsonRef::Null => out.push_str("null"),
        RawBsonRef::RegularExpression(it) => {
            out.push_str("{\"$regularExpression\":{\"pattern\":");
            write_text(out, it.pattern.as_str());
            out.push_str(",\"options\":");
            write_text(out, it.options.as_str());
            out.push_str("}}");
        }
        RawBsonRef::JavaScriptCode(code) => wrapped(out, "$code", code),
        RawBsonRef::JavaScriptCodeWithScope(it) => {
            out.push_str("{\"$code\":");
            write_text(out, it.code);
            out.push_str(",\"$scope\":");
            write_document(out, it.scope, depth + 1)?;
            out.push('}');
        }
        RawBsonRef::Int32(number) => wrapped(out, "$numberInt", &number.to_string()),
        RawBsonRef::Int64(number) => wrapped(out, "$numberLong", &number.to_string()),
        RawBsonRef::Timestamp(Timestamp { time, increment }) => {
            let _ = write!(out, "{{\"$timestamp\":{{\"t\":{time},\"i\":{increment}}}}}");
        }
        RawBsonRef::Binary(it) => {
            let bytes = base64::engine::general_purpose::STANDARD.encode(it.bytes);
            let subtype = u8::from(it.subtype);
            let _ = write!(out, "{{\"$binary\":{{\"base64\":\"{bytes}\",\"subType\":\"{subtype:02x}\"}}}}");
        }
        RawBsonRef::ObjectId(id) => wrapped(out, "$oid", &id.to_hex()),
        RawBsonRef::DateTime(time) => {
            let _ = write!(out, "{{\"$date\":{{\"$numberLong\":\"{}\"}}}}", time.timestamp_millis());
        }
        RawBsonRef::Symbol(text) => wrapped(out, "$symbol", text),
        RawBsonRef::Decimal128(number) => wrapped(out, "$numberDecimal", &number.to_string()),
        RawBsonRef::Undefined => out.push_str("{\"$undefined\":true}"),
        RawBsonRef::MaxKey => out.push_str("{\"$maxKey\":1}"),
        RawBsonRef::MinKey => out.push_str("{\"$minKey\":1}"),
        // Nothing writes them since 2009, and the driver shows no part of them.
        RawBsonRef::DbPointer(_) => return Err(InvalidDocument::Malformed("it has a DBPointer".to_owned())),
    }
    Ok(())
}

fn double(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else {
        format!("{number:?}")
    }
}

fn wrapped(out: &mut String, key: &str, text: &str) {
    out.push('{');
    write_text(out, key);
    out.push(':');
    write_text(out, text);
    out.push('}');
}

/// A JSON string.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use mongodb_driver::bson::{Bson, Regex, doc, raw::RawDocumentBuf, rawdoc};
    use proptest::prelude::*;

    use super::*;

    fn of(document: mongodb_driver::bson::Document) -> String {
        canonical(&RawDocumentBuf::try_from(&document).unwrap()).unwrap()
    }

    #[test]
    fn the_definition_of_a_plain_collection_is_written_as_mongodump_writes_it() {
        let index = doc! {"v": 2, "key": {"_id": 1}, "name": "_id_"};
        assert_eq!(of(index), r#"{"v":{"$numberInt":"2"},"key":{"_id":{"$numberInt":"1"}},"name":"_id_"}"#);
    }

    #[test]
    fn keys_stay_in_their_order_and_every_type_has_its_form() {
        let pattern = Regex { pattern: "^a\"b".try_into().unwrap(), options: "i".try_into().unwrap() };
        let document = doc! {
            "z": 1.0, "a": 5_000_000_000_i64, "m": {"b": true, "a": null}, "l": ["x", -0.0],
            "r": Bson::RegularExpression(pattern), "t": Timestamp { time: 1, increment: 2 },
            "n": f64::NAN, "i": f64::NEG_INFINITY, "min": Bson::MinKey, "max": Bson::MaxKey, "u": Bson::Undefined,
            "c": "line\nend\u{1}",
        };
        assert_eq!(
            of(document),
            "{\"z\":{\"$numberDouble\":\"1.0\"},\"a\":{\"$numberLong\":\"5000000000\"},\"m\":{\"b\":true,\"a\":null},\
             \"l\":[\"x\",{\"$numberDouble\":\"-0.0\"}],\"r\":{\"$regularExpression\":{\"pattern\":\"^a\\\"b\",\"options\":\"i\"}},\
             \"t\":{\"$timestamp\":{\"t\":1,\"i\":2}},\"n\":{\"$numberDouble\":\"NaN\"},\"i\":{\"$numberDouble\":\"-Infinity\"},\
             \"min\":{\"$minKey\":1},\"max\":{\"$maxKey\":1},\"u\":{\"$undefined\":true},\"c\":\"line\\nend\\u0001\"}"
        );
    }

    #[test]
    fn what_is_nested_without_end_is_refused() {
        let mut document = rawdoc! {};
        for _ in 0..300 {
            document = rawdoc! {"a": document};
        }
        assert_eq!(canonical(&document), Err(InvalidDocument::TooDeep));
    }

    proptest! {
        #[test]
        fn any_text_is_a_json_string(text in any::<String>()) {
            let written = of(doc! {"a": &text});
            let read: serde_json::Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(read["a"].as_str(), Some(text.as_str()));
        }

        #[test]
        fn any_double_is_read_back_bit_by_bit(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            let read: f64 = double(number).parse().unwrap();
            prop_assert!(read.to_bits() == bits || (read.is_nan() && number.is_nan()));
        }
    }
}
