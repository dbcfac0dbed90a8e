//! Where a backup holds an object: the parts that may, and the object once they were read.

use super::{Error, History, covered};
use crate::{
    repository::{BackupEntry, Listed},
    sources::kubernetes::{
        objects::{self, StoredObject},
        restore::RestoreError,
    },
    types::{BackupContents as _, Blake3Digest, MediaType, Name, StreamInfo, for_terminal},
};

/// Bytes that the reader of a backup may hold.
const MEMORY: u64 = 16 << 20;

/// What is known of the object in one backup.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) entry: BackupEntry,
    pub(super) held: Held,
    /// A source of the backup takes such an object.
    pub(super) is_covered: bool,
    /// What is missing in the backup may be the object.
    pub(super) may_be_missing: bool,
    pub(super) note: Option<String>,
}

#[derive(Debug)]
pub(super) enum Held {
    /// The parts that may hold it, one a source. They are read when that is needed, and the object kept.
    Parts { parts: Vec<PartAt>, object: Option<Option<(Name, StoredObject)>> },
    /// It cannot be read.
    Unreadable,
}

/// A part of a backup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartAt {
    source: Name,
    length: u64,
    digest: Blake3Digest,
}

impl Seen {
    /// The object, and the source that holds it, as far as that was read.
    pub(super) fn object(&self) -> Option<(&Name, &StoredObject)> {
        match &self.held {
            Held::Parts { object: Some(Some((source, object))), .. } => Some((source, object)),
            _ => None,
        }
    }

    /// Whether it is known if the object was there.
    pub(super) fn is_known(&self) -> bool {
        self.object().is_some() || (!self.may_be_missing && !matches!(self.held, Held::Unreadable))
    }
}

impl Held {
    /// Both have parts that may hold the object, and they have the same bytes.
    pub(super) fn is_equal_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Parts { parts, .. }, Self::Parts { parts: others, .. }) => !parts.is_empty() && parts == others,
            _ => false,
        }
    }

    /// Takes what `other`, which is equal, knows already.
    pub(super) fn learn_from(&mut self, other: &Self) {
        if let (Self::Parts { object, .. }, Self::Parts { object: known, .. }) = (self, other)
            && object.is_none()
        {
            object.clone_from(known);
        }
    }
}

impl History<'_> {
    /// Where a backup would hold the object.
    pub(super) async fn look(&mut self, entry: BackupEntry) -> Result<Seen, Error> {
        let unreadable = |entry, why: String| Seen {
            entry,
            held: Held::Unreadable,
            is_covered: true,
            may_be_missing: false,
            note: Some(why),
        };
        if let Listed::Damaged(why) | Listed::Newer(why) = &entry.listed {
            let why = why.clone();
            self.totals.damaged += u64::from(matches!(entry.listed, Listed::Damaged(_)));
            return Ok(unreadable(entry, why));
        }
        match self.parts(&entry).await {
            Ok((parts, covered)) => Ok(Seen {
                entry,
                held: Held::Parts { object: parts.is_empty().then_some(None), parts },
                is_covered: covered.is_covered,
                may_be_missing: covered.missing.is_some(),
                note: covered.missing.or(covered.note).map(|note| for_terminal(&note).into_owned()),
            }),
            Err(error) if is_damage(&error) => {
                self.totals.damaged += 1;
                Ok(unreadable(entry, error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// The parts that may hold the object, and whether a source of the backup takes such ones.
    async fn parts(&self, entry: &BackupEntry) -> Result<(Vec<PartAt>, covered::Answer), Error> {
        let stored = self.repository.manifest(&entry.policy, &entry.schedule, &entry.backup).await?;
        let reader = self.repository.read_within(&stored.manifest, MEMORY).await?;
        let kind = self.kind(reader.streams())?;
        let mut parts = Vec::new();
        for (stream, place) in self.places(reader.streams(), kind) {
            if let Some(part) = stream.parts.get(place) {
                parts.push(PartAt { source: stream.source.clone(), length: part.length, digest: part.blake3 });
            }
        }
        let covered = covered::judge(&stored.manifest, self.options, kind, !parts.is_empty());
        Ok((parts, covered))
    }

    /// The kind that is meant, as this backup calls it.
    fn kind<'s>(&self, streams: &'s [StreamInfo]) -> Result<Option<&'s str>, Error> {
        let names = streams.iter().filter(|stream| is_objects(stream)).map(|stream| stream.name.as_str());
        match self.options.kind.choose(names).as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(*one)),
            several => {
                let choices = several.iter().map(|kind| (*kind).to_owned()).collect();
                Err(Error::SeveralKinds { kind: self.options.kind.to_string(), choices })
            }
        }
    }

    /// Each part of the kind and namespace: several sources may have one.
    fn places<'s>(&self, streams: &'s [StreamInfo], kind: Option<&str>) -> Vec<(&'s StreamInfo, usize)> {
        let of_kind = streams.iter().filter(|stream| is_objects(stream) && Some(stream.name.as_str()) == kind);
        let place = |stream: &StreamInfo| stream.parts.iter().position(|part| part.name == self.options.name.namespace);
        of_kind.filter_map(|stream| place(stream).map(|place| (stream, place))).collect()
    }

    /// Reads the object of `seen`, if that was not done yet.
    pub(super) async fn read(&mut self, seen: &mut Seen) -> Result<(), Error> {
        let Held::Parts { object: object @ None, .. } = &mut seen.held else { return Ok(()) };
        self.totals.parts_read += 1;
        match self.fetch(&seen.entry).await {
            Ok(found) => *object = Some(found),
            Err(error) if is_damage(&error) => {
                self.totals.damaged += 1;
                (seen.held, seen.note) = (Held::Unreadable, Some(error.to_string()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The object and the first source that has it.
    async fn fetch(&self, entry: &BackupEntry) -> Result<Option<(Name, StoredObject)>, Error> {
        let stored = self.repository.manifest(&entry.policy, &entry.schedule, &entry.backup).await?;
        let reader = self.repository.read_within(&stored.manifest, MEMORY).await?;
        let kind = self.kind(reader.streams())?;
        for (stream, part) in self.places(reader.streams(), kind) {
            if let Some(found) = objects::find(&reader, stream, part, &self.options.name.name).await? {
                return Ok(Some((stream.source.clone(), found)));
            }
        }
        Ok(None)
    }
}

fn is_objects(stream: &StreamInfo) -> bool {
    stream.media_type == MediaType::KubernetesObjects
}

/// What is wrong with one backup, and no reason not to look at the others.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Repository(error) => error.is_damage(),
        Error::Restore(RestoreError::Contents(error)) | Error::Contents(error) => error.damaged,
        Error::Restore(RestoreError::Malformed { .. }) => true,
        _ => false,
    }
}
