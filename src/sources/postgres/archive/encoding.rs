//! The encoding of an archive's texts: that of the database, which is not always UTF-8.

use std::borrow::Cow;

/// How texts become Unicode. Rows are never decoded: they stay as they are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Encoding {
    /// UTF-8, and all that is not known. What is none is shown by replacement characters.
    #[default]
    Utf8,
    /// Each byte is the character of that number.
    Latin1,
    /// Another one.
    Other(&'static encoding_rs::Encoding),
}

impl Encoding {
    /// The encoding that PostgreSQL calls `name`.
    pub(super) fn named(name: &str) -> Self {
        let standard = match name {
            "LATIN1" => return Self::Latin1,
            "LATIN2" => "iso-8859-2",
            "LATIN3" => "iso-8859-3",
            "LATIN4" => "iso-8859-4",
            "LATIN5" => "windows-1254",
            "LATIN6" => "iso-8859-10",
            "LATIN7" => "iso-8859-13",
            "LATIN8" => "iso-8859-14",
            "LATIN9" => "iso-8859-15",
            "LATIN10" => "iso-8859-16",
            "ISO_8859_5" => "iso-8859-5",
            "ISO_8859_6" => "iso-8859-6",
            "ISO_8859_7" => "iso-8859-7",
            "ISO_8859_8" => "iso-8859-8",
            "KOI8R" => "koi8-r",
            "KOI8U" => "koi8-u",
            "WIN866" => "ibm866",
            "WIN874" => "windows-874",
            "WIN1250" => "windows-1250",
            "WIN1251" => "windows-1251",
            "WIN1252" => "windows-1252",
            "WIN1253" => "windows-1253",
            "WIN1254" => "windows-1254",
            "WIN1255" => "windows-1255",
            "WIN1256" => "windows-1256",
            "WIN1257" => "windows-1257",
            "WIN1258" => "windows-1258",
            "EUC_CN" => "gbk",
            "EUC_JP" => "euc-jp",
            "EUC_KR" => "euc-kr",
            _ => return Self::Utf8,
        };
        encoding_rs::Encoding::for_label(standard.as_bytes()).map_or(Self::Utf8, Self::Other)
    }

    /// A text as Unicode.
    pub(super) fn decode<'a>(self, bytes: &'a [u8]) -> Cow<'a, str> {
        let other = match self {
            _ if bytes.is_ascii() => None,
            Self::Utf8 => None,
            Self::Latin1 => return bytes.iter().copied().map(char::from).collect::<String>().into(),
            Self::Other(encoding) => encoding.decode_without_bom_handling_and_without_replacement(bytes),
        };
        other.unwrap_or_else(|| String::from_utf8_lossy(bytes))
    }
}

/// The name in `SET client_encoding = 'UTF8';`.
pub(super) fn name_in(statement: &str) -> Option<&str> {
    statement.trim().strip_prefix("SET client_encoding = '")?.strip_suffix("';")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_the_encoding_of_the_database() {
        for (name, bytes, text) in [
            ("UTF8", "größe".as_bytes(), "größe"),
            ("UTF8", b"gr\xf6\xdfe", "gr\u{fffd}\u{fffd}e"),
            ("LATIN1", b"gr\xf6\xdfe\x85", "größe\u{85}"),
            ("LATIN9", b"\xa4", "€"),
            ("WIN1252", b"\x80", "€"),
            ("KOI8R", b"\xf0\xf2\xe9", "ПРИ"),
            ("EUC_JP", b"\xcb\xdc", "本"),
            ("EUC_JP", b"\xcb", "\u{fffd}"),
            ("SQL_ASCII", b"a\xff", "a\u{fffd}"),
            ("KOI8R", b"plain", "plain"),
        ] {
            assert_eq!(Encoding::named(name).decode(bytes), text, "{name}");
        }
    }

    #[test]
    fn the_statement_names_the_encoding() {
        assert_eq!(name_in("SET client_encoding = 'LATIN1';\n"), Some("LATIN1"));
        assert_eq!(name_in("SET client_encoding = LATIN1"), None);
    }
}
