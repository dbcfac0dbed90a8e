//! From plain bytes to stored ones and back, by one epoch's keys or by none.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::{
    super::{
        Error,
        backend::{Backend, ErrorKind, Key},
        large,
        pack::CLOSE_AT,
    },
    IdKey, Identity, Recipient,
    range::{Head, MAX_HEADER},
    sealed::{self, NotOpened, Sealer},
};
use crate::types::Blake3Digest;

/// How many packs' headers a reader remembers.
const HEADS: usize = 64;

/// What stands between plain bytes and stored ones.
#[derive(Debug, Clone)]
pub(crate) enum Cipher {
    /// Nothing.
    Plain,
    /// The keys of an epoch.
    Age(Arc<EpochKeys>),
}

/// The keys of an epoch, as far as a program holds them.
#[derive(Debug)]
pub(crate) struct EpochKeys {
    pub(super) epoch: Recipient,
    pub(super) id_key: IdKey,
    pub(super) index: Identity,
    pub(super) index_recipient: Recipient,
    /// Opens contents; what a cluster holds has none.
    pub(super) identity: Option<Identity>,
    heads: Mutex<VecDeque<(Key, Arc<OnceCell<Head>>)>>,
}

impl EpochKeys {
    pub(super) fn new(epoch: Recipient, id_key: IdKey, index: Identity, identity: Option<Identity>) -> Self {
        let index_recipient = index.recipient();
        Self { epoch, id_key, index, index_recipient, identity, heads: Mutex::default() }
    }

    /// The place for what is known of a pack.
    fn head(&self, key: &Key) -> Arc<OnceCell<Head>> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, head)) = heads.iter().find(|(known, _)| known == key) {
            return Arc::clone(head);
        }
        if heads.len() == HEADS {
            heads.pop_front();
        }
        let head = Arc::new(OnceCell::new());
        heads.push_back((key.clone(), Arc::clone(&head)));
        head
    }
}

/// The bytes of a range of a pack, on their way to be decoded.
#[derive(Debug)]
pub(crate) enum Fetched {
    Plain(Bytes),
    Sealed { head: Head, stored: Bytes, keys: Arc<EpochKeys>, range: Range<u64> },
}

impl Fetched {
    /// The plain bytes. It takes time: not on a thread that others wait for.
    pub(crate) fn open(self) -> Result<Bytes, String> {
        match self {
            Self::Plain(bytes) => Ok(bytes),
            Self::Sealed { head, stored, keys, range } => {
                let Some(identity) = &keys.identity else { return Err("no key opens contents".to_owned()) };
                head.open(&range, stored, identity).map_err(reason)
            }
        }
    }
}

fn reason(error: NotOpened) -> String {
    match error {
        NotOpened::OtherKeys => "it is not encrypted to its backup's epoch".to_owned(),
        NotOpened::Damaged(reason) => reason,
    }
}

impl Cipher {
    /// The epoch, as a manifest names it.
    pub(crate) fn epoch(&self) -> Option<String> {
        match self {
            Self::Plain => None,
            Self::Age(keys) => Some(keys.epoch.to_string()),
        }
    }

    /// Whether anything is encrypted.
    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self, Self::Age(_))
    }

    /// Whether contents can be read, and not only lists.
    pub(crate) fn opens_contents(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Age(keys) => keys.identity.is_some(),
        }
    }

    /// The id of a chunk.
    pub(crate) fn chunk_id(&self, plain: &[u8]) -> Blake3Digest {
        match self {
            Self::Plain => Blake3Digest::of(plain),
            Self::Age(keys) => Blake3Digest::keyed(keys.id_key.bytes(), plain),
        }
    }

    /// The stored bytes of a list of streams or chunks.
    pub(crate) fn seal_list(&self, plain: Bytes) -> Result<Bytes, Error> {
        match self {
            Self::Plain => Ok(plain),
            Self::Age(keys) => sealed::seal(&plain, &[&keys.epoch, &keys.index_recipient]),
        }
    }

    /// The reverse of [`Self::seal_list`]: plain bytes are never more than stored ones.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(crate) fn open_list(&self, stored: Bytes) -> Result<Bytes, String> {
        match self {
            Self::Plain => Ok(stored),
            Self::Age(keys) => {
                let identities: Vec<_> = keys.identity.iter().chain([&keys.index]).collect();
                sealed::open(&stored, &identities).map(Bytes::from).map_err(reason)
            }
        }
    }

    /// Whether `beginning` begins a list that is encrypted to other keys alone.
    pub(crate) fn is_of_others(&self, beginning: &[u8]) -> bool {
        let Self::Age(keys) = self else { return false };
        let identities: Vec<_> = keys.identity.iter().chain([&keys.index]).collect();
        matches!(sealed::reader(beginning, &identities), Err(NotOpened::OtherKeys))
    }

    /// A range of a pack, given in its plain bytes.
    pub(crate) async fn fetch(&self, backend: &dyn Backend, key: &Key, range: Range<u64>) -> Result<Fetched, Error> {
        let Self::Age(keys) = self else {
            return get_range(backend, key, range).await.map(Fetched::Plain);
        };
        let cell = keys.head(key);
        let head = cell.get_or_try_init(|| read_head(backend, key)).await?.clone();
        let stored = head.stored(&range).ok_or_else(|| too_short(key))?;
        let stored = get_range(backend, key, stored).await?;
        Ok(Fetched::Sealed { head, stored, keys: Arc::clone(keys), range })
    }
}

fn too_short(key: &Key) -> Error {
    Error::damaged(key, "it is shorter than its index says")
}

async fn read_head(backend: &dyn Backend, key: &Key) -> Result<Head, Error> {
    let size = backend.head(key).await.map_err(|error| Error::reading(key, error))?.size;
    let beginning = get_range(backend, key, 0..size.min(MAX_HEADER)).await?;
    Head::find(size, &beginning).map_err(|error| Error::damaged(key, reason(error)))
}

/// A range of an object, all of it.
async fn get_range(backend: &dyn Backend, key: &Key, range: Range<u64>) -> Result<Bytes, Error> {
    let length = range.end - range.start;
    match backend.get_range(key, range.clone()).await {
        Ok(stored) if stored.len() as u64 == length => Ok(stored),
        Ok(_) => Err(too_short(key)),
        Err(error) if error.kind == ErrorKind::Other => {
            // A range past the end looks like any other failure: the size tells them apart.
            Err(match backend.head(key).await {
                Ok(meta) if meta.size < range.end => too_short(key),
                _ => error.into(),
            })
        }
        Err(error) => Err(Error::reading(key, error)),
    }
}

/// A pack's bytes as they are gathered.
#[derive(Debug)]
pub(crate) enum Pack {
    Plain(Vec<u8>),
    Sealed(Box<Sealer>),
}

impl Pack {
    /// An empty one.
    pub(crate) fn new(cipher: &Cipher) -> Result<Self, Error> {
        match cipher {
            Cipher::Plain => Ok(Self::Plain(large::buffer(CLOSE_AT))),
            Cipher::Age(keys) => Ok(Self::Sealed(Box::new(Sealer::new(&[&keys.epoch], large::buffer(CLOSE_AT))?))),
        }
    }

    /// Takes the next frame.
    pub(crate) fn append(&mut self, frame: &[u8]) -> Result<(), Error> {
        match self {
            Self::Plain(bytes) => {
                bytes.extend_from_slice(frame);
                Ok(())
            }
            Self::Sealed(sealer) => sealer.write(frame),
        }
    }

    /// The stored bytes.
    pub(crate) fn finish(self) -> Result<Bytes, Error> {
        match self {
            Self::Plain(bytes) => Ok(Bytes::from(bytes)),
            Self::Sealed(sealer) => sealer.finish().map(Bytes::from),
        }
    }
}
