//! Files that hold keys: mode 0600, replaced in one step or not at all.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::WireError;

/// Largest file that we read back, in bytes: a key, two certificates and some
/// addresses take below 8 KiB.
const MAX_BYTES: u64 = 1 << 20;

/// Writes a file that only its owner may read. Readers see the old content or
/// the new one, also after a power failure; its folder is made if need be.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), WireError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let written = fs::create_dir_all(folder).and_then(|()| {
        // A temporary file has mode 0600 from its first moment.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(folder)
    });
    written.map_err(|source| WireError::file(path, source))
}

/// Reads a file back; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, WireError> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| WireError::file(path, source))?,
    };
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(|source| WireError::file(path, source))?;
    Ok(Some(text))
}

/// Makes a rename in the folder survive a power failure.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Folders cannot be opened on other systems; their journals order renames.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_content_and_names_the_file_in_errors() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("new/secret.pem");
        assert!(read(&path).expect("absent is not an error").is_none());
        write(&path, "one").expect("writable");
        write(&path, "two").expect("writable");
        assert_eq!(*read(&path).expect("readable").expect("present"), "two");
        let error = read(folder.path()).expect_err("a folder is no file").to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("secret.pem");
        fs::write(&path, "open to all").expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        write(&path, "secret").expect("writable");
        let mode = fs::metadata(&path).expect("present").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
