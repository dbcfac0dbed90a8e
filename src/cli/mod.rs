//! The command line: arguments → options → one operation → output → exit code.
//!
//! One file a command. A command file holds no loop over domain data and decides no exit code by
//! number: `exit` does.

mod accept;
mod args;
mod backup;
mod cluster_secret;
mod completions;
mod confirm;
mod context;
mod copy;
mod diff;
mod doctor;
mod duration;
mod exit;
mod export;
mod export_mongodb;
mod export_objects;
mod from_velero;
mod history;
mod list;
mod man;
mod mark;
mod new_file;
mod new_folder;
mod output;
mod policy;
mod prune;
mod recipients;
mod repository;
mod restore;
mod restore_agree;
mod restore_asked;
mod restore_conflict;
mod restore_databases;
mod restore_databases_text;
mod restore_kept;
mod restore_mongodb;
mod restore_next;
mod restore_plan;
mod restore_text;
mod restore_undo;
mod say;
mod show;
mod show_objects;
mod show_plan;
mod signals;
mod streamed;
mod verify;

use clap::Parser;

pub use args::Cli;
pub use exit::{Exit, Failure};

use args::Command;
use context::Context;
use say::Say;

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
        Say::new(cli.global.log_format).failure(&failure);
        failure.exit
    })
}

fn dispatch(cli: &Cli, telemetry: &Telemetry) -> Result<Exit, Failure> {
    let context = Context::new(&cli.global, telemetry);
    if cli.global.as_of.is_some() && !cli.command.only_reads() {
        return Err(Failure::usage("--as-of goes only with commands that read a repository and change nothing in it")
            .next("leave --as-of out: nothing can be written into an earlier time"));
    }
    if cli.global.copy.is_some() && !cli.command.takes_a_copy() {
        return Err(Failure::usage("--copy goes only with commands that read backups, mark them or prune them")
            .next("`drctl copy --to NAME` brings backups into a copy, and `drctl doctor` looks at all of them"));
    }
    match &cli.command {
        Command::Backup(args) => context.block_on(backup::run(args, &context)),
        Command::List(args) => context.block_on(list::run(args, &context)),
        Command::Show(args) => context.block_on(show::run(args, &context)),
        Command::Verify(args) => context.block_on(verify::run(args, &context)),
        Command::Restore(args) => context.block_on(restore::run(args, &context)),
        Command::Export(args) => context.block_on(export::run(args, &context)),
        Command::Diff(args) => context.block_on(diff::run(args, &context)),
        Command::History(args) => context.block_on(history::run(args, &context)),
        Command::Accept(args) => context.block_on(accept::run(args, &context)),
        Command::Prune(args) => context.block_on(prune::run(args, &context)),
        Command::Pin(args) => context.block_on(mark::pin(args, &context)),
        Command::Unpin(args) => context.block_on(mark::unpin(args, &context)),
        Command::Delete(args) => context.block_on(mark::delete(args, &context)),
        Command::Copy(args) => context.block_on(copy::run(args, &context)),
        Command::Doctor(args) => context.block_on(doctor::run(args, &context)),
        Command::Policy(command) => policy::run(command, &context),
        Command::Repository(command) => context.block_on(repository::run(command, &context)),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => context.block_on(man::run(args)),
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
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            if !help.contains("Example") {
                found.push(path.clone());
            }
            command.get_subcommands().for_each(|inner| without(inner, &path, found));
        }
        let mut found = Vec::new();
        without(&Cli::command(), "", &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
