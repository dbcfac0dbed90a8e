//! Volumes of the backup that are taken over as they are (`--adopt-volumes`): the same disk, for the same claim.
//!
//! Two PersistentVolumes of one disk are two claims that write to it. So each volume of the backup is held against
//! all live ones, by its name and by what is behind it, before anything is written; and a volume that is adopted is
//! kept when its claim is deleted (`Retain`), because nobody has made it for this cluster.

#[cfg(test)]
mod tests;
mod volume;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use self::volume::Volume;
use super::{
    RestoreContext, RestoreError,
    lines::{Line, Lines},
    live::{LiveList, full_name},
    target::TargetCluster,
    transform::{self, Outcome},
};
use crate::types::StreamInfo;

pub(super) const VOLUMES: &str = "persistentvolumes";
/// Why a live volume is written to.
pub(super) const FREED: &str =
    "it is live, and reserved for nobody or for a claim that is gone; it is given to its claim";
pub(super) const CLAIMS: &str = "persistentvolumeclaims";

/// What becomes of the volumes of the backup, by their names. Empty: none is adopted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Adoption {
    volumes: BTreeMap<String, Fate>,
    /// Claims that are bound to a volume that cannot be adopted, as `namespace/name`, and why not.
    refused: BTreeMap<String, String>,
}

/// What becomes of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It is not live: it is created, for its claim.
    Adopt,
    /// It is live, and for nobody, or for its claim of before, which is gone: it is given to its claim.
    Free,
    /// It is live and has its claim.
    InPlace,
    /// It cannot be adopted; why.
    Refused(String),
}

impl Adoption {
    /// Decides over the volumes of the backup. `takes` says of a claim of the backup whether it is restored: the volume
    /// of any other stays as it is.
    pub(super) async fn read(
        context: RestoreContext<'_>,
        target: &TargetCluster,
        streams: &[(usize, &StreamInfo)],
        takes: impl Fn(&Value) -> bool,
    ) -> Result<Self, RestoreError> {
        let stream = |name: &str| streams.iter().find(|(_, stream)| stream.name == name).map(|(_, stream)| *stream);
        let mut claims: BTreeMap<String, String> = BTreeMap::new();
        for_each(context, stream(CLAIMS), |object| {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
            let volume = text("/spec/volumeName");
            if !volume.is_empty() && takes(object) {
                claims.insert(full_name(namespace, name), volume.to_owned());
            }
        })
        .await?;
        let mut held: BTreeMap<String, Volume> = BTreeMap::new();
        for_each(context, stream(VOLUMES), |object| {
            let volume = Volume::of(object);
            held.insert(volume.name.clone(), volume);
        })
        .await?;
        let live = Live::read(context, target, &held, &claims).await?;
        Ok(decide(&claims, &held, &live))
    }

    /// Why an object of the backup cannot be restored, because of a volume that cannot be adopted.
    pub(super) fn refuses(&self, kind_id: &str, namespace: &str, name: &str) -> Option<String> {
        match kind_id {
            VOLUMES => match self.volumes.get(name)? {
                Fate::Refused(why) => Some(why.clone()),
                _ => None,
            },
            CLAIMS => {
                let why = self.refused.get(&full_name(namespace, name))?;
                Some(format!("its volume cannot be adopted, and a new one would be empty: {why}"))
            }
            _ => None,
        }
    }

    /// The volume is live and is given to its claim.
    pub(super) fn frees(&self, kind_id: &str, name: &str) -> bool {
        kind_id == VOLUMES && self.volumes.get(name) == Some(&Fate::Free)
    }

    /// No volume is adopted.
    pub(super) fn is_empty(&self) -> bool {
        self.volumes.is_empty()
    }

    /// No claim had a volume.
    pub(super) fn is_of_nothing(&self) -> bool {
        self.volumes.is_empty() && self.refused.is_empty()
    }

    /// The volume goes with a claim that is restored, even if it cannot be adopted.
    pub(super) fn names(&self, name: &str) -> bool {
        matches!(self.volumes.get(name), Some(Fate::Adopt | Fate::Free | Fate::Refused(_)))
    }

    /// The volume is created or given to its claim.
    fn takes(&self, name: &str) -> bool {
        matches!(self.volumes.get(name), Some(Fate::Adopt | Fate::Free))
    }

    /// What becomes of an object; `rules` are those that hold where no volume is adopted.
    pub(super) fn outcome(&self, kind_id: &str, object: Value, rules: impl FnOnce(Value) -> Outcome) -> Outcome {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        match kind_id {
            VOLUMES if self.takes(name) => transform::adopted_volume(object),
            CLAIMS if !self.volumes.is_empty() => {
                let volume = object.pointer("/spec/volumeName").and_then(Value::as_str).unwrap_or_default().to_owned();
                let mut outcome = rules(object);
                if self.takes(&volume)
                    && let Outcome::Restore(prepared) = &mut outcome
                {
                    transform::keep_volume(prepared, &volume);
                }
                outcome
            }
            _ => rules(object),
        }
    }
}

/// What gives a live volume to the claim of `volume`, which is the backup's; only as long as the live one is as it was
/// seen.
pub(super) fn patch(volume: &Value, live: &Value) -> Value {
    let mut claim = volume.pointer("/spec/claimRef").and_then(Value::as_object).cloned().unwrap_or_else(Map::new);
    claim.insert("uid".to_owned(), Value::Null);
    claim.insert("resourceVersion".to_owned(), Value::Null);
    let meta = |field: &str| live.pointer(&format!("/metadata/{field}")).cloned().unwrap_or(Value::Null);
    json!({
        "metadata": {
            "uid": meta("uid"),
            "resourceVersion": meta("resourceVersion"),
            "annotations": {transform::BOUND_BY_CONTROLLER: null},
        },
        "spec": {"claimRef": claim, "persistentVolumeReclaimPolicy": "Retain"},
    })
}

async fn for_each(
    context: RestoreContext<'_>,
    stream: Option<&StreamInfo>,
    mut each: impl FnMut(&Value),
) -> Result<(), RestoreError> {
    let Some(stream) = stream else { return Ok(()) };
    for part in 0..stream.parts.len() {
        let mut lines = Lines::open(context.contents, stream, part).await?;
        while let Some(line) = lines.next().await? {
            // What cannot be read is named when its turn comes.
            if let Line::Object(object) = lines.parse(&line)? {
                each(&object);
            }
        }
    }
    Ok(())
}

/// The live volumes and claims that the backup's could meet.
#[derive(Debug, Default)]
struct Live {
    by_name: HashMap<String, Volume>,
    by_source: HashMap<String, Vec<Volume>>,
    /// The uids of live claims, by `namespace/name`.
    claims: HashMap<String, String>,
    /// The volumes that they have.
    bound: HashMap<String, String>,
}

impl Live {
    async fn read(
        context: RestoreContext<'_>,
        target: &TargetCluster,
        held: &BTreeMap<String, Volume>,
        claims: &BTreeMap<String, String>,
    ) -> Result<Self, RestoreError> {
        let mut live = Self::default();
        if let Some(kind) = target.kind_of("v1", "PersistentVolume") {
            let sources: std::collections::HashSet<&str> = held.values().map(|volume| volume.source.as_str()).collect();
            let mut list = LiveList::new(context.cluster, kind, None);
            while let Some(item) = list.next().await? {
                let volume = Volume::of(&item.parse(kind)?);
                if held.contains_key(&volume.name) || sources.contains(volume.source.as_str()) {
                    live.add(volume);
                }
            }
        }
        if let Some(kind) = target.kind_of("v1", "PersistentVolumeClaim") {
            let mut list = LiveList::new(context.cluster, kind, None);
            while let Some(item) = list.next().await? {
                if claims.contains_key(&item.key) {
                    let claim = item.parse(kind)?;
                    let uid = claim.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
                    let volume = claim.pointer("/spec/volumeName").and_then(Value::as_str).unwrap_or_default();
                    live.bound.insert(item.key.clone(), volume.to_owned());
                    live.claims.insert(item.key, uid.to_owned());
                }
            }
        }
        Ok(live)
    }

    fn add(&mut self, volume: Volume) {
        if !volume.source.is_empty() {
            self.by_source.entry(volume.source.clone()).or_default().push(volume.clone());
        }
        self.by_name.insert(volume.name.clone(), volume);
    }
}

/// Decides over each volume that a claim of the backup is bound to.
fn decide(claims: &BTreeMap<String, String>, held: &BTreeMap<String, Volume>, live: &Live) -> Adoption {
    let mut adoption = Adoption::default();
    for (claim, name) in claims {
        let fate = match held.get(name) {
            None => Fate::Refused(format!("the backup does not hold PersistentVolume {name}")),
            Some(volume) if volume.claim != *claim => {
                Fate::Refused(format!("PersistentVolume {name} was not bound to it ({})", volume.state()))
            }
            Some(volume) if volume.deleted => {
                Fate::Refused(format!("PersistentVolume {name} was being deleted when it was backed up"))
            }
            Some(volume) => fate(volume, held, live),
        };
        if let Fate::Refused(why) = &fate {
            adoption.refused.insert(claim.clone(), why.clone());
        }
        if held.contains_key(name) {
            adoption.volumes.insert(name.clone(), fate);
        }
    }
    adoption
}

fn fate(volume: &Volume, held: &BTreeMap<String, Volume>, live: &Live) -> Fate {
    if let Some(other) = live.bound.get(&volume.claim).filter(|other| !other.is_empty() && **other != volume.name) {
        return Fate::Refused(format!("claim {} is live and has volume {other}", volume.claim));
    }
    let twins = live.by_source.get(&volume.source).map(Vec::as_slice).unwrap_or_default();
    // What the backup itself has twice was so before.
    let known = |twin: &Volume| held.get(&twin.name).is_some_and(|it| it.source == twin.source);
    if let Some(twin) = twins.iter().find(|twin| twin.name != volume.name && !known(twin)) {
        return Fate::Refused(format!(
            "what is behind it is in the cluster already, as PersistentVolume {} ({})",
            twin.name,
            twin.state()
        ));
    }
    let Some(there) = live.by_name.get(&volume.name) else { return Fate::Adopt };
    if there.source != volume.source {
        return Fate::Refused(format!("the cluster has another volume of the name {} ({})", there.name, there.state()));
    }
    if there.deleted {
        return Fate::Refused(format!("PersistentVolume {} is being deleted", there.name));
    }
    if !there.claim.is_empty() && there.claim != volume.claim {
        return Fate::Refused(format!("PersistentVolume {} is {}", there.name, there.state()));
    }
    let has_claim = live.claims.get(&volume.claim).is_some_and(|uid| *uid == there.claim_uid);
    match (there.claim.is_empty(), there.claim_uid.is_empty(), has_claim) {
        (false, false, true) => Fate::InPlace,
        // It is there as an adopted one is created.
        (false, true, _) => Fate::Adopt,
        _ => Fate::Free,
    }
}
