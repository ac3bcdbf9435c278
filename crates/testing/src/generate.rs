//! Random scenarios: catalogs, commands and times, all from one seed.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a mistake of the generator stops the test"
)]

mod catalog;
mod holds;

use std::collections::BTreeMap;

pub use holds::with_number;

use fastrand::Rng;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use tollgate_domain::{
    Amount, Check, CloseMonth, LimitPath, LimitScope, MeterId, OrgCommand, OrgId, Period, PlanId, PlanTime,
    PutOrg, Quantity, Reverse, ScopePath, SetLimit, SetPlan, Settle, Sku, TakeHold, TopUp, TopUpExpiry,
    TopUpStart, UsageKey, Use, UserId, Void, VoidTarget, Welcome, Window, Zone,
};

/// Zones with every kind of oddity: far east and west, parts of hours, half an hour of daylight saving, none at all.
pub const ZONES: [&str; 10] = [
    "UTC",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Europe/Berlin",
    "Africa/Casablanca",
    "Asia/Tokyo",
];

/// The third is that of a SKU: what is used of it is shipped.
const METERS: [&str; 7] = ["reports", "tokens", "seat:day", "peaks", "levels", "people", "models"];
const PLANS: [&str; 5] = ["large", "middle", "small", "other", "trial"];
/// Windows that limits alone go by.
const LIMITED_BY: [&str; 10] = [
    "week_from_sunday",
    "week_from_monday",
    "plan_month",
    "month_from_31",
    "month_from_15",
    "rolling_1h",
    "rolling_7d",
    "first_use_1h",
    "first_use_5h",
    "first_use_3d",
];
const USERS: [&str; 3] = ["ann", "bob", "cid"];

/// Paths, some within others.
const PATHS: [&str; 6] = ["a", "a/x", "a/x/1", "a/x/2", "a/y", "b/x/1/2/3/4/5/6"];

/// What limits on paths are on.
const PATH_LIMITS: [&str; 8] = ["a", "a/x", "a/x/1", "b", "*", "a/*", "a/x/*", "b/x/1/2/3/4/5/*"];
const DAY: i64 = 86_400;

/// How far the clock may step back behind the latest time it showed.
const STEP_BACK_SECS_MAX: i64 = 35 * DAY;

/// One thing that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, by the server's clock.
    pub at: Timestamp,
    /// What.
    pub action: Action,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Action {
    /// A command of an org.
    Org(OrgId, OrgCommand),
    /// A catalog comes into force.
    Catalog(String),
}

/// Which records are at hand when a command comes; the others are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtHand {
    /// All that were, as within one batch.
    All,
    /// None, as after a start.
    Nothing,
    /// Some of them, by lot under a seed: what a batch before has left.
    Some(u64),
}

/// Everything that happens under one seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How long keys answer replays.
    pub key_keep_secs: i64,
    /// What is at hand when a command comes.
    pub at_hand: AtHand,
    /// Whether every allowance is hard.
    pub all_hard: bool,
    /// The first catalog.
    pub catalog: String,
    /// What happens.
    pub steps: Vec<Step>,
}

/// Makes commands and moves the clock, by a seed.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    all_hard: bool,
    at: Timestamp,
    latest: Timestamp,
    /// Moments worth landing on: expiries, ends of trials.
    edges: Vec<Timestamp>,
    used: BTreeMap<OrgId, Vec<Use>>,
    /// What was held, and which hold of all each is.
    held: BTreeMap<OrgId, Vec<(u64, TakeHold)>>,
    holds: u64,
    /// What is to come of holds of late.
    follow_ups: BTreeMap<OrgId, Vec<OrgCommand>>,
    /// Keys that holds and parts of them were named by.
    named: BTreeMap<OrgId, Vec<UsageKey>>,
    topped_up: Vec<TopUp>,
    /// The month that each org is to close next.
    months: BTreeMap<OrgId, i32>,
    shipments: u64,
    keys: u32,
}

/// Makes a scenario of some commands.
#[must_use]
pub fn scenario(seed: u64, commands: usize) -> Scenario {
    let mut generator = Generator::new(seed);
    let catalog = generator.catalog();
    let orgs: Vec<OrgId> =
        (0..generator.rng.usize(1..4)).map(|n| id(&format!("org-{n}"), OrgId::new)).collect();
    let mut steps = Vec::with_capacity(commands);
    for org in &orgs {
        if generator.one_in(4) {
            continue;
        }
        for command in [generator.put(), generator.set_plan()] {
            steps.push(Step { at: generator.at, action: Action::Org(org.clone(), command) });
        }
    }
    while steps.len() < commands {
        generator.move_clock();
        let action = if generator.one_in(60) {
            Action::Catalog(generator.catalog())
        } else {
            let org = generator.pick(&orgs).clone();
            let settles = generator.one_in(30);
            let command = if settles { generator.settle() } else { generator.command(&org) };
            Action::Org(org, command)
        };
        steps.push(Step { at: generator.at, action });
    }
    let key_keep_secs = generator.rng.i64(1..40) * DAY;
    let at_hand = match generator.rng.u8(0..3) {
        0 => AtHand::All,
        1 => AtHand::Nothing,
        _ => AtHand::Some(generator.rng.u64(..)),
    };
    Scenario { key_keep_secs, at_hand, all_hard: generator.all_hard, catalog, steps }
}

/// Makes a few months of one org: plans that are set, scheduled, left and called off, usage at the gate and late, then each
/// month closed in its turn, with more that comes late in between.
#[must_use]
pub fn months(seed: u64, commands: usize) -> Scenario {
    let mut generator = Generator::new(seed);
    let catalog = generator.catalog();
    let org = id("org", OrgId::new);
    let mut steps = Vec::with_capacity(commands + 16);
    let first = Zone::UTC.period_at(Window::Month, generator.at).number;
    let mut go = |generator: &mut Generator, hours: i64, action: Option<Action>| {
        let on = SignedDuration::from_secs(generator.rng.i64(0..hours * 3_600));
        generator.set_clock(generator.at + on);
        let action = action.unwrap_or_else(|| Action::Org(org.clone(), generator.of_months(&org)));
        steps.push(Step { at: generator.at, action });
    };
    let put = Action::Org(id("org", OrgId::new), generator.put());
    go(&mut generator, 1, Some(put));
    for _ in 0..commands {
        let other = generator.one_in(60).then(|| Action::Catalog(generator.catalog()));
        go(&mut generator, 60, other);
    }
    let last = Zone::UTC.period_at(Window::Month, generator.at).number;
    for month in first - 1..=last + 2 {
        if let Some(over) = Zone::UTC.bounds(Period::month(month)).1 {
            generator.set_clock(generator.at.max(over + SignedDuration::from_hours(15)));
        }
        let close = OrgCommand::CloseMonth(CloseMonth { month });
        go(&mut generator, 12, Some(Action::Org(id("org", OrgId::new), close)));
        for _ in 0..6 {
            go(&mut generator, 6, None);
        }
    }
    let key_keep_secs = 40 * DAY;
    Scenario { key_keep_secs, at_hand: AtHand::Some(seed), all_hard: generator.all_hard, catalog, steps }
}

fn id<T, E: std::fmt::Debug>(text: &str, new: impl Fn(&str) -> Result<T, E>) -> T {
    new(text).expect("an id")
}

impl Generator {
    /// Starts at some time between 2024 and 2036.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let start = Timestamp::from_second(rng.i64(1_704_067_200..2_100_000_000)).expect("a time");
        Self {
            all_hard: rng.u8(0..4) == 0,
            at: start,
            latest: start,
            edges: Vec::new(),
            used: BTreeMap::new(),
            held: BTreeMap::new(),
            holds: 0,
            follow_ups: BTreeMap::new(),
            named: BTreeMap::new(),
            topped_up: Vec::new(),
            months: BTreeMap::new(),
            shipments: 0,
            keys: 0,
            rng,
        }
    }

    /// The time that the clock shows.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether every allowance of its catalogs is hard.
    #[must_use]
    pub const fn all_hard(&self) -> bool {
        self.all_hard
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.rng.u32(0..count) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.rng.usize(0..from.len())]
    }

    /// Lets the clock go on, land on an edge of the calendar, or step back.
    pub fn move_clock(&mut self) {
        // What is held is mostly captured before it expires.
        let waits = self.follow_ups.values().any(|commands| !commands.is_empty());
        let most = if waits && !self.one_in(10) { 42 } else { 100 };
        let step = match self.rng.u32(0..most) {
            0..40 => SignedDuration::from_millis(self.rng.i64(0..2_000)),
            40..60 => SignedDuration::from_secs(self.rng.i64(1..4_000)),
            60..75 => SignedDuration::from_secs(self.rng.i64(3_600..DAY)),
            75..82 => SignedDuration::from_secs(self.rng.i64(DAY..4 * DAY)),
            82..85 => SignedDuration::from_secs(self.rng.i64(7 * DAY..22 * DAY)),
            85..96 => return self.land_on_edge(),
            96 | 97 => -SignedDuration::from_millis(self.rng.i64(1..2 * DAY * 1_000)),
            98 => -SignedDuration::from_millis(self.rng.i64(1..8_000)),
            _ => -SignedDuration::from_secs(self.rng.i64(DAY..STEP_BACK_SECS_MAX)),
        };
        self.set_clock(self.at + step);
    }

    fn set_clock(&mut self, at: Timestamp) {
        self.latest = self.latest.max(at);
        self.at = at.max(self.latest - SignedDuration::from_secs(STEP_BACK_SECS_MAX));
    }

    /// To the end of a month or day, a change of the clocks, an expiry: a nanosecond before, at it, or after.
    fn land_on_edge(&mut self) {
        let tz = TimeZone::get(ZONES[self.rng.usize(0..ZONES.len())]).expect("a zone");
        let here = self.at.to_zoned(tz.clone());
        let edge = match self.rng.u32(0..5) {
            0 | 1 => here
                .first_of_month()
                .and_then(|day| day.checked_add(1.month()))
                .and_then(|day| day.start_of_day())
                .expect("next month")
                .timestamp(),
            2 => here.tomorrow().and_then(|day| day.start_of_day()).expect("tomorrow").timestamp(),
            3 => match tz.following(self.at).next() {
                Some(change) if change.timestamp().as_second() - self.at.as_second() < 200 * DAY => {
                    change.timestamp()
                }
                _ => self.at,
            },
            _ => {
                let ahead: Vec<_> = self.edges.iter().copied().filter(|edge| *edge > self.at).collect();
                ahead.into_iter().min().unwrap_or(self.at)
            }
        };
        let nudge = SignedDuration::from_nanos(self.rng.i64(-1..2));
        self.set_clock(edge + nudge);
    }

    /// A command to an org: mostly usage, now and then one that was made before.
    pub fn command(&mut self, org: &OrgId) -> OrgCommand {
        let here = Zone::UTC.period_at(Window::Month, self.at).number;
        self.months.entry(org.clone()).or_insert(here);
        if let Some(next) = self.follow_up(org) {
            return next;
        }
        match self.rng.u32(0..100) {
            0..47 => OrgCommand::Use(self.usage(org)),
            47..52 => self.of_holds(org),
            52..62 => OrgCommand::Record(self.past_usage(org)),
            62..70 => OrgCommand::Check(Check {
                user: self.user(),
                path: self.path(),
                meter: self.meter(),
                quantity: self.quantity(),
                properties: self.properties(),
            }),
            70..77 => OrgCommand::Reverse(Reverse { key: self.known_key(org) }),
            77..84 => OrgCommand::TopUp(self.top_up()),
            84 => OrgCommand::Void(self.void()),
            85..91 => self.set_plan(),
            91..95 => self.set_limit(),
            95..98 => self.close_month(org),
            98 => self.welcome(),
            _ if self.rng.bool() => self.set_thresholds(),
            _ => self.put(),
        }
    }

    /// A command that matters to bills.
    fn of_months(&mut self, org: &OrgId) -> OrgCommand {
        match self.rng.u32(0..100) {
            0..25 => self.set_plan(),
            25..50 => OrgCommand::Use(self.usage(org)),
            50..88 => OrgCommand::Record(self.past_usage(org)),
            88..94 => OrgCommand::Reverse(Reverse { key: self.known_key(org) }),
            94..97 => OrgCommand::TopUp(self.top_up()),
            _ => self.put(),
        }
    }

    /// The next shipment brought some of the day, or a former one is settled again.
    fn settle(&mut self) -> OrgCommand {
        let again = self.shipments > 0 && self.one_in(3);
        self.shipments += u64::from(!again);
        let back = if again { self.rng.u64(0..self.shipments.min(4)) } else { 0 };
        let at = self.at - SignedDuration::from_secs(self.rng.i64(0..2 * DAY));
        let day = Zone::UTC.period_at(Window::Day, at).number;
        let amount = if self.one_in(6) { -self.quantity().amount() } else { self.quantity().amount() };
        let sku = Sku { product: "seat".to_owned(), unit: "day".to_owned() };
        let lines = vec![(sku, amount)];
        OrgCommand::Settle(Settle { shipment: self.shipments - back, day, lines })
    }

    fn usage(&mut self, org: &OrgId) -> Use {
        let known = self.used.get(org).cloned().unwrap_or_default();
        if !known.is_empty() && self.one_in(4) {
            let mut again = self.pick(&known[known.len().saturating_sub(20)..]).clone();
            again.occurred_at = Some(self.at);
            match self.rng.u32(0..8) {
                0 => again.user = self.user(),
                1 => again.quantity = self.quantity(),
                2 => again.meter = self.meter(),
                3 => again.path = self.path(),
                4 if self.named.contains_key(org) => again.key = self.name_of_hold(org),
                5 => {
                    again.properties.insert("model".to_owned(), "b".to_owned());
                }
                _ => {}
            }
            return again;
        }
        let properties = self.properties();
        let usage = Use {
            user: self.user(),
            path: self.path(),
            meter: self.meter(),
            quantity: self.quantity(),
            key: self.new_key(),
            occurred_at: None,
            properties,
        };
        if self.one_in(8) {
            let window = self.pick(&LIMITED_BY).parse().expect("a window");
            self.note_edge(window);
        }
        self.used.entry(org.clone()).or_default().push(usage.clone());
        usage
    }

    /// A model, mostly the same, or nothing.
    fn properties(&mut self) -> BTreeMap<String, String> {
        if self.one_in(2) {
            return BTreeMap::new();
        }
        let model = *self.pick(&["a", "a", "b", "c"]);
        BTreeMap::from([("model".to_owned(), model.to_owned())])
    }

    /// Usage that has happened: now, lately, up to 35 days ago, or a little ahead.
    fn past_usage(&mut self, org: &OrgId) -> Use {
        let mut usage = self.usage(org);
        let late = match self.rng.u32(0..10) {
            0 => None,
            1 => Some(SignedDuration::from_secs(-self.rng.i64(0..300))),
            2..5 => Some(SignedDuration::from_millis(self.rng.i64(0..4_000_000))),
            5..8 => Some(SignedDuration::from_secs(self.rng.i64(0..3 * DAY))),
            _ => Some(SignedDuration::from_secs(self.rng.i64(0..35 * DAY))),
        };
        usage.occurred_at = late.map(|late| self.at - late);
        usage
    }

    fn new_key(&mut self) -> UsageKey {
        self.keys += 1;
        id(&format!("key-{}", self.keys), UsageKey::new)
    }

    fn known_key(&mut self, org: &OrgId) -> UsageKey {
        let known = self.used.get(org).cloned().unwrap_or_default();
        if known.is_empty() || self.one_in(12) {
            return id("never-seen", UsageKey::new);
        }
        if self.named.contains_key(org) && self.one_in(3) {
            return self.name_of_hold(org);
        }
        let from = if self.one_in(3) { 0 } else { known.len().saturating_sub(6) };
        self.pick(&known[from..]).key.clone()
    }

    fn user(&mut self) -> Option<UserId> {
        if self.one_in(4) { None } else { Some(id(USERS[self.rng.usize(0..USERS.len())], UserId::new)) }
    }

    /// Mostly none, or one of a few that lie within each other.
    fn path(&mut self) -> Option<ScopePath> {
        self.one_in(3).then(|| id(PATHS[self.rng.usize(0..PATHS.len())], ScopePath::new))
    }

    fn meter(&mut self) -> MeterId {
        let name = match self.rng.u32(0..50) {
            0..24 => METERS[0],
            24..34 => METERS[1],
            34..38 => METERS[2],
            38..41 => METERS[3],
            41..44 => METERS[4],
            44..47 => METERS[5],
            47..49 => METERS[6],
            _ => "unheard-of",
        };
        id(name, MeterId::new)
    }

    fn quantity(&mut self) -> Quantity {
        let text = match self.rng.u32(0..40) {
            0..18 => "1".to_owned(),
            18..30 => self.rng.u32(1..6).to_string(),
            30..33 => "0.5".to_owned(),
            33..35 => "7.25".to_owned(),
            35..37 => "20".to_owned(),
            37 => "0.000000001".to_owned(),
            38 => "999999999999999.999999999".to_owned(),
            _ => self.rng.u32(1..60).to_string(),
        };
        Quantity::parse(&text).expect("a quantity")
    }

    /// A day before or after now.
    fn day_near(&mut self) -> i32 {
        Zone::UTC.period_at(Window::Day, self.at).number + self.rng.i32(-2..30)
    }

    /// Takes back one of the top-ups with a key, that of an entry, or some of a meter.
    fn void(&mut self) -> Void {
        let known = self.topped_up.clone();
        let target = match self.rng.u32(0..3) {
            0 if !known.is_empty() => {
                self.pick(&known).key.clone().map_or(VoidTarget::Entry(1), VoidTarget::Key)
            }
            1 => VoidTarget::Meter(self.meter()),
            _ => VoidTarget::Entry(self.rng.u64(1..40)),
        };
        let some = matches!(target, VoidTarget::Meter(_)) || self.one_in(3);
        let amount = some.then(|| Quantity::parse(&self.rng.u32(1..20).to_string()).expect("a quantity"));
        let key = match self.rng.u32(0..6) {
            0 if !known.is_empty() => self.pick(&known).key.clone(),
            1 => Some(self.new_key()),
            _ => None,
        };
        Void { target, amount, key, reason: None }
    }

    fn top_up(&mut self) -> TopUp {
        if !self.topped_up.is_empty() && self.one_in(6) {
            let known = self.topped_up.clone();
            let mut again = self.pick(&known).clone();
            match self.rng.u32(0..6) {
                0 => again.amount = Quantity::ONE,
                1 => {
                    again.start =
                        TopUpStart::At { at: self.at + SignedDuration::from_hours(1), written_month: 0 }
                }
                2 => again.expiry = TopUpExpiry::Never,
                _ => {}
            }
            return again;
        }
        let expiry = match self.rng.u32(0..10) {
            0..5 => TopUpExpiry::EndOfMonth,
            5..8 => {
                let expiry = self.at + SignedDuration::from_secs(self.rng.i64(-DAY..60 * DAY));
                self.edges.push(expiry);
                TopUpExpiry::At(expiry)
            }
            8 => TopUpExpiry::Day(self.day_near()),
            _ => TopUpExpiry::Never,
        };
        let start = match self.rng.u32(0..12) {
            0 => TopUpStart::Day(self.day_near()),
            1 | 2 => {
                let at = self.at + SignedDuration::from_secs(self.rng.i64(-DAY..20 * DAY));
                self.edges.push(at);
                let month = Zone::UTC.period_at(Window::Month, at).number;
                TopUpStart::At { at, written_month: month + self.rng.i32(-1..2) }
            }
            _ => TopUpStart::Now,
        };
        let key = if self.one_in(3) { None } else { Some(self.new_key()) };
        let top_up = TopUp {
            meter: self.meter(),
            amount: Quantity::parse(&self.rng.u32(1..20).to_string()).expect("a quantity"),
            key,
            expiry,
            start,
            priority: *self.pick(&[100, 100, 100, 50, 200]),
            reason: None,
            metadata: BTreeMap::new(),
        };
        if top_up.key.is_some() {
            self.topped_up.push(top_up.clone());
        }
        top_up
    }

    /// Sets one of the plans or leaves, mostly at once; or calls off what is scheduled.
    pub fn set_plan(&mut self) -> OrgCommand {
        if self.one_in(12) {
            return OrgCommand::CallOffPlan;
        }
        let plan = if self.one_in(40) { "unheard-of" } else { PLANS[self.rng.usize(0..PLANS.len())] };
        if plan == "trial" {
            self.edges.push(self.at + SignedDuration::from_secs(14 * DAY));
        }
        let plan = (!self.one_in(8)).then(|| id(plan, PlanId::new));
        OrgCommand::SetPlan(SetPlan { plan, from: self.plan_time() })
    }

    fn plan_time(&mut self) -> PlanTime {
        let zone = Zone::new(ZONES[self.rng.usize(0..ZONES.len())]).expect("a zone");
        match self.rng.u32(0..12) {
            0 => PlanTime::NextMonth,
            1 => PlanTime::Day(zone.period_at(Window::Day, self.at).number + self.rng.i32(-1..9)),
            2 => {
                let from = self.at + SignedDuration::from_secs(self.rng.i64(-60..5 * DAY));
                self.edges.push(from);
                PlanTime::At(from)
            }
            _ => PlanTime::Now,
        }
    }

    /// Makes an org, with one of the plans or none.
    fn welcome(&mut self) -> OrgCommand {
        let plan = (!self.one_in(4)).then(|| id(PLANS[self.rng.usize(0..PLANS.len())], PlanId::new));
        OrgCommand::Welcome(Welcome { plan })
    }

    fn set_limit(&mut self) -> OrgCommand {
        let scope = match self.rng.u32(0..5) {
            0 => LimitScope::Org,
            1 => LimitScope::EachUser,
            2 | 3 => LimitScope::Path(id(PATH_LIMITS[self.rng.usize(0..PATH_LIMITS.len())], LimitPath::new)),
            _ => LimitScope::User(id(USERS[self.rng.usize(0..USERS.len())], UserId::new)),
        };
        let amount = (!self.one_in(3)).then(|| Amount::from_whole(self.rng.i64(1..40)));
        OrgCommand::SetLimit(SetLimit { meter: self.meter(), scope, window: self.window(), amount })
    }

    /// Mostly a window of the calendar; now and then another of a few.
    fn window(&mut self) -> Window {
        if self.rng.bool() {
            return *self.pick(&Window::ALL);
        }
        let window = self.pick(&LIMITED_BY).parse().expect("a window");
        self.note_edge(window);
        window
    }

    /// What is used now leaves such a window then, or the next one may begin.
    fn note_edge(&mut self, window: Window) {
        let secs = match window {
            Window::Rolling(hours) => {
                let slot = i64::from(hours.get()) * 60;
                (self.at.as_second().div_euclid(slot) + 61) * slot
            }
            Window::FirstUse(hours) => {
                self.at.as_second().div_euclid(60) * 60 + i64::from(hours.get()) * 3_600
            }
            _ => return,
        };
        self.edges.push(Timestamp::from_second(secs).expect("a time"));
    }

    fn set_thresholds(&mut self) -> OrgCommand {
        let sets: [Option<&[u8]>; 5] = [None, Some(&[]), Some(&[50, 90]), Some(&[1, 25, 99]), Some(&[80])];
        OrgCommand::SetThresholds(self.pick(&sets).map(<[u8]>::to_vec))
    }

    /// Closes a month: mostly the next in order, now and then any other.
    fn close_month(&mut self, org: &OrgId) -> OrgCommand {
        let here = Zone::UTC.period_at(Window::Month, self.at).number;
        let next = self.months.entry(org.clone()).or_insert(here);
        let in_order = *next;
        if in_order < here {
            *next += 1;
        }
        let back = *self.pick(&[-1, 0, 1, 1, 2, 14]);
        let month = if self.one_in(4) { here - back } else { in_order };
        OrgCommand::CloseMonth(CloseMonth { month })
    }

    /// Sets name and zone.
    pub fn put(&mut self) -> OrgCommand {
        let zone =
            (!self.one_in(4)).then(|| Zone::new(ZONES[self.rng.usize(0..ZONES.len())]).expect("a zone"));
        let name = self.one_in(3).then(|| (!self.one_in(4)).then(|| format!("Name {}", self.rng.u32(0..3))));
        let metadata = self.one_in(4).then(|| {
            let text = ("tier".to_owned(), self.rng.u32(0..2).to_string());
            if self.rng.bool() { BTreeMap::from([text]) } else { BTreeMap::new() }
        });
        OrgCommand::Put(PutOrg { name, zone, metadata })
    }
}
