//! What is sent and what comes back, under the names of the API.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::amount::{Amount, Quantity};

/// A call of a language model, in place of a quantity: the catalog prices it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ModelCall {
    /// The model, as the catalog names it.
    pub model: String,
    /// `standard`, `batch`, `flex` or `priority`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Tokens of the prompt, all of them.
    pub input_tokens: u64,
    /// Of those, read from the provider's cache.
    pub cached_input_tokens: u64,
    /// Of those, written to it.
    pub cache_write_tokens: u64,
    /// Of those, of sound.
    pub audio_input_tokens: u64,
    /// Tokens of the answer, all of them; in a hold: what may come at most.
    pub output_tokens: u64,
    /// Of those, what the model thought with.
    pub reasoning_tokens: u64,
    /// Of those, of sound.
    pub audio_output_tokens: u64,
}

impl ModelCall {
    /// A call of a model with so many tokens of prompt and of answer.
    pub fn new(model: impl Into<String>, input_tokens: u64, output_tokens: u64) -> Self {
        Self { model: model.into(), input_tokens, output_tokens, ..Self::default() }
    }
}

/// One use of a meter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// The organization.
    pub org: String,
    /// What is used.
    pub meter: String,
    /// How much; 1 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Quantity>,
    /// A call of a language model in place of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<ModelCall>,
    /// The user within the organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where below the organization it is used, such as `research/agent-7/run-42`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The id of your work. Without one, a random key is made for the call and kept over its retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When it happened, as RFC 3339; only records have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Values by which bills and series tell usage apart.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Value>,
}

impl Usage {
    /// One unit of a meter.
    pub fn new(org: impl Into<String>, meter: impl Into<String>) -> Self {
        Self {
            org: org.into(),
            meter: meter.into(),
            quantity: Some(Quantity::from(1_u8)),
            call: None,
            user: None,
            path: None,
            key: None,
            time: None,
            properties: BTreeMap::new(),
        }
    }

    /// So much of it.
    #[must_use]
    pub fn quantity(mut self, quantity: impl Into<Quantity>) -> Self {
        (self.quantity, self.call) = (Some(quantity.into()), None);
        self
    }

    /// What a call of a language model costs.
    #[must_use]
    pub fn call(mut self, call: ModelCall) -> Self {
        (self.quantity, self.call) = (None, Some(call));
        self
    }

    /// By this user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// At this path below the organization.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Under the id of your work: sent twice it counts once, over crashes of your own, too.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// At this time, as RFC 3339.
    #[must_use]
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.time = Some(time.into());
        self
    }

    /// With this property.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }
}

/// The answer to a usage.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It is counted, and on disk.
    Allowed(Box<Allowed>),
    /// Nothing was counted.
    Denied(Box<Denied>),
}

impl Decision {
    /// What was counted, if it was.
    #[must_use]
    pub fn allowed(&self) -> Option<&Allowed> {
        match self {
            Self::Allowed(allowed) => Some(allowed),
            Self::Denied(_) => None,
        }
    }

    /// Why not, if it was not.
    #[must_use]
    pub fn denied(&self) -> Option<&Denied> {
        match self {
            Self::Allowed(_) => None,
            Self::Denied(denied) => Some(denied),
        }
    }
}

/// The usage is counted, and on disk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Allowed {
    /// This call was counted before: a retry.
    pub replayed: bool,
    /// Its key.
    pub key: String,
    /// The organization.
    pub org: String,
    /// Who used it.
    pub user: Option<String>,
    /// Where below the organization.
    pub path: Option<String>,
    /// What was used.
    pub meter: String,
    /// How much.
    pub quantity: Amount,
    /// Credit that is left; none where the plan does not ask for credit.
    pub remaining: Option<Amount>,
    /// What is used of the period's credit.
    pub used: Amount,
    /// The period's credit.
    pub total: Amount,
    /// What holds reserve of it, while there are some.
    pub held: Option<Amount>,
    /// What the user used this month.
    pub user_used: Option<Amount>,
    /// The number of the ledger entry.
    pub entry: u64,
}

/// Nothing was counted. The key is still free: after a top-up the same call may pass.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Denied {
    /// Why, as a value to match on.
    #[serde(rename = "code")]
    pub reason: Reason,
    /// 402: buying helps; 429: waiting helps; 403 and 422: neither.
    pub status: u16,
    /// Why, in a sentence.
    pub detail: String,
    /// How much was asked for.
    pub quantity: Option<Amount>,
    /// Credit that is left.
    pub remaining: Option<Amount>,
    /// The limit or credit that decided.
    pub limit: Option<Limit>,
    /// With 429: when there is room again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// The whole answer, `application/problem+json`.
    #[serde(skip)]
    pub problem: Vec<u8>,
}

impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.reason.as_str(), self.detail)
    }
}

/// The limit or credit that decided a denial.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Limit {
    /// `org`, `path`, `user` or `hold`.
    pub scope: String,
    /// Whose it is, of a limit per user.
    pub user: Option<String>,
    /// The path that is full: that of the usage, or one that it lies below.
    pub path: Option<String>,
    /// `minute`, `hour`, `day`, `month` or `lifetime`.
    pub window: Option<String>,
    /// What it allows.
    pub amount: Amount,
    /// What is used of it.
    pub used: Amount,
    /// What holds reserve of it.
    pub held: Option<Amount>,
    /// What is left.
    pub remaining: Amount,
    /// When it begins anew, as RFC 3339.
    pub resets_at: Option<String>,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Why a usage or a hold was denied.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
        #[serde(from = "String")]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
            /// One that came after this version of the client.
            Other(String),
        }

        impl From<String> for Reason {
            fn from(code: String) -> Self {
                match code.as_str() {
                    $($code => Self::$name,)*
                    _ => Self::Other(code),
                }
            }
        }

        impl Reason {
            /// Its stable code.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }
        }
    };
}

reasons! {
    /// The organization has no plan.
    NoPlan = "no_plan",
    /// Its trial is over or used up.
    TrialEnded = "trial_ended",
    /// Its credit is used up, or a limit of the organization is reached.
    OrgLimitReached = "org_limit_reached",
    /// A limit of the path, or of one that it lies below, is reached.
    PathLimitReached = "path_limit_reached",
    /// A limit of the user is reached.
    UserLimitReached = "user_limit_reached",
    /// The hold that another was to be carved out of leaves no room.
    HoldLimitReached = "hold_limit_reached",
    /// A limit per user is in force and no user was named.
    UserRequired = "user_required",
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Batch {
    /// Counted now.
    pub counted: u64,
    /// Counted before.
    pub duplicates: u64,
    /// Refused for good.
    pub rejected: u64,
    /// Those that were refused.
    pub results: Vec<RecordResult>,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RecordResult {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// `counted`, `duplicate` or `rejected`.
    pub status: String,
    /// Why it was rejected.
    pub code: Option<String>,
    /// The same in a sentence.
    pub detail: Option<String>,
    /// The field that is wrong.
    pub field: Option<String>,
    /// The number of the ledger entry.
    pub entry: Option<u64>,
}

/// Credit to add.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TopUp {
    /// Of which meter.
    pub meter: String,
    /// How much.
    pub amount: Quantity,
    /// The id of your payment or grant; a random key unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// From when it may be used, as RFC 3339; at once unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_at: Option<String>,
    /// RFC 3339 or `never`; the end of the month unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Lower burns first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// For the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Notes of your own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
}

impl TopUp {
    /// So much credit of a meter.
    pub fn new(meter: impl Into<String>, amount: impl Into<Quantity>) -> Self {
        Self {
            meter: meter.into(),
            amount: amount.into(),
            key: None,
            effective_at: None,
            expires_at: None,
            priority: None,
            reason: None,
            metadata: BTreeMap::new(),
        }
    }

    /// Under the id of your payment: sent twice it is added once.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Until then, as RFC 3339, or `never`.
    #[must_use]
    pub fn expires_at(mut self, expires_at: impl Into<String>) -> Self {
        self.expires_at = Some(expires_at.into());
        self
    }

    /// With a reason for the ledger.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}
