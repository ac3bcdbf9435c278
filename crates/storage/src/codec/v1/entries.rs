//! Entries of orgs and of the system, and their notices.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::{
    Actor, Along, Amount, ApiKey, ApiKeyId, Bill, BudgetStage, Burn, Burns, Captured, ChangeChannel,
    Counting, DeliveryClaim, EndedBy, Entry, EntryKind, GatewayBudget, Grant, Group, HeldEntry, Hold,
    HoldEndedEntry, HoldSum, LimitScope, MeterId, Money, NewMeter, Notice, NoticeKind, OrgId, Period,
    Periods, PersonId, PlanId, Quantity, Round, ScopePath, Shipment, Sku, Source, Standing, SystemEntry,
    SystemEntryKind, Timestamp, ToppedUpEntry, Trial, UsageKey, UsedEntry, VoidedEntry, Window, Zone,
};

use super::values::Who;
use crate::codec::StoredNotice;
use crate::codec::wire::{choices, fields};

fields! {
    Entry {
        number: u64,
        at: Timestamp,
        actor: Actor,
        catalog: u32,
        kind: EntryKind,
        settled: Vec<Burn>,
        notices: Vec<Notice>,
    }
    UsedEntry {
        user & path: Who<Box<Along>>,
        meter: MeterId,
        quantity: Quantity,
        key: UsageKey,
        fingerprint: u64,
        occurred_at: Option<Timestamp>,
        recorded: bool,
        counting: Counting,
        properties: BTreeMap<String, String>,
        burns: Burns,
        periods: Periods,
        group: Option<Group>,
        sink: Option<Sku>,
        captured: Option<Captured>,
        standing: Standing,
    }
    Captured {
        hold: u64,
        ends: Option<HoldSum>,
    }
    HoldSum {
        by: EndedBy,
        captured: Amount,
        overran: Amount,
        carved: Amount,
    }
    HeldEntry {
        hold: Arc<Hold>,
        standing: Standing,
    }
    HoldEndedEntry {
        hold: u64,
        key: UsageKey,
        fingerprint: u64,
        user & path: Who<ScopePath>,
        meter: MeterId,
        amount: Amount,
        ends: HoldSum,
        standing: Standing,
    }
    ToppedUpEntry {
        meter: MeterId,
        fingerprint: u64,
        grant: Grant,
        metadata: BTreeMap<String, String>,
        standing: Standing,
    }
    VoidedEntry {
        meter: MeterId,
        key: Option<UsageKey>,
        fingerprint: u64,
        grants: Vec<(u64, Amount)>,
        closes: Option<u64>,
        reason: Option<String>,
        standing: Standing,
    }
    Burn {
        source: Source,
        amount: Amount,
    }
    Standing {
        granted: Amount,
        used: Amount,
        held: Amount,
        remaining: Option<Amount>,
        user_used: Option<Amount>,
    }
    Notice {
        meter: Option<MeterId>,
        user & path: Who<ScopePath>,
        period: Option<Period>,
        kind: NoticeKind,
    }
    GatewayBudget {
        gateway: String,
        whose: String,
        stage: BudgetStage,
        spent: Amount,
        limit: Amount,
        projected: Option<Amount>,
    }
    StoredNotice {
        org: OrgId,
        entry: u64,
        at: Timestamp,
        notice: Notice,
    }
    SystemEntry {
        number: u64,
        at: Timestamp,
        actor: Actor,
        kind: SystemEntryKind,
    }
    NewMeter {
        id: MeterId,
        sink: Option<Sku>,
    }
}

choices! {
    EntryKind {
        0 = Used(used: Box<UsedEntry>),
        1 = Refused {
            user & path: Who<Box<ScopePath>>,
            meter: MeterId,
            quantity: Quantity,
            reason: String,
        },
        2 = Reversed {
            entry: u64,
            used: Box<UsedEntry>,
        },
        3 = Put {
            name: Option<String>,
            zone: Zone,
            metadata: BTreeMap<String, String>,
        },
        4 = PlanSet {
            plan: Option<PlanId>,
            since: Timestamp,
            at_once: bool,
            trial: Option<Trial>,
        },
        5 = PlanCalledOff,
        6 = LimitSet {
            meter: MeterId,
            scope: LimitScope,
            window: Window,
            amount: Option<Amount>,
        },
        7 = ToppedUp(topped_up: Box<ToppedUpEntry>),
        8 = Voided(voided: Box<VoidedEntry>),
        9 = BillClosed(bill: Arc<Bill>),
        10 = Shipped {
            shipment: u64,
            day: i32,
            lines: Vec<(Sku, Amount)>,
        },
        11 = Held(held: Box<HeldEntry>),
        12 = HoldEnded(ended: Box<HoldEndedEntry>),
        13 = ThresholdsSet { thresholds: Option<Vec<u8>> },
        14 = BudgetTold { key: UsageKey },
    }
    SystemEntryKind {
        0 = CatalogApplied {
            version: u32,
            text: String,
        },
        1 = MetersCreated(meters: Vec<NewMeter>),
        2 = ApiKeyMade(api_key: ApiKey),
        3 = ApiKeyRevoked(id: ApiKeyId),
        4 = ShipmentMade(shipment: Arc<Shipment>),
        5 = ShipmentSent(number: u64),
        6 = ChannelChanged(change: Box<ChangeChannel>),
        7 = Delivered {
            round: Box<Round>,
            disabled: bool,
        },
        8 = DeliveryClaimed(claim: DeliveryClaim),
    }
    Actor {
        0 = Local,
        1 = Configured,
        2 = Key(id: ApiKeyId),
        3 = Closing,
        4 = Shipper,
        5 = System,
        6 = Person(id: PersonId),
    }
    Counting {
        0 = Sum,
        1 = Max,
        2 = Last { at: Timestamp },
        3 = Unique { value: Option<Arc<str>> },
    }
    NoticeKind {
        0 = ThresholdCrossed {
            percent: u8,
            used: Amount,
            limit: Amount,
        },
        1 = OnTrackToRunOut {
            used: Amount,
            projected: Amount,
            limit: Amount,
            day: i32,
        },
        2 = LimitReached {
            used: Amount,
            limit: Amount,
            credit: bool,
        },
        3 = TrialEnding {
            ends_at: Timestamp,
            remaining: Amount,
        },
        4 = TrialEnded { used: Amount },
        5 = FirstDenial { reason: String },
        6 = TopUpGranted {
            amount: Amount,
            expires_at: Option<Timestamp>,
            plan: Option<PlanId>,
        },
        7 = BillClosed {
            number: u32,
            total: Money,
        },
        8 = GatewayBudget(budget: Box<GatewayBudget>),
    }
    BudgetStage {
        0 = Nearly,
        1 = Soft,
        2 = Reached,
        3 = Projected,
    }
}
