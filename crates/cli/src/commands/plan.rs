//! Plans: those of the catalog, and the one of an organization.

use clap::Subcommand;
use serde_json::json;
use tollgate_api::{CatalogReply, PlanReply, counted};
use tollgate_domain::Catalog;
use tollgate_domain::catalog::{Enforcement, Plan};
use ureq::http::Method;

use super::Session;
use crate::client::{Route, Sent, given};
use crate::failure::Failure;
use crate::output::read_reply;
use crate::table::{Field, pairs, rows, time, time_or};

/// `tollgate plan`
#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// List the plans of the catalog.
    List,
    /// Show the plan of an organization, and the change that is scheduled.
    Show {
        /// The organization.
        org: String,
    },
    /// Set the plan of an organization; creates the organization if it does not exist.
    Set {
        /// The organization.
        org: String,
        /// The plan.
        plan: String,
        /// When: a day (2026-12-01), a time (RFC 3339) or next_month [default: immediately]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// End the plan of an organization; no fee is owed after it.
    Leave {
        /// The organization.
        org: String,
        /// When: a day (2026-12-01), a time (RFC 3339) or next_month [default: immediately]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Cancel the scheduled change of plan.
    Unschedule {
        /// The organization.
        org: String,
    },
}

/// Runs `tollgate plan`.
pub(crate) fn plan(session: &mut Session, command: &PlanCommand) -> Result<(), Failure> {
    match command {
        PlanCommand::List => list(session),
        PlanCommand::Show { org } => session.show(Method::GET, &route(org), &Sent::Nothing, shown_text),
        PlanCommand::Set { org, plan, at } => {
            let body = given(json!({"plan": plan, "at": at}));
            session.show(Method::PUT, &route(org), &Sent::Json(body), changed_text)
        }
        PlanCommand::Leave { org, at } => {
            let route = route(org).with("at", at.as_deref());
            session.show(Method::DELETE, &route, &Sent::Nothing, changed_text)
        }
        PlanCommand::Unschedule { org } => {
            let route = Route::v1(&["orgs", org, "plan", "scheduled"]);
            session.show(Method::DELETE, &route, &Sent::Nothing, changed_text)
        }
    }
}

fn route(org: &str) -> Route {
    Route::v1(&["orgs", org, "plan"])
}

fn list(session: &mut Session) -> Result<(), Failure> {
    let text = session.ask(Method::GET, &Route::v1(&["catalog"]), &Sent::Nothing)?;
    let reply: CatalogReply = read_reply(&text)?;
    if session.output.is_json() {
        let plans = reply.catalog.get("plans");
        return session.output.text(&json!({"version": reply.version, "plans": plans}).to_string());
    }
    let catalog = Catalog::from_toml(&reply.toml)
        .map_err(|error| Failure::Other(format!("this version cannot read the server's catalog: {error}")))?;
    session.output.text(&list_text(&catalog))
}

fn list_text(catalog: &Catalog) -> String {
    let lines = catalog.plans.iter().map(|plan| {
        let status = match (plan.retired, plan.deprecated) {
            (true, _) => "retired",
            (false, true) => "deprecated",
            (false, false) => "offered",
        };
        let trial = plan.trial_days.map(|days| counted(days, "day"));
        let prices = u64::try_from(plan.prices.len()).unwrap_or(u64::MAX);
        vec![
            Field::from(plan.id.as_str()),
            plan.name.as_str().into(),
            status.into(),
            (&trial).into(),
            allowances(plan).into(),
            prices.into(),
        ]
    });
    rows(&["plan", "name", "status", "trial", "allowances", "prices"], lines.collect(), "no plans")
}

fn allowances(plan: &Plan) -> String {
    let texts: Vec<_> = plan
        .allowances
        .iter()
        .map(|allowance| match allowance.enforcement {
            Enforcement::None => format!("{} without limit", allowance.meter),
            _ => format!("{} {}", allowance.amount, allowance.meter),
        })
        .collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
}

/// The plan in force and the scheduled change.
fn about(reply: &PlanReply) -> Vec<(&'static str, Field)> {
    let mut about = vec![
        ("org", (&reply.org).into()),
        ("plan", (&reply.plan).into()),
        ("since", time_or(reply.since.as_ref(), "-")),
    ];
    if let Some(scheduled) = &reply.scheduled {
        about.push(("scheduled", scheduled.plan.as_deref().unwrap_or("no plan").into()));
        about.push(("scheduled at", time(&scheduled.at)));
    }
    about
}

fn shown_text(reply: &PlanReply) -> String {
    pairs(about(reply))
}

fn changed_text(reply: &PlanReply) -> String {
    let mut about = about(reply);
    about.push(("changed", reply.changed.into()));
    about.push(("deprecated", reply.deprecated.into()));
    pairs(about)
}
