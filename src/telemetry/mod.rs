//! Logging and progress.
