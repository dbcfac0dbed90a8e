//! Ctrl-C and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{exit::Exit, say::Say};

/// Cancels `cancel` on the first Ctrl-C or SIGTERM, so that the run ends in order, and ends the
/// process on the second.
pub(super) fn watch(cancel: CancellationToken, say: Say) -> std::io::Result<()> {
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
                say.lines("interrupted: ending what is in flight; once more ends at once\n");
            }
        }
        say.lines("ended at once\n");
        abort();
    });
    Ok(())
}

#[expect(clippy::exit, reason = "a second Ctrl-C means that the person does not want to wait")]
fn abort() {
    std::process::exit(Exit::Interrupted as i32);
}
