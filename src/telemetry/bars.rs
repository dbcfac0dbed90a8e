//! Progress on a terminal.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::types::{Monitor, for_terminal};

/// One bar a phase, the finished ones above the present one.
#[derive(Debug, Clone)]
pub(super) struct Bars {
    screen: MultiProgress,
    present: Arc<Mutex<Option<ProgressBar>>>,
}

const TICK: Duration = Duration::from_millis(120);

impl Bars {
    pub(super) fn new() -> Self {
        Self { screen: MultiProgress::new(), present: Arc::default() }
    }

    pub(super) fn suspend<T>(&self, f: impl FnOnce() -> T) -> T {
        self.screen.suspend(f)
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = self.present.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish();
        }
    }
}

impl Monitor for Bars {
    fn phase(&self, name: &str, unit: &str, total: Option<u64>) {
        let template = match total {
            Some(_) => "{prefix:22} [{bar:30}] {human_pos}/{human_len} {msg}  {elapsed}",
            None => "{prefix:22} {spinner} {human_pos} {msg}  {elapsed}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = present.take() {
            before.finish();
        }
        let bar = self.screen.add(bar);
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(for_terminal(name).into_owned());
        bar.set_message(for_terminal(unit).into_owned());
        bar.enable_steady_tick(TICK);
        *present = Some(bar);
    }

    fn advance(&self, steps: u64) {
        if let Some(bar) = &*self.present.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.inc(steps);
        }
    }

    fn note(&self, text: &str) {
        // If the terminal is gone there is nobody to tell.
        let _ = self.screen.println(for_terminal(text));
    }
}
