//! A small file system of our own, and ballast to fill it.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::Result;

/// Bytes of ballast written at once.
const BALLAST_CHUNK_BYTES: usize = 64 * 1024;

/// A file system in memory of a fixed size, mounted in a temporary folder; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one of so many bytes. Needs root, or `sudo` that does not ask for a password.
    ///
    /// # Errors
    /// When it cannot be mounted, with how it can.
    pub fn mount(bytes: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tollgate-small-disk-").tempdir()?;
        let uid = rustix::process::getuid().as_raw();
        let size = format!("size={bytes},mode=0700,uid={uid}");
        let path = folder.path().display().to_string();
        as_root(&["mount", "-t", "tmpfs", "-o", &size, "tollgate-small-disk", &path])?;
        Ok(Self { folder })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn free_bytes(&self) -> Result<u64> {
        let status = statvfs(self.path())?;
        Ok(status.f_bavail * status.f_frsize)
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Takes what is left; returns how much that was.
    ///
    /// # Errors
    /// When writing fails for another reason than that there is no room.
    pub fn fill(&self) -> Result<u64> {
        let mut file = File::options().create(true).append(true).open(self.ballast())?;
        let (chunk, mut taken) = (vec![0x55; BALLAST_CHUNK_BYTES], 0);
        loop {
            match file.write(&chunk) {
                Ok(written) => taken += u64::try_from(written)?,
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(taken),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When there is no ballast.
    pub fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.ballast())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is just being killed may still hold files.
        let path = self.path().display().to_string();
        if let Err(error) = as_root(&["umount", "--lazy", &path]) {
            eprintln!("{path} is left mounted: {error}");
        }
    }
}

fn as_root(words: &[&str]) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    let (program, args) =
        if root { words.split_first() } else { Some((&"sudo", words)) }.ok_or("no command")?;
    let mut command = Command::new(program);
    if !root {
        command.arg("-n");
    }
    let done = command.args(args).output();
    let said = match done {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let line = words.join(" ");
    Err(format!("`{line}` failed ({said}); the disk-full tests mount a small file system: run them as root, or give this user sudo without a password").into())
}
