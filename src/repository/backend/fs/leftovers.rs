//! Writes that did not end: `.tmp-` files that a killed writer has left.

use std::path::Path;

use jiff::Timestamp;
use rustix::{
    fs::{AtFlags, Dir, FileType, statat, unlinkat},
    io::Errno,
};

use super::{
    super::failure::Failure,
    files::modified,
    folder::{Folder, failure},
    names::TEMPORARY,
};

/// Folders below each other: more than a key can have.
const MAX_DEPTH: usize = 64;

/// Removes the unfinished writes below `root` that were last written before `before`; gives how many. No link is
/// followed. A writer that is alive has younger ones: it writes an object in one go.
pub(super) fn remove(root: &Path, before: Timestamp) -> Result<u64, Failure> {
    in_folder(&Folder::root(root)?, before, 0)
}

/// Whether a put gave this name to what it was writing.
fn is_ours(name: &str) -> bool {
    let hexadecimal = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    name.strip_prefix(TEMPORARY).is_some_and(|rest| rest.len() == 32 && rest.bytes().all(hexadecimal))
}

fn in_folder(folder: &Folder, before: Timestamp, depth: usize) -> Result<u64, Failure> {
    let mut removed = 0;
    for entry in Dir::read_from(folder).map_err(failure)? {
        let entry = entry.map_err(failure)?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if matches!(name, "." | "..") {
            continue;
        }
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(failure(errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if is_ours(name) && modified(&stat) < before => {
                match unlinkat(folder, name, AtFlags::empty()) {
                    Ok(()) => removed += 1,
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(failure(errno)),
                }
            }
            FileType::Directory if depth < MAX_DEPTH => {
                // Removed, or replaced by a link, since it was read: then there is nothing of ours in it.
                if let Ok(child) = folder.child(name) {
                    removed += in_folder(&child, before, depth + 1)?;
                }
            }
            _ => {}
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn old_rests_go_and_objects_young_ones_and_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("data/x");
        fs::create_dir_all(&inside).unwrap();
        let (one, other) = (format!(".tmp-{:032x}", 1), format!(".tmp-{:032x}", 2));
        for name in ["object", &one, &other, "%2Etmp-3", ".tmp-notes"] {
            fs::write(inside.join(name), name).unwrap();
        }
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join(&one), "theirs").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("link")).unwrap();
        let now = Timestamp::now();
        assert_eq!(remove(folder.path(), now - SignedDuration::from_hours(24)).unwrap(), 0, "they are young");
        assert_eq!(remove(folder.path(), now + SignedDuration::from_hours(1)).unwrap(), 2);
        let mut left: Vec<_> = fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["%2Etmp-3", ".tmp-notes", "object"]);
        assert!(elsewhere.path().join(&one).exists());
    }
}
