//! `--on-conflict` of `drctl restore`.

use clap::ValueEnum;

use crate::sources::kubernetes::restore::OnConflict;

/// What is done about live objects that differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Conflict {
    /// Nothing at all is written
    #[default]
    Fail,
    /// They are left as they are, and the rest is restored
    Skip,
    /// They are changed into what the backup holds
    Update,
    /// They are deleted and created, where nothing is lost by it
    Replace,
}

impl Conflict {
    pub(super) fn of_plan(self) -> OnConflict {
        match self {
            Self::Fail => OnConflict::Fail,
            Self::Skip => OnConflict::Skip,
            Self::Update => OnConflict::Update,
            Self::Replace => OnConflict::Replace,
        }
    }
}
