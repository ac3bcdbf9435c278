//! API keys: who may call, and what for. Only a hash of the secret is ever known here.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::OrgId;

/// The public id of an API key: the first characters of its hash, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKeyId(pub String);

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Check and consume usage, reverse it.
    Ingest,
    /// Read everything of the orgs.
    Read,
    /// Read, and set plans, limits and top-ups.
    Manage,
    /// Everything, the catalog and API keys too.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Read, Self::Manage, Self::Admin];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Manage => "manage",
            Self::Admin => "admin",
        }
    }

    /// Whether a key of this role may do what `needed` may.
    #[must_use]
    pub const fn covers(self, needed: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Manage => !matches!(needed, Self::Admin),
            Self::Read => matches!(needed, Self::Read),
            Self::Ingest => matches!(needed, Self::Ingest),
        }
    }
}

impl ApiKey {
    /// Whether it may make and revoke API keys, while it is valid.
    #[must_use]
    pub fn makes_others(&self) -> bool {
        self.role == Role::Admin && self.org.is_none()
    }
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its public id.
    pub id: ApiKeyId,
    /// A name for people.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// What it may do.
    pub role: Role,
    /// The only org it may name, if it is bound to one.
    pub org: Option<OrgId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}
