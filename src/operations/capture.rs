//! All sources of a run into one backup: prepared together, captured one after the other.
//!
//! A source that fails does not take the others with it: the backup is partial then, and says why. One
//! that holds nothing is no backup: if no source was captured, the first failure is the run's.

use super::{Error, Run};
use crate::{
    repository::BackupWriter,
    sources::{CaptureContext, CaptureError, CaptureReport, PreparedSource, Source},
    types::{CaptureSink as _, Missing, Name},
};

/// Sources that could not be captured.
#[derive(Debug, Default)]
pub(super) struct Failed {
    first: Option<Error>,
    /// All of them, as they are named in the manifest.
    pub(super) missing: Vec<Missing>,
}

impl Failed {
    /// Adds a source that failed.
    pub(super) fn add(&mut self, source: &Name, error: Error) {
        let why = chain(&error);
        tracing::warn!(%source, %why, "a source could not be captured");
        self.missing.push(Missing { source: source.to_string(), what: format!("source {source}"), why });
        self.first.get_or_insert(error);
    }

    /// The first failure, for a run that comes to nothing.
    pub(super) fn into_first(self) -> Option<Error> {
        self.first
    }
}

/// Prepares all sources, so that their moments lie close together, then captures one after the other: first those whose
/// moment fades while others are read. `failed` has those that failed before.
///
/// # Errors
/// [`Error::Interrupted`], what the repository says, or the first failure if no source was captured.
pub(super) async fn capture_all(
    sources: &[Box<dyn Source>],
    failed: &mut Failed,
    writer: &BackupWriter,
    run: &Run,
) -> Result<Vec<CaptureReport>, Error> {
    let context = CaptureContext { sink: writer, monitor: run.monitor.as_ref(), cancel: &run.cancel };
    let prepared = futures::future::join_all(sources.iter().map(|source| source.prepare(context))).await;
    let mut ready: Vec<Ready<'_>> = Vec::new();
    for (place, (source, prepared)) in sources.iter().zip(prepared).enumerate() {
        match prepared {
            Ok(prepared) => ready.push((place, source.name(), prepared)),
            Err(error) => failed.add(source.name(), of_one(error)?),
        }
    }
    let mut reports = Vec::new();
    for (place, name, source) in in_order(ready) {
        match source.capture(context).await {
            Ok(report) => reports.push((place, report)),
            Err(error) => {
                let error = of_one(error)?;
                writer.abandon(name).await;
                failed.add(name, error);
            }
        }
    }
    if run.cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    match failed.first.take_if(|_| reports.is_empty()) {
        Some(error) => Err(error),
        None => {
            reports.sort_by_key(|(place, _)| *place);
            Ok(reports.into_iter().map(|(_, report)| report).collect())
        }
    }
}

/// A source that can be captured: its place in the policy, its name.
type Ready<'a> = (usize, &'a Name, Box<dyn PreparedSource>);

/// Those whose moment fades, then the others, each in the order of the policy.
fn in_order(mut ready: Vec<Ready<'_>>) -> Vec<Ready<'_>> {
    ready.sort_by_key(|(_, _, source)| !source.fades());
    ready
}

/// The error of one source alone; an error of the whole run is given back as such.
fn of_one(error: CaptureError) -> Result<Error, Error> {
    match error {
        CaptureError::Sink(_) | CaptureError::Interrupted => Err(error.into()),
        CaptureError::Kubernetes(_) | CaptureError::Postgres(_) | CaptureError::Mongodb(_) => Ok(error.into()),
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let said = error.to_string();
        // Libraries repeat their sources in their own text.
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::tests::Made, *};

    #[test]
    fn a_source_whose_moment_fades_is_read_before_those_whose_moments_stay() {
        let names: Vec<Name> =
            ["first", "second", "third", "fourth"].into_iter().map(|name| Name::new(name).unwrap()).collect();
        let made = |name: &Name, fades| -> Box<dyn PreparedSource> {
            let made = Made::table(name.as_str(), bytes::Bytes::new());
            Box::new(if fades { made.fading() } else { made })
        };
        let ready = names.iter().zip([false, true, false, true]).enumerate();
        let ready = ready.map(|(place, (name, fades))| (place, name, made(name, fades))).collect();
        let order: Vec<&str> = in_order(ready).iter().map(|(_, name, _)| name.as_str()).collect();
        assert_eq!(order, ["second", "fourth", "first", "third"]);
    }
}
