//! Sources that are made up.

use async_trait::async_trait;
use bytes::Bytes;

use super::name;
use crate::{
    sources::{CaptureContext, CaptureError, CaptureReport, CapturedGroup, PreparedSource, Source},
    types::{MediaType, Missing, Moment, Name, PartSummary, StreamSpec},
};

/// A source whose streams are given.
#[derive(Debug, Clone)]
pub(in crate::operations) struct Made {
    name: Name,
    kind: &'static str,
    media_type: MediaType,
    streams: Vec<MadeStream>,
    /// What it says that it could not read.
    missing: Vec<Missing>,
    /// It is told to stop once all is read.
    interrupted: bool,
    /// Its moment does not stay.
    fades: bool,
}

/// A stream: its name, and its parts, each by its group.
type MadeStream = (String, Vec<(String, Bytes)>);

impl Made {
    /// A table, in one part.
    pub(in crate::operations) fn table(source: &str, rows: Bytes) -> Self {
        let streams = vec![("public.orders".to_owned(), vec![("shop".to_owned(), rows)])];
        Self {
            name: name(source),
            kind: "postgres",
            media_type: MediaType::Table,
            streams,
            missing: Vec::new(),
            interrupted: false,
            fades: false,
        }
    }

    /// Namespaces on some day: of 60 objects in each, a few are other ones than the day before.
    pub(super) fn namespaces(source: &str, namespaces: &[String], day: u64) -> Self {
        let stream = |(number, kind): (u64, &str)| {
            let part = |(at, namespace): (u64, &String)| (namespace.clone(), objects(kind, namespace, number, at, day));
            (kind.to_owned(), (1..).zip(namespaces).map(part).collect())
        };
        Self {
            name: name(source),
            kind: "kubernetes",
            media_type: MediaType::KubernetesObjects,
            streams: (1..).zip(["configmaps", "deployments.apps", "services"]).map(stream).collect(),
            missing: Vec::new(),
            interrupted: false,
            fades: false,
        }
    }

    /// The same, but that a kind may not be listed.
    pub(super) fn partial(mut self) -> Self {
        let missing = |what: &str| Missing {
            source: self.name.to_string(),
            what: what.to_owned(),
            why: "this identity may not list them".to_owned(),
        };
        self.missing = vec![missing("secrets")];
        self
    }

    /// The same, with a moment that the server keeps for some time.
    pub(in crate::operations) fn fading(mut self) -> Self {
        self.fades = true;
        self
    }

    /// The same, and the run is told to stop, as on a node that is taken away.
    pub(super) fn interrupted(mut self) -> Self {
        self.interrupted = true;
        self
    }
}

fn objects(kind: &str, namespace: &str, kind_number: u64, at: u64, day: u64) -> Bytes {
    let line = |number: u64| {
        // An object changes every three weeks, each on a day of its own.
        let seed = (kind_number * 1_000 + at) * 1_000 + number + (day + number) / 21 * 1_000_003;
        format!(
            "{{\"kind\":\"{kind}\",\"namespace\":\"{namespace}\",\"name\":\"o{number}\",\"data\":\"{}\"}}\n",
            hex(seed)
        )
    };
    (0..20).map(line).collect::<String>().into()
}

/// 400 digits by a number.
fn hex(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        format!("{:016x}", state.wrapping_mul(0x2545_f491_4f6c_dd1d))
    };
    std::iter::repeat_with(next).take(25).collect()
}

#[async_trait]
impl Source for Made {
    fn name(&self) -> &Name {
        &self.name
    }

    async fn prepare(&self, _context: CaptureContext<'_>) -> Result<Box<dyn PreparedSource>, CaptureError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl PreparedSource for Made {
    fn moment(&self) -> Option<Moment> {
        None
    }

    fn fades(&self) -> bool {
        self.fades
    }

    async fn capture(self: Box<Self>, context: CaptureContext<'_>) -> Result<CaptureReport, CaptureError> {
        let mut groups = std::collections::BTreeMap::<String, CapturedGroup>::new();
        for (stream, parts) in &self.streams {
            let spec = StreamSpec { source: self.name.clone(), name: stream.clone(), media_type: self.media_type };
            let mut sink = context.sink.open(spec).await?;
            for (group, bytes) in parts {
                let count = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                sink.begin_part(group).await?;
                for at in (0..bytes.len()).step_by(100_000) {
                    sink.write(bytes.slice(at..bytes.len().min(at + 100_000))).await?;
                }
                sink.end_part(PartSummary { count, digest: None }).await?;
                let none = CapturedGroup { name: group.clone(), count: 0, restorable: 0, bytes: 0 };
                let sum = groups.entry(group.clone()).or_insert(none);
                *sum = CapturedGroup {
                    name: group.clone(),
                    count: sum.count + count,
                    restorable: sum.restorable + count,
                    bytes: sum.bytes + bytes.len() as u64,
                };
            }
            sink.finish().await?;
        }
        if self.interrupted {
            return Err(CaptureError::Interrupted);
        }
        Ok(CaptureReport {
            source: self.name,
            kind: self.kind.to_owned(),
            consistency: "per-kind".to_owned(),
            server: "made up".to_owned(),
            moment: None,
            groups: groups.into_values().collect(),
            volumes: Vec::new(),
            missing: self.missing,
            suspect: Vec::new(),
            notes: Vec::new(),
        })
    }
}
