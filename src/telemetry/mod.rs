//! Logging and progress: everything that goes to standard error beside the final error.
//!
//! On a terminal progress is drawn as bars and the log is quiet; elsewhere progress is log lines,
//! so that a CronJob's log tells what happened.

mod bars;
mod lines;
mod log;

use std::{io::IsTerminal, sync::Arc};

pub use log::{InvalidFilter, LogFormat, LogOptions};

use crate::types::{Monitor, Silent};

/// Where progress and log lines go, for the life of the process.
#[derive(Debug, Clone)]
pub struct Telemetry(Progress);

#[derive(Debug, Clone)]
enum Progress {
    Silent,
    Bars(bars::Bars),
    Lines(Arc<lines::Lines>),
}

impl Telemetry {
    /// Sets up the log and the progress of this process; to be called once.
    ///
    /// # Errors
    /// [`InvalidFilter`] if `DRCTL_LOG` cannot be read.
    pub fn start(options: LogOptions) -> Result<Self, InvalidFilter> {
        let terminal = std::io::stderr().is_terminal();
        let progress = match (options.verbosity, terminal && options.format == LogFormat::Auto) {
            (..0, _) => Progress::Silent,
            (_, true) => Progress::Bars(bars::Bars::new()),
            (_, false) => Progress::Lines(Arc::new(lines::Lines::new())),
        };
        let bars = match &progress {
            Progress::Bars(bars) => Some(bars.clone()),
            _ => None,
        };
        log::start(options, terminal, bars)?;
        Ok(Self(progress))
    }

    /// Who hears of progress.
    #[must_use]
    pub fn monitor(&self) -> Arc<dyn Monitor> {
        match &self.0 {
            Progress::Silent => Arc::new(Silent),
            Progress::Bars(bars) => Arc::new(bars.clone()),
            Progress::Lines(lines) => Arc::<lines::Lines>::clone(lines),
        }
    }

    /// Ends the present phase: what is printed or asked next stands below it.
    pub fn finish(&self) {
        match &self.0 {
            Progress::Silent => {}
            Progress::Bars(bars) => bars.finish(),
            Progress::Lines(lines) => lines.finish(),
        }
    }
}
