//! Holds: amounts that are reserved before they are used.
//!
//! A hold reserves room in every limit and credit of its sources in one decision, and burns and counts nothing. What is used of
//! it is captured, in one piece or in parts, and counts where the hold reserved its room; the rest is given back when it ends.
//! A hold may be carved out of another: then its amount moves from that one to it, and what it does not use moves back.
//!
//! An org that holds nothing has none of this. Open holds are part of the org; one that ended is known by the entries that made
//! and ended it: both have its key.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use jiff::Timestamp;
use serde::Deserialize;

use crate::counter::ScopeRef;
use crate::decide::settle::add_burn;
use crate::{
    Along, Amount, Burn, Burns, Entry, EntryKind, KeySpace, MeterId, Org, OrgState, Period, Periods,
    Quantity, ScopePath, Source, UsageKey, UserId, Window,
};

/// Far more than any hold has: of so many, of all holds and sources, the sum still fits an amount.
const HELD_MAX: Amount = Amount::from_billionths(1_000_000_000_000_000_000_000_000_000_000);

/// An amount of a meter that is reserved, to be captured or given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its number: that of the entry that made it.
    pub number: u64,
    /// The caller's id of it, and of what ends it.
    pub key: UsageKey,
    /// Which content the key stands for.
    pub fingerprint: u64,
    /// The hold it was carved out of.
    pub parent: Option<u64>,
    /// Who will use it.
    pub user: Option<UserId>,
    /// Where below the org it will be used, and where along that it reserves room, besides [`Self::periods`].
    pub path: Option<Box<Along>>,
    /// What is held.
    pub meter: MeterId,
    /// How much was held at first.
    pub quantity: Quantity,
    /// How much more than is held may be captured.
    pub overrun: Amount,
    /// What becomes of it when nobody ends it.
    pub on_expiry: OnExpiry,
    /// What the caller told about it; said of all that is captured.
    pub properties: BTreeMap<String, String>,
    /// When it was made.
    pub made_at: Timestamp,
    /// The moment that what is captured counts at: when it was made, or the hold that it was carved out of.
    pub counts_at: Timestamp,
    /// In which periods it reserves room, and what is captured counts.
    pub periods: Periods,
    /// First moment at which it has expired.
    pub expires_at: Timestamp,
    /// How much was captured.
    pub captured: Amount,
    /// How much of that is beyond what was held.
    pub overran: Amount,
    /// How much moved to holds that were carved out of it.
    pub carved: Amount,
    /// Which credit is reserved for what is free, in the order it burns. Sources that are drained stay, with nothing.
    pub reserve: Burns,
    /// How it ended.
    pub end: Option<HoldEnd>,
}

/// What becomes of what is still held when a hold expires. What was captured before stays captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// It is given back.
    #[default]
    Release,
    /// It is captured: the estimate is charged.
    Charge,
}

impl OnExpiry {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Charge => "charge",
        }
    }
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldEnd {
    /// The number of the entry that ended it.
    pub entry: u64,
    /// When.
    pub at: Timestamp,
    /// By what.
    pub by: EndedBy,
}

/// What ended a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// Its last capture.
    Capture,
    /// Its release.
    Release,
    /// Its time.
    Expiry,
}

impl EndedBy {
    /// The stable name of the state of a hold that it ended.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Capture => "captured",
            Self::Release => "released",
            Self::Expiry => "expired",
        }
    }
}

impl Hold {
    /// What is still held: not captured, and not moved to holds within it.
    #[must_use]
    pub fn free(&self) -> Amount {
        if self.end.is_some() {
            return Amount::ZERO;
        }
        self.quantity.amount() - (self.captured - self.overran) - self.carved
    }

    /// The most that may be captured now.
    #[must_use]
    pub fn most(&self) -> Amount {
        if self.end.is_some() { Amount::ZERO } else { self.free() + self.overrun - self.overran }
    }

    /// The stable name of its state.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match self.end {
            None => "open",
            Some(end) => end.by.name(),
        }
    }

    /// Whether its amounts add up with those of all others that may be open.
    fn is_sound(&self) -> bool {
        let reserved = self.reserve.iter().map(|burn| burn.amount);
        let mut amounts =
            [self.overrun, self.captured, self.overran, self.carved].into_iter().chain(reserved);
        self.end.is_none() && amounts.all(|amount| (Amount::ZERO..=HELD_MAX).contains(&amount))
    }

    /// Whether it reserves room in a period: of the org and its user, or of so many names of its path.
    pub(crate) fn is_held_in(&self, depth: Option<u8>, period: Period) -> bool {
        let same = |held: &Period| held_as(*held) == held_as(period);
        match depth {
            None => self.periods.iter().any(same),
            Some(depth) => {
                let mut counted = self.path.iter().flat_map(|along| &along.counted);
                counted.any(|(of, held)| *of == depth && same(held))
            }
        }
    }

    /// Whether its time is over at a moment.
    pub(crate) fn is_due(&self, at: Timestamp) -> bool {
        self.expires_at <= at
    }

    /// How much becomes free when it ends; `None`: it goes back to another hold, and stays held.
    pub(crate) fn frees(&self, org: &Org) -> Option<Amount> {
        let parent = self.parent.and_then(|parent| org.hold(parent));
        parent.is_none().then(|| self.free())
    }

    /// The month that it counts in.
    pub(crate) fn month(&self) -> Option<Period> {
        self.periods.iter().find(|period| period.window == Window::Month).copied()
    }

    /// What a capture burns of the credit that is reserved, and how much of it is beyond what is held.
    pub(crate) fn drawn(&self, quantity: Amount) -> (Burns, Amount) {
        let within = quantity.min(self.free());
        let mut take = take(within);
        let drawn = self.reserve.iter().map(|burn| Burn { source: burn.source, amount: take(burn) });
        (drawn.filter(|burn| burn.amount.is_positive()).collect(), quantity - within)
    }

    /// Takes credit that is reserved, in the order it burns.
    fn draw(&mut self, amount: Amount) {
        let mut take = take(amount);
        self.reserve.iter_mut().for_each(|burn| burn.amount -= take(burn));
    }

    /// What it comes to if a capture of an amount, or of nothing, ends it.
    pub(crate) fn sum(&self, by: EndedBy, quantity: Amount) -> HoldSum {
        let beyond = quantity - quantity.min(self.free());
        HoldSum {
            by,
            captured: self.captured + quantity,
            overran: self.overran + beyond,
            carved: self.carved,
        }
    }

    /// Ends it by an entry.
    pub(crate) fn end(&mut self, entry: &Entry, sum: HoldSum) {
        let HoldSum { by, captured, overran, carved } = sum;
        (self.captured, self.overran, self.carved) = (captured, overran, carved);
        self.end = Some(HoldEnd { entry: entry.number, at: entry.at, by });
        self.reserve.clear();
    }

    /// Captures an amount.
    pub(crate) fn capture(&mut self, quantity: Amount) {
        let within = quantity.min(self.free());
        self.draw(within);
        self.captured += quantity;
        self.overran += quantity - within;
    }
}

/// How much an amount takes of each source, one after the other.
fn take(amount: Amount) -> impl FnMut(&Burn) -> Amount {
    let mut left = amount;
    move |burn| {
        let taken = left.min(burn.amount);
        left -= taken;
        taken
    }
}

/// What a hold came to when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldSum {
    /// What ended it.
    pub by: EndedBy,
    /// How much was captured, that which ended it included.
    pub captured: Amount,
    /// How much of that is beyond what was held.
    pub overran: Amount,
    /// How much moved to holds that were carved out of it.
    pub carved: Amount,
}

/// What was captured of a hold, as an entry of usage names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The number of the hold.
    pub hold: u64,
    /// How that ended it; `None`: the hold goes on.
    pub ends: Option<HoldSum>,
}

impl Captured {
    /// Captures an amount.
    pub(crate) fn apply(self, holds: &mut Holds, quantity: Amount) {
        match self.ends {
            Some(_) => holds.end(self.hold, quantity),
            None => holds.capture(self.hold, quantity),
        }
    }
}

impl OrgState {
    /// A hold: open, or ended as long as its key is remembered.
    #[must_use]
    pub fn hold(&self, number: u64) -> Option<Cow<'_, Hold>> {
        if let Some(open) = self.org().and_then(|org| org.hold(number)) {
            return Some(Cow::Borrowed(open));
        }
        let EntryKind::Held(held) = &self.entry(number)?.kind else { return None };
        let ended = self.entry(self.key(KeySpace::Use, &held.hold.key)?.entry)?;
        let sum = ended.ends_hold(number)?;
        let mut hold = Hold::clone(&held.hold);
        hold.end(ended, sum);
        Some(Cow::Owned(hold))
    }

    /// Whether a hold has expired at a moment and is not ended yet: nothing else is to be decided before
    /// [`OrgCommand::Expire`](crate::OrgCommand::Expire) has ended it.
    #[must_use]
    pub fn has_due_hold(&self, at: Timestamp) -> bool {
        let holds = self.org().and_then(|org| org.holds.as_ref());
        holds.is_some_and(|holds| holds.next_expiry().is_some_and(|expiry| expiry <= at))
    }
}

/// The period that a hold is summed up in.
const fn held_as(period: Period) -> Period {
    if period.window.moves() { Period { number: 0, ..period } } else { period }
}

/// The open holds of an org.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    open: BTreeMap<u64, Arc<Hold>>,
    /// When each of them expires; of those of one moment the latest first, so that one that was carved out of another ends
    /// before that one.
    expiries: BTreeSet<(Timestamp, std::cmp::Reverse<u64>)>,
    /// By meter.
    sums: Vec<(MeterId, HeldOn)>,
}

/// What is held on a meter, in sum.
#[derive(Clone, Debug, Default)]
struct HeldOn {
    sources: Vec<Burn>,
    org: Vec<(Period, Amount)>,
    users: HashMap<UserId, Vec<(Period, Amount)>, RandomState>,
    paths: HashMap<ScopePath, Vec<(Period, Amount)>, RandomState>,
}

impl PartialEq for Holds {
    fn eq(&self, other: &Self) -> bool {
        self.open == other.open
    }
}

impl Eq for Holds {}

/// Open holds, in any order.
impl FromIterator<Hold> for Holds {
    fn from_iter<I: IntoIterator<Item = Hold>>(open: I) -> Self {
        let mut holds = Self::default();
        open.into_iter().for_each(|hold| holds.put(Arc::new(hold)));
        holds
    }
}

impl Holds {
    /// Takes open holds as a store keeps them; `None`: no org can have them.
    #[must_use]
    pub fn from_open(open: Vec<Hold>) -> Option<Self> {
        let numbers: BTreeSet<u64> = open.iter().map(|hold| hold.number).collect();
        let is_sound = open.iter().all(Hold::is_sound);
        (numbers.len() == open.len() && is_sound).then(|| open.into_iter().collect())
    }

    /// The open holds, by number.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Hold> {
        self.open.values().map(Arc::as_ref)
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// An open hold.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Hold> {
        self.open.get(&number).map(Arc::as_ref)
    }

    /// The open holds from a number on.
    pub fn from_number(&self, number: u64) -> impl Iterator<Item = &Hold> {
        self.open.range(number..).map(|(_, hold)| hold.as_ref())
    }

    /// The next moment at which one of them expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// The first whose time is over.
    pub(crate) fn due(&self, at: Timestamp) -> Option<&Hold> {
        let (_, std::cmp::Reverse(number)) = self.expiries.first().filter(|(expiry, _)| *expiry <= at)?;
        self.get(*number)
    }

    fn place(&self, meter: &MeterId) -> Result<usize, usize> {
        self.sums.binary_search_by(|(of, _)| of.cmp(meter))
    }

    fn on(&self, meter: &MeterId) -> Option<&HeldOn> {
        self.place(meter).ok().and_then(|place| self.sums.get(place)).map(|(_, on)| on)
    }

    /// What is held of a source of credit; of an allowance under whichever plan of its month.
    pub(crate) fn held_of(&self, meter: &MeterId, source: Source) -> Amount {
        let Some(on) = self.on(meter) else { return Amount::ZERO };
        on.sources.iter().filter(|held| held.source.shares_with(source)).map(|held| held.amount).sum()
    }

    /// What is held in a period, by the org, by a user of it or at a path; in a window that goes by usage whatever is: it counts
    /// when it is captured.
    pub(crate) fn held_in(&self, meter: &MeterId, scope: ScopeRef<'_>, period: Period) -> Amount {
        let Some(on) = self.on(meter) else { return Amount::ZERO };
        let periods = match scope {
            ScopeRef::Org => Some(&on.org),
            ScopeRef::User(user) => on.users.get(user),
            ScopeRef::Path(path) => on.paths.get(path),
            ScopeRef::Seen(_) => None,
        };
        let period = held_as(period);
        let held = periods.into_iter().flatten().find(|(of, _)| *of == period);
        held.map_or(Amount::ZERO, |(_, amount)| *amount)
    }

    /// Reads a little of the table of holds, so that it is in the caches; what it gives means nothing.
    pub(crate) fn warm_near(&self) -> usize {
        self.open.len() ^ self.expiries.len() ^ self.sums.len()
    }

    /// The same of what it points to, of a meter.
    pub(crate) fn warm_far(&self, meter: &MeterId) -> usize {
        let on = self.on(meter).map_or(0, |on| on.sources.len() ^ on.org.len() ^ on.users.len());
        on ^ usize::from(self.next_expiry().is_some())
    }

    /// The paths at which something of a meter is held.
    pub fn paths_held(&self, meter: &MeterId) -> impl Iterator<Item = &ScopePath> {
        self.on(meter).into_iter().flat_map(|on| on.paths.keys())
    }

    /// Takes a hold, out of its parent if it has one.
    pub(crate) fn put(&mut self, hold: Arc<Hold>) {
        self.expiries.insert((hold.expires_at, std::cmp::Reverse(hold.number)));
        self.sum(&hold, |sum, amount| sum + amount);
        self.open.insert(hold.number, hold);
    }

    /// Takes what a new hold reserves out of the one that it is carved out of.
    pub(crate) fn carve(&mut self, parent: u64, quantity: Amount) {
        self.change(parent, |hold| {
            hold.draw(quantity);
            hold.carved += quantity;
        });
    }

    /// Captures an amount of a hold.
    pub(crate) fn capture(&mut self, number: u64, quantity: Amount) {
        self.change(number, |hold| hold.capture(quantity));
    }

    /// Ends a hold with the capture of an amount, or of nothing: what is left of it goes back to the one that it was carved out
    /// of, or to nobody.
    pub(crate) fn end(&mut self, number: u64, quantity: Amount) {
        let Some(mut hold) = self.open.remove(&number) else { return };
        self.expiries.remove(&(hold.expires_at, std::cmp::Reverse(number)));
        self.sum(&hold, |sum, amount| sum - amount);
        let Some(parent) = hold.parent else { return };
        Arc::make_mut(&mut hold).capture(quantity);
        self.change(parent, |parent| {
            parent.carved -= hold.free();
            hold.reserve.iter().for_each(|burn| add_burn(&mut parent.reserve, burn.source, burn.amount));
        });
    }

    fn change(&mut self, number: u64, change: impl FnOnce(&mut Hold)) {
        let Some(mut hold) = self.open.remove(&number) else { return };
        self.sum(&hold, |sum, amount| sum - amount);
        change(Arc::make_mut(&mut hold));
        self.sum(&hold, |sum, amount| sum + amount);
        self.open.insert(number, hold);
    }

    /// Adds what a hold holds to the sums, or takes it off.
    fn sum(&mut self, hold: &Hold, change: impl Fn(Amount, Amount) -> Amount) {
        let place = match self.place(&hold.meter) {
            Ok(place) => place,
            Err(place) => {
                self.sums.insert(place, (hold.meter.clone(), HeldOn::default()));
                place
            }
        };
        let Some((_, on)) = self.sums.get_mut(place) else { return };
        for burn in &hold.reserve {
            let signed = change(Amount::ZERO, burn.amount);
            add_burn(&mut on.sources, burn.source, signed);
        }
        on.sources.retain(|held| !held.amount.is_zero());
        let free = hold.free();
        let in_periods = |sums: &mut Vec<(Period, Amount)>, periods: &mut dyn Iterator<Item = Period>| {
            for period in periods.map(held_as) {
                match sums.iter_mut().find(|(of, _)| *of == period) {
                    Some((_, sum)) => *sum = change(*sum, free),
                    None => sums.push((period, change(Amount::ZERO, free))),
                }
            }
            sums.retain(|(_, sum)| !sum.is_zero());
        };
        in_periods(&mut on.org, &mut hold.periods.iter().copied());
        if let Some(user) = &hold.user {
            let users = on.users.entry(user.clone()).or_default();
            in_periods(users, &mut hold.periods.iter().copied());
            if users.is_empty() {
                on.users.remove(user);
            }
        }
        for (path, mut periods) in hold.path.iter().flat_map(|along| along.scopes()) {
            let held = on.paths.entry(ScopePath::of_prefix(path)).or_default();
            in_periods(held, &mut periods);
            if held.is_empty() {
                on.paths.remove(path);
            }
        }
        if on.org.is_empty() && on.sources.is_empty() {
            self.sums.remove(place);
        }
    }
}
