//! Listing a container, page by page, in the order that the trait wants.
//!
//! Azure's own order is that of UTF-16, in which a character from U+10000 on comes before one from U+E000 to U+FFFF; in
//! UTF-8 it is the other way round. The two orders differ only within a run of keys which all have such a character.
//! So a run is held until it ends, and is then sorted. Keys of a repository have none: nothing of it is ever held.

use azure_storage_blob::models::{BlobContainerClientListBlobsOptions, BlobItem, ListBlobsResponse};
use futures::TryStreamExt;
use jiff::Timestamp;

use super::{
    super::{
        Key, ObjectMeta,
        failure::Failure,
        network::{meta, unsupported},
        retry::within,
    },
    Inner,
};

/// Where a listing is.
#[derive(Debug, Default)]
pub(in super::super) struct Cursor {
    /// Where the next page begins, in the store's own words.
    pub(super) marker: Option<String>,
    /// The last key given, with the store's prefix.
    last: String,
    /// The run that may not be in order yet: keys with the store's prefix, and what is a key of ours.
    held: Vec<(String, Option<ObjectMeta>)>,
    /// How many pages there were since that without a key.
    empty: u32,
}

/// A page may be without a key, where the store's own parts meet. So many in a row are no such place.
const MOST_EMPTY: u32 = 1_000;
/// Others' keys may be in the container; so many of this kind in a row are a store that fills our memory.
const MOST_HELD: usize = 10_000;

impl Inner {
    /// One page of what begins with `prefix`.
    pub(super) async fn page(&self, prefix: &str, marker: Option<String>) -> Result<ListBlobsResponse, Failure> {
        let options = BlobContainerClientListBlobsOptions {
            prefix: Some(format!("{}{prefix}", self.prefix)).filter(|prefix| !prefix.is_empty()),
            maxresults: Some(self.page_size.into()),
            marker,
            ..BlobContainerClientListBlobsOptions::default()
        };
        let answer = async {
            let mut pages = self.client.list_blobs(Some(options))?.into_pages();
            match pages.try_next().await? {
                Some(page) => page.into_model().map(Some),
                None => Ok(None),
            }
        };
        let answer = async { answer.await.map_err(|error| self.failed(error)) };
        // A page is some 800 kB.
        let page = within(self.patience.for_bytes(1 << 20), "answer", answer).await?;
        page.ok_or_else(|| unsupported("the store gives no page of a listing"))
    }
}

impl Cursor {
    /// The objects of the page, and whether there is another.
    pub(super) fn take(&mut self, page: ListBlobsResponse, store: &str) -> Result<(Vec<ObjectMeta>, bool), Failure> {
        let mut found = Vec::with_capacity(page.blob_items.len());
        let seen = !page.blob_items.is_empty();
        for blob in page.blob_items {
            let full = blob.name.clone().unwrap_or_default();
            // What has no valid key was not put by drctl.
            let key = full.strip_prefix(store).map(Key::new);
            let object = key.and_then(Result::ok).map(|key| object(key, &blob)).transpose()?;
            if full.chars().any(|c| c >= '\u{e000}') {
                self.held.push((full, object));
                if self.held.len() > MOST_HELD {
                    return Err(unsupported("the container holds too many names in a row that are sorted otherwise"));
                }
            } else {
                self.flush(&mut found)?;
                self.give(full, object, &mut found)?;
            }
        }
        let next = page.next_marker.filter(|marker| !marker.is_empty());
        self.empty = if seen { 0 } else { self.empty + 1 };
        if next.is_some() && (next == self.marker || self.empty > MOST_EMPTY) {
            return Err(unsupported("the store says that a listing goes on, but not where"));
        }
        self.marker = next;
        if self.marker.is_none() {
            self.flush(&mut found)?;
        }
        Ok((found, self.marker.is_some()))
    }

    fn flush(&mut self, found: &mut Vec<ObjectMeta>) -> Result<(), Failure> {
        let mut held = std::mem::take(&mut self.held);
        held.sort_by(|(a, _), (b, _)| a.cmp(b));
        held.into_iter().try_for_each(|(full, object)| self.give(full, object, found))
    }

    fn give(&mut self, full: String, object: Option<ObjectMeta>, found: &mut Vec<ObjectMeta>) -> Result<(), Failure> {
        // Also what keeps a listing from going round in circles.
        if full <= self.last {
            return Err(unsupported(
                "the store does not list in the order of the keys, which drctl needs (an account with a hierarchical \
                 namespace does not: use one without)",
            ));
        }
        found.extend(object);
        self.last = full;
        Ok(())
    }
}

fn object(key: Key, blob: &BlobItem) -> Result<ObjectMeta, Failure> {
    let properties = blob.properties.as_ref();
    let modified = properties.and_then(|properties| properties.last_modified);
    let modified = modified.and_then(|time| Timestamp::from_second(time.unix_timestamp()).ok());
    meta(key, properties.and_then(|properties| properties.content_length), modified)
}
