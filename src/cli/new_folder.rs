//! A folder that is there only once it is whole.

use std::{
    ffi::OsString,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::{fs::File, io::AsyncWriteExt as _};

use super::{
    exit::Failure,
    new_file::{exists, failed},
};
use crate::types::for_terminal;

/// A new folder, filled under another name beside its own, which it gets at the end. Dropped before that, nothing of
/// it is left. What is there already is never overwritten, and no link is followed inside it: all that is in it was
/// made here.
#[derive(Debug)]
pub(super) struct NewFolder {
    path: PathBuf,
    partial: PathBuf,
    mode: u32,
    kept: bool,
}

impl NewFolder {
    /// Begins a folder that must not be there yet. `mode` is that of its folders; its files get what of it reads and
    /// writes.
    pub(super) async fn begin(path: &Path, mode: u32) -> Result<Self, Failure> {
        let taken = tokio::fs::symlink_metadata(path).await.is_ok();
        let Some(name) = path.file_name().filter(|_| !taken) else {
            return Err(exists(path));
        };
        let mut partial = OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(partial);
        std::fs::DirBuilder::new().mode(mode).create(&partial).map_err(|error| failed("make", path, &error))?;
        Ok(Self { path: path.to_owned(), partial, mode, kept: false })
    }

    /// Puts a file into it, at a path of plain names.
    ///
    /// # Errors
    /// If it cannot be written; the text names the file.
    pub(super) async fn put(&self, place: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create(place).await?;
        let written = async {
            file.write_all(bytes).await?;
            file.flush().await
        };
        written.await.map_err(|error| self.failed(place, &error))
    }

    fn failed(&self, place: &Path, error: &io::Error) -> io::Error {
        let shown = self.path.join(place).display().to_string();
        io::Error::new(error.kind(), format!("{}: {error}", for_terminal(&shown)))
    }

    /// Begins a file in it, at a path of plain names.
    ///
    /// # Errors
    /// If it cannot be made; the text names the file.
    pub(super) async fn create(&self, place: &Path) -> io::Result<File> {
        let failed = |error: io::Error| self.failed(place, &error);
        if !place.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(failed(io::Error::other("its path leaves the folder")));
        }
        let file = self.partial.join(place);
        if let Some(parent) = file.parent() {
            std::fs::DirBuilder::new().mode(self.mode).recursive(true).create(parent).map_err(failed)?;
        }
        let mut options = File::options();
        options.write(true).create_new(true).mode(self.mode & 0o666);
        options.open(&file).await.map_err(failed)
    }

    /// Makes it durable, and gives it its name.
    pub(super) async fn keep(mut self) -> Result<(), Failure> {
        let partial = self.partial.clone();
        // One call for all of its files: an fsync each would cost as many flushes of the disk.
        let synced = tokio::task::spawn_blocking(move || {
            let folder = std::fs::File::open(&partial)?;
            rustix::fs::syncfs(&folder).map_err(io::Error::from)
        });
        let synced = synced.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        synced.map_err(|error| failed("write", &self.path, &error))?;
        let named = match renameat_with(CWD, &self.partial, CWD, &self.path, RenameFlags::NOREPLACE) {
            // A file system that cannot do that: a folder is never renamed onto one with something in it.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => std::fs::rename(&self.partial, &self.path),
            named => named.map_err(io::Error::from),
        };
        match named {
            Ok(()) => {
                self.kept = true;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&self.path)),
            Err(error) => Err(failed("name", &self.path, &error)),
        }
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = std::fs::remove_dir_all(&self.partial)
        {
            tracing::warn!(folder = %self.partial.display(), %error, "cannot remove an unfinished folder");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_there_only_once_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        let folder = NewFolder::begin(&path, 0o700).await.unwrap();
        folder.put(Path::new("a/b.yaml"), b"x").await.unwrap();
        assert!(folder.put(Path::new("a/b.yaml"), b"y").await.is_err(), "a file is written once");
        assert!(!path.exists());
        folder.keep().await.unwrap();
        assert_eq!(std::fs::read(path.join("a/b.yaml")).unwrap(), b"x");
        assert!(NewFolder::begin(&path, 0o700).await.is_err(), "it is there already");
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn one_that_is_given_up_leaves_nothing_and_no_file_leaves_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = NewFolder::begin(&place.path().join("out"), 0o700).await.unwrap();
        for bad in ["../x", "/x", "a/../../x"] {
            assert!(folder.put(Path::new(bad), b"x").await.is_err(), "{bad}");
        }
        folder.put(Path::new("a"), b"x").await.unwrap();
        drop(folder);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }
}
