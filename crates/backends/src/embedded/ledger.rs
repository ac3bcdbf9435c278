//! The ledger: appends frames to segments, each durable before the next, and finds its own end when it is opened.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tollgate_storage::codec::decode_line;
use tollgate_storage::{StoreError, StoreErrorKind};

use super::error::{bad_entry, bad_frame, corrupt, io_error, stopped};
use super::frame::{Frame, FrameBuilder, HEADER_BYTES};
use super::io::{Disk, to_u64};
use super::limits::FRAME_BYTES_MAX;
use super::metrics::Metrics;
use super::options::Work;
use super::prepare::{Preparer, Room};
use super::segment::{CreateError, SEGMENT_HEADER_BYTES, Segment, Segments};
use super::walk::{Position, Tail, Walker};

/// The end of the ledger, open for appending.
#[derive(Debug)]
pub(crate) struct Ledger {
    segments: Arc<Segments>,
    current: Arc<Segment>,
    offset: u64,
    last: Position,
    preparer: Preparer,
    builder: FrameBuilder,
    /// Why nothing is appended any more; readers see it without the ledger.
    stopped: Arc<OnceLock<String>>,
    metrics: Arc<Metrics>,
}

/// The files of a ledger, before its end is known.
#[derive(Debug)]
pub(crate) struct LedgerFiles {
    pub(crate) segments: Arc<Segments>,
    /// The ordinal of the newest segment.
    pub(crate) last: u32,
}

impl LedgerFiles {
    /// Finds the segments in `dir`, making the first if there is none.
    pub(crate) fn open(disk: Disk, dir: PathBuf, segment_bytes: u64) -> Result<Self, StoreError> {
        let segments = Arc::new(Segments::new(disk, dir));
        segments.remove_temporary()?;
        let mut ordinals = segments.ordinals()?;
        if ordinals.is_empty() {
            let first = Segment::create(&segments.disk, &segments.dir, 1, segment_bytes, Work::Inline)
                .map_err(cannot_create)?;
            segments.add(Arc::new(first));
            ordinals.push(1);
        }
        for ordinal in &ordinals {
            segments.get(*ordinal)?;
        }
        // The process before this one may have died, or failed, between the name of a segment and the folder's sync: what is
        // appended to it would be gone with the name.
        let dir = &segments.dir;
        segments.disk.sync_dir(dir).map_err(|source| io_error("sync", dir, source))?;
        Ok(Self { segments, last: ordinals.last().copied().unwrap_or(1) })
    }

    /// Goes through every frame behind `after`, repairs the end, and gives the last frame and where the next one goes.
    ///
    /// # Errors
    /// When a frame is damaged that was acknowledged, or may have been: with the file and the offset.
    pub(crate) fn recover(
        &self,
        after: &Position,
        mut visit: impl FnMut(&Position, &Frame<'_>) -> Result<(), StoreError>,
    ) -> Result<LedgerEnd, StoreError> {
        let mut last = *after;
        loop {
            let mut walker = Walker::new(&self.segments, self.last, &last)?;
            while let Some((position, frame)) = walker.next()? {
                visit(&position, &frame)?;
                last = position;
            }
            match walker.into_tail() {
                Some(Tail::Clean { segment, offset }) => {
                    self.confirm(&last)?;
                    return Ok(LedgerEnd { segment, offset, last });
                }
                Some(Tail::Torn { segment, offset, until }) => cut(&segment, offset, until)?,
                Some(Tail::Unmarked { segment, offset }) => mark(&segment, offset)?,
                None => return Err(stopped("the end of the ledger was not found")),
            }
        }
    }

    /// Makes the last frame durable. The process before this one may have died before its sync, or after a sync that
    /// failed: then the file system takes the frame for written, so it is written again, not only synced.
    fn confirm(&self, last: &Position) -> Result<(), StoreError> {
        if last.sequence == 0 {
            return Ok(());
        }
        let segment = self.segments.get(last.segment)?;
        let io = |source| io_error("write to", &segment.path, source);
        let offset = u64::from(last.offset);
        let mut bytes = vec![0; usize::try_from(last.len).unwrap_or(0)];
        let read = segment.file.read_full_at(&mut bytes, offset).map_err(io)?;
        if Frame::decode(bytes.get(..read).unwrap_or_default()).is_err() {
            return Err(corrupt(&segment.path, offset, "the last frame changed while it was read"));
        }
        segment.file.write_all_at(&bytes, offset).map_err(io)?;
        segment.file.sync_data().map_err(io)
    }

    /// Checks that the frame which the tables say was the last one in a checkpoint is there, and is that frame. Its entries are
    /// read: a newer version that stopped in order left nothing behind it, but what it appended last is here.
    pub(crate) fn check_folded(&self, folded: &Position) -> Result<(), StoreError> {
        if folded.sequence == 0 {
            return Ok(());
        }
        let beyond = |what: &str| {
            StoreError::new(
                StoreErrorKind::Corrupt,
                format!(
                    "the tables hold frame {} of {} at byte {}, but {what}; if the segments are those that belong \
                     here, make the tables anew with `tollgate rebuild`",
                    folded.sequence,
                    self.segments.path(folded.segment).display(),
                    folded.offset
                ),
            )
        };
        if folded.segment == 0 || folded.segment > self.last {
            return Err(beyond("the ledger ends before it"));
        }
        let segment = self.segments.get(folded.segment)?;
        let offset = u64::from(folded.offset);
        let mut bytes = vec![0; usize::try_from(u64::from(folded.len).min(FRAME_BYTES_MAX)).unwrap_or(0)];
        let read = segment
            .file
            .read_full_at(&mut bytes, offset)
            .map_err(|source| io_error("read", &segment.path, source))?;
        let bytes = bytes.get(..read).unwrap_or_default();
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(beyond("the ledger ends before it"));
        }
        let frame = Frame::decode(bytes).map_err(|error| bad_frame(&segment.path, offset, error))?;
        for entry in frame.entries() {
            let (_, blob) = entry.map_err(|error| corrupt(&segment.path, offset, error))?;
            decode_line(blob).map_err(|error| bad_entry(&segment.path, offset, error))?;
        }
        if frame.header.sequence == folded.sequence && frame.checksum == folded.checksum {
            Ok(())
        } else {
            Err(beyond("the ledger has another frame there"))
        }
    }
}

/// Where the next frame goes.
#[derive(Debug)]
pub(crate) struct LedgerEnd {
    segment: Arc<Segment>,
    offset: u64,
    /// The last frame there is.
    pub(crate) last: Position,
}

/// Zeros what an unfinished frame left: first its content, then its header, so that an interruption leaves a frame
/// that is still recognized as unfinished.
fn cut(segment: &Segment, offset: u64, until: u64) -> Result<(), StoreError> {
    let content = (offset + to_u64(HEADER_BYTES)).min(segment.bytes);
    for (from, to) in [(content, until), (offset, content)] {
        segment
            .file
            .zero(from, to)
            .and_then(|()| segment.file.sync_data())
            .map_err(|source| io_error("cut", &segment.path, source))?;
    }
    tracing::info!(file = %segment.path.display(), offset, until, "cut an unfinished frame, never acknowledged");
    Ok(())
}

/// Writes the end mark behind a frame whose content is whole.
fn mark(segment: &Segment, offset: u64) -> Result<(), StoreError> {
    let io = |source| io_error("finish a frame of", &segment.path, source);
    let mut header = [0; HEADER_BYTES];
    segment.file.read_full_at(&mut header, offset).map_err(io)?;
    let header =
        super::frame::FrameHeader::decode(&header).map_err(|error| corrupt(&segment.path, offset, error))?;
    let (place, bytes) = header.end_mark();
    segment.file.write_all_at(bytes, offset + place).map_err(io)?;
    segment.file.sync_data().map_err(io)
}

fn cannot_create(error: CreateError) -> StoreError {
    match error {
        CreateError::Retry(path, source) if source.kind() == std::io::ErrorKind::StorageFull => {
            super::error::full(&path, source)
        }
        CreateError::Retry(path, source) | CreateError::Stop(path, source) => {
            io_error("create", &path, source)
        }
    }
}

impl Ledger {
    /// Opens the end for appending.
    pub(crate) fn new(
        files: LedgerFiles,
        end: LedgerEnd,
        segment_bytes: u64,
        work: Work,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let ready = if end.segment.ordinal < files.last {
            Some(files.segments.get(end.segment.ordinal + 1)?)
        } else {
            None
        };
        let next = files.last + 1;
        let preparer = Preparer::start(
            files.segments.disk.clone(),
            &files.segments.dir,
            segment_bytes,
            next,
            ready,
            work,
        )?;
        metrics.ledger_bytes.set(ledger_bytes(end.segment.ordinal, segment_bytes, end.offset));
        Ok(Self {
            segments: files.segments,
            current: end.segment,
            offset: end.offset,
            last: end.last,
            preparer,
            builder: FrameBuilder::default(),
            stopped: Arc::default(),
            metrics,
        })
    }

    /// Where entries are read.
    pub(crate) const fn segments(&self) -> &Arc<Segments> {
        &self.segments
    }

    /// The last frame.
    pub(crate) const fn last(&self) -> Position {
        self.last
    }

    /// Where the last durable frame ends: the segment and the offset behind it.
    pub(crate) fn end(&self) -> (u32, u64) {
        (self.current.ordinal, self.offset)
    }

    /// The frame to fill for the next [`Self::append`], emptied.
    ///
    /// # Errors
    /// When an earlier failure stopped the ledger.
    pub(crate) fn begin(&mut self) -> Result<&mut FrameBuilder, StoreError> {
        if let Some(why) = self.stopped.get() {
            return Err(stopped(why));
        }
        self.builder.begin();
        Ok(&mut self.builder)
    }

    /// Writes the frame that was filled; on return it is durable.
    ///
    /// # Errors
    /// Full or too large: nothing was written. Otherwise it is not known whether it was, and the ledger has stopped.
    pub(crate) fn append(&mut self) -> Result<Position, StoreError> {
        let len = self.builder.finished_len();
        let most = FRAME_BYTES_MAX.min(self.current.bytes - SEGMENT_HEADER_BYTES);
        if len > most {
            return Err(StoreError::new(
                StoreErrorKind::TooLarge,
                format!("a commit of {len} bytes is larger than the {most} that are taken at once"),
            ));
        }
        if self.offset + len > self.current.bytes {
            let next = self.preparer.take().inspect_err(|error| {
                if !error.kind().is_refusal() {
                    self.stop_for(error);
                }
            })?;
            self.segments.add(Arc::clone(&next));
            (self.current, self.offset) = (next, SEGMENT_HEADER_BYTES);
        } else {
            self.preparer.found_room();
        }
        let (sequence, offset) = (self.last.sequence + 1, self.offset);
        let (bytes, checksum) = self.builder.finish(sequence, self.last.checksum);
        let file = &self.current.file;
        let started = Instant::now();
        let written = file.write_all_at(bytes, offset).and_then(|()| file.sync_data());
        self.metrics.sync_seconds.record(started.elapsed());
        if let Err(source) = written {
            let error = io_error("write to", &self.current.path, source);
            self.stop_for(&error);
            return Err(error);
        }
        self.last = Position {
            sequence,
            segment: self.current.ordinal,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            len: u32::try_from(len).unwrap_or(u32::MAX),
            checksum,
        };
        self.offset += len;
        self.metrics.ledger_bytes.set(ledger_bytes(self.current.ordinal, self.current.bytes, self.offset));
        Ok(self.last)
    }

    /// Appends nothing any more.
    pub(crate) fn stop(&mut self, why: &str) {
        // The first reason stays.
        let _ = self.stopped.set(why.to_owned());
        self.preparer.close();
    }

    fn stop_for(&self, error: &StoreError) {
        let _ = self.stopped.set(error.to_string());
    }

    /// Tells whether there is room for more.
    pub(crate) fn room(&self) -> Room {
        self.preparer.room()
    }

    /// Why it has stopped, once it has.
    pub(crate) fn stopped(&self) -> Arc<OnceLock<String>> {
        Arc::clone(&self.stopped)
    }
}

fn ledger_bytes(ordinal: u32, segment_bytes: u64, offset: u64) -> u64 {
    u64::from(ordinal.saturating_sub(1)) * segment_bytes + offset
}
