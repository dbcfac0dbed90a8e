//! The log on standard error.

use std::io::{self, Write};

use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use super::bars::Bars;
use crate::types::for_terminal;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Short lines and bars on a terminal, plain lines with the time elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
}

/// What the log shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// How its lines look.
    pub format: LogFormat,
    /// 0 is the default, above it is more, below it only errors.
    pub verbosity: i8,
}

/// `DRCTL_LOG` cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("DRCTL_LOG is `{}`, which is not a log filter; use a level or `target=level`, like `debug` or `drctl=debug,warn`", for_terminal(.filter))]
pub struct InvalidFilter {
    filter: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

const VARIABLE: &str = "DRCTL_LOG";

fn filter(verbosity: i8, terminal: bool) -> Result<EnvFilter, InvalidFilter> {
    if let Some(filter) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let filter = filter.to_string_lossy().into_owned();
        return EnvFilter::try_new(&filter).map_err(|source| InvalidFilter { filter, source });
    }
    // Libraries log each answer that they do not like, which is drctl's to judge and often no
    // failure at all: they are heard only where more is asked for.
    Ok(EnvFilter::new(match (verbosity, terminal) {
        (..0, _) => "off,drctl=error",
        (0, true) => "off,drctl=warn",
        (0, false) => "off,drctl=info",
        (1, _) => "warn,drctl=debug",
        (2, _) => "info,drctl=trace",
        _ => "debug,drctl=trace",
    }))
}

pub(super) fn start(options: LogOptions, terminal: bool, bars: Option<Bars>) -> Result<(), InvalidFilter> {
    let filter = filter(options.verbosity, terminal)?;
    let writer = move || Stderr { bars: bars.clone(), line: Vec::new() };
    let base = fmt::layer().with_writer(writer);
    let layer = match options.format {
        LogFormat::Json => base.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        LogFormat::Auto if terminal => base.without_time().with_target(false).with_ansi(colour()).boxed(),
        LogFormat::Auto => base.with_target(false).with_ansi(false).boxed(),
    };
    // A second start in one process (tests) leaves the first as it is.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    Ok(())
}

/// Whether colour may be used: `NO_COLOR` is not set, or empty.
fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Standard error, with the bars taken off while a line is written.
struct Stderr {
    bars: Option<Bars>,
    line: Vec<u8>,
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        match &self.bars {
            Some(bars) => bars.suspend(|| io::stderr().write_all(&line)),
            None => io::stderr().write_all(&line),
        }
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        // There is nobody left to tell that standard error is gone.
        let _ = self.flush();
    }
}
