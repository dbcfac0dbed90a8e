//! Listing: a walk over the folders in the byte order of the keys, in bounded memory.

use std::{
    collections::{BinaryHeap, VecDeque},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, statat},
    io::Errno,
};

use super::{
    super::{ErrorKind, Key, ObjectMeta, failure::Failure},
    files::{modified, size},
    folder::{Folder, failure},
    names::{from_file, to_file},
};

/// How many names of one folder are held at once; a larger folder is read again for the rest.
const NAMES: usize = 4096;
/// How many objects one step of the walk yields at most.
const BATCH: usize = 512;
/// The most links that are named.
const MAX_LINKS: usize = 1_000;

/// The keys below `prefix` that are symbolic links.
pub(super) fn links(root: &Path, prefix: &str) -> Result<Vec<Key>, Failure> {
    let mut walk = Walk::start(root, prefix, NAMES, Wanted::Links)?;
    let mut links = Vec::new();
    while links.len() < MAX_LINKS {
        let batch = walk.step()?;
        if batch.is_empty() {
            break;
        }
        links.extend(batch.into_iter().map(|meta| meta.key));
    }
    links.truncate(MAX_LINKS);
    Ok(links)
}

/// What a walk yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Objects, and links as objects without bytes.
    All,
    /// Links alone.
    Links,
}

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walk {
    levels: Vec<Level>,
    names: usize,
}

/// A folder on the way down to where the walk is.
#[derive(Debug)]
struct Level {
    folder: Folder,
    /// What the keys in this folder begin with: empty, or ending in `/`.
    path: String,
    /// What the names here must begin with.
    prefix: String,
    /// Names to come, in order. Those of folders end in `/`: so they sort as the keys below them do.
    names: VecDeque<String>,
    /// The name after which the folder must be read again, if it has more.
    more_after: Option<String>,
    wanted: Wanted,
}

impl Walk {
    /// A walk over the keys that begin with `prefix`.
    pub(super) fn new(root: &Path, prefix: &str) -> Result<Self, Failure> {
        Self::with_names(root, prefix, NAMES)
    }

    pub(super) fn with_names(root: &Path, prefix: &str, names: usize) -> Result<Self, Failure> {
        Self::start(root, prefix, names, Wanted::All)
    }

    fn start(root: &Path, prefix: &str, names: usize, wanted: Wanted) -> Result<Self, Failure> {
        let root = Folder::root(root)?;
        let none = Self { levels: Vec::new(), names };
        let (path, prefix) = prefix.rfind('/').map_or(("", prefix), |slash| prefix.split_at(slash + 1));
        let folders = path.strip_suffix('/');
        if folders.is_some_and(|folders| Key::new(folders).is_err()) {
            return Ok(none);
        }
        let chain = match root.open_all(folders.into_iter().flat_map(|folders| folders.split('/'))) {
            Err(failure) if failure.kind == ErrorKind::NotFound => return Ok(none),
            chain => chain?,
        };
        let Some(folder) = chain.into_iter().next_back() else { return Ok(none) };
        let level = Level::read(folder, path.to_owned(), prefix.to_owned(), names, wanted)?;
        Ok(Self { levels: vec![level], ..none })
    }

    /// The next objects; none at the end.
    pub(super) fn step(&mut self) -> Result<Vec<ObjectMeta>, Failure> {
        let mut batch = Vec::new();
        while batch.len() < BATCH {
            let Some(level) = self.levels.last_mut() else { break };
            match level.next(self.names)? {
                None => {
                    self.levels.pop();
                }
                Some(name) => match name.strip_suffix('/') {
                    Some(segment) => {
                        let below = level.enter(segment, self.names)?;
                        self.levels.extend(below);
                    }
                    None => batch.extend(level.object(&name)?),
                },
            }
        }
        Ok(batch)
    }
}

impl Level {
    fn read(folder: Folder, path: String, prefix: String, names: usize, wanted: Wanted) -> Result<Self, Failure> {
        let mut level = Self { folder, path, prefix, names: VecDeque::new(), more_after: None, wanted };
        level.read_names(None, names)?;
        Ok(level)
    }

    /// Reads the folder, and keeps the first `limit` names after `after`.
    fn read_names(&mut self, after: Option<&str>, limit: usize) -> Result<(), Failure> {
        let mut first: BinaryHeap<String> = BinaryHeap::new();
        let mut more = false;
        for entry in Dir::read_from(&self.folder).map_err(failure)? {
            let entry = entry.map_err(failure)?;
            let raw = entry.file_name().to_bytes();
            let Some(mut name) = from_file(raw).filter(|name| !matches!(name.as_str(), "." | "..")) else { continue };
            match self.file_type(entry.file_type(), &name)? {
                FileType::RegularFile if self.wanted == Wanted::All => {}
                FileType::Directory => name.push('/'),
                FileType::Symlink => {}
                _ => continue,
            }
            if !name.starts_with(&self.prefix) || after.is_some_and(|after| name.as_str() <= after) {
                continue;
            }
            first.push(name);
            if first.len() > limit {
                first.pop();
                more = true;
            }
        }
        self.names = first.into_sorted_vec().into();
        self.more_after = if more { self.names.back().cloned() } else { None };
        Ok(())
    }

    /// Some file systems do not say the type in the listing.
    fn file_type(&self, said: FileType, name: &str) -> Result<FileType, Failure> {
        if said != FileType::Unknown {
            return Ok(said);
        }
        match statat(&self.folder, to_file(name).as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => Ok(FileType::Unknown),
            Err(errno) => Err(failure(errno)),
        }
    }

    fn next(&mut self, names: usize) -> Result<Option<String>, Failure> {
        if self.names.is_empty()
            && let Some(after) = self.more_after.take()
        {
            self.read_names(Some(&after), names)?;
        }
        Ok(self.names.pop_front())
    }

    /// The level of the folder `segment`; none if it was removed meanwhile, or is too deep for a key.
    fn enter(&self, segment: &str, names: usize) -> Result<Option<Self>, Failure> {
        let path = format!("{}{segment}", self.path);
        if Key::new(path.as_str()).is_err() {
            return Ok(None);
        }
        match self.folder.child(segment) {
            Ok(folder) => Self::read(folder, path + "/", String::new(), names, self.wanted).map(Some),
            // Removed, or replaced by a link, since the folder above was read.
            Err(failure) if matches!(failure.kind, ErrorKind::NotFound | ErrorKind::NotAnObject) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The object of the file `segment`; none if it was removed meanwhile, or no put made it.
    fn object(&self, segment: &str) -> Result<Option<ObjectMeta>, Failure> {
        let Ok(key) = Key::new(format!("{}{segment}", self.path)) else { return Ok(None) };
        match statat(&self.folder, to_file(segment).as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                // A gap would be worse: what is behind the link would seem never to have been there.
                let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
                let size = if is_link { 0 } else { size(&stat) };
                Ok(Some(ObjectMeta { key, size, modified: modified(&stat) }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failure(errno)),
        }
    }
}
