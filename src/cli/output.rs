//! Data on standard output.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::exit::{Exit, Failure};

/// In which form data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum OutputFormat {
    /// Tables and sentences for people; may change with any version.
    #[default]
    Table,
    /// One JSON document, described in docs/schemas.
    Json,
    /// The same document as YAML.
    Yaml,
}

/// `--output`, for commands that print data.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct OutputArgs {
    /// In which form the data is printed
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(super) output: OutputFormat,
}

impl OutputArgs {
    /// Prints `document`; `text` makes the form for people.
    ///
    /// # Errors
    /// [`Failure`] if standard output cannot be written. A reader that has left (`| head`) is no error.
    pub(super) fn print<T: Serialize>(self, document: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let made = match self.output {
            OutputFormat::Table => text(document),
            OutputFormat::Json => to_json(document)?,
            OutputFormat::Yaml => to_yaml(document)?,
        };
        write(&made)
    }
}

fn to_json<T: Serialize>(document: &T) -> Result<String, Failure> {
    let mut json = serde_json::to_string_pretty(document).map_err(|error| Failure::new(Exit::Failed, error))?;
    json.push('\n');
    Ok(json)
}

fn to_yaml<T: Serialize>(document: &T) -> Result<String, Failure> {
    crate::policy::to_yaml(document).map_err(|error| Failure::new(Exit::Failed, error))
}

/// Writes `text` to standard output.
///
/// # Errors
/// [`Failure`] if it cannot be written. A reader that has left (`| head`) is no error.
pub(super) fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}
