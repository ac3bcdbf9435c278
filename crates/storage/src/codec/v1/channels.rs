//! Channels, and what was tried of them.

use std::collections::BTreeSet;

use tollgate_domain::{
    Attempt, AttemptResult, ChangeChannel, Channel, ChannelChange, ChannelId, ChannelSecret, ChannelSetup,
    ClockTime, Delivery, DeliveryClaim, Digest, Filter, Hours, MeterId, NoticeRef, OrgId, PlanId, Progress,
    QuietHours, ReadTo, Replay, Round, Subject, Target, Timestamp, Waiting, Zone,
};

use crate::codec::wire::{In, Wire, choices, fields, invalid};

/// Bits of the byte that says whether a channel delivers, and what else it has.
const IS_ENABLED: u8 = 1;
const HAS_HOURS: u8 = 2;

fields! {
    Channel {
        id: ChannelId,
        setup: ChannelSetup,
        secrets: Vec<ChannelSecret>,
        created_at: Timestamp,
        removed_at: Option<Timestamp>,
        progress: Progress,
    }
    Filter {
        kinds: BTreeSet<String>,
        orgs: BTreeSet<OrgId>,
        plans: BTreeSet<PlanId>,
        meters: BTreeSet<MeterId>,
    }
    ChannelSecret {
        text: String,
        until: Option<Timestamp>,
    }
    Progress {
        round: u64,
        read: ReadTo,
        waiting: Vec<Waiting>,
        failing_since: Option<Timestamp>,
        gave_up_at: Option<Timestamp>,
        attempts: u64,
        delivered: u64,
        lost: u64,
    }
    ReadTo {
        cursor: Option<Vec<u8>>,
        seen: u32,
        since: Option<Timestamp>,
    }
    Waiting {
        subject: Subject,
        failed: u32,
        due: Timestamp,
    }
    NoticeRef {
        org: OrgId,
        entry: u64,
        index: u32,
    }
    Delivery {
        number: u64,
        subject: Subject,
        attempt: u32,
        at: Timestamp,
        result: AttemptResult,
        status: Option<u32>,
        millis: u32,
        reply: String,
    }
    Attempt {
        subject: Subject,
        at: Timestamp,
        result: AttemptResult,
        status: Option<u32>,
        millis: u32,
        reply: String,
    }
    Round {
        channel: ChannelId,
        round: u64,
        read: Option<(ReadTo, Vec<NoticeRef>)>,
        attempts: Vec<Attempt>,
        told: Vec<ChannelId>,
    }
    ChangeChannel {
        id: ChannelId,
        change: ChannelChange,
    }
    DeliveryClaim {
        holder: String,
        until: Timestamp,
    }
    Hours {
        zone: Zone,
        quiet: Option<QuietHours>,
        digest: Option<ClockTime>,
    }
    QuietHours {
        from: ClockTime,
        to: ClockTime,
    }
    Digest {
        at: Timestamp,
        notices: Vec<NoticeRef>,
    }
}

/// Field by field, but for the hours, which few have: the byte that says whether it delivers says whether they follow.
impl Wire for ChannelSetup {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { name, target, filter, enabled, hours } = self;
        name.put(out);
        target.put(out);
        filter.put(out);
        let has = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
        (has(*enabled, IS_ENABLED) | has(hours.is_some(), HAS_HOURS)).put(out);
        hours.iter().for_each(|hours| hours.put(out));
    }

    fn take(from: &mut In<'_>) -> postcard::Result<Self> {
        let (name, target, filter) = (Wire::take(from)?, Wire::take(from)?, Wire::take(from)?);
        let has = u8::take(from)?;
        if has & !(IS_ENABLED | HAS_HOURS) != 0 {
            return Err(invalid());
        }
        let hours = if has & HAS_HOURS == 0 { None } else { Some(Wire::take(from)?) };
        Ok(Self { name, target, filter, enabled: has & IS_ENABLED != 0, hours })
    }
}

/// The minutes since midnight.
impl Wire for ClockTime {
    fn put(&self, out: &mut Vec<u8>) {
        self.minute().put(out);
    }

    fn take(from: &mut In<'_>) -> postcard::Result<Self> {
        Self::from_minute(u32::take(from)?).ok_or_else(invalid)
    }
}

choices! {
    Target {
        0 = Webhook { url: String },
        1 = Slack { url: String },
        2 = Log,
        3 = Email { to: String },
        4 = Sqs { queue_url: String },
        5 = Sns { topic_arn: String },
    }
    Subject {
        0 = Notice(notice: NoticeRef),
        1 = ChannelDisabled {
            channel: ChannelId,
            at: Timestamp,
        },
        2 = Digest(digest: Box<Digest>),
    }
    AttemptResult {
        0 = Delivered,
        1 = Failed { next: Timestamp },
        2 = GivenUp,
        3 = Gone,
    }
    ChannelChange {
        0 = Make {
            setup: ChannelSetup,
            secret: Option<String>,
            read: ReadTo,
        },
        1 = Set(setup: ChannelSetup),
        2 = Rotate {
            secret: String,
            old_until: Timestamp,
        },
        3 = Replay(replay: Replay),
        4 = Remove,
        5 = Gather(digest: Digest),
    }
    Replay {
        0 = Since(since: Timestamp),
        1 = One(notice: NoticeRef),
    }
}
