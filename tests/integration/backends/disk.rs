//! The local directory on a disk that is full or read-only.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use drctl::repository::backend::{Backend, Directory, ErrorKind, PutOutcome};
use futures::TryStreamExt;

use super::{assert_says, key};
use crate::support::bed::require;

/// The folder of the inner run of the test.
const INNER: &str = "DRCTL_TEST_SMALL_DISK";

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_leaves_nothing_behind() {
    if let Some(disk) = std::env::var_os(INNER) {
        return on_a_small_disk(Path::new(&disk)).await;
    }
    require!(program "unshare");
    let folder = tempfile::tempdir().unwrap();
    // A disk of 1 MiB, in a mount namespace that ends with the inner run of this same test.
    let script = r#"mount -t tmpfs -o size=1m none "$1" && exec "$0" --exact backends::disk::a_full_disk_is_said_to_be_full_and_leaves_nothing_behind"#;
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(folder.path())
        .env(INNER, folder.path())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

async fn on_a_small_disk(disk: &Path) {
    let store = Directory::open(disk).await.unwrap();
    let half = Bytes::from(vec![1; 600 << 10]);
    assert_eq!(store.put_new(&key("data/a"), half.clone()).await.unwrap(), PutOutcome::Created);
    for _ in 0..3 {
        let error = store.put_new(&key("data/b"), half.clone()).await.unwrap_err();
        assert_says(&error, ErrorKind::Full, "no space is left on the file system");
    }
    let files: Vec<_> = std::fs::read_dir(disk.join("data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["a"], "something is left of the puts that failed");
    assert_eq!(store.get(&key("data/a"), 1 << 20).await.unwrap(), half);
    store.delete(&key("data/a")).await.unwrap();
    assert_eq!(store.put_new(&key("data/b"), half).await.unwrap(), PutOutcome::Created);

    let read_only = Command::new("mount").args(["-o", "remount,ro"]).arg(disk).status().unwrap();
    assert!(read_only.success());
    let error = store.put_new(&key("data/c"), Bytes::new()).await.unwrap_err();
    assert_says(&error, ErrorKind::PermissionDenied, "the file system is mounted read-only");
    assert_eq!(store.list("").try_collect::<Vec<_>>().await.unwrap().len(), 1);
}
