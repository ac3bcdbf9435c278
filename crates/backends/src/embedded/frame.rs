//! The frame: what one commit writes, in one piece.
//!
//! ```text
//! header  40 B   magic 4 · version u16 · 0 u16 · sequence u64 · payload length u32 · entries u32 ·
//!                checksum of the frame before u64 · checksum of these 32 bytes u64
//! payload        per entry: length u32 · checksum u64 · bytes
//! trailer        checksum of the header's checksum and the payload u64 · zeros up to a multiple of 8 · END_MARK
//! ```
//! All numbers are little-endian. Each frame names the checksum of the frame before, so a frame of another ledger, or
//! one out of order, does not fit. The last byte is never zero: in a file filled with zeros, a frame whose end was not
//! written shows it. Decoding never panics, whatever the bytes.

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::io::to_u64;
use super::limits::FRAME_BYTES_MAX;

/// Version of the frame format this code writes, and the newest it reads.
pub(crate) const FORMAT_VERSION: u16 = 1;

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 40;

/// Bytes before an entry's own: its length and its checksum.
pub(crate) const ENTRY_PREFIX_BYTES: usize = 12;

/// Frames start at multiples of this.
pub(crate) const FRAME_ALIGN: usize = 8;

const MAGIC: [u8; 4] = *b"TGfr";
const END_MARK: u8 = 0xA5;
const CHECKSUM_BYTES: usize = 8;
const HEADER_CHECKED_BYTES: usize = HEADER_BYTES - CHECKSUM_BYTES;

/// Where an entry's prefix starts inside its frame, and how long its own bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntrySpot {
    /// Bytes from the frame's first byte to the entry's prefix.
    pub(crate) offset: u32,
    /// Bytes of the entry without its prefix.
    pub(crate) len: u32,
}

/// A header that passed its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) version: u16,
    pub(crate) sequence: u64,
    pub(crate) payload_len: u32,
    pub(crate) entry_count: u32,
    pub(crate) previous: u64,
    checksum: u64,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Fewer bytes than the frame says it has.
    #[error("the frame is cut short")]
    Short,
    /// Not a header: its magic, its checksum or its limits are wrong.
    #[error("the frame's header is damaged")]
    Header,
    /// A version this code does not know.
    #[error("the frame has format version {0}, this version reads up to {FORMAT_VERSION}")]
    Version(u16),
    /// Payload and checksum disagree.
    #[error("the frame's checksum does not match its content")]
    Checksum,
    /// The content is whole, the bytes after it are not as written.
    #[error("the frame's end mark is damaged")]
    EndMark,
    /// Entries overlap or leave a gap.
    #[error("the frame's entries do not fill its payload")]
    Entries,
    /// One entry's own checksum is wrong.
    #[error("the entry's checksum does not match its content")]
    EntryChecksum,
}

impl FrameHeader {
    /// Reads a header from the first [`HEADER_BYTES`] of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let header = bytes.get(..HEADER_BYTES).ok_or(FrameError::Short)?;
        let (checked, checksum) = header.split_at_checked(HEADER_CHECKED_BYTES).ok_or(FrameError::Short)?;
        let mut rest = checksum;
        let checksum = take_u64(&mut rest).ok_or(FrameError::Short)?;
        if xxh3_64(checked) != checksum || checked.get(..MAGIC.len()) != Some(&MAGIC) {
            return Err(FrameError::Header);
        }
        let mut rest = checked.get(MAGIC.len()..).ok_or(FrameError::Short)?;
        let decoded = (|| {
            let version = take_u32(&mut rest)?;
            Some(Self {
                version: u16::try_from(version).ok()?,
                sequence: take_u64(&mut rest)?,
                payload_len: take_u32(&mut rest)?,
                entry_count: take_u32(&mut rest)?,
                previous: take_u64(&mut rest)?,
                checksum,
            })
        })()
        .ok_or(FrameError::Header)?;
        if decoded.version != FORMAT_VERSION {
            return Err(FrameError::Version(decoded.version));
        }
        if decoded.frame_len() > FRAME_BYTES_MAX {
            return Err(FrameError::Header);
        }
        Ok(decoded)
    }

    /// What stands behind the frame's checksum, and how many bytes after the frame's first.
    pub(crate) fn end_mark(&self) -> (u64, &'static [u8]) {
        const END: [u8; FRAME_ALIGN] = [0, 0, 0, 0, 0, 0, 0, END_MARK];
        let place = to_u64(HEADER_BYTES + CHECKSUM_BYTES) + u64::from(self.payload_len);
        let len = usize::try_from(self.frame_len() - place).unwrap_or(FRAME_ALIGN);
        (place, END.get(FRAME_ALIGN.saturating_sub(len)..).unwrap_or(&END))
    }

    /// Bytes of the whole frame: header, payload, trailer.
    pub(crate) fn frame_len(&self) -> u64 {
        aligned_len(to_u64(HEADER_BYTES) + u64::from(self.payload_len))
    }
}

/// Bytes of a frame whose header and payload have `content` bytes.
fn aligned_len(content: u64) -> u64 {
    (content + to_u64(CHECKSUM_BYTES) + 1).next_multiple_of(to_u64(FRAME_ALIGN))
}

/// A frame whose checksums hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    /// Checksum of the whole frame; the next frame names it.
    pub(crate) checksum: u64,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a frame from the start of `bytes`.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let header = FrameHeader::decode(bytes)?;
        let len = usize::try_from(header.frame_len()).map_err(|_| FrameError::Header)?;
        let payload_len = usize::try_from(header.payload_len).map_err(|_| FrameError::Header)?;
        let frame = bytes.get(..len).ok_or(FrameError::Short)?;
        let after_header = frame.get(HEADER_BYTES..).ok_or(FrameError::Short)?;
        let (payload, mut trailer) = after_header.split_at_checked(payload_len).ok_or(FrameError::Short)?;
        let checksum = take_u64(&mut trailer).ok_or(FrameError::Short)?;
        if frame_checksum(header.checksum, payload) != checksum {
            return Err(FrameError::Checksum);
        }
        let (mark, padding) = trailer.split_last().ok_or(FrameError::Short)?;
        if *mark != END_MARK || padding.iter().any(|byte| *byte != 0) {
            return Err(FrameError::EndMark);
        }
        Ok(Self { header, checksum, payload })
    }

    /// The entries with their spots, each checked.
    pub(crate) fn entries(
        &self,
    ) -> impl Iterator<Item = Result<(EntrySpot, &'a [u8]), FrameError>> + use<'a> {
        let mut rest = self.payload;
        let mut left = self.header.entry_count;
        let mut offset = HEADER_BYTES;
        std::iter::from_fn(move || {
            if left == 0 {
                let complete = rest.is_empty();
                rest = &[];
                return (!complete).then_some(Err(FrameError::Entries));
            }
            left -= 1;
            let taken = take_entry(&mut rest);
            let Ok(blob) = taken else {
                left = 0;
                rest = &[];
                return Some(taken.map(|blob| (EntrySpot { offset: 0, len: 0 }, blob)));
            };
            let spot = EntrySpot {
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                len: u32::try_from(blob.len()).unwrap_or(u32::MAX),
            };
            offset += ENTRY_PREFIX_BYTES + blob.len();
            Some(Ok((spot, blob)))
        })
    }
}

fn take_entry<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], FrameError> {
    let len = take_u32(rest).ok_or(FrameError::Entries)?;
    let checksum = take_u64(rest).ok_or(FrameError::Entries)?;
    let len = usize::try_from(len).map_err(|_| FrameError::Entries)?;
    let (blob, after) = rest.split_at_checked(len).ok_or(FrameError::Entries)?;
    *rest = after;
    if xxh3_64(blob) == checksum { Ok(blob) } else { Err(FrameError::EntryChecksum) }
}

/// Reads one entry alone, from its prefix on.
pub(crate) fn decode_entry(mut bytes: &[u8]) -> Result<&[u8], FrameError> {
    take_entry(&mut bytes)
}

/// Builds one frame in a buffer that is used again and again.
#[derive(Debug, Default)]
pub(crate) struct FrameBuilder {
    bytes: Vec<u8>,
    entry_count: u32,
}

impl FrameBuilder {
    /// Starts an empty frame.
    pub(crate) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
        self.entry_count = 0;
    }

    /// Adds one entry, written by `encode` to the end of the buffer it is given.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> EntrySpot {
        let start = self.bytes.len();
        self.bytes.resize(start + ENTRY_PREFIX_BYTES, 0);
        encode(&mut self.bytes);
        let (len, checksum) = match self.bytes.get(start + ENTRY_PREFIX_BYTES..) {
            Some(blob) => (u32::try_from(blob.len()).unwrap_or(u32::MAX), xxh3_64(blob)),
            None => (0, xxh3_64(&[])),
        };
        put(&mut self.bytes, start, &len.to_le_bytes());
        put(&mut self.bytes, start + 4, &checksum.to_le_bytes());
        self.entry_count += 1;
        EntrySpot { offset: u32::try_from(start).unwrap_or(u32::MAX), len }
    }

    /// Bytes the finished frame will have.
    pub(crate) fn finished_len(&self) -> u64 {
        aligned_len(to_u64(self.bytes.len()))
    }

    /// Finishes the frame: its bytes and its checksum. The caller has checked [`Self::finished_len`] against
    /// [`FRAME_BYTES_MAX`].
    pub(crate) fn finish(&mut self, sequence: u64, previous: u64) -> (&[u8], u64) {
        let payload_len = u32::try_from(self.bytes.len().saturating_sub(HEADER_BYTES)).unwrap_or(u32::MAX);
        put(&mut self.bytes, 0, &MAGIC);
        put(&mut self.bytes, 4, &u32::from(FORMAT_VERSION).to_le_bytes());
        put(&mut self.bytes, 8, &sequence.to_le_bytes());
        put(&mut self.bytes, 16, &payload_len.to_le_bytes());
        put(&mut self.bytes, 20, &self.entry_count.to_le_bytes());
        put(&mut self.bytes, 24, &previous.to_le_bytes());
        let header_checksum = xxh3_64(self.bytes.get(..HEADER_CHECKED_BYTES).unwrap_or_default());
        put(&mut self.bytes, HEADER_CHECKED_BYTES, &header_checksum.to_le_bytes());
        let checksum = frame_checksum(header_checksum, self.bytes.get(HEADER_BYTES..).unwrap_or_default());
        let len = usize::try_from(self.finished_len()).unwrap_or(usize::MAX);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.bytes.resize(len - 1, 0);
        self.bytes.push(END_MARK);
        (&self.bytes, checksum)
    }
}

fn frame_checksum(header_checksum: u64, payload: &[u8]) -> u64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&header_checksum.to_le_bytes());
    hasher.update(payload);
    hasher.digest()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(u32::from_le_bytes(*bytes))
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn build(entries: &[Vec<u8>], sequence: u64, previous: u64) -> (Vec<u8>, u64, Vec<EntrySpot>) {
        let mut builder = FrameBuilder::default();
        builder.begin();
        let spots =
            entries.iter().map(|entry| builder.push(|buffer| buffer.extend_from_slice(entry))).collect();
        let (bytes, checksum) = builder.finish(sequence, previous);
        (bytes.to_vec(), checksum, spots)
    }

    proptest! {
        #[test]
        fn what_is_built_is_read(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..12),
            sequence: u64, previous: u64,
        ) {
            let (bytes, checksum, spots) = build(&entries, sequence, previous);
            prop_assert_eq!(bytes.len() % FRAME_ALIGN, 0);
            prop_assert_ne!(*bytes.last().unwrap(), 0);
            let frame = Frame::decode(&bytes).unwrap();
            prop_assert_eq!(frame.checksum, checksum);
            prop_assert_eq!(frame.header.sequence, sequence);
            prop_assert_eq!(frame.header.previous, previous);
            prop_assert_eq!(frame.header.frame_len(), to_u64(bytes.len()));
            let read: Vec<_> = frame.entries().map(Result::unwrap).collect();
            prop_assert_eq!(read.len(), entries.len());
            for ((spot, blob), (wanted, wanted_spot)) in read.into_iter().zip(entries.iter().zip(spots)) {
                prop_assert_eq!(blob, wanted.as_slice());
                prop_assert_eq!(spot, wanted_spot);
                let alone = decode_entry(&bytes[usize::try_from(spot.offset).unwrap()..]).unwrap();
                prop_assert_eq!(alone, wanted.as_slice());
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(frame) = Frame::decode(&bytes) {
                prop_assert!(frame.entries().count() <= bytes.len());
            }
            prop_assert!(decode_entry(&bytes).is_err() || bytes.len() >= ENTRY_PREFIX_BYTES);
        }

        #[test]
        fn a_damaged_frame_is_refused(
            entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5),
            place: prop::sample::Index, flip in 1_u8..,
        ) {
            let (mut bytes, ..) = build(&entries, 7, 9);
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            prop_assert!(Frame::decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let (mut bytes, ..) = build(&[vec![1]], 1, 0);
        bytes[4] = 2;
        let checksum = xxh3_64(&bytes[..HEADER_CHECKED_BYTES]);
        put(&mut bytes, HEADER_CHECKED_BYTES, &checksum.to_le_bytes());
        assert_eq!(Frame::decode(&bytes).err(), Some(FrameError::Version(2)));
    }
}
