//! What can be told of an encrypted backup without a key.

use super::{BackupName, Error, FindingKind, Manifest, Verifier, check_ref, get_exact, layout};
use crate::repository::{ObjectRef, crypt::Recipient};

/// What is wrong with the key files of an epoch: an object, and how one can tell.
pub(super) type KeysWrong = (String, FindingKind, String);

impl Verifier<'_> {
    /// Looks for the key files of the backup's epoch: without one nobody can ever read it.
    pub(super) async fn key_files(&mut self, backup: &BackupName, manifest: &Manifest) -> Result<(), Error> {
        let epoch = manifest.epoch.as_deref().and_then(|text| Recipient::parse(text).ok());
        let Some(epoch) = epoch.filter(|_| self.repository.is_encrypted()).map(|epoch| epoch.to_string()) else {
            return Ok(());
        };
        if !self.epochs.contains_key(&epoch) {
            let (files, other) = match self.repository.look_at_key_files(&epoch).await {
                Ok(found) => found,
                Err(error) => return self.whole(backup, &layout::keys_of(Some(&epoch)), error),
            };
            let mut wrong = Vec::new();
            if files == 0 {
                let detail = "there is no key file of the backup's epoch: nobody can read it".to_owned();
                wrong.push((layout::key_file(&epoch, 1).to_string(), FindingKind::Missing, detail));
            }
            for key in other {
                let detail = "it does not begin as an age file: nobody can read the keys in it".to_owned();
                wrong.push((key.to_string(), FindingKind::Damaged, detail));
            }
            self.epochs.insert(epoch.clone(), wrong);
        }
        for (object, kind, detail) in self.epochs.get(&epoch).into_iter().flatten() {
            self.findings.add(backup, None, object.clone(), *kind, detail.clone());
        }
        Ok(())
    }

    /// Without a key, the list of streams is only known to be the object that the manifest names. That is not enough
    /// to call the backup sound: which indexes it needs stands in the list.
    pub(super) async fn sealed_lists(&mut self, backup: &BackupName, manifest: &Manifest) -> Result<(), Error> {
        self.report.unopened.insert(backup.clone());
        let key = self.streams_key(&backup.2);
        let ObjectRef { size, sha256, .. } = manifest.streams;
        let found = match check_ref(&backup.2, &key, &manifest.streams) {
            Ok(()) => get_exact(&**self.repository.backend(), &key, size, sha256).await.map(drop),
            refused => refused,
        };
        if let Err(error) = found {
            return self.whole(backup, key.as_str(), error);
        }
        let note = "the lists of streams and chunks are encrypted, and were not opened: no key was given";
        if !self.report.notes.iter().any(|known| known == note) {
            self.report.notes.push(note.to_owned());
        }
        Ok(())
    }
}
