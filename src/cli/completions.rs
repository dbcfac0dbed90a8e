//! `drctl completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{
    args::Cli,
    exit::{Exit, Failure},
    output,
};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  drctl completions bash > /etc/bash_completion.d/drctl
  drctl completions zsh > ~/.zfunc/_drctl
  drctl completions fish > ~/.config/fish/completions/drctl.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "drctl", &mut script);
    output::write(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
