//! The client commands: a module a subject, each with its arguments, its request and its table.

pub(crate) mod balance;
pub(crate) mod bill;
pub(crate) mod catalog;
pub(crate) mod channel;
pub(crate) mod export;
pub(crate) mod gate;
pub(crate) mod health;
pub(crate) mod hold;
pub(crate) mod import;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod org;
mod pages;
pub(crate) mod plan;
pub(crate) mod portkey;
pub(crate) mod prices;
pub(crate) mod top_up;

use serde::de::DeserializeOwned;
use ureq::http::Method;

use crate::client::{Client, Route, Sent};
use crate::failure::Failure;
use crate::output::Output;
pub(crate) use pages::Paging;

/// A server to talk to and a place for its answers.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) output: Output,
}

impl Session {
    /// One request, its reply shown.
    fn show<T: DeserializeOwned>(
        &mut self,
        method: Method,
        route: &Route,
        sent: &Sent<'_>,
        render: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let reply = self.ask(method, route, sent)?;
        self.output.reply(&reply, render)
    }

    /// One request; a "no" is shown as JSON too, where JSON is asked for.
    fn ask(&mut self, method: Method, route: &Route, sent: &Sent<'_>) -> Result<String, Failure> {
        let reply = self.client.exchange(method, route, sent)?;
        if (200..300).contains(&reply.status) {
            return Ok(reply.text);
        }
        let failure = self.client.problem(&reply);
        if self.output.is_json() && matches!(failure, Failure::Problem(_)) {
            self.output.text(&reply.text)?;
        }
        Err(failure)
    }
}

/// Which meter.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MeterArg {
    /// The meter.
    #[arg(long, default_value = "reports")]
    pub(crate) meter: String,
}
