//! The servers of the Redis: which has which shard, and asking them until they answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tollgate_storage::StoreError;

use super::error::{Cure, Failure, bad_answer, unavailable};
use super::link::{Facts, Link, Manner};
use super::options::{Address, RedisOptions};
use crate::asking::{Asking, Outcome};
use crate::postgres::{SHARDS, tls_config};

/// A command, and the shard that its keys are of.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) shard: u16,
    pub(crate) command: Cmd,
}

/// What was answered, and whether it was asked before, without an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    pub(crate) is_second: bool,
}

/// Which of the connections to a server is used: one waits for the disk, and holds up nobody who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Read,
    Write,
}

/// The servers.
#[derive(Debug)]
pub(crate) struct Servers {
    seeds: Vec<Address>,
    manner: Manner,
    prefix: String,
    patience: std::time::Duration,
    known: Mutex<Arc<Known>>,
    /// Whether what is known is to be found anew.
    is_outdated: AtomicBool,
    answers: AtomicBool,
}

/// Who has which shard.
#[derive(Debug, Default)]
struct Known {
    servers: Vec<Arc<Server>>,
    /// For each shard the place of its server.
    of_shard: Vec<usize>,
    is_cluster: bool,
}

#[derive(Debug)]
struct Server {
    address: Address,
    links: [tokio::sync::Mutex<Option<Arc<Link>>>; 2],
}

impl Server {
    fn at(address: Address) -> Self {
        Self { address, links: Default::default() }
    }

    async fn link(&self, lane: Lane, manner: &Manner) -> Result<Arc<Link>, Failure> {
        let [read, write] = &self.links;
        let mut held = if lane == Lane::Read { read.lock().await } else { write.lock().await };
        if let Some(link) = held.as_ref().filter(|link| !link.is_broken()) {
            return Ok(Arc::clone(link));
        }
        let link = Arc::new(Link::connect(&self.address, manner).await?);
        *held = Some(Arc::clone(&link));
        Ok(link)
    }

    async fn run(
        &self,
        lane: Lane,
        manner: &Manner,
        commands: &[&Cmd],
        at_once: bool,
    ) -> Result<Vec<Value>, Failure> {
        let link = self.link(lane, manner).await?;
        link.run(commands, at_once, manner.durable && lane == Lane::Write).await
    }
}

impl Servers {
    /// Finds the servers; says what one of them says of itself.
    pub(crate) async fn find(options: &RedisOptions) -> Result<(Self, Facts), StoreError> {
        let tls = options.tls.as_ref().map(tls_config).transpose()?.map(Arc::new);
        let servers = Self {
            seeds: options.servers.clone(),
            manner: Manner { login: options.login.clone(), tls, durable: options.durable },
            prefix: options.prefix.clone(),
            patience: options.postgres.patience,
            known: Mutex::default(),
            is_outdated: AtomicBool::new(true),
            answers: AtomicBool::new(true),
        };
        let mut asking = Asking::new(servers.patience, &servers.answers);
        loop {
            let found = match servers.known().await {
                Ok(known) => match known.servers.first() {
                    Some(server) => server.link(Lane::Read, &servers.manner).await,
                    None => Err(Failure::not_sent("there is no server")),
                },
                Err(failure) => Err(failure),
            };
            match found {
                Ok(link) => return Ok((servers, link.facts.clone())),
                Err(Failure { outcome, error, .. }) => asking.failed(outcome, error).await?,
            }
        }
    }

    /// The name of the keys of a shard: what is between braces says in which slot they are.
    pub(crate) fn shard_key(&self, shard: u16) -> String {
        format!("{}:{{{shard:03}}}", self.prefix)
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).is_cluster
    }

    /// Asks until all is answered, for as long as there is patience. What is asked may be done more than once without doing more
    /// than once. `at_once`: all of one moment, where there is one server.
    pub(crate) async fn ask(
        &self,
        lane: Lane,
        requests: &[Request],
        at_once: bool,
    ) -> Result<Vec<Answer>, StoreError> {
        let mut answers: Vec<Option<Answer>> = requests.iter().map(|_| None).collect();
        let mut asked_before = vec![false; requests.len()];
        let mut asking = Asking::new(self.patience, &self.answers);
        loop {
            let failed = match self.known().await {
                Ok(known) => {
                    let at_once = at_once && !known.is_cluster;
                    self.attempt(&known, lane, requests, at_once, &mut answers, &mut asked_before).await
                }
                Err(failure) => Some(failure),
            };
            let Some(Failure { outcome, error, .. }) = failed else {
                asking.answered();
                return answers.into_iter().map(|answer| answer.ok_or_else(bad_answer)).collect();
            };
            let is_under_way = asked_before.contains(&true) || answers.iter().any(Option::is_some);
            if lane == Lane::Write && is_under_way {
                asking.done_in_part();
            }
            asking.failed(outcome, error).await?;
        }
    }

    /// Asks once what has no answer; the worst failure, if there was one.
    async fn attempt(
        &self,
        known: &Known,
        lane: Lane,
        requests: &[Request],
        at_once: bool,
        answers: &mut [Option<Answer>],
        asked_before: &mut [bool],
    ) -> Option<Failure> {
        let mut by_server: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (place, request) in requests.iter().enumerate() {
            if answers.get(place).is_some_and(Option::is_none) {
                let server = known.of_shard.get(usize::from(request.shard)).copied().unwrap_or_default();
                by_server.entry(server).or_default().push(place);
            }
        }
        let runs = by_server.into_iter().filter_map(|(server, places)| {
            let server = known.servers.get(server)?;
            let commands: Vec<&Cmd> =
                places.iter().filter_map(|place| Some(&requests.get(*place)?.command)).collect();
            Some(async move { (server, places, server.run(lane, &self.manner, &commands, at_once).await) })
        });
        let mut worst: Option<Failure> = None;
        for (server, places, run) in join_all(runs).await {
            let failures = match run {
                Ok(values) => keep(&places, values, answers, asked_before),
                Err(failure) => {
                    for place in &places {
                        if let Some(asked) = asked_before.get_mut(*place) {
                            *asked |= failure.outcome == Outcome::Unknown;
                        }
                    }
                    vec![failure]
                }
            };
            for failure in failures {
                self.cure(server, lane, failure.cure).await;
                if worst.as_ref().is_none_or(|worst| worst.outcome < failure.outcome) {
                    worst = Some(failure);
                }
            }
        }
        worst
    }

    async fn cure(&self, server: &Server, lane: Lane, cure: Cure) {
        match cure {
            Cure::Nothing => {}
            Cure::FindServers => self.is_outdated.store(true, Ordering::Relaxed),
            Cure::LoadFunctions => {
                if let Ok(link) = server.link(lane, &self.manner).await
                    && let Err(failure) = link.load_functions().await
                {
                    tracing::warn!(error = %failure.error, "Redis cannot be given the functions");
                }
            }
        }
    }

    /// Who has which shard, found anew if that may have changed.
    async fn known(&self) -> Result<Arc<Known>, Failure> {
        let known = Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner));
        if !self.is_outdated.swap(false, Ordering::Relaxed) {
            return Ok(known);
        }
        match self.find_out(&known).await {
            Ok(found) => {
                let found = Arc::new(found);
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&found);
                Ok(found)
            }
            Err(failure) => {
                self.is_outdated.store(true, Ordering::Relaxed);
                Err(failure)
            }
        }
    }

    /// Asks the servers that are known one after the other, until one says who has what.
    async fn find_out(&self, known: &Known) -> Result<Known, Failure> {
        let former = known.servers.iter().map(Arc::clone);
        let seeds =
            self.seeds.iter().filter(|seed| known.servers.iter().all(|server| server.address != **seed));
        let candidates = former.chain(seeds.map(|seed| Arc::new(Server::at(seed.clone()))));
        let mut failed = Failure::refused(unavailable("no server is named"));
        for server in candidates {
            match self.ask_who_has_what(&server, known).await {
                Ok(found) => return Ok(found),
                Err(failure) => failed = failure,
            }
        }
        Err(failed)
    }

    async fn ask_who_has_what(&self, server: &Arc<Server>, former: &Known) -> Result<Known, Failure> {
        let link = server.link(Lane::Read, &self.manner).await?;
        if !link.facts.is_cluster {
            let of_shard = vec![0; usize::from(SHARDS)];
            return Ok(Known { servers: vec![Arc::clone(server)], of_shard, is_cluster: false });
        }
        let slots = (0..SHARDS).map(|shard| {
            let mut command = redis::cmd("CLUSTER");
            command.arg("KEYSLOT").arg(self.shard_key(shard));
            command
        });
        let mut commands: Vec<Cmd> = slots.collect();
        let mut ranges = redis::cmd("CLUSTER");
        commands.push(ranges.arg("SLOTS").clone());
        let commands: Vec<&Cmd> = commands.iter().collect();
        let mut answers = link.run(&commands, false, false).await?;
        let ranges = answers.pop().and_then(|answer| ranges_in(answer, &server.address));
        let ranges = ranges.ok_or_else(|| Failure::refused(bad_answer()))?;
        let mut found = Known { is_cluster: true, ..Known::default() };
        for slot in answers {
            let slot: i64 = redis::from_redis_value(slot).map_err(|_| Failure::refused(bad_answer()))?;
            let range = ranges.iter().find(|range| (range.from..=range.until).contains(&slot));
            let range = range.ok_or_else(|| Failure::not_sent("a slot of the Cluster has no server"))?;
            found.add(&range.address, former);
        }
        Ok(found)
    }
}

impl Known {
    /// Says that the next shard is at an address.
    fn add(&mut self, address: &Address, former: &Self) {
        let at = |server: &&Arc<Server>| server.address == *address;
        let place = self.servers.iter().position(|server| server.address == *address).unwrap_or_else(|| {
            let server = former.servers.iter().find(at).map(Arc::clone);
            self.servers.push(server.unwrap_or_else(|| Arc::new(Server::at(address.clone()))));
            self.servers.len() - 1
        });
        self.of_shard.push(place);
    }
}

/// Slots that a server has.
struct Range {
    from: i64,
    until: i64,
    address: Address,
}

/// The ranges in the answer to `CLUSTER SLOTS`: of each the first slot, the last, and its servers, the primary first. One that
/// does not know how others call it leaves its host out.
fn ranges_in(answer: Value, asked: &Address) -> Option<Vec<Range>> {
    let Value::Array(ranges) = answer else { return None };
    let range = |range: Value| {
        let Value::Array(parts) = range else { return None };
        let mut parts = parts.into_iter();
        let (from, until) = (number(parts.next()?)?, number(parts.next()?)?);
        let Value::Array(primary) = parts.next()? else { return None };
        let mut primary = primary.into_iter();
        let host: Option<String> = redis::from_redis_value(primary.next()?).ok()?;
        let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| asked.host.clone());
        let port = number(primary.next()?)?.try_into().ok()?;
        Some(Range { from, until, address: Address { host, port } })
    };
    ranges.into_iter().map(range).collect()
}

fn number(value: Value) -> Option<i64> {
    redis::from_redis_value(value).ok()
}

/// Keeps the answers of a server; gives what failed.
fn keep(
    places: &[usize],
    values: Vec<Value>,
    answers: &mut [Option<Answer>],
    asked_before: &[bool],
) -> Vec<Failure> {
    let mut failures = Vec::new();
    for (place, value) in places.iter().zip(values) {
        match value {
            Value::ServerError(error) => failures.push(Failure::said(&error)),
            value => {
                let is_second = asked_before.get(*place).copied().unwrap_or_default();
                if let Some(answer) = answers.get_mut(*place) {
                    *answer = Some(Answer { value, is_second });
                }
            }
        }
    }
    failures
}
