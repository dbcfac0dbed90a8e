//! The objects of a plan that have something to be done, read again from the backup in its order.

use futures::future::BoxFuture;

use crate::{
    sources::kubernetes::restore::{
        RestoreContext, RestoreError,
        lines::{Line, Lines},
        plan::{Entry, Plan, PlannedKind, PlannedPart},
        transform::{Outcome, Prepared},
    },
    types::StreamInfo,
};

/// The place of an object in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) struct Place {
    pub(in super::super) kind: usize,
    pub(in super::super) part: usize,
    pub(in super::super) entry: usize,
}

/// An object to work on.
#[derive(Debug)]
pub(in super::super) struct Job {
    pub(in super::super) place: Place,
    pub(in super::super) prepared: Box<Prepared>,
    /// Bytes of it in the backup.
    pub(in super::super) size: usize,
}

/// The rest of a part could not be read.
#[derive(Debug)]
pub(in super::super) struct Unreadable {
    /// The first object that was not read.
    pub(in super::super) from: Place,
    pub(in super::super) error: RestoreError,
}

/// Which objects are wanted.
type Wanted<'a> = Box<dyn Fn(Place, &Entry) -> bool + Send + Sync + 'a>;

/// Reads the wanted objects of some kinds. [`Jobs::next`] may be dropped while it waits.
pub(in super::super) struct Jobs<'a> {
    context: RestoreContext<'a>,
    plan: &'a Plan,
    wanted: Wanted<'a>,
    /// The parts that are still to be read, the next one last.
    parts: Vec<(usize, usize)>,
    opening: Option<BoxFuture<'a, Result<Lines, RestoreError>>>,
    open: Option<Lines>,
    /// Where reading is.
    at: Place,
}

impl<'a> Jobs<'a> {
    /// The objects of `kinds` (places in the plan) that `wanted` names.
    pub(in super::super) fn new(
        context: RestoreContext<'a>,
        plan: &'a Plan,
        kinds: impl Iterator<Item = usize>,
        wanted: impl Fn(Place, &Entry) -> bool + Send + Sync + 'a,
    ) -> Self {
        let wanted: Wanted<'a> = Box::new(wanted);
        let mut parts = Vec::new();
        for kind in kinds {
            for (part, planned) in
                plan.kinds.get(kind).map(|kind| kind.parts.as_slice()).unwrap_or_default().iter().enumerate()
            {
                let mut entries = planned.entries.iter().enumerate();
                if entries.any(|(entry, it)| wanted(Place { kind, part, entry }, it)) {
                    parts.push((kind, part));
                }
            }
        }
        parts.reverse();
        let at = Place { kind: 0, part: 0, entry: 0 };
        Self { context, plan, wanted, parts, opening: None, open: None, at }
    }

    /// The next object; `None` after the last.
    pub(in super::super) async fn next(&mut self) -> Option<Result<Job, Unreadable>> {
        loop {
            match self.step().await {
                Ok(Step::Job(job)) => return Some(Ok(job)),
                Ok(Step::Nothing) => {}
                Ok(Step::End) => return None,
                Err(error) => {
                    (self.open, self.opening) = (None, None);
                    return Some(Err(Unreadable { from: self.at, error }));
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Step, RestoreError> {
        if let Some(opening) = &mut self.opening {
            let lines = opening.await?;
            self.opening = None;
            self.open = Some(lines);
        }
        let Some(lines) = &mut self.open else {
            let Some((kind, part)) = self.parts.pop() else { return Ok(Step::End) };
            self.at = Place { kind, part, entry: 0 };
            if let Some((stream, part)) = source_of(&self.context, self.plan, self.at) {
                self.opening = Some(Box::pin(Lines::open(self.context.contents, stream, part)));
            }
            return Ok(Step::Nothing);
        };
        let line = lines.next().await?;
        let Some((kind, part)) = planned(self.plan, self.at) else { return Ok(Step::End) };
        let Some(line) = line else {
            self.open = None;
            return Ok(Step::Nothing);
        };
        let Some(entry) = part.entries.get(self.at.entry) else { return Ok(Step::Nothing) };
        let read = lines.parse(&line)?;
        // Objects that are not chosen are in the backup and not in the plan.
        let name = read.fields().pointer("/metadata/name").and_then(|name| name.as_str());
        let recipe = &self.plan.asked.recipe;
        if name.and_then(|name| recipe.mapping.entry(&kind.name, name)) != Some(&entry.name) {
            return Ok(Step::Nothing);
        }
        let place = self.at;
        self.at.entry += 1;
        if !(self.wanted)(place, entry) {
            return Ok(Step::Nothing);
        }
        let object = match read {
            Line::Object(object) => object,
            // The plan wants none of these.
            Line::Unreadable(_, why) => return Err(lines.malformed(why)),
        };
        Ok(match self.plan.prepare(&kind.name, kind.kind.as_ref(), object)? {
            Outcome::Restore(prepared) => Step::Job(Job { place, prepared, size: line.len() }),
            Outcome::Leave(_) => Step::Nothing,
        })
    }
}

enum Step {
    Job(Job),
    Nothing,
    End,
}

fn planned(plan: &Plan, place: Place) -> Option<(&PlannedKind, &PlannedPart)> {
    let kind = plan.kinds.get(place.kind)?;
    Some((kind, kind.parts.get(place.part)?))
}

fn source_of<'a>(context: &RestoreContext<'a>, plan: &Plan, place: Place) -> Option<(&'a StreamInfo, usize)> {
    let (kind, part) = planned(plan, place)?;
    Some((context.contents.streams().get(kind.stream)?, part.part))
}
