//! Holds: an amount that is reserved before its work, and gives itself back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::amount::{Amount, Quantity};
use crate::client::{Client, new_key, path};
use crate::error::Error;
use crate::wire::{Denied, ModelCall};

/// An amount to reserve.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Hold {
    /// The organization.
    pub org: String,
    /// What will be used.
    pub meter: String,
    /// How much at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Quantity>,
    /// A call of a language model in place of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<ModelCall>,
    /// The user within the organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where below the organization it is to be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The id of your work; a random key unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How long it lasts, in seconds; 600 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// How much more than is held may be captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overrun: Option<Quantity>,
    /// `release` or `charge`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_expiry: Option<String>,
    /// The id of the hold to carve it out of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Values by which bills and series tell usage apart.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Value>,
}

impl Hold {
    /// So much of a meter.
    pub fn new(org: impl Into<String>, meter: impl Into<String>, quantity: impl Into<Quantity>) -> Self {
        Self { quantity: Some(quantity.into()), ..Self::of(org.into(), meter.into()) }
    }

    /// What a call of a language model may cost, by the catalog.
    pub fn for_call(org: impl Into<String>, meter: impl Into<String>, call: ModelCall) -> Self {
        Self { call: Some(call), ..Self::of(org.into(), meter.into()) }
    }

    fn of(org: String, meter: String) -> Self {
        Self {
            org,
            meter,
            quantity: None,
            call: None,
            user: None,
            path: None,
            key: None,
            expires_in: None,
            overrun: None,
            on_expiry: None,
            within: None,
            properties: BTreeMap::new(),
        }
    }

    /// At this path below the organization.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// For this user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Under the id of your work.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// For so long, in whole seconds.
    #[must_use]
    pub const fn expires_in(mut self, duration: Duration) -> Self {
        self.expires_in = Some(duration.as_secs());
        self
    }

    /// With so much more that may be captured.
    #[must_use]
    pub fn overrun(mut self, overrun: impl Into<Quantity>) -> Self {
        self.overrun = Some(overrun.into());
        self
    }

    /// Charged when it expires, in place of given back.
    #[must_use]
    pub fn charged_on_expiry(mut self) -> Self {
        self.on_expiry = Some("charge".to_owned());
        self
    }

    /// Out of the budget of another.
    #[must_use]
    pub fn within(mut self, hold: &Held) -> Self {
        self.within = Some(hold.id().to_owned());
        self
    }
}

/// The answer to a hold.
#[derive(Debug)]
pub enum HoldDecision {
    /// It is reserved, and on disk.
    Held(Held),
    /// Nothing was reserved.
    Denied(Box<Denied>),
}

impl HoldDecision {
    /// The hold, with a denial as an error, for `?`.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub fn require(self) -> Result<Held, Error> {
        match self {
            Self::Held(held) => Ok(held),
            Self::Denied(denied) => Err(Error::Denied(denied)),
        }
    }
}

/// A hold as the server knows it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct HoldItem {
    /// Its id.
    pub hold: String,
    /// `open`, `captured`, `released` or `expired`.
    pub state: String,
    /// The organization.
    pub org: String,
    /// Who uses it.
    pub user: Option<String>,
    /// Where below the organization.
    pub path: Option<String>,
    /// What will be used.
    pub meter: String,
    /// Its key.
    pub key: String,
    /// How much was asked for.
    pub quantity: Amount,
    /// How much is still held.
    pub held: Amount,
    /// How much was captured.
    pub captured: Amount,
    /// How much of that was beyond what was held.
    pub overran: Amount,
    /// How much other holds were carved out of it.
    pub carved: Amount,
    /// How much more may be captured.
    pub overrun: Amount,
    /// `release` or `charge`.
    pub on_expiry: String,
    /// The hold it was carved out of.
    pub within: Option<String>,
    /// As they were given.
    #[serde(default)]
    pub properties: BTreeMap<String, Value>,
    /// RFC 3339, as are those below.
    pub made_at: String,
    /// When it ends by itself.
    pub expires_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// The ledger entry that ended it.
    pub ended_by: Option<u64>,
}

/// What a capture came to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Captured {
    /// How much was captured now.
    pub captured: Amount,
    /// Credit that is left; none where the plan does not ask for credit.
    pub remaining: Option<Amount>,
    /// This was captured before: a retry.
    pub replayed: bool,
    /// The number of the ledger entry.
    pub entry: u64,
    /// The hold after it.
    pub hold: HoldItem,
}

#[derive(Deserialize)]
struct Reply {
    remaining: Option<Amount>,
    replayed: bool,
    hold: HoldItem,
}

#[derive(Deserialize)]
struct Released {
    hold: HoldItem,
}

/// A hold that was taken. Dropped before it has ended, it is released, by a task on the Tokio runtime; where there is none, or
/// the server cannot be reached, it expires by itself.
pub struct Held {
    client: Client,
    item: Box<HoldItem>,
    remaining: Option<Amount>,
    replayed: bool,
    /// Whether it is for us to give it back.
    is_ours: bool,
}

impl Held {
    pub(crate) fn new(client: Client, body: &[u8]) -> Result<Self, Error> {
        let Reply { remaining, replayed, hold } = serde_json::from_slice(body)?;
        let is_ours = hold.state == "open";
        Ok(Self { client, item: Box::new(hold), remaining, replayed, is_ours })
    }

    /// Its id, to pass on to whoever captures it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.item.hold
    }

    /// The hold as it was after the last call.
    #[must_use]
    pub fn item(&self) -> &HoldItem {
        &self.item
    }

    /// Credit that was left when it was taken.
    #[must_use]
    pub const fn remaining(&self) -> Option<&Amount> {
        self.remaining.as_ref()
    }

    /// It was taken before: a retry.
    #[must_use]
    pub const fn replayed(&self) -> bool {
        self.replayed
    }

    /// Charges what was used and ends the hold; the rest is given back. When it is refused, as more than is held, the hold stays
    /// open. When the server cannot be reached it is not known what was captured: call it again, with the same quantity.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::Denied`].
    pub async fn capture(&mut self, quantity: impl Into<Quantity>) -> Result<Captured, Error> {
        self.captured(&json!({"quantity": quantity.into()})).await
    }

    /// Charges what a call of a language model cost, by the catalog, and ends the hold; the rest is given back.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::Denied`].
    pub async fn capture_call(&mut self, call: &ModelCall) -> Result<Captured, Error> {
        self.captured(&json!({"call": call})).await
    }

    /// Charges a part; the hold stays open.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::Denied`].
    pub async fn capture_part(&mut self, quantity: impl Into<Quantity>) -> Result<Captured, Error> {
        self.captured(&json!({"quantity": quantity.into(), "final": false, "key": new_key()})).await
    }

    async fn captured(&mut self, body: &Value) -> Result<Captured, Error> {
        let was_ours = self.is_ours;
        // If this is dropped in the middle, what was captured is not known: a release could take from what is owed.
        self.is_ours = false;
        let path = path(&["holds", self.id(), "capture"]);
        match self.client.request::<Captured>(Method::POST, &path, Some(body)).await {
            Ok(captured) => {
                *self.item = captured.hold.clone();
                self.is_ours = self.item.state == "open";
                Ok(captured)
            }
            Err(error) => {
                self.is_ours = was_ours && matches!(error, Error::Api(_));
                Err(error)
            }
        }
    }

    /// Gives back what is held, now.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::Denied`].
    pub async fn release(&mut self) -> Result<(), Error> {
        let path = path(&["holds", self.id(), "release"]);
        let Released { hold } = self.client.request(Method::POST, &path, None::<&Value>).await?;
        *self.item = hold;
        self.is_ours = false;
        Ok(())
    }

    /// Leaves it open, for somebody else to capture by its [id](Self::id).
    pub fn leave_open(mut self) -> HoldItem {
        self.is_ours = false;
        (*self.item).clone()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Held").field("item", &self.item).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (client, path) = (self.client.clone(), path(&["holds", self.id(), "release"]));
        runtime.spawn(async move {
            // What cannot be released expires.
            let _ = client.request::<Released>(Method::POST, &path, None::<&Value>).await;
        });
    }
}
