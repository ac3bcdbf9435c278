//! Large answers in pieces: between two of them, the thread that sends serves its other connections.
//!
//! The system copies a whole answer when it takes it, and on one machine its receiver's work is done in the same call. A
//! page of 300 kB would hold the gate for a fifth of a millisecond.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use hyper::body::Body as _;

/// Bytes that leave at once.
const PIECE_BYTES: usize = 32 * 1_024;

/// Whether an answer is in memory and more than a piece.
pub(crate) fn is_large(response: &Response) -> bool {
    let bytes = response.body().size_hint().exact();
    bytes.is_some_and(|bytes| usize::try_from(bytes).is_ok_and(|bytes| bytes > PIECE_BYTES))
}

/// The same answer, in pieces.
pub(crate) fn cut(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(bytes) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, bytes.into());
    }
    let pieces = unfold((body, Bytes::new()), |(mut body, mut rest)| async move {
        if rest.is_empty() {
            match body.frame().await? {
                Ok(frame) => rest = frame.into_data().unwrap_or_default(),
                Err(error) => return Some((Err(error), (Body::empty(), rest))),
            }
        } else {
            tokio::task::yield_now().await;
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Some((Ok(piece), (body, rest)))
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_large_answer_leaves_in_pieces_and_says_its_length() {
        let whole: Vec<u8> =
            (0..PIECE_BYTES * 3 + 5).map(|place| u8::try_from(place % 251).expect("a byte")).collect();
        let response = Response::new(Body::from(whole.clone()));
        assert!(is_large(&response));
        let mut response = cut(response);
        assert_eq!(response.headers()[CONTENT_LENGTH], whole.len().to_string());
        assert!(!is_large(&response), "it is cut once");
        let (mut pieces, mut sent) = (0, Vec::new());
        while let Some(frame) = response.body_mut().frame().await {
            let piece = frame.expect("a frame").into_data().expect("data");
            assert!(piece.len() <= PIECE_BYTES);
            pieces += 1;
            sent.extend_from_slice(&piece);
        }
        assert_eq!(pieces, 4);
        assert!(sent == whole);
        assert!(!is_large(&Response::new(Body::from(vec![0; PIECE_BYTES]))), "a small one leaves as it is");
    }
}
