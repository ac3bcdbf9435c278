//! A connection to one server: made, checked, given the functions; and pipelines over it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, Value};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::{Failure, bad_answer, unfit};
use super::limits::{
    ANSWER_TIMEOUT, CONNECT_TIMEOUT, DISK_TIMEOUT, SERVER_VERSION_MIN, WAITS_FOR_DISK_SINCE,
};
use super::options::Address;

/// The functions, and what stands for their hash in them.
const FUNCTIONS: &str = include_str!("functions.lua");
const VERSION_PLACE: &str = "VERSION";

/// The hash of the functions, which is in their names.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let hash = Sha256::digest(FUNCTIONS);
    hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
});

/// How every server is connected to.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) login: RedisConnectionInfo,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) durable: bool,
}

/// A connection; many use it at once.
#[derive(Debug)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    driver: AbortHandle,
    pub(crate) facts: Facts,
    is_broken: AtomicBool,
}

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    version: (u32, u32),
    pub(crate) is_cluster: bool,
    is_replica: bool,
    /// Whether it writes to a disk what it is told.
    pub(crate) writes: bool,
    /// Whether it may forget keys when memory is short.
    forgets: Option<String>,
}

impl Facts {
    fn of(info: &str) -> Self {
        let value = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let mut numbers = value("redis_version").unwrap_or_default().split('.');
        let mut number = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let version = (number(), number());
        let policy = value("maxmemory_policy").filter(|policy| *policy != "noeviction");
        let forgets = policy.filter(|_| value("maxmemory").is_some_and(|most| most != "0"));
        Self {
            version,
            is_cluster: value("cluster_enabled") == Some("1"),
            is_replica: value("role") == Some("slave"),
            writes: value("aof_enabled") == Some("1"),
            forgets: forgets.map(str::to_owned),
        }
    }

    fn waits_for_disk(&self) -> bool {
        self.version >= WAITS_FOR_DISK_SINCE
    }

    /// Refuses a server that would not keep what the store promises.
    fn check(&self, durable: bool) -> Result<(), Failure> {
        if self.version < SERVER_VERSION_MIN {
            let (major, minor) = self.version;
            return Err(Failure::refused(unfit(format!(
                "the server is Redis {major}.{minor}; {}.{} or Valkey 8 or newer is needed",
                SERVER_VERSION_MIN.0, SERVER_VERSION_MIN.1
            ))));
        }
        if let Some(policy) = &self.forgets {
            return Err(Failure::refused(unfit(format!(
                "Redis would forget entries when its memory is full: maxmemory-policy is {policy} and must be noeviction"
            ))));
        }
        if durable && !self.writes {
            return Err(Failure::refused(unfit(
                "durable=always needs Redis to write to its disk: set `appendonly yes`",
            )));
        }
        // After a failover its name may lead here for a while.
        if self.is_replica { Err(Failure::not_sent("it is a replica")) } else { Ok(()) }
    }
}

impl Link {
    /// Connects to a server that can be used, with the functions in it.
    pub(crate) async fn connect(to: &Address, manner: &Manner) -> Result<Self, Failure> {
        let connected = async {
            let stream = TcpStream::connect((to.host.as_str(), to.port)).await.map_err(Failure::not_sent)?;
            stream.set_nodelay(true).map_err(Failure::not_sent)?;
            let Some(tls) = &manner.tls else { return Self::over(stream, manner).await };
            let name = ServerName::try_from(to.host.clone()).map_err(Failure::not_sent)?;
            let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
            Self::over(stream.map_err(Failure::not_sent)?, manner).await
        };
        timeout(CONNECT_TIMEOUT, connected).await.unwrap_or_else(|late| Err(Failure::not_sent(late)))
    }

    async fn over<S>(stream: S, manner: &Manner) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = MultiplexedConnection::new_with_config(&manner.login, stream, config).await;
        let (connection, driver) = connection.map_err(Failure::connecting)?;
        let driver = tokio::spawn(driver).abort_handle();
        let mut link =
            Self { connection, driver, facts: Facts::default(), is_broken: AtomicBool::new(false) };
        let mut info = redis::cmd("INFO");
        let info = link.ask(&mut info).await?;
        link.facts = Facts::of(&info);
        link.facts.check(manner.durable)?;
        if manner.durable && !link.facts.waits_for_disk() {
            link.check_always().await?;
        }
        link.load_functions().await?;
        Ok(link)
    }

    /// Refuses a server that can neither be told to wait for its disk nor does it by itself.
    async fn check_always(&self) -> Result<(), Failure> {
        let policy = self.run(&[redis::cmd("CONFIG").arg("GET").arg("appendfsync")], false, false).await?;
        let policy: Vec<String> = policy
            .into_iter()
            .next()
            .and_then(|value| redis::from_redis_value(value).ok())
            .unwrap_or_default();
        if policy.last().is_some_and(|policy| policy == "always") {
            return Ok(());
        }
        Err(Failure::refused(unfit(
            "durable=always needs Redis 7.2 or newer, or `appendfsync always` in this one",
        )))
    }

    /// Gives the server the functions, if it lacks them.
    pub(crate) async fn load_functions(&self) -> Result<(), Failure> {
        let text = FUNCTIONS.replace(VERSION_PLACE, &VERSION);
        let loaded = self.run(&[redis::cmd("FUNCTION").arg("LOAD").arg(text)], false, false).await?;
        match loaded.into_iter().next() {
            Some(Value::ServerError(error))
                if !error.details().is_some_and(|details| details.contains("already exists")) =>
            {
                Err(Failure::said(&error))
            }
            _ => Ok(()),
        }
    }

    /// The text that one command answers.
    pub(crate) async fn ask(&self, command: &mut Cmd) -> Result<String, Failure> {
        let answer = self.run(&[&*command], false, false).await?.into_iter().next();
        match answer {
            Some(Value::ServerError(error)) => Err(Failure::said(&error)),
            Some(value) => redis::from_redis_value(value).map_err(|_| Failure::refused(bad_answer())),
            None => Err(Failure::refused(bad_answer())),
        }
    }

    /// Asks all at once, in order; one answer for each, which may be an error of the server.
    ///
    /// `at_once`: nothing of others comes between. `on_disk`: what was written is on the disk, or it is an error.
    pub(crate) async fn run(
        &self,
        commands: &[&Cmd],
        at_once: bool,
        on_disk: bool,
    ) -> Result<Vec<Value>, Failure> {
        let on_disk = on_disk && self.facts.waits_for_disk();
        let mut pipeline = Pipeline::with_capacity(commands.len() + usize::from(on_disk));
        for command in commands {
            pipeline.add_command((*command).clone());
        }
        if on_disk {
            let millis = u64::try_from(DISK_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
            pipeline.cmd("WAITAOF").arg(1).arg(0).arg(millis);
        }
        let mut answers = self.send(pipeline, at_once).await?;
        if on_disk {
            let written: Option<(u64, u64)> =
                answers.pop().and_then(|answer| redis::from_redis_value(answer).ok());
            if written.is_none_or(|(here, _)| here < 1) {
                return Err(Failure::not_on_disk());
            }
        }
        if answers.len() == commands.len() { Ok(answers) } else { Err(Failure::refused(bad_answer())) }
    }

    async fn send(&self, mut pipeline: Pipeline, at_once: bool) -> Result<Vec<Value>, Failure> {
        let count = pipeline.len();
        let mut connection = self.connection.clone();
        let asked = if at_once {
            // The answer to the last of its commands, which runs all the others.
            pipeline.atomic();
            within(ANSWER_TIMEOUT, connection.send_packed_commands(&pipeline, count + 1, 1)).await
        } else {
            within(ANSWER_TIMEOUT, connection.send_packed_commands(&pipeline, 0, count)).await
        };
        match asked {
            Ok(mut answers) if at_once => match answers.pop() {
                Some(Value::Array(answers)) => Ok(answers),
                Some(Value::ServerError(error)) => Err(Failure::said(&error)),
                _ => Err(Failure::refused(bad_answer())),
            },
            Ok(answers) => Ok(answers),
            Err(failure) => {
                self.is_broken.store(true, Ordering::Relaxed);
                Err(failure)
            }
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed) || self.driver.is_finished()
    }
}

async fn within(
    most: Duration,
    asked: impl Future<Output = redis::RedisResult<Vec<Value>>>,
) -> Result<Vec<Value>, Failure> {
    match timeout(most, asked).await {
        Ok(answered) => answered.map_err(Failure::broken),
        Err(late) => Err(Failure::broken(late)),
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_keep_the_promises_is_refused() {
        let fit = "redis_version:7.2.4\r\nmaxmemory:100\r\nmaxmemory_policy:noeviction\r\nrole:master\r\naof_enabled:1\r\n";
        let refused = |from: &str, to: &str, durable| {
            Facts::of(&fit.replace(from, to)).check(durable).err().map(|failure| failure.error.to_string())
        };
        assert_eq!(refused("", "", true), None);
        assert_eq!(refused("aof_enabled:1", "aof_enabled:0", false), None);
        for (from, to, durable, wanted) in [
            ("7.2.4", "6.2.14", false, "7.0 or Valkey 8"),
            ("noeviction", "allkeys-lru", false, "maxmemory-policy is allkeys-lru"),
            ("aof_enabled:1", "aof_enabled:0", true, "appendonly yes"),
            ("role:master", "role:slave", false, "it is a replica"),
        ] {
            let text = refused(from, to, durable).unwrap_or_default();
            assert!(text.contains(wanted), "{to}: {text}");
        }
        let unlimited = fit.replace("maxmemory:100", "maxmemory:0").replace("noeviction", "allkeys-lru");
        assert!(Facts::of(&unlimited).check(true).is_ok(), "nothing is forgotten where there is no limit");
    }
}
