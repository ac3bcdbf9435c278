//! API keys.

use clap::Subcommand;
use serde_json::json;
use tollgate_api::{ApiKeyCreated, ApiKeyItem, ApiKeyList};
use ureq::http::Method;

use super::pages::more;
use super::{Paging, Session};
use crate::client::{Route, Sent, given};
use crate::failure::Failure;
use crate::table::{Field, pairs, parts, rows, time, time_or};

/// `tollgate key`
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a key; its secret is shown only once. The first key must have the role admin.
    Create {
        /// A name for the key.
        name: String,
        /// ingest: use, check and reverse; read: read only; manage: also change organizations; admin: everything.
        #[arg(long, value_parser = ["ingest", "read", "manage", "admin"])]
        role: String,
        /// Restrict the key to one organization.
        #[arg(long)]
        org: Option<String>,
    },
    /// List all keys, including revoked ones.
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Revoke a key immediately and permanently.
    Revoke {
        /// The id of the key.
        id: String,
    },
}

/// Runs `tollgate key`.
pub(crate) fn run(session: &mut Session, command: &KeyCommand) -> Result<(), Failure> {
    let route = Route::v1(&["api-keys"]);
    match command {
        KeyCommand::Create { name, role, org } => {
            let body = given(json!({"name": name, "role": role, "org": org}));
            session.show(Method::POST, &route, &Sent::Json(body), created_text)
        }
        KeyCommand::List { paging } => {
            let page = session.list(&route, paging, "api_keys")?;
            session.show_list(&page, "api_keys", list_text)
        }
        KeyCommand::Revoke { id } => {
            session.show(Method::DELETE, &Route::v1(&["api-keys", id]), &Sent::Nothing, |key: &ApiKeyItem| {
                pairs(about(key))
            })
        }
    }
}

fn about(key: &ApiKeyItem) -> Vec<(&'static str, Field)> {
    vec![
        ("id", (&key.id).into()),
        ("name", (&key.name).into()),
        ("role", key.role.name().into()),
        ("org", key.org.as_deref().unwrap_or("any").into()),
        ("created", time(&key.created_at)),
        ("revoked", time_or(key.revoked_at.as_ref(), "-")),
    ]
}

fn created_text(created: &ApiKeyCreated) -> String {
    let mut lines = vec![("secret", Field::from(&created.secret))];
    lines.extend(about(&created.item));
    parts(vec![pairs(lines), "The secret is shown this once; only its hash is kept.\n".to_owned()])
}

fn list_text(page: &ApiKeyList) -> String {
    let lines = page.api_keys.iter().map(|key| about(key).into_iter().map(|(_, field)| field).collect());
    let headings = ["id", "name", "role", "org", "created", "revoked"];
    parts(vec![rows(&headings, lines.collect(), "no API keys"), more(page.next.as_ref())])
}
