//! The live objects of a kind, in the order of their keys, a few MiB at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
};

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::nested;
use crate::sources::kubernetes::{
    Call, CallError, Cluster, Error, ErrorKind, Kind, Patience,
    kinds::{Meta, made_again_by},
    segment,
};
use crate::types::PartInfo;

/// The first page, where nothing is known; then as many objects as make [`PAGE_BYTES`].
const FIRST_PAGE: usize = 50;
const MAX_PAGE: usize = 500;
const PAGE_BYTES: usize = 2 << 20;
/// A larger page is asked for again with half the objects.
const PAGE_LIMIT: usize = 6 << 20;
/// A larger object is none that an API server holds.
const OBJECT_LIMIT: usize = 16 << 20;

/// Reads one live object; `None` if it is not there. Of one that is nested too deeply only what
/// names it.
pub(super) async fn get(cluster: &Cluster, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Value>, Error> {
    let act = format!("read {} {}", kind.id(), full_name(namespace, name));
    let path = kind.object_path(namespace, name);
    let call = Call::get(&act, &path, OBJECT_LIMIT);
    let reply = cluster.read(&call, Patience::default()).await.map_err(|error| error.into_error(&call))?;
    if reply.code == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let body = reply.success(&act)?;
    nested::read(&body).map(|read| Some(read.object)).map_err(|error| malformed(&act, &error))
}

fn malformed(act: &str, error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Malformed, act, format!("the answer is not what the API promises ({error})"))
}

/// `namespace/name`, or the name alone.
pub(super) fn full_name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// One live object, unparsed.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// `namespace/name`: the order of the server's own keys.
    pub(super) key: String,
    body: Bytes,
    range: Range<usize>,
}

impl Item {
    /// Its namespace, if no controller made it.
    fn is_extra(&self, kind_id: &str) -> Option<String> {
        let object: WithMeta = serde_json::from_slice(self.body.get(self.range.clone())?).ok()?;
        made_again_by(kind_id, &object.metadata).is_none().then_some(object.metadata.namespace)
    }

    /// The object, with the `apiVersion` and `kind` that lists leave out. Of one that is nested too
    /// deeply only what names it: no object of a backup that can be read is equal to it.
    pub(super) fn parse(&self, kind: &Kind) -> Result<Value, Error> {
        let bytes = self.body.get(self.range.clone()).unwrap_or_default();
        let act = format!("read {} {}", kind.id(), self.key);
        let mut object = nested::read(bytes).map_err(|error| malformed(&act, &error))?.object;
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), Value::String(kind.api_version()));
            fields.insert("kind".to_owned(), Value::String(kind.name.clone()));
        }
        Ok(object)
    }
}

#[derive(Deserialize)]
struct WithMeta {
    #[serde(default)]
    metadata: Meta,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(default)]
    metadata: PageMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PageMeta {
    #[serde(rename = "continue")]
    token: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    metadata: Key,
}

#[derive(Deserialize)]
struct Key {
    #[serde(default)]
    namespace: String,
    name: String,
}

/// How many objects of this size make a page.
fn page_of(size: usize) -> usize {
    (PAGE_BYTES / size.max(1)).clamp(1, MAX_PAGE)
}

/// A list that is read page by page.
#[derive(Debug)]
pub(super) struct LiveList<'a> {
    cluster: &'a Cluster,
    act: String,
    path: String,
    items: VecDeque<Item>,
    token: Option<String>,
    begun: bool,
    limit: usize,
}

impl<'a> LiveList<'a> {
    /// The objects of one namespace, or all of a kind.
    pub(super) fn new(cluster: &'a Cluster, kind: &Kind, namespace: Option<&str>) -> Self {
        let place = namespace.filter(|name| !name.is_empty()).map(|name| format!(" in namespace {name}"));
        Self {
            cluster,
            act: format!("list {}{}", kind.id(), place.unwrap_or_default()),
            path: kind.list_path(namespace.filter(|name| !name.is_empty())),
            items: VecDeque::new(),
            token: None,
            begun: false,
            limit: FIRST_PAGE,
        }
    }

    /// Begins with pages for objects of about this size.
    fn expecting(self, size: usize) -> Self {
        Self { limit: page_of(size), ..self }
    }

    /// The next object.
    ///
    /// # Errors
    /// If a page cannot be read. A kind that is not served (any more) has no objects.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, Error> {
        while self.items.is_empty() {
            if self.begun && self.token.is_none() {
                return Ok(None);
            }
            self.read_page().await?;
        }
        Ok(self.items.pop_front())
    }

    async fn read_page(&mut self) -> Result<(), Error> {
        let mut path = format!("{}?limit={}", self.path, self.limit);
        if let Some(token) = &self.token {
            path.push_str("&continue=");
            path.push_str(&segment(token));
        }
        let call = Call::get(&self.act, &path, if self.limit > 1 { PAGE_LIMIT } else { OBJECT_LIMIT });
        let reply = match self.cluster.read(&call, Patience::default()).await {
            Ok(reply) => reply,
            Err(CallError::TooLarge(_)) if self.limit > 1 => {
                self.limit /= 2;
                return Ok(());
            }
            Err(error) => return Err(error.into_error(&call)),
        };
        match reply.code {
            StatusCode::NOT_FOUND => {
                (self.begun, self.token) = (true, None);
                return Ok(());
            }
            // The server offers to go on with what is there now, which is all that is needed here.
            StatusCode::GONE => {
                let page: Page<'_> =
                    serde_json::from_slice(&reply.body).map_err(|error| malformed(&self.act, &error))?;
                match page.metadata.token.filter(|token| !token.is_empty() && self.token.as_ref() != Some(token)) {
                    Some(token) => self.token = Some(token),
                    None => return Err(reply.refusal(&self.act)),
                }
                return Ok(());
            }
            _ => {}
        }
        let body = reply.success(&self.act)?;
        self.take_page(&body)
    }

    fn take_page(&mut self, body: &Bytes) -> Result<(), Error> {
        let page: Page<'_> = serde_json::from_slice(body).map_err(|error| malformed(&self.act, &error))?;
        let start = body.as_ptr().addr();
        for raw in page.items.unwrap_or_default() {
            let text = raw.get();
            let named: Named = serde_json::from_str(text).map_err(|error| malformed(&self.act, &error))?;
            let from = text.as_ptr().addr().saturating_sub(start);
            self.items.push_back(Item {
                key: full_name(&named.metadata.namespace, &named.metadata.name),
                body: body.clone(),
                range: from..from + text.len(),
            });
        }
        self.begun = true;
        self.token = page.metadata.token.filter(|token| !token.is_empty());
        self.limit = page_of(body.len() / self.items.len().max(1));
        Ok(())
    }
}

/// Finds live objects by keys that are asked for in ascending order, in one pass over their list.
/// Where either order is broken, or the list expires, it asks for single objects.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    cluster: &'a Cluster,
    kind: &'a Kind,
    list: Option<LiveList<'a>>,
    current: Option<Item>,
    last_asked: String,
    last_live: String,
    ended: bool,
    extra: Option<BTreeMap<String, u64>>,
}

impl<'a> Cursor<'a> {
    /// Over the objects of one namespace, or over all of a kind. They are expected to be about as
    /// large as those of `part` of the backup.
    pub(super) fn over(cluster: &'a Cluster, kind: &'a Kind, namespace: Option<&str>, part: &PartInfo) -> Self {
        let size = usize::try_from(part.length / part.count.max(1)).unwrap_or(usize::MAX);
        let list = LiveList::new(cluster, kind, namespace).expecting(size);
        Self { list: Some(list), ..Self::single(cluster, kind) }
    }

    /// Asks for each object by itself.
    pub(super) fn single(cluster: &'a Cluster, kind: &'a Kind) -> Self {
        Self {
            cluster,
            kind,
            list: None,
            current: None,
            last_asked: String::new(),
            last_live: String::new(),
            ended: false,
            extra: None,
        }
    }

    /// Counts the live objects that nobody asks for and that no controller made.
    pub(super) fn counting_extra(self) -> Self {
        Self { extra: Some(BTreeMap::new()), ..self }
    }

    /// How many there were, by namespace.
    pub(super) fn extra(&self) -> impl Iterator<Item = (&String, &u64)> {
        self.extra.iter().flatten()
    }

    /// Passes over all objects that are left.
    pub(super) async fn pass_rest(&mut self) -> Result<(), Error> {
        while !self.ended && self.list.is_some() {
            self.advance().await?;
        }
        Ok(())
    }

    /// The live object of this name.
    ///
    /// # Errors
    /// If the cluster cannot be read.
    pub(super) async fn find(&mut self, namespace: &str, name: &str) -> Result<Option<Value>, Error> {
        let key = full_name(namespace, name);
        if self.list.is_none() {
            return get(self.cluster, self.kind, namespace, name).await;
        }
        if key <= self.last_asked {
            let live = get(self.cluster, self.kind, namespace, name).await?;
            self.take_back(&key, live.as_ref());
            return Ok(live);
        }
        self.last_asked.clone_from(&key);
        if self.current.is_none() && !self.ended {
            self.advance().await?;
        }
        while self.current.as_ref().is_some_and(|item| item.key < key) {
            self.advance().await?;
        }
        if self.list.is_none() {
            return get(self.cluster, self.kind, namespace, name).await;
        }
        match self.current.take_if(|item| item.key == key) {
            Some(item) => item.parse(self.kind).map(Some),
            None => Ok(None),
        }
    }

    /// What was passed over and is asked for after all was no extra object.
    fn take_back(&mut self, key: &str, live: Option<&Value>) {
        let Some((extra, live)) = self.extra.as_mut().zip(live) else { return };
        let Some(meta) = live.get("metadata").and_then(|meta| Meta::deserialize(meta).ok()) else { return };
        let was_passed = self.current.as_ref().map_or(&*self.last_live, |item| &*item.key) > key || self.ended;
        if was_passed
            && made_again_by(&self.kind.id(), &meta).is_none()
            && let Some(count) = extra.get_mut(&meta.namespace)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// Single objects from here on. What was counted until now would say nothing.
    fn give_up_list(&mut self) {
        self.list = None;
        self.extra = None;
    }

    /// To the next live object. A list in no order, or one that expired, is given up.
    async fn advance(&mut self) -> Result<(), Error> {
        if let Some(item) = self.current.take()
            && let Some(extra) = &mut self.extra
            && let Some(namespace) = item.is_extra(&self.kind.id())
        {
            *extra.entry(namespace).or_default() += 1;
        }
        let Some(list) = &mut self.list else { return Ok(()) };
        match list.next().await {
            Ok(Some(item)) if item.key > self.last_live => {
                self.last_live.clone_from(&item.key);
                self.current = Some(item);
            }
            Ok(None) => self.ended = true,
            Ok(Some(_)) => self.give_up_list(),
            Err(error) if error.kind == ErrorKind::Expired => self.give_up_list(),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
