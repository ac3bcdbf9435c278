//! Bills as they were closed.

use std::collections::BTreeMap;

use tollgate_domain::catalog::Portion;
use tollgate_domain::{
    Adjustment, Amount, Bill, BillLine, Bound, Exact, MeterId, Money, Part, Period, PlanId, PriceRef, Rated,
    Segment, Share, Timestamp, Unbilled, Zone,
};

use crate::codec::wire::{choices, fields};

fields! {
    Bill {
        number: Option<u32>,
        closed_at: Option<Timestamp>,
        name: Option<String>,
        zone: Zone,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
        rated: Rated,
        adjustments: Vec<Adjustment>,
        total: Money,
    }
    Adjustment {
        month: Period,
        bill: u32,
        billed: Money,
        now: Money,
        amount: Money,
    }
    Rated {
        month: Period,
        segments: Vec<Segment>,
        lines: Vec<BillLine>,
        total: Money,
        included: Vec<Unbilled>,
        unpriced: Vec<Unbilled>,
    }
    Segment {
        number: u32,
        plan: Option<PlanId>,
        catalog: u32,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
        days: Share,
        fees: Share,
    }
    Share {
        days: u32,
        of: u32,
    }
    Unbilled {
        meter: MeterId,
        properties: BTreeMap<String, String>,
        quantity: Amount,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    }
    PriceRef {
        catalog: u32,
        plan: PlanId,
        number: u32,
    }
    BillLine {
        description: String,
        price: PriceRef,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
        fees: Share,
        meter: Option<MeterId>,
        properties: BTreeMap<String, String>,
        portion: Portion,
        quantity: Amount,
        included: Amount,
        billable: Amount,
        model: String,
        parts: Vec<Part>,
        subtotal: Exact,
        discount_percent: Amount,
        discounted: Exact,
        bound: Option<Bound>,
        exact: Exact,
        amount: Money,
        arithmetic: String,
    }
    Part {
        from: Amount,
        to: Option<Amount>,
        quantity: Amount,
        units: Amount,
        unit_price: Amount,
        flat_fee: Amount,
        amount: Exact,
    }
}

choices! {
    Portion {
        0 = All,
        1 = Overage,
    }
    Bound {
        0 = Minimum(amount: Amount),
        1 = Maximum(amount: Amount),
    }
}
