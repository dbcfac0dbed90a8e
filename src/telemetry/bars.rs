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
    present: Arc<Mutex<Option<Present>>>,
}

#[derive(Debug)]
struct Present {
    bar: ProgressBar,
    /// Steps are shown: their number is known, or there has been one.
    counts: bool,
}

const OF_MANY: &str = "{prefix:30} [{bar:30}] {human_pos}/{human_len} {msg}  {elapsed}";
const OF_UNKNOWN: &str = "{prefix:30} {spinner} {human_pos} {msg}  {elapsed}";
const ONE_STEP: &str = "{prefix:30} {spinner}  {elapsed}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
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
        if let Some(before) = self.present.lock().unwrap_or_else(PoisonError::into_inner).take() {
            before.bar.finish();
        }
    }
}

impl Monitor for Bars {
    fn phase(&self, name: &str, unit: &str, total: Option<u64>) {
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = present.take() {
            before.bar.finish();
        }
        let bar = self.screen.add(bar);
        bar.set_style(style(if total.is_some() { OF_MANY } else { ONE_STEP }));
        bar.set_prefix(for_terminal(name).into_owned());
        bar.set_message(for_terminal(unit).into_owned());
        bar.enable_steady_tick(TICK);
        *present = Some(Present { bar, counts: total.is_some() });
    }

    fn advance(&self, steps: u64) {
        if let Some(present) = &mut *self.present.lock().unwrap_or_else(PoisonError::into_inner) {
            if !present.counts {
                present.bar.set_style(style(OF_UNKNOWN));
                present.counts = true;
            }
            present.bar.inc(steps);
        }
    }

    fn note(&self, text: &str) {
        // If the terminal is gone there is nobody to tell.
        let _ = self.screen.println(for_terminal(text));
    }
}
