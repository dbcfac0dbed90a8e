//! libpq's keyword strings: `host=db port=5432 password='it''s'`.

use super::InvalidUrl;

/// The pairs of a keyword string, in order. Values may stand in quotes, with `\'` and `\\` inside.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, InvalidUrl> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(InvalidUrl::Form)?;
        let name = name.trim_end();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(InvalidUrl::Form);
        }
        let (value, after) = value(after.trim_start())?;
        pairs.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// One value, and what comes after it.
fn value(text: &str) -> Result<(String, &str), InvalidUrl> {
    let (quoted, body) = text.strip_prefix('\'').map_or((false, text), |body| (true, body));
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.push(characters.next().ok_or(InvalidUrl::Form)?.1),
            '\'' if quoted => return Ok((value, body.get(at + 1..).unwrap_or_default())),
            c if !quoted && c.is_whitespace() => return Ok((value, body.get(at..).unwrap_or_default())),
            c => value.push(c),
        }
    }
    if quoted { Err(InvalidUrl::Form) } else { Ok((value, "")) }
}
