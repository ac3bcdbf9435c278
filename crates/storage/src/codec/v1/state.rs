//! The state derived from entries.

use std::collections::BTreeMap;
use std::sync::Arc;

use postcard::Result;
use tollgate_domain::{
    Account, AllowanceUse, Along, Amount, ApiKey, ApiKeyId, Burn, Burns, CatalogVersion, ChannelId, Counter,
    CounterExtras, CreatedMeter, CreditMarks, DayUse, DeliveryClaim, EndedBy, Grant, Group, Groups, Hold,
    HoldEnd, Holds, KeyRecord, Limit, LimitPath, LimitScope, MeterId, OnExpiry, OpenCounter, Org, OrgId,
    Overdraft, Period, Periods, PlanChange, PlanId, Plans, Quantity, Rank, Ranks, Role, Shipment, ShipmentId,
    ShipmentLine, Sku, Slots, Standing, System, Tally, Timestamp, Trial, Unsent, UsageKey, UsedMeter, UserId,
    Window,
};

use super::values::Who;
use crate::codec::wire::{In, Wire, choices, fields, invalid, put_items, put_len};

/// What an org may have besides: bits of a byte.
const HAS_HOLDS: u8 = 1;
const HAS_THRESHOLDS: u8 = 2;
const HAS_LATEST: u8 = 4;

/// What a counter may have besides: bits of a byte.
const HAS_RANKS: u8 = 1;
const HAS_SLOTS: u8 = 2;

fields! {
    Hold {
        number: u64,
        key: UsageKey,
        fingerprint: u64,
        parent: Option<u64>,
        user & path: Who<Box<Along>>,
        meter: MeterId,
        quantity: Quantity,
        overrun: Amount,
        on_expiry: OnExpiry,
        properties: BTreeMap<String, String>,
        made_at: Timestamp,
        counts_at: Timestamp,
        periods: Periods,
        expires_at: Timestamp,
        captured: Amount,
        overran: Amount,
        carved: Amount,
        reserve: Burns,
        end: Option<HoldEnd>,
    }
    HoldEnd {
        entry: u64,
        at: Timestamp,
        by: EndedBy,
    }
    UsedMeter {
        id: MeterId,
        adds_up: bool,
    }
    Trial {
        started_at: Timestamp,
        ends_at: Timestamp,
        ending_noticed: bool,
        ended_noticed: bool,
    }
    Limit {
        meter: MeterId,
        scope: LimitScope,
        window: Window,
        amount: Amount,
    }
    PlanChange {
        number: u32,
        plan: Option<PlanId>,
        since: Timestamp,
        at_once: bool,
        called_off: bool,
    }
    Account {
        allowances: Vec<AllowanceUse>,
        trial_burned: Amount,
        grants: Vec<Grant>,
        overdrafts: Vec<Overdraft>,
        debt_since: Option<Timestamp>,
        first_day: Option<i32>,
        days: Vec<DayUse>,
        marks: Vec<CreditMarks>,
        tally: Tally,
    }
    AllowanceUse {
        segment: i32,
        burned: Amount,
    }
    DayUse {
        day: i32,
        amount: Amount,
    }
    Grant {
        entry: u64,
        key: Option<UsageKey>,
        amount: Amount,
        burned: Amount,
        corrected: Amount,
        closed: bool,
        priority: u8,
        effective_at: Timestamp,
        expires_at: Option<Timestamp>,
        reason: Option<String>,
    }
    Overdraft {
        entry: u64,
        owed: Amount,
        settled: Vec<Burn>,
    }
    CreditMarks {
        month: Option<i32>,
        percent: u8,
        percent_of: Amount,
        reached_of: Amount,
        on_track_of: Amount,
        denied: bool,
    }
    OpenCounter {
        period: Period,
        counter: Counter,
    }
    Rank {
        by: i128,
        entry: u64,
        value: Amount,
    }
    KeyRecord {
        entry: u64,
        fingerprint: u64,
        at: Timestamp,
        standing: Standing,
        reversed_by: Option<u64>,
    }
    System {
        version: u64,
        catalog: u32,
        catalog_since: Timestamp,
        shipments: u64,
        shipped: u64,
        admin_keys: u32,
        created_meters: Vec<CreatedMeter>,
        channels: Vec<ChannelId>,
        delivery: Option<DeliveryClaim>,
    }
    CreatedMeter {
        id: MeterId,
        at: Timestamp,
        sink: Option<Sku>,
    }
    ApiKey {
        id: ApiKeyId,
        name: String,
        hash: [u8; 32],
        role: Role,
        org: Option<OrgId>,
        created_at: Timestamp,
        revoked_at: Option<Timestamp>,
    }
    Shipment {
        number: u64,
        id: ShipmentId,
        day: i32,
        at: Timestamp,
        lines: Vec<ShipmentLine>,
    }
    ShipmentLine {
        org: OrgId,
        sku: Sku,
        amount: Amount,
    }
}

choices! {
    LimitScope {
        0 = Org,
        1 = EachUser,
        2 = User(user: UserId),
        3 = Path(path: LimitPath),
    }
    OnExpiry {
        0 = Release,
        1 = Charge,
    }
    EndedBy {
        0 = Capture,
        1 = Release,
        2 = Expiry,
    }
    Role {
        0 = Ingest,
        1 = Read,
        2 = Manage,
        3 = Admin,
    }
}

/// Field by field, but for what few orgs have: one byte says which of it follows.
impl Wire for Org {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { id, name, zone, metadata, plans, bills, billed_until, trial, limits, .. } = self;
        let Self { holds, thresholds, meters, settled, version, created_at, latest_at, .. } = self;
        id.put(out);
        name.put(out);
        zone.put(out);
        metadata.put(out);
        plans.put(out);
        bills.put(out);
        billed_until.put(out);
        trial.put(out);
        limits.put(out);
        let has = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
        let latest_at = (latest_at != created_at).then_some(latest_at);
        let has = has(holds.is_some(), HAS_HOLDS)
            | has(thresholds.is_some(), HAS_THRESHOLDS)
            | has(latest_at.is_some(), HAS_LATEST);
        has.put(out);
        holds.iter().for_each(|holds| holds.put(out));
        thresholds.iter().for_each(|thresholds| thresholds.put(out));
        meters.put(out);
        settled.put(out);
        version.put(out);
        created_at.put(out);
        latest_at.iter().for_each(|latest_at| latest_at.put(out));
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        let mut org = Self::new(OrgId::take(from)?, Timestamp::UNIX_EPOCH);
        org.name = Wire::take(from)?;
        org.zone = Wire::take(from)?;
        org.metadata = Wire::take(from)?;
        org.plans = Wire::take(from)?;
        org.bills = Wire::take(from)?;
        org.billed_until = Wire::take(from)?;
        org.trial = Wire::take(from)?;
        org.limits = Wire::take(from)?;
        let has = u8::take(from)?;
        if has & !(HAS_HOLDS | HAS_THRESHOLDS | HAS_LATEST) != 0 {
            return Err(invalid());
        }
        if has & HAS_HOLDS != 0 {
            org.holds = Some(Wire::take(from)?);
        }
        if has & HAS_THRESHOLDS != 0 {
            org.thresholds = Some(Wire::take(from)?);
        }
        org.meters = Wire::take(from)?;
        org.settled = Wire::take(from)?;
        org.version = Wire::take(from)?;
        org.created_at = Wire::take(from)?;
        org.latest_at = if has & HAS_LATEST == 0 { org.created_at } else { Wire::take(from)? };
        Ok(org)
    }
}

/// The open holds.
impl Wire for Holds {
    fn put(&self, out: &mut Vec<u8>) {
        let open = self.iter();
        put_len(open.len(), out);
        open.for_each(|hold| hold.put(out));
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Self::from_open(Vec::take(from)?).ok_or_else(invalid)
    }
}

/// The changes, in the order they were made.
impl Wire for Plans {
    fn put(&self, out: &mut Vec<u8>) {
        put_items(self.changes(), out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Vec::take(from).map(Self::from_changes)
    }
}

/// The open counters.
impl Wire for Tally {
    fn put(&self, out: &mut Vec<u8>) {
        put_items(self.open(), out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Vec::take(from).map(Self::from_iter)
    }
}

/// The value, and what few hold besides.
impl Wire for Counter {
    fn put(&self, out: &mut Vec<u8>) {
        self.value.put(out);
        self.extras().put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Ok(Self::from_parts(Amount::take(from)?, CounterExtras::take(from)?))
    }
}

/// The amounts, and which of the lists there are: most have none, and none has both.
impl Wire for CounterExtras {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { overage, reached_of, ranks, slots } = self;
        overage.put(out);
        reached_of.put(out);
        let has = |has: bool, bit| if has { bit } else { 0 };
        (has(ranks.is_some(), HAS_RANKS) | has(slots.is_some(), HAS_SLOTS)).put(out);
        if let Some(ranks) = ranks {
            ranks.put(out);
        }
        if let Some(slots) = slots {
            put_items(slots.parts(), out);
        }
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        let (overage, reached_of, has) = (Amount::take(from)?, Amount::take(from)?, u8::take(from)?);
        if has & !(HAS_RANKS | HAS_SLOTS) != 0 {
            return Err(invalid());
        }
        let ranks = if has & HAS_RANKS == 0 { None } else { Some(Arc::take(from)?) };
        let slots = match has & HAS_SLOTS {
            0 => None,
            _ => Some(Arc::new(Slots::from_parts(Vec::take(from)?).ok_or_else(invalid)?)),
        };
        Ok(Self { overage, reached_of, ranks, slots })
    }
}

/// The kept usages, highest first, and how many rank below.
impl Wire for Ranks {
    fn put(&self, out: &mut Vec<u8>) {
        put_items(self.kept(), out);
        self.below().put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Ok(Self::from_parts(Vec::take(from)?, u64::take(from)?))
    }
}

/// The counters by group.
impl Wire for Groups {
    fn put(&self, out: &mut Vec<u8>) {
        let counters = self.iter();
        put_len(counters.len(), out);
        for (group, counter) in counters {
            group.put(out);
            counter.put(out);
        }
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Ok(Vec::<(Group, Counter)>::take(from)?.into_iter().collect())
    }
}

/// The amounts by SKU.
impl Wire for Unsent {
    fn put(&self, out: &mut Vec<u8>) {
        let amounts = self.iter();
        put_len(amounts.len(), out);
        for (sku, amount) in amounts {
            sku.put(out);
            amount.put(out);
        }
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Ok(Vec::<(Sku, Amount)>::take(from)?.into_iter().collect())
    }
}

/// The catalog's text; the catalog itself is parsed again.
impl Wire for CatalogVersion {
    fn put(&self, out: &mut Vec<u8>) {
        self.version.put(out);
        self.at.put(out);
        self.text.put(out);
    }

    fn take(from: &mut In<'_>) -> Result<Self> {
        Ok(Self::new(u32::take(from)?, Timestamp::take(from)?, String::take(from)?))
    }
}
