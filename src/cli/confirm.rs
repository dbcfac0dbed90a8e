//! Questions before something live is changed.

use std::io::{self, BufRead, IsTerminal, Write};

use super::{
    context::Context,
    exit::{Exit, Failure},
};
use crate::types::{for_terminal, lines_for_terminal};

/// What must be answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// `yes`.
    Yes,
    /// This name, letter for letter.
    Name(String),
}

impl Answer {
    fn prompt(&self) -> String {
        match self {
            Self::Yes => "Type yes to go on: ".to_owned(),
            Self::Name(name) => format!("Type the cluster's name, {}, to go on: ", for_terminal(name)),
        }
    }

    fn fits(&self, line: &str) -> bool {
        match self {
            Self::Yes => matches!(line.trim(), "yes" | "y" | "Yes" | "YES"),
            Self::Name(name) => line.trim() == name,
        }
    }
}

/// Whether there is a person to ask.
pub(super) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal, and goes on only with the right answer.
pub(super) async fn ask(context: &Context<'_>, question: &str, answer: Answer) -> Result<(), Failure> {
    context.telemetry.finish();
    let text = format!("{question}\n{}", answer.prompt());
    // A line is waited for in a thread of its own, so that Ctrl-C is heard meanwhile.
    let read = tokio::task::spawn_blocking(move || {
        io::stderr().write_all(lines_for_terminal(&text).as_bytes())?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = tokio::select! {
        line = read => line.map_err(io::Error::other).and_then(|line| line),
        () = context.run.cancel.cancelled() => return Err(not_agreed(Exit::Interrupted)),
    };
    match line {
        Ok(line) if answer.fits(&line) => Ok(()),
        Ok(_) => Err(not_agreed(Exit::CouldNotRun)),
        Err(error) => Err(Failure::new(Exit::CouldNotRun, format!("cannot read the answer: {error}"))),
    }
}

fn not_agreed(exit: Exit) -> Failure {
    Failure::new(exit, "it was not agreed to; nothing was changed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_answer_fits() {
        for yes in ["yes\n", "y\n", " yes \n"] {
            assert!(Answer::Yes.fits(yes), "{yes:?}");
        }
        for no in ["", "\n", "no\n", "yess\n"] {
            assert!(!Answer::Yes.fits(no), "{no:?}");
        }
        let name = Answer::Name("prod".to_owned());
        assert!(name.fits("prod\n"));
        for other in ["", "yes\n", "Prod\n", "prod2\n"] {
            assert!(!name.fits(other), "{other:?}");
        }
    }
}
