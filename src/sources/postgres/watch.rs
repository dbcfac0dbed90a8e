//! Sees which backend a server says that it is: the one thing that tells a server from a pooler.
//!
//! tokio-postgres keeps the process number of `BackendKeyData` to itself, so the bytes are looked at
//! as they pass. A pooler makes that number up; `pg_backend_pid()` is the real one.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// The process number that the server announced; 0 until then.
#[derive(Debug, Clone, Default)]
pub(super) struct Announced(Arc<AtomicI32>);

impl Announced {
    pub(super) fn pid(&self) -> i32 {
        self.0.load(Ordering::Acquire)
    }
}

/// A stream whose server messages are looked at until the server is ready.
#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    announced: Announced,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Bytes of a message's head so far.
    Head([u8; 5], usize),
    /// What is left of a message that is of no interest.
    Skip(usize),
    /// The head of `BackendKeyData` was read: bytes of the process number so far, and what follows it.
    Pid([u8; 4], usize, usize),
    /// Nothing more to see.
    Done,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, announced: Announced) -> Self {
        Self { inner, announced, state: State::Head([0; 5], 0) }
    }

    /// A stream whose own bytes say nothing, because TLS is inside it.
    pub(super) fn blind(inner: S) -> Self {
        Self { inner, announced: Announced::default(), state: State::Done }
    }

    fn look(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return,
                State::Head(mut head, at) => {
                    if let Some(place) = head.get_mut(at) {
                        *place = *byte;
                    }
                    if at < 4 { State::Head(head, at + 1) } else { after_head(head) }
                }
                State::Skip(left) if left <= 1 => State::Head([0; 5], 0),
                State::Skip(left) => State::Skip(left - 1),
                State::Pid(mut pid, at, rest) => {
                    if let Some(place) = pid.get_mut(at) {
                        *place = *byte;
                    }
                    if at < 3 {
                        State::Pid(pid, at + 1, rest)
                    } else {
                        self.announced.0.store(i32::from_be_bytes(pid), Ordering::Release);
                        State::Done
                    }
                }
            };
        }
    }
}

fn after_head([kind, length @ ..]: [u8; 5]) -> State {
    let body = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX).saturating_sub(4);
    match kind {
        b'K' if body >= 8 => State::Pid([0; 4], 0, body - 4),
        b'Z' => State::Done,
        _ if body == 0 => State::Head([0; 5], 0),
        _ => State::Skip(body),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if !matches!(self.state, State::Done) {
            let new = buffer.filled().get(before..).unwrap_or_default().to_vec();
            self.look(&new);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Watched<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

/// A TLS connector whose streams are watched.
pub(super) struct WatchedTls<T> {
    pub(super) inner: T,
    pub(super) announced: Announced,
}

impl<S, T> TlsConnect<S> for WatchedTls<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
    T::Stream: 'static,
    T::Error: 'static,
{
    type Stream = Watched<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.inner.connect(stream);
        let announced = self.announced;
        Box::pin(async move { Ok(Watched::new(connecting.await?, announced)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind][..], &length.to_be_bytes(), body].concat()
    }

    fn seen(bytes: &[u8], piece: usize) -> i32 {
        let announced = Announced::default();
        let mut watched = Watched::new((), announced.clone());
        bytes.chunks(piece).for_each(|piece| watched.look(piece));
        announced.pid()
    }

    #[test]
    fn the_process_number_is_seen_however_the_bytes_come() {
        let key = [4711_i32.to_be_bytes(), [9; 4]].concat();
        let greeting = [
            message(b'R', &[0; 4]),
            message(b'S', b"a\0b\0"),
            message(b'N', b""),
            message(b'K', &key),
            message(b'Z', b"I"),
        ]
        .concat();
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(seen(&greeting, piece), 4711, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_comes_after_the_greeting_is_not_looked_at() {
        let later = [message(b'Z', b"I"), message(b'K', &[1; 8])].concat();
        assert_eq!(seen(&later, 4), 0);
    }
}
