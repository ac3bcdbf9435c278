//! Holds: take, capture, release, show, list.

use clap::{Args, Subcommand};
use serde_json::json;
use tollgate_api::{CaptureReply, HoldItem, HoldPage, HoldReply, ReleaseReply};
use ureq::http::Method;

use super::gate::{Key, WhatArgs, property, told};
use super::pages::more;
use super::{Paging, Session};
use crate::client::{Route, Sent, given};
use crate::failure::Failure;
use crate::table::{Field, pairs, parts, rows, time};

/// `tollgate hold`
#[derive(Debug, Subcommand)]
pub(crate) enum HoldCommand {
    /// Reserve an amount.
    Take(TakeArgs),
    /// Count what was used of a hold, and end it.
    Capture(CaptureArgs),
    /// Give back what is held, and end the hold.
    Release(HoldArgs),
    /// Show a hold.
    Show(HoldArgs),
    /// List the open holds of an organization.
    List(ListArgs),
}

/// `tollgate hold take`
#[derive(Debug, Args)]
pub(crate) struct TakeArgs {
    #[command(flatten)]
    what: WhatArgs,
    /// Your id for this hold, which makes retries safe: it holds once [default: a random key]
    #[arg(long)]
    key: Option<String>,
    /// How long it lasts, in seconds [default: 600]
    #[arg(long, value_name = "SECS")]
    expires_in: Option<u32>,
    /// How much more than is held may be captured [default: nothing]
    #[arg(long, value_name = "Q")]
    overrun: Option<String>,
    /// What becomes of what is still held when it expires.
    #[arg(long, value_parser = ["release", "charge"])]
    on_expiry: Option<String>,
    /// The hold to take it out of.
    #[arg(long, value_name = "HOLD")]
    within: Option<String>,
    /// A property of the usage, such as model=large; may be repeated.
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
}

/// `tollgate hold capture`
#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    #[command(flatten)]
    hold: HoldArgs,
    /// How much was used [default: all that is held]
    #[arg(long, value_name = "Q")]
    quantity: Option<String>,
    /// Capture a part, with your id for it, and keep the hold open.
    #[arg(long, value_name = "KEY")]
    part: Option<String>,
}

/// Which hold.
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// The hold, such as 17-acme.
    hold: String,
}

/// `tollgate hold list`
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The organization.
    org: String,
    #[command(flatten)]
    paging: Paging,
}

/// Runs `tollgate hold`.
pub(crate) fn run(session: &mut Session, command: &HoldCommand) -> Result<(), Failure> {
    match command {
        HoldCommand::Take(args) => take(session, args),
        HoldCommand::Capture(args) => capture(session, args),
        HoldCommand::Release(args) => {
            let route = Route::v1(&["holds", &args.hold, "release"]);
            session.show(Method::POST, &route, &Sent::Nothing, |reply: &ReleaseReply| {
                pairs(hold_lines(vec![("replayed", reply.replayed.into())], &reply.hold))
            })
        }
        HoldCommand::Show(args) => {
            let route = Route::v1(&["holds", &args.hold]);
            session.show(Method::GET, &route, &Sent::Nothing, |hold: &HoldItem| {
                pairs(hold_lines(Vec::new(), hold))
            })
        }
        HoldCommand::List(args) => {
            let page = session.list(&Route::v1(&["orgs", &args.org, "holds"]), &args.paging, "holds")?;
            session.show_list(&page, "holds", list_text)
        }
    }
}

fn take(session: &mut Session, args: &TakeArgs) -> Result<(), Failure> {
    let key = Key::given_or_made(args.key.as_ref())?;
    let what = &args.what;
    let body = given(json!({
        "org": what.org, "meter": what.meter.meter, "user": what.user, "path": what.path,
        "quantity": what.quantity, "key": key.text, "expires_in": args.expires_in, "overrun": args.overrun, "on_expiry": args.on_expiry,
        "within": args.within, "properties": told(&args.properties),
    }));
    let answer =
        session.show(Method::POST, &Route::v1(&["holds"]), &Sent::Json(body), |reply: &HoldReply| {
            let about = vec![("replayed", reply.replayed.into()), ("remaining", reply.remaining.into())];
            pairs(hold_lines(about, &reply.hold))
        });
    key.hint(answer, "holding")
}

fn capture(session: &mut Session, args: &CaptureArgs) -> Result<(), Failure> {
    let route = Route::v1(&["holds", &args.hold.hold, "capture"]);
    let is_final = args.part.is_none();
    let body = given(json!({"quantity": args.quantity, "final": is_final, "key": args.part}));
    session.show(Method::POST, &route, &Sent::Json(body), |reply: &CaptureReply| {
        let about = vec![
            ("captured now", reply.captured.into()),
            ("replayed", reply.replayed.into()),
            ("remaining", reply.remaining.into()),
            ("entry", reply.entry.into()),
        ];
        pairs(hold_lines(about, &reply.hold))
    })
}

/// What is told about an answer, and then the hold.
fn hold_lines(about: Vec<(&'static str, Field)>, hold: &HoldItem) -> Vec<(&'static str, Field)> {
    let mut lines = about;
    lines.extend([
        ("hold", hold.hold.to_string().into()),
        ("state", (&hold.state).into()),
        ("org", (&hold.org).into()),
        ("meter", (&hold.meter).into()),
        ("key", (&hold.key).into()),
        ("quantity", hold.quantity.into()),
        ("held", hold.held.into()),
        ("captured", hold.captured.into()),
    ]);
    if let Some(user) = &hold.user {
        lines.push(("user", user.into()));
    }
    if let Some(path) = &hold.path {
        lines.push(("path", path.into()));
    }
    if let Some(within) = &hold.within {
        lines.push(("within", within.to_string().into()));
    }
    lines.push(("expires", time(&hold.expires_at)));
    if let Some(ended) = &hold.ended_at {
        lines.push(("ended", time(ended)));
    }
    lines
}

fn list_text(page: &HoldPage) -> String {
    let lines = page.holds.iter().map(|hold| {
        vec![
            hold.hold.to_string().into(),
            (&hold.meter).into(),
            (&hold.user).into(),
            hold.quantity.into(),
            hold.held.into(),
            hold.captured.into(),
            time(&hold.expires_at),
        ]
    });
    let headings = ["hold", "meter", "user", "quantity", "held", "captured", "expires"];
    let table = rows(&headings, lines.collect(), "no open holds");
    parts(vec![table, more(page.next.as_ref())])
}
