//! PostgreSQL databases.

pub mod archive;
pub mod contents;
pub mod rows;
