//! The org: who it is, what it bought, which limits it set.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::counter::ScopeRef;
use crate::limits::{ADJUSTED_MONTHS, CLOCKS_APART_SECS_MAX, SEGMENT_MARGIN_SECS};
use crate::{
    Amount, Hold, Holds, LimitPath, MeterId, MonthDay, OrgId, OrgState, Period, PlanId, Plans,
    SignedDuration, Source, UserId, Window, Zone,
};

/// The paying organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// A name for people.
    pub name: Option<String>,
    /// The zone of its calendar.
    pub zone: Zone,
    /// What its caller keeps with it for itself.
    pub metadata: BTreeMap<String, String>,
    /// Its plans in time.
    pub plans: Plans,
    /// How many bills of it are closed: the number of the latest.
    pub bills: u32,
    /// The number of the latest month with a closed bill.
    pub billed_until: Option<i32>,
    /// Its trial, running or over; an org has one at most, ever.
    pub trial: Option<Trial>,
    /// The limits it set itself; those of its plan are in the catalog.
    pub limits: Vec<Limit>,
    /// What it holds; `None`: nothing.
    pub holds: Option<Arc<Holds>>,
    /// The meters it ever used, by id.
    pub meters: Arc<[UsedMeter]>,
    /// The number of the latest shipment with lines of it that was taken off what is unsent, zero before the first.
    pub settled: u64,
    /// The number of its latest entry, zero before the first: every change of anything of the org moves it.
    pub version: u64,
    /// When it was first heard of.
    pub created_at: Timestamp,
    /// When its latest entry was decided; where an older version kept it, when it was first heard of.
    pub latest_at: Timestamp,
    /// The shares of its credit, in percent, that cause a notice when crossed, in order, each once; `None`: its plan says.
    pub thresholds: Option<Vec<u8>>,
}

/// A meter that an org used: what bills look at, also when no catalog has it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedMeter {
    /// Its id.
    pub id: MeterId,
    /// Whether what was used of it adds up.
    pub adds_up: bool,
}

/// A trial of an org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// When it started.
    pub started_at: Timestamp,
    /// First moment at which it is over.
    pub ends_at: Timestamp,
    /// Whether its nearing end was noticed.
    pub ending_noticed: bool,
    /// Whether its end was noticed.
    pub ended_noticed: bool,
}

/// A cap on a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is capped.
    pub meter: MeterId,
    /// Whose usage is capped.
    pub scope: LimitScope,
    /// Over which stretch of time.
    pub window: Window,
    /// How much may be used in it.
    pub amount: Amount,
}

/// Whose usage a limit caps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitScope {
    /// All usage of the org together.
    Org,
    /// That of each user by itself.
    EachUser,
    /// That of one user, in place of the number for each user of the same meter and window.
    User(UserId),
    /// That at and below a path, or each path below one by itself; of one that is named, in place of the number for each of the
    /// same meter and window.
    Path(LimitPath),
}

impl Limit {
    /// Whether it caps the usage of users.
    pub(crate) const fn is_on_users(&self) -> bool {
        matches!(self.scope, LimitScope::EachUser | LimitScope::User(_))
    }

    /// The paths that it caps the usage of.
    pub(crate) const fn path(&self) -> Option<&LimitPath> {
        match &self.scope {
            LimitScope::Path(path) => Some(path),
            LimitScope::Org | LimitScope::EachUser | LimitScope::User(_) => None,
        }
    }

    /// The order in which limits are checked: those of the org before those of paths, outer ones first, and those before the
    /// ones of users; of each the widest first.
    pub(crate) fn checked_before(&self, other: &Self) -> Ordering {
        let inner = |limit: &Self| match &limit.scope {
            LimitScope::Org => 0,
            LimitScope::Path(path) => path.depth(),
            LimitScope::EachUser | LimitScope::User(_) => u8::MAX,
        };
        let wide = |limit: &Self| (limit.window.width_secs(), limit.window);
        inner(self).cmp(&inner(other)).then_with(|| wide(other).cmp(&wide(self)))
    }
}

impl Org {
    /// An org nobody has heard of before.
    #[must_use]
    pub fn new(id: OrgId, created_at: Timestamp) -> Self {
        Self {
            id,
            name: None,
            zone: Zone::UTC,
            metadata: BTreeMap::new(),
            plans: Plans::new(),
            bills: 0,
            billed_until: None,
            trial: None,
            limits: Vec::new(),
            holds: None,
            meters: Arc::default(),
            settled: 0,
            version: 0,
            created_at,
            latest_at: created_at,
            thresholds: None,
        }
    }

    /// What time it is for the org while a clock shows a time: not before its latest entry, as long as that is not further
    /// ahead of the clock than clocks differ. So what one server granted, another one sees at once.
    #[must_use]
    pub fn now(&self, clock: Timestamp) -> Timestamp {
        let is_behind =
            || self.latest_at.duration_since(clock) <= SignedDuration::from_secs(CLOCKS_APART_SECS_MAX);
        if self.latest_at > clock && is_behind() { self.latest_at } else { clock }
    }

    /// An open hold.
    #[must_use]
    pub fn hold(&self, number: u64) -> Option<&Hold> {
        self.holds.as_ref()?.get(number)
    }

    /// What holds reserve of a source of credit.
    pub(crate) fn held_of(&self, meter: &MeterId, source: Source) -> Amount {
        self.holds.as_ref().map_or(Amount::ZERO, |holds| holds.held_of(meter, source))
    }

    /// What holds reserve in a period, of the org, or of a user of it or a path.
    pub(crate) fn held_in(&self, meter: &MeterId, scope: ScopeRef<'_>, period: Period) -> Amount {
        self.holds.as_ref().map_or(Amount::ZERO, |holds| holds.held_in(meter, scope, period))
    }

    /// A window as this org has it, under the plan with a number in its history.
    pub(crate) fn window(&self, window: Window, plan: u32) -> Window {
        match window {
            Window::PlanMonth => {
                let began = self.plans.began(plan);
                Window::MonthFrom(began.map_or(MonthDay::FIRST, |began| self.zone.month_day(began)))
            }
            window => window,
        }
    }

    /// Changes what it holds.
    pub(crate) fn change_holds<T>(&mut self, change: impl FnOnce(&mut Holds) -> T) -> T {
        let holds = Arc::make_mut(self.holds.get_or_insert_default());
        let made = change(holds);
        if holds.is_empty() {
            self.holds = None;
        }
        made
    }

    /// Notes that a meter was used.
    pub(crate) fn note_used(&mut self, meter: &MeterId, adds_up: bool) {
        if let Err(place) = self.meters.binary_search_by(|known| known.id.cmp(meter)) {
            let mut meters = self.meters.to_vec();
            meters.insert(place, UsedMeter { id: meter.clone(), adds_up });
            self.meters = meters.into();
        }
    }

    /// The plans that a catalog must not remove: those it has at a moment or will have after it. Bills go by the catalogs
    /// of their time.
    pub fn plans_in_use(&self, at: Timestamp) -> impl Iterator<Item = &PlanId> {
        let used = self.plans.stretches().filter(move |stretch| stretch.meets(Some(at), None));
        used.filter_map(|stretch| stretch.change?.plan.as_ref())
    }

    /// Notes that the bill of a month is closed, and forgets the plans that no later bill looks at.
    pub(crate) fn close_month(&mut self, month: i32) {
        self.bills += 1;
        self.billed_until = self.billed_until.max(Some(month));
        let oldest = self.billed_until.unwrap_or(month).saturating_sub(ADJUSTED_MONTHS);
        let margin = SignedDuration::from_secs(SEGMENT_MARGIN_SECS);
        if let Some(start) = self.zone.bounds(Period::month(oldest)).0
            && let Ok(before) = start.checked_sub(margin)
        {
            self.plans.forget_before(before);
        }
    }

    /// The number its next entry gets.
    #[must_use]
    pub const fn next_entry(&self) -> u64 {
        self.version + 1
    }
}

impl OrgState {
    /// [`Org::now`]; of an org that does not exist, what the clock shows.
    #[must_use]
    pub fn now(&self, clock: Timestamp) -> Timestamp {
        self.org().map_or(clock, |org| org.now(clock))
    }
}
