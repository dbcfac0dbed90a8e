//! A document whose one long list is printed while it is found: nothing of it is held.

use std::{
    io::{self, BufWriter, Stdout, Write},
    ops::ControlFlow,
};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    exit::{Exit, Failure},
    output::OutputFormat,
};
use crate::{
    policy::to_yaml,
    report::{API_VERSION, Document},
};

/// A document that is being printed. What was printed counts only if the program ends well.
#[derive(Debug)]
pub(super) struct Streamed {
    format: OutputFormat,
    out: BufWriter<Stdout>,
    list: &'static str,
    items: u64,
    /// Why nothing more can be printed.
    ended: Option<io::Error>,
}

impl Streamed {
    /// Begins a document of kind `T`: its fields but for `list`, which follows.
    pub(super) fn begin<T: Document>(
        format: OutputFormat,
        head: impl Serialize,
        list: &'static str,
    ) -> Result<Self, Failure> {
        let mut streamed = Self { format, out: BufWriter::new(io::stdout()), list, items: 0, ended: None };
        let mut fields = Map::new();
        fields.insert("apiVersion".to_owned(), API_VERSION.into());
        fields.insert("kind".to_owned(), T::KIND.into());
        let text = match format {
            OutputFormat::Table => String::new(),
            OutputFormat::Json => {
                let mut text = String::from("{");
                for (name, value) in fields.into_iter().chain(object(&head)?) {
                    text.push_str(&format!("{}:{value},", Value::from(name)));
                }
                format!("{text}\n\"{list}\":[")
            }
            OutputFormat::Yaml => format!("{}{}{list}:", yaml(&fields)?, yaml(&object(&head)?)?),
        };
        let _ = streamed.write(&text);
        Ok(streamed)
    }

    /// Prints an item: as data, or as `text` for people. `Break`: nothing more can be printed.
    pub(super) fn item<T: Serialize>(&mut self, item: &T, text: impl FnOnce(&T) -> String) -> ControlFlow<()> {
        let between = if self.items == 0 { "" } else { "," };
        let json = || serde_json::to_string(item).unwrap_or_default();
        let line = match self.format {
            OutputFormat::Table => text(item),
            OutputFormat::Json => format!("{between}\n{}", json()),
            // JSON in one line is YAML.
            OutputFormat::Yaml => format!("\n- {}", json()),
        };
        self.items += 1;
        self.write(&line)
    }

    /// Prints lines for people alone.
    pub(super) fn text(&mut self, text: &str) -> ControlFlow<()> {
        match self.format {
            OutputFormat::Table => self.write(text),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Whether nothing more can be printed.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Ends the document with the fields of `tail`.
    ///
    /// # Errors
    /// [`Failure`] if standard output cannot be written. A reader that has left (`| head`) is no error.
    pub(super) fn end(mut self, tail: impl Serialize) -> Result<(), Failure> {
        let text = match self.format {
            OutputFormat::Table => String::new(),
            OutputFormat::Json => {
                let mut text = String::from("\n]");
                for (name, value) in object(&tail)? {
                    text.push_str(&format!(",\n{}:{value}", Value::from(name)));
                }
                format!("{text}}}\n")
            }
            OutputFormat::Yaml => {
                let none = if self.items == 0 { " []" } else { "" };
                format!("{none}\n{}", yaml(&object(&tail)?)?)
            }
        };
        let _ = self.write(&text);
        if self.ended.is_none() {
            self.ended = self.out.flush().err();
        }
        match self.ended {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(Exit::Failed, format!("cannot write `{}` to standard output: {error}", self.list)))
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, text: &str) -> ControlFlow<()> {
        if self.ended.is_none() {
            self.ended = self.out.write_all(text.as_bytes()).err();
        }
        if self.ended.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn object(value: &impl Serialize) -> Result<Map<String, Value>, Failure> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(Failure::new(Exit::Failed, error)),
    }
}

fn yaml(fields: &Map<String, Value>) -> Result<String, Failure> {
    if fields.is_empty() {
        return Ok(String::new());
    }
    let text = to_yaml(fields).map_err(|error| Failure::new(Exit::Failed, error))?;
    Ok(format!("{}\n", text.trim_end()))
}
