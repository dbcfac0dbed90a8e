//! Texts of a database that has no encoding.

use tokio_postgres::types::{FromSql, Type};

/// A text as the server sends it. In a database with SQL_ASCII it may be text in no encoding.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The text; what is none is shown by replacement characters.
    pub(crate) text: String,
    /// The text is what was sent.
    pub(crate) exact: bool,
}

impl<'a> FromSql<'a> for Sent {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let text = String::from_utf8_lossy(raw);
        Ok(Self { exact: matches!(text, std::borrow::Cow::Borrowed(_)), text: text.into_owned() })
    }

    fn accepts(of: &Type) -> bool {
        <String as FromSql>::accepts(of)
    }
}
