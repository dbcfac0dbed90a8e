//! Committing a backup: the protocol's steps B5 to B7.

use std::collections::HashMap;

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::SignedDuration;

use super::{
    BackupWriter, Error, FORMAT, Manifest, ManifestDraft, ObjectRef, Previous, Repository, Totals,
    backend::{ErrorKind, PutOutcome},
    catalog::{Marker, StoredManifest},
    checkpoint::Lines,
    control,
    crypt::{Signature, signature},
    layout,
    objects::put_own,
    refs::{self, MAX_REFS, Ref},
    streams::{IndexRecord, MAX_STREAMS_OBJECT, StreamRecord, Streams},
    tool,
};
use crate::types::{Sha256Digest, State};

/// No backup commits when its session is older: prune may sweep its packs as garbage.
const MAX_SESSION: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What became of a commit.
#[derive(Debug, Clone, PartialEq)]
pub enum CommitOutcome {
    /// The backup exists.
    Committed(Box<StoredManifest>),
    /// Another run had taken this one for dead and put an abort marker in its place: there is no backup.
    Fenced,
}

impl BackupWriter {
    /// Commits the backup (B5 to B7). Streams that were not finished do not belong to it.
    ///
    /// # Errors
    /// [`Error::PacksGone`], [`Error::SessionTooOld`], or what the store says. Then nothing was
    /// committed, and the next run reuses what is stored. After [`Error::CommitUnknown`] the backup
    /// may exist: `list` tells.
    pub async fn commit(&self, draft: ManifestDraft) -> Result<CommitOutcome, Error> {
        if !matches!(draft.state, State::Complete | State::Partial | State::Suspect) {
            return Err(Error::Internal("an aborted backup cannot be committed".to_owned()));
        }
        self.checkpoint().await?;
        let packs = self.pipeline.refs();
        let packs_last = self.options.planted(|it| it.manifest_first);
        if !packs_last {
            self.check_presence(&packs).await?;
        }
        self.extend_locks(&packs).await?;
        let age = self.options.clock.now().duration_since(self.session_written);
        if age > MAX_SESSION {
            return Err(Error::SessionTooOld { backup: self.backup().clone(), age });
        }
        let (streams, indexes, totals) = self.put_streams().await?;
        let refs = self.put_refs(packs).await?;
        self.check_lists(indexes, [&streams, &refs]).await?;
        let manifest = Manifest {
            format: FORMAT,
            repository: self.repository.header.id.clone(),
            policy: self.options.policy.clone(),
            schedule: self.options.schedule.clone(),
            backup: self.backup().clone(),
            state: draft.state,
            started: self.options.started,
            finished: self.options.clock.now(),
            previous: self
                .previous
                .as_ref()
                .map(|previous| Previous { id: previous.manifest.backup.clone(), sha256: previous.sha256 }),
            parents: self.parents.clone(),
            full_since: self.full_since,
            cluster: draft.cluster.clone(),
            sources: Vec::new(),
            skew_ms: None,
            missing: Vec::new(),
            missing_omitted: 0,
            suspect: Vec::new(),
            notes: Vec::new(),
            notes_omitted: 0,
            tool: tool(),
            policy_document: None,
            epoch: self.cipher.epoch(),
            totals,
            streams,
            refs,
            unknown: serde_json::Map::new(),
        };
        let (manifest, bytes) = manifest.with(draft)?;
        self.pipeline.check()?;
        let key = layout::manifest(&manifest.policy, &manifest.schedule, &manifest.backup);
        self.repository.put_signature(&key, signature::MANIFEST, &bytes).await?;
        let outcome = self.repository.put_manifest(manifest, bytes).await?;
        self.pipeline.store_late().await?;
        self.end.cancel();
        Ok(outcome)
    }

    /// Lists once more the packs that the backup needs, its own too: one that is gone, or that a
    /// store acknowledged and does not have, must be found now (B5).
    async fn check_presence(&self, packs: &[Ref]) -> Result<(), Error> {
        let wanted: HashMap<_, _> = packs.iter().map(|pack| ((pack.backup.clone(), pack.pack), pack.size)).collect();
        let backups = packs.iter().map(|pack| &pack.backup);
        let present = self.repository.present(backups, |name| wanted.contains_key(name)).await?;
        let mut gone = packs.iter().filter(|pack| present.get(&(pack.backup.clone(), pack.pack)) != Some(&pack.size));
        let Some(first) = gone.next() else { return Ok(()) };
        Err(Error::PacksGone {
            backup: self.backup().clone(),
            count: 1 + gone.count(),
            first: layout::pack(&first.backup, &first.pack).to_string(),
        })
    }

    /// Lists once more what the backup itself has put under `meta/`. Its indexes may be days old: a prune that knows of no such run,
    /// because its session is gone, and to which a wrong clock of the store says that they are old, has swept them as garbage. The
    /// tombstones that were read when the run began tell nothing of that, and who knows of no run fences none.
    async fn check_lists(&self, indexes: Vec<IndexRecord>, others: [&ObjectRef; 2]) -> Result<(), Error> {
        let sealed = self.cipher.is_sealed();
        let of_indexes = indexes.iter().map(|one| (layout::index(self.backup(), one.index, sealed), one.size));
        let named = |object: &ObjectRef| format!("{}{}", layout::meta_of(self.backup()), object.name);
        let mut wanted: HashMap<String, u64> = of_indexes.map(|(key, size)| (key.as_str().to_owned(), size)).collect();
        wanted.extend(others.map(|object| (named(object), object.size)));
        let mut objects = self.repository.backend.list(&layout::meta_of(self.backup()));
        while let Some(meta) = objects.try_next().await? {
            if wanted.get(meta.key.as_str()) == Some(&meta.size) {
                wanted.remove(meta.key.as_str());
            }
        }
        let count = wanted.len();
        match wanted.into_keys().min() {
            None => Ok(()),
            Some(first) => Err(Error::PacksGone { backup: self.backup().clone(), count, first }),
        }
    }

    async fn put_streams(&self) -> Result<(ObjectRef, Vec<IndexRecord>, Totals), Error> {
        let mut written = self.checkpoints.written().await;
        let mut records = self.finished.all();
        let mut totals = self.pipeline.totals();
        (totals.chunks, totals.reused_bytes) = (0, 0);
        for StreamRecord { info, length, chunks, indexes } in &mut records {
            let Lines { count, runs } = written.streams.remove(&info.number).unwrap_or_default();
            if count != u64::from(*chunks) {
                let what = format!("stream {} has {chunks} chunks and {count} index lines", info.number);
                return Err(Error::Internal(what));
            }
            *indexes = runs;
            totals.streams += 1;
            totals.parts += info.parts.len() as u64;
            totals.objects = info.parts.iter().fold(totals.objects, |sum, part| sum.saturating_add(part.count));
            totals.plain_bytes += *length;
            totals.chunks += u64::from(*chunks);
            totals.reused_bytes += self.pipeline.reused_by(info.number);
        }
        let (cipher, indexes) = (self.cipher.clone(), written.indexes.clone());
        let streams = Streams { indexes: written.indexes, streams: records };
        // What cannot be read back as it was meant must not be committed.
        let encode = move || {
            let bytes = streams.encode()?;
            match Streams::decode(bytes.clone()) {
                Ok(read) if read == streams => cipher.seal_list(bytes),
                Ok(_) => Err(Error::Internal("the list of streams reads back differently".to_owned())),
                Err(reason) => Err(Error::OverLimit { what: "the list of streams".to_owned(), limit: reason }),
            }
        };
        let bytes = tokio::task::spawn_blocking(encode).await??;
        let key = layout::streams(self.backup(), self.cipher.is_sealed());
        let stored = self.put_meta(key, bytes, MAX_STREAMS_OBJECT).await?;
        Ok((stored, indexes, totals))
    }

    async fn put_refs(&self, packs: Vec<Ref>) -> Result<ObjectRef, Error> {
        let encode = move || {
            let bytes = refs::encode(&packs)?;
            let same = refs::decode(bytes.clone()).is_ok_and(|read| read == packs);
            if same { Ok(bytes) } else { Err(Error::Internal("the list of packs reads back differently".to_owned())) }
        };
        let bytes = tokio::task::spawn_blocking(encode).await??;
        self.put_meta(layout::refs(self.backup()), bytes, MAX_REFS).await
    }

    async fn put_meta(&self, key: super::backend::Key, bytes: Bytes, limit: u64) -> Result<ObjectRef, Error> {
        let size = bytes.len() as u64;
        if size > limit {
            return Err(Error::OverLimit { what: format!("`{key}` of {size} bytes"), limit: format!("{limit} bytes") });
        }
        let sha256 = Sha256Digest::of(&bytes);
        put_own(&*self.repository.backend, &key, bytes).await?;
        let name = key.as_str().rsplit('/').next().unwrap_or_default().to_owned();
        Ok(ObjectRef { name, size, sha256 })
    }
}

impl Repository {
    /// The commit itself (B6): what counts is which object is under the key, ours or an abort marker.
    pub(super) async fn put_manifest(&self, manifest: Manifest, bytes: Bytes) -> Result<CommitOutcome, Error> {
        let place = (&manifest.policy, &manifest.schedule, &manifest.backup);
        let key = layout::manifest(place.0, place.1, place.2);
        let backend = &self.backend;
        let sha256 = Sha256Digest::of(&bytes);
        let committed = |manifest| {
            Ok(CommitOutcome::Committed(Box::new(StoredManifest { manifest, sha256, signature: Signature::NotAsked })))
        };
        let unknown =
            |error: super::backend::Error| Error::CommitUnknown { backup: place.2.clone(), reason: error.to_string() };
        let failure = match backend.put_new(&key, bytes.clone()).await {
            Ok(PutOutcome::Created) => return committed(manifest),
            Ok(PutOutcome::Exists) => None,
            Err(error) => Some(error),
        };
        // After an error the object may still have been created: look, before saying anything.
        let found = match backend.get(&key, control::MAX_CONTROL as u64).await {
            Ok(found) => found,
            Err(error) if error.is_not_found() && failure.is_none() => return Err(self.spent(&key)),
            Err(error) => {
                return Err(match failure {
                    // The put was answered, and not carried out. One without an answer may come yet.
                    Some(put) if error.is_not_found() && put.kind != ErrorKind::TimedOut => put.into(),
                    _ => unknown(error),
                });
            }
        };
        if found == bytes {
            if failure.is_some() {
                // It can be seen, and that is not yet durable: only a put that succeeds says so.
                backend.put_new(&key, bytes).await.map_err(unknown)?;
            }
            return committed(manifest);
        }
        match self.parse_marker(&key, place, &found)? {
            Marker::Aborted => Ok(CommitOutcome::Fenced),
            Marker::Manifest(_) => Err(Error::damaged(&key, "another manifest is in this backup's place")),
        }
    }
}
