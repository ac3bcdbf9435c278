//! The path of a usage at the gate: which counters along it a limit goes by.

use super::Gate;
use crate::counter::ScopeRef;
use crate::decide::Denial;
use crate::moving::Moves;
use crate::state::{Counters, OnMeter};
use crate::{Along, Hold, LimitPath, OrgState, PathCounters, ScopePath};

/// The counters along the path of a usage: those of one are found once for all limits on it, which follow each other.
pub(super) struct OfPath<'s, 'a> {
    on: OnMeter<'s, 'a>,
    path: Option<&'a ScopePath>,
    latest: Option<(u8, Counters<'s, 'a>)>,
}

impl<'s, 'a> OfPath<'s, 'a> {
    pub(super) const fn new(on: OnMeter<'s, 'a>, path: Option<&'a ScopePath>) -> Self {
        Self { on, path, latest: None }
    }

    /// Those of the path that a limit is on.
    pub(super) fn counters(&mut self, on: &LimitPath) -> Option<Counters<'s, 'a>> {
        let path = self.path?;
        let depth = on.depth_in(path)?;
        let known = self.latest.filter(|(of, _)| *of == depth).map(|(_, counters)| counters);
        let counters = known.unwrap_or_else(|| self.on.counters(ScopeRef::Path(path.first(depth))));
        self.latest = Some((depth, counters));
        Some(counters)
    }
}

impl Gate<'_> {
    /// The path of a usage, and the counters along it that it moves: those that a limit goes by.
    pub(in crate::decide) fn along(&self, path: Option<&ScopePath>) -> Option<Box<Along>> {
        let path = path?.clone();
        let mut counted = PathCounters::new();
        for limit in &self.limits {
            let Some(depth) = limit.depth() else { continue };
            let counts = !limit.limit.window.moves() || self.meter.aggregation.adds_up();
            let counter = (depth, limit.counted_in);
            if counts && !counted.contains(&counter) {
                counted.push(counter);
            }
        }
        Some(Box::new(Along { path, counted }))
    }

    /// The same of what is captured of a hold.
    pub(super) fn along_of(&self, state: &OrgState, hold: &Hold) -> Option<Box<Along>> {
        let mut along = hold.path.clone()?;
        let Along { path, counted } = &mut *along;
        for (depth, period) in counted.iter_mut().filter(|(_, period)| period.window.moves()) {
            let tally = state.counters(&hold.meter, ScopeRef::Path(path.first(*depth))).tally;
            *period = Moves { tallies: [tally, None], ..self.moves }.period(period.window);
        }
        Some(along)
    }

    /// The first limit, on a path of more names than so many, that does not leave room.
    pub(in crate::decide) fn refusal_below(&self, depth: u8) -> Option<Denial> {
        let mut below = self.limits.iter().filter(|limit| limit.depth().is_some_and(|of| of > depth));
        below.find(|limit| !limit.passes()).map(|limit| self.reached(limit))
    }
}
