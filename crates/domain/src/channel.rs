//! Channels: where notices go, which of them, and how far each has come.
//!
//! A channel reads the notices of all organizations in the order of their commits. Those that pass its filter *wait*, in
//! that order, until they are delivered or given up; of an org, one after the other. Whoever delivers them writes down
//! what it read and what became of its attempts, so a crash in between repeats an attempt and loses none.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::limits::{
    CHANNEL_DELIVERIES_KEPT, CHANNEL_FAILING_SECS_MAX, CHANNEL_OUTAGE_SECS, CHANNEL_SECRETS_MAX,
};
use crate::{Hours, MeterId, NoticeRef, OrgId, PlanId, Record, RecordKey, System, SystemRecords};

/// The public id of a channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub String);

/// Where notices go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// What people say of it.
    pub setup: ChannelSetup,
    /// The secrets that its requests are signed with, or the links in its e-mail, the latest first: each `whsec_…`, and when
    /// it ends, if it does.
    pub secrets: Vec<ChannelSecret>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was removed, if it was: nothing of it is kept then.
    pub removed_at: Option<Timestamp>,
    /// How far it has come.
    pub progress: Progress,
}

/// What people say of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSetup {
    /// A name for people.
    pub name: String,
    /// To whom it leads.
    pub target: Target,
    /// Which notices it takes.
    pub filter: Filter,
    /// Whether it delivers.
    pub enabled: bool,
    /// When it delivers, if not always. Only those of people have hours.
    pub hours: Option<Box<Hours>>,
}

/// To whom a channel leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An HTTP endpoint that takes signed requests.
    Webhook {
        /// Its URL.
        url: String,
    },
    /// An incoming webhook of Slack.
    Slack {
        /// Its URL, which is a secret.
        url: String,
    },
    /// The server's log.
    Log,
    /// A mailbox of a person or of a list of them.
    Email {
        /// Its address.
        to: String,
    },
    /// A queue of AWS's SQS.
    Sqs {
        /// Its URL, as AWS names it.
        queue_url: String,
    },
    /// A topic of AWS's SNS.
    Sns {
        /// Its ARN.
        topic_arn: String,
    },
}

impl Target {
    /// The name of its kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Log => "log",
            Self::Email { .. } => "email",
            Self::Sqs { .. } => "sqs",
            Self::Sns { .. } => "sns",
        }
    }

    /// Whether people read it, not programs.
    #[must_use]
    pub const fn is_of_people(&self) -> bool {
        matches!(self, Self::Slack { .. } | Self::Email { .. })
    }
}

/// Which notices a channel takes: those that pass every list that is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The names of their kinds.
    pub kinds: BTreeSet<String>,
    /// Their orgs.
    pub orgs: BTreeSet<OrgId>,
    /// The plans of their orgs.
    pub plans: BTreeSet<PlanId>,
    /// Their meters.
    pub meters: BTreeSet<MeterId>,
}

/// A secret that requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct ChannelSecret {
    /// The secret, as the receiver has it.
    pub text: String,
    /// From when on nothing is signed with it any more.
    pub until: Option<Timestamp>,
}

impl std::fmt::Debug for ChannelSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ChannelSecret(***, {:?})", self.until)
    }
}

/// How far a channel has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Counts what was written down of it: who writes with an old count was overtaken.
    pub round: u64,
    /// Up to where notices were read.
    pub read: ReadTo,
    /// What was read and is not delivered, in order.
    pub waiting: Vec<Waiting>,
    /// Since when every attempt failed; `None`: the latest did not.
    pub failing_since: Option<Timestamp>,
    /// When it was disabled because every attempt failed for too long.
    pub gave_up_at: Option<Timestamp>,
    /// Attempts that were made.
    pub attempts: u64,
    /// Messages that were delivered.
    pub delivered: u64,
    /// Messages that were given up.
    pub lost: u64,
}

/// A place in the notices of all orgs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadTo {
    /// The latest cursor that the store gave.
    pub cursor: Option<Vec<u8>>,
    /// How many notices behind it were read, too.
    pub seen: u32,
    /// Only notices that were decided then or later are taken.
    pub since: Option<Timestamp>,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A notice.
    Notice(NoticeRef),
    /// A channel that was disabled because every attempt failed for too long.
    ChannelDisabled {
        /// Which.
        channel: ChannelId,
        /// When.
        at: Timestamp,
    },
    /// The notices since the last one, in one.
    Digest(Box<Digest>),
}

/// Notices that are delivered as one message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    /// When it was due.
    pub at: Timestamp,
    /// Which, in the order of their commits.
    pub notices: Vec<NoticeRef>,
}

/// A message that is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What it is about.
    pub subject: Subject,
    /// How many attempts failed.
    pub failed: u32,
    /// When the next one is due.
    pub due: Timestamp,
}

impl Subject {
    /// What is delivered one after the other: the messages of an org, and those of none or of several.
    #[must_use]
    pub const fn lane(&self) -> Option<&OrgId> {
        match self {
            Self::Notice(notice) => Some(&notice.org),
            Self::ChannelDisabled { .. } | Self::Digest(_) => None,
        }
    }
}

/// One attempt to deliver a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number among those of its channel: 1, 2, 3 …; zero when the channel was removed.
    pub number: u64,
    /// What was delivered.
    pub subject: Subject,
    /// Which attempt of that message it was.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// What came of it.
    pub result: AttemptResult,
    /// The status of the reply, if there was one.
    pub status: Option<u32>,
    /// How long it took, in milliseconds.
    pub millis: u32,
    /// The beginning of the reply, or why there was none.
    pub reply: String,
}

impl Delivery {
    /// Takes the place of a line of a channel that was removed.
    pub(crate) fn erased(channel: &ChannelId, at: Timestamp) -> Self {
        Self {
            number: 0,
            subject: Subject::ChannelDisabled { channel: channel.clone(), at },
            attempt: 0,
            at,
            result: AttemptResult::GivenUp,
            status: None,
            millis: 0,
            reply: String::new(),
        }
    }

    /// The place in the log of its channel, whose oldest lines are written over.
    #[must_use]
    pub const fn slot(number: u64) -> u64 {
        number % CHANNEL_DELIVERIES_KEPT
    }
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// It was taken.
    Delivered,
    /// It is tried again.
    Failed {
        /// When.
        next: Timestamp,
    },
    /// It is not tried again.
    GivenUp,
    /// Its receiver wants no more messages.
    Gone,
}

/// An attempt, as the one who made it tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was to be delivered.
    pub subject: Subject,
    /// When it was tried.
    pub at: Timestamp,
    /// What came of it.
    pub result: AttemptResult,
    /// The status of the reply, if there was one.
    pub status: Option<u32>,
    /// How long it took, in milliseconds.
    pub millis: u32,
    /// The beginning of the reply, or why there was none.
    pub reply: String,
}

/// What became of a channel while it was worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Which channel.
    pub channel: ChannelId,
    /// The count of its progress when the work began.
    pub round: u64,
    /// Up to where notices were read, if any were, and those that wait now.
    pub read: Option<(ReadTo, Vec<NoticeRef>)>,
    /// What was tried, in order.
    pub attempts: Vec<Attempt>,
    /// The channels that are told if this one is disabled by it.
    pub told: Vec<ChannelId>,
}

impl Round {
    /// The channels that it reads or changes.
    pub(crate) fn channels(&self) -> impl Iterator<Item = RecordKey> {
        let named = std::iter::once(&self.channel).chain(&self.told);
        named.map(|id| RecordKey::Channel(id.clone()))
    }
}

impl Channel {
    /// Whether it delivers.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.removed_at.is_none() && self.setup.enabled && self.progress.gave_up_at.is_none()
    }

    /// Whether nothing is delivered now because of its quiet hours.
    #[must_use]
    pub fn is_quiet(&self, now: Timestamp) -> bool {
        self.setup.hours.as_ref().is_some_and(|hours| hours.quiet_until(now).is_some())
    }

    /// Whether its notices are delivered as digests.
    #[must_use]
    pub fn gathers(&self) -> bool {
        self.setup.hours.as_ref().is_some_and(|hours| hours.digest.is_some())
    }

    /// When it delivers again, if now it does not because of its hours: until then its notices wait.
    #[must_use]
    pub fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        let hours = self.setup.hours.as_ref()?;
        let has_notices =
            || self.progress.waiting.iter().any(|each| matches!(each.subject, Subject::Notice(_)));
        hours.quiet_until(now).or_else(|| hours.next_digest(now).filter(|_| has_notices()))
    }

    /// The notices that are to become one message now: those that waited when the latest digest was due, or all of them where
    /// there are so many that no more are read. Where an earlier one of the same org is left out, so is a later one.
    #[must_use]
    pub fn digest_due(&self, now: Timestamp, most: usize) -> Option<Digest> {
        let hours = self.setup.hours.as_ref()?;
        let last = hours.last_digest(now)?;
        let is_full = self.progress.waiting.len() >= most;
        let mut left_out = HashSet::new();
        let mut notices = Vec::new();
        for each in &self.progress.waiting {
            let Subject::Notice(notice) = &each.subject else { continue };
            if is_full || (each.due <= last && !left_out.contains(&notice.org)) {
                notices.push(notice.clone());
            } else {
                left_out.insert(&notice.org);
            }
        }
        (!notices.is_empty()).then_some(Digest { at: if is_full { now } else { last }, notices })
    }

    /// The secrets that a request is signed with at a moment, the latest first.
    pub fn secrets_at(&self, at: Timestamp) -> impl Iterator<Item = &str> {
        let valid = move |secret: &&ChannelSecret| secret.until.is_none_or(|until| at < until);
        self.secrets.iter().filter(valid).map(|secret| secret.text.as_str())
    }

    /// Signs with another secret from now on, and with the one before it until a moment.
    pub(crate) fn rotate(&mut self, secret: String, old_until: Timestamp) {
        for former in &mut self.secrets {
            former.until = Some(former.until.map_or(old_until, |until| until.min(old_until)));
        }
        self.secrets.insert(0, ChannelSecret { text: secret, until: None });
        self.secrets.truncate(CHANNEL_SECRETS_MAX);
    }

    /// Whether a round ends with the channel being disabled.
    pub(crate) fn is_disabled_by(&self, round: &Round, at: Timestamp) -> bool {
        if round.attempts.iter().any(|attempt| attempt.result == AttemptResult::Gone) {
            return true;
        }
        let all_fail = round.attempts.iter().all(|attempt| attempt.result != AttemptResult::Delivered);
        let since = self.progress.failing_since;
        let too_long = SignedDuration::from_secs(CHANNEL_FAILING_SECS_MAX);
        !round.attempts.is_empty()
            && all_fail
            && since.is_some_and(|since| at.duration_since(since) >= too_long)
    }

    /// Takes in what a round did; gives the lines of the log.
    pub(crate) fn follow(&mut self, round: &Round, disabled: bool, at: Timestamp) -> Vec<Delivery> {
        let progress = &mut self.progress;
        progress.round += 1;
        if let Some((read, found)) = &round.read {
            progress.read = read.clone();
            let wait =
                |notice: &NoticeRef| Waiting { subject: Subject::Notice(notice.clone()), failed: 0, due: at };
            progress.waiting.extend(found.iter().map(wait));
        }
        let log = progress.note_all(&round.attempts);
        if disabled {
            progress.gave_up_at = Some(at);
        }
        log
    }

    /// Delivers again, from a moment on or one notice.
    pub(crate) fn replay(&mut self, replay: &Replay, at: Timestamp) {
        let progress = &mut self.progress;
        progress.round += 1;
        match replay {
            Replay::Since(since) => {
                progress.read = ReadTo { since: Some(*since), ..ReadTo::default() };
            }
            Replay::One(notice) => {
                let subject = Subject::Notice(notice.clone());
                progress.waiting.retain(|waiting| waiting.subject != subject);
                progress.waiting.push(Waiting { subject, failed: 0, due: at });
            }
        }
    }

    /// Has queued notices delivered as one message, in the place of the first of them.
    pub(crate) fn gather(&mut self, digest: &Digest, at: Timestamp) {
        let progress = &mut self.progress;
        progress.round += 1;
        let gathered: HashSet<&NoticeRef> = digest.notices.iter().collect();
        let is_gathered =
            |each: &Waiting| matches!(&each.subject, Subject::Notice(notice) if gathered.contains(notice));
        let Some(first) = progress.waiting.iter().position(is_gathered) else { return };
        progress.waiting.retain(|each| !is_gathered(each));
        let subject = Subject::Digest(Box::new(digest.clone()));
        progress.waiting.insert(first, Waiting { subject, failed: 0, due: at });
    }

    /// Has it tell that another channel was disabled.
    pub(crate) fn tell_disabled(&mut self, channel: &ChannelId, at: Timestamp) {
        let subject = Subject::ChannelDisabled { channel: channel.clone(), at };
        self.progress.waiting.push(Waiting { subject, failed: 0, due: at });
    }

    /// Delivers once more after it was disabled by failures: its queued messages are due.
    pub(crate) fn revive(&mut self, at: Timestamp) {
        let progress = &mut self.progress;
        if progress.gave_up_at.take().is_some() {
            progress.failing_since = None;
            progress.waiting.iter_mut().for_each(|waiting| waiting.due = at);
        }
    }
}

impl Progress {
    /// Notes attempts at queued messages, each at the first of its subject; those at others are passed over.
    fn note_all(&mut self, attempts: &[Attempt]) -> Vec<Delivery> {
        let tried: HashSet<&Subject> = attempts.iter().map(|attempt| &attempt.subject).collect();
        let mut places: HashMap<Subject, VecDeque<usize>> = HashMap::new();
        for (place, waiting) in self.waiting.iter().enumerate() {
            if tried.contains(&waiting.subject) {
                places.entry(waiting.subject.clone()).or_default().push_back(place);
            }
        }
        let mut ended = HashSet::new();
        let note = |attempt: &Attempt| {
            let places = places.get_mut(&attempt.subject)?;
            let place = *places.front()?;
            if matches!(attempt.result, AttemptResult::Delivered | AttemptResult::GivenUp) {
                places.pop_front();
                ended.insert(place);
            }
            self.note(place, attempt)
        };
        let log = attempts.iter().filter_map(note).collect();
        // Taken out all at once: a round is noted by the thread that decides, which must not be held up.
        let mut place = 0..;
        self.waiting.retain(|_| place.next().is_none_or(|place| !ended.contains(&place)));
        log
    }

    /// Notes an attempt at the message of a place, which stays there.
    fn note(&mut self, place: usize, attempt: &Attempt) -> Option<Delivery> {
        let waiting = self.waiting.get_mut(place)?;
        let tried = waiting.failed + 1;
        if let AttemptResult::Failed { next } = attempt.result {
            waiting.failed = tried;
            waiting.due = next;
        }
        self.attempts += 1;
        match attempt.result {
            AttemptResult::Delivered => {
                self.delivered += 1;
                self.end_outage(attempt.at);
            }
            AttemptResult::GivenUp => self.lost += 1,
            AttemptResult::Failed { .. } | AttemptResult::Gone => {}
        }
        if attempt.result != AttemptResult::Delivered {
            self.failing_since.get_or_insert(attempt.at);
        }
        Some(Delivery {
            number: self.attempts,
            subject: attempt.subject.clone(),
            attempt: tried,
            at: attempt.at,
            result: attempt.result,
            status: attempt.status,
            millis: attempt.millis,
            reply: attempt.reply.clone(),
        })
    }

    /// Something was delivered: what waited through an outage is due at once.
    fn end_outage(&mut self, at: Timestamp) {
        let Some(since) = self.failing_since.take() else { return };
        if at.duration_since(since) >= SignedDuration::from_secs(CHANNEL_OUTAGE_SECS) {
            self.waiting.iter_mut().for_each(|waiting| waiting.due = waiting.due.min(at));
        }
    }
}

/// Make, change or remove a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeChannel {
    /// Which.
    pub id: ChannelId,
    /// What to do with it.
    pub change: ChannelChange,
}

/// What to do with a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelChange {
    /// Make it.
    Make {
        /// What it is.
        setup: ChannelSetup,
        /// What its requests are signed with, if they are.
        secret: Option<String>,
        /// The notices before this place are not delivered.
        read: ReadTo,
    },
    /// Give it another setup. Enabled, it delivers again if it was disabled by failures.
    Set(ChannelSetup),
    /// Sign with another secret, and with the one before it until a moment.
    Rotate {
        /// The new one.
        secret: String,
        /// When the old one ends.
        old_until: Timestamp,
    },
    /// Deliver again.
    Replay(Replay),
    /// Remove it.
    Remove,
    /// Make one message of queued notices.
    Gather(Digest),
}

/// Changes a channel as its entry says.
pub(crate) fn change_channel(
    records: &mut SystemRecords,
    system: &mut System,
    at: Timestamp,
    ChangeChannel { id, change }: &ChangeChannel,
) {
    if let ChannelChange::Make { setup, secret, read } = change {
        let secret = secret.clone().map(|text| ChannelSecret { text, until: None });
        let channel = Channel {
            id: id.clone(),
            setup: setup.clone(),
            secrets: secret.into_iter().collect(),
            created_at: at,
            removed_at: None,
            progress: Progress { read: read.clone(), ..Progress::default() },
        };
        system.channels.push(id.clone());
        return set(records, channel);
    }
    let Some(mut channel) = records.channel(id).cloned() else { return };
    match change {
        ChannelChange::Make { .. } => {}
        ChannelChange::Set(setup) => {
            channel.setup.clone_from(setup);
            if setup.enabled {
                channel.revive(at);
            }
        }
        ChannelChange::Rotate { secret, old_until } => channel.rotate(secret.clone(), *old_until),
        ChannelChange::Replay(replay) => channel.replay(replay, at),
        ChannelChange::Gather(digest) => channel.gather(digest, at),
        ChannelChange::Remove => {
            channel.removed_at = Some(at);
            system.channels.retain(|known| known != id);
            for slot in 0..channel.progress.attempts.saturating_add(1).min(CHANNEL_DELIVERIES_KEPT) {
                let erased = Record::Delivery(Arc::new(Delivery::erased(id, at)));
                records.set(RecordKey::Delivery(id.clone(), slot), erased);
            }
        }
    }
    set(records, channel);
}

/// Moves a channel on as the entry of a round says.
pub(crate) fn deliver(records: &mut SystemRecords, at: Timestamp, round: &Round, disabled: bool) {
    let Some(mut channel) = records.channel(&round.channel).cloned() else { return };
    for line in channel.follow(round, disabled, at) {
        let key = RecordKey::Delivery(round.channel.clone(), Delivery::slot(line.number));
        records.set(key, Record::Delivery(Arc::new(line)));
    }
    set(records, channel);
    for told in &round.told {
        if let Some(mut channel) = records.channel(told).cloned() {
            channel.tell_disabled(&round.channel, at);
            set(records, channel);
        }
    }
}

fn set(records: &mut SystemRecords, channel: Channel) {
    let key = RecordKey::Channel(channel.id.clone());
    records.set(key, Record::Channel(Arc::new(channel)));
}

/// What is delivered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// All notices that were decided then or later.
    Since(Timestamp),
    /// One.
    One(NoticeRef),
}

#[cfg(test)]
mod tests;
