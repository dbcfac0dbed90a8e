//! How work tells of its progress.

use std::fmt::Debug;

/// Hears what a run is doing. Implementations draw bars or write log lines; logic never prints.
///
/// One phase follows the other; [`Monitor::advance`] counts in the latest one. All methods may be
/// called from several tasks at once and must return at once.
pub trait Monitor: Debug + Send + Sync {
    /// A phase begins: `name` is what is being done (`reading`, `creating objects`), `total` how
    /// many steps of `unit` it has, if that is known.
    fn phase(&self, name: &str, unit: &str, total: Option<u64>);

    /// `steps` more steps of the present phase are done.
    fn advance(&self, steps: u64);

    /// One thing that a person should know now and that is no step: `text` is a whole sentence.
    fn note(&self, text: &str);
}

/// A monitor that hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn phase(&self, _name: &str, _unit: &str, _total: Option<u64>) {}
    fn advance(&self, _steps: u64) {}
    fn note(&self, _text: &str) {}
}
