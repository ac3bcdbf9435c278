//! Plans: those of the catalog, and the one of an organization.

use clap::Subcommand;
use serde_json::json;
use tollgate_api::{CatalogReply, PlanReply};
use tollgate_domain::Catalog;
use tollgate_domain::catalog::{Enforcement, Plan};
use ureq::http::Method;

use super::Session;
use crate::client::{Route, Sent};
use crate::failure::Failure;
use crate::output::read_reply;
use crate::table::{Field, pairs, rows};

/// `tollgate plan`
#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// List the plans of the catalog.
    List,
    /// Set the plan of an organization; creates the organization if it does not exist.
    Set {
        /// The organization.
        org: String,
        /// The plan.
        plan: String,
    },
}

/// Runs `tollgate plan`.
pub(crate) fn plan(session: &mut Session, command: &PlanCommand) -> Result<(), Failure> {
    match command {
        PlanCommand::List => list(session),
        PlanCommand::Set { org, plan } => {
            let body = json!({"plan": plan});
            session.show(Method::PUT, &Route::v1(&["orgs", org, "plan"]), &Sent::Json(body), plan_text)
        }
    }
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
        let trial = plan.trial_days.map(|days| format!("{days} days"));
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

fn plan_text(reply: &PlanReply) -> String {
    pairs(vec![
        ("org", (&reply.org).into()),
        ("plan", (&reply.plan).into()),
        ("changed", reply.changed.into()),
        ("deprecated", reply.deprecated.into()),
    ])
}
