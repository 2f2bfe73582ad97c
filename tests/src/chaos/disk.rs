//! Small disks that can be filled: file systems in memory, of a fixed size.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Failed;

/// What a disk is filled with, at first in pieces of this size.
const PIECE: usize = 1 << 20;

/// The name of what fills a disk.
const BALLAST: &str = "ballast";

/// A mounted disk; it goes with this.
#[derive(Debug)]
pub(super) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of so many bytes on a folder, which is made. Needs root.
    pub(super) fn mount(path: &Path, bytes: u64) -> Result<Self, Failed> {
        fs::create_dir_all(path)?;
        let mut command = Command::new("mount");
        let done =
            command.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(path).output()?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
            return Err(format!("a disk cannot be mounted on {}: {said} (needs root)", path.display()).into());
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Fills it to the last byte.
    pub(super) fn fill(&self) -> Result<(), Failed> {
        let mut ballast = File::create(self.path.join(BALLAST))?;
        let (piece, mut length) = (vec![0; PIECE], PIECE);
        while length > 0 {
            match ballast.write(&piece[..length]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => length /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes room again.
    pub(super) fn free(&self) -> Result<(), Failed> {
        Ok(fs::remove_file(self.path.join(BALLAST))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a program that was killed may still have it open for a moment.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).output();
    }
}
