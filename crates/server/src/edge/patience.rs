//! A connection whose client must get on.
//!
//! hyper waits a set time for the head of a request. It waits for ever for the bytes that tell HTTP/1.1 from HTTP/2, and for a
//! client to take what it is sent. A client that stops at either would keep its place among the connections for nothing.

use std::io::{ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How a connection of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that ends by an error when its client stops.
pub(super) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// What more must come before it is known to be HTTP/2; empty once the version is known.
    undecided: &'static [u8],
    /// Since the client began to say which version it speaks.
    beginning: Timer,
    /// Since the client took something last.
    taking: Timer,
}

/// Set when there is something to wait for.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl<S> Patient<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        let [beginning, taking] = [Timer::default(), Timer::default()];
        Self { stream, patience, undecided: PREFACE, beginning, taking }
    }
}

impl Timer {
    /// Waits on for what is not ready, until it took too long.
    fn limit<T>(
        &mut self,
        polled: Poll<Result<T>>,
        patience: Duration,
        context: &mut Context<'_>,
    ) -> Poll<Result<T>> {
        if polled.is_ready() {
            self.0 = None;
            return polled;
        }
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let Self { stream, patience, undecided, beginning, .. } = &mut *self;
        let before = buffer.filled().len();
        let polled = Pin::new(stream).poll_read(context, buffer);
        if undecided.is_empty() {
            return polled;
        }
        if polled.is_pending() {
            return beginning.limit(polled, *patience, context);
        }
        let read = buffer.filled().get(before..).unwrap_or_default();
        *undecided = undecided.strip_prefix(read).unwrap_or_default();
        if undecided.is_empty() {
            *beginning = Timer::default();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let Self { stream, patience, taking, .. } = &mut *self;
        let polled = Pin::new(stream).poll_write(context, bytes);
        taking.limit(polled, *patience, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { stream, patience, taking, .. } = &mut *self;
        let polled = Pin::new(stream).poll_flush(context);
        taking.limit(polled, *patience, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { stream, patience, taking, .. } = &mut *self;
        let polled = Pin::new(stream).poll_shutdown(context);
        taking.limit(polled, *patience, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let Self { stream, patience, taking, .. } = &mut *self;
        let polled = Pin::new(stream).poll_write_vectored(context, slices);
        taking.limit(polled, *patience, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_client_that_stops_before_its_version_is_known_is_given_up() {
        for (sent, given_up) in [
            (&b""[..], true),
            (b"P", true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", true),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
            (b"PO", false),
            (b"GET / HTTP/1.0\r\n\r\n", false),
        ] {
            let (mut client, server) = duplex(64);
            let mut server = Patient::new(server, PATIENCE);
            let mut read = vec![0; sent.len()];
            // Byte by byte: what comes slowly gets no more time.
            for byte in sent {
                client.write_all(&[*byte]).await.expect("sent");
                server.read_exact(&mut read[..1]).await.expect("read");
            }
            let more = tokio::time::timeout(3 * PATIENCE, server.read(&mut [0])).await;
            let ended = matches!(more, Ok(Err(error)) if error.kind() == ErrorKind::TimedOut);
            assert_eq!(ended, given_up, "{}", String::from_utf8_lossy(sent));
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (mut client, server) = duplex(4);
        let mut server = Patient::new(server, PATIENCE);
        let wrote =
            tokio::time::timeout(30 * PATIENCE, server.write_all(b"12345678")).await.expect("in time");
        assert_eq!(wrote.expect_err("nobody reads").kind(), ErrorKind::TimedOut);
        let (sent, taken) = tokio::join!(server.write_all(&[0; 64]), async {
            let mut taken = 0;
            // 68 bytes, 4 of them from before, a few at a time.
            while taken < 68 {
                tokio::time::sleep(PATIENCE / 10).await;
                taken += client.read(&mut [0; 4]).await.expect("read");
            }
            taken
        });
        assert!(sent.is_ok() && taken == 68, "{sent:?}, {taken}");
    }
}
