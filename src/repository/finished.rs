//! The streams of a backup that have been written to their end.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use super::{
    Error,
    streams::{MAX_PARTS, MAX_STREAMS, StreamRecord},
};
use crate::types::Name;

/// Gathers finished streams, and gives new ones their numbers.
#[derive(Debug, Default)]
pub(crate) struct Finished {
    next: AtomicU32,
    parts: AtomicUsize,
    streams: Mutex<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    records: Vec<StreamRecord>,
    names: HashSet<(Name, String)>,
}

impl Finished {
    /// The number of a new stream. One that begins again gets another.
    pub(crate) fn next_number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a part that begins.
    pub(crate) fn count_part(&self) -> Result<(), Error> {
        if self.parts.fetch_add(1, Ordering::Relaxed) < MAX_PARTS {
            return Ok(());
        }
        Err(Error::OverLimit { what: "the number of parts of a backup".to_owned(), limit: MAX_PARTS.to_string() })
    }

    /// Takes a stream into the backup.
    pub(crate) fn add(&self, record: StreamRecord) -> Result<(), Error> {
        let mut streams = self.streams();
        if streams.records.len() >= MAX_STREAMS {
            let what = "the number of streams of a backup".to_owned();
            return Err(Error::OverLimit { what, limit: MAX_STREAMS.to_string() });
        }
        if !streams.names.insert((record.info.source.clone(), record.info.name.clone())) {
            let problem = "it was written twice; a stream's name is unique in its source";
            return Err(Error::Misuse { stream: record.info.name, problem });
        }
        streams.records.push(record);
        Ok(())
    }

    /// Forgets the streams of a source. Their chunks are stored and serve whoever has the same ones.
    pub(crate) fn abandon(&self, source: &Name) {
        let mut streams = self.streams();
        streams.records.retain(|record| record.info.source != *source);
        streams.names.retain(|(of, _)| of != source);
    }

    /// All of them, by number.
    pub(crate) fn all(&self) -> Vec<StreamRecord> {
        let mut streams = self.streams().records.clone();
        streams.sort_by_key(|stream| stream.info.number);
        streams
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
