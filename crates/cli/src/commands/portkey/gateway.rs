//! Portkey over HTTP: its keys and its analytics. What it replies is read leniently.

use std::thread::park_timeout;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tollgate_domain::{Amount, Timestamp};
use ureq::Agent;
use ureq::http::{Method, Request};

use super::GatewayArgs;
use crate::client::{Route, cause, config};
use crate::decimal::shifted;
use crate::failure::Failure;
use crate::limits::{
    FOREIGN_REPLY_CHARS_SHOWN, PORTKEY_PAGE_ROWS, PORTKEY_PAGES_MAX, PORTKEY_PAUSE, PORTKEY_PAUSE_MAX,
    PORTKEY_TRIES_MAX, REPLY_BYTES_MAX,
};
use crate::table::printable;

/// What the server's settings may have behind the address, which this does not need.
const OWN_PATHS: [&str; 2] = ["/analytics/groups/ai-models", "/v1"];

/// US cents are USD by this power of ten.
const CENTS: i32 = -2;

/// Talks to Portkey.
pub(super) struct Gateway {
    agent: Agent,
    base: String,
    api_key: String,
    workspace: Option<String>,
}

/// A key as Portkey shows it, as far as it is looked at.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Key {
    pub(super) name: Option<String>,
    pub(super) usage_limits: Option<UsageLimits>,
    pub(super) expires_at: Option<String>,
}

/// The usage limit of a key: whole numbers, which some write as floats.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UsageLimits {
    #[serde(rename = "type")]
    pub(super) kind: Value,
    pub(super) credit_limit: Value,
    pub(super) alert_threshold: Value,
    periodic_reset: Value,
    periodic_reset_days: Value,
}

impl UsageLimits {
    /// Whether Portkey gives the limit again from time to time.
    pub(super) fn renews(&self) -> bool {
        !self.periodic_reset.is_null() || !self.periodic_reset_days.is_null()
    }
}

/// A row of a group of Portkey's analytics.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    #[serde(default)]
    user: Value,
    #[serde(default)]
    ai_model: Value,
    cost: Option<Box<RawValue>>,
}

impl Row {
    /// The user, if it is one's.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_str().filter(|user| !user.is_empty())
    }

    /// The model, if it is named.
    pub(super) fn model(&self) -> Option<&str> {
        self.ai_model.as_str().filter(|model| !model.is_empty())
    }

    /// What it cost, in USD; `None` where Portkey does not say.
    pub(super) fn cost(&self) -> Result<Option<Amount>, Failure> {
        let Some(cost) = self.cost.as_ref().filter(|cost| cost.get() != "null") else { return Ok(None) };
        shifted(cost.get(), CENTS).map(Some).ok_or_else(|| {
            let shown: String = printable(cost.get()).chars().take(FOREIGN_REPLY_CHARS_SHOWN).collect();
            Failure::Other(format!("Portkey says a cost that cannot be read: {shown}"))
        })
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    data: Vec<Row>,
    #[serde(default)]
    total: Value,
}

impl Page {
    fn total(&self) -> Option<usize> {
        let text = self.total.as_str().map(str::to_owned);
        text.unwrap_or_else(|| self.total.to_string()).parse().ok()
    }
}

/// The calls that are looked at.
pub(super) struct Asked<'a> {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) metadata: Vec<(&'a str, &'a str)>,
}

impl Gateway {
    pub(super) fn new(args: &GatewayArgs) -> Result<Self, Failure> {
        let mut base = args.portkey_url.trim_end_matches('/');
        for path in OWN_PATHS {
            base = base.strip_suffix(path).unwrap_or(base);
        }
        let config = config(base).ok_or_else(|| {
            Failure::Usage(format!(
                "portkey-url: '{}' is not an address; expected such as https://api.portkey.ai",
                args.portkey_url
            ))
        })?;
        let api_key = args.portkey_api_key.clone().filter(|key| !key.is_empty()).ok_or_else(|| {
            Failure::Usage("portkey-api-key: is needed; set PORTKEY_API_KEY in the environment".to_owned())
        })?;
        let (agent, base) = (config.new_agent(), base.to_owned());
        Ok(Self { agent, base, api_key, workspace: args.portkey_workspace.clone() })
    }

    /// A key.
    pub(super) fn key(&self, id: &str) -> Result<Key, Failure> {
        read(&self.ask(&Route::v1(&["api-keys", id]))?)
    }

    /// Changes a key. It is sent once: whether a change without an answer was made is not known.
    pub(super) fn change_key(&self, id: &str, body: &Value) -> Result<(), Failure> {
        let answer = self.send(&Method::PUT, &Route::v1(&["api-keys", id]), Some(body))?;
        self.text(answer).map(drop)
    }

    /// All rows of a group: `users` or `ai-models`.
    pub(super) fn rows(&self, group: &str, asked: &Asked<'_>) -> Result<Vec<Row>, Failure> {
        let metadata: serde_json::Map<String, Value> =
            asked.metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let route = Route::v1(&["analytics", "groups", group])
            .with("time_of_generation_min", Some(&asked.from.to_string()))
            .with("time_of_generation_max", Some(&asked.to.to_string()))
            .with("workspace_slug", self.workspace.as_deref())
            .with("metadata", Some(&Value::Object(metadata).to_string()))
            .with("page_size", Some(&PORTKEY_PAGE_ROWS.to_string()));
        let mut rows = Vec::new();
        for page in 0..PORTKEY_PAGES_MAX {
            let page: Page = read(&self.ask(&route.clone().with("current_page", Some(&page.to_string())))?)?;
            let (total, found) = (page.total(), page.data.len());
            rows.extend(page.data);
            let is_last = total.map_or(found < PORTKEY_PAGE_ROWS, |total| rows.len() >= total);
            if found == 0 || is_last {
                return Ok(rows);
            }
        }
        Err(Failure::Other(format!("Portkey's list of {group} does not end")))
    }

    /// Reads something; again where Portkey is too busy for it or fails.
    fn ask(&self, route: &Route) -> Result<String, Failure> {
        let mut tries = 1;
        loop {
            let answer = self.send(&Method::GET, route, None);
            let pause = match &answer {
                Ok(answer) if matches!(answer.status, 429 | 500..) => {
                    answer.retry_after.unwrap_or(PORTKEY_PAUSE)
                }
                Err(Failure::Unreachable { .. }) => PORTKEY_PAUSE,
                _ => return self.text(answer?),
            };
            if tries == PORTKEY_TRIES_MAX || pause > PORTKEY_PAUSE_MAX {
                return self.text(answer?);
            }
            tries += 1;
            // Nobody wakes it: Portkey is given a moment.
            park_timeout(pause);
        }
    }

    fn send(&self, method: &Method, route: &Route, body: Option<&Value>) -> Result<Answer, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{}", self.base, route.text()))
            .header("accept", "application/json")
            .header("x-portkey-api-key", &self.api_key);
        // The error of a header would show it.
        let wrong =
            |_| Failure::Usage("the request to Portkey cannot be made: is the API key right?".to_owned());
        let answer = match body {
            None => self.agent.run(request.body(()).map_err(wrong)?),
            Some(body) => {
                request = request.header("content-type", "application/json");
                self.agent.run(request.body(body.to_string()).map_err(wrong)?)
            }
        };
        let unreachable = |error: ureq::Error| {
            let hint = "--portkey-url or PORTKEY_URL names another".to_owned();
            Failure::Unreachable { url: self.base.clone(), reason: cause(&error).0, hints: vec![hint] }
        };
        let (head, mut body) = answer.map_err(unreachable)?.into_parts();
        let retry_after = head.headers.get("retry-after").and_then(|secs| secs.to_str().ok()?.parse().ok());
        let text = body.with_config().limit(REPLY_BYTES_MAX).lossy_utf8(true).read_to_string();
        Ok(Answer {
            status: head.status.as_u16(),
            retry_after: retry_after.map(Duration::from_secs),
            text: text.map_err(unreachable)?,
        })
    }

    /// The text of an answer that is a success.
    fn text(&self, answer: Answer) -> Result<String, Failure> {
        let why = match answer.status {
            200..300 => return Ok(answer.text),
            401 => "it does not know the API key",
            403 => "the API key lacks a scope, such as analytics.view or workspace_service_api_keys.update",
            404 => "there is no such key, or no such path",
            _ => "",
        };
        let shown: String = printable(&answer.text).chars().take(FOREIGN_REPLY_CHARS_SHOWN).collect();
        let parts = [why, &shown].map(str::trim).into_iter().filter(|part| !part.is_empty());
        let told = parts.collect::<Vec<_>>().join(": ");
        Err(Failure::Other(format!("Portkey at {} answered {}: {told}", self.base, answer.status)))
    }
}

struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    text: String,
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::Other(format!("Portkey's reply is not what this version expects: {error}")))
}
