//! The clients: they ask, give up, ask again, ask twice at once, and write down what came back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::SignedDuration;
use tollgate_domain::{
    Actor, ApiKey, ApiKeyId, ApplyCatalog, MeterId, NewMeter, OrgCommand, OrgId, PutOrg, Quantity,
    RevokeApiKey, Role, SystemCommand, SystemDenial, Timestamp, UsageKey, Use,
};
use tollgate_engine::{Engine, EngineError};
use tollgate_storage::{Row, Scan, UnsentRow};

use super::World;
use super::faults::Fault;
use super::log::{Ask, Reply};
use super::store::SimStore;
use crate::generate::with_number;

/// Most often a request is sent again.
const RETRIES_MAX: u32 = 4;

impl World {
    /// One client, until all clients together have sent what they may.
    pub(super) async fn client(self: Arc<Self>) {
        while self.take_one() {
            let pause = self.sim.millis(0, self.think_millis);
            self.sim.sleep(pause).await;
            match self.sim.below(100) {
                0..3 => self.ask_system().await,
                3..6 => self.ship().await,
                6..12 => {
                    let org = self.any_org();
                    let ask = [Ask::Balance, Ask::Unsent, Ask::Listed][self.sim.place(3)].clone();
                    self.attempt(self.any_slot(), org, ask, self.patience(), false).await;
                }
                12..14 => self.expire_holds().await,
                _ => {
                    let org = self.any_org();
                    let command = self.command(&org);
                    self.pursue(&org, Arc::new(command)).await;
                }
            }
        }
    }

    /// Whether one more request may be sent.
    fn take_one(&self) -> bool {
        let taken =
            self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.is_ok() && !self.log.is_wrong()
    }

    fn any_org(&self) -> OrgId {
        let place = self.sim.place(self.orgs.len());
        self.orgs.get(place).cloned().unwrap_or_else(|| self.orgs[0].clone())
    }

    pub(super) fn any_slot(&self) -> usize {
        self.sim.place(self.slots.len())
    }

    pub(super) fn patience(&self) -> Option<Duration> {
        Some(self.sim.millis(300, 3_000))
    }

    /// A command that can be told from every other, as far as it carries anything that nobody decides on.
    fn command(&self, org: &OrgId) -> OrgCommand {
        let tag = self.tags.fetch_add(1, Ordering::Relaxed);
        let latest = self.log.number_of(org, None);
        let command = self.generator().command(org);
        let mut command = with_number(&command, |key| self.log.number_of(org, Some(key)), latest);
        match &mut command {
            OrgCommand::Use(usage) => {
                let tag = SignedDuration::from_nanos(i64::try_from(tag).unwrap_or(0));
                usage.occurred_at = Some(Timestamp::UNIX_EPOCH + tag);
            }
            OrgCommand::Record(usage) => {
                let tag = SignedDuration::from_nanos(i64::try_from(tag).unwrap_or(0));
                usage.occurred_at = usage.occurred_at.map(|at| at + tag);
            }
            OrgCommand::TopUp(top_up) => top_up.reason = Some(format!("request {tag}")),
            OrgCommand::Void(void) => void.reason = Some(format!("request {tag}")),
            _ => {}
        }
        command
    }

    /// Sends a command until it is answered, or long enough.
    async fn pursue(self: &Arc<Self>, org: &OrgId, command: Arc<OrgCommand>) {
        for round in 0..=RETRIES_MAX {
            let ask = Ask::Command(Arc::clone(&command));
            if self.faults.fires(Fault::Duplicate) && self.take_one() {
                let (world, org, ask) = (Arc::clone(self), org.clone(), ask.clone());
                let (slot, patience) = (self.any_slot(), self.patience());
                self.in_flight.fetch_add(1, Ordering::Relaxed);
                self.sim.spawn(async move {
                    world.attempt(slot, org, ask, patience, false).await;
                    world.in_flight.fetch_sub(1, Ordering::Relaxed);
                });
            }
            let sent = self.attempt(self.any_slot(), org.clone(), ask, self.patience(), false).await;
            let unknown = match sent {
                Some(Reply::Unknown) => true,
                Some(Reply::NotDone) | None => false,
                Some(_) => return,
            };
            if round == RETRIES_MAX || self.sim.chance(1_500) || !self.take_one() {
                return;
            }
            self.faults.count(Fault::Retried, u64::from(unknown));
            let pause = self.sim.millis(10, 800);
            self.sim.sleep(pause).await;
        }
    }

    /// Sends one request to one engine; `None` when nobody was there.
    pub(super) async fn attempt(
        &self,
        slot: usize,
        org: OrgId,
        ask: Ask,
        patience: Option<Duration>,
        fast: bool,
    ) -> Option<Reply> {
        let way = match fast {
            true => Duration::ZERO,
            false if self.faults.fires(Fault::Delayed) => self.sim.millis(200, 4_000),
            false => self.sim.millis(0, 20),
        };
        self.sim.sleep(way).await;
        let engine = self.slots.get(slot)?.engine()?;
        let number = self.log.sent(&org, &ask, slot, engine.catalog().version);
        let answer = answer(&engine, org, &ask);
        let answered = match patience {
            Some(patience) => self.sim.within(patience, answer).await,
            None => Some(answer.await),
        };
        let reply = match answered {
            None => {
                self.faults.count(Fault::TimedOut, 1);
                return Some(Reply::Unknown);
            }
            Some(Ok(reply)) => reply,
            Some(Err(error)) => {
                self.faults.count(Fault::Overload, u64::from(matches!(error, EngineError::Overloaded)));
                if matches!(
                    error,
                    EngineError::Unknown(_) | EngineError::Stopped(_) | EngineError::ShuttingDown
                ) {
                    return Some(Reply::Unknown);
                }
                Reply::NotDone
            }
        };
        self.log.replied(number, engine.catalog().version, reply.clone());
        Some(reply)
    }

    async fn ask_system(&self) {
        let id = ApiKeyId(format!("key-{}", self.sim.below(4)));
        let tag = self.tags.fetch_add(1, Ordering::Relaxed);
        let command = match self.sim.below(9) {
            0..3 => {
                let text = format!("{}# catalog {tag}\n", self.generator().catalog());
                SystemCommand::ApplyCatalog(ApplyCatalog::new(text))
            }
            3 => {
                let text = self.generator().catalog();
                SystemCommand::CheckCatalog(ApplyCatalog::new(text))
            }
            4..6 => SystemCommand::MakeApiKey(ApiKey {
                id,
                hash: [0; 32],
                name: format!("made by request {tag}"),
                role: Role::Read,
                org: None,
                created_at: Timestamp::UNIX_EPOCH,
                revoked_at: None,
            }),
            6 => {
                let meter = |number: u64| MeterId::new(&format!("created-{number}")).expect("a meter");
                let first = self.sim.below(12);
                let meters = [meter(first), meter(first + 1), meter(first)];
                SystemCommand::CreateMeters(meters.iter().map(NewMeter::from).collect())
            }
            _ => SystemCommand::RevokeApiKey(RevokeApiKey { id, admin_besides: false }),
        };
        self.sim.sleep(self.sim.millis(0, 20)).await;
        let slot = self.any_slot();
        drop(self.attempt_system(slot, command, self.patience()).await);
    }

    /// Sends one request of the system to one engine; `None` without an answer.
    pub(super) async fn attempt_system(
        &self,
        slot: usize,
        command: SystemCommand,
        patience: Option<Duration>,
    ) -> Option<Result<u32, SystemDenial>> {
        let engine = self.slots.get(slot)?.engine()?;
        let number = self.log.system_sent(&command);
        let asked = engine.submit_system(&Actor::Local, command);
        let answered = match patience {
            Some(patience) => self.sim.within(patience, asked).await,
            None => Some(asked.await),
        };
        match answered {
            None => self.faults.count(Fault::TimedOut, 1),
            Some(Ok(answer)) => {
                self.log.system_replied(number, Ok(answer.clone()));
                return Some(answer);
            }
            Some(Err(EngineError::Unknown(_) | EngineError::Stopped(_) | EngineError::ShuttingDown)) => {}
            Some(Err(error)) => {
                self.faults.count(Fault::Overload, u64::from(matches!(error, EngineError::Overloaded)));
                self.log.system_replied(number, Err(()));
            }
        }
        None
    }

    /// After all faults have stopped: sends fresh requests, each of which must be decided.
    pub(super) async fn last_wishes(self: Arc<Self>, client: usize) {
        let slot = client % self.slots.len();
        for org in self.orgs.clone() {
            let tag = self.tags.fetch_add(1, Ordering::Relaxed);
            let key = UsageKey::new(&format!("last-{tag}")).expect("a key");
            let meter = MeterId::new("reports").expect("a meter");
            let usage = Use {
                user: None,
                path: None,
                meter,
                quantity: Quantity::ONE,
                key,
                occurred_at: None,
                properties: std::collections::BTreeMap::new(),
            };
            let put = PutOrg { name: Some(Some(format!("last {tag}"))), zone: None, metadata: None };
            let asks = [
                Ask::Command(Arc::new(OrgCommand::Use(usage))),
                Ask::Command(Arc::new(OrgCommand::Put(put))),
                Ask::Balance,
                Ask::Unsent,
                Ask::Listed,
            ];
            for ask in asks {
                // Requests that lost races too often, or found the queue full, are sent again.
                loop {
                    let reply = self.attempt(slot, org.clone(), ask.clone(), None, true).await;
                    match reply {
                        Some(Reply::NotDone) => self.sim.sleep(Duration::from_millis(50)).await,
                        Some(Reply::Unknown) | None => {
                            self.log.wrong(format!("no answer without faults: {ask:?}: {reply:?}"));
                            return;
                        }
                        Some(_) => break,
                    }
                }
            }
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What an engine answers.
async fn answer(engine: &Engine<SimStore>, org: OrgId, ask: &Ask) -> Result<Reply, EngineError> {
    Ok(match ask {
        Ask::Command(command) => {
            let decision = engine.submit(&Actor::Local, org, OrgCommand::clone(command)).await?;
            Reply::Decision(Box::new(decision))
        }
        Ask::Balance => {
            let found = engine.balance(&org).await?;
            Reply::Balance(found.map(|(org, balance)| Box::new((org.version, balance))))
        }
        Ask::Unsent => {
            let (days, _) = engine.unsent(Some(&org), &(i32::MIN..=i32::MAX), None).await?;
            let of_day = |row: UnsentRow| {
                let amounts: Vec<_> = row.unsent.iter().map(|(sku, amount)| (sku.clone(), amount)).collect();
                amounts.into_iter().map(move |(sku, amount)| ((row.day, sku), amount))
            };
            Reply::Unsent(days.into_iter().flat_map(of_day).collect())
        }
        Ask::Listed => {
            let page = engine.scan(&Scan::Orgs, None, 100).await?;
            let version = page.rows.into_iter().find_map(|row| match row {
                Row::Org(listed) if listed.id == org => Some(listed.version),
                _ => None,
            });
            Reply::Listed(version.unwrap_or(0))
        }
    })
}
