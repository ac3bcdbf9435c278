//! Bills: show, export, close; what another catalog would change.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tollgate_api::{BillFormat, BillPage, BillReply, BillStatus, WhatIfDenied, WhatIfReply, counted};
use ureq::http::Method;

use super::pages::more;
use super::{Paging, Session};
use crate::client::{Route, Sent};
use crate::failure::{Exit, Failure};
use crate::limits::REFUSALS_TOLD;
use crate::output::{read_reply, warn};
use crate::table::{Field, pairs, parts, printable, rows, time};

/// `tollgate bill`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BillArgs {
    #[command(subcommand)]
    command: Option<BillCommand>,
    /// The organization.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    org: Option<String>,
    /// The month, such as 2026-11 [default: the current month]
    #[arg(long)]
    month: Option<String>,
    /// Output format, instead of a table: CSV, a printable HTML page, or FOCUS 1.2 (the FinOps Open Cost and Usage
    /// Specification).
    #[arg(long)]
    format: Option<Format>,
    /// The bills of every organization that had a plan in the month.
    #[arg(long, requires = "month")]
    all: bool,
}

/// What a bill is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// CSV with a row for each line and adjustment.
    Csv,
    /// An HTML page, for one organization only.
    Html,
    /// FOCUS 1.2 as CSV.
    Focus,
}

impl Format {
    const fn text(self) -> &'static str {
        match self {
            Self::Csv => BillFormat::Csv.text(),
            Self::Html => BillFormat::Html.text(),
            Self::Focus => BillFormat::Focus.text(),
        }
    }
}

/// `tollgate bill …`
#[derive(Debug, Subcommand)]
enum BillCommand {
    /// List the bills of an organization, newest first.
    List {
        /// The organization.
        org: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Close the bill of a past month; a closed bill never changes.
    Close {
        /// The organization.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        org: Option<String>,
        /// The month, such as 2026-10.
        #[arg(long)]
        month: String,
        /// Close the month for every organization that had a plan in it.
        #[arg(long)]
        all: bool,
    },
}

/// `tollgate whatif`
#[derive(Debug, Args)]
pub(crate) struct WhatIfArgs {
    /// The other catalog, a TOML file.
    #[arg(long, value_name = "FILE")]
    catalog: PathBuf,
    /// The month whose usage is rated and checked again, such as 2026-10.
    #[arg(long)]
    month: String,
}

/// Runs `tollgate bill`.
pub(crate) fn bill(session: &mut Session, args: &BillArgs) -> Result<(), Failure> {
    match (&args.command, &args.org) {
        (Some(BillCommand::List { org, paging }), _) => {
            let page = session.list(&Route::v1(&["orgs", org, "bills"]), paging, "bills")?;
            session.show_list(&page, "bills", list_text)
        }
        (Some(BillCommand::Close { org: Some(org), month, .. }), _) => {
            session.show(Method::POST, &close_route(org), &Sent::Json(json!({ "month": month })), bill_text)
        }
        (Some(BillCommand::Close { org: None, month, .. }), _) => close_all(session, month),
        (None, Some(org)) => {
            let route = bill_route(org, args);
            if args.format.is_none() {
                return session.show(Method::GET, &route, &Sent::Nothing, bill_text);
            }
            let text = session.ask(Method::GET, &route, &Sent::Nothing)?;
            session.output.text(&text)
        }
        (None, None) if args.format.is_none() => show_all(session, args),
        (None, None) => export_all(session, args),
    }
}

fn bill_route(org: &str, args: &BillArgs) -> Route {
    let format = args.format.map(Format::text);
    Route::v1(&["orgs", org, "bill"]).with("month", args.month.as_deref()).with("format", format)
}

/// Shows the bills of all organizations, a row each; those without a plan in the month are passed over.
fn show_all(session: &mut Session, args: &BillArgs) -> Result<(), Failure> {
    let mut bills: Vec<Box<RawValue>> = Vec::new();
    session.each_org(|session, org| {
        let reply = session.client.exchange(Method::GET, &bill_route(org, args), &Sent::Nothing)?;
        match reply.status {
            200 => bills.push(read_reply(&reply.text)?),
            404 => {}
            _ => return Err(session.client.problem(&reply)),
        }
        Ok(())
    })?;
    let page = json!({ "month": args.month, "bills": bills }).to_string();
    session.show_list(&page, "bills", |page: &AllBills| {
        let lines = page.bills.iter().map(|bill| {
            let total = Field::Number(bill.total.clone());
            vec![
                (&bill.org).into(),
                status(bill.status).into(),
                number(bill.number),
                total,
                (&bill.currency).into(),
            ]
        });
        rows(&["org", "status", "number", "total", "currency"], lines.collect(), "no organization had a plan")
    })
}

/// The bills of a month, as far as their table shows them.
#[derive(Deserialize)]
struct AllBills {
    bills: Vec<BillOfMonth>,
}

#[derive(Deserialize)]
struct BillOfMonth {
    org: String,
    status: BillStatus,
    number: Option<u32>,
    total: String,
    currency: String,
}

fn list_text(page: &BillPage) -> String {
    let lines = page.bills.iter().map(|bill| {
        let total = Field::Number(bill.total.clone().unwrap_or_else(|| "-".to_owned()));
        let problem = bill.problem.clone().unwrap_or_default();
        let status = status(bill.status).into();
        vec![
            (&bill.month).into(),
            status,
            number(bill.number),
            total,
            (&bill.currency).into(),
            problem.into(),
        ]
    });
    let table = rows(&["month", "status", "number", "total", "currency", ""], lines.collect(), "no bills");
    parts(vec![table, more(page.next.as_ref())])
}

const fn status(status: BillStatus) -> &'static str {
    match status {
        BillStatus::Estimate => "estimate",
        BillStatus::Closed => "closed",
    }
}

/// The number of a bill; an estimate has none.
fn number(number: Option<u32>) -> Field {
    Field::Number(number.map_or_else(|| "-".to_owned(), |number| number.to_string()))
}

/// Writes the bills of all organizations as one table; those without a plan in the month are passed over.
fn export_all(session: &mut Session, args: &BillArgs) -> Result<(), Failure> {
    if args.format == Some(Format::Html) {
        return Err(Failure::Usage("--all makes one table: csv or focus; a page is of one bill".to_owned()));
    }
    let mut has_names = false;
    session.each_org(|session, org| {
        let reply = session.client.exchange(Method::GET, &bill_route(org, args), &Sent::Nothing)?;
        match reply.status {
            200 => {
                let rows = reply.text.split_once("\r\n").map_or("", |(_, rows)| rows);
                session.output.part(if has_names { rows } else { &reply.text })?;
                has_names = true;
                Ok(())
            }
            404 => Ok(()),
            _ => Err(session.client.problem(&reply)),
        }
    })
}

fn close_route(org: &str) -> Route {
    Route::v1(&["orgs", org, "bill", "close"])
}

/// Why the month of one organization cannot be closed, which says nothing of the others.
const NOT_THIS_ONE: [&str; 4] = ["month_runs", "earlier_month_open", "later_month_closed", "unrated"];

/// Closes the month of all organizations, one after the other. Those without a plan in it are passed over, and those whose month
/// cannot be closed are told of.
fn close_all(session: &mut Session, month: &str) -> Result<(), Failure> {
    let (mut closed, mut passed_over, mut refused) = (0_u64, 0_u64, 0_u64);
    session.each_org(|session, org| {
        let sent = Sent::Json(json!({ "month": month }));
        let reply = session.client.exchange(Method::POST, &close_route(org), &sent)?;
        match reply.status {
            200 => closed += 1,
            404 => passed_over += 1,
            _ => match session.client.problem(&reply) {
                Failure::Problem(problem) if NOT_THIS_ONE.contains(&problem.code.as_str()) => {
                    refused += 1;
                    if refused <= REFUSALS_TOLD {
                        warn(&printable(&format!("{org}: {} ({})", problem.detail, problem.code)));
                    }
                }
                failure => return Err(failure),
            },
        }
        Ok(())
    })?;
    if refused > REFUSALS_TOLD {
        warn(&format!("… and {} more", refused - REFUSALS_TOLD));
    }
    let reply = json!({ "month": month, "closed": closed, "without_plan": passed_over, "refused": refused });
    session.output.reply(&reply.to_string(), |_: &serde_json::Value| {
        let refused = if refused > 0 { format!("; {refused} cannot be closed") } else { String::new() };
        let are = if closed == 1 { "is" } else { "are" };
        let (bills, passed_over) = (counted(closed, "bill"), counted(passed_over, "organization"));
        format!("{month}: {bills} {are} closed; {passed_over} had no plan{refused}\n")
    })?;
    if refused > 0 { Err(Failure::Said(Exit::Failed)) } else { Ok(()) }
}

/// Runs `tollgate whatif`.
pub(crate) fn what_if(session: &mut Session, args: &WhatIfArgs) -> Result<(), Failure> {
    let catalog = super::catalog::read(&args.catalog)?;
    let sent = Sent::Json(json!({ "catalog": catalog, "month": args.month }));
    session.show(Method::POST, &Route::v1(&["whatif"]), &sent, what_if_text)
}

fn bill_text(bill: &BillReply) -> String {
    let mut about = vec![("org", Field::from(&bill.org)), ("month", (&bill.month).into())];
    about.push(("status", status(bill.status).into()));
    if let Some(number) = bill.number {
        about.push(("number", u64::from(number).into()));
    }
    if let Some(at) = &bill.closed_at {
        about.push(("closed at", time(at)));
    }
    let plan = bill.plan.as_deref().unwrap_or("no plan");
    about.push(("prices", format!("{plan}, catalog version {}", bill.catalog).into()));
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
    let all = [("all", &reply.would_be_denied)];
    let denied = reply.items.iter().map(|item| (item.org.as_str(), &item.would_be_denied));
    let denied = all
        .into_iter()
        .chain(denied)
        .flat_map(|(org, denied)| denied.iter().map(move |row| denied_row(org, row)));
    parts(vec![
        rows(
            &["org", "now", "then", "difference", ""],
            items.collect(),
            "no organization would owe anything else or have been denied otherwise",
        ),
        rows(
            &["total", "now", "then", "difference"],
            totals.collect(),
            "no organization has a plan with prices",
        ),
        rows(
            &["would be denied", "meter", "reason", "usages now", "then", "quantity now", "then"],
            denied.collect(),
            "nothing that was allowed would have been denied",
        ),
    ])
}

fn denied_row(org: &str, denied: &WhatIfDenied) -> Vec<Field> {
    vec![
        org.to_owned().into(),
        (&denied.meter).into(),
        (&denied.reason).into(),
        denied.usages_now.into(),
        denied.usages_then.into(),
        denied.quantity_now.into(),
        denied.quantity_then.into(),
    ]
}
