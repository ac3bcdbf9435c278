//! Top-ups: add credit, list it, take it back.

use clap::{Args, Subcommand};
use serde_json::json;
use tollgate_api::{TopUpPage, TopUpReply, TopUpState, VoidReply};
use ureq::http::Method;

use super::pages::more;
use super::{MeterArg, Paging, Session};
use crate::client::{Route, Sent, given};
use crate::failure::Failure;
use crate::table::{Field, pairs, parts, rows, time, time_or};

/// `tollgate top-up`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct TopUpArgs {
    #[command(subcommand)]
    command: Option<TopUpCommand>,
    /// The organization.
    #[arg(required = true)]
    org: Option<String>,
    /// How much; below zero takes credit back that is not used, and needs a reason.
    #[arg(required = true, allow_negative_numbers = true)]
    amount: Option<String>,
    #[command(flatten)]
    meter: MeterArg,
    /// Your id for this top-up, which makes retries safe: it counts once.
    #[arg(long)]
    key: Option<String>,
    /// When it expires: a time (RFC 3339), a day such as 2026-12-31, or 'never' [default: at the end of the month]
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// When it takes effect: a time (RFC 3339), or a day such as 2026-12-01 [default: immediately]
    #[arg(long, value_name = "TIME")]
    effective_at: Option<String>,
    /// Order in which credit is used, lowest first [default: 100]
    #[arg(long, value_name = "N")]
    priority: Option<u8>,
    /// Why, as shown in the ledger.
    #[arg(long)]
    reason: Option<String>,
}

/// `tollgate top-up …`
#[derive(Debug, Subcommand)]
enum TopUpCommand {
    /// List the top-ups of an organization, newest first.
    List {
        /// The organization.
        org: String,
        #[command(flatten)]
        paging: Paging,
    },
    /// Take back what is unused of a top-up.
    Void {
        /// The organization.
        org: String,
        /// The ledger entry of the top-up.
        #[arg(required_unless_present = "key", conflicts_with = "key")]
        entry: Option<u64>,
        /// The key of the top-up.
        #[arg(long)]
        key: Option<String>,
        /// How much [default: all that is unused]
        #[arg(long)]
        amount: Option<String>,
        /// Why, as shown in the ledger.
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Runs `tollgate top-up`.
pub(crate) fn top_up(session: &mut Session, args: &TopUpArgs) -> Result<(), Failure> {
    match &args.command {
        None => add(session, args),
        Some(TopUpCommand::List { org, paging }) => {
            let page = session.list(&Route::v1(&["orgs", org, "top-ups"]), paging, "top_ups")?;
            session.show_list(&page, "top_ups", list_text)
        }
        Some(TopUpCommand::Void { org, entry, key, amount, reason }) => {
            let body = given(json!({ "key": key, "amount": amount, "reason": reason }));
            let entry = entry.map(|entry| entry.to_string());
            let route = match &entry {
                Some(entry) => Route::v1(&["orgs", org, "top-ups", entry, "void"]),
                None => Route::v1(&["orgs", org, "top-ups", "void"]),
            };
            session.show(Method::POST, &route, &Sent::Json(body), void_text)
        }
    }
}

fn add(session: &mut Session, args: &TopUpArgs) -> Result<(), Failure> {
    let body = given(json!({
        "meter": args.meter.meter, "amount": args.amount, "key": args.key, "expires_at": args.expires_at,
        "effective_at": args.effective_at, "priority": args.priority, "reason": args.reason,
    }));
    let route = Route::v1(&["orgs", args.org.as_deref().unwrap_or_default(), "top-ups"]);
    session.show(Method::POST, &route, &Sent::Json(body), top_up_text)
}

fn top_up_text(reply: &TopUpReply) -> String {
    pairs(vec![
        ("org", (&reply.org).into()),
        ("meter", (&reply.meter).into()),
        ("added", reply.amount.into()),
        ("replayed", reply.replayed.into()),
        ("remaining", reply.remaining.into()),
        ("total", reply.total.into()),
        ("expires", time_or(reply.expires_at.as_ref(), "never")),
        ("entry", reply.entry.into()),
    ])
}

fn void_text(reply: &VoidReply) -> String {
    pairs(vec![
        ("org", (&reply.org).into()),
        ("taken back", reply.amount.into()),
        ("replayed", reply.replayed.into()),
        ("remaining", reply.remaining.into()),
        ("total", reply.total.into()),
    ])
}

fn list_text(page: &TopUpPage) -> String {
    let lines = page.top_ups.iter().map(|top_up| {
        let state = match top_up.state {
            TopUpState::Active => "active",
            TopUpState::Scheduled => "scheduled",
            TopUpState::Exhausted => "exhausted",
            TopUpState::Expired => "expired",
        };
        vec![
            Field::from(top_up.entry),
            (&top_up.key).into(),
            (&top_up.meter).into(),
            Field::from(&state.to_owned()),
            top_up.amount.into(),
            top_up.used.into(),
            top_up.voided.into(),
            top_up.remaining.into(),
            time(&top_up.effective_at),
            time_or(top_up.expires_at.as_ref(), "never"),
            (&top_up.reason).into(),
        ]
    });
    let headings = [
        "entry",
        "key",
        "meter",
        "state",
        "amount",
        "used",
        "voided",
        "remaining",
        "from",
        "expires",
        "reason",
    ];
    parts(vec![rows(&headings, lines.collect(), "no top-ups"), more(page.next.as_ref())])
}
