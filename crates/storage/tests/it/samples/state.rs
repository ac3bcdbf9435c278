//! Samples of state.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::{
    Account, AllowanceUse, Along, Amount, ApiKey, ApiKeyId, Burn, Burns, CatalogVersion, Counter,
    CounterExtras, CreatedMeter, CreditMarks, DayUse, EndedBy, Grant, Groups, Hold, HoldSum, KeyRecord,
    Limit, LimitScope, OnExpiry, OpenCounter, Org, Overdraft, Period, Periods, PlanChange, Plans, Rank,
    Ranks, Role, ScopePath, Shipment, ShipmentLine, Slots, Source, System, Tally, Timestamp, Trial, Unsent,
    UsedMeter, Window, WindowHours, Zone,
};

use super::values::{NO_STANDING, amount, at, burns, group, id, periods, quantity, sku, standing, texts};
use super::{Sample, bills, channels, every};

every! {
    roles: Role {
        Role::Ingest => Role::Ingest,
        Role::Read => Role::Read,
        Role::Manage => Role::Manage,
        Role::Admin => Role::Admin,
    }
}

every! {
    ends: EndedBy {
        EndedBy::Capture => EndedBy::Capture,
        EndedBy::Release => EndedBy::Release,
        EndedBy::Expiry => EndedBy::Expiry,
    }
}

pub(super) fn samples() -> Vec<Sample> {
    let mut samples = vec![
        Sample::value("org-full", org()),
        Sample::value("org-thresholds", Org { thresholds: Some(vec![50, 90, 100]), ..org() }),
        Sample::value("org-thresholds-only", Org { thresholds: Some(Vec::new()), holds: None, ..org() }),
        Sample::value("org-latest", Org { latest_at: at(1_790_000_000, 123_456_000), ..org() }),
        Sample::value("org-least", Org::new(id("a"), Timestamp::UNIX_EPOCH)),
        Sample::value("account-full", account()),
        Sample::value("account-least", Account::default()),
        Sample::value("tally-full", tally()),
        Sample::value("tally-least", Tally::default()),
        Sample::value("counter-full", counter()),
        Sample::value("counter-least", Counter::default()),
        Sample::value("counter-rolling", rolling()),
        Sample::value("groups-full", groups()),
        Sample::value("groups-least", Groups::default()),
        Sample::value("bill-full", bills::full()),
        Sample::value("bill-least", bills::least()),
        Sample::value("unsent-full", unsent()),
        Sample::value("unsent-least", Unsent::default()),
        Sample::value("key-full", key_record()),
        Sample::value("key-least", least_key_record()),
        Sample::value("system-full", system()),
        Sample::value("system-least", System::default()),
        Sample::value("catalog-full", catalog("currency = \"EUR\"\n")),
        Sample::value("catalog-least", catalog("")),
        Sample::value("shipment-full", shipment()),
        Sample::value("shipment-least", Shipment { lines: Vec::new(), ..shipment() }),
    ];
    for role in roles() {
        samples.push(Sample::value(&format!("api-key-{}", role.name()), ApiKey { role, ..api_key() }));
    }
    let least = ApiKey { org: None, revoked_at: None, name: String::new(), ..api_key() };
    samples.push(Sample::value("api-key-least", least));
    samples
}

pub(super) fn trial() -> Trial {
    Trial {
        started_at: at(1_794_000_000, 0),
        ends_at: at(1_795_209_600, 0),
        ending_noticed: true,
        ended_noticed: false,
    }
}

pub(super) fn grant() -> Grant {
    Grant {
        entry: 300,
        key: Some(id("top-up-1")),
        amount: amount("250"),
        burned: amount("17.5"),
        corrected: amount("12.5"),
        closed: true,
        priority: 50,
        effective_at: at(1_794_000_000, 0),
        expires_at: Some(at(1_825_536_000, 0)),
        reason: Some("ordered by phone".to_owned()),
    }
}

pub(super) fn least_grant() -> Grant {
    Grant {
        entry: 1,
        key: None,
        amount: amount("1"),
        burned: Amount::ZERO,
        corrected: Amount::ZERO,
        closed: false,
        priority: 0,
        effective_at: Timestamp::UNIX_EPOCH,
        expires_at: None,
        reason: None,
    }
}

pub(super) fn api_key() -> ApiKey {
    let mut hash = [0; 32];
    hash.iter_mut().zip(200..).for_each(|(byte, value)| *byte = value);
    ApiKey {
        id: ApiKeyId("1f2e3d4c".to_owned()),
        name: "billing job".to_owned(),
        hash,
        role: Role::Manage,
        org: Some(id("acme")),
        created_at: at(1_794_000_000, 1),
        revoked_at: Some(at(1_795_000_000, 2)),
    }
}

pub(super) fn shipment() -> Shipment {
    let line = |org, amount| ShipmentLine { org: id(org), sku: sku("vm", "hour"), amount };
    Shipment {
        number: 9,
        id: id("5f0c1a-9"),
        day: 20_775,
        at: at(1_795_000_000, 3),
        lines: vec![line("acme", amount("12")), line("zeta", amount("-0.5"))],
    }
}

fn org() -> Org {
    let change = |number, plan: Option<&str>, at_once, called_off| PlanChange {
        number,
        plan: plan.map(id),
        since: at(1_790_000_000 + i64::from(number), 0),
        at_once,
        called_off,
    };
    let limit = |scope| Limit { meter: id("reports"), scope, window: Window::Day, amount: amount("20") };
    Org {
        id: id("acme"),
        name: Some("Acme GmbH & Söhne".to_owned()),
        zone: Zone::new("Europe/Berlin").expect("a zone"),
        metadata: texts(&[("crm", "4711")]),
        plans: Plans::from_changes(vec![
            change(1, Some("pro"), true, false),
            change(2, Some("max"), false, true),
            change(3, None, false, false),
        ]),
        bills: 3,
        billed_until: Some(24_321),
        trial: Some(trial()),
        holds: Some(Arc::new([hold()].into_iter().collect())),
        limits: [LimitScope::Org, LimitScope::EachUser, LimitScope::User(id("ada"))].map(limit).into(),
        meters: Arc::from([
            UsedMeter { id: id("reports"), adds_up: true },
            UsedMeter { id: id("seats"), adds_up: false },
        ]),
        settled: 9,
        version: 1_234,
        created_at: at(1_780_000_000, 999_999_999),
        latest_at: at(1_780_000_000, 999_999_999),
        thresholds: None,
    }
}

/// With everything that is optional, but for its end.
pub(super) fn hold() -> Hold {
    Hold {
        path: None,
        number: 900,
        key: id("call-7"),
        fingerprint: 0x1234_5678_9ABC_DEF0,
        parent: Some(899),
        user: Some(id("ada")),
        meter: id("reports"),
        quantity: quantity("12.5"),
        overrun: amount("2"),
        on_expiry: OnExpiry::Charge,
        properties: texts(&[("model", "large")]),
        made_at: at(1_794_999_999, 5),
        counts_at: at(1_794_999_000, 5),
        periods: periods().into(),
        expires_at: at(1_795_000_599, 5),
        captured: amount("3"),
        overran: amount("0.5"),
        carved: amount("1"),
        reserve: [Burn { source: Source::Grant(300), amount: amount("8.5") }].into(),
        end: None,
    }
}

/// A path, and counters of the first of its names, and of all of them.
pub(super) fn along() -> Along {
    let hours = WindowHours::new(5).expect("hours");
    let rolling = Period { window: Window::Rolling(hours), number: 5_980_000 };
    let counted = [(1, Period::month(24_322)), (3, Period::day(20_756)), (3, rolling)];
    let path = ScopePath::new("research/größe 7/run-42").expect("a path");
    Along { path, counted: counted.into_iter().collect() }
}

pub(super) fn hold_sum() -> HoldSum {
    HoldSum { by: EndedBy::Expiry, captured: amount("3"), overran: amount("0.5"), carved: amount("1") }
}

/// With nothing that is optional.
pub(super) fn least_hold() -> Hold {
    Hold {
        path: None,
        number: 1,
        key: id("k"),
        fingerprint: 0,
        parent: None,
        user: None,
        meter: id("m"),
        quantity: quantity("0.000000001"),
        overrun: Amount::ZERO,
        on_expiry: OnExpiry::Release,
        properties: BTreeMap::new(),
        made_at: Timestamp::UNIX_EPOCH,
        counts_at: Timestamp::UNIX_EPOCH,
        periods: Periods::new(),
        expires_at: Timestamp::UNIX_EPOCH,
        captured: Amount::ZERO,
        overran: Amount::ZERO,
        carved: Amount::ZERO,
        reserve: Burns::new(),
        end: None,
    }
}

fn account() -> Account {
    let marks = |month| CreditMarks {
        month,
        percent: 80,
        percent_of: amount("1000"),
        reached_of: amount("900"),
        on_track_of: amount("800"),
        denied: month.is_some(),
    };
    Account {
        allowances: vec![
            AllowanceUse { segment: 398_491_648, burned: amount("3") },
            AllowanceUse { segment: 398_491_651, burned: amount("7.5") },
        ],
        trial_burned: amount("88"),
        grants: vec![grant(), least_grant()],
        overdrafts: vec![
            Overdraft { entry: 900, owed: amount("2.25"), settled: burns() },
            Overdraft { entry: 901, owed: Amount::ZERO, settled: Vec::new() },
        ],
        debt_since: Some(at(1_795_000_000, 4)),
        first_day: Some(20_700),
        days: vec![
            DayUse { day: 20_774, amount: amount("1") },
            DayUse { day: 20_775, amount: amount("0.5") },
        ],
        marks: vec![marks(None), marks(Some(24_322))],
        tally: tally(),
    }
}

fn tally() -> Tally {
    periods().into_iter().map(|period| OpenCounter { period, counter: counter() }).collect()
}

fn counter() -> Counter {
    let rank = |by, entry| Rank { by, entry, value: amount("41.5") };
    let ranks = Ranks::from_parts(vec![rank(1_795_000_000_123_456_789, 12), rank(i128::MIN, 7)], 70_000);
    let ranks = Some(Arc::new(ranks));
    let extras = CounterExtras { overage: amount("-1"), reached_of: amount("40"), ranks, slots: None };
    Counter::from_parts(amount("41.5"), extras)
}

fn rolling() -> Counter {
    let slots = vec![(-1, amount("0.5")), (99_650, amount("2")), (99_710, amount("39"))];
    let slots = Slots::from_parts(slots).map(Arc::new);
    let extras = CounterExtras { overage: Amount::ZERO, reached_of: amount("40"), ranks: None, slots };
    Counter::from_parts(amount("41.5"), extras)
}

fn groups() -> Groups {
    [(group(&[]), Counter::default()), (group(&[("model", "large"), ("region", "eu")]), counter())]
        .into_iter()
        .collect()
}

fn unsent() -> Unsent {
    [(sku("a:b", "GB"), amount("-0.5")), (sku("vm", "hour"), amount("12"))].into_iter().collect()
}

fn key_record() -> KeyRecord {
    KeyRecord {
        entry: 1_234,
        fingerprint: 0x1234_5678_9ABC_DEF0,
        at: at(1_795_000_000, 123_456_789),
        standing: standing(),
        reversed_by: Some(1_235),
    }
}

fn least_key_record() -> KeyRecord {
    KeyRecord {
        entry: 1,
        fingerprint: 0,
        at: Timestamp::UNIX_EPOCH,
        standing: NO_STANDING,
        reversed_by: None,
    }
}

fn system() -> System {
    System {
        version: 30,
        catalog: 7,
        catalog_since: at(1_790_000_000, 1),
        shipments: 10,
        shipped: 9,
        admin_keys: 2,
        created_meters: vec![
            CreatedMeter { id: id("vm:hour"), at: at(1_791_000_000, 0), sink: Some(sku("vm", "hour")) },
            CreatedMeter { id: id("calls"), at: at(1_791_000_001, 0), sink: None },
        ],
        channels: vec![channels::channel_id("1f2e3d4c")],
        delivery: Some(channels::claim()),
    }
}

fn catalog(text: &str) -> CatalogVersion {
    CatalogVersion::new(7, at(1_790_000_000, 1), text.to_owned())
}
