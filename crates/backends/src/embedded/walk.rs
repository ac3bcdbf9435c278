//! Walking the ledger frame by frame, and judging how it ends.
//!
//! Only the very last frame can be unfinished, because each is durable before the next is written. Segments are filled
//! with zeros first, so an unfinished frame leaves zeros where something was to be written; whatever else does not
//! check out is damage, and is refused with its place.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollgate_storage::StoreError;

use super::error::{bad_frame, corrupt, io_error};
use super::frame::{FRAME_ALIGN, Frame, FrameError, FrameHeader, HEADER_BYTES};
use super::io::to_u64;
use super::limits::{FRAME_BYTES_MAX, WALK_BUFFER_BYTES};
use super::segment::{SEGMENT_HEADER_BYTES, Segment, Segments};

/// Smallest unit a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: u64 = 512;

/// A frame and where it lies; the default is "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) sequence: u64,
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) checksum: u64,
}

impl Position {
    /// Behind its last byte.
    pub(crate) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }
}

/// How the ledger ends.
#[derive(Debug)]
pub(crate) enum Tail {
    /// After its last frame there is nothing.
    Clean {
        /// Where the next frame is written.
        segment: Arc<Segment>,
        /// At which offset.
        offset: u64,
    },
    /// A frame that was never finished, and so never acknowledged.
    Torn {
        /// In which segment.
        segment: Arc<Segment>,
        /// Its first byte.
        offset: u64,
        /// After its last byte that is not zero.
        until: u64,
    },
    /// A frame that is whole but for the end mark behind it.
    Unmarked {
        /// In which segment.
        segment: Arc<Segment>,
        /// Its first byte.
        offset: u64,
    },
}

/// Goes through frames in order.
#[derive(Debug)]
pub(crate) struct Walker<'a> {
    segments: &'a Segments,
    last: u32,
    segment: Arc<Segment>,
    offset: u64,
    expected: u64,
    previous: u64,
    /// Where the first segment without a further frame ended.
    pause: Option<(Arc<Segment>, u64)>,
    tail: Option<Tail>,
    window: Window,
}

impl<'a> Walker<'a> {
    /// Starts behind `after`; the last segment is `last`.
    pub(crate) fn new(segments: &'a Segments, last: u32, after: &Position) -> Result<Self, StoreError> {
        let (segment, offset) =
            if after.sequence == 0 { (1, SEGMENT_HEADER_BYTES) } else { (after.segment, after.end()) };
        Ok(Self {
            segments,
            last,
            segment: segments.get(segment)?,
            offset,
            expected: after.sequence + 1,
            previous: after.checksum,
            pause: None,
            tail: None,
            window: Window::default(),
        })
    }

    /// The next frame; `None` at the end of the ledger.
    pub(crate) fn next(&mut self) -> Result<Option<(Position, Frame<'_>)>, StoreError> {
        let len = loop {
            if self.tail.is_some() {
                return Ok(None);
            }
            match self.frame_here()? {
                Some(len) => break len,
                None => self.leave_segment()?,
            }
        };
        let offset = self.offset;
        self.offset += len;
        self.pause = None;
        let bytes = self.window.bytes(&self.segment, offset, len)?;
        let frame = Frame::decode(bytes).map_err(|error| corrupt(&self.segment.path, offset, error))?;
        let position = Position {
            sequence: frame.header.sequence,
            segment: self.segment.ordinal,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            len: u32::try_from(len).unwrap_or(u32::MAX),
            checksum: frame.checksum,
        };
        self.expected = position.sequence + 1;
        self.previous = position.checksum;
        Ok(Some((position, frame)))
    }

    /// How the ledger ends; known once [`Self::next`] has said `None`.
    pub(crate) fn into_tail(self) -> Option<Tail> {
        self.tail
    }

    /// Length of the whole, expected frame here; `None` when there is none.
    fn frame_here(&mut self) -> Result<Option<u64>, StoreError> {
        let (path, offset) = (&self.segment.path, self.offset);
        let bytes = self.window.bytes(&self.segment, offset, to_u64(HEADER_BYTES))?;
        let header = match FrameHeader::decode(bytes) {
            Ok(header) => header,
            Err(error @ FrameError::Version(_)) => return Err(bad_frame(path, offset, error)),
            Err(_) => return Ok(None),
        };
        if header.sequence != self.expected || header.previous != self.previous {
            let what = format!(
                "frame {} stands where frame {} should, or does not follow the one before",
                header.sequence, self.expected
            );
            return Err(corrupt(path, offset, what));
        }
        let len = header.frame_len();
        if offset + len > self.segment.bytes {
            return Err(corrupt(path, offset, "a frame reaches beyond the end of its segment"));
        }
        let bytes = self.window.bytes(&self.segment, offset, len)?;
        Ok(Frame::decode(bytes).is_ok().then_some(len))
    }

    /// Goes on to the next segment if nothing more is in this one, or finds how the ledger ends.
    fn leave_segment(&mut self) -> Result<(), StoreError> {
        let dirty_until = self.window.last_not_zero(&self.segment, self.offset)?;
        let Some(until) = dirty_until else {
            let pause = self.pause.take().unwrap_or_else(|| (Arc::clone(&self.segment), self.offset));
            if self.segment.ordinal < self.last {
                self.segment = self.segments.get(self.segment.ordinal + 1)?;
                self.offset = SEGMENT_HEADER_BYTES;
                self.pause = Some(pause);
            } else {
                self.tail = Some(Tail::Clean { segment: pause.0, offset: pause.1 });
            }
            return Ok(());
        };
        for later in self.segment.ordinal + 1..=self.last {
            let segment = self.segments.get(later)?;
            if self.window.last_not_zero(&segment, SEGMENT_HEADER_BYTES)?.is_some() {
                return Err(corrupt(
                    &self.segment.path,
                    self.offset,
                    "a damaged frame, and later frames follow",
                ));
            }
        }
        self.tail = Some(self.judge(until)?);
        Ok(())
    }

    /// Tells a frame that was never finished from one that was damaged.
    fn judge(&mut self, until: u64) -> Result<Tail, StoreError> {
        let (segment, offset) = (Arc::clone(&self.segment), self.offset);
        let dirty = self.window.bytes(&segment, offset, (until - offset).min(FRAME_BYTES_MAX))?.to_vec();
        let torn = Ok(Tail::Torn { segment: Arc::clone(&segment), offset, until });
        if until - offset > FRAME_BYTES_MAX {
            return Err(corrupt(&segment.path, until - 1, "something stands where nothing was written yet"));
        }
        let Ok(header) = FrameHeader::decode(&dirty) else {
            if let Some(later) = later_frame(&dirty, self.expected) {
                let what = format!("a damaged frame, and a later frame follows at byte {}", offset + later);
                return Err(corrupt(&segment.path, offset, what));
            }
            let nothing_behind = dirty.len() <= HEADER_BYTES;
            let unwritten = has_unwritten_sector(&dirty, offset, to_u64(HEADER_BYTES));
            return if nothing_behind || unwritten {
                torn
            } else {
                Err(corrupt(&segment.path, offset, FrameError::Header))
            };
        };
        let len = header.frame_len();
        if until > offset + len {
            return Err(corrupt(&segment.path, offset, "a damaged frame, and something follows"));
        }
        let mut frame = dirty;
        frame.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        match Frame::decode(&frame) {
            Err(FrameError::EndMark) if until < offset + len => Ok(Tail::Unmarked { segment, offset }),
            Err(FrameError::EndMark) => Err(corrupt(&segment.path, offset, FrameError::EndMark)),
            _ if until < offset + len || has_unwritten_sector(&frame, offset, len) => torn,
            _ => Err(corrupt(&segment.path, offset, FrameError::Checksum)),
        }
    }
}

/// Offset of a header, behind the first byte, of a frame that was written after frame `expected`.
fn later_frame(bytes: &[u8], expected: u64) -> Option<u64> {
    (FRAME_ALIGN..bytes.len()).step_by(FRAME_ALIGN).find_map(|at| {
        let header = FrameHeader::decode(bytes.get(at..)?).ok()?;
        (header.sequence > expected).then(|| to_u64(at))
    })
}

/// Whether, in the first `len` of `bytes`, which start at `offset` of the file, the part in some sector is all zeros.
fn has_unwritten_sector(bytes: &[u8], offset: u64, len: u64) -> bool {
    let mut start = offset;
    while start < offset + len {
        let end = ((start / SECTOR_BYTES + 1) * SECTOR_BYTES).min(offset + len);
        let part = usize::try_from(start - offset)
            .ok()
            .zip(usize::try_from(end - offset).ok())
            .and_then(|(from, to)| bytes.get(from..to.min(bytes.len())));
        if part.unwrap_or_default().iter().all(|byte| *byte == 0) {
            return true;
        }
        start = end;
    }
    false
}

/// A stretch of one segment in memory.
#[derive(Debug, Default)]
struct Window {
    segment: u32,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// `len` bytes from `offset` on, fewer where the segment ends.
    fn bytes(&mut self, segment: &Segment, offset: u64, len: u64) -> Result<&[u8], StoreError> {
        let len = len.min(segment.bytes.saturating_sub(offset));
        let held = self.start + to_u64(self.bytes.len());
        if self.segment != segment.ordinal || offset < self.start || offset + len > held {
            let wanted = len.max(to_u64(WALK_BUFFER_BYTES)).min(segment.bytes.saturating_sub(offset));
            self.bytes.resize(usize::try_from(wanted).unwrap_or(usize::MAX), 0);
            let read = segment
                .file
                .read_full_at(&mut self.bytes, offset)
                .map_err(|source| io_error("read", &segment.path, source))?;
            self.bytes.truncate(read);
            (self.segment, self.start) = (segment.ordinal, offset);
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX)).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }

    /// The offset behind the last byte that is not zero, at or behind `from`.
    fn last_not_zero(&mut self, segment: &Segment, from: u64) -> Result<Option<u64>, StoreError> {
        let mut last = None;
        let mut at = from;
        while at < segment.bytes {
            let bytes = self.bytes(segment, at, to_u64(WALK_BUFFER_BYTES))?;
            if bytes.is_empty() {
                return Err(corrupt(&segment.path, at, "the file is shorter than it should be"));
            }
            // Zeros are compared by the machine word first; a byte is looked for only where there is one.
            let any = bytes.chunks(64).any(|chunk| chunk.iter().fold(0, |all, byte| all | byte) != 0);
            if any && let Some(place) = bytes.iter().rposition(|byte| *byte != 0) {
                last = Some(at + to_u64(place) + 1);
            }
            at += to_u64(bytes.len());
        }
        Ok(last)
    }
}
