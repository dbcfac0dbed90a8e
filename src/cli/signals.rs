//! Ctrl-C and SIGTERM.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;

/// Cancels `cancel` on the first Ctrl-C or SIGTERM, so that the run ends in order, and ends the
/// process on the second.
pub(super) fn watch(cancel: CancellationToken) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                cancel.cancel();
                say("interrupted: ending what is in flight; once more ends at once");
            }
        }
        say("ended at once");
        abort();
    });
    Ok(())
}

fn say(text: &str) {
    // Standard error may be gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[expect(clippy::exit, reason = "a second Ctrl-C means that the person does not want to wait")]
fn abort() {
    std::process::exit(Exit::Interrupted as i32);
}
