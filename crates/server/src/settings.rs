//! How the server is set up. Where each value comes from is the command line's business.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tollgate_notifier::{MailSettings, Reach, SigningKey, SinkUrl, check_port};

use crate::{OidcSettings, Origins, PortkeyUrl};

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; anything but loopback needs an API key or a trusted network.
    pub listen: SocketAddr,
    /// Whether everybody who can reach the address may do everything while there is no API key.
    pub trusted_network: bool,
    /// Where the data is.
    pub store: StoreUrl,
    /// A catalog file to bring into force at start, if it is not in force already.
    pub catalog: Option<PathBuf>,
    /// An admin key that is valid besides the stored ones.
    pub api_key: Option<Secret>,
    /// Origins whose web pages may use the server; none unless given.
    pub cors_origins: Origins,
    /// Who says who people are, if they can sign in to the console so.
    pub oidc: Option<OidcSettings>,
    /// Origins whose pages may show the customer portal in a frame; none unless given.
    pub portal_frames: Origins,
    /// Certificate and key files; plain HTTP unless given.
    pub tls: Option<TlsFiles>,
    /// The environment's name, told by `/health`.
    pub environment: String,
    /// Who sells, as exports of bills name it.
    pub provider: String,
    /// Largest body of a request, in bytes; the catalog has a limit of its own.
    pub body_bytes_max: usize,
    /// Largest headers of a request, in bytes.
    pub header_bytes_max: usize,
    /// Most connections at a time; further ones wait in the operating system's queue.
    pub connections_max: usize,
    /// Most requests a second from one address other than this machine; `None` is no limit.
    pub rate_per_address: Option<u32>,
    /// How long headers and body may take to arrive.
    pub request_timeout: Duration,
    /// How long open requests are waited for at shutdown.
    pub shutdown_grace: Duration,
    /// Most requests that wait for the writer.
    pub queue_requests_max: usize,
    /// How many days a key is remembered.
    pub key_keep_days: u32,
    /// How many days back the time of a usage may lie.
    pub late_days: u32,
    /// How many seconds ahead the time of a usage may lie.
    pub ahead_secs: u32,
    /// How many months counters are kept after their window.
    pub counter_keep_months: u32,
    /// How many days after its end a month closes by itself; `None` leaves it to people.
    pub close_after_days: Option<u16>,
    /// How often is looked for months to close.
    pub close_interval: Duration,
    /// Where aggregates of pulses are committed to.
    pub sink: Option<SinkUrl>,
    /// What requests to the sink are signed with.
    pub sink_secret: Option<SigningKey>,
    /// The gateway that prices the calls of the credits API, if there is one.
    pub portkey: Option<PortkeyUrl>,
    /// What the gateway knows this server by.
    pub portkey_api_key: Option<Secret>,
    /// The workspace of the gateway whose calls are priced.
    pub portkey_workspace: Option<String>,
    /// How long the gateway has to price a call.
    pub portkey_timeout: Duration,
    /// How often aggregates are committed by themselves, where there is a sink.
    pub commit_interval: Duration,
    /// How often a Redis before a database gives it the newest entries.
    pub flush_interval: Duration,
    /// How long a commit that somebody asked for tries to send a batch.
    pub commit_patience: Duration,
    /// Where the endpoints of channels may be.
    pub webhook_reach: Reach,
    /// Where channels to SQS and SNS send to, if not to AWS.
    pub aws_endpoint: Option<String>,
    /// How e-mail leaves, if it does.
    pub mail: Option<MailSettings>,
    /// Where spans and metrics are sent, if anywhere.
    pub otlp: Option<OtlpUrl>,
    /// How often is looked for notices to deliver.
    pub notice_interval: Duration,
    /// Size of the ledger's segment files, in bytes; 4 KiB to 2 GiB. Two of them are taken ahead.
    pub segment_bytes: u64,
    /// Threads that serve connections; `None` is one per core.
    pub threads: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            trusted_network: false,
            store: StoreUrl::Embedded(PathBuf::from("./tollgate-data")),
            catalog: None,
            api_key: None,
            cors_origins: Origins::default(),
            oidc: None,
            portal_frames: Origins::default(),
            tls: None,
            environment: "production".to_owned(),
            provider: "Tollgate".to_owned(),
            body_bytes_max: 64 * 1024,
            header_bytes_max: 16 * 1024,
            connections_max: 12_000,
            rate_per_address: Some(10_000),
            request_timeout: Duration::from_secs(15),
            shutdown_grace: Duration::from_secs(20),
            queue_requests_max: tollgate_engine::limits::QUEUE_REQUESTS_MAX,
            key_keep_days: 35,
            late_days: 35,
            ahead_secs: 300,
            counter_keep_months: 24,
            close_after_days: None,
            close_interval: Duration::from_mins(10),
            sink: None,
            sink_secret: None,
            portkey: None,
            portkey_api_key: None,
            portkey_workspace: None,
            portkey_timeout: Duration::from_secs(15),
            commit_interval: Duration::from_mins(1),
            flush_interval: Duration::from_mins(1),
            commit_patience: Duration::from_secs(30),
            webhook_reach: Reach::Public,
            aws_endpoint: None,
            mail: None,
            otlp: None,
            notice_interval: Duration::from_secs(1),
            segment_bytes: 64 * 1024 * 1024,
            threads: None,
        }
    }
}

/// Where the data is: `embedded:PATH`, `postgres://…`, `redis+postgres://…`, `dynamodb://…`, `mongodb://…`, or `memory:` for nothing that should
/// last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// In a folder of this machine.
    Embedded(PathBuf),
    /// In a PostgreSQL, for any number of servers.
    Postgres(DatabaseUrl),
    /// The same with the newest entries in a Redis before it.
    Redis(DatabaseUrl),
    /// In a DynamoDB table, for any number of servers.
    Dynamo(DatabaseUrl),
    /// In a MongoDB, for any number of servers.
    Mongo(DatabaseUrl),
    /// In memory: gone with the process.
    Memory,
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("embedded", path)) if !path.is_empty() => Ok(Self::Embedded(PathBuf::from(path))),
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("postgres" | "postgresql", _)) => text.parse().map(Self::Postgres),
            Some(("redis+postgres" | "redis+postgresql", _)) => text.parse().map(Self::Redis),
            Some(("dynamodb", _)) => text.parse().map(Self::Dynamo),
            Some(("mongodb" | "mongodb+srv", _)) => text.parse().map(Self::Mongo),
            // What looks like a URL may hold a password.
            Some((scheme, rest)) if rest.starts_with("//") => {
                Err(format!("{scheme}:// is not a store; {STORES}"))
            }
            _ => Err(format!("'{text}' is not a store; {STORES}")),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => write!(formatter, "embedded:{}", path.display()),
            Self::Postgres(url) | Self::Redis(url) | Self::Dynamo(url) | Self::Mongo(url) => {
                url.fmt(formatter)
            }
            Self::Memory => formatter.write_str("memory:"),
        }
    }
}

/// What a store may be.
const STORES: &str = "expected embedded:PATH, postgres://USER:PASSWORD@HOST/DATABASE, \
     redis+postgres://USER:PASSWORD@HOST/DATABASE?redis=redis://HOST, dynamodb://TABLE, mongodb://HOST/DATABASE or memory:";

/// Where a database is, and who asks. Its password is shown nowhere, and that of a Redis before it neither.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// All of it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        crate::stores::check_database(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, query) = self.0.split_once('?').unwrap_or((&self.0, ""));
        let (scheme, place) = place.split_once("://").unwrap_or(("postgres", place));
        // A password may hold an at sign; a host may not.
        let (user, host) = place.rsplit_once('@').unwrap_or(("", place));
        write!(formatter, "{scheme}://")?;
        match user.split_once(':') {
            Some((user, _)) => write!(formatter, "{user}:***@")?,
            None if !user.is_empty() => write!(formatter, "{user}@")?,
            None => {}
        }
        formatter.write_str(host)?;
        for (place, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            let pair = match pair.split_once('=') {
                Some((name @ ("redis" | "authMechanismProperties"), _)) => format!("{name}=***"),
                _ if pair.starts_with("password") => "password=***".to_owned(),
                _ => pair.to_owned(),
            };
            write!(formatter, "{}{pair}", if place == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Where a collector of OpenTelemetry takes OTLP over HTTP: the address that `/v1/traces` and `/v1/metrics` are added to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpUrl(String);

impl OtlpUrl {
    /// Where one kind of telemetry goes.
    #[cfg(feature = "otlp")]
    pub(crate) fn of(&self, signal: &str) -> String {
        format!("{}/v1/{signal}", self.0)
    }
}

impl FromStr for OtlpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not the address of a collector; expected such as http://127.0.0.1:4318".to_owned();
        let url: http::Uri = text.parse().map_err(|_| wrong())?;
        let is_http = matches!(url.scheme_str(), Some("http" | "https"));
        // A password in it would be in the log.
        let is_bare =
            url.query().is_none() && url.authority().is_some_and(|host| !host.as_str().contains('@'));
        check_port(&url)?;
        if is_http && is_bare { Ok(Self(text.trim_end_matches('/').to_owned())) } else { Err(wrong()) }
    }
}

impl fmt::Display for OtlpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Certificate and key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A text that no log and no error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_database_is_shown_nowhere() {
        for (url, shown) in [
            ("postgres://ann:hush@h:1/d?schema=s&pool_max=9", "postgres://ann:***@h:1/d?schema=s&pool_max=9"),
            ("postgresql://ann:hu@hush@h/d", "postgresql://ann:***@h/d"),
            (
                "postgres://ann@h/d?password=hush&sslmode=disable",
                "postgres://ann@h/d?password=***&sslmode=disable",
            ),
            ("postgres://h/d?user=ann&password=hush", "postgres://h/d?user=ann&password=***"),
            ("postgres://h", "postgres://h"),
            ("dynamodb://table?region=eu-west-1", "dynamodb://table?region=eu-west-1"),
            ("dynamodb://key:hush@table", "dynamodb://key:***@table"),
            (
                "mongodb+srv://ann:hush@h,i/d?authMechanismProperties=AWS_SESSION_TOKEN:hush&tls=true",
                "mongodb+srv://ann:***@h,i/d?authMechanismProperties=***&tls=true",
            ),
            (
                "redis+postgres://ann:hush@h/d?redis=redis://:hush@r:1/2&durable=always",
                "redis+postgres://ann:***@h/d?redis=***&durable=always",
            ),
        ] {
            let store = StoreUrl::Postgres(DatabaseUrl(url.to_owned()));
            assert_eq!(store.to_string(), shown);
            assert!(!format!("{store:?}").contains("hush"), "{store:?}");
        }
        let error = "mysql://ann:hush@h/d".parse::<StoreUrl>().expect_err("no store");
        assert!(error.contains("mysql:// is not a store") && !error.contains("hush"), "{error}");
    }

    #[cfg(not(feature = "postgres"))]
    #[test]
    fn a_build_without_postgres_says_how_to_get_one_with_it() {
        let error = "postgres://ann:hush@127.0.0.1/d".parse::<StoreUrl>().expect_err("not in this build");
        assert!(error.contains("--features postgres") && !error.contains("hush"), "{error}");
    }

    #[cfg(not(feature = "aws"))]
    #[test]
    fn a_build_without_aws_says_how_to_get_one_with_it() {
        let error = "dynamodb://key:hush@table".parse::<StoreUrl>().expect_err("not in this build");
        assert!(error.contains("--features aws") && !error.contains("hush"), "{error}");
    }

    #[cfg(not(feature = "mongodb"))]
    #[test]
    fn a_build_without_mongodb_says_how_to_get_one_with_it() {
        let error = "mongodb://ann:hush@h/d".parse::<StoreUrl>().expect_err("not in this build");
        assert!(error.contains("--features mongodb") && !error.contains("hush"), "{error}");
    }

    #[cfg(not(feature = "redis"))]
    #[test]
    fn a_build_without_redis_says_how_to_get_one_with_it() {
        let url = "redis+postgres://ann:hush@127.0.0.1/d?redis=redis://:hush@r";
        let error = url.parse::<StoreUrl>().expect_err("not in this build");
        assert!(error.contains("--features redis") && !error.contains("hush"), "{error}");
    }

    #[cfg(feature = "redis")]
    #[test]
    fn what_is_wrong_with_a_redis_is_said_without_its_password() {
        let error = "redis+postgres://ann:hush@127.0.0.1/d".parse::<StoreUrl>().expect_err("no Redis");
        assert!(error.contains("names no Redis") && !error.contains("hush"), "{error}");
        let url = "redis+postgres://ann:hush@127.0.0.1/d?redis=redis://:hush@r";
        assert!(matches!(url.parse(), Ok(StoreUrl::Redis(_))));
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn what_is_wrong_with_a_database_is_said_without_its_password() {
        let error = "postgres://ann:hush@127.0.0.1/d?sslmode=prefer".parse::<StoreUrl>().expect_err("unsafe");
        assert!(error.contains("sslmode 'prefer'") && !error.contains("hush"), "{error}");
        assert!("postgres://ann:hush@127.0.0.1/d".parse::<StoreUrl>().is_ok());
    }
}
