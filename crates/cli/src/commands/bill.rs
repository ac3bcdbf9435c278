//! Bills: show, close; what another catalogue would change.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use tollgate_api::{BillReply, BillStatus, OrgPage, WhatIfReply};
use ureq::http::Method;

use super::Session;
use crate::client::{Route, Sent};
use crate::failure::Failure;
use crate::table::{Field, pairs, parts, rows, time};

/// `tollgate bill`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BillArgs {
    #[command(subcommand)]
    command: Option<BillCommand>,
    /// The organisation.
    #[arg(required = true)]
    org: Option<String>,
    /// The month, such as 2026-11; the current one unless given.
    #[arg(long)]
    month: Option<String>,
}

/// `tollgate bill …`
#[derive(Debug, Subcommand)]
enum BillCommand {
    /// Close the bill of a month that is over: from then on it never changes.
    Close {
        /// The organisation.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        org: Option<String>,
        /// The month, such as 2026-10.
        #[arg(long)]
        month: String,
        /// Of every organisation that had a plan in it.
        #[arg(long)]
        all: bool,
    },
}

/// `tollgate whatif`
#[derive(Debug, Args)]
pub(crate) struct WhatIfArgs {
    /// The other catalogue.
    #[arg(long, value_name = "FILE")]
    catalog: PathBuf,
    /// The month whose usage is rated, such as 2026-10.
    #[arg(long)]
    month: String,
}

/// Runs `tollgate bill`.
pub(crate) fn bill(session: &mut Session, args: &BillArgs) -> Result<(), Failure> {
    match (&args.command, &args.org) {
        (Some(BillCommand::Close { org: Some(org), month, .. }), _) => {
            session.show(Method::POST, &close_route(org), &Sent::Json(json!({ "month": month })), bill_text)
        }
        (Some(BillCommand::Close { org: None, month, .. }), _) => close_all(session, month),
        (None, org) => {
            let org = org.as_deref().unwrap_or_default();
            let route = Route::v1(&["orgs", org, "bill"]).with("month", args.month.as_deref());
            session.show(Method::GET, &route, &Sent::Nothing, bill_text)
        }
    }
}

fn close_route(org: &str) -> Route {
    Route::v1(&["orgs", org, "bill", "close"])
}

/// Closes the month of all organisations, one after the other; those without a plan in it are passed over.
fn close_all(session: &mut Session, month: &str) -> Result<(), Failure> {
    let mut cursor: Option<String> = None;
    let (mut closed, mut passed_over) = (0_u64, 0_u64);
    loop {
        let route = Route::v1(&["orgs"]).with("limit", Some("1000")).with("cursor", cursor.as_deref());
        let text = session.ask(Method::GET, &route, &Sent::Nothing)?;
        let page: OrgPage = serde_json::from_str(&text).map_err(|error| Failure::Other(error.to_string()))?;
        for item in &page.orgs {
            let sent = Sent::Json(json!({ "month": month }));
            let reply = session.client.exchange(Method::POST, &close_route(&item.org), &sent)?;
            match reply.status {
                200 => closed += 1,
                404 => passed_over += 1,
                _ => return Err(session.client.problem(&reply)),
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let reply = json!({ "month": month, "closed": closed, "without_plan": passed_over }).to_string();
    session.output.reply(&reply, |_: &serde_json::Value| {
        format!("{month}: {closed} bills are closed; {passed_over} organisations had no plan\n")
    })
}

/// Runs `tollgate whatif`.
pub(crate) fn what_if(session: &mut Session, args: &WhatIfArgs) -> Result<(), Failure> {
    let catalog = super::catalog::read(&args.catalog)?;
    let sent = Sent::Json(json!({ "catalog": catalog, "month": args.month }));
    session.show(Method::POST, &Route::v1(&["whatif"]), &sent, what_if_text)
}

fn bill_text(bill: &BillReply) -> String {
    let mut about = vec![("org", Field::from(&bill.org)), ("month", (&bill.month).into())];
    match bill.status {
        BillStatus::Estimate => about.push(("status", "estimate".into())),
        BillStatus::Closed => about.push(("status", "closed".into())),
    }
    if let Some(number) = bill.number {
        about.push(("number", u64::from(number).into()));
    }
    if let Some(at) = &bill.closed_at {
        about.push(("closed at", time(at)));
    }
    about.push(("prices", format!("{}, catalogue version {}", bill.plan, bill.catalog).into()));
    let lines = bill.lines.iter().map(|line| {
        let quantity = if line.meter.is_some() { line.quantity.into() } else { Field::Number(String::new()) };
        vec![
            Field::from(&line.description),
            quantity,
            Field::Number(line.amount.clone()),
            (&line.arithmetic).into(),
        ]
    });
    let adjustments = bill.adjustments.iter().map(|item| {
        let how = format!("now {} − billed {} (bill {})", item.now, item.billed, item.bill);
        let none = Field::Number(String::new());
        vec![Field::from(&item.description), none, Field::Number(item.amount.clone()), how.into()]
    });
    let unpriced = bill.unpriced.iter().map(|item| {
        let values: Vec<String> =
            item.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        vec![Field::from(&item.meter), values.join(" ").into(), item.quantity.into()]
    });
    let currency = bill.currency.to_lowercase();
    let headings = ["line", "quantity", currency.as_str(), "calculation"];
    let mut all = vec![pairs(about), rows(&headings, lines.chain(adjustments).collect(), "nothing is owed")];
    if !bill.unpriced.is_empty() {
        all.push(rows(&["under no price", "properties", "quantity"], unpriced.collect(), ""));
    }
    all.push(format!("total  {} {}\n", bill.total, bill.currency));
    parts(all)
}

fn what_if_text(reply: &WhatIfReply) -> String {
    let or_dash = |text: &Option<String>| Field::Number(text.clone().unwrap_or_else(|| "-".to_owned()));
    let items = reply.items.iter().map(|item| {
        let problem = item.problem.clone().unwrap_or_default();
        let [now, then, difference] = [&item.now, &item.then, &item.difference].map(or_dash);
        vec![Field::from(&item.org), now, then, difference, problem.into()]
    });
    let totals = reply.totals.iter().map(|total| {
        let number = |text: &String| Field::Number(text.clone());
        vec![(&total.currency).into(), number(&total.now), number(&total.then), number(&total.difference)]
    });
    parts(vec![
        rows(
            &["org", "now", "then", "difference", ""],
            items.collect(),
            "no organisation would owe anything else",
        ),
        rows(
            &["total", "now", "then", "difference"],
            totals.collect(),
            "no organisation has a plan with prices",
        ),
    ])
}
