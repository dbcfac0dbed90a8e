//! What tests share.

pub(crate) mod bed;
