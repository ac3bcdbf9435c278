//! How a database is named, and what may be set.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use form_urlencoded::Serializer;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::limits::{CONNECT_TIMEOUT, CONNECTIONS_MAX_DEFAULT, PATIENCE_DEFAULT};
use crate::Keeping;

/// The schema where the store keeps what it keeps, unless it is told another.
const SCHEMA_DEFAULT: &str = "tollgate";

/// Most bytes of a name in PostgreSQL.
const NAME_BYTES_MAX: usize = 63;

/// Most connections of a process: beyond a hundred a pooler belongs in between.
const CONNECTIONS_MAX: usize = 100;

/// Longest patience in seconds: nobody waits for longer.
const PATIENCE_SECS_MAX: u64 = 300;

/// A database, and how it is used.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Where it is and who asks.
    pub(crate) config: Config,
    /// Whom to trust, where the connection is encrypted.
    pub(crate) tls: Option<Trust>,
    /// The schema.
    pub(crate) schema: String,
    /// Most connections.
    pub(crate) connections_max: usize,
    /// How long a call asks again before it gives up.
    pub(crate) patience: Duration,
    /// Whether the schema is brought up to date when the store is opened.
    pub(crate) migrate: bool,
    /// How long keys and counters are kept.
    pub keeping: Keeping,
}

/// Whose certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those of the authorities that the system trusts.
    System,
    /// Those of the authorities in a PEM file.
    File(PathBuf),
}

impl PostgresOptions {
    /// Reads `postgres://user:password@host:port/database?setting=value&…`.
    ///
    /// Beside the settings of the client library it takes `sslmode` (`disable`, `require` or `verify-full`; the latter two are
    /// the same: a certificate is always verified), `sslrootcert`, `schema`, `pool_max`, `patience` (seconds) and `migrate` (`on` or `off`).
    ///
    /// # Errors
    /// What is wrong with it, without any secret that it holds.
    pub fn from_url(url: &str) -> Result<Self, String> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let mut rest = Serializer::new(String::new());
        let (mut ssl_mode, mut root, mut schema) = (None, None, SCHEMA_DEFAULT.to_owned());
        let (mut connections_max, mut patience, mut migrate) =
            (CONNECTIONS_MAX_DEFAULT, PATIENCE_DEFAULT, true);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sslmode" => ssl_mode = Some(encrypts(&value)?),
                "sslrootcert" => root = Some(PathBuf::from(&*value)),
                "schema" => schema = schema_name(&value)?,
                "pool_max" => connections_max = connections(&value)?,
                "patience" => patience = seconds(&value)?,
                "migrate" => migrate = switch(&value)?,
                _ => drop(rest.append_pair(&name, &value)),
            }
        }
        // The client decodes percent signs, and takes a plus for itself.
        let rest = rest.finish().replace('+', "%20");
        let mut config: Config =
            format!("{place}?{rest}").parse().map_err(|error: tokio_postgres::Error| said(&error))?;
        if config.get_hosts().is_empty() {
            return Err("it names no host".to_owned());
        }
        let is_encrypted = ssl_mode.unwrap_or_else(|| root.is_some() || !is_local(&config));
        config.ssl_mode(if is_encrypted { SslMode::Require } else { SslMode::Disable });
        if config.get_application_name().is_none() {
            config.application_name("tollgate");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let tls = is_encrypted.then(|| root.map_or(Trust::System, Trust::File));
        Ok(Self { config, tls, schema, connections_max, patience, migrate, keeping: Keeping::default() })
    }

    /// The same with migrations run, whatever the URL says: for the command that runs them.
    #[must_use]
    pub fn migrating(self) -> Self {
        Self { migrate: true, ..self }
    }
}

/// What the client says is wrong with a URL. It names settings, and quotes no values.
fn said(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn encrypts(mode: &str) -> Result<bool, String> {
    match mode {
        "disable" => Ok(false),
        "require" | "verify-full" => Ok(true),
        _ => Err(format!(
            "sslmode '{mode}' would not say who answers; use verify-full, or disable where the network is trusted"
        )),
    }
}

fn schema_name(name: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_name = name.len() <= NAME_BYTES_MAX
        && name.bytes().all(fits)
        && name.starts_with(|first: char| !first.is_ascii_digit())
        && !name.starts_with("pg_");
    if is_name {
        Ok(name.to_owned())
    } else {
        Err("schema is a name of lowercase letters, digits and _".to_owned())
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 2..=CONNECTIONS_MAX) => Ok(number),
        _ => Err(format!("pool_max is a number from 2 to {CONNECTIONS_MAX}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=PATIENCE_SECS_MAX) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("patience is a number of seconds from 1 to {PATIENCE_SECS_MAX}")),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("migrate is on or off".to_owned()),
    }
}

/// Whether nothing leaves this machine.
fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_machine_is_encrypted_unless_it_is_told_otherwise() {
        let tls = |url: &str| PostgresOptions::from_url(url).map(|options| options.tls);
        assert_eq!(tls("postgres://u:p@127.0.0.1/d"), Ok(None));
        assert_eq!(tls("postgresql://u:p@localhost:5433/d?schema=other"), Ok(None));
        assert_eq!(tls("postgres://u:p@db.example.com/d"), Ok(Some(Trust::System)));
        assert_eq!(tls("postgres://u:p@db/d?sslmode=disable"), Ok(None));
        assert_eq!(tls("postgres://u:p@localhost,db/d"), Ok(Some(Trust::System)));
        assert_eq!(
            tls("postgres://u@localhost/d?sslmode=verify-full&sslrootcert=/a%20b.pem"),
            Ok(Some(Trust::File("/a b.pem".into())))
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (url, wrong) in [
            ("postgres://u:hush@h/d?sslmode=prefer", "sslmode 'prefer'"),
            ("postgres://u:hush@h/d?schema=A-b", "schema is a name"),
            ("postgres://u:hush@h/d?schema=pg_mine", "schema is a name"),
            ("postgres://u:hush@h/d?pool_max=0", "pool_max is a number"),
            ("postgres://u:hush@h/d?patience=long", "patience is a number of seconds"),
            ("postgres://u:hush@h/d?migrate=perhaps", "migrate is on or off"),
            ("postgres://u:hush@h/d?colour=hush", "unknown option `colour`"),
            ("postgres://u:hush@h:port/d", "port"),
            ("postgres:///d", "no host"),
        ] {
            let error = PostgresOptions::from_url(url).expect_err(url);
            assert!(error.contains(wrong) && !error.contains("hush"), "{url}: {error}");
        }
    }

    #[test]
    fn other_settings_go_to_the_client() {
        let url = "postgres://u@h/d?application_name=a%20b&target_session_attrs=read-write&connect_timeout=7";
        let options = PostgresOptions::from_url(url).expect("a URL");
        assert_eq!(options.config.get_application_name(), Some("a b"));
        assert_eq!(options.config.get_connect_timeout().map(std::time::Duration::as_secs), Some(7));
        assert_eq!((options.schema.as_str(), options.connections_max), ("tollgate", 8));
    }
}
