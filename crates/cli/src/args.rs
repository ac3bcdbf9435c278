//! The command line.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::client::{Client, Connection};
use crate::commands::{self, Session};
use crate::config::{self, Flags};
use crate::copy::{self, CopyArgs};
use crate::failure::Failure;
use crate::offline::{self, StoreArgs};
use crate::output::Output;
use crate::serve;

/// Tollgate decides whether an organization and its users may use more of a metered service, and counts the usage.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(Flags),
    /// Show the settings in force and where each comes from.
    Config(ConfigArgs),
    /// Create, list and show organizations.
    Org(Group<commands::org::OrgCommand>),
    /// List plans; show, set, schedule and end the plan of an organization.
    Plan(Group<commands::plan::PlanCommand>),
    /// List, set and remove limits.
    Limit(Group<commands::org::LimitCommand>),
    /// Add credit to an organization.
    TopUp(Call<commands::top_up::TopUpArgs>),
    /// Show the credit, usage and limits of an organization.
    Balance(Call<commands::balance::BalanceArgs>),
    /// List the users of an organization and their usage in a month.
    Users(Call<commands::balance::UsersArgs>),
    /// List the paths of an organization that limits are on.
    Paths(Call<commands::balance::PathsArgs>),
    /// Show usage over time.
    Usage(Call<commands::balance::UsageArgs>),
    /// Show the bill of a month, or close the month.
    Bill(Call<commands::bill::BillArgs>),
    /// Show how another catalog would change bills and decisions, without changing anything.
    Whatif(Call<commands::bill::WhatIfArgs>),
    /// Check a usage and count it.
    Use(Call<commands::gate::UseArgs>),
    /// Explain whether a usage would be allowed, without counting it.
    Check(Call<commands::gate::CheckArgs>),
    /// Reverse a usage by its key.
    Reverse(Call<commands::gate::ReverseArgs>),
    /// Reserve usage before it happens; capture, release, show and list holds.
    Hold(Group<commands::hold::HoldCommand>),
    /// Import past usage from a CSV or NDJSON file.
    Import(Call<commands::import::ImportArgs>),
    /// Export usage as CSV or NDJSON.
    Export(Call<commands::export::ExportArgs>),
    /// Show the ledger of an organization.
    Ledger(Call<commands::ledger::LedgerArgs>),
    /// List notices, such as thresholds crossed and limits reached.
    Notices(Call<commands::ledger::NoticesArgs>),
    /// Create, list, test and remove channels, which deliver notices.
    Channel(Group<commands::channel::ChannelCommand>),
    /// Show, check, compare and apply the catalog of meters and plans.
    Catalog(Group<commands::catalog::CatalogCommand>),
    /// Bring the prices of language models from LiteLLM's table into a catalog file.
    #[command(subcommand)]
    Prices(commands::prices::PricesCommand),
    /// Bring limits to Portkey's gateway, and compare its costs with what was recorded.
    Portkey(Group<commands::portkey::PortkeyCommand>),
    /// Create, list and revoke API keys.
    Key(Group<commands::key::KeyCommand>),
    /// Show server health.
    Health(Call<commands::health::HealthArgs>),
    /// Print the server's metrics.
    Metrics(Call<commands::health::MetricsArgs>),
    /// Let agents ask the server by the Model Context Protocol, over standard input and output or HTTP.
    #[cfg(feature = "mcp")]
    Mcp(Call<crate::mcp::McpArgs>),
    /// Copy a store to a folder, while the server runs if need be.
    Backup(BackupArgs),
    /// Copy everything of a store to another one, of whatever kinds the two are.
    Copy(CopyArgs),
    /// Check every checksum of a store, and that its tables match its ledger.
    Verify(StoreArgs),
    /// Rebuild the tables of a store from its ledger.
    Rebuild(StoreArgs),
    /// Make the schema of a store in a database, or bring it up to date.
    Migrate(StoreArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the OpenAPI document.
    #[command(hide = true)]
    Openapi,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    #[command(flatten)]
    flags: Flags,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct BackupArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The folder to copy to; it must be empty or not exist yet.
    dir: PathBuf,
}

/// A client command.
#[derive(Debug, Args)]
struct Call<A: Args> {
    #[command(flatten)]
    args: A,
    #[command(flatten)]
    connection: Connection,
}

/// Client commands under one word.
#[derive(Debug, Args)]
struct Group<C: Subcommand> {
    #[command(subcommand)]
    command: C,
    #[command(flatten)]
    connection: Connection,
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// [`Failure`] with what to tell and the exit code.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Serve(flags) => serve::run(&flags),
            Command::Config(args) => show_config(&args),
            Command::Org(group) => {
                online(&group.connection, |session| commands::org::org(session, &group.command))
            }
            Command::Plan(group) => {
                online(&group.connection, |session| commands::plan::plan(session, &group.command))
            }
            Command::Limit(group) => {
                online(&group.connection, |session| commands::org::limit(session, &group.command))
            }
            Command::TopUp(call) => {
                online(&call.connection, |session| commands::top_up::top_up(session, &call.args))
            }
            Command::Balance(call) => {
                online(&call.connection, |session| commands::balance::balance(session, &call.args))
            }
            Command::Paths(call) => {
                online(&call.connection, |session| commands::balance::paths(session, &call.args))
            }
            Command::Users(call) => {
                online(&call.connection, |session| commands::balance::users(session, &call.args))
            }
            Command::Usage(call) => {
                online(&call.connection, |session| commands::balance::usage(session, &call.args))
            }
            Command::Bill(call) => {
                online(&call.connection, |session| commands::bill::bill(session, &call.args))
            }
            Command::Whatif(call) => {
                online(&call.connection, |session| commands::bill::what_if(session, &call.args))
            }
            Command::Use(call) => {
                online(&call.connection, |session| commands::gate::use_(session, &call.args))
            }
            Command::Check(call) => {
                online(&call.connection, |session| commands::gate::check(session, &call.args))
            }
            Command::Reverse(call) => {
                online(&call.connection, |session| commands::gate::reverse(session, &call.args))
            }
            Command::Hold(group) => {
                online(&group.connection, |session| commands::hold::run(session, &group.command))
            }
            Command::Import(call) => {
                online(&call.connection, |session| commands::import::import(session, &call.args))
            }
            Command::Export(call) => {
                online(&call.connection, |session| commands::export::export(session, &call.args))
            }
            Command::Ledger(call) => {
                online(&call.connection, |session| commands::ledger::ledger(session, &call.args))
            }
            Command::Notices(call) => {
                online(&call.connection, |session| commands::ledger::notices(session, &call.args))
            }
            Command::Channel(group) => {
                online(&group.connection, |session| commands::channel::run(session, &group.command))
            }
            Command::Catalog(group) => commands::catalog::run(&group.connection, &group.command),
            Command::Prices(command) => commands::prices::run(&command),
            Command::Portkey(group) => {
                online(&group.connection, |session| commands::portkey::run(session, &group.command))
            }
            Command::Key(group) => {
                online(&group.connection, |session| commands::key::run(session, &group.command))
            }
            Command::Health(call) => {
                online(&call.connection, |session| commands::health::health(session, &call.args))
            }
            Command::Metrics(call) => {
                online(&call.connection, |session| commands::health::metrics(session, &call.args))
            }
            #[cfg(feature = "mcp")]
            Command::Mcp(call) => crate::mcp::run(&call.connection, &call.args),
            Command::Backup(args) => offline::backup(&args.store, &args.dir),
            Command::Copy(args) => copy::copy(&args),
            Command::Verify(args) => offline::verify(&args),
            Command::Rebuild(args) => offline::rebuild(&args),
            Command::Migrate(args) => offline::migrate(&args),
            Command::Completions { shell } => completions(shell),
            Command::Openapi => Output::stdout(true).text(&tollgate_server::openapi_json()),
        }
    }
}

/// The names in the environment from which a flag of any command is read.
pub(crate) fn environment_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        let named = command.get_arguments().filter_map(clap::Arg::get_env);
        names.extend(named.map(|name| name.to_string_lossy().into_owned()));
        commands.extend(command.get_subcommands().cloned());
    }
    names
}

/// Runs a client command.
pub(crate) fn online(
    connection: &Connection,
    command: impl FnOnce(&mut Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = Client::new(connection)?;
    command(&mut Session { client, output: Output::stdout(connection.json) })
}

fn show_config(args: &ConfigArgs) -> Result<(), Failure> {
    let config = config::resolve(&args.flags, &config::environment())?;
    if args.json {
        let text = config::report::json(&config).map_err(|error| Failure::Other(error.to_string()))?;
        return Output::stdout(true).text(&text);
    }
    serve::tell_warnings(&config);
    Output::stdout(false).text(&config::report::table(&config))
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tollgate", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_settings_are_read() {
        for (line, name, value) in [
            (&["tollgate", "serve", "--listen", "h:1"][..], "listen", Some("h:1")),
            (&["tollgate", "serve", "--demo"], "demo", Some("true")),
            (&["tollgate", "serve", "--demo=false"], "demo", Some("false")),
            (&["tollgate", "serve", "--log-json", "--threads", "2"], "threads", Some("2")),
            (&["tollgate", "serve"], "listen", None),
        ] {
            let Command::Serve(flags) = Cli::try_parse_from(line).expect("a command line").command else {
                panic!("not serve: {line:?}");
            };
            assert_eq!(flags.values.get(name).map(String::as_str), value, "{line:?}");
        }
    }

    #[test]
    fn the_server_may_be_named_at_both_ends_of_a_group() {
        for line in [["tollgate", "org", "--json", "list"], ["tollgate", "org", "list", "--json"]] {
            let Command::Org(group) = Cli::try_parse_from(line).expect("a command line").command else {
                panic!("not org: {line:?}");
            };
            assert!(group.connection.json, "{line:?}");
        }
    }
}
