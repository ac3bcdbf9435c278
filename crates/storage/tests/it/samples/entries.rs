//! Samples of entries, as lines of the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::{
    Actor, Amount, ApiKeyId, BudgetStage, Burns, Captured, Counting, EndedBy, Entry, EntryKind,
    GatewayBudget, HeldEntry, Hold, HoldEndedEntry, HoldSum, LimitPath, LimitScope, NewMeter, Notice,
    NoticeKind, Period, Periods, PersonId, Quantity, SystemEntry, SystemEntryKind, Timestamp, ToppedUpEntry,
    UsedEntry, VoidedEntry, Window, Zone,
};
use tollgate_storage::codec::{Line, StoredNotice};

use super::values::{
    NO_STANDING, amount, at, burns, each_with, group, id, money, periods, quantity, sku, standing, texts,
    windows,
};
use super::{Sample, bills, channels, every, state};

every! {
    actors: Actor {
        Actor::Local => Actor::Local,
        Actor::Configured => Actor::Configured,
        Actor::Key(_) => Actor::Key(ApiKeyId("1f2e3d4c".to_owned())),
        Actor::Person(_) => Actor::Person(PersonId::named("ann@example.com").expect("a name")),
        Actor::Closing => Actor::Closing,
        Actor::Shipper => Actor::Shipper,
        Actor::System => Actor::System,
    }
}

every! {
    countings: Counting {
        Counting::Sum => Counting::Sum,
        Counting::Max => Counting::Max,
        Counting::Last { .. } => Counting::Last { at: at(-1, -999_999_999) },
        Counting::Unique { .. } => Counting::Unique { value: Some(Arc::from("host-7")) },
    }
}

every! {
    limit_scopes: LimitScope {
        LimitScope::Org => LimitScope::Org,
        LimitScope::EachUser => LimitScope::EachUser,
        LimitScope::User(_) => LimitScope::User(id("ada")),
        LimitScope::Path(_) => LimitScope::Path(LimitPath::new("research/*").expect("a path")),
    }
}

every! {
    notice_kinds: NoticeKind {
        NoticeKind::ThresholdCrossed { .. } => NoticeKind::ThresholdCrossed {
            percent: 80,
            used: amount("800"),
            limit: amount("1000"),
        },
        NoticeKind::OnTrackToRunOut { .. } => NoticeKind::OnTrackToRunOut {
            used: amount("500"),
            projected: amount("1200.5"),
            limit: amount("1000"),
            day: 20_780,
        },
        NoticeKind::LimitReached { .. } => NoticeKind::LimitReached {
            used: amount("1000"),
            limit: amount("1000"),
            credit: true,
        },
        NoticeKind::TrialEnding { .. } => NoticeKind::TrialEnding {
            ends_at: at(1_795_000_000, 0),
            remaining: amount("12"),
        },
        NoticeKind::TrialEnded { .. } => NoticeKind::TrialEnded { used: amount("88") },
        NoticeKind::FirstDenial { .. } => NoticeKind::FirstDenial { reason: "credit_used_up".to_owned() },
        NoticeKind::TopUpGranted { .. } => NoticeKind::TopUpGranted {
            amount: amount("250"),
            expires_at: Some(at(1_800_000_000, 1)),
            plan: Some(id("pro")),
        },
        NoticeKind::BillClosed { .. } => NoticeKind::BillClosed { number: 3, total: money("EUR", 122_856) },
        NoticeKind::GatewayBudget(_) => gateway_budget(BudgetStage::Reached, Some(amount("12.5"))),
    }
}

every! {
    stages: BudgetStage {
        BudgetStage::Nearly => BudgetStage::Nearly,
        BudgetStage::Soft => BudgetStage::Soft,
        BudgetStage::Reached => BudgetStage::Reached,
        BudgetStage::Projected => BudgetStage::Projected,
    }
}

fn gateway_budget(stage: BudgetStage, projected: Option<Amount>) -> NoticeKind {
    NoticeKind::GatewayBudget(Box::new(GatewayBudget {
        gateway: "litellm".to_owned(),
        whose: "team research".to_owned(),
        stage,
        spent: amount("10.25"),
        limit: amount("10"),
        projected,
    }))
}

every! {
    /// With everything that is optional.
    entry_kinds: EntryKind {
        EntryKind::Used(_) => EntryKind::Used(Box::new(used(Counting::Sum))),
        EntryKind::Refused { .. } => EntryKind::Refused {
            user: Some(id("ada")),
            path: None,
            meter: id("reports"),
            quantity: quantity("2.5"),
            reason: "limit_reached".to_owned(),
        },
        EntryKind::Reversed { .. } => EntryKind::Reversed { entry: 7, used: Box::new(used(Counting::Max)) },
        EntryKind::Put { .. } => EntryKind::Put {
            name: Some("Acme GmbH & Söhne".to_owned()),
            zone: Zone::new("Europe/Berlin").expect("a zone"),
            metadata: texts(&[("crm", "4711"), ("tier", "gold")]),
        },
        EntryKind::PlanSet { .. } => EntryKind::PlanSet {
            plan: Some(id("pro")),
            since: at(1_795_000_000, 123_456_789),
            at_once: true,
            trial: Some(state::trial()),
        },
        EntryKind::PlanCalledOff => EntryKind::PlanCalledOff,
        EntryKind::LimitSet { .. } => EntryKind::LimitSet {
            meter: id("reports"),
            scope: LimitScope::Org,
            window: Window::Lifetime,
            amount: Some(amount("5000")),
        },
        EntryKind::ThresholdsSet { .. } => EntryKind::ThresholdsSet { thresholds: Some(vec![50, 90, 100]) },
        EntryKind::ToppedUp(_) => EntryKind::ToppedUp(Box::new(ToppedUpEntry {
            meter: id("reports"),
            fingerprint: u64::MAX,
            grant: state::grant(),
            metadata: texts(&[("invoice", "2026-17")]),
            standing: standing(),
        })),
        EntryKind::Voided(_) => EntryKind::Voided(Box::new(VoidedEntry {
            meter: id("reports"),
            key: Some(id("void-1")),
            fingerprint: 1,
            grants: vec![(6, amount("12.5")), (300, amount("1"))],
            closes: Some(300),
            reason: Some("paid back".to_owned()),
            standing: standing(),
        })),
        EntryKind::BillClosed(_) => EntryKind::BillClosed(Arc::new(bills::full())),
        EntryKind::Shipped { .. } => EntryKind::Shipped {
            shipment: 9,
            day: 20_775,
            lines: vec![(sku("vm", "hour"), amount("12")), (sku("a:b", "GB"), amount("-0.5"))],
        },
        EntryKind::Held(_) => EntryKind::Held(Box::new(HeldEntry {
            hold: Arc::new(state::hold()),
            standing: standing(),
        })),
        EntryKind::BudgetTold { .. } => EntryKind::BudgetTold { key: id("litellm:1f2e3d4c") },
        EntryKind::HoldEnded(_) => EntryKind::HoldEnded(Box::new(HoldEndedEntry { path: None,
            hold: 900,
            key: id("call-7"),
            fingerprint: u64::MAX,
            user: Some(id("ada")),
            meter: id("reports"),
            amount: amount("2.5"),
            ends: state::hold_sum(),
            standing: standing(),
        })),
    }
}

every! {
    /// With as little as may be; those that may lack nothing are not here again.
    system_entry_kinds: SystemEntryKind {
        SystemEntryKind::CatalogApplied { .. } => SystemEntryKind::CatalogApplied {
            version: 7,
            text: "currency = \"EUR\"\n".to_owned(),
        },
        SystemEntryKind::MetersCreated(_) => SystemEntryKind::MetersCreated(vec![
            NewMeter { id: id("vm:hour"), sink: Some(sku("vm", "hour")) },
            NewMeter { id: id("calls"), sink: None },
        ]),
        SystemEntryKind::ApiKeyMade(_) => SystemEntryKind::ApiKeyMade(state::api_key()),
        SystemEntryKind::ApiKeyRevoked(_) => SystemEntryKind::ApiKeyRevoked(ApiKeyId("1f2e3d4c".to_owned())),
        SystemEntryKind::ShipmentMade(_) => SystemEntryKind::ShipmentMade(Arc::new(state::shipment())),
        SystemEntryKind::ShipmentSent(_) => SystemEntryKind::ShipmentSent(9),
        SystemEntryKind::ChannelChanged(_) => channels::changed(),
        SystemEntryKind::Delivered { .. } => channels::delivered(),
        SystemEntryKind::DeliveryClaimed(_) => SystemEntryKind::DeliveryClaimed(channels::claim()),
    }
}

/// The kinds with optional parts, without them.
fn least_kinds() -> Vec<EntryKind> {
    let meter = || id("m");
    let grant = state::least_grant();
    vec![
        EntryKind::Used(Box::new(least_used())),
        EntryKind::Refused {
            user: None,
            path: None,
            meter: meter(),
            quantity: Quantity::ONE,
            reason: String::new(),
        },
        EntryKind::Put { name: None, zone: Zone::UTC, metadata: BTreeMap::new() },
        EntryKind::PlanSet { plan: None, since: Timestamp::UNIX_EPOCH, at_once: false, trial: None },
        EntryKind::LimitSet {
            meter: meter(),
            scope: LimitScope::EachUser,
            window: Window::Minute,
            amount: None,
        },
        EntryKind::ThresholdsSet { thresholds: None },
        EntryKind::ToppedUp(Box::new(ToppedUpEntry {
            meter: meter(),
            fingerprint: 0,
            grant,
            metadata: BTreeMap::new(),
            standing: NO_STANDING,
        })),
        EntryKind::Voided(Box::new(VoidedEntry {
            meter: meter(),
            key: None,
            fingerprint: 0,
            grants: Vec::new(),
            closes: None,
            reason: None,
            standing: NO_STANDING,
        })),
        EntryKind::BillClosed(Arc::new(bills::least())),
        EntryKind::Shipped { shipment: 0, day: -1, lines: Vec::new() },
        EntryKind::Held(Box::new(HeldEntry { hold: Arc::new(state::least_hold()), standing: NO_STANDING })),
        EntryKind::HoldEnded(Box::new(HoldEndedEntry {
            path: None,
            hold: 1,
            key: id("k"),
            fingerprint: 0,
            user: None,
            meter: meter(),
            amount: amount("0"),
            ends: HoldSum {
                by: EndedBy::Release,
                captured: amount("0"),
                overran: amount("0"),
                carved: amount("0"),
            },
            standing: NO_STANDING,
        })),
    ]
}

pub(super) fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for kind in entry_kinds() {
        samples.push(line(&format!("{}-full", kind.name()), full(kind)));
    }
    for kind in least_kinds() {
        samples.push(line(&format!("{}-least", kind.name()), least(kind)));
    }
    for actor in actors() {
        let name = match &actor {
            Actor::Key(_) => "actor-key".to_owned(),
            Actor::Person(_) => "actor-person".to_owned(),
            other => format!("actor-{other}"),
        };
        samples.push(line(&name, Entry { actor, ..least(EntryKind::PlanCalledOff) }));
    }
    for by in state::ends() {
        let captured = Captured { hold: 1, ends: Some(HoldSum { by, ..state::hold_sum() }) };
        let used = UsedEntry { captured: Some(captured), ..least_used() };
        samples.push(line(&format!("captured-{}", by.name()), least(EntryKind::Used(Box::new(used)))));
    }
    for (counting, name) in each_with(countings(), ["sum", "max", "last", "unique"]) {
        let used = UsedEntry { counting, ..least_used() };
        samples.push(line(&format!("counting-{name}"), least(EntryKind::Used(Box::new(used)))));
    }
    let used = UsedEntry { counting: Counting::Unique { value: None }, ..least_used() };
    samples.push(line("counting-unique-none", least(EntryKind::Used(Box::new(used)))));
    for (scope, name) in each_with(limit_scopes(), ["org", "each-user", "user", "each-path"]) {
        let kind =
            EntryKind::LimitSet { meter: id("m"), scope, window: Window::Month, amount: Some(amount("1")) };
        samples.push(line(&format!("limit-scope-{name}"), least(kind)));
    }
    for (scope, name) in [("research/agent-7", "path"), ("*", "each-first-path")] {
        let scope = LimitScope::Path(LimitPath::new(scope).expect("a path"));
        let kind = EntryKind::LimitSet { meter: id("m"), scope, window: Window::Month, amount: None };
        samples.push(line(&format!("limit-scope-{name}"), least(kind)));
    }
    samples.extend(at_paths());
    for window in windows().split_off(6) {
        let name = window.name();
        let (meter, scope, amount) = (id("m"), LimitScope::Org, Some(amount("1")));
        let by_window = EntryKind::LimitSet { meter, scope, window, amount };
        samples.push(line(&format!("limit-window-{name}"), least(by_window)));
        let periods = Periods::from_slice(&[Period { window, number: 29_900_000 }]);
        let used = UsedEntry { periods, ..least_used() };
        samples.push(line(&format!("used-window-{name}"), least(EntryKind::Used(Box::new(used)))));
    }
    let names = [
        "catalog_applied",
        "meters_created",
        "api_key_made",
        "api_key_revoked",
        "shipment_made",
        "shipment_sent",
        "channel_changed",
        "delivered",
        "delivery_claimed",
    ];
    let named = each_with(system_entry_kinds(), names).map(|(kind, name)| (name.to_owned(), kind));
    for (name, kind) in named.chain(channels::samples().1) {
        let entry = SystemEntry { number: 5, at: at(1_795_000_000, 1), actor: Actor::System, kind };
        samples.push(Sample::line(&format!("system-{name}"), Line::System(entry)));
    }
    samples.push(Sample::value("entry", full(EntryKind::PlanCalledOff)));
    for notice in notices() {
        let name = format!("notice-{}", notice.kind.name());
        let stored = StoredNotice { org: id("acme"), entry: 1_234, at: at(1_795_000_000, 1), notice };
        samples.push(Sample::value(&name, stored));
    }
    let notice = Notice {
        path: None,
        meter: None,
        user: None,
        period: None,
        kind: NoticeKind::TopUpGranted { amount: amount("0"), expires_at: None, plan: None },
    };
    let at = Timestamp::UNIX_EPOCH;
    for stage in stages() {
        let notice = Notice { kind: gateway_budget(stage, None), ..notice.clone() };
        let stored = StoredNotice { org: id("a"), entry: 1, at, notice };
        samples.push(Sample::value(&format!("notice-gateway_budget-{}", stage.name()), stored));
    }
    samples.push(Sample::value("notice-least", StoredNotice { org: id("a"), entry: 1, at, notice }));
    samples
}

/// What names a path, with a user and without.
fn at_paths() -> Vec<Sample> {
    let path = || state::along().path;
    let mut samples = Vec::new();
    for (user, with) in [(Some(id("ada")), ""), (None, "-without-user")] {
        let used = UsedEntry { user: user.clone(), path: Some(Box::new(state::along())), ..least_used() };
        let hold = Hold { user: user.clone(), path: used.path.clone(), ..state::least_hold() };
        let ended = HoldEndedEntry {
            hold: 1,
            key: id("k"),
            fingerprint: 0,
            user: user.clone(),
            path: Some(path()),
            meter: id("m"),
            amount: amount("0"),
            ends: state::hold_sum(),
            standing: NO_STANDING,
        };
        let kinds = [
            EntryKind::Used(Box::new(used.clone())),
            EntryKind::Reversed { entry: 7, used: Box::new(used) },
            EntryKind::Refused {
                user: user.clone(),
                path: Some(Box::new(path())),
                meter: id("m"),
                quantity: Quantity::ONE,
                reason: "path_limit_reached".to_owned(),
            },
            EntryKind::Held(Box::new(HeldEntry { hold: Arc::new(hold), standing: NO_STANDING })),
            EntryKind::HoldEnded(Box::new(ended)),
        ];
        for kind in kinds {
            samples.push(line(&format!("{}-at-path{with}", kind.name()), least(kind)));
        }
        let kind = NoticeKind::LimitReached { used: amount("5"), limit: amount("5"), credit: false };
        let notice = Notice { meter: Some(id("m")), user, path: Some(path()), period: None, kind };
        let notice = StoredNotice { org: id("acme"), entry: 1, at: Timestamp::UNIX_EPOCH, notice };
        samples.push(Sample::value(&format!("notice-at-path{with}"), notice));
    }
    samples
}

fn line(name: &str, entry: Entry) -> Sample {
    Sample::line(name, Line::Org(id("acme"), Box::new(entry)))
}

fn full(kind: EntryKind) -> Entry {
    Entry {
        number: 1_234,
        at: at(1_795_000_000, 123_456_789),
        actor: Actor::Key(ApiKeyId("1f2e3d4c".to_owned())),
        catalog: 7,
        kind,
        settled: burns(),
        // One of each kind of the first files; others have files of their own.
        notices: notices().into_iter().take(8).collect(),
    }
}

fn least(kind: EntryKind) -> Entry {
    Entry {
        number: 1,
        at: Timestamp::UNIX_EPOCH,
        actor: Actor::Local,
        catalog: 0,
        kind,
        settled: Vec::new(),
        notices: Vec::new(),
    }
}

fn notices() -> Vec<Notice> {
    let of = |kind| Notice {
        path: None,
        meter: Some(id("reports")),
        user: Some(id("ada")),
        period: Some(Period::month(24_322)),
        kind,
    };
    notice_kinds().into_iter().map(of).collect()
}

fn used(counting: Counting) -> UsedEntry {
    UsedEntry {
        user: Some(id("ada")),
        path: None,
        meter: id("reports"),
        quantity: quantity("999999999999999.999999999"),
        key: id("0190b5c2-7d1e-7abc-9def-0123456789ab"),
        fingerprint: 0x1234_5678_9ABC_DEF0,
        occurred_at: Some(at(1_794_999_999, 5)),
        recorded: true,
        counting,
        properties: texts(&[("model", "large"), ("größe", "XL")]),
        burns: burns().into(),
        periods: periods().into(),
        group: Some(group(&[("model", "large")])),
        sink: Some(sku("vm", "hour")),
        captured: Some(Captured { hold: 900, ends: Some(state::hold_sum()) }),
        standing: standing(),
    }
}

fn least_used() -> UsedEntry {
    UsedEntry {
        user: None,
        path: None,
        meter: id("m"),
        quantity: quantity("0.000000001"),
        key: id("k"),
        fingerprint: 0,
        occurred_at: None,
        recorded: false,
        counting: Counting::Sum,
        properties: BTreeMap::new(),
        burns: Burns::new(),
        periods: Periods::new(),
        group: None,
        sink: None,
        captured: None,
        standing: NO_STANDING,
    }
}
