//! Objects of a backup in the form that kubectl reads.
//!
//! By default each is what a restore would create: without what the server or another controller sets, and without
//! what is made again. `as_stored` gives every object as the server sent it, byte for byte.

mod place;
mod yaml;

use std::{
    collections::{BTreeMap, HashSet},
    io,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    objects::{ObjectFilter, Objects, StoredObject},
    restore::{self, RestoreError, Tier},
};
use crate::types::{BackupContents, Blake3Digest, Monitor, StreamInfo};
pub use place::{Form, Place};
pub use yaml::{to_json, to_yaml};

/// What is exported, and how.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// Which objects.
    pub filter: ObjectFilter,
    /// Every object as the server sent it.
    pub as_stored: bool,
}

/// Where exported objects go.
#[async_trait]
pub trait ObjectSink: Send {
    /// Takes one object.
    ///
    /// # Errors
    /// If it cannot be written.
    async fn put(&mut self, place: &Place, bytes: Bytes) -> io::Result<()>;
}

/// What was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportedObjects {
    /// Objects that were written.
    pub written: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Of these, by tier.
    pub tiers: BTreeMap<Tier, u64>,
    /// Of these, what the rules changed, beside what the server sets on every object.
    pub changed: u64,
    /// Of these, what has owners, which cannot be written: an owner's uid is given by the cluster.
    pub owned: u64,
    /// What a restore would not create either, by the reason.
    pub left_out: BTreeMap<&'static str, u64>,
    /// What cannot be read: kind, name and reason of the first few,
    pub unreadable: Vec<String>,
    /// and how many there are.
    pub unreadable_count: u64,
}

/// The most unreadable objects that are named.
const MAX_NAMED: usize = 20;

/// An export could not go on. What was written until then is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The backup could not be read.
    #[error(transparent)]
    Read(RestoreError),
    /// The backup holds two objects of one name.
    #[error("the backup holds {0} twice; run `drctl verify --level content` on it")]
    Twice(String),
    /// What was exported could not be written.
    #[error("cannot write an exported object")]
    Output(#[source] io::Error),
    /// The run was told to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<RestoreError> for ExportError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Interrupted => Self::Interrupted,
            other => Self::Read(other),
        }
    }
}

/// Writes the objects that `options` choose, in the order in which a restore would create them.
///
/// # Errors
/// [`ExportError`]. Each object's chunks are proven before it is written; a part whose end contradicts the backup
/// is an error after its objects.
pub async fn export(
    contents: &dyn BackupContents,
    options: &ExportOptions,
    sink: &mut dyn ObjectSink,
    monitor: &dyn Monitor,
    cancel: &CancellationToken,
) -> Result<ExportedObjects, ExportError> {
    let mut streams: Vec<&StreamInfo> =
        contents.streams().iter().filter(|stream| options.filter.takes_stream(stream)).collect();
    streams.sort_by(|a, b| (tier(a), &a.name, a.number).cmp(&(tier(b), &b.name, b.number)));
    let parts = |stream: &StreamInfo| stream.parts.iter().filter(|part| options.filter.takes_part(&part.name)).count();
    let total: usize = streams.iter().map(|stream| parts(stream)).sum();
    monitor.phase("exporting", "parts", Some(u64::try_from(total).unwrap_or(u64::MAX)));
    let mut run = Run { options, sink, done: ExportedObjects::default() };
    for stream in streams {
        for (number, part) in stream.parts.iter().enumerate() {
            if !options.filter.takes_part(&part.name) {
                continue;
            }
            let mut seen = HashSet::new();
            let mut objects = Objects::open(contents, stream, number).await?;
            while let Some(object) = objects.next().await? {
                if cancel.is_cancelled() {
                    return Err(ExportError::Interrupted);
                }
                if !seen.insert(Blake3Digest::of(object.name().as_bytes())) {
                    return Err(ExportError::Twice(called(stream, &object)));
                }
                run.object(stream, object).await?;
            }
            monitor.advance(1);
        }
    }
    Ok(run.done)
}

fn tier(stream: &StreamInfo) -> Tier {
    restore::tier_of_stream(&stream.name)
}

fn called(stream: &StreamInfo, object: &StoredObject) -> String {
    let name = match object.namespace() {
        "" => object.name().to_owned(),
        namespace => format!("{namespace}/{}", object.name()),
    };
    let safe = crate::types::for_terminal;
    format!("{} {}", safe(&stream.name), safe(&name))
}

struct Run<'a> {
    options: &'a ExportOptions,
    sink: &'a mut dyn ObjectSink,
    done: ExportedObjects,
}

impl Run<'_> {
    async fn object(&mut self, stream: &StreamInfo, object: StoredObject) -> Result<(), ExportError> {
        if self.options.as_stored {
            let mut line = object.bytes().to_vec();
            line.push(b'\n');
            return self.put(stream, &object, Form::Json, line.into()).await;
        }
        let value = match object.value() {
            Ok(value) => value,
            Err(why) => {
                self.done.unreadable_count += 1;
                if self.done.unreadable.len() < MAX_NAMED {
                    self.done.unreadable.push(format!("{}: {why}", called(stream, &object)));
                }
                return Ok(());
            }
        };
        match restore::created(&stream.name, value) {
            Err(why) => *self.done.left_out.entry(why).or_default() += 1,
            Ok(created) => {
                self.done.changed += u64::from(created.changed);
                self.done.owned += u64::from(created.owned);
                self.put(stream, &object, Form::Yaml, to_yaml(&created.object).into()).await?;
            }
        }
        Ok(())
    }

    async fn put(
        &mut self,
        stream: &StreamInfo,
        object: &StoredObject,
        form: Form,
        bytes: Bytes,
    ) -> Result<(), ExportError> {
        let place = Place {
            tier: tier(stream),
            kind: stream.name.clone(),
            namespace: object.namespace().to_owned(),
            name: object.name().to_owned(),
            form,
        };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.sink.put(&place, bytes).await.map_err(ExportError::Output)?;
        self.done.written += 1;
        self.done.bytes += length;
        *self.done.tiers.entry(place.tier).or_default() += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
