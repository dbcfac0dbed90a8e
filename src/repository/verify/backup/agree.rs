//! What the objects of a backup say of each other: refs of packs, the manifest of the streams, the
//! list of indexes of the store.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt as _;

use super::{BackupName, Verifier};
use crate::{
    repository::{
        BackupReader, Error, FindingKind, Level, Manifest, Totals,
        backend::Key,
        chunks::{PackName, StreamChunks},
        layout,
        objects::get_exact,
        refs::Ref,
    },
    types::{BackupContents, BackupId, counted, for_terminal},
};

/// Distinct frames that are remembered; past it, less is counted as used than is.
const MAX_FRAMES: usize = 1 << 18;

/// What the streams of a backup use of its packs.
#[derive(Debug)]
pub(super) struct Accounts<'p> {
    packs: &'p [Ref],
    places: HashMap<PackName, usize>,
    /// Bytes of distinct frames, by the pack's place.
    used: Vec<u64>,
    frames: HashSet<(usize, u32)>,
    /// All streams were accounted for.
    pub(super) whole: bool,
}

impl<'p> Accounts<'p> {
    pub(super) fn new(packs: &'p [Ref]) -> Self {
        let names = packs.iter().map(|pack| (pack.backup.clone(), pack.pack));
        let places = names.zip(0..).collect();
        Self { packs, places, used: vec![0; packs.len()], frames: HashSet::new(), whole: true }
    }

    fn add(&mut self, place: usize, offset: u32, length: u32) {
        if self.frames.len() < MAX_FRAMES
            && self.frames.insert((place, offset))
            && let Some(used) = self.used.get_mut(place)
        {
            *used += u64::from(length);
        }
    }
}

impl Verifier<'_> {
    /// Every pack of a stream is in the refs, or prune would not know that it is needed.
    pub(super) fn account(
        &mut self,
        backup: &BackupName,
        stream: &str,
        chunks: &StreamChunks,
        accounts: &mut Accounts<'_>,
    ) {
        let places: Vec<_> = chunks.packs.iter().map(|pack| accounts.places.get(pack).copied()).collect();
        let mut ends = vec![0; chunks.packs.len()];
        for chunk in &chunks.chunks {
            if let Some(end) = ends.get_mut(chunk.pack as usize) {
                *end = (u64::from(chunk.offset) + u64::from(chunk.length)).max(*end);
            }
            if let Some(Some(place)) = places.get(chunk.pack as usize) {
                accounts.add(*place, chunk.offset, chunk.length);
            }
        }
        for ((pack, place), end) in chunks.packs.iter().zip(places).zip(ends) {
            let known = place.and_then(|place| accounts.packs.get(place));
            if known.is_none_or(|known| known.size < end) {
                let detail =
                    format!("it does not list the pack {}, or with too small a size", layout::pack(&pack.0, &pack.1));
                let object = layout::refs(&backup.2).to_string();
                self.findings.add(backup, Some(stream), object, FindingKind::Damaged, detail);
            }
        }
    }

    /// Holds the rest of a backup's objects against each other, once all of its streams were seen.
    pub(super) async fn agree(
        &mut self,
        backup: &BackupName,
        manifest: &Manifest,
        reader: &BackupReader,
        accounts: &Accounts<'_>,
    ) -> Result<(), Error> {
        self.idle_indexes(backup, reader).await?;
        if self.options.level < Level::Content {
            return Ok(());
        }
        self.totals(backup, &manifest.totals, reader);
        let mut unused = 0_u64;
        for (pack, used) in accounts.packs.iter().zip(&accounts.used) {
            if *used > pack.used {
                let name = layout::pack(&pack.backup, &pack.pack);
                let detail = format!("{used} bytes of the pack {name} are used, and {} are recorded", pack.used);
                let object = layout::refs(&backup.2).to_string();
                self.findings.add(backup, None, object, FindingKind::Damaged, detail);
            }
            unused += u64::from(*used == 0);
        }
        if unused > 0 && accounts.whole && accounts.frames.len() < MAX_FRAMES {
            self.report
                .notes
                .push(format!("{unused} packs in the refs of {} are used by none of its streams", backup.2));
        }
        Ok(())
    }

    /// Indexes that no stream needs are part of the backup all the same.
    async fn idle_indexes(&mut self, backup: &BackupName, reader: &BackupReader) -> Result<(), Error> {
        let listed = match self.list_lists(&backup.2, reader).await {
            Ok(listed) => listed,
            Err(error) => return self.whole(backup, &layout::meta_of(&backup.2), error),
        };
        for record in reader.idle_indexes() {
            let key = layout::index(&backup.2, record.index, self.repository.is_encrypted());
            let found = match self.options.level {
                Level::Presence => match listed.get(&key) {
                    Some(size) if *size == record.size => Ok(()),
                    Some(size) => {
                        Err(Error::damaged(&key, format!("it has {size} bytes, and {} are recorded", record.size)))
                    }
                    None => Err(Error::Gone { object: key.to_string() }),
                },
                Level::Stored | Level::Content => {
                    get_exact(&**self.repository.backend(), &key, record.size, record.sha256).await.map(drop)
                }
            };
            if let Err(error) = found {
                self.whole(backup, key.as_str(), error)?;
            }
        }
        Ok(())
    }

    /// The indexes of the backup that are there, and their sizes. What else lies among its lists is named: somebody has put it
    /// there. Nothing reads it, so it is no damage.
    async fn list_lists(&mut self, backup: &BackupId, reader: &BackupReader) -> Result<HashMap<Key, u64>, Error> {
        let sealed = self.repository.is_encrypted();
        let own: HashSet<Key> = reader.index_numbers().map(|n| layout::index(backup, n, sealed)).collect();
        let others = [layout::streams(backup, sealed), layout::refs(backup)];
        let (mut listed, mut strangers, mut first) = (HashMap::new(), 0_u64, None);
        let mut objects = self.repository.backend().list(&layout::meta_of(backup));
        while let Some(meta) = objects.try_next().await? {
            if own.contains(&meta.key) {
                listed.insert(meta.key, meta.size);
            } else if !others.contains(&meta.key) {
                strangers += 1;
                first.get_or_insert(meta.key);
            }
        }
        if let Some(first) = first {
            let first = for_terminal(first.as_str()).into_owned();
            let objects = counted(strangers, "object");
            self.report.notes.push(format!(
                "{objects} among the lists of {backup} that it does not have (the first: `{first}`): nothing reads what is not \
                 its own, and it goes with the backup; find out who may put objects there"
            ));
        }
        Ok(listed)
    }

    /// The manifest's sums are what people read first.
    fn totals(&mut self, backup: &BackupName, recorded: &Totals, reader: &BackupReader) {
        let parts = || reader.streams().iter().flat_map(|stream| &stream.parts);
        let sums = [
            ("streams", reader.streams().len() as u64, recorded.streams),
            ("parts", parts().count() as u64, recorded.parts),
            ("objects", parts().fold(0, |sum: u64, part| sum.saturating_add(part.count)), recorded.objects),
            ("plain bytes", parts().fold(0, |sum: u64, part| sum.saturating_add(part.length)), recorded.plain_bytes),
            ("chunks", reader.chunk_count(), recorded.chunks),
        ];
        for (what, counted, recorded) in sums {
            if counted != recorded {
                let object = layout::manifest(&backup.0, &backup.1, &backup.2).to_string();
                let detail = format!("it says {recorded} {what}, and its streams have {counted}");
                self.findings.add(backup, None, object, FindingKind::Damaged, detail);
            }
        }
    }
}
