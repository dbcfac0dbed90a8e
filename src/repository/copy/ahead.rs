//! What is sent before the session is put: packs of runs that the copy knows nothing of.
//!
//! A session stays in the place of a copy, whatever becomes of the copying, and a prune gives its backup up when it is 7 days
//! old. What has rotted unseen in the original is found on the way. So as much as can be goes its way before there is a session:
//! what no run of the copy owns is garbage there only when it is itself 7 days old, which the protocol allows for anyway. What
//! is found damaged then leaves packs behind that the next try finds, or that a prune sweeps, and the backup can be copied as soon as
//! the original is mended, however long that takes.

use jiff::SignedDuration;

use super::{
    super::{Error, Manifest, backend::ErrorKind, refs::Ref},
    Copier,
    safe::Owners,
};

/// What was looked at holds so long: [`super::look`] has judged it for a session that is put within two hours.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// Whether what was put may be there although putting it has failed: no answer came.
fn may_be_put(error: &Error) -> bool {
    matches!(error, Error::Store(error) if matches!(error.kind, ErrorKind::TimedOut | ErrorKind::Unreachable))
}

impl Copier<'_> {
    /// Which of the packs that are missing can be sent before the session: those of runs of which the copy knows nothing, and the
    /// backup's own.
    pub(super) fn ahead(manifest: &Manifest, refs: &[Ref], (missing, known): (&[usize], &Owners)) -> Vec<usize> {
        let is_free = |line: &Ref| line.backup == manifest.backup || known.is_unknown(&line.backup);
        missing.iter().copied().filter(|at| refs.get(*at).is_some_and(is_free)).collect()
    }

    /// Sends these packs. Whether so much time has passed that the copy must be looked at again.
    ///
    /// # Errors
    /// [`Error::Damaged`] of what has rotted in the original; within [`Error::Begun`] if something may have been put.
    pub(super) async fn send_ahead(&self, manifest: &Manifest, refs: &[Ref], ahead: &[usize]) -> Result<bool, Error> {
        let began = self.options.clock.now();
        let begun = Error::begun(&manifest.backup);
        let (first, others) = ahead.split_at(ahead.len().min(1));
        // The first goes alone: a place that takes nothing has nothing of it then.
        self.send_packs(refs, first).await.map_err(|error| if may_be_put(&error) { begun(error) } else { error })?;
        self.send_packs(refs, others).await.map_err(begun)?;
        Ok(self.options.clock.now().duration_since(began) > LOOK_AGAIN)
    }
}
