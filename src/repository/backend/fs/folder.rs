//! Open folders: every step down is taken from an open folder and follows no link, so that no key
//! and no link leads out of the repository.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, fsync, mkdirat, open, openat, statat},
    io::Errno,
};

use super::{
    super::{ErrorKind, failure::Failure},
    names,
};

/// Folders are for the repository's owner alone: a plain repository holds secrets.
const FOLDER_MODE: Mode = Mode::RWXU;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Folder {
    /// The repository's own folder. Links on the way to it are the user's own, and followed.
    pub(super) fn root(path: &Path) -> Result<Self, Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open(path, flags, Mode::empty()).map(Self).map_err(|errno| match errno {
            Errno::NOENT => Failure::new(ErrorKind::NoSuchStore, "the folder does not exist").because(errno),
            Errno::NOTDIR => Failure::new(ErrorKind::NoSuchStore, "it is not a folder").because(errno),
            errno => failure(errno),
        })
    }

    /// The folder of `segment` in this one.
    pub(super) fn child(&self, segment: &str) -> Result<Self, Failure> {
        let name = names::to_file(segment);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(self, name.as_ref(), flags, Mode::empty()).map(Self).map_err(|errno| {
            let link = || {
                statat(self, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode))
            };
            match errno {
                Errno::NOTDIR | Errno::LOOP if link() == Ok(FileType::Symlink) => a_link(&name),
                // A file stands here: as an object of that key, with no object below it.
                Errno::NOTDIR => Failure::not_found(),
                errno => failure(errno),
            }
        })
    }

    /// This folder and those of `segments`, each in the one before, made where they are missing.
    pub(super) fn make_all<'s>(self, segments: impl Iterator<Item = &'s str>) -> Result<Vec<Self>, Failure> {
        let mut chain = vec![self];
        for segment in segments {
            let Some(last) = chain.last() else { break };
            let next = match last.child(segment) {
                Err(failure) if failure.kind == ErrorKind::NotFound => {
                    match mkdirat(last, names::to_file(segment).as_ref(), FOLDER_MODE) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(self::failure(errno)),
                    }
                    last.child(segment)?
                }
                other => other?,
            };
            chain.push(next);
        }
        Ok(chain)
    }

    /// This folder and those of `segments`, all of which must exist.
    pub(super) fn open_all<'s>(self, segments: impl Iterator<Item = &'s str>) -> Result<Vec<Self>, Failure> {
        let mut chain = vec![self];
        for segment in segments {
            let Some(last) = chain.last() else { break };
            let next = last.child(segment)?;
            chain.push(next);
        }
        Ok(chain)
    }

    /// Makes the names in this folder durable.
    pub(super) fn sync(&self) -> Result<(), Failure> {
        fsync(self).map_err(failure)
    }
}

/// Why a link is not followed.
pub(super) fn a_link(name: &str) -> Failure {
    let name = crate::types::for_terminal(name);
    Failure::new(
        ErrorKind::NotAnObject,
        format!(
            "`{name}` is a symbolic link, which is never followed inside a repository: replace it by what it points to"
        ),
    )
}

/// What an error of the file system means.
pub(super) fn failure(errno: Errno) -> Failure {
    let (kind, reason) = match errno {
        Errno::NOENT => return Failure::not_found().because(errno),
        Errno::NOSPC => (ErrorKind::Full, "no space is left on the file system"),
        Errno::DQUOT => (ErrorKind::Full, "the quota of the file system is used up"),
        Errno::FBIG => (ErrorKind::Full, "the file is larger than the file system or a limit allows"),
        Errno::ACCESS | Errno::PERM => (ErrorKind::PermissionDenied, "the file system's permissions do not allow it"),
        Errno::ROFS => (ErrorKind::PermissionDenied, "the file system is mounted read-only"),
        Errno::LOOP => (ErrorKind::NotAnObject, "it is a symbolic link, which is never followed inside a repository"),
        Errno::NAMETOOLONG => {
            (ErrorKind::Unsupported, "a part of the key is longer than the file system's names can be")
        }
        Errno::STALE | Errno::NOTCONN | Errno::HOSTDOWN | Errno::HOSTUNREACH => {
            (ErrorKind::Unreachable, "the file system's server does not answer")
        }
        Errno::TIMEDOUT => (ErrorKind::TimedOut, "the file system's server did not answer in time"),
        Errno::IO => (ErrorKind::Other, "the disk or its file system failed"),
        _ => return Failure::new(ErrorKind::Other, io::Error::from(errno).to_string()).because(errno),
    };
    Failure::new(kind, reason).because(errno)
}

/// As [`failure`], of an error of the standard library.
pub(super) fn io_failure(error: io::Error) -> Failure {
    match Errno::from_io_error(&error) {
        Some(errno) => failure(errno),
        None => Failure::new(ErrorKind::Other, error.to_string()).because(error),
    }
}
