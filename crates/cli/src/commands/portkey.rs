//! Portkey, an AI gateway: what remains of an organization as the limit of a key there, and what calls cost there against what was
//! recorded here.

mod gateway;
mod push;
mod reconcile;

use clap::{Args, Subcommand};
use tollgate_domain::Amount;

use super::Session;
use crate::failure::Failure;

/// `tollgate portkey`
#[derive(Debug, Subcommand)]
pub(crate) enum PortkeyCommand {
    /// Set what remains of an organization as the usage limit of a key of Portkey.
    Push(push::PushArgs),
    /// List where Portkey's costs by user and model differ from what was recorded; record what is missing only with --apply.
    Reconcile(reconcile::ReconcileArgs),
}

/// Which gateway to talk to.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Portkey")]
pub(super) struct GatewayArgs {
    /// Address of Portkey's API.
    #[arg(long, env = "PORTKEY_URL", default_value = "https://api.portkey.ai", value_name = "URL")]
    portkey_url: String,
    /// Portkey's API key; prefer the environment variable, which keeps it out of the process list.
    #[arg(long, env = "PORTKEY_API_KEY", hide_env_values = true, value_name = "KEY")]
    portkey_api_key: Option<String>,
    /// The workspace; needed for keys of an organization of Portkey.
    #[arg(long, env = "PORTKEY_WORKSPACE_SLUG", value_name = "SLUG")]
    portkey_workspace: Option<String>,
}

/// Which meter has the money, and what one of its units is worth.
#[derive(Clone, Debug, Args)]
pub(super) struct MoneyArgs {
    /// The meter.
    #[arg(long, default_value = "usd")]
    meter: String,
    /// What a unit of the meter is worth, in USD.
    #[arg(long, default_value = "1", value_name = "USD", value_parser = positive)]
    unit_worth: Amount,
}

fn positive(text: &str) -> Result<Amount, String> {
    let amount = Amount::parse(text).ok().filter(|amount| amount.is_positive());
    amount.ok_or_else(|| "must be a number above zero".to_owned())
}

/// Runs `tollgate portkey`.
pub(crate) fn run(session: &mut Session, command: &PortkeyCommand) -> Result<(), Failure> {
    match command {
        PortkeyCommand::Push(args) => push::push(session, args),
        PortkeyCommand::Reconcile(args) => reconcile::reconcile(session, args),
    }
}
