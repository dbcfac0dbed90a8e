//! Faults of the protocol, to be planted by its model test alone: a test that finds none of them would prove nothing.

/// What is done wrongly. Nothing, but in the model test: other builds have no way to set it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(not(any(test, feature = "testing")), expect(unreachable_pub, reason = "only tests can plant"))]
pub struct Planted {
    /// A backup does not look at tombstones, and at its parents once more, after its session is written.
    pub tombstones_once: bool,
    /// A backup commits before its packs are stored.
    pub manifest_first: bool,
    /// Prune lists sessions last, and asks the store of that moment which of them have ended.
    pub sessions_last: bool,
    /// Prune fences by overwriting what is in the manifest's place.
    pub fence_by_overwrite: bool,
    /// Prune deletes at once what it has just marked.
    pub no_wait: bool,
    /// A copy relies on packs that a prune of the copy may be deleting.
    pub relies_on_all: bool,
    /// A copy passes over tombstones of the place that it brings backups into.
    pub ignores_marks: bool,
}
