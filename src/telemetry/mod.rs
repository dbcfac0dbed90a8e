//! Logging and progress: everything that goes to standard error beside the final error.
//!
//! On a terminal progress is drawn as bars and the log is quiet; elsewhere progress is log lines,
//! so that a CronJob's log tells what happened.

mod bars;
mod lines;
mod log;

use std::{io::IsTerminal, sync::Arc};

pub use log::{InvalidFilter, LogFormat, LogOptions};

use crate::types::Monitor;

/// Where progress and log lines go, for the life of the process.
#[derive(Debug, Clone)]
pub struct Telemetry {
    monitor: Arc<dyn Monitor>,
    bars: Option<bars::Bars>,
}

impl Telemetry {
    /// Sets up the log and the progress of this process; to be called once.
    ///
    /// # Errors
    /// [`InvalidFilter`] if `DRCTL_LOG` cannot be read.
    pub fn start(options: LogOptions) -> Result<Self, InvalidFilter> {
        let terminal = std::io::stderr().is_terminal();
        let draw = terminal && options.format == LogFormat::Auto && options.verbosity >= 0;
        let bars = draw.then(bars::Bars::new);
        log::start(options, terminal, bars.clone())?;
        let monitor: Arc<dyn Monitor> = match (&bars, options.verbosity) {
            (_, ..0) => Arc::new(crate::types::Silent),
            (Some(bars), _) => Arc::new(bars.clone()),
            (None, _) => Arc::new(lines::Lines::new()),
        };
        Ok(Self { monitor, bars })
    }

    /// Who hears of progress.
    #[must_use]
    pub fn monitor(&self) -> Arc<dyn Monitor> {
        Arc::clone(&self.monitor)
    }

    /// Runs `f` with the bars taken off the screen, so that it can print or ask.
    pub fn suspend<T>(&self, f: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(f),
            None => f(),
        }
    }

    /// Ends the bars: what is printed next stands below them.
    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.finish();
        }
    }
}
