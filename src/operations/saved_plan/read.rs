//! A saved plan, read line by line: to be shown, or to be held against the plan of now.

use std::{collections::BTreeMap, io::SeekFrom, ops::ControlFlow, path::Path};

use tokio::{
    fs::File,
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncSeekExt as _, BufReader},
};

use super::{API_VERSION, KIND, MAX_HEAD, MAX_LINE, SavedEnd, SavedPlan, cannot, wrong};
use crate::{
    operations::{AskedRestore, Error, Restore, RestoreOptions, Run, restore::stop_if_told},
    repository::StoredManifest,
    sources::kubernetes::restore::{Action, Answer, SavedObject},
    types::{Blake3Digest, Blake3Hasher},
};

/// So many changes are named.
const NAMED: usize = 20;

/// A saved plan that is being read, line by line.
#[derive(Debug)]
pub struct PlanFile {
    /// Its first line.
    pub head: SavedPlan,
    asked: AskedRestore,
    reader: BufReader<File>,
    line: Vec<u8>,
    hasher: Blake3Hasher,
    number: u64,
}

/// What a saved plan comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanTotals {
    /// How many objects there are in it.
    pub objects: u64,
    /// BLAKE3 of its lines, as it was printed when it was saved.
    pub blake3: Blake3Digest,
    /// How many objects there are for each action that some have.
    pub actions: BTreeMap<Action, u64>,
    /// How many objects the server would take, refuse, and cannot be asked about yet.
    pub answers: [u64; 3],
}

impl PlanFile {
    /// Opens a file that [`save_plan`](super::save_plan) wrote, and reads its first line.
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
        if !read_line(&mut reader, &mut line, MAX_HEAD).await? {
            return Err(wrong(1, "it is empty"));
        }
        let head: SavedPlan = serde_json::from_slice(&line).map_err(|error| wrong(1, &error.to_string()))?;
        if (head.api_version.as_str(), head.kind.as_str()) != (API_VERSION, KIND) {
            return Err(wrong(1, "it is no saved plan of this version of drctl"));
        }
        let asked = head.options.asked.asked()?;
        let mut hasher = Blake3Hasher::default();
        hasher.update(&line);
        Ok(Self { head, asked, reader, line, hasher, number: 1 })
    }

    /// Which objects were asked for, into which namespaces, and how changed.
    #[must_use]
    pub fn asked(&self) -> &AskedRestore {
        &self.asked
    }

    /// What is asked of the restore that it is a plan of.
    pub fn apply_to(&self, options: &mut RestoreOptions) {
        let saved = &self.head.options;
        options.sources.clone_from(&saved.sources);
        options.platform.clone_from(&saved.platform);
        (options.on_conflict, options.adopt_volumes) = (saved.on_conflict, saved.adopt_volumes);
        options.asked = self.asked.clone();
        options.remember = true;
    }

    /// Makes sure that `restore`, which was planned just now, is the one of the file. Gives the digest of its lines.
    ///
    /// # Errors
    /// [`Error::PlanChanged`] with what has changed, [`Error::PlanFile`] if the file is not what was saved.
    pub async fn check(mut self, restore: &Restore, stored: &StoredManifest, run: &Run) -> Result<Blake3Digest, Error> {
        self.is_of(restore, stored)?;
        let (mut changes, mut is_read) = (Changes::default(), false);
        for now in restore.plans.iter().flat_map(|plan| plan.saved()) {
            stop_if_told(run)?;
            if !is_read {
                self.next_line("it ends before the plan does").await?;
            }
            self.pass_made(&now, &mut changes).await?;
            let was = self.object()?;
            // One that was there is needed now.
            is_read = !was.is_of(&now) && now.is_made_for_others();
            if is_read {
                changes.add(format!("{now}: it is not there any more"));
                continue;
            }
            if let Some(change) = was.change_to(&now).map_err(|why| wrong(self.number, &why))? {
                changes.add(format!("{now}: {change}"));
            }
            self.hasher.update(&self.line);
        }
        let Changes { count, changes } = changes;
        if count > 0 {
            return Err(Error::PlanChanged { count, changes });
        }
        self.next_line("its last line is missing").await?;
        let end: SavedEnd =
            serde_json::from_slice(&self.line).map_err(|error| wrong(self.number, &error.to_string()))?;
        self.ends(&end).await
    }

    /// Reads all of it, and makes sure that its lines are those that were saved.
    ///
    /// # Errors
    /// [`Error::PlanFile`] if they are not, [`Error::Interrupted`].
    pub async fn totals(&mut self, run: &Run) -> Result<PlanTotals, Error> {
        let (mut actions, mut answers) = (BTreeMap::new(), [0; 3]);
        let mut count = |object: &SavedObject<'_>| {
            *actions.entry(object.action).or_default() += 1;
            let places = [Answer::Accepted, Answer::Rejected, Answer::NotTestable];
            for (count, answer) in answers.iter_mut().zip(places) {
                *count += u64::from(object.server == answer);
            }
            ControlFlow::Continue(())
        };
        let blake3 = self.each(&mut count, run).await?;
        Ok(PlanTotals { objects: actions.values().sum(), blake3, actions, answers })
    }

    /// Gives every object to `each`, from the first, until it breaks. What was given counts only if this gives the
    /// digest of the file's lines in the end: then they are those that were saved.
    ///
    /// # Errors
    /// [`Error::PlanFile`] if they are not, [`Error::Interrupted`].
    pub async fn each(
        &mut self,
        each: &mut impl FnMut(&SavedObject<'_>) -> ControlFlow<()>,
        run: &Run,
    ) -> Result<Blake3Digest, Error> {
        self.rewind().await?;
        loop {
            stop_if_told(run)?;
            self.next_line("its last line is missing").await?;
            let end = match serde_json::from_slice::<SavedObject<'_>>(&self.line) {
                Ok(object) if each(&object).is_break() => return Ok(self.hasher.finish()),
                Ok(_) => None,
                Err(error) => {
                    let end = serde_json::from_slice::<SavedEnd>(&self.line);
                    Some(end.map_err(|_| wrong(self.number, &error.to_string()))?)
                }
            };
            if let Some(end) = end {
                return self.ends(&end).await;
            }
            self.hasher.update(&self.line);
        }
    }

    fn object(&self) -> Result<SavedObject<'_>, Error> {
        serde_json::from_slice(&self.line).map_err(|error| wrong(self.number, &error.to_string()))
    }

    /// Goes on to the next line as long as this one is about something that was to be made for others, is there by now,
    /// and therefore no part of the plan of now.
    async fn pass_made(&mut self, now: &SavedObject<'_>, changes: &mut Changes) -> Result<(), Error> {
        loop {
            let was = self.object()?;
            if was.is_of(now) || !was.is_made_for_others() || now.is_made_for_others() {
                return Ok(());
            }
            changes.add(format!("{was}: it is there by now"));
            self.hasher.update(&self.line);
            self.next_line("it ends before the plan does").await?;
        }
    }

    async fn rewind(&mut self) -> Result<(), Error> {
        self.reader.seek(SeekFrom::Start(0)).await.map_err(|error| cannot("read", &error))?;
        (self.number, self.hasher) = (1, Blake3Hasher::default());
        if !read_line(&mut self.reader, &mut self.line, MAX_HEAD).await? {
            return Err(wrong(1, "it is empty"));
        }
        self.hasher.update(&self.line);
        Ok(())
    }

    /// Makes sure that the line just read, which says `end`, is that of the lines before it and the last one.
    async fn ends(&mut self, end: &SavedEnd) -> Result<Blake3Digest, Error> {
        let digest = self.hasher.finish();
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
        read_line(&mut self.reader, &mut self.line, MAX_LINE).await
    }
}

/// What has changed since a plan was saved.
#[derive(Debug, Default)]
struct Changes {
    count: u64,
    /// The first of them.
    changes: Vec<String>,
}

impl Changes {
    fn add(&mut self, change: String) {
        self.count += 1;
        if self.changes.len() < NAMED {
            self.changes.push(change);
        }
    }
}

/// The next line with its end; false at the end of the file.
async fn read_line(reader: &mut BufReader<File>, line: &mut Vec<u8>, longest: usize) -> Result<bool, Error> {
    line.clear();
    let limit = u64::try_from(longest).unwrap_or(u64::MAX);
    let read = reader.take(limit).read_until(b'\n', line).await.map_err(|error| cannot("read", &error))?;
    if read > 0 && line.last() != Some(&b'\n') {
        return Err(Error::PlanFile {
            why: format!("a line of it has no end, or is longer than {} KiB", longest >> 10),
        });
    }
    Ok(read > 0)
}
