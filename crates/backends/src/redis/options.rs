//! How a Redis before a database is named, and what may be set.

use std::time::Duration;

use form_urlencoded::Serializer;
use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use super::limits::FLUSH_INTERVAL_DEFAULT;
use crate::postgres::{PostgresOptions, Trust};

/// What says that a URL names a Redis beside the database.
const SCHEME: &str = "redis+";

/// Longest start of the names of keys: it is in each of them.
const PREFIX_BYTES_MAX: usize = 63;

/// A Redis before a database, and how they are used.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// The database.
    pub postgres: PostgresOptions,
    /// Servers of the Redis: one, or some of a Cluster, which know the others.
    pub(crate) servers: Vec<Address>,
    /// Who asks.
    pub(crate) login: RedisConnectionInfo,
    /// Whom to trust, where the connection is encrypted.
    pub(crate) tls: Option<Trust>,
    /// With what the names of all keys start.
    pub(crate) prefix: String,
    /// Whether an append is on the disk of the Redis before it is answered.
    pub(crate) durable: bool,
    /// How often entries are moved to the database.
    pub flush: Duration,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl RedisOptions {
    /// Reads `redis+postgres://user:password@host/database?redis=redis://host:6379&setting=value&…`: the URL of the database
    /// with a word before it and the URL of the Redis in it, several times for several servers of a Cluster.
    ///
    /// Beside the settings of the database it takes `durable` (`always` or `no`) and `prefix`.
    ///
    /// # Errors
    /// What is wrong with it, without any secret that it holds.
    pub fn from_url(url: &str) -> Result<Self, String> {
        let database = url.strip_prefix(SCHEME).ok_or("it does not start with redis+postgres://")?;
        let (place, query) = database.split_once('?').unwrap_or((database, ""));
        let mut rest = Serializer::new(String::new());
        let (mut servers, mut logins) = (Vec::new(), Vec::new());
        let (mut durable, mut prefix) = (false, None);
        for pair in query.split('&') {
            let Some((name, value)) = form_urlencoded::parse(pair.as_bytes()).next() else { continue };
            match &*name {
                "redis" => {
                    let (address, login, is_encrypted) = server(url_within(pair, &value))?;
                    servers.push(address);
                    logins.push((login, is_encrypted));
                }
                "durable" => durable = is_durable(&value)?,
                "prefix" => prefix = Some(key_prefix(&value)?),
                _ => drop(rest.append_pair(&name, &value)),
            }
        }
        let Some((login, is_encrypted)) = logins.into_iter().next() else {
            return Err("it names no Redis; add redis=redis://HOST:6379 to its settings".to_owned());
        };
        let postgres = PostgresOptions::from_url(&format!("{place}?{}", rest.finish()))?;
        let tls = is_encrypted.then(|| postgres.tls.clone().unwrap_or(Trust::System));
        let prefix = prefix.unwrap_or_else(|| postgres.schema.clone());
        Ok(Self { postgres, servers, login, tls, prefix, durable, flush: FLUSH_INTERVAL_DEFAULT })
    }
}

/// A URL that is a value of another, as it was pasted: what is encoded in it is its own. Or encoded whole, as a program would.
fn url_within<'a>(pair: &'a str, decoded: &'a str) -> &'a str {
    pair.split_once('=').map(|(_, pasted)| pasted).filter(|pasted| pasted.contains("://")).unwrap_or(decoded)
}

/// A server, who asks it, and whether the connection is encrypted.
fn server(url: &str) -> Result<(Address, RedisConnectionInfo, bool), String> {
    let bad = || "redis is a URL like redis://user:password@host:6379/0 or rediss://…".to_owned();
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    let is_encrypted = match scheme {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return Err(bad()),
    };
    // Encrypting is done here, with what the database is trusted by.
    let info = format!("redis://{rest}").into_connection_info().map_err(|_| bad())?;
    let ConnectionAddr::Tcp(host, port) = info.addr() else { return Err(bad()) };
    Ok((Address { host: host.clone(), port: *port }, info.redis_settings().clone(), is_encrypted))
}

fn is_durable(text: &str) -> Result<bool, String> {
    match text {
        "always" => Ok(true),
        "no" => Ok(false),
        _ => Err("durable is always or no".to_owned()),
    }
}

fn key_prefix(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b':' | b'.');
    if (1..=PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("prefix is a name of letters, digits and _ - : .".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_with_the_redis_before_it() {
        let url = "redis+postgres://u:p@localhost/d?schema=s&redis=redis://a:hu%2Fsh@one:7000/2&redis=redis://two&durable=always";
        let options = RedisOptions::from_url(url).expect("a URL");
        let places: Vec<_> =
            options.servers.iter().map(|server| (server.host.as_str(), server.port)).collect();
        assert_eq!(places, [("one", 7000), ("two", 6379)]);
        assert_eq!((options.login.username(), options.login.db()), (Some("a"), 2));
        assert_eq!((options.prefix.as_str(), options.durable), ("s", true));
        assert_eq!(options.tls, None);
        let url = "redis+postgres://u:p@localhost/d?redis=redis%3A%2F%2Fa%3Ahu%252Fsh%40one";
        assert_eq!(RedisOptions::from_url(url).expect("a URL").login.username(), Some("a"));
        let url = "redis+postgres://u@localhost/d?redis=rediss://one&prefix=a:b";
        let options = RedisOptions::from_url(url).expect("a URL");
        assert_eq!((options.tls, options.prefix.as_str()), (Some(Trust::System), "a:b"));
        assert_eq!((options.durable, options.flush), (false, FLUSH_INTERVAL_DEFAULT));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (url, wrong) in [
            ("redis+postgres://u:hush@h/d", "names no Redis"),
            ("redis+postgres://u:hush@h/d?redis=http://:hush@r", "redis is a URL"),
            ("redis+postgres://u:hush@h/d?redis=redis://:hush@r:port", "redis is a URL"),
            ("redis+postgres://u:hush@h/d?redis=redis://:hush@r&durable=maybe", "durable is always or no"),
            ("redis+postgres://u:hush@h/d?redis=redis://:hush@r&prefix={a}", "prefix is a name"),
            ("redis+postgres://u:hush@h/d?redis=redis://:hush@r&schema=A", "schema is a name"),
            ("redis+postgres://u:hush@h/d?redis=redis://:hush@r&colour=hush", "unknown option `colour`"),
        ] {
            let error = RedisOptions::from_url(url).expect_err(url);
            assert!(error.contains(wrong) && !error.contains("hush"), "{url}: {error}");
        }
    }
}
