//! A snapshot in a file: whole under its name, or not there.
//! Never lets others read it: it holds all values, and what passwords are checked by.
//!
//! # Source
//! open(2), rename(2) and fsync(2): a name lasts once its directory is synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A snapshot that is being written, beside the place where it will be.
pub struct KeptSnapshot {
    file: File,
    name: PathBuf,
    /// Where it is until it is whole: its name, and `.part`.
    pub part: PathBuf,
}

impl KeptSnapshot {
    /// Begins one that will be the file of this name, in the place of what is there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn begin(name: &Path) -> io::Result<Self> {
        let mut part = name.as_os_str().to_owned();
        part.push(".part");
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&part)?;
        // One that was left there may be open to others.
        file.set_permissions(PermissionsExt::from_mode(0o600))?;
        Ok(Self {
            file,
            name: name.to_owned(),
            part: part.into(),
        })
    }

    /// Writes more of it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)
    }

    /// Gives it its name, for good.
    ///
    /// # Errors
    /// It may not last.
    pub fn end(self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.part, &self.name)?;
        let parent = self.name.parent();
        let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_its_name_once_it_is_whole_and_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("backup.db");
        fs::write(directory.path().join("backup.db.part"), "left behind").unwrap();
        let mut kept = KeptSnapshot::begin(&name).unwrap();
        kept.write(b"some").unwrap();
        kept.write(b"thing").unwrap();
        assert!(!name.exists());
        kept.end().unwrap();
        assert_eq!(fs::read(&name).unwrap(), b"something");
        let mode = fs::metadata(&name).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
