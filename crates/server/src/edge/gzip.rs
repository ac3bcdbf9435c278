//! Answers in gzip, for callers that take it.

use std::io::Write;

use axum::body::Body;
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::limits::GZIP_BYTES_MIN;

/// Whether a caller takes gzip.
pub(crate) fn is_accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut any = false;
    for coding in values.flat_map(|value| value.split(',')) {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return weight > 0.0;
        }
        if name == "*" {
            any = weight > 0.0;
        }
    }
    any
}

/// Whether an answer is large enough to be worth packing: the small ones, the gate's among them, leave as they are.
pub(crate) fn is_worth(response: &Response) -> bool {
    let large = response.body().size_hint().exact().is_some_and(|bytes| bytes >= GZIP_BYTES_MIN);
    large && !response.headers().contains_key(CONTENT_ENCODING)
}

/// A large answer in gzip, if its caller takes that. The work is done on a thread of its own.
pub(crate) async fn compressed(response: Response, accepted: bool) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    if !accepted {
        return Response::from_parts(parts, body);
    }
    let Ok(plain) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        // The bodies of this server are in memory, and end.
        return Response::from_parts(parts, Body::empty());
    };
    let packed = {
        let plain = plain.clone();
        tokio::task::spawn_blocking(move || packed(&plain)).await
    };
    match packed {
        Ok(Some(packed)) => {
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(parts, packed.into())
        }
        _ => Response::from_parts(parts, plain.into()),
    }
}

fn packed(plain: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_what_a_caller_must_say_it_takes() {
        for (accepts, wanted) in [
            (None, false),
            (Some("gzip"), true),
            (Some("gzip, deflate, br, zstd"), true),
            (Some("br;q=1.0, GZIP;q=0.2"), true),
            (Some("gzip;q=0"), false),
            (Some("*"), true),
            (Some("*;q=0"), false),
            (Some("*, gzip;q=0"), false),
            (Some("br, identity"), false),
            (Some(""), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accepts) = accepts {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepts));
            }
            assert_eq!(is_accepted(&headers), wanted, "{accepts:?}");
        }
    }
}
