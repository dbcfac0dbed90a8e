//! The Kubernetes objects of a backup: listed, and one of them looked at.

use std::ops::ControlFlow;

use super::{Error, Run};
use crate::{
    repository::{BackupReader, Repository, StoredManifest},
    sources::kubernetes::objects::{self, KindWord, ObjectFilter, ObjectName, Objects, StoredObject},
    types::{BackupContents as _, MediaType, Name, StreamInfo},
};

/// The objects of a backup, ready to be read.
#[derive(Debug)]
pub struct BackupObjects {
    reader: BackupReader,
    filter: ObjectFilter,
}

/// Where an object is in a backup.
#[derive(Debug, Clone, Copy)]
pub struct Located<'a> {
    /// The source.
    pub source: &'a Name,
    /// Its kind: `deployments.apps`.
    pub kind: &'a str,
    /// The object.
    pub object: &'a StoredObject,
}

/// Opens what a backup holds of the objects that `filter` means.
///
/// # Errors
/// [`Error::NoSuchSource`] for a source that it has not, [`Error::NotChosen`] for a namespace or kind of which it has
/// nothing, or what reading the backup says.
pub async fn objects(
    repository: &Repository,
    stored: &StoredManifest,
    filter: ObjectFilter,
) -> Result<BackupObjects, Error> {
    for source in &filter.sources {
        super::kind_of_source(stored, source)?;
    }
    let reader = repository.read_contents(&stored.manifest).await?;
    let filter = filter.narrow(reader.streams().iter())?;
    Ok(BackupObjects { reader, filter })
}

impl BackupObjects {
    /// The kinds of which there may be some.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.streams().map(|stream| stream.name.as_str())
    }

    /// The namespaces of which there may be some.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        let parts = self.streams().flat_map(|stream| &stream.parts);
        parts.map(|part| part.name.as_str()).filter(|name| self.filter.takes_part(name))
    }

    fn streams(&self) -> impl Iterator<Item = &StreamInfo> {
        self.reader.streams().iter().filter(|stream| self.filter.takes_stream(stream))
    }

    /// Reads them one by one, until `on` has seen enough.
    ///
    /// # Errors
    /// What reading the backup says.
    pub async fn each(&self, on: &mut dyn FnMut(Located<'_>) -> ControlFlow<()>, run: &Run) -> Result<(), Error> {
        for stream in self.streams() {
            for (number, part) in stream.parts.iter().enumerate() {
                if !self.filter.takes_part(&part.name) {
                    continue;
                }
                let mut objects = Objects::open(&self.reader, stream, number).await?;
                while let Some(object) = objects.next().await? {
                    if run.cancel.is_cancelled() {
                        return Err(Error::Interrupted);
                    }
                    let located = Located { source: &stream.source, kind: &stream.name, object: &object };
                    if on(located).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The one object of this kind and name.
    ///
    /// # Errors
    /// [`Error::NoSuchKind`], [`Error::SeveralKinds`], [`Error::NoSuchObject`], or what reading the backup says.
    pub async fn one(&self, kind: &KindWord, name: &ObjectName) -> Result<StoredObject, Error> {
        let streams = |stream: &&StreamInfo| stream.media_type == MediaType::KubernetesObjects;
        let all = || self.reader.streams().iter().filter(streams);
        let kind = match kind.choose(all().map(|stream| stream.name.as_str())).as_slice() {
            [] => return Err(Error::NoSuchKind { kind: kind.to_string() }),
            [one] => *one,
            several => {
                let choices = several.iter().map(|kind| (*kind).to_owned()).collect();
                return Err(Error::SeveralKinds { kind: kind.to_string(), choices });
            }
        };
        for stream in all().filter(|stream| stream.name == kind && self.filter.takes_stream(stream)) {
            let Some(part) = stream.parts.iter().position(|part| part.name == name.namespace) else { continue };
            if let Some(found) = objects::find(&self.reader, stream, part, &name.name).await? {
                return Ok(found);
            }
        }
        Err(Error::NoSuchObject { object: format!("{} {name}", crate::types::for_terminal(kind)) })
    }
}
