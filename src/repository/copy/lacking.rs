//! Which of the backups that are listed in both places lack something in the copy: by listings.
//!
//! Both places are listed once: packs, lists, manifests and signatures. For each run a number is kept of what was listed. Where
//! these numbers are equal, nothing is missing in the copy that the original has. Where they differ of packs (the copy need not
//! have all packs of a run that it was not given), the refs of the backups are read that may need some of them.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::LazyLock,
};

use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};

use super::{
    super::{Error, ObjectRef, Repository, Summary, backend::Key, layout},
    Copier,
};
use crate::types::{BackupId, Name, Sha256Digest};

/// A run's id and what a manifest says of times are of two moments of one run, or of two machines.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);
/// Packs of listings that are held at once.
const MAX_HELD: usize = 500_000;

/// A backup that is listed in both places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyListed {
    backup: BackupId,
    full_since: Timestamp,
    refs: ObjectRef,
    /// Both manifests have the same bytes, and that of the copy counts where the original's does.
    equal: bool,
}

impl CopyListed {
    /// By what the two places say of it.
    #[must_use]
    pub fn of(backup: &BackupId, original: &Summary, copy: &Summary) -> Self {
        let (full_since, refs) = (original.full_since, original.refs.clone());
        // A signature of the right size shows in no listing as what it is.
        let counts = copy.signature.counts() || !original.signature.counts();
        Self { backup: backup.clone(), full_since, refs, equal: original.sha256 == copy.sha256 && counts }
    }

    /// Whether it may need packs of this run: of its own line, which began at `full_since`.
    fn may_need(&self, run: &BackupId) -> bool {
        let time = run.time();
        time >= self.full_since - A_DAY && time <= self.backup.time() + A_DAY
    }
}

/// What was listed of a place, once for all that is compared with it.
#[derive(Debug, Default)]
pub struct Listings {
    manifests: Prints,
    meta: Prints,
    packs: Prints,
}

/// How many objects were listed of each run, and the sum of numbers for their names and sizes.
type Prints = HashMap<BackupId, (u64, u64)>;

/// Numbers of this process alone: nobody can choose names whose numbers have the sum of others.
static NUMBERS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The run that an object belongs to, by its key.
type RunOf = fn(&Key) -> Option<BackupId>;

async fn prints(of: &Repository, prefix: &str, run_of: RunOf) -> Result<Prints, Error> {
    let mut prints = Prints::new();
    let mut objects = of.backend().list(prefix);
    while let Some(meta) = objects.try_next().await? {
        let Some(run) = run_of(&meta.key) else { continue };
        let print = prints.entry(run).or_default();
        *print = (print.0 + 1, print.1.wrapping_add(NUMBERS.hash_one((meta.key.as_str(), meta.size))));
    }
    Ok(prints)
}

impl Repository {
    /// Lists packs, lists, and the manifests of a policy with their signatures: a request for each 1,000 keys.
    ///
    /// # Errors
    /// What the store says.
    pub async fn listings(&self, policy: &Name) -> Result<Listings, Error> {
        let run_of_pack: RunOf = |key| layout::parse_pack(key).map(|(run, _)| run);
        Ok(Listings {
            manifests: prints(self, &layout::manifests_of(Some(policy), None), run_of_manifest).await?,
            meta: prints(self, layout::META, layout::run_of_list).await?,
            packs: prints(self, layout::PACKS, run_of_pack).await?,
        })
    }
}

/// The backup of a manifest or of its signature.
fn run_of_manifest(key: &Key) -> Option<BackupId> {
    let text = key.as_str();
    let key = Key::new(text.strip_suffix(layout::SIGNATURE).unwrap_or(text)).ok()?;
    layout::parse_manifest(&key).map(|(_, _, backup)| backup)
}

/// Packs that the copy has of some runs.
#[derive(Default)]
struct Held {
    runs: HashMap<BackupId, HashMap<Sha256Digest, u64>>,
    packs: usize,
}

impl Copier<'_> {
    /// Of these backups those that lack something in the copy which the original has, by what was listed of both.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn lacking(
        &self,
        (from, to): (&Listings, &Listings),
        listed: &[CopyListed],
    ) -> Result<HashSet<BackupId>, Error> {
        let mut lacking: HashSet<BackupId> =
            listed.iter().filter(|one| !one.equal).map(|one| one.backup.clone()).collect();
        for (from, to) in [(&from.manifests, &to.manifests), (&from.meta, &to.meta)] {
            let differs = |one: &&CopyListed| from.get(&one.backup) != to.get(&one.backup);
            lacking.extend(listed.iter().filter(differs).map(|one| one.backup.clone()));
        }
        let has_all = |(run, print): &(&BackupId, &(u64, u64))| to.packs.get(*run) == Some(*print);
        let differ: BTreeSet<BackupId> =
            from.packs.iter().filter(|one| !has_all(one)).map(|(run, _)| run.clone()).collect();
        let mut held = Held::default();
        for one in listed {
            let suspect = differ.iter().any(|run| one.may_need(run)) && !lacking.contains(&one.backup);
            if suspect && self.lacks_packs(one, &differ, &mut held).await? {
                lacking.insert(one.backup.clone());
            }
        }
        Ok(lacking)
    }

    async fn lacks_packs(&self, one: &CopyListed, differ: &BTreeSet<BackupId>, held: &mut Held) -> Result<bool, Error> {
        let refs = match self.from.refs_lines(&one.backup, &one.refs).await {
            Ok(refs) => refs,
            // Whoever looks at it closely says what it is.
            Err(error) if error.is_damage() => return Ok(true),
            Err(error) => return Err(error),
        };
        for line in refs.iter().filter(|line| differ.contains(&line.backup)) {
            if !held.runs.contains_key(&line.backup) {
                if held.packs > MAX_HELD {
                    *held = Held::default();
                }
                let mut packs = HashMap::new();
                let mut objects = self.to.backend().list(&layout::packs_of(&line.backup));
                while let Some(meta) = objects.try_next().await? {
                    packs.extend(layout::parse_pack(&meta.key).map(|(_, pack)| (pack, meta.size)));
                }
                held.packs += packs.len();
                held.runs.insert(line.backup.clone(), packs);
            }
            let size = held.runs.get(&line.backup).and_then(|packs| packs.get(&line.pack));
            if size != Some(&line.size) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
