//! Samples of bills.

use std::collections::BTreeMap;

use tollgate_domain::catalog::Portion;
use tollgate_domain::{
    Adjustment, Amount, Bill, BillLine, Bound, Exact, Part, Period, PriceRef, Rated, Segment, Share,
    Unbilled, Zone,
};

use super::every;
use super::values::{amount, at, exact, id, money, texts};

every! {
    portions: Portion {
        Portion::All => Portion::All,
        Portion::Overage => Portion::Overage,
    }
}

every! {
    bounds: Bound {
        Bound::Minimum(_) => Bound::Minimum(amount("10")),
        Bound::Maximum(_) => Bound::Maximum(amount("99.5")),
    }
}

/// With everything that is optional, and lines of every form.
pub(super) fn full() -> Bill {
    let (from, until) = (Some(at(1_790_805_600, 0)), Some(at(1_793_484_000, 0)));
    let portions = portions().into_iter().map(|portion| line(portion, None));
    let bounds = bounds().into_iter().map(|bound| line(Portion::Overage, Some(bound)));
    let days = Share { days: 12, of: 31 };
    Bill {
        number: Some(3),
        closed_at: Some(at(1_793_570_401, 5_000_000)),
        name: Some("Acme GmbH & Söhne".to_owned()),
        zone: Zone::new("Europe/Berlin").expect("a zone"),
        from,
        until,
        rated: Rated {
            month: Period::month(24_322),
            segments: vec![
                Segment {
                    number: 0,
                    plan: None,
                    catalog: 1,
                    from: None,
                    until: from,
                    days,
                    fees: Share::WHOLE,
                },
                Segment { number: 2, plan: Some(id("pro")), catalog: 7, from, until, days, fees: days },
            ],
            lines: portions.chain(bounds).chain([least_line()]).collect(),
            total: money("EUR", 123_456),
            included: vec![unbilled("reports"), unbilled("seats")],
            unpriced: vec![unbilled("calls")],
        },
        adjustments: vec![Adjustment {
            month: Period::month(24_321),
            bill: 2,
            billed: money("EUR", 1_000),
            now: money("EUR", 400),
            amount: money("EUR", -600),
        }],
        total: money("EUR", 122_856),
    }
}

/// With nothing that is optional.
pub(super) fn least() -> Bill {
    Bill {
        number: None,
        closed_at: None,
        name: None,
        zone: Zone::UTC,
        from: None,
        until: None,
        rated: Rated {
            month: Period::month(-1),
            segments: Vec::new(),
            lines: Vec::new(),
            total: money("USD", 0),
            included: Vec::new(),
            unpriced: Vec::new(),
        },
        adjustments: Vec::new(),
        total: money("USD", 0),
    }
}

fn line(portion: Portion, bound: Option<Bound>) -> BillLine {
    let part = Part {
        from: amount("1000"),
        to: Some(amount("5000")),
        quantity: amount("200"),
        units: amount("2"),
        unit_price: amount("0.01"),
        flat_fee: amount("5"),
        amount: exact(5_020_000_000_000_000_000, 377_580),
    };
    BillLine {
        description: "Reports".to_owned(),
        price: PriceRef { catalog: 7, plan: id("pro"), number: 2 },
        from: Some(at(1_790_805_600, 0)),
        until: Some(at(1_793_484_000, 0)),
        fees: Share { days: 12, of: 31 },
        meter: Some(id("reports")),
        properties: texts(&[("model", "large"), ("region", "eu")]),
        portion,
        quantity: amount("1200"),
        included: amount("200"),
        billable: amount("1000"),
        model: "graduated".to_owned(),
        parts: vec![part, Part { to: None, ..part }, Part::default()],
        subtotal: exact(10_040_000_000_000_000_000, 1),
        discount_percent: amount("12.5"),
        discounted: exact(8_785_000_000_000_000_000, 2),
        bound,
        exact: exact(10_000_000_000_000_000_000, 0),
        amount: money("EUR", 1_000),
        arithmetic: "1,200 reports − 200 included = 1,000 × 0.01 EUR = 10.00 EUR".to_owned(),
    }
}

fn least_line() -> BillLine {
    BillLine {
        description: String::new(),
        price: PriceRef { catalog: 0, plan: id("p"), number: 0 },
        from: None,
        until: None,
        fees: Share::WHOLE,
        meter: None,
        properties: BTreeMap::new(),
        portion: Portion::All,
        quantity: Amount::ZERO,
        included: Amount::ZERO,
        billable: Amount::ZERO,
        model: String::new(),
        parts: Vec::new(),
        subtotal: Exact::ZERO,
        discount_percent: Amount::ZERO,
        discounted: Exact::ZERO,
        bound: None,
        exact: Exact::ZERO,
        amount: money("JPY", 0),
        arithmetic: String::new(),
    }
}

fn unbilled(meter: &str) -> Unbilled {
    let is_whole = meter == "seats";
    Unbilled {
        meter: id(meter),
        properties: if is_whole { BTreeMap::new() } else { texts(&[("model", "small")]) },
        quantity: amount("41.5"),
        from: (!is_whole).then(|| at(1_790_805_600, 0)),
        until: (!is_whole).then(|| at(1_793_484_000, 0)),
    }
}
