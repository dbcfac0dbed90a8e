//! What lies under `meta/`, and accept marks.

use std::collections::HashMap;

use futures::TryStreamExt;

use super::{
    super::{
        Accept, Error, Manifest, Repository,
        backend::{ErrorKind, Key},
        control,
        crypt::MAX_SIGNATURE,
        index::{MAX_INDEX, MAX_LINES},
        layout,
        objects::{check_ref, get_exact},
        reuse::blocking,
        streams::{IndexRecord, Streams},
    },
    Copier, CopyCounts,
};
use crate::types::Name;

impl Copier<'_> {
    /// Sends the lists of a backup: indexes first, then what names them. Those of a plain repository are proven by the
    /// list of streams; encrypted ones, which nobody can open here, by their sizes.
    pub(super) async fn send_meta(&self, manifest: &Manifest, counts: &mut CopyCounts) -> Result<Vec<Key>, Error> {
        let backup = &manifest.backup;
        let sealed = self.from.is_encrypted();
        let there: HashMap<Key, u64> = self.sizes(self.to, manifest).await?;
        let key = layout::streams(backup, sealed);
        check_ref(backup, &key, &manifest.streams)?;
        let streams = get_exact(&**self.from.backend(), &key, manifest.streams.size, manifest.streams.sha256).await?;
        let mut keys = match sealed {
            true => self.send_sealed_indexes(manifest, &there, counts).await?,
            false => {
                let bytes = streams.clone();
                let records = blocking(&key, move || Streams::decode_indexes(bytes)).await?;
                self.send_indexes(manifest, records, &there, counts).await?
            }
        };
        self.options.rate.pass(manifest.streams.size + manifest.refs.size).await;
        self.put(&key, streams).await?;
        keys.push(key);
        let key = layout::refs(backup);
        self.send_exact(&key, manifest.refs.size, manifest.refs.sha256).await?;
        keys.push(key);
        counts.bytes += manifest.streams.size + manifest.refs.size;
        Ok(keys)
    }

    async fn send_indexes(
        &self,
        manifest: &Manifest,
        records: Vec<IndexRecord>,
        there: &HashMap<Key, u64>,
        counts: &mut CopyCounts,
    ) -> Result<Vec<Key>, Error> {
        let mut keys = Vec::new();
        for record in records {
            let key = layout::index(&manifest.backup, record.index, false);
            if there.get(&key) != Some(&record.size) {
                self.options.rate.pass(record.size).await;
                self.send_exact(&key, record.size, record.sha256).await?;
                counts.bytes += record.size;
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// The indexes of an encrypted backup, by their listing, which must have them all from the first on.
    async fn send_sealed_indexes(
        &self,
        manifest: &Manifest,
        there: &HashMap<Key, u64>,
        counts: &mut CopyCounts,
    ) -> Result<Vec<Key>, Error> {
        let mut sizes: Vec<(u32, Key, u64)> = self
            .sizes(self.from, manifest)
            .await?
            .into_iter()
            .filter_map(|(key, size)| Some((layout::parse_index(&key)?.1, key, size)))
            .collect();
        sizes.sort();
        let least = manifest.totals.chunks.div_ceil(MAX_LINES as u64);
        if (sizes.len() as u64) < least {
            let next = u32::try_from(sizes.len()).unwrap_or(u32::MAX);
            return Err(Error::Gone { object: layout::index(&manifest.backup, next, true).to_string() });
        }
        let mut keys = Vec::new();
        for (place, (n, key, size)) in sizes.into_iter().enumerate() {
            if u32::try_from(place) != Ok(n) {
                let object = layout::index(&manifest.backup, n.saturating_sub(1), true).to_string();
                return Err(Error::Gone { object });
            }
            if there.get(&key) != Some(&size) {
                self.options.rate.pass(size).await;
                let bytes = self.from.backend().get(&key, MAX_INDEX).await;
                let bytes = bytes.map_err(|error| Error::reading(&key, error))?;
                if bytes.len() as u64 != size {
                    return Err(Error::damaged(&key, format!("it does not have the {size} bytes that were listed")));
                }
                self.put(&key, bytes).await?;
                counts.bytes += size;
            }
            keys.push(key);
        }
        Ok(keys)
    }

    async fn sizes(&self, of: &Repository, manifest: &Manifest) -> Result<HashMap<Key, u64>, Error> {
        let objects = of.backend().list(&layout::meta_of(&manifest.backup));
        Ok(objects.map_ok(|meta| (meta.key, meta.size)).try_collect().await?)
    }

    /// Sends the marks that accept backups of `policy` which are in the copy, with their signatures. Gives how many, and what
    /// cannot be one: it accepts nothing, and is left where it is.
    ///
    /// # Errors
    /// What the stores say. A mark that is damaged accepts nothing, and is not sent.
    pub async fn send_accepts(&self, policy: &Name) -> Result<(u64, Vec<Error>), Error> {
        let there = self.to.marks(&layout::accepts_of(Some(policy))).await?;
        let (mut sent, mut left) = (0, Vec::new());
        let mut marks: Vec<_> = self.from.marks(&layout::accepts_of(Some(policy))).await?.into_iter().collect();
        marks.sort_by(|a, b| a.0.cmp(&b.0));
        for (mark, meta) in marks {
            if there.contains_key(&mark) {
                continue;
            }
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

    /// Sends the signature of the object under `key`, if it has one.
    pub(super) async fn send_signature(&self, key: &Key) -> Result<(), Error> {
        let key = layout::signature(key);
        match self.from.backend().get(&key, MAX_SIGNATURE).await {
            Ok(bytes) => self.put(&key, bytes).await,
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(Error::reading(&key, error)),
        }
    }
}
