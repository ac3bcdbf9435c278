//! The catalog: show, check, compare, apply.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use tollgate_api::{CatalogReply, CatalogVersions};
use tollgate_domain::{Catalog, CatalogError};
use ureq::http::Method;

use super::pages::more;
use super::{Paging, Session};
use crate::client::{Connection, Route, Sent};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::table::{Field, parts, rows, time};

/// `tollgate catalog`
#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Print the catalog in force, as TOML.
    Show {
        /// Show this version instead.
        #[arg(long, value_name = "N")]
        version: Option<u32>,
    },
    /// List the versions of the catalog.
    Versions {
        #[command(flatten)]
        paging: Paging,
    },
    /// Check a catalog file; needs no server.
    Check {
        /// The catalog, a TOML file.
        file: PathBuf,
    },
    /// Show what a catalog file would change.
    Diff {
        /// The catalog, a TOML file.
        file: PathBuf,
    },
    /// Put a catalog file into force.
    Apply {
        /// The catalog, a TOML file.
        file: PathBuf,
    },
}

/// Runs `tollgate catalog`.
pub(crate) fn run(connection: &Connection, command: &CatalogCommand) -> Result<(), Failure> {
    if let CatalogCommand::Check { file } = command {
        return check(&mut Output::stdout(connection.json), file);
    }
    crate::args::online(connection, |session| run_online(session, command))
}

fn run_online(session: &mut Session, command: &CatalogCommand) -> Result<(), Failure> {
    let route = Route::v1(&["catalog"]);
    match command {
        CatalogCommand::Show { version: None } => {
            session.show(Method::GET, &route, &Sent::Nothing, in_force_text)
        }
        CatalogCommand::Show { version: Some(version) } => {
            let route = Route::v1(&["catalog", "versions", &version.to_string()]);
            session.show(Method::GET, &route, &Sent::Nothing, |reply: &CatalogReply| reply.toml.clone())
        }
        CatalogCommand::Versions { paging } => {
            let page = session.list(&Route::v1(&["catalog", "versions"]), paging, "versions")?;
            session.show_list(&page, "versions", versions_text)
        }
        CatalogCommand::Check { file } => check(&mut session.output, file),
        CatalogCommand::Diff { file } => {
            let text = read(file)?;
            let route = route.with("dry_run", Some("true"));
            session.show(Method::PUT, &route, &Sent::Toml(&text), diff_text)
        }
        CatalogCommand::Apply { file } => {
            let text = read(file)?;
            session.show(Method::PUT, &route, &Sent::Toml(&text), |reply: &CatalogReply| {
                parts(vec![format!("version {} is in force\n", reply.version), changes_text(reply)])
            })
        }
    }
}

/// The text of a file.
pub(super) fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::Other(format!("{} cannot be read: {error}", file.display())))
}

fn check(output: &mut Output, file: &Path) -> Result<(), Failure> {
    let text = read(file)?;
    let catalog = match Catalog::from_toml(&text) {
        Ok(catalog) => catalog,
        Err(error) => return invalid(output, file, &error),
    };
    let (meters, plans) = (catalog.meters.len(), catalog.plans.len());
    if output.is_json() {
        return output
            .text(&serde_json::json!({"valid": true, "meters": meters, "plans": plans}).to_string());
    }
    output.text(&format!("{} is valid; meters: {meters}, plans: {plans}", file.display()))
}

/// "No, it is not valid": what is wrong with it.
fn invalid(output: &mut Output, file: &Path, error: &CatalogError) -> Result<(), Failure> {
    if output.is_json() {
        output.text(
            &serde_json::json!({"valid": false, "errors": error.0.lines().collect::<Vec<_>>()}).to_string(),
        )?;
    } else {
        output.text(&format!("{} is not valid:\n{error}", file.display()))?;
    }
    Err(Failure::Said(Exit::No))
}

/// The text, and the created meters as comments: what is printed is a catalog still.
fn in_force_text(reply: &CatalogReply) -> String {
    let mut text = reply.toml.clone();
    if !reply.created_meters.is_empty() {
        text.push_str("\n# Created by usage, beside this catalog:\n");
    }
    for created in &reply.created_meters {
        let line = format!("# {}, since {}", created.meter, created.at);
        text.push_str(&format!("{}\n", crate::table::printable(&line)));
    }
    text
}

fn diff_text(reply: &CatalogReply) -> String {
    parts(vec![format!("against version {}, which is in force\n", reply.version), changes_text(reply)])
}

fn changes_text(reply: &CatalogReply) -> String {
    if reply.changes.is_empty() {
        return "nothing changes\n".to_owned();
    }
    reply.changes.iter().map(|change| format!("{}\n", crate::table::printable(change))).collect()
}

fn versions_text(page: &CatalogVersions) -> String {
    let lines = page.versions.iter().map(|item| vec![Field::from(u64::from(item.version)), time(&item.at)]);
    parts(vec![
        rows(&["version", "in force since"], lines.collect(), "no versions"),
        more(page.next.as_ref()),
    ])
}
