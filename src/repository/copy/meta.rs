//! What lies under `meta/`, and accept marks.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;

use super::{
    super::{
        Accept, Error, Manifest, Repository,
        backend::{ErrorKind, Key, ObjectMeta},
        control,
        crypt::MAX_SIGNATURE,
        index::{MAX_INDEX, MAX_LINES},
        layout,
        objects::{check_ref, get_exact},
        reuse::blocking,
        streams::{IndexRecord, Streams},
    },
    Copier, CopyCounts, said_of,
};
use crate::types::{Name, Sha256Digest};

/// An index of the original.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) key: Key,
    pub(super) size: u64,
    /// Where somebody says it whom we can read.
    pub(super) sha256: Option<Sha256Digest>,
}

/// What lies under `meta/` of a backup in the original, but for the refs.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) indexes: Vec<Index>,
    streams: Bytes,
}

/// The indexes that the list of streams names, which must be there with their sizes.
fn plain_indexes(
    manifest: &Manifest,
    records: Vec<IndexRecord>,
    listed: &HashMap<Key, ObjectMeta>,
) -> Result<Vec<Index>, Error> {
    let mut indexes = Vec::with_capacity(records.len());
    for record in records {
        let key = layout::index(&manifest.backup, record.index, false);
        match listed.get(&key).map(|meta| meta.size) {
            None => return Err(Error::Gone { object: key.to_string() }),
            Some(size) if size != record.size => {
                return Err(Error::damaged(
                    &key,
                    format!("it does not have the {} bytes that are recorded", record.size),
                ));
            }
            Some(_) => indexes.push(Index { key, size: record.size, sha256: Some(record.sha256) }),
        }
    }
    Ok(indexes)
}

/// The indexes of an encrypted backup, by their listing, which must have them all from the first on. Whoever may put objects
/// may have put others there since the manifest, at `written`, which are none: of what is younger only what fills a gap counts,
/// or goes on where the others end, as one does that was sent again.
fn sealed_indexes(
    manifest: &Manifest,
    listed: &HashMap<Key, ObjectMeta>,
    written: Timestamp,
) -> Result<Vec<Index>, Error> {
    let backup = &manifest.backup;
    let gone = |n| Err(Error::Gone { object: layout::index(backup, n, true).to_string() });
    let numbered = |meta: &&ObjectMeta| {
        let n = layout::parse_index(&meta.key)?.1;
        (meta.key == layout::index(backup, n, true) && meta.modified <= written).then_some(n)
    };
    let last = listed.values().filter_map(|meta| numbered(&meta)).max();
    let mut indexes = Vec::new();
    for n in 0..=u32::MAX {
        let key = layout::index(backup, n, true);
        match listed.get(&key) {
            Some(meta) if meta.size <= MAX_INDEX || meta.modified <= written => {
                indexes.push(Index { key, size: meta.size, sha256: None });
            }
            _ if last.is_some_and(|last| n <= last) => return gone(n),
            _ => break,
        }
    }
    if (indexes.len() as u64) < manifest.totals.chunks.div_ceil(MAX_LINES as u64) {
        return gone(u32::try_from(indexes.len()).unwrap_or(u32::MAX));
    }
    Ok(indexes)
}

/// What a copy has under the key of a mark that the original has.
enum AcceptThere {
    /// The same bytes.
    Equal,
    /// One that was made there, and accepts the same; or none any more.
    OfItsOwn,
    /// One that accepts another manifest, or nothing.
    Other(Error),
}

/// What is listed under `meta/` of a backup.
pub(super) async fn listed(of: &Repository, manifest: &Manifest) -> Result<HashMap<Key, ObjectMeta>, Error> {
    let objects = of.backend().list(&layout::meta_of(&manifest.backup));
    Ok(objects.map_ok(|meta| (meta.key.clone(), meta)).try_collect().await?)
}

impl Copier<'_> {
    /// What lies under `meta/` of a backup in the original, but for the refs: the indexes, then what names them. Those of a
    /// plain repository are proven by the list of streams; encrypted ones, which nobody can open here, by their sizes.
    pub(super) async fn lists(&self, manifest: &Manifest) -> Result<Lists, Error> {
        let backup = &manifest.backup;
        let sealed = self.from.is_encrypted();
        let key = layout::streams(backup, sealed);
        check_ref(backup, &key, &manifest.streams)?;
        let streams = get_exact(&**self.from.backend(), &key, manifest.streams.size, manifest.streams.sha256).await?;
        let listed = listed(self.from, manifest).await?;
        let indexes = match sealed {
            true => {
                let key = layout::manifest(&manifest.policy, &manifest.schedule, backup);
                let head = self.from.backend().head(&key).await;
                let written = head.map_err(|error| Error::reading(&key, error))?.modified;
                sealed_indexes(manifest, &listed, written)?
            }
            false => {
                let bytes = streams.clone();
                let records = blocking(&key, move || Streams::decode_indexes(bytes)).await?;
                plain_indexes(manifest, records, &listed)?
            }
        };
        Ok(Lists { indexes, streams })
    }

    /// Reads the indexes of the original, where it can be told here whether they are what was written.
    pub(super) async fn prove_indexes(&self, lists: &Lists) -> Result<(), Error> {
        for Index { key, size, sha256 } in &lists.indexes {
            if let Some(sha256) = sha256 {
                let found = get_exact(&**self.from.backend(), key, *size, *sha256).await;
                found.map_err(|error| said_of(error, &self.place_read()))?;
            }
        }
        Ok(())
    }

    /// Sends the lists of a backup: indexes first, then what names them. What is there is read and must be equal, but for what is
    /// `proven`. Gives the keys of all.
    pub(super) async fn send_meta(
        &self,
        manifest: &Manifest,
        proven: &HashSet<Key>,
        counts: &mut CopyCounts,
    ) -> Result<Vec<Key>, Error> {
        let backup = &manifest.backup;
        let there = listed(self.to, manifest).await?;
        let lists = self.lists(manifest).await?;
        self.prove_lists(manifest, &lists, |key| there.contains_key(key) && !proven.contains(key)).await?;
        let Lists { indexes, streams } = lists;
        let mut keys = Vec::with_capacity(indexes.len() + 2);
        for Index { key, size, sha256 } in indexes {
            if !there.contains_key(&key) {
                self.options.rate.pass(size).await;
                match sha256 {
                    Some(sha256) => self.send_exact(&key, size, sha256).await?,
                    None => self.send_sized(&key, size).await?,
                }
                counts.bytes += size;
            }
            keys.push(key);
        }
        let (of_streams, of_refs) = (layout::streams(backup, self.from.is_encrypted()), layout::refs(backup));
        for (key, object) in [(&of_streams, &manifest.streams), (&of_refs, &manifest.refs)] {
            if there.contains_key(key) {
                continue;
            }
            self.options.rate.pass(object.size).await;
            match key == &of_streams {
                true => self.put(key, streams.clone()).await?,
                false => self.send_exact(key, object.size, object.sha256).await?,
            }
            counts.bytes += object.size;
        }
        keys.extend([of_streams, of_refs]);
        Ok(keys)
    }

    /// The bytes under `meta/` that the copy lacks, of what belongs to the backup. What is there must be it, and is given, too.
    pub(super) async fn meta_missing(&self, manifest: &Manifest) -> Result<(u64, HashSet<Key>), Error> {
        let there = listed(self.to, manifest).await?;
        let lists = self.lists(manifest).await.map_err(|error| said_of(error, &self.place_read()))?;
        let proven = self.prove_lists(manifest, &lists, |key| there.contains_key(key)).await?;
        let (streams, refs) =
            (layout::streams(&manifest.backup, self.from.is_encrypted()), layout::refs(&manifest.backup));
        let named = [(streams, manifest.streams.size), (refs, manifest.refs.size)];
        let all = lists.indexes.into_iter().map(|index| (index.key, index.size)).chain(named);
        let bytes = all.filter(|(key, _)| !there.contains_key(key)).map(|(_, size)| size).sum();
        Ok((bytes, proven))
    }

    /// Sends an index that nobody can open here.
    async fn send_sized(&self, key: &Key, size: u64) -> Result<(), Error> {
        let bytes = self.from.backend().get(key, MAX_INDEX).await;
        let bytes = bytes.map_err(|error| Error::reading(key, error))?;
        if bytes.len() as u64 != size {
            return Err(Error::damaged(key, format!("it does not have the {size} bytes that were listed")));
        }
        self.put(key, bytes).await
    }

    /// Sends the marks that accept backups of `policy` which are in the copy, with their signatures. One that is there without
    /// its signature, which a copy that was killed has left, gets that. Gives how many, and what
    /// cannot be one, in the original or in the copy: it accepts nothing, and is left where it is.
    ///
    /// # Errors
    /// What the stores say. A mark that is damaged accepts nothing, and is not sent.
    pub async fn send_accepts(&self, policy: &Name) -> Result<(u64, Vec<Error>), Error> {
        let there = self.to.marks(&layout::accepts_of(Some(policy))).await?;
        let (mut sent, mut left) = (0, Vec::new());
        let mut marks: Vec<_> = self.from.marks(&layout::accepts_of(Some(policy))).await?.into_iter().collect();
        marks.sort_by(|a, b| a.0.cmp(&b.0));
        for (mark, meta) in marks {
            let bytes = match self.from.backend().get(&meta.key, control::MAX_CONTROL as u64).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_found() => continue,
                Err(error) if matches!(error.kind, ErrorKind::TooLarge | ErrorKind::NotAnObject) => {
                    left.push(Error::reading(&meta.key, error));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Ok(accept) = control::decode::<Accept>(&bytes) else { continue };
            let manifest = layout::manifest(&accept.policy, &accept.schedule, &accept.backup);
            if (&accept.policy, &accept.backup) != (&mark.0, &mark.1) {
                continue;
            }
            if let Some(found) = there.get(&mark) {
                match self.accept_there(&found.key, &bytes, &accept).await? {
                    AcceptThere::Equal => match self.mend_signature(&meta.key).await {
                        Ok(was_sent) => sent += u64::from(was_sent),
                        Err(error) if error.is_damage() => left.push(error),
                        Err(error) => return Err(error),
                    },
                    AcceptThere::OfItsOwn => {}
                    AcceptThere::Other(error) => left.push(error),
                }
                continue;
            }
            match self.to.backend().head(&manifest).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            }
            // The signature first: a mark without it would not count where signers are pinned.
            self.send_signature(&meta.key).await?;
            self.put(&meta.key, bytes).await?;
            sent += 1;
        }
        Ok((sent, left))
    }

    /// What is under the key of a mark in the copy.
    async fn accept_there(&self, key: &Key, original: &Bytes, accept: &Accept) -> Result<AcceptThere, Error> {
        let found = match self.to.backend().get(key, control::MAX_CONTROL as u64).await {
            Ok(found) if found == *original => return Ok(AcceptThere::Equal),
            Ok(found) => control::decode::<Accept>(&found).ok(),
            Err(error) if error.is_not_found() => return Ok(AcceptThere::OfItsOwn),
            Err(error) if matches!(error.kind, ErrorKind::TooLarge | ErrorKind::NotAnObject) => None,
            Err(error) => return Err(error.into()),
        };
        if found.is_some_and(|found| (&found.manifest, &found.backup) == (&accept.manifest, &accept.backup)) {
            return Ok(AcceptThere::OfItsOwn);
        }
        let place = self.place_written();
        let reason = format!("the one in {place} does not accept what the original's accepts; take it away there");
        Ok(AcceptThere::Other(Error::damaged(key, reason)))
    }

    /// Sends the signature of the object under `key`, if the copy lacks it, and says whether.
    async fn mend_signature(&self, key: &Key) -> Result<bool, Error> {
        let lacks = self.lacks_signature(&layout::signature(key)).await?;
        Ok(lacks && self.send_signature(key).await? > 0)
    }

    /// Sends the signature of the object under `key`, if it has one, and gives its size.
    pub(super) async fn send_signature(&self, key: &Key) -> Result<u64, Error> {
        let key = layout::signature(key);
        match self.from.backend().get(&key, MAX_SIGNATURE).await {
            Ok(bytes) => {
                let size = bytes.len() as u64;
                self.put(&key, bytes).await?;
                Ok(size)
            }
            Err(error) if error.is_not_found() => Ok(0),
            Err(error) => Err(Error::reading(&key, error)),
        }
    }
}
