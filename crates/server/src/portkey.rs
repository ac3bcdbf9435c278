//! Portkey, an AI gateway: what a call that went through it cost.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_domain::{SignedDuration, Timestamp};
use tollgate_notifier::check_port;

use crate::decimal;
use crate::limits::{PORTKEY_REPLY_BYTES_MAX, PORTKEY_TRACE_DAYS};
use crate::settings::Settings;

/// The path that is asked where the URL names none.
const PATH: &str = "/v1/analytics/groups/ai-models";

/// US cents in a USD.
const CENTS: Decimal = Decimal::ONE_HUNDRED;

/// Where Portkey is: an `http` or `https` URL without a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortkeyUrl(Uri);

impl FromStr for PortkeyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "not a URL of a gateway; expected such as https://api.portkey.ai".to_owned();
        // A bare host is one that speaks TLS.
        let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let uri: Uri = whole.parse().map_err(|_| bad())?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
        if !is_http || has_user || uri.query().is_some() {
            return Err(bad());
        }
        check_port(&uri)?;
        Ok(Self(uri))
    }
}

impl fmt::Display for PortkeyUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a call cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// In USD.
    pub(crate) usd: Decimal,
    /// The model, if the gateway names one.
    pub(crate) model: Option<String>,
}

/// Why a call has no price.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum PortkeyError {
    /// The gateway knows no cost of the trace.
    NoCost,
    /// It could not be reached, was too slow, or did not say anything that can be read.
    Unreachable(String),
    /// It answered with an error.
    Refused {
        /// Its status.
        status: u16,
        /// Its body: JSON, or a text.
        body: serde_json::Value,
    },
}

/// The answer to a question that several callers may wait for.
type Asking = BoxFuture<'static, Result<Cost, PortkeyError>>;

/// Asks Portkey.
pub(crate) struct Portkey {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: PortkeyUrl,
    api_key: Option<HeaderValue>,
    workspace: Option<String>,
    patience: Duration,
    /// The traces that are being asked for, or charged by the answer: who retries meanwhile goes by the same answer.
    asked: Mutex<HashMap<String, WeakShared<Asking>>>,
}

impl fmt::Debug for Portkey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Portkey").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Portkey {
    /// As the settings say; `None` without a gateway. `Err` when the key cannot travel in a header.
    pub(crate) fn new(settings: &Settings) -> Result<Option<Self>, String> {
        let Some(url) = settings.portkey.clone() else { return Ok(None) };
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(provider)
            .map_err(|error| format!("no TLS for the gateway: {error}"))?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_mins(1))
            .build(connector);
        let api_key = settings.portkey_api_key.as_ref().map(|key| {
            let mut value = HeaderValue::from_str(&key.0)
                .map_err(|_| "the gateway's API key cannot be sent in a header".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let api_key = api_key.transpose()?;
        let workspace = settings.portkey_workspace.clone();
        let patience = settings.portkey_timeout;
        Ok(Some(Self { client, url, api_key, workspace, patience, asked: Mutex::default() }))
    }

    /// The question what the call of a trace cost, as whoever else has it at the moment asks it. It is to be had before it
    /// is looked whether the trace was charged, and until it is: then nobody asks for one that somebody was told.
    pub(crate) fn question(&self, trace: &str, now: Timestamp) -> Question<'_> {
        let mut asked = self.asked();
        // What went wrong is asked again.
        let is_good = |asking: &Shared<Asking>| asking.peek().is_none_or(Result::is_ok);
        let asking = asked.get(trace).and_then(WeakShared::upgrade).filter(is_good).unwrap_or_else(|| {
            let asking = self.ask(trace, now).shared();
            if let Some(weak) = asking.downgrade() {
                asked.insert(trace.to_owned(), weak);
            }
            asking
        });
        Question { portkey: self, trace: trace.to_owned(), asking }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<String, WeakShared<Asking>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, trace: &str, now: Timestamp) -> Asking {
        let (client, request, patience) = (self.client.clone(), self.request(trace, now), self.patience);
        async move {
            let request = request.map_err(|error| PortkeyError::Unreachable(error.to_string()))?;
            let late = || PortkeyError::Unreachable(format!("no answer in {} s", patience.as_secs()));
            tokio::time::timeout(patience, exchange(&client, request)).await.map_err(|_| late())?
        }
        .boxed()
    }

    fn request(&self, trace: &str, now: Timestamp) -> Result<Request<Empty<Bytes>>, http::Error> {
        let around = [-24 * PORTKEY_TRACE_DAYS, 24].map(|hours| {
            let time = now.checked_add(SignedDuration::from_hours(hours)).unwrap_or(now);
            time.to_string()
        });
        let [from, until] = &around;
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("trace_id", trace);
        if let Some(workspace) = &self.workspace {
            query.append_pair("workspace_slug", workspace);
        }
        query.append_pair("time_of_generation_min", from).append_pair("time_of_generation_max", until);
        let path = Some(self.url.0.path()).filter(|path| !matches!(*path, "" | "/")).unwrap_or(PATH);
        let mut parts = self.url.0.clone().into_parts();
        parts.path_and_query = Some(format!("{path}?{}", query.finish()).try_into()?);
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(Uri::from_parts(parts)?)
            .header("accept", "application/json")
            .header("user-agent", concat!("tollgate/", env!("CARGO_PKG_VERSION")));
        if let Some(key) = &self.api_key {
            request = request.header("x-portkey-api-key", key);
        }
        request.body(Empty::new())
    }
}

/// A question to Portkey, which several may have at a time: it is asked once.
pub(crate) struct Question<'a> {
    portkey: &'a Portkey,
    trace: String,
    asking: Shared<Asking>,
}

impl Question<'_> {
    /// What the call cost.
    pub(crate) async fn answer(&self) -> Result<Cost, PortkeyError> {
        self.asking.clone().await
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let mut asked = self.portkey.asked();
        let is_ours =
            |known: &WeakShared<Asking>| known.upgrade().is_some_and(|known| known.ptr_eq(&self.asking));
        let is_last = self.asking.strong_count() == Some(1);
        if is_last && asked.get(&self.trace).is_some_and(is_ours) {
            asked.remove(&self.trace);
        }
    }
}

/// Asks once; once more over a new connection where none came about. Nothing is changed by asking.
async fn exchange(
    client: &Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Result<Cost, PortkeyError> {
    let unreachable = |error: &dyn std::error::Error| PortkeyError::Unreachable(deepest(error));
    let response = match client.request(request.clone()).await {
        Err(error) if error.is_connect() => client.request(request).await,
        answered => answered,
    };
    let (head, body) = response.map_err(|error| unreachable(&error))?.into_parts();
    let body = Limited::new(body, PORTKEY_REPLY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| unreachable(error.as_ref()))?.to_bytes();
    if !head.status.is_success() {
        let text = || serde_json::Value::String(String::from_utf8_lossy(&body).into_owned());
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| text());
        return Err(PortkeyError::Refused { status: head.status.as_u16(), body });
    }
    read(&body)
}

/// The first cause: what a client wraps it in says little.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What Portkey replies, as far as it is read.
#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    data: Vec<Row<'a>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(default)]
    ai_model: serde_json::Value,
    /// In US cents: a number, or a text.
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
}

fn read(body: &[u8]) -> Result<Cost, PortkeyError> {
    let unreadable = || PortkeyError::Unreachable("its reply cannot be read".to_owned());
    let reply: Reply<'_> = serde_json::from_slice(body).map_err(|_| unreadable())?;
    let mut cents = Decimal::ZERO;
    for cost in reply.data.iter().filter_map(|row| row.cost) {
        let cost = decimal::read(cost.get()).filter(|cost| !cost.is_sign_negative());
        cents = cost.and_then(|cost| cents.checked_add(cost)).ok_or_else(unreadable)?;
    }
    if cents.is_zero() {
        return Err(PortkeyError::NoCost);
    }
    let models = reply.data.iter().filter_map(|row| row.ai_model.as_str());
    let model = models.map(str::to_owned).find(|model| !model.is_empty());
    Ok(Cost { usd: cents / CENTS, model })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_whatever_their_costs_are_written_as() {
        let cost = |usd: &str, model: Option<&str>| {
            Ok(Cost { usd: usd.parse().expect("a decimal"), model: model.map(str::to_owned) })
        };
        for (body, wanted) in [
            (r#"{"data":[{"ai_model":"gpt-4o","cost":0.1234}]}"#, cost("0.001234", Some("gpt-4o"))),
            (
                r#"{"data":[{"cost":"1.5"},{"ai_model":"b","cost":2},{"ai_model":"c","cost":null}]}"#,
                cost("0.035", Some("b")),
            ),
            (r#"{"data":[{"ai_model":"m","cost":1e-3}],"total":1}"#, cost("0.00001", Some("m"))),
            (
                r#"{"data":[{"ai_model":"m","cost":0.1234567890123456789}]}"#,
                cost("0.001234567890123456789", Some("m")),
            ),
            (r#"{"data":[]}"#, Err(PortkeyError::NoCost)),
            (r#"{"object":"list"}"#, Err(PortkeyError::NoCost)),
            (r#"{"data":[{"ai_model":"m","cost":0}]}"#, Err(PortkeyError::NoCost)),
        ] {
            assert_eq!(read(body.as_bytes()), wanted, "{body}");
        }
        for body in [
            "",
            "7",
            r#"{"data":[{"cost":"NaN"}]}"#,
            r#"{"data":[{"cost":-1}]}"#,
            r#"{"data":[{"cost":{}}]}"#,
        ] {
            assert!(matches!(read(body.as_bytes()), Err(PortkeyError::Unreachable(_))), "{body}");
        }
    }

    #[test]
    fn urls_of_gateways_are_checked() {
        for (text, shown) in [
            ("https://api.portkey.ai", Some("https://api.portkey.ai/")),
            ("api.portkey.ai", Some("https://api.portkey.ai/")),
            ("http://127.0.0.1:9/own/path", Some("http://127.0.0.1:9/own/path")),
            ("https://key@api.portkey.ai", None),
            ("ftp://api.portkey.ai", None),
            ("https://api.portkey.ai/?trace_id=1", None),
            ("", None),
        ] {
            let read = text.parse::<PortkeyUrl>().map(|url| url.to_string()).ok();
            assert_eq!(read.as_deref(), shown, "{text}");
        }
    }
}
