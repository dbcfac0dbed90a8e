//! Packs as they are stored: each must have the SHA-256 that is its name. It needs no key.

use std::{collections::HashSet, sync::Arc};

use futures::{StreamExt as _, stream};

use super::{MAX_COUNTED, Verifier, beginning};
use crate::repository::{
    Error, FindingKind, chunks::PackName, layout, objects::get_exact, pack::MAX_PACK, refs::Ref, verify::BackupName,
};

/// Packs that are read at once, if there is memory for them.
const AT_ONCE: u64 = 4;

impl Verifier<'_> {
    /// Reads the packs of a backup that were not read yet, and adds those that are not what they are called to `bad`.
    pub(super) async fn hash_packs(
        &mut self,
        backup: &BackupName,
        packs: &[Ref],
        bad: &mut HashSet<PackName>,
    ) -> Result<(), Error> {
        let name = |pack: &Ref| (pack.backup.clone(), pack.pack);
        bad.extend(packs.iter().map(name).filter(|name| self.bad.contains_key(name)));
        let unread = packs.iter().filter(|pack| {
            self.options.reads(&pack.pack)
                && !bad.contains(&name(pack))
                && !self.hashed.contains(&beginning(&pack.pack))
        });
        let unread: Vec<Ref> = unread.cloned().collect();
        let bytes = unread.iter().map(|pack| pack.size).sum();
        self.monitor.phase(&format!("reading {}", backup.2), "bytes", Some(bytes));
        let backend = Arc::clone(self.repository.backend());
        let reads = stream::iter(unread).map(|pack| {
            let backend = Arc::clone(&backend);
            async move {
                let key = layout::pack(&pack.backup, &pack.pack);
                (get_exact(&*backend, &key, pack.size, pack.pack).await.map(drop), pack)
            }
        });
        let at_once = (self.options.memory / MAX_PACK).clamp(1, AT_ONCE);
        let mut reads = Box::pin(reads.buffer_unordered(usize::try_from(at_once).unwrap_or(1)));
        while let Some((read, pack)) = reads.next().await {
            if self.cancel.is_cancelled() {
                return Ok(());
            }
            self.monitor.advance(pack.size);
            match read {
                Ok(()) => {
                    self.timeouts = 0;
                    self.report.packs += 1;
                    self.report.stored_bytes += pack.size;
                    if self.hashed.len() < MAX_COUNTED {
                        self.hashed.insert(beginning(&pack.pack));
                    }
                }
                Err(error) if self.ends(&error) => return Err(error),
                Err(error) => {
                    let found = match &error {
                        Error::Gone { .. } => (FindingKind::Missing, "it is not in the store".to_owned()),
                        Error::Damaged { reason, .. } => (FindingKind::Damaged, reason.clone()),
                        other => (FindingKind::NotChecked, other.to_string()),
                    };
                    self.bad.insert(name(&pack), found);
                    bad.insert(name(&pack));
                }
            }
        }
        Ok(())
    }
}
