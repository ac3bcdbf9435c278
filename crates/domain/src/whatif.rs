//! What other catalogs would have denied of a month's usage: an org's ledger, gone through again.
//!
//! Up to the month, the entries are taken as they are. Within it, each usage that was asked for at the gate is decided
//! again, under each catalog by itself: what is denied there burns nothing and moves no counter there. Top-ups,
//! limits, plans and zones stand as they were set. Usage that was recorded after the fact is counted and, as ever,
//! denied only where the catalog lacks its meter.
//!
//! Deliberately absent: what was denied at the time. It is in no ledger, so it cannot be asked for again.

use std::collections::{BTreeMap, BTreeSet};

use crate::decide::settle::settled_by;
use crate::decide::{Context, outcome};
use crate::{
    Amount, Burn, Catalog, Entry, EntryKind, KeySpace, MeterId, Moments, OrgCommand, OrgDecision, OrgId,
    OrgState, PartKey, Quantity, Timestamp, Use, UsedEntry, UserId, Window, Zone, apply,
};

/// Usage that would be denied, by meter and the code of the denial.
pub type Denials = BTreeMap<(MeterId, &'static str), DeniedSum>;

/// How much would be denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeniedSum {
    /// How many usages.
    pub usages: u64,
    /// How much of the meter.
    pub quantity: Amount,
}

/// The numbers of the usages that an org's ledger takes back: to be collected before a [`Rerun`], which must know which
/// of the usages it meets will be taken back.
#[derive(Debug, Default)]
pub struct TakenBack(BTreeSet<u64>);

impl TakenBack {
    /// Looks at an entry, in any order.
    pub fn see(&mut self, entry: &Entry) {
        if let EntryKind::Reversed { entry, .. } = &entry.kind {
            self.0.insert(*entry);
        }
    }
}

/// One org's ledger, gone through again under two catalogs.
///
/// What it keeps goes by the org's users, periods and open holds, not by its usages.
#[derive(Debug)]
pub struct Rerun<'a> {
    month: i32,
    catalogs: [&'a Catalog; 2],
    taken_back: TakenBack,
    /// The moment that what is captured counts at, of each hold that is open, whenever it was made.
    holds: BTreeMap<u64, Timestamp>,
    /// The state as they were before the month.
    before: OrgState,
    /// From the month's first entry on.
    worlds: Option<[World<'a>; 2]>,
}

impl<'a> Rerun<'a> {
    /// Before the first entry of the ledger; the month by its number.
    #[must_use]
    pub fn new(org: OrgId, month: i32, catalogs: [&'a Catalog; 2], taken_back: TakenBack) -> Self {
        let (holds, before) = (BTreeMap::new(), OrgState::complete(org));
        Self { month, catalogs, taken_back, holds, before, worlds: None }
    }

    /// Goes through the next entry. False: the month is over, and nothing more need be seen.
    pub fn see(&mut self, entry: &Entry) -> bool {
        let state = self.worlds.as_ref().map_or(&self.before, |[first, _]| &first.state);
        let zone = state.org().map_or(Zone::UTC, |org| org.zone.clone());
        let month = zone.period_at(Window::Month, entry.at).number;
        let counts_at = self.counts_at(entry);
        if month < self.month && self.worlds.is_none() {
            apply_alone(&mut self.before, entry);
            return true;
        }
        if month > self.month {
            return false;
        }
        let (catalogs, before) = (self.catalogs, &self.before);
        let worlds = self
            .worlds
            .get_or_insert_with(|| catalogs.map(|catalog| World::new(catalog, before, entry.number)));
        for world in worlds {
            world.see(entry, counts_at, &self.taken_back);
        }
        true
    }

    /// The moment that a usage counts at if that is not said in it: of what is captured, that of the hold. Notes which holds are
    /// open.
    fn counts_at(&mut self, entry: &Entry) -> Option<Timestamp> {
        match &entry.kind {
            EntryKind::Held(held) => {
                self.holds.insert(held.hold.number, held.hold.counts_at);
                None
            }
            EntryKind::HoldEnded(ended) => {
                self.holds.remove(&ended.hold);
                None
            }
            EntryKind::Used(used) => {
                let captured = used.captured?;
                match captured.ends {
                    Some(_) => self.holds.remove(&captured.hold),
                    None => self.holds.get(&captured.hold).copied(),
                }
            }
            _ => None,
        }
    }

    /// What each catalog would have denied.
    #[must_use]
    pub fn denials(self) -> [Denials; 2] {
        self.worlds.map_or_else(Default::default, |worlds| worlds.map(|world| world.denials))
    }
}

/// How things would stand under one catalog.
#[derive(Debug)]
struct World<'a> {
    catalog: &'a Catalog,
    state: OrgState,
    /// The number of the month's first entry.
    first: u64,
    /// What was counted here and will be taken back.
    kept: BTreeMap<u64, Box<UsedEntry>>,
    denials: Denials,
}

impl<'a> World<'a> {
    fn new(catalog: &'a Catalog, before: &OrgState, first: u64) -> Self {
        let mut state = before.clone();
        state.forget_holds();
        Self { catalog, state, first, kept: BTreeMap::new(), denials: Denials::new() }
    }

    fn see(&mut self, entry: &Entry, counts_at: Option<Timestamp>, taken_back: &TakenBack) {
        let here = match &entry.kind {
            EntryKind::Used(used) => self.decide_again(entry, used, counts_at, taken_back),
            EntryKind::Reversed { entry: number, .. } if *number >= self.first => {
                let kept = self.kept.remove(number);
                kept.map(|used| EntryKind::Reversed { entry: *number, used })
            }
            // What is captured of a hold is counted here as what was recorded at the moment of the hold: that decided.
            EntryKind::Refused { .. } | EntryKind::Held(_) | EntryKind::HoldEnded(_) => None,
            kind => Some(kind.clone()),
        };
        // What does not happen here still has its number: top-ups and reversals are found by theirs.
        let kind = here.unwrap_or_else(|| nothing(entry));
        let settled = self.settled(entry, &kind);
        apply_alone(
            &mut self.state,
            &Entry { kind, settled, notices: Vec::new(), actor: entry.actor.clone(), ..*entry },
        );
    }

    fn context<'c>(&'c self, entry: &'c Entry, moments: &'c Moments) -> Context<'c> {
        Context {
            catalog: self.catalog,
            catalog_version: entry.catalog,
            catalog_since: Timestamp::MIN,
            moments,
            // No key is at hand: that each counts once was decided at the time.
            key_keep_secs: 0,
            actor: &entry.actor,
        }
    }

    /// How debts are settled here by the time of an entry.
    fn settled(&self, entry: &Entry, kind: &EntryKind) -> Vec<Burn> {
        let account = kind.meter().and_then(|meter| self.state.account(meter));
        let Some((known, account)) = self.state.org().zip(account) else { return Vec::new() };
        let moments = Moments::new(entry.at);
        settled_by(&self.context(entry, &moments), known, account, kind)
    }

    /// What a usage changes here; `None`: it is denied.
    fn decide_again(
        &mut self,
        entry: &Entry,
        used: &UsedEntry,
        counts_at: Option<Timestamp>,
        taken_back: &TakenBack,
    ) -> Option<EntryKind> {
        let usage = Use {
            user: used.user.clone(),
            path: used.path.as_ref().map(|along| along.path.clone()),
            meter: used.meter.clone(),
            quantity: used.quantity,
            key: used.key.clone(),
            occurred_at: used.occurred_at.or(counts_at),
            properties: used.properties.clone(),
        };
        let command = if used.recorded { OrgCommand::Record(usage) } else { OrgCommand::Use(usage) };
        let moments = Moments::new(entry.at);
        let outcome = outcome(&self.state, &self.context(entry, &moments), &command);
        let reason = match &outcome.decision {
            OrgDecision::Use(Err(denied)) => Some(denied.denial.code()),
            OrgDecision::Record(Err(denial)) => Some(denial.code()),
            _ => None,
        };
        if let Some(reason) = reason {
            let sum = self.denials.entry((used.meter.clone(), reason)).or_default();
            sum.usages += 1;
            sum.quantity += used.quantity.amount();
            return None;
        }
        let kind = outcome.entry?.kind;
        if let (EntryKind::Used(used), true) = (&kind, taken_back.0.contains(&entry.number)) {
            self.kept.insert(entry.number, used.clone());
        }
        Some(kind)
    }
}

/// What stands in the ledger in place of an entry that does not happen.
fn nothing(entry: &Entry) -> EntryKind {
    let refused = |user: Option<&UserId>, meter: &MeterId, quantity| EntryKind::Refused {
        user: user.cloned(),
        path: None,
        meter: meter.clone(),
        quantity,
        reason: String::new(),
    };
    match &entry.kind {
        EntryKind::Used(used) | EntryKind::Reversed { used, .. } => {
            refused(used.user.as_ref(), &used.meter, used.quantity)
        }
        EntryKind::Held(held) => refused(held.hold.user.as_ref(), &held.hold.meter, held.hold.quantity),
        EntryKind::HoldEnded(ended) => refused(ended.user.as_ref(), &ended.meter, Quantity::ONE),
        kind => kind.clone(),
    }
}

/// Applies an entry to a state that is complete, and forgets what no later decision of the rerun reads.
fn apply_alone(state: &mut OrgState, entry: &Entry) {
    apply(state, entry);
    let took_back = || Some((KeySpace::Use, entry.took_back_key()?));
    if let Some((space, key)) = entry.named_key().or_else(took_back) {
        state.forget(&PartKey::Key(space, key.clone()));
    }
    match &entry.kind {
        EntryKind::Used(used) | EntryKind::Reversed { used, .. } => {
            for (_, period) in used.grouped() {
                state.forget(&PartKey::Groups(used.meter.clone(), period));
            }
        }
        EntryKind::BillClosed(bill) => state.forget(&PartKey::Bill(bill.rated.month.number)),
        _ => {}
    }
}
