use std::{collections::BTreeSet, os::unix::fs::symlink};

use proptest::prelude::*;

use super::*;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

async fn keys(store: &Directory, prefix: &str) -> Vec<String> {
    store.list(prefix).map_ok(|meta| meta.key.to_string()).try_collect().await.unwrap()
}

async fn put(store: &Directory, text: &str) {
    assert_eq!(store.put_new(&key(text), Bytes::from(text.to_owned())).await.unwrap(), PutOutcome::Created);
}

#[tokio::test]
async fn an_object_is_a_plain_file_of_its_name_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = Directory::open(folder.path()).await.unwrap();
    put(&store, "data/20261120T020000Z-abcdef/00ff").await;
    assert_eq!(
        store.put_new(&key("data/20261120T020000Z-abcdef/00ff"), Bytes::new()).await.unwrap(),
        PutOutcome::Exists
    );
    let below = folder.path().join("data/20261120T020000Z-abcdef");
    assert_eq!(std::fs::read(below.join("00ff")).unwrap(), b"data/20261120T020000Z-abcdef/00ff");
    assert_eq!(std::fs::read_dir(below).unwrap().count(), 1);
}

#[tokio::test]
async fn unfinished_writes_are_not_objects() {
    let folder = tempfile::tempdir().unwrap();
    let store = Directory::open(folder.path()).await.unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    std::fs::write(folder.path().join("a/.tmp-0123"), "half").unwrap();
    put(&store, "a/.tmp-mine").await;
    assert_eq!(keys(&store, "").await, ["a/.tmp-mine"]);
    assert!(store.get(&key("a/.tmp-0123"), 10).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_missing_folder_is_said_and_made_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("not/there");
    let error = Directory::open(&path).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSuchStore);
    assert_eq!(error.to_string(), format!("cannot open file://{}: the folder does not exist", path.display()));
    let store = Directory::make(&path).await.unwrap();
    put(&store, "a").await;
    Directory::make(&path).await.unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    for error in [
        store.put_new(&key("b"), Bytes::new()).await.unwrap_err(),
        store.get(&key("a"), 1).await.unwrap_err(),
        store.list("").try_next().await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::NoSuchStore, "{error}");
    }
}

#[tokio::test]
async fn links_are_never_followed_and_never_passed_over() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "s").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Directory::open(folder.path()).await.unwrap();
    put(&store, "kept/a").await;
    symlink(outside.path(), folder.path().join("linked")).unwrap();
    symlink(outside.path().join("secret"), folder.path().join("kept/file")).unwrap();
    for error in [
        store.get(&key("linked/secret"), 10).await.unwrap_err(),
        store.get(&key("kept/file"), 10).await.unwrap_err(),
        store.head(&key("linked/secret")).await.unwrap_err(),
        store.put_new(&key("linked/new"), Bytes::new()).await.unwrap_err(),
        store.put_new(&key("kept/file"), Bytes::new()).await.unwrap_err(),
        store.delete(&key("linked/secret")).await.unwrap_err(),
        store.list("linked/").try_collect::<Vec<_>>().await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::NotAnObject);
        assert!(error.reason.contains("symbolic link"), "{error}");
    }
    let listed: Vec<_> = store.list("").map_ok(|meta| (meta.key.to_string(), meta.size)).try_collect().await.unwrap();
    assert_eq!(listed, [("kept/a".to_owned(), 6), ("kept/file".to_owned(), 0), ("linked".to_owned(), 0)]);
    for (prefix, found) in
        [("", &["kept/file", "linked"][..]), ("kept/", &["kept/file"]), ("linked", &["linked"]), ("k/", &[])]
    {
        let strangers = store.strangers(prefix).await.unwrap();
        assert_eq!(strangers.iter().map(Key::as_str).collect::<Vec<_>>(), found, "{prefix}");
    }
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    // The twin: without the links all of it works.
    std::fs::remove_file(folder.path().join("linked")).unwrap();
    std::fs::remove_file(folder.path().join("kept/file")).unwrap();
    assert_eq!(keys(&store, "").await, ["kept/a"]);
    assert_eq!(store.strangers("").await.unwrap(), []);
}

#[tokio::test]
async fn the_repository_itself_may_be_reached_by_a_link() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("link")).unwrap();
    let store = Directory::open(folder.path().join("link")).await.unwrap();
    put(&store, "a/b").await;
    assert!(folder.path().join("real/a/b").is_file());
}

#[tokio::test]
async fn a_key_below_another_object_is_an_error_of_the_put_and_missing_to_readers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Directory::open(folder.path()).await.unwrap();
    put(&store, "a").await;
    put(&store, "d/x").await;
    let below = store.put_new(&key("a/b"), Bytes::new()).await.unwrap_err();
    assert!(below.reason.contains("the file of another object"), "{below}");
    assert!(store.put_new(&key("d"), Bytes::new()).await.is_err());
    assert!(store.get(&key("a/b"), 1).await.unwrap_err().is_not_found());
    assert!(store.get(&key("d"), 1).await.unwrap_err().is_not_found());
    store.delete(&key("d")).await.unwrap();
    assert_eq!(keys(&store, "").await, ["a", "d/x"]);
}

#[tokio::test]
async fn emptied_folders_go_and_do_not_disturb_writers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Directory::open(folder.path()).await.unwrap();
    put(&store, "data/one/a").await;
    put(&store, "data/two/a").await;
    store.delete(&key("data/one/a")).await.unwrap();
    assert!(!folder.path().join("data/one").exists());
    assert!(folder.path().join("data/two").exists());

    let writer = async {
        for n in 0..200 {
            put(&store, &format!("race/deep/w{n}")).await;
            store.delete(&key(&format!("race/deep/w{n}"))).await.unwrap();
        }
    };
    let other = async {
        for n in 0..200 {
            put(&store, &format!("race/deep/o{n}")).await;
            store.delete(&key(&format!("race/deep/o{n}"))).await.unwrap();
        }
    };
    tokio::join!(writer, other);
    assert_eq!(keys(&store, "race").await, [""; 0]);
}

#[tokio::test]
async fn a_pipe_under_a_key_does_not_hold_a_reader_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = Directory::open(folder.path()).await.unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap();
    assert!(made.success());
    assert!(store.get(&key("pipe"), 1).await.unwrap_err().is_not_found());
    assert_eq!(keys(&store, "").await, [""; 0]);
}

#[tokio::test]
async fn a_full_disk_is_full_and_leaves_nothing_behind() {
    // A device that is always full stands for the disk: its error is the disk's.
    let error = std::fs::write("/dev/full", "x").unwrap_err();
    assert_eq!(folder::io_failure(error).kind, ErrorKind::Full);
    assert_eq!(folder::failure(rustix::io::Errno::DQUOT).kind, ErrorKind::Full);
}

#[tokio::test]
async fn a_name_that_is_too_long_for_a_file_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = Directory::open(folder.path()).await.unwrap();
    let error = store.put_new(&key(&"n".repeat(256)), Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    put(&store, &"n".repeat(255)).await;
}

/// Segments whose characters sort around `/`, so that folders and files interleave.
fn segment() -> impl Strategy<Value = String> {
    r"(\.tmp-|%)?[a-b\-\.0!~é]{1,3}".prop_filter("not a path of its own", |s| s != "." && s != "..")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn listings_are_in_key_order_for_any_tree_prefix_and_page(
        paths in proptest::collection::btree_set(proptest::collection::vec(segment(), 1..4), 0..24),
        prefix in proptest::collection::vec(segment(), 0..3),
        open_end in any::<bool>(),
        page in 1usize..4,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut stored = BTreeSet::new();
        for path in paths {
            let key = Key::new(path.join("/")).unwrap();
            // A file cannot be a folder too: such keys are left out here.
            if files::put_new(folder.path(), &key, b"x").is_ok() {
                stored.insert(key.to_string());
            }
        }
        let mut prefix = prefix.join("/");
        if open_end {
            prefix.pop();
        }
        let mut walk = Walk::with_names(folder.path(), &prefix, page).unwrap();
        let mut found = Vec::new();
        loop {
            let batch = walk.step().unwrap();
            if batch.is_empty() { break }
            found.extend(batch.into_iter().map(|meta| meta.key.to_string()));
        }
        let expected: Vec<String> = stored.into_iter().filter(|key| key.starts_with(&prefix)).collect();
        prop_assert_eq!(found, expected);
    }
}
