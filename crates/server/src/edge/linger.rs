//! Closing a connection whose client still sends.
//!
//! An operating system that gets bytes for a closed connection resets it, and a client that has not read the answer yet
//! loses it. So a connection that is closed early says first that nothing more will come, and then reads until the
//! client has seen that, within limits.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::limits::{DISCARDED_BODY_BYTES_MAX, LINGER_TIME};

/// A connection that may be closed early.
pub(super) struct Lingering<S> {
    stream: S,
    unread: Arc<AtomicBool>,
    closing: Option<Closing>,
}

/// This side is closed already.
struct Closing {
    timer: Pin<Box<Sleep>>,
    bytes: u64,
}

impl<S> Lingering<S> {
    /// A connection, and the mark that says that something which the client sends was not read.
    pub(super) fn new(stream: S) -> (Self, Arc<AtomicBool>) {
        let unread = Arc::new(AtomicBool::new(false));
        (Self { stream, unread: Arc::clone(&unread), closing: None }, unread)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { stream, unread, closing } = &mut *self;
        if closing.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(context))?;
            if !unread.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let closing =
            closing.get_or_insert_with(|| Closing { timer: Box::pin(sleep(LINGER_TIME)), bytes: 0 });
        let mut space = [0_u8; 4_096];
        while closing.timer.as_mut().poll(context).is_pending() && closing.bytes <= DISCARDED_BODY_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            let count = buffer.filled().len();
            if read.is_err() || count == 0 {
                break;
            }
            closing.bytes = closing.bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
