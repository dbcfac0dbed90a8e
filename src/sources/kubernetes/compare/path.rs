//! Where in an object a value stands, written as a person would: `spec.containers[name=api].image`.

use std::fmt;

/// One step from a value to a value inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A field, or a key of a map.
    Key(String),
    /// A place in a list that is compared by position.
    Index(usize),
    /// An item of a list that is compared by its keys; the number tells items with equal keys apart.
    Item(Vec<(&'static str, String)>, usize),
    /// An element of a set.
    Element(String),
}

/// A path that grows and shrinks while an object is walked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

impl Path {
    pub(crate) fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    /// The field of the object that the path begins with.
    pub(crate) fn first(&self) -> Option<&str> {
        match self.0.first() {
            Some(Step::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// The steps on the way.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    pub(crate) fn depth(&self) -> usize {
        self.0.len()
    }

    /// The path without what tells items and keys of maps apart, for tables:
    /// `spec.containers[].image`. Written into `pattern`, which is cleared first.
    pub(crate) fn pattern(&self, pattern: &mut String) {
        pattern.clear();
        for step in &self.0 {
            match step {
                Step::Key(key) => {
                    if !pattern.is_empty() {
                        pattern.push('.');
                    }
                    pattern.push_str(key);
                }
                _ => pattern.push_str("[]"),
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if is_plain(key) => {
                    if place > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(key)?;
                }
                Step::Key(key) | Step::Element(key) => write!(f, "[{key:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Item(keys, nth) => write_item(f, keys, *nth)?,
            }
        }
        Ok(())
    }
}

fn write_item(f: &mut fmt::Formatter<'_>, keys: &[(&str, String)], nth: usize) -> fmt::Result {
    f.write_str("[")?;
    let mut first = true;
    for (key, value) in keys.iter().filter(|(_, value)| !value.is_empty()) {
        if !first {
            f.write_str(",")?;
        }
        first = false;
        write!(f, "{key}={}", value.escape_debug())?;
    }
    if nth > 0 {
        write!(f, "#{}", nth + 1)?;
    }
    f.write_str("]")
}

/// Whether a key needs no brackets: a field's name, as the API writes them.
fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_a_person_would_write_it() {
        let mut path = Path::default();
        assert_eq!(path.to_string(), ".");
        path.push(Step::Key("spec".into()));
        path.push(Step::Key("ports".into()));
        path.push(Step::Item(vec![("port", "80".into()), ("protocol", "TCP".into())], 1));
        assert_eq!(path.to_string(), "spec.ports[port=80,protocol=TCP#2]");
        let mut pattern = String::new();
        path.pattern(&mut pattern);
        assert_eq!(pattern, "spec.ports[]");
    }

    #[test]
    fn keys_with_dots_stand_in_brackets_and_control_characters_are_escaped() {
        let mut path = Path::default();
        path.push(Step::Key("metadata".into()));
        path.push(Step::Key("annotations".into()));
        path.push(Step::Key("a.b/c\u{1b}".into()));
        assert_eq!(path.to_string(), r#"metadata.annotations["a.b/c\u{1b}"]"#);
    }
}
