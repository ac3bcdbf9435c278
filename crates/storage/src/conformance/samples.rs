//! Made-up ids, entries and notices: each field at least once with something in it, each number once at its edge.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::catalog::{Aggregation, Meter, UnknownProperties};
use tollgate_domain::{
    Adjustment, Along, Among, Amount, ApiKey, ApiKeyId, Attempt, AttemptResult, Bill, Burn, Captured,
    Catalog, ChangeChannel, ChannelChange, ChannelId, ChannelSetup, Counting, Currency, EndedBy, EntryKind,
    Filter, Grant, Group, HeldEntry, Hold, HoldEndedEntry, HoldSum, KeyId, KeySpace, LimitScope, MeterId,
    MeterUsage, Money, Notice, NoticeKind, NoticeRef, OnExpiry, OrgId, Period, Periods, PlanId, Quantity,
    Rated, ReadTo, Role, Round, ScopePath, Seen, Segment, Share, Shipment, ShipmentId, ShipmentLine, Sku,
    Source, Standing, Subject, SystemEntryKind, Target, Terms, Timestamp, ToppedUpEntry, Trial, UsageGroup,
    UsageKey, UsedEntry, UserId, VoidedEntry, Window, Zone, rate,
};

use super::world::Line;

/// Ids that differ, though a careless store takes some for one another or sorts them wrongly: prefixes, what sorts
/// around separators, case, composed and decomposed accents, what only looks like nothing, what sorts differently in
/// UTF-16, numbers, patterns, quotes.
pub(super) const IDS: [&str; 46] = [
    "a",
    "a ",
    " a",
    "a!",
    "a\"",
    "a#",
    "a%",
    "a'",
    "a*",
    "a+",
    "a,",
    "a-",
    "a.",
    "a/",
    "a:",
    "a;",
    "a=",
    "a?",
    "a@",
    "a\\",
    "a_",
    "a|",
    "a~",
    "a\u{a0}",
    "a\u{200b}",
    "aa",
    "ab",
    "a/b",
    "a:b",
    "a|b",
    "b",
    "A",
    "Z",
    "z",
    "é",
    "e\u{301}",
    "\u{fffd}",
    "\u{ff61}",
    "\u{10348}",
    "😀",
    "0",
    "1",
    "10",
    "9",
    "null",
    "{a}",
];

pub(super) fn org(text: &str) -> OrgId {
    OrgId::new(text).expect("an id")
}

pub(super) fn meter(text: &str) -> MeterId {
    MeterId::new(text).expect("an id")
}

pub(super) fn user(text: &str) -> UserId {
    UserId::new(text).expect("an id")
}

pub(super) fn key(text: &str) -> UsageKey {
    UsageKey::new(text).expect("an id")
}

pub(super) fn key_id(of: &str, space: KeySpace, name: &str) -> KeyId {
    KeyId { org: org(of), space, key: key(name) }
}

/// The longest id that starts with a text: 128 characters of four bytes.
pub(super) fn longest(start: &str) -> String {
    let rest = "😀".repeat(tollgate_domain::limits::ID_CHARS_MAX - start.chars().count());
    format!("{start}{rest}")
}

/// Moments a nanosecond apart, that cross a second now and then.
pub(super) fn moment(ticks: u32) -> Timestamp {
    let start = 1_793_404_799_999_999_900_i128;
    Timestamp::from_nanosecond(start + i128::from(ticks)).expect("a time")
}

pub(super) fn period(window: Window, number: i32) -> Period {
    Period { window, number }
}

/// A day's number.
pub(super) const DAY: i32 = 20_756;

/// A month's number.
pub(super) const MONTH: i32 = 2026 * 12 + 9;

pub(super) fn periods() -> Periods {
    let periods = [
        period(Window::Minute, 29_890_079),
        period(Window::Hour, 498_167),
        period(Window::Day, DAY),
        period(Window::Week, 2_965),
        period(Window::Month, MONTH),
        period(Window::Lifetime, 0),
    ];
    periods.into_iter().collect()
}

fn amount(text: &str) -> Amount {
    Amount::parse(text).expect("an amount")
}

/// Larger than 64 bits hold.
fn huge() -> Amount {
    Amount::from_billionths(123_456_789_012_345_678_901_234_567_890)
}

pub(super) fn standing(used: i64) -> Standing {
    Standing {
        granted: Amount::from_whole(1_000),
        used: Amount::from_whole(used),
        held: Amount::ZERO,
        remaining: Some(Amount::from_whole(1_000 - used)),
        user_used: None,
    }
}

pub(super) fn path(text: &str) -> ScopePath {
    ScopePath::new(text).expect("a path")
}

/// A path, and the counters along it that a usage moves.
pub(super) fn along() -> Along {
    let outer = periods().into_iter().map(|period| (1, period));
    let inner = [(3, period(Window::Day, DAY)), (3, period(Window::Lifetime, 0))];
    Along { path: path("a/b|c/a"), counted: outer.chain(inner).collect() }
}

/// A usage of one, in a month.
pub(super) fn used_once(of: &str, by: Option<&str>, with: &str) -> UsedEntry {
    UsedEntry {
        user: by.map(user),
        path: None,
        meter: meter(of),
        quantity: Quantity::ONE,
        key: key(with),
        fingerprint: 7,
        occurred_at: None,
        recorded: false,
        counting: Counting::Sum,
        properties: BTreeMap::new(),
        burns: [Burn { source: Source::Allowance(MONTH), amount: Amount::from_whole(1) }].into(),
        periods: [period(Window::Month, MONTH)].into_iter().collect(),
        group: None,
        sink: None,
        captured: None,
        standing: standing(1),
    }
}

/// A usage of a meter that counts a value once.
pub(super) fn used_by_value(by: &str, with: &str, value: &str) -> UsedEntry {
    let group = Some(group(&[("model", "a\0b=c")]));
    let counting = Counting::Unique { value: Some(Arc::from(value)) };
    UsedEntry {
        meter: meter("users"),
        path: Some(Box::new(along())),
        periods: periods(),
        counting,
        group,
        ..used_once("users", Some(by), with)
    }
}

/// A value that was seen.
pub(super) fn seen(among: Among) -> Arc<Seen> {
    Arc::new(Seen { among, value: Arc::from("ann\0 \"1\"\n") })
}

pub(super) fn used(entry: UsedEntry) -> EntryKind {
    EntryKind::Used(Box::new(entry))
}

/// Values of properties, as a meter that declares them groups usage by them.
pub(super) fn group(values: &[(&str, &str)]) -> Group {
    let meter = Meter {
        id: meter("tokens"),
        name: "Tokens".to_owned(),
        unit: "token".to_owned(),
        aggregation: Aggregation::Sum,
        properties: values.iter().map(|(name, _)| (*name).to_owned()).collect(),
        windows: Vec::new(),
        unknown_properties: UnknownProperties::Keep,
        sink: None,
    };
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Group::of(&meter, &values.collect())
}

/// A closed bill of a month, with every part that a bill may have.
pub(super) fn bill_closed(month: i32, number: u32) -> EntryKind {
    let text = r#"
        meters = [{ id = "tokens", name = "Tokens", unit = "token", properties = ["model"] }]
        [[plans]]
        id = "team"
        name = "Team"
        [[plans.prices]]
        model = "flat"
        flat_fee = 49
        [[plans.prices]]
        meter = "tokens"
        where = { model = "a" }
        model = "graduated"
        tiers = [{ up_to = 10, unit_price = "0.1", flat_fee = 1 }, { unit_price = "0.0123" }]
        discount_percent = "12.5"
    "#;
    let catalog = Catalog::from_toml(text).expect("a catalog");
    let plan = &catalog.plans[0];
    let of = |values: &[(&str, &str)], whole| UsageGroup {
        properties: group(values).to_map(),
        quantity: Amount::from_whole(whole),
        overage: Amount::ZERO,
    };
    let usage = [MeterUsage { meter: meter("tokens"), groups: vec![of(&[("model", "a")], 77), of(&[], 3)] }];
    let month = period(Window::Month, month);
    let fees = Share { days: 12, of: 30 };
    let terms = Terms { fees, from: Some(moment(1)), ..Terms::of_month(&catalog, 3, plan, month) };
    let part = rate(&terms, &usage).expect("a rated month");
    assert!(part.lines.len() == 2 && part.unpriced.len() == 1, "{part:?}");
    let segment = Segment {
        number: 2,
        plan: Some(plan.id.clone()),
        catalog: 3,
        from: Some(moment(1)),
        until: None,
        days: fees,
        fees,
    };
    let rated = Rated {
        month,
        segments: vec![segment.clone(), Segment { number: 3, plan: None, ..segment }],
        lines: part.lines,
        total: part.total,
        included: part.unpriced.clone(),
        unpriced: part.unpriced,
    };
    let money = |minor| Money { minor, ..rated.total };
    let adjustment = Adjustment {
        month: period(Window::Month, month.number - 1),
        bill: number.saturating_sub(1),
        billed: money(1_000),
        now: money(1),
        amount: money(-999),
    };
    EntryKind::BillClosed(Arc::new(Bill {
        number: Some(number),
        closed_at: Some(moment(5)),
        name: Some("Zürich \"Ltd\"".to_owned()),
        zone: Zone::new("Europe/Berlin").expect("a zone"),
        from: Some(moment(0)),
        until: None,
        total: money(rated.total.minor - 999),
        rated,
        adjustments: vec![adjustment],
    }))
}

/// A usage with everything.
pub(super) fn used_fully(by: &str, with: &str) -> UsedEntry {
    let text = |text: &str| text.to_owned();
    UsedEntry {
        user: Some(user(by)),
        path: Some(Box::new(along())),
        meter: meter("tokens"),
        quantity: Quantity::parse("999999999999999.999999999").expect("a quantity"),
        key: key(with),
        fingerprint: u64::MAX,
        occurred_at: Some("1970-01-01T00:00:00.000000001Z".parse().expect("a time")),
        recorded: false,
        counting: Counting::Last { at: moment(2) },
        properties: BTreeMap::from([
            (text("model"), text("gpt \"4\"\n'; drop table orgs; --")),
            (text(""), text("")),
            (text("région"), text("Zürich 😀\t\\")),
        ]),
        burns: [
            Burn { source: Source::Allowance(MONTH), amount: amount("0.000000001") },
            Burn { source: Source::Trial, amount: amount("1.5") },
            Burn { source: Source::Grant(1), amount: huge() },
            Burn { source: Source::Overdraft, amount: amount("-12.25") },
            Burn { source: Source::Overage, amount: amount("3") },
        ]
        .into_iter()
        .collect(),
        periods: periods(),
        group: Some(group(&[("model", "gpt \"4\"\n'; drop table orgs; --"), ("région", "Zürich 😀\t\\")])),
        sink: None,
        captured: None,
        standing: Standing {
            granted: huge(),
            used: amount("0.1"),
            held: amount("0.2"),
            remaining: Some(amount("-0.000000001")),
            user_used: Some(amount("2.5")),
        },
    }
}

pub(super) fn put(name: &str) -> EntryKind {
    EntryKind::Put {
        name: Some(name.to_owned()),
        zone: Zone::new("Europe/Berlin").expect("a zone"),
        metadata: BTreeMap::from([("crm".to_owned(), "0815".to_owned())]),
    }
}

pub(super) fn plan_set(plan: &str) -> EntryKind {
    EntryKind::PlanSet {
        plan: Some(PlanId::new(plan).expect("an id")),
        since: moment(3),
        at_once: true,
        trial: Some(Trial {
            started_at: moment(3),
            ends_at: moment(1_209_600),
            ending_noticed: false,
            ended_noticed: false,
        }),
    }
}

pub(super) fn topped_up(of: &str, with: Option<&str>, entry: u64) -> EntryKind {
    EntryKind::ToppedUp(Box::new(ToppedUpEntry {
        meter: meter(of),
        fingerprint: 1 << 63,
        grant: Grant {
            entry,
            key: with.map(key),
            amount: huge(),
            burned: Amount::ZERO,
            corrected: Amount::ZERO,
            closed: true,
            priority: u8::MAX,
            effective_at: moment(0),
            expires_at: Some(moment(4_000_000)),
            reason: Some("a credit, \"agreed\" on the phone".to_owned()),
        },
        metadata: BTreeMap::new(),
        standing: Standing { remaining: None, ..standing(0) },
    }))
}

pub(super) fn voided(of: &str, with: Option<&str>, top_up: u64) -> EntryKind {
    EntryKind::Voided(Box::new(VoidedEntry {
        meter: meter(of),
        key: with.map(key),
        fingerprint: 1,
        grants: vec![(top_up, amount("0.000000001"))],
        closes: with.map(|_| top_up),
        reason: with.map(str::to_owned),
        standing: standing(2),
    }))
}

pub(super) fn limit_set(of: &str, scope: LimitScope, whole: Option<i64>) -> EntryKind {
    EntryKind::LimitSet {
        meter: meter(of),
        scope,
        window: Window::Day,
        amount: whole.map(Amount::from_whole),
    }
}

pub(super) fn refused(of: &str, by: Option<&str>) -> EntryKind {
    EntryKind::Refused {
        user: by.map(user),
        path: None,
        meter: meter(of),
        quantity: Quantity::parse("2.5").expect("a quantity"),
        reason: "org_limit_reached".to_owned(),
    }
}

/// Entries of every kind, for an org that has none yet.
pub(super) fn lines_of_every_kind() -> Vec<Line> {
    lines_of_every_kind_after(0)
}

/// The same for an org that has so many: what one of them takes back is another of them.
pub(super) fn lines_of_every_kind_after(version: u64) -> Vec<Line> {
    let usage = used_fully("ann", "use-1");
    let mut kinds = vec![
        topped_up("tokens", Some("top-up-1"), 1),
        topped_up("tokens", None, 2),
        used(usage.clone()),
        used(used_once("reports", None, "use-2")),
        used(used_by_value("ann", "use-3", "ann\0 \"1\"\n")),
        used(UsedEntry { counting: Counting::Max, ..used_once("peaks", Some("ann"), "use-4") }),
        refused("reports", Some("bob")),
        refused("reports", None),
        EntryKind::Reversed { entry: version + 3, used: Box::new(usage) },
        put("Ümläut & Söhne"),
        EntryKind::Put { name: None, zone: Zone::UTC, metadata: BTreeMap::new() },
        plan_set("enterprise"),
        limit_set("tokens", LimitScope::Org, Some(50)),
        limit_set("tokens", LimitScope::EachUser, Some(5)),
        limit_set("tokens", LimitScope::User(user("ann")), Some(1)),
        limit_set("tokens", LimitScope::User(user("bob")), None),
        EntryKind::ThresholdsSet { thresholds: Some(vec![50, 90]) },
        bill_closed(MONTH, 1),
        bill_closed(MONTH - 2, 2),
        used(UsedEntry {
            periods: periods(),
            sink: Some(sku("hour")),
            ..used_once("vm:hour", None, "use-3")
        }),
        EntryKind::Shipped { shipment: 1, day: DAY, lines: vec![(sku("hour"), huge())] },
        voided("tokens", Some("void-1"), 2),
        voided("tokens", None, 1),
        EntryKind::BudgetTold { key: key("told-1") },
    ];
    let plan = Some(PlanId::new("lite").expect("an id"));
    kinds.push(EntryKind::PlanSet { plan, since: moment(9_000_000), at_once: false, trial: None });
    kinds.push(EntryKind::PlanCalledOff);
    kinds.push(EntryKind::PlanSet { plan: None, since: moment(10), at_once: true, trial: None });
    kinds.extend(holds_after(version + u64::try_from(kinds.len()).expect("a few")));
    kinds.into_iter().map(Line::from).collect()
}

/// Holds that stay, that end, and that are captured in part, of an org with so many entries.
fn holds_after(version: u64) -> Vec<EntryKind> {
    let sum = |by| HoldSum { by, captured: amount("1"), overran: Amount::ZERO, carved: amount("0.25") };
    let captured = |hold, ends| Some(Captured { hold, ends });
    let part =
        UsedEntry { captured: captured(version + 1, None), ..used_once("tokens", Some("ann"), "part-1") };
    let last = UsedEntry {
        captured: captured(version + 2, Some(sum(EndedBy::Capture))),
        ..used_once("tokens", None, &format!("hold-{}", version + 2))
    };
    let ended = HoldEndedEntry {
        path: None,
        hold: version + 3,
        key: key(&format!("hold-{}", version + 3)),
        fingerprint: 3,
        user: None,
        meter: meter("tokens"),
        amount: amount("4"),
        ends: sum(EndedBy::Expiry),
        standing: standing(0),
    };
    vec![
        held(version + 1, None),
        held(version + 2, Some(version + 1)),
        held(version + 3, None),
        used(part),
        used(last),
        EntryKind::HoldEnded(Box::new(ended)),
    ]
}

/// A hold of four, taken out of another if one is named.
fn held(number: u64, parent: Option<u64>) -> EntryKind {
    let hold = Hold {
        path: None,
        number,
        key: key(&format!("hold-{number}")),
        fingerprint: 3,
        parent,
        user: Some(user("ann")),
        meter: meter("tokens"),
        quantity: Quantity::parse("4").expect("a quantity"),
        overrun: amount("0.5"),
        on_expiry: OnExpiry::Charge,
        properties: BTreeMap::from([("model".to_owned(), "gpt \"4\"\n".to_owned())]),
        made_at: moment(4),
        counts_at: moment(3),
        periods: periods(),
        expires_at: moment(604),
        captured: Amount::ZERO,
        overran: Amount::ZERO,
        carved: Amount::ZERO,
        reserve: [Burn { source: Source::Grant(1), amount: amount("4") }].into(),
        end: None,
    };
    EntryKind::Held(Box::new(HeldEntry { hold: Arc::new(hold), standing: standing(4) }))
}

/// Notices of every kind.
pub(super) fn notices_of_every_kind() -> Vec<Notice> {
    let month = Some(period(Window::Month, MONTH));
    let (used, limit) = (huge(), amount("1000"));
    let notice = |about: Option<&str>, period, kind| Notice {
        path: None,
        meter: Some(meter("tokens")),
        user: about.map(user),
        period,
        kind,
    };
    vec![
        notice(None, month, NoticeKind::ThresholdCrossed { percent: 80, used, limit }),
        notice(
            None,
            month,
            NoticeKind::OnTrackToRunOut { used, projected: amount("2000.5"), limit, day: -20_757 },
        ),
        notice(None, month, NoticeKind::LimitReached { used, limit, credit: true }),
        notice(
            Some("ann"),
            Some(period(Window::Day, 20_756)),
            NoticeKind::LimitReached { used, limit, credit: false },
        ),
        notice(None, None, NoticeKind::TrialEnding { ends_at: moment(8), remaining: amount("0.5") }),
        notice(None, None, NoticeKind::TrialEnded { used }),
        notice(None, month, NoticeKind::FirstDenial { reason: "user_limit_reached".to_owned() }),
        top_up_notice("tokens"),
        Notice {
            path: None,
            meter: None,
            user: None,
            period: month,
            kind: NoticeKind::BillClosed {
                number: 7,
                total: Money { minor: -5, ..Money::zero(Currency::default()) },
            },
        },
        Notice {
            path: None,
            meter: None,
            user: None,
            period: None,
            kind: NoticeKind::TopUpGranted { amount: amount("0.000000001"), expires_at: None, plan: None },
        },
    ]
}

/// A line with notices, on the meter that they are about: a notice changes nothing that its entry does not.
pub(super) fn noticed(notices: Vec<Notice>) -> Line {
    Line { kind: refused("tokens", None), notices }
}

/// A notice that marks no record.
pub(super) fn top_up_notice(of: &str) -> Notice {
    let plan = Some(PlanId::new("basic").expect("an id"));
    Notice {
        path: None,
        meter: Some(meter(of)),
        user: None,
        period: None,
        kind: NoticeKind::TopUpGranted { amount: Amount::from_whole(3), expires_at: Some(moment(7)), plan },
    }
}

pub(super) fn sku(unit: &str) -> Sku {
    Sku { product: "vm".to_owned(), unit: unit.to_owned() }
}

/// A shipment of long names.
pub(super) fn shipment_made(number: u64) -> SystemEntryKind {
    let line = |of: &str, amount| ShipmentLine { org: org(of), sku: sku("größe"), amount };
    SystemEntryKind::ShipmentMade(Arc::new(Shipment {
        number,
        id: ShipmentId::new(&format!("ü{number}")).expect("an id"),
        day: DAY,
        at: moment(3),
        lines: vec![line("acmé", huge()), line("b", amount("-0.000000001"))],
    }))
}

pub(super) fn api_key(id: &str, role: Role, bound: Option<&str>) -> ApiKey {
    ApiKey {
        id: ApiKeyId(id.to_owned()),
        name: format!("the key {id}"),
        hash: std::array::from_fn(|place| u8::MAX - u8::try_from(place).unwrap_or(0)),
        role,
        org: bound.map(org),
        created_at: moment(1),
        revoked_at: None,
    }
}

/// A channel is made, changed or removed.
pub(super) fn channel_changed(id: &str, what: u8) -> SystemEntryKind {
    let setup = |name: &str| ChannelSetup {
        name: name.to_owned(),
        target: Target::Webhook { url: format!("https://hooks.example/{id}") },
        filter: Filter::default(),
        enabled: true,
        hours: None,
    };
    let change = match what {
        0 | 1 => ChannelChange::Make {
            setup: setup("made"),
            secret: Some(format!("whsec_{id}")),
            read: ReadTo::default(),
        },
        2 => ChannelChange::Set(setup("set")),
        _ => ChannelChange::Remove,
    };
    SystemEntryKind::ChannelChanged(Box::new(ChangeChannel { id: ChannelId(id.to_owned()), change }))
}

/// Some notices are read of a channel, and delivered.
pub(super) fn delivered(id: &str, count: usize) -> SystemEntryKind {
    let notices: Vec<NoticeRef> =
        (1..).take(count).map(|entry| NoticeRef { org: org("acmé"), entry, index: 0 }).collect();
    let attempt = |notice: &NoticeRef| Attempt {
        subject: Subject::Notice(notice.clone()),
        at: moment(2),
        result: AttemptResult::Delivered,
        status: Some(204),
        millis: 3,
        reply: String::new(),
    };
    let attempts = notices.iter().map(attempt).collect();
    let read = Some((ReadTo { cursor: Some(vec![7]), seen: 1, since: None }, notices));
    let round = Round { channel: ChannelId(id.to_owned()), round: 0, read, attempts, told: Vec::new() };
    SystemEntryKind::Delivered { round: Box::new(round), disabled: false }
}
