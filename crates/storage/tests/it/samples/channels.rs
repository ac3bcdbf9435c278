//! Samples of channels.

use std::collections::BTreeSet;

use tollgate_domain::{
    Attempt, AttemptResult, ChangeChannel, Channel, ChannelChange, ChannelId, ChannelSecret, ChannelSetup,
    ClockTime, Delivery, DeliveryClaim, Digest, Filter, Hours, NoticeRef, Progress, QuietHours, ReadTo,
    Replay, Round, Subject, SystemEntryKind, Target, Timestamp, Waiting, Zone,
};

use super::values::{at, id};
use super::{Sample, every};

every! {
    targets: Target {
        Target::Webhook { .. } => Target::Webhook { url: "https://hooks.example/in".to_owned() },
        Target::Slack { .. } => Target::Slack { url: "https://hooks.slack.com/services/T/B/x".to_owned() },
        Target::Log => Target::Log,
        Target::Email { .. } => Target::Email { to: "ann@example.com".to_owned() },
        Target::Sqs { .. } => {
            Target::Sqs { queue_url: "https://sqs.eu-west-1.amazonaws.com/123456789012/notices.fifo".to_owned() }
        },
        Target::Sns { .. } => {
            Target::Sns { topic_arn: "arn:aws:sns:eu-west-1:123456789012:notices".to_owned() }
        },
    }
}

every! {
    subjects: Subject {
        Subject::Notice(_) => Subject::Notice(notice(5)),
        Subject::ChannelDisabled { .. } => {
            Subject::ChannelDisabled { channel: channel_id("0f"), at: at(1_795_000_000, 7) }
        },
        Subject::Digest(_) => Subject::Digest(Box::new(digest())),
    }
}

every! {
    results: AttemptResult {
        AttemptResult::Delivered => AttemptResult::Delivered,
        AttemptResult::Failed { .. } => AttemptResult::Failed { next: at(1_795_000_300, 0) },
        AttemptResult::GivenUp => AttemptResult::GivenUp,
        AttemptResult::Gone => AttemptResult::Gone,
    }
}

every! {
    replays: Replay {
        Replay::Since(_) => Replay::Since(at(1_794_000_000, 0)),
        Replay::One(_) => Replay::One(notice(6)),
    }
}

every! {
    changes: ChannelChange {
        ChannelChange::Make { .. } => {
            ChannelChange::Make { setup: setup(Target::Log), secret: Some(secret()), read: read() }
        },
        ChannelChange::Set(_) => ChannelChange::Set(setup(Target::Log)),
        ChannelChange::Rotate { .. } => {
            ChannelChange::Rotate { secret: secret(), old_until: at(1_795_086_400, 0) }
        },
        ChannelChange::Replay(_) => ChannelChange::Replay(Replay::One(notice(7))),
        ChannelChange::Remove => ChannelChange::Remove,
        ChannelChange::Gather(_) => ChannelChange::Gather(digest()),
    }
}

/// Samples of values, and of changes of the system's ledger with their names.
pub(super) fn samples() -> (Vec<Sample>, Vec<(String, SystemEntryKind)>) {
    let mut values = vec![Sample::value("channel-least", least())];
    for target in targets() {
        let name = format!("channel-{}", target.kind());
        values.push(Sample::value(&name, Channel { setup: setup(target), ..channel() }));
    }
    for (number, (result, subject)) in (1..).zip(results().into_iter().zip(first_subjects().cycle())) {
        values.push(Sample::value(&format!("delivery-{number}"), delivery(number, subject, result)));
    }
    let of_digest = Subject::Digest(Box::new(digest()));
    values.push(Sample::value("delivery-digest", delivery(9, of_digest.clone(), AttemptResult::Delivered)));
    let (email, everything) = (Target::Email { to: "ann@example.com".to_owned() }, hours());
    for (name, hours) in [
        ("channel-hours", everything.clone()),
        ("channel-hours-least", Hours { zone: Zone::UTC, quiet: None, digest: None }),
    ] {
        let setup = ChannelSetup { hours: Some(Box::new(hours)), ..setup(email.clone()) };
        values.push(Sample::value(name, Channel { setup, ..channel() }));
    }
    let mut gathered = Channel { setup: setup(email.clone()), ..channel() };
    gathered.progress.waiting = vec![Waiting { subject: of_digest, failed: 0, due: at(1_795_000_300, 9) }];
    values.push(Sample::value("channel-digest", gathered));
    let mut lines = Vec::new();
    let mut change = |name: &str, change| {
        let change = Box::new(ChangeChannel { id: channel_id("1f2e3d4c"), change });
        lines.push((format!("channel-{name}"), SystemEntryKind::ChannelChanged(change)));
    };
    for (kind, name) in changes().into_iter().zip(["make", "set", "rotate", "replay", "remove", "gather"]) {
        change(name, kind);
    }
    let with_hours = ChannelSetup { enabled: false, hours: Some(Box::new(everything)), ..setup(email) };
    change("set-hours", ChannelChange::Set(with_hours));
    for (replay, name) in replays().into_iter().zip(["replay-since", "replay-one"]) {
        change(name, ChannelChange::Replay(replay));
    }
    (values, lines)
}

pub(super) fn changed() -> SystemEntryKind {
    let change = ChannelChange::Set(setup(Target::Log));
    SystemEntryKind::ChannelChanged(Box::new(ChangeChannel { id: channel_id("1f2e3d4c"), change }))
}

pub(super) fn delivered() -> SystemEntryKind {
    let attempt = |result: &AttemptResult| Attempt {
        subject: Subject::Notice(notice(5)),
        at: at(1_795_000_000, 1),
        result: *result,
        status: Some(503),
        millis: 15_000,
        reply: "busy".to_owned(),
    };
    let round = Round {
        channel: channel_id("1f2e3d4c"),
        round: 300,
        read: Some((read(), vec![notice(5), notice(6)])),
        attempts: results().iter().map(attempt).collect(),
        told: vec![channel_id("0f")],
    };
    SystemEntryKind::Delivered { round: Box::new(round), disabled: true }
}

pub(super) fn claim() -> DeliveryClaim {
    DeliveryClaim { holder: "0af1".to_owned(), until: at(1_795_000_090, 0) }
}

pub(super) fn channel_id(text: &str) -> ChannelId {
    ChannelId(text.to_owned())
}

/// Those of the first files; others have files of their own.
fn first_subjects() -> impl Iterator<Item = Subject> + Clone {
    let is_first = |subject: &Subject| !matches!(subject, Subject::Digest(_));
    subjects().into_iter().filter(is_first).collect::<Vec<_>>().into_iter()
}

fn digest() -> Digest {
    Digest { at: at(1_795_003_200, 0), notices: vec![notice(5), notice(6)] }
}

fn hours() -> Hours {
    let time = |text: &str| text.parse::<ClockTime>().expect("a time of the day");
    let quiet = Some(QuietHours { from: time("22:00"), to: time("06:30") });
    Hours { zone: Zone::new("Europe/Berlin").expect("a zone"), quiet, digest: Some(time("09:00")) }
}

fn notice(entry: u64) -> NoticeRef {
    NoticeRef { org: id("acme"), entry, index: 1 }
}

fn secret() -> String {
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned()
}

fn read() -> ReadTo {
    ReadTo { cursor: Some(vec![0, 255, 7]), seen: 12, since: Some(at(1_794_000_000, 0)) }
}

fn setup(target: Target) -> ChannelSetup {
    let filter = Filter {
        kinds: BTreeSet::from(["limit_reached".to_owned()]),
        orgs: BTreeSet::from([id("acme"), id("beta")]),
        plans: BTreeSet::from([id("basic")]),
        meters: BTreeSet::from([id("reports")]),
    };
    ChannelSetup { name: "billing team".to_owned(), target, filter, enabled: true, hours: None }
}

fn channel() -> Channel {
    let waiting = |subject| Waiting { subject, failed: 2, due: at(1_795_000_300, 9) };
    let secrets = vec![
        ChannelSecret { text: secret(), until: None },
        ChannelSecret { text: secret(), until: Some(at(1_795_086_400, 0)) },
    ];
    Channel {
        id: channel_id("1f2e3d4c"),
        setup: setup(Target::Log),
        secrets,
        created_at: at(1_794_000_000, 1),
        removed_at: Some(at(1_796_000_000, 2)),
        progress: Progress {
            round: 300,
            read: read(),
            waiting: first_subjects().map(waiting).collect(),
            failing_since: Some(at(1_795_000_000, 3)),
            gave_up_at: Some(at(1_795_500_000, 4)),
            attempts: 1_000,
            delivered: 900,
            lost: 3,
        },
    }
}

fn least() -> Channel {
    let setup = ChannelSetup {
        name: String::new(),
        target: Target::Log,
        filter: Filter::default(),
        enabled: false,
        hours: None,
    };
    Channel {
        id: channel_id(""),
        setup,
        secrets: Vec::new(),
        created_at: Timestamp::UNIX_EPOCH,
        removed_at: None,
        progress: Progress::default(),
    }
}

fn delivery(number: u64, subject: Subject, result: AttemptResult) -> Delivery {
    Delivery {
        number,
        subject,
        attempt: 2,
        at: at(1_795_000_000, 123_456_789),
        result,
        status: (number > 1).then_some(200),
        millis: 31,
        reply: "ok".to_owned(),
    }
}
