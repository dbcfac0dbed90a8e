//! A restore that stops at a point until the test lets it go on, or kills it.

#![allow(dead_code, reason = "not every helper has a user in every state of the tests")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::PathBuf,
    process::{Child, Stdio},
};

use super::{
    program::Ended,
    workshop::{Workshop, wait_for},
};

/// A run of `drctl` that stands at a point.
#[derive(Debug)]
pub(crate) struct Paused {
    child: Child,
    file: PathBuf,
}

impl Paused {
    /// Starts `drctl` and waits until it stands at `point`: `loaded`, `built`, `twin`, `ready`, `closed`, `ended`, `swapped`.
    #[track_caller]
    pub(crate) fn at(workshop: &Workshop, point: &str, args: &[&str]) -> Self {
        let file = workshop.folder().join(format!("go-on-{point}"));
        let reached = file.with_extension("reached");
        let _ = fs::remove_file(&reached);
        let _ = fs::remove_file(&file);
        let mut command = workshop.command(args);
        command.env("DRCTL_TEST_PAUSE", format!("{point}:{}", file.display()));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let ended = wait_for("the point", 120, || match child.try_wait().unwrap() {
            Some(_) => Some(true),
            None => reached.exists().then_some(false),
        });
        if ended {
            let ended: Ended = child.wait_with_output().unwrap().into();
            panic!("it ended before {point}: {ended:?}");
        }
        Self { child, file }
    }

    /// Lets it go on, to its end.
    pub(crate) fn go_on(self) -> Ended {
        fs::write(&self.file, b"").unwrap();
        self.child.wait_with_output().unwrap().into()
    }

    /// Interrupts it as Ctrl-C does, and then lets it go on, to its end.
    pub(crate) fn interrupt_and_go_on(mut self) -> Ended {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let (mut stderr, mut said) = (BufReader::new(self.child.stderr.take().unwrap()), String::new());
        while !said.contains("interrupted: ") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "it ended: {said}");
        }
        let rest = std::thread::spawn(move || stderr.read_to_string(&mut said).map(|_| said));
        let ended = self.go_on();
        Ended { stderr: rest.join().unwrap().unwrap(), ..ended }
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
