//! `tollgate mcp`: a server of the Model Context Protocol, through which an agent asks a Tollgate server.
//!
//! It is a client of the API like every command and has no rights of its own: an API key may do here what it may do
//! there. Over standard input and output the key is that of the command; over HTTP each request brings its own.

mod listen;
mod tools;

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde_json::Value;

use crate::client::{Client, Connection, Sent};
use crate::failure::Failure;
use tools::{Call, OFFERS};

/// What agents are told first.
const INSTRUCTIONS: &str = "Tollgate decides whether an organization may use more of a metered service, and counts what it \
     uses. Before a call whose cost is not known: 'hold' what it may cost at most; after it: 'capture' what it did cost, or \
     'release' the hold. Where the cost is known, 'use' does both in one step. Give each use and hold a key, and send a \
     retry under the same key: it counts once. A denial says which limit or credit decided and what is left; 'explain' says \
     more. Do not try a denied usage again before the limit starts afresh or credit is added.";

/// `tollgate mcp`
#[derive(Debug, Args)]
pub(crate) struct McpArgs {
    /// Serve over HTTP at this address, under /mcp, in place of standard input and output. Each request must bring its own
    /// API key; the one of this command is not used.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// A name under which clients reach --listen, besides those of this machine; may be repeated.
    #[arg(long = "host", value_name = "NAME", requires = "listen")]
    hosts: Vec<String>,
}

/// Serves until its client ends it, or a signal.
///
/// # Errors
/// [`Failure`]: the server's address is wrong, or there is nothing to listen on.
pub(crate) fn run(connection: &Connection, args: &McpArgs) -> Result<(), Failure> {
    let client = Arc::new(Client::new(connection)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("no threads to serve on: {error}")))?;
    let served = match args.listen {
        Some(address) => runtime.block_on(listen::serve(client, address, &args.hosts)),
        None => runtime.block_on(over_standard_streams(client)),
    };
    // A read of standard input cannot be called off.
    runtime.shutdown_background();
    served
}

async fn over_standard_streams(client: Arc<Client>) -> Result<(), Failure> {
    let agent = Bridge { client, keys: Keys::OfTheCommand };
    let wrong =
        |error: &dyn std::error::Error| Failure::Other(format!("the client does not speak MCP: {error}"));
    let service = agent.serve(rmcp::transport::stdio()).await.map_err(|error| wrong(&error))?;
    service.waiting().await.map_err(|error| wrong(&error))?;
    Ok(())
}

/// Whose API key is sent along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// That of the command line or the environment.
    OfTheCommand,
    /// That which the caller's own HTTP request has.
    OfTheCaller,
}

/// Between an agent and the server.
#[derive(Clone)]
struct Bridge {
    client: Arc<Client>,
    keys: Keys,
}

impl Bridge {
    async fn ask(&self, call: Call, key: Option<String>) -> CallToolResult {
        let client = Arc::clone(&self.client);
        let asked = tokio::task::spawn_blocking(move || {
            let sent = call.body.map_or(Sent::Nothing, Sent::Json);
            client.exchange_as(key.as_deref(), call.method, &call.route, &sent)
        });
        let reply = match asked.await {
            Ok(Ok(reply)) => reply,
            Ok(Err(failure)) => return told(&failure.to_string()),
            Err(error) => return told(&format!("the request ended by a panic: {error}")),
        };
        match serde_json::from_str::<Value>(&reply.text) {
            Ok(said) if (200..300).contains(&reply.status) => CallToolResult::structured(said),
            Ok(said) => CallToolResult::structured_error(said),
            Err(_) => told(&self.client.problem(&reply).to_string()),
        }
    }

    fn key(&self, context: &RequestContext<RoleServer>) -> Option<String> {
        match self.keys {
            Keys::OfTheCommand => self.client.api_key().map(str::to_owned),
            Keys::OfTheCaller => listen::key_of(context),
        }
    }
}

/// Something went wrong that the agent should read of.
fn told(text: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

impl ServerHandler for Bridge {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("tollgate", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(OFFERS.iter().map(tools::Offer::tool).collect()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        OFFERS.iter().find(|offer| offer.name == name).map(tools::Offer::tool)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(offer) = OFFERS.iter().find(|offer| offer.name == request.name) else {
            return Err(ErrorData::invalid_params(format!("there is no tool '{}'", request.name), None));
        };
        let result = match offer.call(request.arguments.unwrap_or_default()) {
            Ok(call) => self.ask(call, self.key(&context)).await,
            Err(wrong) => told(&wrong),
        };
        Ok(result.into())
    }
}
