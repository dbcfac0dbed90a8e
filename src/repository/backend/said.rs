//! Words of client libraries and servers, made fit to be passed on: one line, not too long, safe for a terminal.

use std::error::Error as StdError;

/// What a client library and a store said, on one line and without anything of the request: a
/// request holds signatures.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Said(pub(super) String);

/// The longest text of a server that is passed on, in characters.
const LONGEST: usize = 300;

/// `error` and all that caused it, each text once.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = shortened(&error.to_string());
        if !text.is_empty() && !texts.iter().any(|before| before.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

/// The beginning of `text`, safe for a terminal.
pub(super) fn shortened(text: &str) -> String {
    let line: String = text.chars().take(LONGEST).collect();
    crate::types::for_terminal(line.trim()).into_owned()
}
