//! Texts that many objects of a plan share.

/// A text that many entries may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Reason(u32);

/// The texts of a plan; number 0 is none.
#[derive(Debug, Clone, Default)]
pub(super) struct Reasons {
    texts: Vec<String>,
    numbers: std::collections::HashMap<String, u32>,
}

/// This many different texts are kept; more of them become one general text. A plan of a million
/// conflicts stays small that way.
const MAX_REASONS: usize = 5_000;

impl Reasons {
    pub(super) fn intern(&mut self, text: &str) -> Reason {
        if text.is_empty() {
            return Reason::default();
        }
        if let Some(number) = self.numbers.get(text) {
            return Reason(*number);
        }
        let text =
            if self.texts.len() < MAX_REASONS { text } else { "as others of its kind (too many to name each reason)" };
        if let Some(number) = self.numbers.get(text) {
            return Reason(*number);
        }
        self.texts.push(text.to_owned());
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text.to_owned(), number);
        Reason(number)
    }

    pub(super) fn text(&self, reason: Reason) -> &str {
        let place = usize::try_from(reason.0).unwrap_or(usize::MAX).wrapping_sub(1);
        self.texts.get(place).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_different_texts_are_kept_and_no_more() {
        let mut reasons = Reasons::default();
        for number in 0..20_000 {
            reasons.intern(&format!("reason {number}"));
        }
        assert!(reasons.texts.len() <= MAX_REASONS + 1);
        let last = reasons.intern("reason 19999");
        assert!(reasons.text(last).contains("too many"));
        let first = reasons.intern("reason 0");
        assert_eq!(reasons.text(first), "reason 0");
    }
}
