//! From what an error wraps to what people read: wrappers that only pass on are left out.

use std::error::Error;

use crate::{
    operations,
    repository::{self, backend},
    sources::{
        CaptureError,
        kubernetes::{self, restore::RestoreError},
        mongodb,
        postgres::{contents, export::ExportError, restore::RestoreError as DatabaseRestoreError},
    },
};

/// The error itself where a wrapper only passes it on: what a wrapper calls its source is then the
/// source of the error itself.
pub(super) fn concrete<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let inner: Option<&'a (dyn Error + 'static)> = if let Some(error) = error.downcast_ref::<operations::Error>() {
        match error {
            operations::Error::Repository(error) => Some(error),
            operations::Error::Kubernetes(error) => Some(error),
            operations::Error::Postgres(error) => Some(error),
            operations::Error::Mongodb(error) => Some(error),
            operations::Error::Capture(error) => Some(error),
            operations::Error::Contents(error) => Some(error),
            operations::Error::Restore(error) => Some(error),
            operations::Error::Export(error) => Some(error),
            operations::Error::ExportObjects(error) => Some(error),
            operations::Error::RestoreDatabase(error) => Some(error),
            operations::Error::RestoreMongodb(error) => Some(error),
            operations::Error::ExportMongodb(error) => Some(error),
            operations::Error::Copy(error) => Some(error),
            operations::Error::Secret(error) => Some(error),
            _ => None,
        }
    } else if let Some(repository::Error::Store(error)) = error.downcast_ref() {
        Some(error)
    } else if let Some(repository::Error::Copy(error)) = error.downcast_ref() {
        Some(error)
    } else if let Some(error) = error.downcast_ref::<CaptureError>() {
        match error {
            CaptureError::Sink(error) => Some(error),
            CaptureError::Kubernetes(error) => Some(error),
            CaptureError::Postgres(error) => Some(error),
            CaptureError::Mongodb(error) => Some(error),
            CaptureError::Interrupted => None,
        }
    } else if let Some(error) = error.downcast_ref::<ExportError>() {
        match error {
            ExportError::Contents(contents::Error::Contents(error)) => Some(error),
            ExportError::Contents(error) => Some(error),
            ExportError::Output(_) | ExportError::Interrupted => None,
        }
    } else if let Some(error) = error.downcast_ref::<RestoreError>() {
        match error {
            RestoreError::Kubernetes(error) => Some(error),
            RestoreError::Contents(error) => Some(error),
            _ => None,
        }
    } else if let Some(error) = error.downcast_ref::<DatabaseRestoreError>() {
        match error {
            DatabaseRestoreError::Postgres(error) => Some(error),
            DatabaseRestoreError::Backup(error) => Some(error),
            _ => None,
        }
    } else if let Some(mongodb::restore::RestoreError::Backup(error)) = error.downcast_ref() {
        Some(error)
    } else if let Some(mongodb::export::ExportError::Contents(error)) = error.downcast_ref() {
        Some(error)
    } else if let Some(mongodb::contents::Error::Contents(error)) = error.downcast_ref() {
        Some(error)
    } else if let Some(contents::Error::Contents(error)) = error.downcast_ref() {
        Some(error)
    } else {
        None
    };
    inner.map_or(error, concrete)
}

/// Whether what lies below `error` is a client library's, which says less than `error` does and
/// belongs into the log.
pub(super) fn is_last_for_people(error: &(dyn Error + 'static)) -> bool {
    error.is::<backend::Error>() || error.is::<kubernetes::Error>()
}
