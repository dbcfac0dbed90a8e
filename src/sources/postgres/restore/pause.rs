//! Places where a test can stop a restore: to change the data, or to kill it.
//!
//! `DRCTL_TEST_PAUSE=POINT:FILE` makes the run write `FILE.reached` at that point and go on once FILE
//! exists. Without the feature `testing` the points are empty.

/// A place in a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    /// All rows are loaded and nothing is compared.
    Loaded,
    /// Everything is built; the catalogs are not compared.
    Built,
    /// The database that definitions are compared with is made, and holds nothing.
    Twin,
    /// The restored database is ready; the live one is untouched.
    Ready,
    /// The live database is closed to new sessions.
    Closed,
    /// Its sessions are ended.
    Ended,
    /// Both databases have their new names.
    Swapped,
}

/// Whether a test stops at this point: then what runs side by side must not pass it.
pub(super) fn is_set(point: Point) -> bool {
    file(point).is_some()
}

/// Waits here, if a test has said so.
pub(super) async fn at(point: Point) {
    let Some(file) = file(point) else { return };
    let reached = file.with_extension("reached");
    if let Err(error) = tokio::fs::write(&reached, b"").await {
        tracing::warn!(%error, "the point of a test cannot be told");
    }
    while !file.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[cfg(any(test, feature = "testing"))]
fn file(point: Point) -> Option<std::path::PathBuf> {
    let value = std::env::var("DRCTL_TEST_PAUSE").ok()?;
    let (name, file) = value.split_once(':')?;
    (name.eq_ignore_ascii_case(&format!("{point:?}"))).then(|| file.into())
}

#[cfg(not(any(test, feature = "testing")))]
fn file(_point: Point) -> Option<std::path::PathBuf> {
    None
}
