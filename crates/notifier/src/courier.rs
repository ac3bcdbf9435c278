//! The courier: delivers what channels have to tell.
//!
//! A reconciler: it takes no input, looks every interval what each channel lacks, does a bounded part of it, and writes
//! down what it did. What it did not come to write down it does again: a message is delivered at least once, under the same
//! id, and those of an org one after the other.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt};
use http::Uri;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tollgate_domain::{
    Actor, Attempt, AttemptResult, ChangeChannel, Channel, ChannelChange, ChannelId, DeliveryClaim, OrgId,
    Round, Subject, SystemCommand, SystemDenial, Target, Timestamp, Waiting,
};
use tollgate_engine::{Engine, EngineError};
use tollgate_storage::Store;

use crate::CourierMetrics;
use crate::address::Reach;
#[cfg(feature = "aws")]
use crate::aws::Aws;
use crate::limits::{
    CLAIM_RENEWED_SECS, CLAIM_SECS, ROUND_LANES_AT_ONCE, ROUND_MESSAGES_MAX, ROUND_TIME, WAITING_MAX,
};
use crate::mail::Mailer;
use crate::message::Message;
use crate::outlet::{Outcome, Outlets};
use crate::post::Poster;
use crate::read_ahead::{Ahead, read_ahead};
use crate::retry::message_pause;
use crate::traces::Traces;

/// Delivers what channels have to tell.
#[derive(Debug)]
pub struct Courier {
    outlets: Outlets,
    metrics: CourierMetrics,
    traces: Traces,
    /// Names this server among those that share a store.
    holder: String,
    /// Whether the server is on its way down: nothing more is tried.
    closing: watch::Sender<bool>,
}

/// Why there is no courier.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// TLS cannot be set up.
    #[error("no TLS for webhooks: {0}")]
    Tls(#[from] rustls::Error),
    /// AWS is not part of this binary.
    #[error("aws-endpoint is set, and this binary is built without the feature 'aws'")]
    NoAws,
    /// The system gives no randomness.
    #[error("no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
}

/// Messages of a channel that are delivered one after the other.
type Lane = Vec<Waiting>;

impl Courier {
    /// A courier whose endpoints are within reach, with what sends mail, if anything does, and where AWS is asked, if not at
    /// AWS.
    ///
    /// # Errors
    /// [`CourierError`].
    pub fn new(
        reach: Reach,
        mailer: Option<Mailer>,
        aws_endpoint: Option<&str>,
    ) -> Result<Self, CourierError> {
        if aws_endpoint.is_some() && !Self::REACHES_AWS {
            return Err(CourierError::NoAws);
        }
        let mut name = [0_u8; 8];
        getrandom::fill(&mut name)?;
        Ok(Self {
            outlets: Outlets {
                poster: Poster::new(reach)?,
                mailer,
                #[cfg(feature = "aws")]
                aws: Aws::new(aws_endpoint.map(str::to_owned)),
            },
            metrics: CourierMetrics::default(),
            traces: Traces::default(),
            holder: name.iter().map(|byte| format!("{byte:02x}")).collect(),
            closing: watch::Sender::default(),
        })
    }

    /// What it measures of itself.
    #[must_use]
    pub const fn metrics(&self) -> &CourierMetrics {
        &self.metrics
    }

    /// Where traces are noted that webhooks carry on.
    #[must_use]
    pub const fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Tries nothing any more; what was tried is still written down.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Sends a message that tries a channel, once.
    pub async fn test(&self, channel: &Channel, at: Timestamp) -> Outcome {
        let secrets: Vec<String> = channel.secrets_at(at).map(str::to_owned).collect();
        self.outlets.send(channel, &secrets, &Message::test(channel, at), None).await
    }

    /// Whether messages can go to AWS: it is a feature.
    pub const REACHES_AWS: bool = cfg!(feature = "aws");

    /// Whether mail can be sent.
    #[must_use]
    pub const fn sends_mail(&self) -> bool {
        self.outlets.mailer.is_some()
    }

    /// Why no request may go to a URL, as far as its name leads anywhere now.
    pub async fn refusal(&self, url: &Uri) -> Option<String> {
        self.outlets.poster.refusal(url).await.map(|error| error.to_string())
    }

    /// The id of the message about a subject, and the body of the request to a webhook.
    ///
    /// # Errors
    /// When the store cannot read.
    pub async fn sent<S: Store>(
        &self,
        engine: &Engine<S>,
        subject: &Subject,
    ) -> Result<Option<(String, Value)>, EngineError> {
        let message = Message::about(engine, subject).await?;
        Ok(message.map(|message| (message.id.clone(), message.document())))
    }

    /// Delivers until it is closed: looks every interval what is new or due.
    pub async fn run<S: Store>(&self, engine: &Engine<S>, interval: Duration) {
        let mut closing = self.closing.subscribe();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = FuturesUnordered::new();
        let mut busy = HashSet::new();
        let mut failing = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(ended) = rounds.next(), if !rounds.is_empty() => {
                    let (id, more): (ChannelId, bool) = ended;
                    busy.remove(&id);
                    if !more {
                        continue;
                    }
                }
                _ = closing.wait_for(|closing| *closing) => break,
            }
            match self.live_channels(engine).await {
                Ok(channels) => {
                    failing = false;
                    let told = told_of_others(&channels);
                    for channel in channels {
                        if busy.insert(channel.id.clone()) {
                            rounds.push(self.round_of(engine, channel, told.clone()));
                        }
                    }
                }
                Err(EngineError::ShuttingDown | EngineError::Stopped(_)) => break,
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "channels cannot be read for now");
                    }
                    failing = true;
                }
            }
        }
        // What was tried is written down.
        while rounds.next().await.is_some() {}
    }

    /// The channels that deliver; none while another server on the same store does.
    async fn live_channels<S: Store>(&self, engine: &Engine<S>) -> Result<Vec<Channel>, EngineError> {
        let (channels, claim) = engine.channels().await?;
        let live: Vec<Channel> = channels.into_iter().filter(Channel::is_live).collect();
        let shared = engine.store().capabilities().shared;
        if live.is_empty() || !shared || self.claims(engine, claim).await? {
            Ok(live)
        } else {
            Ok(Vec::new())
        }
    }

    /// Whether it is this server that delivers, of those that share a store.
    async fn claims<S: Store>(
        &self,
        engine: &Engine<S>,
        claim: Option<DeliveryClaim>,
    ) -> Result<bool, EngineError> {
        let now = engine.clock().now();
        let left = |claim: &DeliveryClaim| claim.until.duration_since(now).as_secs();
        match claim {
            Some(claim) if claim.holder == self.holder && left(&claim) > CLAIM_RENEWED_SECS => {
                return Ok(true);
            }
            Some(claim) if claim.holder != self.holder && left(&claim) > 0 => return Ok(false),
            _ => {}
        }
        let until = now + Duration::from_secs(CLAIM_SECS.unsigned_abs());
        let claim = SystemCommand::ClaimDelivery { holder: self.holder.clone(), until };
        Ok(engine.submit_system(&Actor::System, claim).await?.is_ok())
    }

    /// Works on a channel for a while; says which, and whether there is more to do at once.
    async fn round_of<S: Store>(
        &self,
        engine: &Engine<S>,
        channel: Channel,
        told: Vec<ChannelId>,
    ) -> (ChannelId, bool) {
        let id = channel.id.clone();
        let more = match self.round(engine, &channel, told).await {
            Ok(more) => more,
            Err(EngineError::ShuttingDown) => false,
            Err(error) => {
                tracing::warn!(%error, channel = id.0, "a channel delivers nothing for now");
                false
            }
        };
        (id, more)
    }

    /// Reads ahead, tries what is due, and writes both down.
    async fn round<S: Store>(
        &self,
        engine: &Engine<S>,
        channel: &Channel,
        told: Vec<ChannelId>,
    ) -> Result<bool, EngineError> {
        if self.gathers(engine, channel).await? {
            return Ok(true);
        }
        let Ahead { read, more } = read_ahead(engine, channel).await?;
        let now = engine.clock().now();
        let mut waiting = channel.progress.waiting.clone();
        for notice in read.iter().flat_map(|(_, found)| found) {
            waiting.push(Waiting { subject: Subject::Notice(notice.clone()), failed: 0, due: now });
        }
        let lanes = due_lanes(channel, &waiting, now);
        // Reading takes a while, and somebody may have paused it or changed where it goes.
        if !lanes.is_empty() && engine.channel(&channel.id).await?.as_ref() != Some(channel) {
            return Ok(true);
        }
        let until = Instant::now() + ROUND_TIME;
        let work = lanes.into_iter().map(|lane| self.lane(engine, channel, lane, until));
        let tried: Vec<Vec<Attempt>> =
            stream::iter(work).buffer_unordered(ROUND_LANES_AT_ONCE).collect().await;
        let attempts: Vec<Attempt> = tried.into_iter().flatten().collect();
        if read.is_none() && attempts.is_empty() {
            return Ok(false);
        }
        let more = more || attempts.iter().any(|attempt| attempt.result == AttemptResult::Delivered);
        let (id, progress) = (channel.id.clone(), &channel.progress);
        let round = Round { channel: id, round: progress.round, read, attempts, told };
        match engine.submit_system(&Actor::System, SystemCommand::Deliver(Box::new(round))).await? {
            Ok(_) => Ok(more),
            // Somebody changed it meanwhile: what was delivered is delivered once more.
            Err(SystemDenial::ChannelMoved) => Ok(true),
            Err(_) => Ok(false),
        }
    }

    /// Makes one message of the notices that a digest is due of; says whether it did.
    async fn gathers<S: Store>(&self, engine: &Engine<S>, channel: &Channel) -> Result<bool, EngineError> {
        let now = engine.clock().now();
        let due = channel.digest_due(now, WAITING_MAX).filter(|_| !channel.is_quiet(now));
        let Some(digest) = due else { return Ok(false) };
        let change = ChangeChannel { id: channel.id.clone(), change: ChannelChange::Gather(digest) };
        let change = SystemCommand::ChangeChannel(Box::new(change));
        Ok(engine.submit_system(&Actor::System, change).await?.is_ok())
    }

    /// Tries the messages of a lane, one after the other, until one fails.
    async fn lane<S: Store>(
        &self,
        engine: &Engine<S>,
        channel: &Channel,
        lane: Lane,
        until: Instant,
    ) -> Vec<Attempt> {
        let mut closing = self.closing.subscribe();
        let mut attempts = Vec::new();
        for waiting in lane {
            if Instant::now() >= until || channel.is_quiet(engine.clock().now()) {
                break;
            }
            let attempt = tokio::select! {
                attempt = self.attempt(engine, channel, &waiting) => attempt,
                _ = closing.wait_for(|closing| *closing) => break,
            };
            let Some(attempt) = attempt else { break };
            let delivered = attempt.result == AttemptResult::Delivered;
            attempts.push(attempt);
            if !delivered {
                break;
            }
        }
        attempts
    }

    /// Tries to deliver a message; `None`: it cannot be read.
    async fn attempt<S: Store>(
        &self,
        engine: &Engine<S>,
        channel: &Channel,
        waiting: &Waiting,
    ) -> Option<Attempt> {
        let at = engine.clock().now();
        let began = Instant::now();
        let outcome = match message_for(engine, channel, &waiting.subject).await {
            Ok(Some(message)) => {
                let secrets: Vec<String> = channel.secrets_at(at).map(str::to_owned).collect();
                let of = |org: &OrgId| self.traces.find(org, message.cause.as_ref()?);
                let traceparent = message.org.as_ref().and_then(of);
                self.outlets.send(channel, &secrets, &message, traceparent).await
            }
            Ok(None) => Outcome::failed("the ledger has no such notice"),
            Err(error) => {
                tracing::warn!(%error, channel = channel.id.0, "a notice cannot be read for now");
                return None;
            }
        };
        let result = self.judge(waiting, &outcome, at);
        let Outcome { status, reply, .. } = outcome;
        let millis = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
        let (subject, status) = (waiting.subject.clone(), status.map(u32::from));
        Some(Attempt { subject, at, result, status, millis, reply })
    }

    /// What becomes of a message after an attempt.
    fn judge(&self, waiting: &Waiting, outcome: &Outcome, at: Timestamp) -> AttemptResult {
        if outcome.delivered {
            self.metrics.delivered.inc();
            return AttemptResult::Delivered;
        }
        self.metrics.failed.inc();
        if outcome.gone {
            return AttemptResult::Gone;
        }
        // Without randomness it is tried as planned.
        let draw = getrandom::u32().map_or(0, |drawn| u16::try_from(drawn >> 16).unwrap_or_default());
        match message_pause(waiting.failed + 1, draw) {
            Some(pause) => {
                let pause = outcome.retry_after.map_or(pause, |asked| asked.max(pause));
                AttemptResult::Failed { next: at.checked_add(pause).unwrap_or(at) }
            }
            None => {
                self.metrics.lost.inc();
                AttemptResult::GivenUp
            }
        }
    }
}

/// The message about a subject, with what those who receive it need.
async fn message_for<S: Store>(
    engine: &Engine<S>,
    channel: &Channel,
    subject: &Subject,
) -> Result<Option<Message>, EngineError> {
    match (Message::about(engine, subject).await?, &channel.setup.target) {
        (Some(message), Target::Email { .. }) => message.at_home(engine).await.map(Some),
        (message, _) => Ok(message),
    }
}

/// The channels that hear of one that is disabled: those for all orgs.
fn told_of_others(channels: &[Channel]) -> Vec<ChannelId> {
    let of_all = channels.iter().filter(|channel| channel.setup.filter.orgs.is_empty());
    of_all.map(|channel| channel.id.clone()).collect()
}

/// What is due, by lane and in order: a lane whose first message is not due waits for it. All is one lane where there is a
/// digest, for it is of several orgs.
fn due_lanes(channel: &Channel, waiting: &[Waiting], now: Timestamp) -> Vec<Lane> {
    if channel.is_quiet(now) {
        return Vec::new();
    }
    let has_digest = waiting.iter().any(|each| matches!(each.subject, Subject::Digest(_)));
    let mut places: HashMap<Option<&OrgId>, Option<usize>> = HashMap::new();
    let mut lanes: Vec<Lane> = Vec::new();
    for each in waiting.iter() {
        if channel.gathers() && matches!(each.subject, Subject::Notice(_)) {
            continue;
        }
        if lanes.iter().map(Vec::len).sum::<usize>() >= ROUND_MESSAGES_MAX {
            break;
        }
        let lane = each.subject.lane().filter(|_| !has_digest);
        let place = *places.entry(lane).or_insert_with(|| {
            (each.due <= now).then(|| {
                lanes.push(Vec::new());
                lanes.len() - 1
            })
        });
        if let Some(lane) = place.and_then(|place| lanes.get_mut(place)) {
            lane.push(each.clone());
        }
    }
    lanes
}

#[cfg(test)]
mod tests {
    use tollgate_domain::{ChannelSetup, Digest, Filter, Hours, NoticeRef, Progress, QuietHours, Zone};

    use super::*;

    fn channel(hours: Option<Hours>) -> Channel {
        let setup = ChannelSetup {
            name: "ops".to_owned(),
            target: Target::Email { to: "ann@example.com".to_owned() },
            filter: Filter::default(),
            enabled: true,
            hours: hours.map(Box::new),
        };
        Channel {
            id: ChannelId("c".to_owned()),
            setup,
            secrets: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
            removed_at: None,
            progress: Progress::default(),
        }
    }

    #[test]
    fn nothing_is_due_in_quiet_hours_and_no_notice_passes_a_digest() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let notice = |org: &str| NoticeRef { org: OrgId::new(org).expect("an id"), entry: 1, index: 0 };
        let waiting = |subject, due: &str| Waiting { subject, failed: 0, due: at(due) };
        let digest = |due: &str| {
            let digest = Digest { at: at("2026-11-02T09:00:00Z"), notices: vec![notice("a")] };
            waiting(Subject::Digest(Box::new(digest)), due)
        };
        let single = |org: &str| waiting(Subject::Notice(notice(org)), "2026-11-02T10:00:00Z");
        let time = |text: &str| text.parse().expect("a time of the day");
        let quiet = QuietHours { from: time("22:00"), to: time("07:00") };
        let hours = |quiet, digest| Some(Hours { zone: Zone::UTC, quiet, digest });
        let (day, night) = ("2026-11-02T12:00:00Z", "2026-11-02T23:00:00Z");
        for (hours, all, now, lanes) in [
            (hours(Some(quiet), None), vec![single("a"), single("b")], day, vec![1, 1]),
            (hours(Some(quiet), None), vec![single("a"), single("b")], night, vec![]),
            (hours(None, Some(time("09:00"))), vec![single("a")], day, vec![]),
            (hours(None, Some(time("09:00"))), vec![digest(day), single("a")], day, vec![1]),
            (None, vec![digest(day), single("a"), single("b")], day, vec![3]),
            (None, vec![digest(night), single("a"), single("b")], day, vec![]),
        ] {
            let due = due_lanes(&channel(hours), &all, at(now));
            assert_eq!(due.iter().map(Vec::len).collect::<Vec<_>>(), lanes, "{all:?} at {now}");
        }
    }

    #[test]
    fn a_lane_waits_for_its_first_message_and_holds_up_no_other() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let waiting = |org: &str, entry, due| {
            let org = OrgId::new(org).expect("an id");
            let subject = Subject::Notice(NoticeRef { org, entry, index: 0 });
            Waiting { subject, failed: 0, due: at(due) }
        };
        let all = [
            waiting("a", 1, 10),
            waiting("b", 1, 5),
            waiting("a", 2, 0),
            waiting("b", 2, 10),
            waiting("c", 1, 6),
        ];
        let channel = channel(None);
        let due = |now| {
            let lanes = due_lanes(&channel, &all, at(now)).into_iter();
            let names =
                |lane: Lane| lane.into_iter().map(|each| (each.subject, each.due)).collect::<Vec<_>>();
            lanes.map(names).map(|lane| lane.len()).collect::<Vec<_>>()
        };
        assert_eq!((due(4), due(5), due(6), due(10)), (vec![], vec![2], vec![2, 1], vec![2, 2, 1]));
    }
}
