//! `drctl man`.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use super::{
    args::Cli,
    exit::{Exit, Failure},
    new_folder::NewFolder,
    output,
};

/// Print the manual page of a command, or write all of them into a folder.
#[derive(Debug, Args)]
#[command(
    after_help = "FOLDER must not be there yet. Its pages are named as `man` looks for them: drctl-policy-check.1.

Examples:
  drctl man | man -l -
  drctl man policy check > drctl-policy-check.1
  drctl man --folder ./man1"
)]
pub struct ManArgs {
    /// The command (default: drctl itself)
    #[arg(conflicts_with = "folder")]
    command: Vec<String>,
    /// Write the pages of all commands into this new folder
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(super) async fn run(args: &ManArgs) -> Result<Exit, Failure> {
    let Some(path) = &args.folder else {
        let command = find(&args.command)?;
        output::write(&page(&command)?)?;
        return Ok(Exit::Done);
    };
    let folder = NewFolder::begin(path, 0o755).await?;
    for (name, page) in pages()? {
        let written = folder.put(&PathBuf::from(name), page.as_bytes()).await;
        written.map_err(|error| Failure::new(Exit::Failed, format!("cannot write a manual page: {error}")))?;
    }
    folder.keep().await?;
    Ok(Exit::Done)
}

/// The commands, each with all that clap adds to it.
fn built() -> clap::Command {
    let mut root = Cli::command();
    root.build();
    root
}

fn find(words: &[String]) -> Result<clap::Command, Failure> {
    let mut command = built();
    for word in words {
        let Some(inner) = command.find_subcommand(word).cloned() else {
            let shown = words.join(" ");
            let what = format!("there is no command `{}`", crate::types::for_terminal(&shown));
            return Err(Failure::usage(what).next("`drctl --help` lists the commands"));
        };
        command = inner;
    }
    Ok(command)
}

/// The pages of all commands: file names and contents.
fn pages() -> Result<Vec<(String, String)>, Failure> {
    fn collect(command: &clap::Command, found: &mut Vec<(String, String)>) -> Result<(), Failure> {
        found.push((Man::new(command.clone()).get_filename(), page(command)?));
        command.get_subcommands().try_for_each(|inner| collect(inner, found))
    }
    let mut found = Vec::new();
    collect(&built(), &mut found)?;
    Ok(found)
}

/// One page. What follows a command's help is its notes and its examples, which stay as they are written.
fn page(command: &clap::Command) -> Result<String, Failure> {
    let source = format!("drctl {}", env!("CARGO_PKG_VERSION"));
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone()).source(source).manual("drctl manual");
    let mut bytes = Vec::new();
    let written = man
        .render_title(&mut bytes)
        .and_then(|()| man.render_name_section(&mut bytes))
        .and_then(|()| man.render_synopsis_section(&mut bytes))
        .and_then(|()| man.render_description_section(&mut bytes))
        .and_then(|()| man.render_options_section(&mut bytes))
        .and_then(|()| match command.has_subcommands() {
            true => man.render_subcommands_section(&mut bytes),
            false => Ok(()),
        })
        .and_then(|()| ending(&help).to_writer(&mut bytes));
    written.map_err(|error| Failure::new(Exit::Failed, format!("cannot make the manual page: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn ending(help: &str) -> Roff {
    let examples = help.find("Examples:\n").or_else(|| help.find("Example:\n")).unwrap_or(help.len());
    let (notes, examples) = help.split_at(examples);
    let mut roff = Roff::default();
    if !notes.trim().is_empty() {
        roff.control("SH", ["NOTES"]);
        roff.text([roman(notes.trim())]);
    }
    if let Some((_, examples)) = examples.split_once('\n') {
        roff.control("SH", ["EXAMPLES"]);
        roff.control("nf", []);
        roff.text([roman(examples.trim_end())]);
        roff.control("fi", []);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_synopsis_and_examples() {
        let pages = pages().unwrap();
        assert!(pages.len() > 20, "{}", pages.len());
        for (name, page) in &pages {
            assert!(name.starts_with("drctl") && name.ends_with(".1"), "{name}");
            assert!(page.contains(".TH drctl") && page.contains(".SH SYNOPSIS"), "{name}: {page}");
            assert!(page.contains(".SH EXAMPLES"), "{name}: {page}");
        }
        let find = |name: &str| &pages.iter().find(|(found, _)| found == name).unwrap().1;
        let check = find("drctl-policy-check.1");
        assert!(check.contains("drctl policy check"), "{check}");
        let examples = check.split_once(".SH EXAMPLES").unwrap().1;
        assert!(examples.contains("drctl policy check \\-f policies/orders.yaml"), "{examples}");
    }

    #[test]
    fn a_command_that_is_none_is_named() {
        let words = ["policy", "nope"].map(str::to_owned);
        assert!(find(&words).unwrap_err().text().contains("there is no command `policy nope`"));
        assert_eq!(find(&["policy".to_owned()]).unwrap().get_name(), "policy");
    }
}
