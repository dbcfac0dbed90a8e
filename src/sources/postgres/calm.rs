//! A connection whose reader looks away for a moment while much comes.
//!
//! A server sends rows in pieces of 8 KiB. A reader that is quicker sleeps after each of them, and to wake it costs the
//! server more time than the piece itself, most of all in a virtual machine: half of the time of a large `COPY` was spent
//! so. A reader that looks away for [`MOMENT`] finds many pieces, and was woken by nobody.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// For how long it looks away: at 1 GB/s less comes in it than a socket holds, so that the server need not wait.
const MOMENT: Duration = Duration::from_micros(200);
/// As much is only read at once where more is to come.
const MUCH: usize = 4 << 10;

/// A stream that is read by a thread of its own, which has nothing else to do: it sleeps while the stream does.
#[derive(Debug)]
pub(super) struct Calm<S> {
    inner: S,
    /// Whether it looks away at all.
    calm: bool,
    /// Whether much has come at the last look.
    flowing: bool,
}

impl<S> Calm<S> {
    /// A stream that is as before unless `calm`.
    pub(super) fn new(inner: S, calm: bool) -> Self {
        Self { inner, calm, flowing: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Calm<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let was_flowing = std::mem::replace(&mut self.flowing, buffer.filled().len() - before >= MUCH);
        if polled.is_pending() && was_flowing && self.calm {
            // Before the runtime asks the kernel, which would have the server wake it.
            std::thread::sleep(MOMENT);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Calm<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn all_comes_as_it_was_sent_and_after_much_the_reader_looks_away() {
        for calm in [false, true] {
            let (mut far, near) = tokio::io::duplex(64 << 10);
            let mut near = Calm::new(near, calm);
            let mut buffer = vec![0; 64 << 10];
            for (length, much) in [(100, false), (MUCH, true), (3 * MUCH, true), (1, false)] {
                let sent: Vec<u8> = (0..length).map(|n| n as u8).collect();
                far.write_all(&sent).await.unwrap();
                let read = near.read(&mut buffer).await.unwrap();
                assert_eq!((buffer.get(..read), near.flowing), (Some(&*sent), much));
                let begin = std::time::Instant::now();
                assert!(near.read(&mut buffer).now_or_never().is_none(), "nothing is there");
                assert!(!(calm && much) || begin.elapsed() >= MOMENT);
                assert!(!near.flowing, "it looks away once");
            }
        }
    }
}
