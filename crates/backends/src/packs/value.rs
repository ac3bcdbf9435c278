//! Bytes in items: made smaller where that pays, and in pieces where they are too long for one.
//!
//! A first byte says what follows: the bytes, their deflated form, or of how many pieces they are. Pieces are items of their own
//! beside; what refers to them is written after them.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use tollgate_storage::{StoreError, StoreErrorKind};

use super::limits::{DEFLATE_BYTES_MIN, INFLATED_BYTES_MAX, PIECE_BYTES};
use super::places::piece;
use super::table::{Asked, Item, Place, Table, Value};

const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;
const PIECES: u8 = 2;

/// The name of the bytes of a piece, and of whatever has but one value.
pub(crate) const BODY: &str = "b";

/// Bytes as they are kept.
fn smaller(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() >= DEFLATE_BYTES_MIN {
        let mut encoder = DeflateEncoder::new(vec![DEFLATED], Compression::default());
        if encoder.write_all(bytes).is_ok()
            && let Ok(deflated) = encoder.finish()
            && deflated.len() <= bytes.len()
        {
            return deflated;
        }
    }
    [&[PLAIN], bytes].concat()
}

fn larger(kept: &[u8]) -> Result<Vec<u8>, StoreError> {
    match kept.split_first() {
        Some((&PLAIN, bytes)) => Ok(bytes.to_vec()),
        Some((&DEFLATED, bytes)) => {
            let mut inflated = Vec::new();
            let read = DeflateDecoder::new(bytes).take(INFLATED_BYTES_MAX).read_to_end(&mut inflated);
            read.map_err(|error| damaged("a value").caused_by(error))?;
            Ok(inflated)
        }
        _ => Err(damaged("a value")),
    }
}

/// Something in the database is not as the store wrote it.
pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("{what} in the database is not as the store wrote it"))
}

/// Makes the value of an item out of bytes, and keeps its pieces, if it has some. They are told from those of other values of the
/// same item by a token.
pub(crate) async fn keep<T: Table>(
    table: &Asked<T>,
    owner: &Place,
    token: &[u8],
    bytes: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let kept = smaller(bytes);
    if kept.len() <= PIECE_BYTES {
        return Ok(kept);
    }
    let mut count = 0_u32;
    for part in kept.chunks(PIECE_BYTES) {
        table.put_one(piece(owner, token, count), Item::of(BODY, Value::Bytes(part.to_vec()))).await?;
        count += 1;
    }
    Ok([&[PIECES], count.to_be_bytes().as_slice()].concat())
}

/// The places of the pieces of a value.
pub(crate) fn pieces(owner: &Place, token: &[u8], kept: &[u8]) -> Vec<Place> {
    match kept.split_first() {
        Some((&PIECES, count)) => {
            let count = count.try_into().map_or(0, u32::from_be_bytes);
            (0..count).map(|number| piece(owner, token, number)).collect()
        }
        _ => Vec::new(),
    }
}

/// The bytes that a value was made of; [`StoreErrorKind::Moved`] when its pieces are gone, for there is a newer one.
pub(crate) async fn bytes_of<T: Table>(
    table: &Asked<T>,
    owner: &Place,
    token: &[u8],
    kept: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let places = pieces(owner, token, kept);
    if places.is_empty() {
        return larger(kept);
    }
    let mut whole = Vec::new();
    for place in places {
        let item = table.get_one(&place).await?;
        let part = item.as_ref().and_then(|item| item.bytes(BODY));
        let gone = || StoreError::new(StoreErrorKind::Moved, "a value changed while its pieces were read");
        whole.extend_from_slice(part.ok_or_else(gone)?);
    }
    larger(&whole)
}
