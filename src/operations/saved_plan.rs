//! A plan in a file: saved, looked at by somebody, and executed later if it is still the same plan.
//!
//! The file says what was asked and what was seen. It is never believed: whoever executes it has the plan made anew,
//! and what the file says only decides whether that plan is the one that was agreed to.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    fs::File,
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
};

use super::{Error, Restore, RestoreOptions, Run, restore::stop_if_told};
use crate::{
    repository::StoredManifest,
    sources::kubernetes::restore::{OnConflict, SavedObject, Target},
    types::{BackupId, Blake3Digest, Blake3Hasher, Name, Sha256Digest},
};

/// A longer line is no line of a plan.
const MAX_LINE: usize = 256 << 10;
/// So much is written at once.
const PIECE: usize = 64 << 10;
/// So many changes are named.
const NAMED: usize = 20;
const API_VERSION: &str = "drctl/v1";
const KIND: &str = "SavedPlan";

/// The first line of a saved plan: what was asked, and of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedPlan {
    /// `drctl/v1`.
    pub api_version: String,
    /// `SavedPlan`.
    pub kind: String,
    /// The version of drctl that made it.
    pub drctl: String,
    /// When it was made.
    pub made: Timestamp,
    /// The backup's identifier.
    #[schemars(with = "String")]
    pub backup: BackupId,
    /// SHA-256 of the backup's manifest as stored.
    #[schemars(with = "String")]
    pub manifest_sha256: Sha256Digest,
    /// The cluster that it was made for.
    pub target: Target,
    /// What was asked.
    pub options: SavedOptions,
}

/// What was asked of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedOptions {
    /// The sources of the backup.
    #[schemars(with = "Vec<String>")]
    pub sources: Vec<Name>,
    /// What is done about live objects that differ.
    pub on_conflict: OnConflict,
    /// Namespaces that were named to come first.
    pub platform: Vec<String>,
    /// Volumes of the backup are taken over by their claims.
    pub adopt_volumes: bool,
}

/// The last line of a saved plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavedEnd {
    /// How many objects there are in it.
    pub objects: u64,
    /// BLAKE3 of all lines before this one: `head -n -1 FILE | b3sum`.
    #[schemars(with = "String")]
    pub blake3: Blake3Digest,
}

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
    let sources = restore.plans.iter().filter_map(|plan| Name::new(plan.source.as_str()).ok());
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
            sources: sources.collect(),
            on_conflict: options.on_conflict,
            platform: options.platform.clone(),
            adopt_volumes: options.adopt_volumes,
        },
    };
    let mut writer = Lines { file, piece: Vec::with_capacity(PIECE), hasher: Blake3Hasher::default() };
    writer.add(&head).await?;
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
}

impl<W: AsyncWrite + Unpin> Lines<'_, W> {
    async fn add(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let begin = self.piece.len();
        serde_json::to_writer(&mut self.piece, line).map_err(|error| cannot("written", &error))?;
        self.piece.push(b'\n');
        self.hasher.update(self.piece.get(begin..).unwrap_or_default());
        if self.piece.len() >= PIECE { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.file.write_all(&self.piece).await.map_err(|error| cannot("written", &error))?;
        self.piece.clear();
        Ok(())
    }
}

/// A saved plan that is being read, line by line.
#[derive(Debug)]
pub struct PlanFile {
    /// Its first line.
    pub head: SavedPlan,
    reader: BufReader<File>,
    line: Vec<u8>,
    hasher: Blake3Hasher,
    number: u64,
}

impl PlanFile {
    /// Opens a file that [`save_plan`] wrote, and reads its first line.
    ///
    /// # Errors
    /// [`Error::PlanFile`] if it cannot be read or is none.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        // What is no file would never end, or never begin.
        let is_file = tokio::fs::metadata(path).await.map_err(|error| cannot("opened", &error))?.is_file();
        if !is_file {
            return Err(Error::PlanFile { why: "it is no file".to_owned() });
        }
        let file = File::open(path).await.map_err(|error| cannot("opened", &error))?;
        let (mut reader, mut line) = (BufReader::new(file), Vec::new());
        if !read_line(&mut reader, &mut line).await? {
            return Err(wrong(1, "it is empty"));
        }
        let head: SavedPlan = serde_json::from_slice(&line).map_err(|error| wrong(1, &error.to_string()))?;
        if (head.api_version.as_str(), head.kind.as_str()) != (API_VERSION, KIND) {
            return Err(wrong(1, "it is no saved plan of this version of drctl"));
        }
        let mut hasher = Blake3Hasher::default();
        hasher.update(&line);
        Ok(Self { head, reader, line, hasher, number: 1 })
    }

    /// What is asked of the restore that it is a plan of.
    pub fn apply_to(&self, options: &mut RestoreOptions) {
        let SavedOptions { sources, on_conflict, platform, adopt_volumes } = self.head.options.clone();
        (options.sources, options.on_conflict, options.platform) = (sources, on_conflict, platform);
        options.adopt_volumes = adopt_volumes;
        options.remember = true;
    }

    /// Makes sure that `restore`, which was planned just now, is the one of the file. Gives the digest of its lines.
    ///
    /// # Errors
    /// [`Error::PlanChanged`] with what has changed, [`Error::PlanFile`] if the file is not what was saved.
    pub async fn check(mut self, restore: &Restore, stored: &StoredManifest, run: &Run) -> Result<Blake3Digest, Error> {
        self.is_of(restore, stored)?;
        let (mut changes, mut count) = (Vec::new(), 0_u64);
        for now in restore.plans.iter().flat_map(|plan| plan.saved()) {
            stop_if_told(run)?;
            self.next_line("it ends before the plan does").await?;
            let was: SavedObject<'_> =
                serde_json::from_slice(&self.line).map_err(|error| wrong(self.number, &error.to_string()))?;
            if let Some(change) = was.change_to(&now).map_err(|why| wrong(self.number, &why))? {
                count += 1;
                if changes.len() < NAMED {
                    changes.push(format!("{now}: {change}"));
                }
            }
            self.hasher.update(&self.line);
        }
        if count > 0 {
            return Err(Error::PlanChanged { count, changes });
        }
        let digest = self.hasher.finish();
        self.next_line("its last line is missing").await?;
        let end: SavedEnd =
            serde_json::from_slice(&self.line).map_err(|error| wrong(self.number, &error.to_string()))?;
        if end.blake3 != digest || end.objects != self.number.saturating_sub(2) {
            return Err(wrong(self.number, "its lines are not those that were saved"));
        }
        if self.read_line().await? {
            return Err(wrong(self.number, "it goes on after its end"));
        }
        Ok(digest)
    }

    fn is_of(&self, restore: &Restore, stored: &StoredManifest) -> Result<(), Error> {
        let changed = |change: String| Error::PlanChanged { count: 1, changes: vec![change] };
        let (planned, actual) = (&self.head.target, &restore.target);
        if planned.uid != actual.uid {
            return Err(changed(format!(
                "the cluster: the plan is of `{}` (uid {}), and this is `{}` (uid {})",
                planned.name, planned.uid, actual.name, actual.uid
            )));
        }
        if (&self.head.backup, self.head.manifest_sha256) != (&stored.manifest.backup, stored.sha256) {
            return Err(changed(format!("backup {}: its manifest is another one", self.head.backup)));
        }
        Ok(())
    }

    async fn next_line(&mut self, missing: &str) -> Result<(), Error> {
        if self.read_line().await? { Ok(()) } else { Err(wrong(self.number, missing)) }
    }

    async fn read_line(&mut self) -> Result<bool, Error> {
        self.number += 1;
        read_line(&mut self.reader, &mut self.line).await
    }
}

/// The next line with its end; false at the end of the file.
async fn read_line(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> Result<bool, Error> {
    line.clear();
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let read = reader.take(limit).read_until(b'\n', line).await.map_err(|error| cannot("read", &error))?;
    if read > 0 && line.last() != Some(&b'\n') {
        return Err(Error::PlanFile { why: "a line of it has no end, or is longer than 256 KiB".to_owned() });
    }
    Ok(read > 0)
}

fn cannot(what: &str, error: &dyn std::error::Error) -> Error {
    Error::PlanFile { why: format!("it cannot be {what}: {error}") }
}

fn wrong(line: u64, why: &str) -> Error {
    Error::PlanFile { why: format!("line {line}: {why}") }
}
