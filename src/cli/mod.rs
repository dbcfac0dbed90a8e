//! The command line: arguments → options → one operation → output → exit code.
//!
//! One file a command. A command file holds no loop over domain data and decides no exit code by
//! number: `exit` does.

mod args;
mod completions;
mod exit;
mod output;
mod policy;
mod select;

use clap::Parser;

pub use args::Cli;
pub use exit::{Exit, Failure};

use args::Command;

use crate::telemetry::Telemetry;

/// Runs the command line of this process; to be called once, by `main`.
#[must_use]
pub fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come here too. A reader that has left is no error.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let ended = Telemetry::start(cli.global.log_options()).map_err(Failure::from).and_then(|telemetry| {
        let ended = dispatch(&cli, &telemetry);
        telemetry.finish();
        ended
    });
    ended.unwrap_or_else(|failure| {
        failure.show();
        failure.exit
    })
}

fn dispatch(cli: &Cli, _telemetry: &Telemetry) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Policy(command) => policy::run(command, &cli.global),
        Command::Completions(args) => completions::run(args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        fn without(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            let leaf = command.get_subcommands().next().is_none();
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if leaf && !help.contains("Example") {
                found.push(path.clone());
            }
            command.get_subcommands().for_each(|inner| without(inner, &path, found));
        }
        let mut found = Vec::new();
        without(&Cli::command(), "", &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
