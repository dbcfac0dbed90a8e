//! A file that is there only once it is whole.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use tokio::{fs::File, io::AsyncWriteExt as _};

use super::exit::{Exit, Failure};
use crate::types::for_terminal;

/// A new file, written under another name beside its own, which it gets at the end. Dropped before that, nothing of
/// it is left. What is there already is never overwritten.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    file: File,
}

impl NewFile {
    /// Begins a file that must not be there yet. Only its owner may read it.
    pub(super) async fn begin(path: &Path) -> Result<Self, Failure> {
        let taken = tokio::fs::symlink_metadata(path).await.is_ok();
        let Some(name) = path.file_name().filter(|_| !taken) else {
            return Err(exists(path));
        };
        let mut partial = OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(partial);
        let mut options = File::options();
        let opened = options.write(true).create_new(true).mode(0o600).open(&partial).await;
        let file = opened.map_err(|error| failed("make", path, &error))?;
        Ok(Self { path: path.to_owned(), partial, file })
    }

    /// Where to write.
    pub(super) fn writer(&mut self) -> &mut File {
        &mut self.file
    }

    /// Makes it durable, and gives it its name.
    pub(super) async fn keep(mut self) -> Result<(), Failure> {
        let written = match self.file.flush().await {
            Ok(()) => self.file.sync_all().await,
            Err(error) => Err(error),
        };
        written.map_err(|error| failed("write", &self.path, &error))?;
        // A link is made only where nothing is; the other name goes when `self` is dropped.
        match tokio::fs::hard_link(&self.partial, &self.path).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&self.path)),
            Err(error) => Err(failed("name", &self.path, &error)),
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.partial) {
            tracing::warn!(file = %self.partial.display(), %error, "cannot remove an unfinished file");
        }
    }
}

/// Refuses a name that is taken, before any work is done for it.
pub(super) async fn refuse_taken(path: &Path) -> Result<(), Failure> {
    match tokio::fs::symlink_metadata(path).await {
        Ok(_) => Err(exists(path)),
        Err(_) => Ok(()),
    }
}

/// What is there already is in the way.
pub(super) fn exists(path: &Path) -> Failure {
    let shown = path.display().to_string();
    Failure::usage(format!("{} is there already, and nothing is overwritten", for_terminal(&shown)))
        .next("name another file")
}

/// What of a new file or folder could not be done.
pub(super) fn failed(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let shown = path.display().to_string();
    let failure = Failure::new(Exit::Failed, format!("cannot {doing} {}: {error}", for_terminal(&shown)));
    failure.maybe_next(match error.kind() {
        io::ErrorKind::NotFound => Some("make the folder that it is to be in, or name another place with -o"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("make room, or name another place with -o"),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some("name another place with -o"),
        _ => None,
    })
}
