//! Who calls, and what they may do. Only hashes of secrets are kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use tollgate_api::{Code, Problem};
use tollgate_domain::{Actor, ApiKey, ApiKeyId, OrgId, Role, UsageKey};

use crate::Secret;
use crate::limits::API_KEY_SECRET_BYTES;
use crate::reply::Failure;

/// The API keys that are valid now.
#[derive(Debug, Default)]
pub(crate) struct ApiKeys {
    /// The key from the settings.
    configured: Option<[u8; 32]>,
    /// Stored keys by the hash of their secret; revoked ones are not among them.
    stored: RwLock<HashMap<[u8; 32], Caller>>,
    /// Whether people sign in without a key.
    people: bool,
    /// Whether there ever was a stored key: revoking the last one must not open the server to everybody.
    ever_stored: AtomicBool,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Who it is, to the ledger.
    pub(crate) actor: Actor,
    pub(crate) role: Role,
    /// The only org it may name.
    pub(crate) org: Option<OrgId>,
}

impl Caller {
    /// Whoever reaches a server that has no keys: it listens to its own machine only.
    pub(crate) const ANYONE: Self = Self { actor: Actor::Local, role: Role::Admin, org: None };

    /// Lets pass who may use or read: each role may do one of them.
    pub(crate) fn require_ingest_or_read(&self, org: Option<&OrgId>) -> Result<(), Failure> {
        self.require(if self.role.covers(Role::Ingest) { Role::Ingest } else { Role::Read }, org)
    }

    /// Lets pass who may do this.
    pub(crate) fn require(&self, role: Role, org: Option<&OrgId>) -> Result<(), Failure> {
        if !self.role.covers(role) {
            let who = if let Actor::Person(_) = self.actor { "you have" } else { "the API key has" };
            let detail =
                format!("this needs the role '{}'; {who} the role '{}'", role.name(), self.role.name());
            return Err(Problem::new(Code::Forbidden, detail).into());
        }
        match (&self.org, org) {
            (Some(bound), Some(org)) if bound == org => Ok(()),
            (None, _) => Ok(()),
            (Some(bound), _) => {
                let detail = format!("the API key is bound to the organization '{bound}'");
                Err(Problem::new(Code::Forbidden, detail).on_field("org").into())
            }
        }
    }
}

impl ApiKeys {
    pub(crate) fn new(configured: Option<&Secret>, people: bool) -> Self {
        Self {
            configured: configured.map(|secret| hash(&secret.0)),
            stored: RwLock::default(),
            people,
            ever_stored: AtomicBool::new(false),
        }
    }

    /// Learns a key that was made, or forgets one that was revoked.
    pub(crate) fn learn(&self, api_key: &ApiKey) {
        self.ever_stored.store(true, Ordering::SeqCst);
        let mut stored = self.stored.write().unwrap_or_else(PoisonError::into_inner);
        if api_key.revoked_at.is_some() {
            stored.remove(&api_key.hash);
        } else {
            let (id, org) = (api_key.id.clone(), api_key.org.clone());
            stored.insert(api_key.hash, Caller { actor: Actor::Key(id), role: api_key.role, org });
        }
    }

    /// Whether nobody needs a key: none is configured, none was ever made, and people cannot sign in without one, who could
    /// make some.
    pub(crate) fn is_empty(&self) -> bool {
        self.configured.is_none() && !self.people && !self.ever_stored.load(Ordering::SeqCst)
    }

    /// Whether the settings have an admin key.
    pub(crate) fn has_configured(&self) -> bool {
        self.configured.is_some()
    }

    /// Finds the caller by the secret it sent.
    ///
    /// Secrets are random and compared by their SHA-256, so the time a comparison takes tells nothing of them.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Failure> {
        if self.is_empty() {
            return Ok(Caller::ANYONE);
        }
        let unauthorized = |detail: &str| Failure::from(Problem::new(Code::Unauthorized, detail));
        let secret = sent_secret(headers).ok_or_else(|| {
            unauthorized("send an API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        })?;
        self.caller(&hash(&secret)).ok_or_else(|| unauthorized("the API key is not known or was revoked"))
    }

    /// The caller whose secret has a hash.
    pub(crate) fn caller(&self, hash: &[u8; 32]) -> Option<Caller> {
        if self.configured == Some(*hash) {
            return Some(Caller { actor: Actor::Configured, role: Role::Admin, org: None });
        }
        self.stored.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// The hash of a caller's secret, while its key is valid.
    pub(crate) fn hash_of(&self, actor: &Actor) -> Option<[u8; 32]> {
        if *actor == Actor::Configured {
            return self.configured;
        }
        let stored = self.stored.read().unwrap_or_else(PoisonError::into_inner);
        stored.iter().find(|(_, caller)| caller.actor == *actor).map(|(hash, _)| *hash)
    }
}

static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Whether a request brings an API key, or what could be one.
pub(crate) fn brings_secret(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || headers.contains_key(&X_API_KEY)
}

/// The secret of a request: a bearer's, the name of a user without a password, or that of a header of its own.
fn sent_secret(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    if let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        let (scheme, secret) = value.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Cow::Borrowed(secret.trim()));
        }
        let text = BASE64.decode(secret.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
        return String::from_utf8(text).ok()?.strip_suffix(':').map(|user| Cow::Owned(user.to_owned()));
    }
    headers.get(&X_API_KEY)?.to_str().ok().map(Cow::Borrowed)
}

pub(crate) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Makes a secret and the public id of its key.
pub(crate) fn new_secret() -> Result<(String, [u8; 32], ApiKeyId), Failure> {
    let mut bytes = [0_u8; API_KEY_SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::from(Problem::new(Code::Internal, "no randomness")).caused_by(error.to_string())
    })?;
    let secret = format!("tg_{}", hexadecimal(&bytes));
    let hash = hash(&secret);
    let id = ApiKeyId(hexadecimal(hash.get(..8).unwrap_or_default()));
    Ok((secret, hash, id))
}

/// The public id of the API key that is made under an `Idempotency-Key`.
pub(crate) fn id_for(key: &UsageKey) -> ApiKeyId {
    ApiKeyId(hexadecimal(hash(&format!("Idempotency-Key: {key}")).get(..8).unwrap_or_default()))
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
