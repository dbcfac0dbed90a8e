//! What drctl does: one file an operation.
