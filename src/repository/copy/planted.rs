//! Packs and lists that are there before they were sent: left by an earlier try, or put there by somebody under their names.
//!
//! A listing shows names and sizes, and whoever may put packs can choose both. What other backups of the copy need was put, or
//! looked at, when they were copied. The rest is proven by the checksum that the store itself keeps of it, where it keeps any
//! (S3 does of everything that drctl puts): what has another one, or none, is read. Lists that are there are read wherever they are.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    super::{
        Error, Manifest,
        backend::{ErrorKind, Key},
        chunks::PackName,
        index::MAX_INDEX,
        layout,
        objects::get_exact,
        refs::Ref,
    },
    Copier,
    meta::{Index, Lists},
    safe::Owners,
    said_of,
};

/// Objects looked at at once.
const LOOKS: usize = 16;

impl Copier<'_> {
    /// Refuses packs in the copy that nobody there needs yet, and whose bytes are others than their names say. A store that keeps no
    /// checksums is believed: to read what is there would cost what not sending it again saves.
    pub(super) async fn refuse_planted(
        &self,
        manifest: &Manifest,
        refs: &[Ref],
        (missing, known): (&[usize], &Owners),
    ) -> Result<(), Error> {
        let missing: HashSet<usize> = missing.iter().copied().collect();
        let is_loose = |(at, line): &(usize, &Ref)| !missing.contains(at) && !known.stays(&line.backup);
        let there = refs.iter().enumerate().filter(is_loose);
        let names: HashSet<PackName> = there.map(|(_, line)| (line.backup.clone(), line.pack)).collect();
        if names.is_empty() || self.to.backend().sha256_of(&layout::header()).await?.is_none() {
            return Ok(());
        }
        let loose = self.not_needed(&manifest.policy, names).await?;
        let looked = refs.iter().filter(|line| loose.contains(&(line.backup.clone(), line.pack)));
        let looks = looked.map(|line| self.prove_there(line)).collect::<Vec<_>>();
        stream::iter(looks).buffer_unordered(LOOKS).try_collect().await
    }

    /// Refuses lists in the copy, of those that `is_there`, which are not the original's: no key is put twice, and a size says
    /// nothing of bytes. Gives the keys of what was read and is whole. What has gone meanwhile is for who sends it, or looks for it
    /// last.
    pub(super) async fn prove_lists(
        &self,
        manifest: &Manifest,
        lists: &Lists,
        is_there: impl Fn(&Key) -> bool,
    ) -> Result<HashSet<Key>, Error> {
        let streams = layout::streams(&manifest.backup, self.from.is_encrypted());
        let named = [(streams, &manifest.streams), (layout::refs(&manifest.backup), &manifest.refs)];
        let named = named.map(|(key, object)| Index { key, size: object.size, sha256: Some(object.sha256) });
        let mut proven = HashSet::new();
        for list in lists.indexes.iter().chain(&named).filter(|list| is_there(&list.key)) {
            match self.prove_list(list).await {
                Ok(()) => drop(proven.insert(list.key.clone())),
                Err(Error::Gone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(proven)
    }

    async fn prove_list(&self, Index { key, size, sha256 }: &Index) -> Result<(), Error> {
        let backend = self.to.backend();
        let Some(sha256) = sha256 else { return self.prove_sealed(key, *size).await };
        get_exact(&**backend, key, *size, *sha256).await.map_err(|error| self.take_away(error))?;
        Ok(())
    }

    /// An index that nobody can open here: it must be the one of the original.
    async fn prove_sealed(&self, key: &Key, size: u64) -> Result<(), Error> {
        let found = match self.to.backend().get(key, size.min(MAX_INDEX)).await {
            Ok(found) => Some(found),
            Err(error) if error.kind == ErrorKind::TooLarge => None,
            Err(error) => return Err(self.take_away(Error::reading(key, error))),
        };
        let own = self.from.backend().get(key, MAX_INDEX).await;
        let own = own.map_err(|error| said_of(Error::reading(key, error), &self.place_read()))?;
        if found == Some(own) {
            return Ok(());
        }
        let reason = format!(
            "its bytes in {} are not those in {}: in one of both it has rotted, or somebody has put it there, and a \
             verification with a key tells in which; take it away there, and copy again",
            self.place_written(),
            self.place_read()
        );
        Err(Error::damaged(key, reason))
    }

    async fn prove_there(&self, line: &Ref) -> Result<(), Error> {
        let key = layout::pack(&line.backup, &line.pack);
        let backend = self.to.backend();
        if backend.sha256_of(&key).await? == Some(line.pack) {
            return Ok(());
        }
        match get_exact(&**backend, &key, line.size, line.pack).await {
            Ok(_) => Ok(()),
            Err(Error::Damaged { .. }) => {
                let place = self.place_written();
                let reason = format!(
                    "its bytes in {place} are not those that its name says, and no copy was ever made with them: somebody has put it \
                     there, or it has rotted; take it away there"
                );
                Err(Error::damaged(key, reason))
            }
            Err(error) => Err(error),
        }
    }
}
