//! The calls.

use std::env;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Error;
use crate::hold::{Held, Hold, HoldDecision};
use crate::retry::{Answer, Transport};
use crate::wire::{Allowed, Batch, Decision, Denied, TopUp, Usage};

const DEFAULT_URL: &str = "http://127.0.0.1:8080";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);

/// A client of one server. Clones share its connections; they live on the Tokio runtime that makes the calls.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

/// Settings of a client; those of the environment where nothing else is set.
#[derive(Clone, Debug, Default)]
pub struct ClientBuilder {
    url: Option<String>,
    api_key: Option<String>,
    timeout: Option<Duration>,
    patience: Option<Duration>,
}

impl ClientBuilder {
    /// The server's address: `TOLLGATE_URL`, or `http://127.0.0.1:8080`, unless set.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// `TOLLGATE_API_KEY` unless set.
    #[must_use]
    pub fn api_key(mut self, api_key: impl Into<String>) -> Self {
        self.api_key = Some(api_key.into());
        self
    }

    /// How long one attempt may take; 10 s unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long one call is tried again, all pauses together, before it is [unreachable](Error::Unreachable); 30 s unless set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// A client with these settings. It connects with its first call.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn build(self) -> Result<Client, Error> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let url = self.url.or_else(|| set("TOLLGATE_URL")).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let api_key = self.api_key.or_else(|| set("TOLLGATE_API_KEY"));
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let patience = self.patience.unwrap_or(DEFAULT_PATIENCE);
        let transport = Transport::new(&url, api_key.as_deref(), timeout, patience)?;
        Ok(Client { transport: Arc::new(transport) })
    }
}

impl Client {
    /// Settings to begin with.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client with the settings of the environment: `TOLLGATE_URL` and `TOLLGATE_API_KEY`.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn from_env() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Checks and counts in one step. A denial is no error.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::Denied`].
    pub async fn try_use(&self, usage: &Usage) -> Result<Decision, Error> {
        let answer = self.post("/v1/usage", &with_key(usage)).await?;
        if answer.is_denied {
            return Ok(Decision::Denied(denied(&answer)?));
        }
        Ok(Decision::Allowed(serde_json::from_slice(&answer.body)?))
    }

    /// [`try_use`](Self::try_use) with a denial as an error, for `?`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn require(&self, usage: &Usage) -> Result<Allowed, Error> {
        match self.try_use(usage).await? {
            Decision::Allowed(allowed) => Ok(*allowed),
            Decision::Denied(denied) => Err(Error::Denied(denied)),
        }
    }

    /// Whether a usage would pass, with every check; nothing is counted.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn check(&self, usage: &Usage) -> Result<Value, Error> {
        let asked = Usage { key: None, ..usage.clone() };
        self.request(Method::POST, "/v1/usage/check", Some(&asked)).await
    }

    /// Takes a usage back by its key, once.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reverse(&self, org: &str, key: &str) -> Result<(), Error> {
        self.post("/v1/usage/reversals", &json!({"org": org, "key": key})).await.map(drop)
    }

    /// Counts usage that has happened, up to 10,000 records. Records without a key get one in place, so that the same ones may be
    /// sent again. See [`Batcher`](crate::Batcher) for a stream of them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn record(&self, records: &mut [Usage]) -> Result<Batch, Error> {
        for record in records.iter_mut().filter(|record| record.key.is_none()) {
            record.key = Some(new_key());
        }
        self.request(Method::POST, "/v1/usage/batch", Some(&*records)).await
    }

    /// Reserves an amount: capture what was used of it, and the rest is given back. A denial is no error.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::Denied`].
    pub async fn hold(&self, hold: &Hold) -> Result<HoldDecision, Error> {
        let mut asked = hold.clone();
        asked.key.get_or_insert_with(new_key);
        let answer = self.post("/v1/holds", &asked).await?;
        if answer.is_denied {
            return Ok(HoldDecision::Denied(denied(&answer)?));
        }
        Ok(HoldDecision::Held(Held::new(self.clone(), &answer.body)?))
    }

    /// Sets the plan of an organization, and creates it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_plan(&self, org: &str, plan: &str) -> Result<(), Error> {
        self.request(Method::PUT, &path(&["orgs", org, "plan"]), Some(&json!({"plan": plan})))
            .await
            .map(|Ignored {}| ())
    }

    /// Adds credit, once for each key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn top_up(&self, org: &str, top_up: &TopUp) -> Result<Value, Error> {
        let mut asked = top_up.clone();
        asked.key.get_or_insert_with(new_key);
        self.request(Method::POST, &path(&["orgs", org, "top-ups"]), Some(&asked)).await
    }

    /// Credit, usage and limits of an organization.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn balance(&self, org: &str) -> Result<Value, Error> {
        self.request(Method::GET, &path(&["orgs", org, "balance"]), None::<&Value>).await
    }

    /// Any route, read as whatever you like. It is sent again after a lost answer: give what changes something a key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, Error> {
        let body = body.map(serde_json::to_vec).transpose()?.map(Bytes::from);
        let answer = self.transport.persist(&method, path, body).await?;
        if answer.is_denied {
            return Err(Error::Denied(denied(&answer)?));
        }
        let body: &[u8] = if answer.body.is_empty() { b"{}" } else { &answer.body };
        Ok(serde_json::from_slice(body)?)
    }

    /// Any operation of the API, with the parameters of its path and query: `call(&operations::LIST_HOLDS, &[("org", "acme")], …)`.
    ///
    /// # Errors
    /// [`Error`]; of [`Error::Settings`] when the operation has other parameters.
    pub async fn call<T: DeserializeOwned>(
        &self,
        operation: &Operation,
        parameters: &[(&str, &str)],
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, Error> {
        self.request(operation.method.clone(), &operation.route(parameters)?, body).await
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer, Error> {
        let body = Bytes::from(serde_json::to_vec(body)?);
        self.transport.persist(&Method::POST, path, Some(body)).await
    }
}

/// A route of the API; those there are, are in [`operations`](crate::operations).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// How it is called.
    pub method: Method,
    /// Its path, with names such as `{org}` in it.
    pub path: &'static str,
    /// The parameters that it takes besides.
    pub query: &'static [&'static str],
}

impl Operation {
    fn route(&self, parameters: &[(&str, &str)]) -> Result<String, Error> {
        let (mut route, mut joint) = (self.path.to_owned(), '?');
        let mut query = String::new();
        for (name, value) in parameters {
            let place = format!("{{{name}}}");
            if self.path.contains(&place) {
                route = route.replace(&place, &encoded(value));
            } else if self.query.contains(name) {
                let _ = write!(query, "{joint}{name}={}", encoded(value));
                joint = '&';
            } else {
                return Err(Error::Settings(format!("{} {} takes no {name}", self.method, self.path)));
            }
        }
        if route.contains('{') {
            return Err(Error::Settings(format!(
                "{} {} needs every name of its path",
                self.method, self.path
            )));
        }
        Ok(route + &query)
    }
}

/// An answer that nobody reads.
#[derive(Deserialize)]
struct Ignored {}

fn with_key(usage: &Usage) -> Usage {
    let mut usage = usage.clone();
    usage.key.get_or_insert_with(new_key);
    usage
}

fn denied(answer: &Answer) -> Result<Box<Denied>, Error> {
    let mut denied: Denied = serde_json::from_slice(&answer.body)?;
    denied.retry_after = answer.retry_after;
    denied.problem = answer.body.to_vec();
    Ok(Box::new(denied))
}

/// A random key. A system without randomness has no keys; the call is refused for want of one then.
pub(crate) fn new_key() -> String {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        return String::new();
    }
    bytes.iter().fold(String::with_capacity(32), |mut key, byte| {
        let _ = write!(key, "{byte:02x}");
        key
    })
}

/// A path below `/v1` of names that may hold anything.
pub(crate) fn path(segments: &[&str]) -> String {
    segments.iter().fold("/v1".to_owned(), |path, segment| path + "/" + &encoded(segment))
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths_are_encoded() {
        assert_eq!(path(&["orgs", "a/b c", "plan"]), "/v1/orgs/a%2Fb%20c/plan");
        assert_eq!(path(&["orgs", "ä"]), "/v1/orgs/%C3%A4");
    }

    #[test]
    fn an_operation_takes_the_parameters_it_has() {
        let list = &crate::operations::LIST_HOLDS;
        assert_eq!(
            list.route(&[("limit", "5"), ("org", "a&b"), ("cursor", "x=")]).unwrap(),
            "/v1/orgs/a%26b/holds?limit=5&cursor=x%3D"
        );
        let refused = |parameters| list.route(parameters).unwrap_err().to_string();
        assert_eq!(refused(&[("org", "a"), ("limits", "5")]), "GET /v1/orgs/{org}/holds takes no limits");
        assert_eq!(refused(&[]), "GET /v1/orgs/{org}/holds needs every name of its path");
    }

    #[test]
    fn keys_are_made_once_and_differ() {
        let usage = with_key(&Usage::new("acme", "reports"));
        assert_eq!(with_key(&usage), usage);
        assert_ne!(with_key(&Usage::new("acme", "reports")), usage);
    }
}
