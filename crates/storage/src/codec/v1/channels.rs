//! Channels, and what was tried of them.

use std::collections::BTreeSet;

use tollgate_domain::{
    Attempt, AttemptResult, ChangeChannel, Channel, ChannelChange, ChannelId, ChannelSecret, ChannelSetup,
    Delivery, DeliveryClaim, Filter, MeterId, NoticeRef, OrgId, PlanId, Progress, ReadTo, Replay, Round,
    Subject, Target, Timestamp, Waiting,
};

use crate::codec::wire::{choices, fields};

fields! {
    Channel {
        id: ChannelId,
        setup: ChannelSetup,
        secrets: Vec<ChannelSecret>,
        created_at: Timestamp,
        removed_at: Option<Timestamp>,
        progress: Progress,
    }
    ChannelSetup {
        name: String,
        target: Target,
        filter: Filter,
        enabled: bool,
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
}

choices! {
    Target {
        0 = Webhook { url: String },
        1 = Slack { url: String },
        2 = Log,
        3 = Email { to: String },
    }
    Subject {
        0 = Notice(notice: NoticeRef),
        1 = ChannelDisabled {
            channel: ChannelId,
            at: Timestamp,
        },
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
    }
    Replay {
        0 = Since(since: Timestamp),
        1 = One(notice: NoticeRef),
    }
}
