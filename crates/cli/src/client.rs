//! The native API over HTTP, as the client commands need it: one request, one reply, problems as failures.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use ureq::config::Config;
use ureq::http::{Method, Request, Uri};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};
use ureq::{Agent, Body};

use crate::failure::{Failure, ProblemTold};
use crate::limits::{CALL_TIMEOUT, CONNECT_TIMEOUT, FOREIGN_REPLY_CHARS_SHOWN, REPLY_BYTES_MAX};
use crate::tls::{self, TrustFile};

/// Which server to talk to, and how the answer is shown.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Connection {
    /// Server address.
    #[arg(
        long,
        global = true,
        env = "TOLLGATE_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub(crate) url: String,
    /// API key; prefer the environment variable, which keeps it out of the process list.
    #[arg(long, global = true, env = "TOLLGATE_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) api_key: Option<String>,
    /// Trust the certificates in this PEM file instead of the public authorities.
    #[arg(long, global = true, env = "TOLLGATE_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Print the server's JSON reply.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// A path of the API with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route(String);

impl Route {
    /// `/v1` and the segments, each encoded.
    pub(crate) fn v1(segments: &[&str]) -> Self {
        segments.iter().fold(Self("/v1".to_owned()), |route, segment| {
            let segment = match *segment {
                // Whole segments that intermediaries would resolve away.
                "." => "%2E".to_owned(),
                ".." => "%2E%2E".to_owned(),
                other => encoded(other),
            };
            Self(format!("{}/{segment}", route.0))
        })
    }

    /// A path outside `/v1`, as it is.
    pub(crate) fn plain(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// The same with a parameter, if there is a value.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            let mark = if self.0.contains('?') { '&' } else { '?' };
            self.0 = format!("{}{mark}{}={}", self.0, encoded(name), encoded(value));
        }
        self
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Whether its last name says something: without it another route is meant, or none.
    fn is_whole(&self) -> bool {
        let path = self.0.split('?').next().unwrap_or_default();
        !path.ends_with('/')
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// What is sent along.
pub(crate) enum Sent<'a> {
    /// Nothing.
    Nothing,
    /// JSON.
    Json(Value),
    /// A catalog.
    Toml(&'a str),
    /// JSON objects, one a line.
    Lines(&'a str),
}

/// An answer of the server.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The id the server gave the request.
    pub(crate) request_id: Option<String>,
    /// The body.
    pub(crate) text: String,
}

/// Talks to one server.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    api_key: Option<String>,
}

impl Client {
    /// Gets ready; connects with the first request.
    pub(crate) fn new(connection: &Connection) -> Result<Self, Failure> {
        let base = connection.url.trim_end_matches('/').to_owned();
        if base.contains('@') {
            // What stands before it may be a password.
            let text = "url: expected http://HOST:PORT or https://HOST:PORT, without a user; an API key is told by TOLLGATE_API_KEY";
            return Err(Failure::Usage(text.to_owned()));
        }
        let Some(config) = config(&base) else {
            return Err(Failure::Usage(format!(
                "url: '{}' is not the address of a server; expected http://HOST:PORT or https://HOST:PORT",
                connection.url
            )));
        };
        let agent = match &connection.ca_file {
            None => config.new_agent(),
            Some(path) => {
                let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default());
                let connector = connector.chain(TrustFile::read(path)?);
                Agent::with_parts(config, connector, DefaultResolver::default())
            }
        };
        let api_key = connection.api_key.clone().filter(|key| !key.is_empty());
        Ok(Self { agent, base, api_key })
    }

    /// Sends and returns the answer, whatever its status.
    ///
    /// # Errors
    /// [`Failure::Unreachable`] when there is none.
    pub(crate) fn exchange(&self, method: Method, route: &Route, sent: &Sent<'_>) -> Result<Reply, Failure> {
        self.exchange_as(self.api_key(), method, route, sent)
    }

    /// The API key of the command.
    pub(crate) fn api_key(&self) -> Option<&str> {
        self.api_key.as_deref()
    }

    /// The same under another API key, or none.
    ///
    /// # Errors
    /// As [`Client::exchange`].
    pub(crate) fn exchange_as(
        &self,
        key: Option<&str>,
        method: Method,
        route: &Route,
        sent: &Sent<'_>,
    ) -> Result<Reply, Failure> {
        if !route.is_whole() {
            let text = "a name or an id in the command is empty; expected 1 to 128 characters";
            return Err(Failure::Usage(text.to_owned()));
        }
        let mut request = Request::builder().method(method).uri(format!("{}{}", self.base, route.text()));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let wrong = |error: ureq::http::Error| Failure::Usage(format!("the request cannot be made: {error}"));
        let answer = match sent {
            Sent::Nothing => self.agent.run(request.body(()).map_err(wrong)?),
            Sent::Json(value) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(value.to_string()).map_err(wrong)?)
            }
            Sent::Lines(text) => {
                let request = request.header("content-type", "application/x-ndjson");
                self.agent.run(request.body((*text).to_owned()).map_err(wrong)?)
            }
            Sent::Toml(text) => {
                let request = request.header("content-type", "application/toml");
                self.agent.run(request.body((*text).to_owned()).map_err(wrong)?)
            }
        };
        let (parts, mut body) = answer.map_err(|error| self.unreachable(&error))?.into_parts();
        let request_id = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok(Reply { status: parts.status.as_u16(), request_id, text: self.read(&mut body)? })
    }

    fn read(&self, body: &mut Body) -> Result<String, Failure> {
        let text = body.with_config().limit(REPLY_BYTES_MAX).lossy_utf8(true).read_to_string();
        text.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let (reason, hint) = cause(error);
        Failure::Unreachable { url: self.base.clone(), reason, hints: vec![hint.to_owned()] }
    }

    /// What an answer that is not a success means.
    pub(crate) fn problem(&self, reply: &Reply) -> Failure {
        if let Ok(mut problem) = serde_json::from_str::<ProblemTold>(&reply.text) {
            problem.request_id = problem.request_id.or_else(|| reply.request_id.clone());
            return Failure::Problem(Box::new(problem));
        }
        let shown: String =
            crate::table::printable(&reply.text).chars().take(FOREIGN_REPLY_CHARS_SHOWN).collect();
        Failure::Other(format!("{} answered {}, and not as Tollgate does: {shown}", self.base, reply.status))
    }
}

/// How requests to an address are made; `None` where it is none of HTTP.
pub(crate) fn config(base: &str) -> Option<Config> {
    let host = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://"))?;
    if !is_url(base) {
        return None;
    }
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(CALL_TIMEOUT))
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")));
    if ["127.", "localhost", "[::1]"].iter().any(|loopback| host.starts_with(loopback)) {
        // No proxy reaches this machine's own loopback.
        config = config.proxy(None);
    }
    Some(config.build())
}

/// Whether a text is the URL of a host, without a user. A port that is none would be left out, and another server asked.
pub(crate) fn is_url(text: &str) -> bool {
    let url: Option<Uri> = text.parse().ok();
    let Some(authority) = url.as_ref().and_then(Uri::authority) else { return false };
    let port = authority.as_str().strip_prefix(authority.host());
    port.is_some_and(|port| port.is_empty() || authority.port_u16().is_some_and(|port| port > 0))
}

/// Why there is no answer, and what to do about it.
pub(crate) fn cause(error: &ureq::Error) -> (String, &'static str) {
    const RUNNING: &str =
        "is a server running there? 'tollgate serve' starts one; --url or TOLLGATE_URL names another";
    const SPELLED: &str = "is the name in --url or TOLLGATE_URL spelled right?";
    const TLS: &str = "is it a Tollgate server? If it speaks TLS, use https:// in place of http://";
    let handshake = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    if let Some(error) = handshake {
        return tls::told(error);
    }
    match error {
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            ("the connection is refused".to_owned(), RUNNING)
        }
        // The standard library has no kind for it.
        ureq::Error::Io(error) if error.to_string().starts_with("failed to lookup address") => {
            (format!("the host's name is not found (DNS): {error}"), SPELLED)
        }
        ureq::Error::Io(error) => (error.to_string(), RUNNING),
        ureq::Error::HostNotFound => ("the host's name is not found (DNS)".to_owned(), SPELLED),
        ureq::Error::Protocol(error) => (format!("what came is not HTTP: {error}"), TLS),
        other => (other.to_string(), RUNNING),
    }
}

/// JSON without the members that are null.
pub(crate) fn given(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.into_iter().filter(|(_, member)| !member.is_null()).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_encoded() {
        for (org, wanted) in [
            ("acme", "/v1/orgs/acme/plan"),
            ("a.b-c_d~e", "/v1/orgs/a.b-c_d~e/plan"),
            ("a/b?c#d", "/v1/orgs/a%2Fb%3Fc%23d/plan"),
            ("ä ö%", "/v1/orgs/%C3%A4%20%C3%B6%25/plan"),
            ("a@b+c:d", "/v1/orgs/a%40b%2Bc%3Ad/plan"),
            ("..", "/v1/orgs/%2E%2E/plan"),
            (".", "/v1/orgs/%2E/plan"),
        ] {
            assert_eq!(Route::v1(&["orgs", org, "plan"]).text(), wanted);
        }
        let route =
            Route::v1(&["notices"]).with("cursor", Some("a&b=c")).with("limit", None).with("n", Some("1"));
        assert_eq!(route.text(), "/v1/notices?cursor=a%26b%3Dc&n=1");
    }

    #[test]
    fn a_route_with_an_empty_name_is_told_from_others() {
        for (names, whole) in [
            (&["orgs", "acme", "plan"][..], true),
            (&["orgs", "/", "plan"], true),
            // The server says which parameter is empty.
            (&["orgs", "", "plan"], true),
            (&["api-keys", ""], false),
        ] {
            assert_eq!(Route::v1(names).with("limit", Some("/")).is_whole(), whole, "{names:?}");
        }
        assert!(Route::plain("/health").is_whole());
    }

    #[test]
    fn what_is_not_given_is_not_sent() {
        let body = given(serde_json::json!({"a": null, "b": 1}));
        assert_eq!(body, serde_json::json!({"b": 1}));
    }

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        for (url, fine) in [
            ("http://127.0.0.1:1/", true),
            ("https://gate.example", true),
            ("http://[::1]:1", true),
            ("https://gate.example/base", true),
            ("127.0.0.1:1", false),
            ("http://", false),
            ("http://127.0.0.1:99999", false),
            ("http://127.0.0.1:", false),
            ("http://127.0.0.1:x", false),
            ("http://[::1", false),
            ("http://a b", false),
            ("http://ann:hush@127.0.0.1:1", false),
        ] {
            let connection = Connection { url: url.to_owned(), api_key: None, ca_file: None, json: false };
            let refused = Client::new(&connection).err().map(|failure| failure.to_string());
            assert_eq!(refused.is_none(), fine, "{url}: {refused:?}");
            assert!(!refused.unwrap_or_default().contains("hush"), "{url}");
        }
    }
}
