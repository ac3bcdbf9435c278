//! The schema: made once, whoever comes first; and what people find in it.

use std::sync::Arc;
use std::thread;

use tollgate_backends::postgres::{PostgresOptions, PostgresStore};
use tollgate_domain::catalog::Portion;
use tollgate_domain::{
    Adjustment, Amount, Bill, BillLine, Currency, EntryKind, Exact, MeterId, Money, OrgId, Period, PlanId,
    PriceRef, Rated, Segment, Share, Zone,
};
use tollgate_storage::conformance::append_using;
use tollgate_storage::{Append, Appended, EntryChange, Store, StoreErrorKind};

use super::{next_schema, open, server};
use crate::support::{org, run};

fn refused(url: &str) -> (StoreErrorKind, String) {
    let error = PostgresStore::open(PostgresOptions::from_url(url).expect("a URL")).expect_err("refused");
    (error.kind(), error.to_string())
}

#[test]
fn many_open_a_new_store_at_once_and_one_makes_it() {
    let schema = next_schema();
    thread::scope(|scope| {
        let openers: Vec<_> = (0..6).map(|_| scope.spawn(|| drop(open(&schema).expect("opens")))).collect();
        openers.into_iter().for_each(|opener| opener.join().expect("no opener failed"));
    });
    let made = server().query(&format!("SELECT number, name FROM {schema}.migrations")).expect("migrations");
    assert_eq!(made, "1|ledgers\n2|views");
}

#[test]
fn what_would_not_keep_the_promises_is_refused() {
    let (schema, url) = (next_schema(), server().url());
    let (kind, text) = refused(&format!("{url}?schema={schema}&migrate=off"));
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(text.contains("tollgate migrate"), "{text}");
    let (kind, text) =
        refused(&format!("{url}?options=-c%20default_transaction_isolation%3Dserializable&schema={schema}"));
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(text.contains("read committed"), "{text}");
    drop(open(&schema).expect("opens"));
    let as_it_is = PostgresOptions::from_url(&format!("{url}?schema={schema}&migrate=off")).expect("a URL");
    drop(PostgresStore::open(as_it_is).expect("it is up to date"));
    let newer = format!("INSERT INTO {schema}.migrations (number, name) VALUES (3, 'to come')");
    server().query(&newer).expect("a migration");
    let (kind, text) = refused(&format!("{url}?schema={schema}"));
    assert_eq!(kind, StoreErrorKind::Format);
    assert!(text.contains("a newer one made it"), "{text}");
    let (kind, text) = refused("postgres://nobody:hush@127.0.0.1:1/none?patience=1");
    assert_eq!(kind, StoreErrorKind::Unavailable);
    assert!(!text.contains("hush"), "{text}");
}

#[test]
fn entries_are_readable_for_people() {
    let schema = next_schema();
    let store = open(&schema).expect("opens");
    run(store.append(vec![append_using(&org("acme"), 1, 0, ["first", "second"])])).expect("appends");
    let statement = format!(
        "SELECT org, number, kind, meter, user_id, quantity, key FROM {schema}.entries ORDER BY number"
    );
    let rows = server().query(&statement).expect("rows");
    assert_eq!(rows, "acme|1|used|reports|ann|1|first\nacme|2|used|reports|ann|1|second");
}

/// The closed bill of a month with a line and an adjustment, and a name that the database cannot keep.
fn month_closed(number: u32, month: &str) -> Bill {
    let month = Period::parse_month(month).expect("a month");
    let usd = Currency::new("USD").expect("a currency");
    let money = |minor| Money { currency: usd, minor };
    let (meter, plan) = (MeterId::new("reports").expect("an id"), PlanId::new("pro").expect("an id"));
    let price = PriceRef { catalog: 7, plan: plan.clone(), number: 1 };
    let (from, until) = Zone::UTC.bounds(month);
    let whole = Amount::from_whole;
    let line = BillLine {
        description: "Reports".to_owned(),
        price,
        from,
        until,
        fees: Share::WHOLE,
        meter: Some(meter),
        properties: [("region".to_owned(), "eu".to_owned())].into(),
        portion: Portion::All,
        quantity: whole(12),
        included: whole(2),
        billable: whole(10),
        model: "per_unit".to_owned(),
        parts: Vec::new(),
        subtotal: Exact::ZERO,
        discount_percent: Amount::ZERO,
        discounted: Exact::ZERO,
        bound: None,
        exact: Exact::ZERO,
        amount: money(1_000),
        arithmetic: "12 reports − 2 included".to_owned(),
    };
    let segment = Segment {
        number: 1,
        plan: Some(plan),
        catalog: 7,
        from,
        until,
        days: Share::WHOLE,
        fees: Share::WHOLE,
    };
    let before = Period::month(month.number - 1);
    let (billed, now, amount) = (money(500), money(450), money(-50));
    Bill {
        number: Some(number),
        closed_at: until,
        name: Some("Acme\0 & \\u0000 Söhne".to_owned()),
        zone: Zone::UTC,
        from,
        until,
        rated: Rated {
            month,
            segments: vec![segment],
            lines: vec![line],
            total: money(1_000),
            included: Vec::new(),
            unpriced: Vec::new(),
        },
        adjustments: vec![Adjustment { month: before, bill: number, billed, now, amount }],
        total: money(950),
    }
}

fn closing(org: &OrgId, number: u64, bill: Bill) -> Append {
    let mut append = append_using(org, 1, number - 1, ["closes"]);
    if let [EntryChange::Org(entry)] = append.entries.as_mut_slice() {
        entry.kind = EntryKind::BillClosed(Arc::new(bill));
    }
    append
}

#[test]
fn closed_bills_are_rows() {
    let schema = next_schema();
    let store = open(&schema).expect("opens");
    let append = closing(&org("acme"), 1, month_closed(4, "2026-10"));
    run(store.append(vec![append.clone()])).expect("appends");
    // What lost a race leaves no bill.
    let lost = run(store.append(vec![append])).expect("answers");
    assert_eq!(lost.answers, [Appended::Conflict]);
    let read = |statement: &str| {
        server().query(&statement.replace("FROM ", &format!("FROM {schema}."))).expect("rows")
    };
    let bills = "SELECT org, number, entry, month, closed_at AT TIME ZONE 'UTC', time_zone, name, plan, catalog, currency, total FROM bills";
    assert_eq!(
        read(bills),
        "acme|4|1|2026-10-01|2026-11-01 00:00:00|UTC|Acme\u{fffd} & \\u0000 Söhne|pro|7|USD|9.50"
    );
    let lines = "SELECT bill, line, kind, plan, adjusted_month, meter, properties ->> 'region', quantity, included, billable, amount FROM bill_lines ORDER BY line";
    assert_eq!(read(lines), "4|1|usage|pro||reports|eu|12|2|10|10.00\n4|2|adjustment||2026-09-01||||||-0.50");
}
