//! Reads a file of a bounded size.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Maximum size of a file with a secret or with keys, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// Returns the content of a file; `None` if it has more than 1 MiB. Reads no more than that, whatever the file is.
///
/// # Errors
///
/// Fails if the file cannot be read.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok(Some(content).filter(|content| content.len() <= MAX_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_at_most_a_mebibyte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (bytes, is_read) in [(0, true), (MAX_BYTES, true), (MAX_BYTES + 1, false)] {
            std::fs::write(&path, vec![b'x'; bytes]).unwrap();
            assert_eq!(read(&path).unwrap().map(|content| content.len()), is_read.then_some(bytes));
        }
        // It has no length, and no end.
        assert_eq!(read(Path::new("/dev/zero")).unwrap(), None);
        assert!(read(&dir.path().join("none")).is_err());
    }
}
