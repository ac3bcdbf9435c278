//! The rest of a body that an answer did not wait for.
//!
//! A request may be answered before all of its body has arrived: a key is wrong, a path is unknown, a body is too large.
//! A client that still sends then sees the stream reset (HTTP/2) or the connection broken (HTTP/1.1), and some of them
//! lose the answer over that. So the handler gets the body on loan, and what it left is read to its end and thrown away
//! before the answer is given.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::limits::DISCARDED_BODY_BYTES_MAX;

/// What a handler may leave of a body.
pub(super) struct Rest {
    returned: oneshot::Receiver<Incoming>,
    /// The client does not send before it is asked to.
    waits_to_be_asked: bool,
}

/// Lends the body of a request to whoever answers it, unless all of it is here.
///
/// A small body mostly comes with its head. It is taken at once, and there is nothing to give back.
pub(super) fn lend(request: Request<Incoming>) -> (Request<Body>, Option<Rest>) {
    let (parts, mut body) = request.into_parts();
    let waits_to_be_asked = parts.headers.contains_key(EXPECT);
    // Looking for the body asks for it.
    let first = if waits_to_be_asked { None } else { body.frame().now_or_never() };
    let first = match first {
        Some(Some(Ok(frame))) if body.is_end_stream() => {
            let body = frame.into_data().map_or_else(|_| Body::empty(), Body::from);
            return (Request::from_parts(parts, body), None);
        }
        Some(None) => return (Request::from_parts(parts, Body::empty()), None),
        Some(first) => first,
        None if body.is_end_stream() => return (Request::from_parts(parts, Body::empty()), None),
        None => None,
    };
    let (give_back, returned) = oneshot::channel();
    let loan = Loan { first, body: Some(body), give_back: Some(give_back) };
    (Request::from_parts(parts, Body::new(loan)), Some(Rest { returned, waits_to_be_asked }))
}

impl Rest {
    /// Reads and throws away what was left of the body; gives whether that was all of it.
    ///
    /// Stops at a time, and before it reads more than anybody would want to send in vain.
    pub(super) async fn discard(mut self, until: Instant) -> bool {
        let Ok(mut body) = self.returned.try_recv() else { return true };
        let most = DISCARDED_BODY_BYTES_MAX;
        if self.waits_to_be_asked || body.size_hint().lower() > most {
            return false;
        }
        let all = async {
            let mut bytes = 0_u64;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                let length = frame.data_ref().map_or(0, Bytes::len);
                bytes = bytes.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
                if bytes > most {
                    return false;
                }
            }
            true
        };
        timeout_at(until, all).await.unwrap_or(false)
    }
}

/// A body that goes back to the edge when it is dropped before its end.
struct Loan {
    /// What was there at once.
    first: Option<Result<Frame<Bytes>, hyper::Error>>,
    body: Option<Incoming>,
    give_back: Option<oneshot::Sender<Incoming>>,
}

impl HttpBody for Loan {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let first = self.first.take();
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let frame = match first {
            Some(first) => Some(first),
            None => ready!(Pin::new(body).poll_frame(context)),
        };
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint);
        let first =
            self.first.as_ref().and_then(|first| first.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
        let first = u64::try_from(first).unwrap_or(u64::MAX);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(first));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(first));
        }
        hint
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let (Some(body), Some(give_back)) = (self.body.take(), self.give_back.take())
            && !body.is_end_stream()
        {
            // Nobody takes it back where the connection has ended.
            let _ = give_back.send(body);
        }
    }
}
