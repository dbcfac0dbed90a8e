//! Lists in pages that are bounded by bytes.
//!
//! A server bounds a page by a number of objects, and five hundred objects may be half a megabyte
//! or half a gigabyte. So the first page asks for few, each next one for as many as should fit by
//! the size of those seen, and every answer is read up to a bound: if it is larger than thought,
//! it is thrown away and fewer are asked for.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::{
    Error, ErrorKind,
    client::{Call, CallError, Cluster, Patience, malformed},
    kind::segment,
};

/// Bodies of pages in memory at once, over all kinds.
const IN_FLIGHT: usize = 16 << 20;
/// A first page, of which nothing is known.
const FIRST: Size = Size { objects: 64, bound: 2 << 20 };
/// What a later page should have, and what it may have.
const WANTED: usize = 3 << 20;
const BOUND: usize = 4 << 20;
/// What one object may have, on a page of its own. etcd takes 1.5 MiB unless it was told otherwise.
pub(super) const LARGEST_OBJECT: usize = 8 << 20;
/// More objects than this make no page cheaper.
const MOST: usize = 2000;
/// A page is at most so many times as long as the one before: the first objects may be small ones.
const GROWTH: usize = 8;
/// A run that has come this far outlasts a restart of the API server.
const PATIENCE: Patience = Patience { tries: 9, pause: Duration::from_millis(250), total: Duration::from_secs(180) };

#[derive(Debug, Clone, Copy)]
struct Size {
    objects: usize,
    bound: usize,
}

/// The room for bodies of pages, shared by all lists of a capture.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

const KIB: usize = 1 << 10;

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(IN_FLIGHT / KIB)))
    }

    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = u32::try_from(bytes.div_ceil(KIB)).ok()?;
        Arc::clone(&self.0).acquire_many_owned(permits).await.ok()
    }
}

/// A page as it came. It gives its room back when it is dropped.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// What is on a page. The items are the bytes that the server sent.
#[derive(Debug, Deserialize)]
pub(super) struct Page<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    continue_token: Option<String>,
}

impl Body {
    pub(super) fn page(&self) -> Result<Page<'_>, serde_json::Error> {
        serde_json::from_slice(&self.bytes)
    }
}

impl<'a> Page<'a> {
    pub(super) fn items(&self) -> &[&'a RawValue] {
        self.items.as_deref().unwrap_or_default()
    }
}

/// Whether something is on a page.
pub(super) fn has_items(body: &[u8]) -> Result<bool, serde_json::Error> {
    serde_json::from_slice::<Page<'_>>(body).map(|page| !page.items().is_empty())
}

/// One list, read page by page.
#[derive(Debug)]
pub(super) struct Pager<'a> {
    cluster: &'a Cluster,
    room: &'a Room,
    act: String,
    /// The path, and a selector if there is one.
    path: String,
    size: Size,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    After(String),
    Nothing,
}

impl<'a> Pager<'a> {
    /// `query` is a part of the query (`labelSelector=a%3Db`) or empty.
    pub(super) fn new(cluster: &'a Cluster, room: &'a Room, act: String, path: &str, query: &str) -> Self {
        let path = if query.is_empty() { format!("{path}?") } else { format!("{path}?{query}&") };
        Self { cluster, room, act, path, size: FIRST, next: Next::First }
    }

    /// What is being attempted, for errors.
    pub(super) fn act(&self) -> &str {
        &self.act
    }

    /// The next page, or `None` after the last. The one before must have been dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Body>, Error> {
        loop {
            let mut path = format!("{}limit={}", self.path, self.size.objects);
            match &self.next {
                Next::First => {}
                Next::After(token) => {
                    path.push_str("&continue=");
                    path.push_str(&segment(token));
                }
                Next::Nothing => return Ok(None),
            }
            let mut room = self.room.take(self.size.bound).await;
            let call = Call::get(&self.act, &path, self.size.bound);
            match self.cluster.read(&call, PATIENCE).await {
                Ok(reply) => {
                    let bytes = reply.success(&self.act)?;
                    if let Some(room) = &mut room {
                        let unused = room.num_permits().saturating_sub(bytes.len().div_ceil(KIB));
                        drop(room.split(unused));
                    }
                    return Ok(Some(Body { bytes, _room: room }));
                }
                Err(CallError::TooLarge(start)) if self.size.objects > 1 => self.shrink(&start),
                Err(CallError::TooLarge(start)) => return Err(self.too_large(&start)),
                Err(error) => return Err(error.into_error(&call)),
            }
        }
    }

    /// Takes from a page what the next request needs.
    pub(super) fn advance(&mut self, body: &Body, page: &Page<'_>) {
        self.next = match page.metadata.continue_token.as_deref() {
            None | Some("") => Next::Nothing,
            Some(token) => Next::After(token.to_owned()),
        };
        if let Some(mean) = body.bytes.len().checked_div(page.items().len()) {
            let most = self.size.objects.saturating_mul(GROWTH).min(MOST);
            self.resize((WANTED / mean.max(1)).clamp(1, most));
        }
    }

    fn shrink(&mut self, start: &[u8]) {
        let fitted = complete_items(start) * 3 / 4;
        self.resize(fitted.min(self.size.objects / 2).max(1));
    }

    fn resize(&mut self, objects: usize) {
        self.size = Size { objects, bound: if objects == 1 { LARGEST_OBJECT } else { BOUND } };
    }

    fn too_large(&self, start: &[u8]) -> Error {
        let most = LARGEST_OBJECT >> 20;
        let reason = if complete_items(start) > 1 {
            format!("the server ignores `limit`, and all objects at once are larger than {most} MiB")
        } else {
            let name = first_item_name(start).unwrap_or_else(|| "one object".to_owned());
            format!("{name} is larger than {most} MiB")
        };
        Error::new(ErrorKind::TooLarge, &self.act, reason)
    }
}

pub(super) fn not_a_list(act: &str, error: &serde_json::Error) -> Error {
    malformed(act, error)
}

fn items_start(body: &[u8]) -> Option<&[u8]> {
    const ITEMS: &[u8] = b"\"items\":[";
    let at = body.windows(ITEMS.len()).position(|window| window == ITEMS)?;
    body.get(at + ITEMS.len()..)
}

/// How many whole items stand in the first bytes of a list.
fn complete_items(start: &[u8]) -> usize {
    let Some(mut rest) = items_start(start) else { return 0 };
    let mut count = 0;
    loop {
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<serde::de::IgnoredAny>();
        if !matches!(values.next(), Some(Ok(_))) {
            return count;
        }
        count += 1;
        match rest.get(values.byte_offset()..) {
            Some([b',', after @ ..]) => rest = after,
            _ => return count,
        }
    }
}

/// The name of the first item of a list that was cut off in it, if it is among what was read.
fn first_item_name(start: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
        namespace: Option<String>,
    }
    const METADATA: &[u8] = b"\"metadata\":";
    let items = items_start(start)?;
    let at = items.windows(METADATA.len()).position(|window| window == METADATA)?;
    let mut values = serde_json::Deserializer::from_slice(items.get(at + METADATA.len()..)?).into_iter::<Named>();
    let Named { name, namespace } = values.next()?.ok()?;
    Some(namespace.map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(json: &str) -> Body {
        Body { bytes: Bytes::copy_from_slice(json.as_bytes()), _room: None }
    }

    #[test]
    fn items_are_the_bytes_that_were_sent() {
        let body = body(
            r#"{"kind":"L","metadata":{"resourceVersion":"7","continue":"abc"},"items":[{"b":1.50,"a":"é"}, {}]}"#,
        );
        let page = body.page().unwrap();
        let items: Vec<_> = page.items().iter().map(|item| item.get()).collect();
        assert_eq!(items, [r#"{"b":1.50,"a":"é"}"#, "{}"]);
        assert_eq!(page.metadata.continue_token.as_deref(), Some("abc"));
    }

    #[test]
    fn a_list_without_items_is_empty_and_what_is_no_list_is_refused() {
        assert!(body(r#"{"metadata":{},"items":null}"#).page().unwrap().items().is_empty());
        assert!(body(r#"{"metadata":{"continue":null}}"#).page().unwrap().items().is_empty());
        for bad in [
            "",
            "[]",
            "null",
            "{",
            r#"{"items":{}}"#,
            r#"{"items":[}"#,
            "{\"items\":[\"\u{0}\"]}",
            r#"{"items":[],"items":[]}"#,
        ] {
            assert!(body(bad).page().is_err(), "{bad} was taken");
        }
        assert!(Body { bytes: Bytes::from_static(b"{\"items\":[\"\xff\"]}"), _room: None }.page().is_err());
    }

    #[test]
    fn nesting_without_end_does_not_exhaust_the_stack() {
        let depth = 200_000;
        let deep = format!(r#"{{"items":[{}{}]}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(body(&deep).page().unwrap().items().len(), 1);
        assert_eq!(complete_items(deep.as_bytes()), 1);
        assert_eq!(complete_items(&deep.as_bytes()[..depth]), 0);
    }

    #[test]
    fn whole_items_of_a_page_that_was_cut_off_are_counted() {
        let start = br#"{"metadata":{"continue":"x"},"items":[{"a":1},{"a":"}"},{"a"#;
        assert_eq!(complete_items(start), 2);
        assert_eq!(complete_items(b"{\"items\":["), 0);
        assert_eq!(complete_items(b"<html>"), 0);
    }

    #[test]
    fn an_object_that_does_not_fit_is_named() {
        let start = br#"{"items":[{"metadata":{"name":"big","namespace":"shop","uid":"1"},"data":{"a":"AAAA"#;
        assert_eq!(first_item_name(start).unwrap(), "shop/big");
        assert_eq!(first_item_name(br#"{"items":[{"metadata":{"name":"node"},"x"#).unwrap(), "node");
        assert_eq!(first_item_name(br#"{"items":[{"data":"#), None);
    }

    #[tokio::test]
    async fn the_size_of_pages_follows_the_size_of_objects() {
        let cluster = super::super::tests::nowhere().await;
        let room = Room::new();
        let mut pager = Pager::new(&cluster, &room, "list".to_owned(), "/x", "");
        let items = |count: usize, bytes: usize| {
            let item = format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes));
            body(&format!(r#"{{"metadata":{{"continue":"c"}},"items":[{}]}}"#, vec![item; count].join(",")))
        };
        let small = items(64, 1000);
        pager.advance(&small, &small.page().unwrap());
        assert_eq!((pager.size.objects, pager.size.bound), (64 * GROWTH, BOUND), "it grows step by step");
        let large = items(4, 300_000);
        pager.advance(&large, &large.page().unwrap());
        assert_eq!(pager.size.objects, WANTED / 300_000);
        let huge = items(1, 3_500_000);
        pager.advance(&huge, &huge.page().unwrap());
        assert_eq!((pager.size.objects, pager.size.bound), (1, LARGEST_OBJECT));

        pager.resize(100);
        pager.shrink(&items(8, 10).bytes);
        assert_eq!(pager.size.objects, 6, "by what had fitted");
        pager.shrink(b"");
        assert_eq!(pager.size.objects, 1, "at least one");
        pager.resize(100);
        pager.shrink(&items(90, 10).bytes);
        assert_eq!(pager.size.objects, 50, "at most half");
    }
}
