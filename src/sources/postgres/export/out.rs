//! Where an export goes: a buffer, and behind it whatever takes bytes.

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::ExportError;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 256 << 10;

/// Gathers what is written, and stops when the run is told to.
pub(super) struct Out<'a> {
    to: &'a mut (dyn AsyncWrite + Unpin + Send),
    cancel: &'a CancellationToken,
    /// What is to be written next; append to it, then call [`Out::pass_on`].
    pub(super) buffer: Vec<u8>,
    written: u64,
}

impl<'a> Out<'a> {
    pub(super) fn new(to: &'a mut (dyn AsyncWrite + Unpin + Send), cancel: &'a CancellationToken) -> Self {
        Self { to, cancel, buffer: Vec::with_capacity(2 * BUFFER), written: 0 }
    }

    /// Writes what is gathered if it is enough.
    pub(super) async fn pass_on(&mut self) -> Result<(), ExportError> {
        if self.buffer.len() < BUFFER { Ok(()) } else { self.write().await }
    }

    async fn write(&mut self) -> Result<(), ExportError> {
        // A reader that has stopped reading must not hold a run that was told to stop.
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(ExportError::Interrupted),
            written = self.to.write_all(&self.buffer) => written.map_err(ExportError::Output)?,
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the rest; how many bytes there were in all.
    pub(super) async fn finish(mut self) -> Result<u64, ExportError> {
        self.write().await?;
        self.to.flush().await.map_err(ExportError::Output)?;
        Ok(self.written)
    }
}
