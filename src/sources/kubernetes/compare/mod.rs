//! Whether a live object is what it should be.
//!
//! Every field of the *expected* object (that of the backup, after the restore's recorded
//! transformations) must be equal in the *live* one. What only the live object has is an addition
//! of the server or of a controller: counted, and not a difference. Four things are stricter than
//! that, because nothing adds to them by itself: lists that are compared by position must have the
//! same length, the data of ConfigMaps and Secrets and all selectors must have the same keys, an
//! expected `null` must not have become a value, and what changes what runs or what it may do (one
//! more container, `hostNetwork`, a selector where there was none) counts; `additions` has the table.
//!
//! Numbers are compared as numbers and quantities by what they mean, where the API says that a
//! field is a quantity. All else is compared exactly: `80` and `"80"` are two things to Kubernetes.

mod additions;
mod kind;
mod lists;
mod path;
mod quantity;
mod server_set;
mod shown;
#[cfg(test)]
pub(crate) mod tests;

use serde::Serialize;
use serde_json::{Map, Value};

pub(crate) use kind::GroupKind;
use lists::ListRule;
use path::{Path, Step};
pub(crate) use quantity::thousandths;
pub use server_set::{SERVER_SET, ServerSet};
pub(crate) use shown::shortened;

/// Deeper values are compared as a whole. No kind of Kubernetes comes near it.
const MAX_DEPTH: usize = 128;

/// One field that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Difference {
    /// Where: `spec.template.spec.containers[name=api].image`.
    pub path: String,
    /// What should be there, shortened; `None` if nothing should.
    pub expected: Option<String>,
    /// What is there, shortened; `None` if nothing is.
    pub live: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let safe = crate::types::for_terminal;
        write!(f, "{}: ", safe(&self.path))?;
        match (&self.expected, &self.live) {
            (Some(expected), Some(live)) if expected == live => f.write_str("differs"),
            (Some(expected), Some(live)) => write!(f, "expected {}, is {}", safe(expected), safe(live)),
            (Some(expected), None) => write!(f, "expected {}, is missing", safe(expected)),
            (None, Some(live)) => write!(f, "expected nothing, is {}", safe(live)),
            (None, None) => f.write_str("differs"),
        }
    }
}

/// What comparing two objects found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The expected fields that are not equal live.
    pub differences: Vec<Difference>,
    /// The fields that only the live object has, as paths.
    pub additions: Vec<String>,
}

impl Comparison {
    /// Whether every expected field is equal live.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Compares a live object with the expected one.
#[must_use]
pub fn compare(expected: &Value, live: &Value) -> Comparison {
    walk(expected, live, Mode::Restored)
}

/// What changed from one version of an object to another: what was added counts as much as what is gone. What the
/// server sets is left out, and so is everything else that a comparison leaves out. Values of Secrets are never
/// shown; those that may be one (`shown` has the table) only with `reveal`.
#[must_use]
pub fn changes(old: &Value, new: &Value, reveal: bool) -> Vec<Difference> {
    walk(old, new, Mode::Versions { reveal }).differences
}

/// What two objects are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// What should be there, and what is.
    Restored,
    /// Two versions of one object.
    Versions {
        /// Values that may be secret are shown.
        reveal: bool,
    },
}

fn walk(expected: &Value, live: &Value, mode: Mode) -> Comparison {
    let kind = GroupKind::of(expected);
    let aggregated = expected.get("aggregationRule").is_some_and(|rule| !rule.is_null());
    let mut walk = Walk {
        kind,
        mode,
        aggregated,
        token: expected.get("type").and_then(Value::as_str) == Some("kubernetes.io/service-account-token"),
        path: Path::default(),
        pattern: String::new(),
        found: Comparison::default(),
    };
    walk.value(expected, live);
    walk.found
}

struct Walk<'a> {
    kind: GroupKind<'a>,
    mode: Mode,
    aggregated: bool,
    token: bool,
    path: Path,
    pattern: String,
    found: Comparison,
}

impl Walk<'_> {
    fn value(&mut self, expected: &Value, live: &Value) {
        match (expected, live) {
            (Value::Object(expected), Value::Object(live)) if self.path.depth() < MAX_DEPTH => self.map(expected, live),
            (Value::Array(expected), Value::Array(live)) if self.path.depth() < MAX_DEPTH => self.list(expected, live),
            _ if self.scalar_equal(expected, live) => {}
            _ => self.differ(Some(expected), Some(live)),
        }
    }

    fn scalar_equal(&mut self, expected: &Value, live: &Value) -> bool {
        match (expected, live) {
            (Value::Number(expected), Value::Number(live)) if expected.is_f64() || live.is_f64() => {
                expected.as_f64() == live.as_f64()
            }
            (Value::String(expected), Value::String(live)) if expected != live => {
                self.path.pattern(&mut self.pattern);
                self.mode == Mode::Restored
                    && quantity::is_at(self.kind, &self.pattern)
                    && quantity::equal(expected, live)
            }
            _ => expected == live,
        }
    }

    fn map(&mut self, expected: &Map<String, Value>, live: &Map<String, Value>) {
        for (key, expected) in expected {
            self.path.push(Step::Key(key.clone()));
            if !self.is_left_out() {
                match live.get(key) {
                    Some(live) => self.value(expected, live),
                    None if expected.is_null() => {}
                    None => self.differ(Some(expected), None),
                }
            }
            self.path.pop();
        }
        if live.len() > expected.len() || live.keys().any(|key| !expected.contains_key(key)) {
            let exact = self.is_exact_map();
            for (key, live) in live.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                self.path.push(Step::Key(key.clone()));
                if !self.is_left_out() {
                    if exact { self.differ(None, Some(live)) } else { self.added(live) }
                }
                self.path.pop();
            }
        }
    }

    fn list(&mut self, expected: &[Value], live: &[Value]) {
        self.path.pattern(&mut self.pattern);
        match lists::rule_of(self.kind, &self.pattern) {
            ListRule::Keys(keys) if all_objects(expected, live) => self.keyed(keys, expected, live, false),
            ListRule::OrderedKeys(keys) if all_objects(expected, live) => self.keyed(keys, expected, live, true),
            ListRule::Set => self.set(expected, live),
            _ => self.positions(expected, live),
        }
    }

    fn positions(&mut self, expected: &[Value], live: &[Value]) {
        for index in 0..expected.len().max(live.len()) {
            self.path.push(Step::Index(index));
            match (expected.get(index), live.get(index)) {
                (Some(expected), Some(live)) => self.value(expected, live),
                (expected, live) => self.differ(expected, live),
            }
            self.path.pop();
        }
    }

    fn keyed(&mut self, keys: &'static [&'static str], expected: &[Value], live: &[Value], ordered: bool) {
        let versions = self.mode != Mode::Restored;
        let exact = additions::is_exact_list(self.kind, &self.pattern);
        let live_keys = identities(keys, live);
        let mut used = vec![false; live.len()];
        let mut order = Vec::new();
        for (expected, (key, nth)) in expected.iter().zip(identities(keys, expected)) {
            let place = live_keys.iter().position(|(other, n)| *other == key && *n == nth);
            self.path.push(Step::Item(keys.iter().copied().zip(key).collect(), nth));
            match place.and_then(|place| live.get(place).map(|live| (place, live))) {
                Some((place, live)) => {
                    if let Some(used) = used.get_mut(place) {
                        *used = true;
                    }
                    order.push(place);
                    self.value(expected, live);
                }
                None => self.differ(Some(expected), None),
            }
            self.path.pop();
        }
        if ordered && !order.is_sorted() {
            self.order_differs();
        }
        // Where an item is missing, one more may be the same under another name: one difference.
        let exact = versions || (exact && order.len() == expected.len());
        for (((key, nth), _), live) in live_keys.into_iter().zip(used).zip(live).filter(|((_, used), _)| !used) {
            self.path.push(Step::Item(keys.iter().copied().zip(key).collect(), nth));
            if exact {
                self.differ(None, Some(live))
            } else {
                self.found.additions.push(self.path.to_string())
            }
            self.path.pop();
        }
    }

    fn set(&mut self, expected: &[Value], live: &[Value]) {
        for element in expected.iter().filter(|element| !live.contains(element)) {
            self.path.push(Step::Element(plain(element)));
            self.differ(Some(element), None);
            self.path.pop();
        }
        for element in live.iter().filter(|element| !expected.contains(element)) {
            self.path.push(Step::Element(plain(element)));
            match self.mode {
                Mode::Restored => self.found.additions.push(self.path.to_string()),
                Mode::Versions { .. } => self.differ(None, Some(element)),
            }
            self.path.pop();
        }
    }

    /// What only the live object has: an addition, unless something in it counts.
    fn added(&mut self, live: &Value) {
        let before = self.found.differences.len();
        self.differ_where_it_counts(live);
        if self.found.differences.len() == before {
            self.found.additions.push(self.path.to_string());
        }
    }

    fn differ_where_it_counts(&mut self, live: &Value) {
        self.path.pattern(&mut self.pattern);
        // The token controller fills in the data of its own.
        let fills = self.token && self.pattern == "data";
        if !fills && additions::counts(self.kind, &self.pattern, live) {
            return self.differ(None, Some(live));
        }
        let inside = live.as_object().filter(|_| self.path.depth() < MAX_DEPTH && additions::has_rows(self.kind));
        for (key, live) in inside.into_iter().flatten() {
            self.path.push(Step::Key(key.clone()));
            self.differ_where_it_counts(live);
            self.path.pop();
        }
    }

    fn is_left_out(&mut self) -> bool {
        let may_be = self.path.first().is_some_and(|field| server_set::ROOTS.contains(&field));
        if !may_be || self.path.depth() > server_set::DEEPEST {
            return false;
        }
        self.path.pattern(&mut self.pattern);
        server_set::is_server_set(self.kind, &self.pattern, self.aggregated)
    }

    /// Maps to which neither the server nor a controller adds: one more key is another content.
    fn is_exact_map(&mut self) -> bool {
        if self.mode != Mode::Restored {
            return true;
        }
        self.path.pattern(&mut self.pattern);
        let last = self.pattern.rsplit('.').next().unwrap_or_default();
        match (self.kind.group, self.kind.kind) {
            ("", "ConfigMap") => matches!(self.pattern.as_str(), "data" | "binaryData"),
            // The token controller fills in the data of its own.
            ("", "Secret") => self.pattern == "data" && !self.token,
            ("", "Service") => self.pattern == "spec.selector",
            ("storage.k8s.io", "StorageClass") => self.pattern == "parameters",
            // The Job controller adds its label to the selector that it makes.
            ("batch", "Job") => false,
            ("admissionregistration.k8s.io" | "apps" | "batch" | "networking.k8s.io" | "policy", _) => {
                last == "matchLabels"
            }
            _ => false,
        }
    }

    fn differ(&mut self, expected: Option<&Value>, live: Option<&Value>) {
        let reveal = self.mode == Mode::Versions { reveal: true };
        let show = |value: &Value| shown::show(self.kind, &self.path, value, reveal);
        self.found.differences.push(Difference {
            path: self.path.to_string(),
            expected: expected.map(show),
            live: live.map(show),
        });
    }

    fn order_differs(&mut self) {
        self.found.differences.push(Difference {
            path: self.path.to_string(),
            expected: Some("its order".to_owned()),
            live: Some("another order".to_owned()),
        });
    }
}

fn all_objects(expected: &[Value], live: &[Value]) -> bool {
    expected.iter().chain(live).all(Value::is_object)
}

/// The key values of each item, and how many items with the same ones stand before it.
fn identities(keys: &[&str], items: &[Value]) -> Vec<(Vec<String>, usize)> {
    let mut seen: std::collections::HashMap<Vec<String>, usize> = std::collections::HashMap::new();
    let mut found = Vec::with_capacity(items.len());
    for item in items {
        let key: Vec<String> = keys.iter().map(|key| item.get(*key).map(plain).unwrap_or_default()).collect();
        let count = seen.entry(key.clone()).or_default();
        found.push((key, *count));
        *count += 1;
    }
    found
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
