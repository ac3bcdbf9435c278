//! The catalog, API keys, and how the server is.

use serde::{Deserialize, Serialize};
use tollgate_domain::{OrgId, Role};
use utoipa::ToSchema;

use crate::body::given;
use crate::text::word;
use crate::{Id, Line, RoleName};

/// The catalog in force, or a version of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogReply {
    /// Its version.
    pub version: u32,
    /// What changed with the version before, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// The catalog as JSON: what `PUT /v1/catalog` takes as `application/json`.
    #[schema(value_type = std::collections::HashMap<String, serde_json::Value>)]
    pub catalog: serde_json::Value,
    /// Its text, in TOML.
    pub toml: String,
    /// The meters that usage created beside the catalog in force, in that order. What a catalog declares itself is as
    /// it says. Not told to a key that is bound to an organization, nor with a version asked for by its number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub created_meters: Vec<CreatedMeterItem>,
}

/// A meter that usage created.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedMeterItem {
    /// The meter.
    pub meter: String,
    /// When it was created.
    pub at: String,
}

/// The versions of the catalog.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogVersions {
    /// Oldest first.
    pub versions: Vec<CatalogVersionItem>,
    /// From where the next page is read; null when there is nothing more.
    pub next: Option<String>,
}

/// A version of the catalog.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CatalogVersionItem {
    /// Which.
    pub version: u32,
    /// When it came into force.
    pub at: String,
}

/// Makes an API key.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRequest {
    /// A name for people.
    #[schema(value_type = Line)]
    pub name: String,
    /// What it may do.
    #[serde(deserialize_with = "word")]
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// The only organization it may name; any unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Id, required = false)]
    pub org: Option<OrgId>,
}

/// An API key was made. The secret is shown this once and never stored.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyCreated {
    /// The secret to send as `Authorization: Bearer …`.
    pub secret: String,
    /// The key.
    #[serde(flatten)]
    pub item: ApiKeyItem,
}

/// An API key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyItem {
    /// Its public id.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// What it may do.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// The only organization it may name.
    pub org: Option<String>,
    /// When it was made.
    pub created_at: String,
    /// When it was revoked, if it was.
    pub revoked_at: Option<String>,
}

/// The API keys, by id.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyList {
    /// The keys.
    pub api_keys: Vec<ApiKeyItem>,
    /// From where the next page is read; null when there is nothing more.
    pub next: Option<String>,
}

/// The server runs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `healthy`.
    pub status: String,
    /// The server's time.
    pub time: String,
    /// The version of the server.
    pub version: String,
    /// The environment it was told it runs in.
    pub config: String,
}

/// Whether the server can decide.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// Whether it can.
    pub ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Requests that wait.
    pub queue_depth: u64,
}
