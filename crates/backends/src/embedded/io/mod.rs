//! Everything that touches the segments goes through here, so that tests and the simulator can fail, tear and lose it.
//!
//! An enum, not a trait object: the commit path pays one predictable branch.

#[cfg(feature = "fault-injection")]
pub mod fault;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::limits::{PIECE_BYTES, PIECE_REST};

static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];

/// Who may read and write a file of the store: the user that the server runs as, whatever the umask.
pub(crate) const FILE_MODE: u32 = 0o600;

/// Makes a folder with those above it that are missing; only the user that the server runs as gets into it.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Where segments live.
#[derive(Clone, Debug, Default)]
pub enum Disk {
    /// The operating system's file system.
    #[default]
    Real,
    /// Files in memory that lose, tear and refuse on purpose.
    #[cfg(feature = "fault-injection")]
    Fault(fault::FaultDisk),
}

/// An open file for reading and writing at offsets.
#[derive(Debug)]
pub enum DiskFile {
    /// A file of the operating system.
    Real(File),
    /// A file in memory.
    #[cfg(feature = "fault-injection")]
    Fault(fault::FaultFile),
}

impl Disk {
    /// Makes a new empty file, emptying one that is there.
    pub(crate) fn create(&self, path: &Path) -> io::Result<DiskFile> {
        match self {
            Self::Real => OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(FILE_MODE)
                .open(path)
                .map(DiskFile::Real),
            #[cfg(feature = "fault-injection")]
            Self::Fault(disk) => disk.create(path).map(DiskFile::Fault),
        }
    }

    /// Opens a file that exists.
    pub(crate) fn open(&self, path: &Path) -> io::Result<DiskFile> {
        match self {
            Self::Real => OpenOptions::new().read(true).write(true).open(path).map(DiskFile::Real),
            #[cfg(feature = "fault-injection")]
            Self::Fault(disk) => disk.open(path).map(DiskFile::Fault),
        }
    }

    /// Gives a file another name, replacing what has it.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self {
            Self::Real => std::fs::rename(from, to),
            #[cfg(feature = "fault-injection")]
            Self::Fault(disk) => disk.rename(from, to),
        }
    }

    /// Removes a file.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Real => std::fs::remove_file(path),
            #[cfg(feature = "fault-injection")]
            Self::Fault(disk) => disk.remove(path),
        }
    }

    /// Makes names given, taken and removed in a folder durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match self {
            Self::Real => File::open(dir)?.sync_all(),
            #[cfg(feature = "fault-injection")]
            Self::Fault(disk) => disk.sync_dir(dir),
        }
    }

    /// Names of the files in a folder, sorted.
    pub(crate) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = match self {
            Self::Real => {
                let mut names = Vec::new();
                for found in std::fs::read_dir(dir)? {
                    names.extend(found?.file_name().into_string().ok());
                }
                names
            }
            #[cfg(feature = "fault-injection")]
            Self::Fault(disk) => disk.list(dir)?,
        };
        names.sort_unstable();
        Ok(names)
    }
}

impl DiskFile {
    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            bytes = bytes.get(written..).unwrap_or_default();
            offset += to_u64(written);
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Real(file) => file.write_at(bytes, offset),
            #[cfg(feature = "fault-injection")]
            Self::Fault(file) => file.write_at(bytes, offset),
        }
    }

    /// Reads at `offset` until `buffer` is full or the file ends; says how much.
    pub(crate) fn read_full_at(&self, buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..)
            && !rest.is_empty()
        {
            match self.read_at(rest, offset) {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    offset += to_u64(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Real(file) => file.read_at(buffer, offset),
            #[cfg(feature = "fault-injection")]
            Self::Fault(file) => file.read_at(buffer, offset),
        }
    }

    /// Makes what was written durable. After an error nothing is known of it, and it must not be called again.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.sync_data(),
            #[cfg(feature = "fault-injection")]
            Self::Fault(file) => file.sync_data(),
        }
    }

    /// Makes a piece of a large file durable and rests for a moment: a commit that syncs meanwhile waits behind one piece
    /// at most, where a whole segment at once would hold it up for tens of milliseconds.
    pub(crate) fn sync_piece(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => {
                file.sync_data()?;
                std::thread::park_timeout(PIECE_REST);
                Ok(())
            }
            // Nobody waits for it, and what is lost or refused is so at the sync of the whole.
            #[cfg(feature = "fault-injection")]
            Self::Fault(_) => Ok(()),
        }
    }

    /// Size in bytes.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            Self::Real(file) => file.metadata().map(|metadata| metadata.len()),
            #[cfg(feature = "fault-injection")]
            Self::Fault(file) => file.len(),
        }
    }

    /// Writes zeros from `from` up to `to`.
    pub(crate) fn zero(&self, from: u64, to: u64) -> io::Result<()> {
        self.zero_by_pieces(from, to, |_| Ok(()))
    }

    /// The same, piece by piece; `between` is called between two.
    pub(crate) fn zero_by_pieces(
        &self,
        mut from: u64,
        to: u64,
        between: impl Fn(&Self) -> io::Result<()>,
    ) -> io::Result<()> {
        while from < to {
            let wanted = usize::try_from(to - from).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let Some(chunk) = ZEROS.get(..wanted) else { break };
            self.write_all_at(chunk, from)?;
            from += to_u64(wanted);
            if from < to {
                between(self)?;
            }
        }
        Ok(())
    }
}

/// A size of memory as a file offset: never loses anything on the machines this is built for.
pub(crate) fn to_u64(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}
