//! The calls on one object, blocking.

use std::{
    fs::File,
    io::{Read, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
};

use bytes::Bytes;
use jiff::Timestamp;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, linkat, openat, statat, unlinkat},
    io::Errno,
};

use super::{
    super::{ErrorKind, Key, PutOutcome, failure::Failure},
    folder::{Folder, a_link, failure, io_failure},
    names,
};
use crate::repository::large;

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// How often a put starts again because prune removed the emptied folder under it.
const PUT_ATTEMPTS: u32 = 16;

/// The folders of a key, and its last segment.
fn split(key: &Key) -> (impl Iterator<Item = &str>, &str) {
    let (folders, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
    (folders.split('/').filter(|segment| !segment.is_empty()), name)
}

/// A file that is written and not yet an object; removed in any case when it is dropped.
struct Temporary<'f> {
    folder: &'f Folder,
    name: String,
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // What cannot be removed is never listed either.
        let _ = unlinkat(self.folder, self.name.as_str(), AtFlags::empty());
    }
}

/// Creates the object of `key`, and makes it and the folders above it durable.
pub(super) fn put_new(root: &Path, key: &Key, bytes: &[u8]) -> Result<PutOutcome, Failure> {
    let mut attempt = 1;
    loop {
        match put_once(root, key, bytes) {
            Err(failure) if failure.kind == ErrorKind::NotFound && attempt < PUT_ATTEMPTS => attempt += 1,
            Err(failure) if failure.kind == ErrorKind::NotFound => {
                let reason =
                    "a part of its path is the file of another object, or its folder is removed again and again";
                return Err(Failure { kind: ErrorKind::Other, reason: reason.to_owned(), ..failure });
            }
            done => return done,
        }
    }
}

fn put_once(root: &Path, key: &Key, bytes: &[u8]) -> Result<PutOutcome, Failure> {
    let (folders, name) = split(key);
    let chain = Folder::root(root)?.make_all(folders)?;
    let Some(folder) = chain.last() else { return Err(Failure::not_found()) };
    let outcome = match statat(folder, names::to_file(name).as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => there_before(&stat, name)?,
        Err(Errno::NOENT) => write_and_link(folder, name, bytes)?,
        Err(errno) => return Err(failure(errno)),
    };
    // Another writer may have made the object, or a folder, a moment ago and not yet made it
    // durable, so all of them are made durable here too.
    chain.iter().rev().try_for_each(Folder::sync)?;
    Ok(outcome)
}

fn there_before(stat: &Stat, name: &str) -> Result<PutOutcome, Failure> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(PutOutcome::Exists),
        FileType::Symlink => Err(a_link(name)),
        _ => Err(Failure::new(ErrorKind::Other, "a folder or a special file has this name")),
    }
}

fn write_and_link(folder: &Folder, name: &str, bytes: &[u8]) -> Result<PutOutcome, Failure> {
    let temporary = Temporary { folder, name: format!("{}{:032x}", names::TEMPORARY, rand::random::<u128>()) };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, temporary.name.as_str(), flags, FILE_MODE).map_err(failure)?);
    file.write_all(bytes).map_err(io_failure)?;
    file.sync_all().map_err(io_failure)?;
    match linkat(folder, temporary.name.as_str(), folder, names::to_file(name).as_ref(), AtFlags::empty()) {
        Ok(()) => Ok(PutOutcome::Created),
        Err(Errno::EXIST) => Ok(PutOutcome::Exists),
        Err(errno @ (Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)) => {
            let reason = "this file system has no hard links, without which an object cannot be created once only";
            Err(Failure::new(ErrorKind::Unsupported, reason).because(errno))
        }
        Err(errno) => Err(failure(errno)),
    }
}

/// The time that the file system gives a file that is written now. Nothing of it stays.
pub(super) fn clock(root: &Path) -> Result<Timestamp, Failure> {
    let folder = Folder::root(root)?;
    let temporary = Temporary { folder: &folder, name: format!("{}{:032x}", names::TEMPORARY, rand::random::<u128>()) };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(&folder, temporary.name.as_str(), flags, FILE_MODE).map_err(failure)?);
    file.write_all(b"x").map_err(io_failure)?;
    Ok(modified(&fstat(&file).map_err(failure)?))
}

/// Opens the file of an object.
fn open(root: &Path, key: &Key) -> Result<(File, Stat), Failure> {
    let (folders, name) = split(key);
    let chain = Folder::root(root)?.open_all(folders)?;
    let Some(folder) = chain.last() else { return Err(Failure::not_found()) };
    // A pipe that was put here must not hold us up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(folder, names::to_file(name).as_ref(), flags, Mode::empty()).map_err(failure)?;
    let stat = fstat(&file).map_err(failure)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Failure::not_found());
    }
    Ok((File::from(file), stat))
}

/// The bytes of the object, if they are not more than `limit`.
pub(super) fn get(root: &Path, key: &Key, limit: u64) -> Result<Bytes, Failure> {
    let (file, stat) = open(root, key)?;
    let size = size(&stat);
    if size > limit {
        return Err(Failure::too_large(size, limit));
    }
    let mut bytes = large::buffer(usize::try_from(size).unwrap_or_default());
    file.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(io_failure)?;
    if bytes.len() as u64 != size {
        return Err(Failure::new(ErrorKind::Other, "its size changed while it was read"));
    }
    Ok(bytes.into())
}

/// The bytes `range` of the object.
pub(super) fn get_range(root: &Path, key: &Key, range: &Range<u64>) -> Result<Bytes, Failure> {
    let (file, stat) = open(root, key)?;
    let within = range.start <= range.end && range.end <= size(&stat);
    let length = range.end.checked_sub(range.start).and_then(|length| usize::try_from(length).ok());
    let Some(length) = length.filter(|_| within) else {
        return Err(Failure::not_within(range, Some(size(&stat))));
    };
    let mut bytes = large::buffer(length);
    bytes.resize(length, 0);
    file.read_exact_at(&mut bytes, range.start).map_err(io_failure)?;
    Ok(bytes.into())
}

/// Size and time of the object.
pub(super) fn head(root: &Path, key: &Key) -> Result<(u64, Timestamp), Failure> {
    let (_, stat) = open(root, key)?;
    Ok((size(&stat), modified(&stat)))
}

/// Removes the object, and the folders above it that are empty then.
pub(super) fn delete(root: &Path, key: &Key) -> Result<(), Failure> {
    let (folders, name) = split(key);
    let folders: Vec<&str> = folders.collect();
    let chain = match Folder::root(root)?.open_all(folders.iter().copied()) {
        Err(failure) if failure.kind == ErrorKind::NotFound => return Ok(()),
        chain => chain?,
    };
    let Some(folder) = chain.last() else { return Ok(()) };
    match unlinkat(folder, names::to_file(name).as_ref(), AtFlags::empty()) {
        Ok(()) => folder.sync()?,
        // A folder is no object.
        Err(Errno::NOENT | Errno::ISDIR) => {}
        Err(errno) => return Err(failure(errno)),
    }
    for (parent, segment) in chain.iter().zip(&folders).rev() {
        // One that is not empty, or that another writer has just filled, stays.
        if unlinkat(parent, names::to_file(segment).as_ref(), AtFlags::REMOVEDIR).is_err() {
            break;
        }
    }
    Ok(())
}

/// The size that `stat` says.
pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

/// The time of the last write that `stat` says.
pub(super) fn modified(stat: &Stat) -> Timestamp {
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Timestamp::new(stat.st_mtime, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
