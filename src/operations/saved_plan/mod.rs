//! A plan in a file: saved, looked at by somebody, and executed later if it is still the same plan.
//!
//! The file says what was asked and what was seen. It is never believed: whoever executes it has the plan made anew,
//! and what the file says only decides whether that plan is the one that was agreed to.

mod document;
mod read;

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

pub use self::{
    document::{SavedAsked, SavedEnd, SavedModifiers, SavedOptions, SavedPlan},
    read::{PlanFile, PlanTotals},
};
use super::{Error, Restore, RestoreOptions, Run, choose_sources};
use crate::{
    repository::StoredManifest,
    sources::kubernetes::restore::Target,
    types::{Blake3Digest, Blake3Hasher},
};

/// The first line of a plan may be so long, with its end: it has all that was asked.
const MAX_HEAD: usize = 1 << 20;
/// A longer line is no other line of a plan.
const MAX_LINE: usize = 256 << 10;
/// So much is written at once.
const PIECE: usize = 64 << 10;
const API_VERSION: &str = "drctl/v1";
const KIND: &str = "SavedPlan";

/// Saves a planned restore of objects. Gives the digest of its lines, by which it is known again.
///
/// # Errors
/// [`Error::PlanFile`] if the file cannot be written.
pub async fn save_plan(
    restore: &Restore,
    stored: &StoredManifest,
    options: &RestoreOptions,
    run: &Run,
    file: &mut (impl AsyncWrite + Unpin),
) -> Result<Blake3Digest, Error> {
    // Also those of which nothing is chosen: what is chosen is looked for in them again.
    let sources = choose_sources(stored, &options.sources)?.objects;
    let target = &restore.target;
    let head = SavedPlan {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        drctl: env!("CARGO_PKG_VERSION").to_owned(),
        made: run.clock.now(),
        backup: restore.backup.clone(),
        manifest_sha256: stored.sha256,
        target: Target { uid: target.uid.clone(), name: target.name.clone(), version: target.version.clone() },
        options: SavedOptions {
            sources,
            on_conflict: options.on_conflict,
            platform: options.platform.clone(),
            adopt_volumes: options.adopt_volumes,
            asked: SavedAsked::of(&options.asked)?,
        },
        databases_left_out: choose_sources(stored, &[])?.databases,
    };
    let mut writer = Lines { file, piece: Vec::with_capacity(PIECE), hasher: Blake3Hasher::default(), longest: 0 };
    writer.add(&head).await?;
    if writer.longest > MAX_HEAD {
        return Err(Error::PlanFile { why: "more was asked than a plan can carry: 1 MiB".to_owned() });
    }
    let mut objects = 0;
    for object in restore.plans.iter().flat_map(|plan| plan.saved()) {
        writer.add(&object).await?;
        objects += 1;
    }
    let blake3 = writer.hasher.finish();
    writer.add(&SavedEnd { objects, blake3 }).await?;
    writer.flush().await?;
    Ok(blake3)
}

struct Lines<'f, W> {
    file: &'f mut W,
    piece: Vec<u8>,
    hasher: Blake3Hasher,
    /// The length of the longest line until now.
    longest: usize,
}

impl<W: AsyncWrite + Unpin> Lines<'_, W> {
    async fn add(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let begin = self.piece.len();
        serde_json::to_writer(&mut self.piece, line).map_err(|error| cannot("written", &error))?;
        self.piece.push(b'\n');
        self.hasher.update(self.piece.get(begin..).unwrap_or_default());
        self.longest = self.longest.max(self.piece.len().saturating_sub(begin));
        if self.piece.len() >= PIECE { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.file.write_all(&self.piece).await.map_err(|error| cannot("written", &error))?;
        self.piece.clear();
        Ok(())
    }
}

fn cannot(what: &str, error: &dyn std::error::Error) -> Error {
    Error::PlanFile { why: format!("it cannot be {what}: {error}") }
}

fn wrong(line: u64, why: &str) -> Error {
    Error::PlanFile { why: format!("line {line}: {why}") }
}
