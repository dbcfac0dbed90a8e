//! Listing: any name, any prefix, in order, over pages.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Suite, bytes_of, key};
use crate::repository::backend::{Error, PutOutcome};

/// More than the 1,000 keys of a page of S3.
const MANY: usize = 1_005;

impl Suite {
    pub(super) async fn odd_names(&mut self) -> Result<(), Error> {
        let long = vec!["k".repeat(100); 8].join("/");
        let mut names: Vec<String> = [
            "plus+plus",
            "a space",
            " leading",
            "trailing ",
            "per%cent",
            "%",
            "%41",
            "%2F",
            "%2e%2e",
            "%25",
            "grüße",
            "命名",
            "e\u{301}",
            "\u{1f600}",
            "~tilde",
            "...",
            "..a",
            ".hidden",
            ".tmp-not-temporary",
            "a.",
            "a:b",
            "a=b&c",
            "a?b#c",
            "'quote'",
            "\"double\"",
            "<tag>&amp;",
            "{}[]^`|",
            "*",
            "$HOME",
            "-flag",
            "a,b;c",
            "!()@",
            "CON",
            "UPPER",
            "upper",
        ]
        .map(str::to_owned)
        .into();
        names.push(long);
        names = names.iter().flat_map(|name| [format!("odd/{name}"), format!("odd-folders/{name}/in")]).collect();
        for name in &names {
            let (name, bytes) = (key(name.as_str()), bytes_of(name));
            let created = self.store.put_new(&name, bytes.clone()).await?;
            self.holds(created == PutOutcome::Created, format!("`{name}` is created"));
            let again = self.store.put_new(&name, Bytes::new()).await?;
            self.holds(again == PutOutcome::Exists, format!("`{name}` is created once"));
            let read = self.store.get(&name, 10_000).await?;
            self.holds(read == bytes, format!("`{name}` is read"));
            let range = self.store.get_range(&name, 1..3).await?;
            self.holds(bytes.get(1..3) == Some(&range[..]), format!("a part of `{name}` is read"));
            let seen = self.store.head(&name).await?;
            self.holds(seen.size == bytes.len() as u64, format!("`{name}` is seen"));
            let alone = self.names(name.as_str()).await?;
            self.holds(alone.contains(&name.to_string()), format!("`{name}` is listed by its own name"));
        }
        names.sort();
        let listed = self.names("odd").await?;
        self.holds(listed == names, format!("all odd names are listed in order: {listed:?}"));
        for name in &names {
            self.store.delete(&key(name.as_str())).await?;
        }
        let left = self.names("odd").await?;
        self.holds(left.is_empty(), format!("all odd names are deleted, but {left:?}"));
        Ok(())
    }

    pub(super) async fn prefixes(&mut self) -> Result<(), Error> {
        let names = ["p/2026", "p/2026-x/a", "p/20261120/a", "p/20261120/b", "p/20261121", "p/2027/a", "p2/a"];
        for name in names {
            self.put(name).await?;
        }
        for prefix in [
            "p/2026",
            "p/20261",
            "p/20261120",
            "p/20261120/",
            "p/20261120/a",
            "p/2027",
            "p/2027/",
            "p/",
            "p",
            "p2",
            "p/3",
        ] {
            let expected: Vec<&str> = names.into_iter().filter(|name| name.starts_with(prefix)).collect();
            let listed = self.names(prefix).await?;
            let theirs: Vec<&String> =
                listed.iter().filter(|name| name.starts_with("p/") || name.starts_with("p2/")).collect();
            self.holds(theirs == expected, format!("the prefix `{prefix}` is a text and no folder: {listed:?}"));
        }
        for prefix in ["p/../p", "p//", "/p", "../", "p/20261120/a/"] {
            let listed = self.names(prefix).await?;
            self.holds(listed.is_empty(), format!("no key begins with `{prefix}`: {listed:?}"));
        }
        Ok(())
    }

    pub(super) async fn order(&mut self) -> Result<(), Error> {
        let mut names = [
            "order/a/x",
            "order/a/y/z",
            "order/a-b",
            "order/a.b",
            "order/a0",
            "order/a b",
            "order/a!",
            "order/a~",
            "order/aé",
            "order/a-/x",
            "order/a-b-c/x",
            "order/a./x",
            "order/B",
            "order/b/é",
            "order/b/z",
            "order/\u{fb00}",
            "order/\u{10000}",
        ];
        for name in names {
            self.put(name).await?;
        }
        names.sort_unstable();
        for prefix in ["order/", "order/a", "order/a-", "order/b/"] {
            let expected: Vec<&str> = names.into_iter().filter(|name| name.starts_with(prefix)).collect();
            let listed = self.names(prefix).await?;
            self.holds(listed == expected, format!("`{prefix}` is listed in the byte order of the keys: {listed:?}"));
        }
        Ok(())
    }

    pub(super) async fn long_listing(&mut self) -> Result<(), Error> {
        let mut names: Vec<String> = (0..MANY).map(|n| format!("many/{:x}/{n}", n % 16)).collect();
        let outcomes = stream::iter(names.clone())
            .map(|name| {
                let store = Arc::clone(&self.store);
                async move { store.put_new(&key(name), Bytes::new()).await }
            })
            .buffer_unordered(8);
        let outcomes: Vec<PutOutcome> = outcomes.try_collect().await?;
        self.holds(outcomes.iter().all(|outcome| *outcome == PutOutcome::Created), "many objects are created");
        names.sort();
        let listed = self.names("many/").await?;
        self.holds(
            listed == names,
            format!("a listing over pages holds all {MANY} keys in order, not {}", listed.len()),
        );
        let first = tokio::time::timeout(Duration::from_secs(60), self.store.list("many/").next()).await;
        let first = first.ok().flatten().transpose()?.map(|meta| meta.key.to_string());
        self.holds(first.as_ref() == names.first(), "a listing can be left after its first key");
        Ok(())
    }
}
