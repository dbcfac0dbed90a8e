//! The repository: format version 1 of `docs/format.md` over any backend.

pub mod backend;
