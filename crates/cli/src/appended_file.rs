//! A file to which lines are appended, and which may be moved away meanwhile, as by logrotate.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Interval between checks whether the file was moved.
const LOOK: Duration = Duration::from_secs(1);
/// Permissions of a new file: the owner writes, and the group reads.
const MODE: u32 = 0o640;

/// The file.
#[derive(Debug)]
pub(crate) struct AppendedFile {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    looked: Instant,
}

impl AppendedFile {
    /// Opens a file, or makes it.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be opened for appending.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let open = Open { file: append(path)?, looked: Instant::now() };
        Ok(Self { path: path.to_owned(), open: Mutex::new(open) })
    }
}

/// Writes a line whole.
impl Write for &AppendedFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A panic of the holder is not possible between changes that belong together.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.follow(&self.path);
        open.file.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Open {
    /// Opens the path again if another file, or none, is there. The old file stays in use if that fails.
    fn follow(&mut self, path: &Path) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let place = |found: &fs::Metadata| (found.dev(), found.ino());
        let own = self.file.metadata().ok();
        if fs::metadata(path).ok().as_ref().map(place) != own.as_ref().map(place)
            && let Ok(file) = append(path)
        {
            self.file = file;
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_also_after_the_file_was_moved() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("audit.log"), dir.path().join("audit.log.1"));
        fs::write(&path, "before\n").unwrap();
        let file = AppendedFile::open(&path).unwrap();
        let write = |line: &str| (&file).write_all(line.as_bytes()).unwrap();
        write("1\n");
        fs::rename(&path, &moved).unwrap();
        write("2\n");
        file.open.lock().unwrap().looked -= LOOK;
        write("3\n");
        assert_eq!(fs::read_to_string(&moved).unwrap(), "before\n1\n2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777 & !MODE, 0);
        assert!(AppendedFile::open(&dir.path().join("none/audit.log")).is_err());
    }
}
