//! Data on standard output.

use std::io::{self, BufWriter, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    exit::{Exit, Failure},
    say::Say,
};
use crate::{
    policy::to_yaml,
    report::{Document, Printed},
    types::lines_for_terminal,
};

/// In which form data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
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
pub struct OutputArgs {
    /// In which form the data is printed
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: OutputFormat,
}

impl OutputArgs {
    /// Prints `document`; `text` makes the form for people.
    ///
    /// # Errors
    /// [`Failure`] if standard output cannot be written. A reader that has left (`| head`) is no error.
    pub(super) fn print<T: Document>(self, document: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        match self.output {
            OutputFormat::Table => write(&lines_for_terminal(&text(document))),
            _ => self.print_data(&Printed::new(document)),
        }
    }

    /// As [`Self::print`], of something that is done and cannot be undone: if it cannot be printed, `done` is
    /// said on standard error, so that the failure is not taken for that of the command's work.
    pub(super) fn print_done<T: Document>(
        self,
        document: &T,
        text: impl FnOnce(&T) -> String,
        (say, done): (Say, &str),
    ) -> Result<(), Failure> {
        self.print(document, text)
            .inspect_err(|_| say.lines(&format!("{done}, and only its report cannot be printed\n")))
    }

    /// Prints a document that says its own `apiVersion` and `kind`; as YAML if it is for people.
    pub(super) fn print_data<T: Serialize>(self, document: &T) -> Result<(), Failure> {
        match self.output {
            OutputFormat::Json => write_json(document),
            OutputFormat::Table | OutputFormat::Yaml => {
                write(&to_yaml(document).map_err(|error| Failure::new(Exit::Failed, error))?)
            }
        }
    }
}

/// Writes JSON as it is made: a plan of many objects is never a text in memory.
fn write_json<T: Serialize>(document: &T) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut out, document).map_err(io::Error::from);
    ended(written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()))
}

/// Writes `text` to standard output.
///
/// # Errors
/// [`Failure`] if it cannot be written. A reader that has left (`| head`) is no error.
pub(super) fn write(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    ended(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn ended(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}
