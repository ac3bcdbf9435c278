//! Taking a usage back by its key: its grants and counters are put right.

use crate::counter::ScopeRef;
use crate::decide::settle::settled_by;
use crate::decide::{Context, OrgDecision, Outcome, ReversalDenial, Reversed};
use crate::{Counter, Entry, EntryKind, KeySpace, OrgState, Reverse, UsedEntry};

pub(super) fn decide_reverse(state: &OrgState, context: &Context<'_>, reverse: &Reverse) -> Outcome {
    let (result, entry) = match take_back(state, context, reverse) {
        Ok((reversed, entry)) => (Ok(reversed), entry),
        Err(denial) => (Err(denial), None),
    };
    Outcome { decision: OrgDecision::Reverse(result), entry }
}

fn take_back(
    state: &OrgState,
    context: &Context<'_>,
    reverse: &Reverse,
) -> Result<(Reversed, Option<Entry>), ReversalDenial> {
    let Some(known_org) = state.org() else { return Err(ReversalDenial::UnknownOrg) };
    // At any time: as long as the key is still there, also past the time it answers replays.
    let known = state.key(KeySpace::Use, &reverse.key).ok_or(ReversalDenial::UnknownKey)?;
    if let Some(entry) = known.reversed_by {
        return Ok((Reversed { entry, reversed_entry: known.entry, replayed: true }, None));
    }
    let Some(EntryKind::Used(used)) = state.entry(known.entry).map(|entry| &entry.kind) else {
        return Err(ReversalDenial::UnknownKey);
    };
    if !counters_of(state, used).all(|counter| leaves_the_next(counter, known.entry)) {
        return Err(ReversalDenial::NotReversible);
    }
    let kind = EntryKind::Reversed { entry: known.entry, used: used.clone() };
    let account = state.account(&used.meter);
    let settled = account.map(|account| settled_by(context, known_org, account, &kind)).unwrap_or_default();
    let entry = Entry { settled, ..context.entry(Some(known_org), kind, Vec::new()) };
    Ok((Reversed { entry: entry.number, reversed_entry: known.entry, replayed: false }, Some(entry)))
}

/// The counters that a usage moved.
fn counters_of<'a>(state: &'a OrgState, used: &'a UsedEntry) -> impl Iterator<Item = &'a Counter> + 'a {
    let users = std::iter::once(None).chain(used.user.as_ref().map(Some));
    let own = users.flat_map(move |user| {
        let counters = state.counters(&used.meter, ScopeRef::of(user));
        used.periods.iter().map(move |period| counters.of(*period))
    });
    let along = used.paths().flat_map(move |(scope, periods)| {
        let counters = state.counters(&used.meter, scope);
        periods.map(move |period| counters.of(period))
    });
    let grouped =
        used.grouped().filter_map(move |(group, period)| state.groups(&used.meter, period)?.counter(group));
    own.chain(along).chain(grouped)
}

/// Whether a counter is known once the usage of an entry is taken back.
fn leaves_the_next(counter: &Counter, entry: u64) -> bool {
    counter.extras().ranks.as_ref().is_none_or(|ranks| ranks.can_leave(entry))
}
