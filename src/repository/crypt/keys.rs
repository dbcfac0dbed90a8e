//! From what a program holds to the keys of a backup's epoch; and the key files of a repository.

use std::{collections::BTreeMap, sync::Arc};

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use jiff::Timestamp;

use super::{
    super::{
        Error, Manifest, Repository, Scope,
        backend::{Key, PutOutcome},
        header::AGE,
        layout,
        objects::{check_ref, get_exact},
    },
    Access, Cipher, Epoch, Recipient,
    cipher::EpochKeys,
    key_file::{self, KeyFile, MAX_KEY_FILE, NoEpoch},
    range::MAX_HEADER,
};
use crate::types::{Name, for_terminal};

/// The most key files that are listed: whoever may write can put as many as he likes beside the good ones, and these are
/// tried all the same.
const MAX_KEY_FILES: usize = 100_000;
/// Key files read at once.
const FETCHES: usize = 16;
/// Key files with a higher number are none of drctl's: a new one takes a number that is free below.
const MAX_NUMBER: u32 = 1_000_000;
/// So many numbers are tried that others take at the same time.
const MAX_TRIES: u32 = 100;

/// The key files of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochFiles {
    /// The epoch.
    pub epoch: Recipient,
    /// Whether `repository.json` names it; later epochs are found by their key files.
    pub in_header: bool,
    /// Its files, by number.
    pub files: Vec<KeyFileEntry>,
}

/// One key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFileEntry {
    /// Its number.
    pub number: u32,
    /// Whom it is for, if one of the identities that are held opens it.
    pub recipients: Option<Vec<Recipient>>,
    /// Why it is no key file of this repository, for people.
    pub wrong: Option<String>,
}

impl Repository {
    /// The same repository with the keys that a program holds.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = Arc::new(access);
        self
    }

    /// What is held of keys.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Whether contents are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.header.encryption.mode == AGE
    }

    /// Whether a backup could be written with the keys that are held, and would count.
    ///
    /// # Errors
    /// What is missing of keys, or what the store says.
    pub async fn can_write(&self) -> Result<(), Error> {
        self.check_signing_key()?;
        self.cipher_to_write().await.map(drop)
    }

    /// The keys that a new backup is written with.
    ///
    /// # Errors
    /// [`Error::NoEpochPinned`], [`Error::IdKeyOfOtherEpoch`], [`Error::UnknownEpoch`], [`Error::NoKeysToWrite`], or what
    /// the store says.
    pub(crate) async fn cipher_to_write(&self) -> Result<Cipher, Error> {
        if !self.is_encrypted() {
            return Ok(Cipher::Plain);
        }
        let location = || self.location().to_owned();
        let Some(epoch) = &self.access.epoch else { return Err(Error::NoEpochPinned { location: location() }) };
        if let Some(held) = self.access.id_key.as_ref().map(|held| &held.epoch).filter(|held| *held != epoch) {
            let (epoch, held) = (epoch.to_string(), held.to_string());
            return Err(Error::IdKeyOfOtherEpoch { location: location(), epoch, held });
        }
        // Also where `repository.json` names the epoch: without a key file nobody could read what is written.
        if self.key_files_of(epoch).await?.is_empty() {
            return Err(Error::UnknownEpoch { location: location(), epoch: epoch.to_string() });
        }
        if let (Some(id_key), Some(index)) = (&self.access.id_key, &self.access.index_identity) {
            let keys = EpochKeys::new(epoch.clone(), id_key.key.clone(), index.clone(), None);
            return Ok(Cipher::Age(Arc::new(keys)));
        }
        if self.access.identities.is_empty() {
            return Err(Error::NoKeysToWrite { location: location(), epoch: epoch.to_string() });
        }
        self.opened(epoch).await
    }

    /// The keys of a backup, as far as they are held: those of an identity open contents, those of a cluster only
    /// lists.
    ///
    /// # Errors
    /// [`Error::NoKeys`], [`Error::NotARecipient`], [`Error::ForeignKeyFile`], [`Error::Damaged`], or what the store
    /// says.
    pub(crate) async fn cipher_of(&self, manifest: &Manifest) -> Result<Cipher, Error> {
        if !self.is_encrypted() {
            return Ok(Cipher::Plain);
        }
        let epoch = manifest.epoch.as_deref().and_then(|text| Recipient::parse(text).ok());
        let Some(epoch) = epoch else {
            let key = layout::manifest(&manifest.policy, &manifest.schedule, &manifest.backup);
            return Err(Error::damaged(key, "it names no epoch, and the repository is encrypted"));
        };
        let Access { epoch: own, id_key, index_identity, identities, .. } = &*self.access;
        match (id_key, index_identity) {
            (Some(id_key), Some(index))
                if identities.is_empty() && own.as_ref() == Some(&epoch) && id_key.epoch == epoch =>
            {
                let keys = EpochKeys::new(epoch, id_key.key.clone(), index.clone(), None);
                Ok(Cipher::Age(Arc::new(keys)))
            }
            _ => self.opened(&epoch).await,
        }
    }

    /// The keys of `epoch`, from a key file that an identity opens.
    async fn opened(&self, epoch: &Recipient) -> Result<Cipher, Error> {
        let KeyFile { epoch: Epoch { identity, id_key, index_identity }, .. } = self.open_epoch(epoch).await?;
        Ok(Cipher::Age(Arc::new(EpochKeys::new(epoch.clone(), id_key, index_identity, Some(identity)))))
    }

    /// A key file of `epoch` that an identity opens: all hold the same keys. The first one is tried first, then the newest
    /// ones, so that what others put there costs a restore time at the most.
    pub(crate) async fn open_epoch(&self, epoch: &Recipient) -> Result<KeyFile, Error> {
        self.opened_files(epoch, 1).await.map(|(file, _)| file)
    }

    /// A key file of `epoch` that an identity opens, and the recipients of the first `wanted` that it opens, as they say
    /// themselves.
    async fn opened_files(&self, epoch: &Recipient, wanted: usize) -> Result<(KeyFile, Vec<Recipient>), Error> {
        let location = || self.location().to_owned();
        if self.access.identities.is_empty() {
            return Err(Error::NoKeys { location: location(), epoch: epoch.to_string() });
        }
        let (mut wrong, mut of_no_use) = (None, 0_u64);
        let (mut opened, mut recipients, mut found) = (None, Vec::<Recipient>::new(), 0);
        let files = self.key_files_of(epoch).await?;
        let in_order: Vec<&Key> = files.iter().take(1).chain(files.iter().skip(1).rev()).map(|(_, key)| key).collect();
        for group in in_order.chunks(FETCHES) {
            let mut reads = Vec::with_capacity(FETCHES);
            for key in group {
                reads.push(self.read_key_file(key, epoch));
            }
            for file in future::try_join_all(reads).await? {
                match file {
                    Ok(file) => {
                        found += 1;
                        for one in &file.recipients {
                            if !recipients.contains(one) {
                                recipients.push(one.clone());
                            }
                        }
                        opened.get_or_insert(file);
                    }
                    Err(NoEpoch::OtherKeys) => {}
                    Err(NoEpoch::Wrong(error)) => {
                        of_no_use += 1;
                        wrong.get_or_insert(error);
                    }
                }
            }
            if found >= wanted {
                break;
            }
        }
        if let (Some(first), true) = (&wrong, opened.is_some()) {
            tracing::warn!(%epoch, files = of_no_use, %first, "key files are passed over that are none of this repository");
        }
        match (opened, wrong) {
            (Some(file), _) => Ok((file, recipients)),
            (None, Some(wrong)) => Err(wrong),
            (None, None) => {
                Err(Error::NotARecipient { location: location(), epoch: epoch.to_string(), files: files.len() })
            }
        }
    }

    async fn read_key_file(&self, key: &Key, epoch: &Recipient) -> Result<Result<KeyFile, NoEpoch>, Error> {
        let bytes = match self.backend.get(key, MAX_KEY_FILE).await {
            Ok(bytes) => bytes,
            Err(error) => match Error::reading(key, error) {
                error if error.is_damage() => return Ok(Err(NoEpoch::Wrong(error))),
                error => return Err(error),
            },
        };
        let (key, epoch, access) = (key.clone(), epoch.clone(), Arc::clone(&self.access));
        let repository = self.header.id.clone();
        let decode = move || key_file::decode(&key, &repository, &epoch, &bytes, &access.identities);
        Ok(tokio::task::spawn_blocking(decode).await?)
    }

    /// The epochs that `repository.json` names.
    fn epochs(&self) -> Vec<Recipient> {
        let named = self.header.encryption.epochs.iter();
        named.filter_map(|epoch| Recipient::parse(epoch.get("epoch")?.as_str()?).ok()).collect()
    }

    async fn key_files_of(&self, epoch: &Recipient) -> Result<Vec<(u32, Key)>, Error> {
        let mut all = self.key_files(&layout::keys_of(Some(&epoch.to_string()))).await?;
        Ok(all.remove(&epoch.to_string()).unwrap_or_default())
    }

    /// Looks at the key files of `epoch` without opening one: how many there are, and those that are no age files.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn look_at_key_files(&self, epoch: &str) -> Result<(usize, Vec<Key>), Error> {
        const BEGINNING: &[u8] = b"age-encryption.org/v1\n";
        let files = self.key_files(&layout::keys_of(Some(epoch))).await?.remove(epoch).unwrap_or_default();
        let mut other = Vec::new();
        for (_, key) in &files {
            let is_age = match self.backend.get(key, MAX_KEY_FILE).await.map_err(|error| Error::reading(key, error)) {
                Ok(bytes) => bytes.starts_with(BEGINNING),
                Err(error) if error.is_damage() => false,
                Err(error) => return Err(error),
            };
            if !is_age {
                other.push(key.clone());
            }
        }
        Ok((files.len(), other))
    }

    /// Whether the index identity that is held is that of the epoch that is written to, by the newest backup of `policy` in
    /// that epoch; where there is none, nothing tells.
    ///
    /// # Errors
    /// [`Error::IndexIdentityOfOther`] if it is not; what is missing of keys, or what the store says.
    pub async fn check_held_index_identity(&self, policy: &Name) -> Result<(), Error> {
        let cipher = self.cipher_to_write().await?;
        if !cipher.is_sealed() {
            return Ok(());
        }
        let (scope, epoch) = (Scope::Policy(policy.clone()), cipher.epoch());
        match self.newest_that(&scope, |manifest| manifest.epoch == epoch).await? {
            Some(newest) => self.check_index_identity(&cipher, &newest.manifest).await,
            None => Ok(()),
        }
    }

    /// Refuses to write beside a backup of the same epoch whose lists the index identity does not open: nothing would
    /// be shared with it, and it would look like damage.
    ///
    /// # Errors
    /// [`Error::IndexIdentityOfOther`], or what the store says.
    pub(crate) async fn check_index_identity(&self, cipher: &Cipher, manifest: &Manifest) -> Result<(), Error> {
        if !cipher.is_sealed() {
            return Ok(());
        }
        let key = layout::streams(&manifest.backup, true);
        let beginning = match self.backend.get_range(&key, 0..manifest.streams.size.min(MAX_HEADER)).await {
            Ok(beginning) => beginning,
            // What is damaged is found, and said, when it is read.
            Err(_) => return Ok(()),
        };
        if !cipher.is_of_others(&beginning) {
            return Ok(());
        }
        // Somebody may have put it in the place of the list, to keep backups from being made.
        check_ref(&manifest.backup, &key, &manifest.streams)?;
        match get_exact(&*self.backend, &key, manifest.streams.size, manifest.streams.sha256).await {
            Ok(_) => Err(Error::IndexIdentityOfOther {
                location: self.location().to_owned(),
                epoch: cipher.epoch().unwrap_or_default(),
                backup: manifest.backup.clone(),
            }),
            Err(Error::Store(error)) => Err(error.into()),
            Err(_) => Ok(()),
        }
    }

    /// The key files under `prefix`, by epoch, each with its number.
    async fn key_files(&self, prefix: &str) -> Result<BTreeMap<String, Vec<(u32, Key)>>, Error> {
        let mut found: BTreeMap<String, Vec<(u32, Key)>> = BTreeMap::new();
        let mut objects = self.backend.list(prefix);
        let mut count = 0;
        while let Some(meta) = objects.try_next().await? {
            let Some((epoch, number)) = layout::parse_key_file(&meta.key) else { continue };
            count += 1;
            if count > MAX_KEY_FILES {
                let what = format!("the number of key files in {}", self.location());
                return Err(Error::OverLimit { what, limit: MAX_KEY_FILES.to_string() });
            }
            found.entry(epoch.to_owned()).or_default().push((number, meta.key.clone()));
        }
        found.values_mut().for_each(|files| files.sort());
        Ok(found)
    }

    /// All epochs and their key files; those that an identity opens say whom they are for.
    ///
    /// # Errors
    /// What the store says.
    pub async fn epoch_files(&self) -> Result<Vec<EpochFiles>, Error> {
        let named = self.epochs();
        let mut all = self.key_files(&layout::keys_of(None)).await?;
        for epoch in &named {
            all.entry(epoch.to_string()).or_default();
        }
        let mut epochs = Vec::new();
        for (text, keys) in all {
            let Ok(epoch) = Recipient::parse(&text) else { continue };
            let mut files = Vec::new();
            let read = keys
                .iter()
                .map(|(number, key)| async { Ok::<_, Error>((*number, self.read_key_file(key, &epoch).await?)) });
            let mut read = stream::iter(read).buffered(FETCHES);
            while let Some((number, opened)) = read.try_next().await? {
                let (recipients, wrong) = match opened {
                    Ok(file) => (Some(file.recipients), None),
                    Err(NoEpoch::OtherKeys) => (None, None),
                    Err(NoEpoch::Wrong(error)) => (None, Some(for_terminal(&error.to_string()).into_owned())),
                };
                files.push(KeyFileEntry { number, recipients, wrong });
            }
            drop(read);
            epochs.push(EpochFiles { in_header: named.contains(&epoch), epoch, files });
        }
        Ok(epochs)
    }

    /// Opens the pinned epoch's secrets with the identities that are held, and gives whom its files are for that they open.
    ///
    /// # Errors
    /// Those of reading a key file.
    pub async fn open_keys(&self, epoch: &Recipient) -> Result<(Epoch, Vec<Recipient>), Error> {
        let (file, recipients) = self.opened_files(epoch, usize::MAX).await?;
        Ok((file.epoch, recipients))
    }

    /// Writes a key file of `epoch` for `recipients`, beside those that are there, and gives its number. It is read
    /// back and compared.
    ///
    /// # Errors
    /// What the store says.
    pub async fn put_key_file(&self, epoch: &Epoch, recipients: &[Recipient], at: Timestamp) -> Result<u32, Error> {
        let bytes = key_file::encode(&self.header.id, epoch, recipients, at)?;
        let taken = self.key_files_of(&epoch.name()).await?;
        let last =
            taken.iter().rev().map(|(number, _)| *number).find(|number| *number < MAX_NUMBER).unwrap_or_default();
        let mut number = last;
        loop {
            number = number.saturating_add(1);
            let key = layout::key_file(&epoch.name().to_string(), number);
            let put = self.backend.put_new(&key, bytes.clone()).await?;
            let found = self.backend.get(&key, MAX_KEY_FILE).await.map_err(|error| Error::reading(&key, error));
            match (put, found) {
                // After a lost answer, too: no other file has these bytes.
                (_, Ok(found)) if found == bytes => return Ok(number),
                // Somebody else has taken the number meanwhile.
                (PutOutcome::Exists, _) if number - last < MAX_TRIES => {}
                (_, Ok(_)) => return Err(Error::damaged(&key, "it reads back differently")),
                (_, Err(error)) => return Err(error),
            }
        }
    }
}
