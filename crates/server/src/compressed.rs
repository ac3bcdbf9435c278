//! Bodies that are compressed: decompressed within a limit, so that a small body does not become a large one.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use tollgate_api::{Code, Problem, shortened};

use crate::limits::ZSTD_WINDOW_BYTES_MAX;
use crate::reply::Failure;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// It is not.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// Reads `Content-Encoding`.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let (Some(value), another) = (values.next(), values.next()) else { return Ok(Self::Identity) };
        let name = value.to_str().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "identity" | "" if another.is_none() => Ok(Self::Identity),
            "gzip" | "x-gzip" if another.is_none() => Ok(Self::Gzip),
            "zstd" if another.is_none() => Ok(Self::Zstd),
            _ => {
                let name = shortened(&name);
                let detail =
                    format!("the body is encoded as '{name}'; expected gzip, zstd or identity, once");
                Err(Problem::new(Code::UnsupportedMediaType, detail).on_field("Content-Encoding").into())
            }
        }
    }

    /// The body as it was before it was compressed.
    pub(crate) fn decompress(self, body: Bytes, bytes_max: usize) -> Result<Bytes, Failure> {
        let mut found = Vec::new();
        match self {
            Self::Identity => return Ok(body),
            Self::Gzip => read_within(MultiGzDecoder::new(body.as_ref()), &mut found, bytes_max)
                .map_err(|error| broken(&error))?,
            Self::Zstd => read_frames(&body, &mut found, bytes_max)?,
        }
        if found.len() > bytes_max {
            let detail = format!("the body has more than {bytes_max} bytes once it is decompressed");
            return Err(Problem::new(Code::BodyTooLarge, detail).into());
        }
        Ok(found.into())
    }
}

fn broken(error: &impl ToString) -> Failure {
    let detail = "the body is not compressed as Content-Encoding says";
    let problem = Problem::new(Code::Unreadable, detail).on_field("Content-Encoding");
    Failure::from(problem).caused_by(error.to_string())
}

fn window_too_large() -> Failure {
    let detail = format!(
        "the body is compressed with a window of more than {ZSTD_WINDOW_BYTES_MAX} bytes, the most that zstd has on the web"
    );
    Problem::new(Code::Unreadable, detail).on_field("Content-Encoding").into()
}

/// Reads the frames that follow one another.
fn read_frames(mut body: &[u8], found: &mut Vec<u8>, bytes_max: usize) -> Result<(), Failure> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
    while !body.is_empty() && found.len() <= bytes_max {
        let frame =
            StreamingDecoder::new_with_decoder(&mut body, &mut decoder).map_err(|error| match error {
                FrameDecoderError::WindowSizeTooBig { .. } => window_too_large(),
                other => broken(&other),
            })?;
        read_within(frame, found, bytes_max).map_err(|error| broken(&error))?;
    }
    Ok(())
}

/// Reads to the end, or one byte beyond the limit.
fn read_within(reader: impl Read, found: &mut Vec<u8>, bytes_max: usize) -> std::io::Result<()> {
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    reader.take(most).read_to_end(found).map(drop)
}
