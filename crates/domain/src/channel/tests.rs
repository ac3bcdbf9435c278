//! Channels as rounds, digests and failures move them on.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn notice(org: &str, entry: u64) -> NoticeRef {
    NoticeRef { org: OrgId::new(org).expect("an id"), entry, index: 0 }
}

fn channel() -> Channel {
    let setup = ChannelSetup {
        name: "ops".to_owned(),
        target: Target::Log,
        filter: Filter::default(),
        enabled: true,
        hours: None,
    };
    Channel {
        id: ChannelId("c".to_owned()),
        setup,
        secrets: Vec::new(),
        created_at: at(0),
        removed_at: None,
        progress: Progress::default(),
    }
}

fn round(channel: &Channel, found: &[NoticeRef], attempts: Vec<Attempt>) -> Round {
    let read = (!found.is_empty()).then(|| (ReadTo::default(), found.to_vec()));
    let round = channel.progress.round;
    Round { channel: channel.id.clone(), round, read, attempts, told: Vec::new() }
}

fn attempt(notice: &NoticeRef, second: i64, result: AttemptResult) -> Attempt {
    let subject = Subject::Notice(notice.clone());
    Attempt { subject, at: at(second), result, status: None, millis: 1, reply: String::new() }
}

#[test]
fn what_waited_through_an_outage_is_due_when_it_ends() {
    let (first, second) = (notice("a", 1), notice("b", 1));
    for (outage, due) in [(CHANNEL_OUTAGE_SECS, CHANNEL_OUTAGE_SECS), (CHANNEL_OUTAGE_SECS - 1, 90_000)] {
        let mut channel = channel();
        let failed = AttemptResult::Failed { next: at(90_000) };
        let begin = vec![attempt(&first, 0, failed), attempt(&second, 0, failed)];
        let begin = round(&channel, &[first.clone(), second.clone()], begin);
        let log = channel.follow(&begin, false, at(0));
        assert_eq!(log.iter().map(|line| (line.number, line.attempt)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
        let end = vec![attempt(&first, outage, AttemptResult::Delivered)];
        let end = round(&channel, &[], end);
        channel.follow(&end, false, at(outage));
        let [waiting] = channel.progress.waiting.as_slice() else { panic!("one waits: {channel:?}") };
        assert_eq!((waiting.due, waiting.failed), (at(due), 1));
        assert_eq!((channel.progress.failing_since, channel.progress.delivered), (None, 1));
    }
}

#[test]
fn a_round_notes_each_attempt_at_the_first_of_its_subject_that_still_waits() {
    let [a, b, c] = ["a", "b", "c"].map(|org| notice(org, 1));
    let mut channel = channel();
    // One that is sent again, from a moment on, waits twice.
    let found = [&a, &b, &a, &c].map(NoticeRef::clone);
    channel.follow(&round(&channel, &found, Vec::new()), false, at(0));
    let failed = AttemptResult::Failed { next: at(60) };
    let attempts = [(&c, failed), (&a, AttemptResult::Delivered), (&a, AttemptResult::GivenUp), (&a, failed)];
    let attempts = attempts.map(|(notice, result)| attempt(notice, 1, result));
    let log = channel.follow(&round(&channel, &[], attempts.to_vec()), false, at(1));
    let told: Vec<_> = log.iter().map(|line| (line.number, line.attempt, line.result)).collect();
    assert_eq!(
        told,
        [(1, 1, failed), (2, 1, AttemptResult::Delivered), (3, 1, AttemptResult::GivenUp)],
        "the fourth is at nothing that waits"
    );
    let left: Vec<_> = channel.progress.waiting.iter().map(|each| (each.failed, each.due)).collect();
    let subjects: Vec<_> = channel.progress.waiting.iter().map(|each| each.subject.clone()).collect();
    assert_eq!(subjects, [Subject::Notice(b), Subject::Notice(c)]);
    assert_eq!(left, [(0, at(0)), (1, at(60))]);
    assert_eq!((channel.progress.delivered, channel.progress.lost), (1, 1));
}

#[test]
fn it_is_disabled_when_all_attempts_failed_for_five_days_or_its_receiver_is_gone() {
    let first = notice("a", 1);
    let failed = |second| vec![attempt(&first, second, AttemptResult::Failed { next: at(second) })];
    let mut channel = channel();
    let begin = round(&channel, std::slice::from_ref(&first), failed(0));
    assert!(!channel.is_disabled_by(&begin, at(0)));
    channel.follow(&begin, false, at(0));
    for (second, attempts, disabled) in [
        (CHANNEL_FAILING_SECS_MAX - 1, failed(1), false),
        (CHANNEL_FAILING_SECS_MAX, failed(1), true),
        (CHANNEL_FAILING_SECS_MAX, Vec::new(), false),
        (CHANNEL_FAILING_SECS_MAX, vec![attempt(&first, 1, AttemptResult::Delivered)], false),
        (1, vec![attempt(&first, 1, AttemptResult::Gone)], true),
    ] {
        let round = round(&channel, &[], attempts);
        assert_eq!(channel.is_disabled_by(&round, at(second)), disabled, "{second}: {round:?}");
    }
}

#[test]
fn a_digest_is_of_what_waited_when_it_was_due_and_takes_the_place_of_the_first_of_it() {
    let nine = "09:00".parse().expect("a time of the day");
    let mut channel = channel();
    channel.setup.hours = Some(Box::new(Hours { zone: crate::Zone::UTC, quiet: None, digest: Some(nine) }));
    let of = |org: &str, entry, due: i64| Waiting {
        subject: Subject::Notice(notice(org, entry)),
        failed: 0,
        due: at(due),
    };
    let day = 86_400;
    let nine = 9 * 3_600;
    let disabled = Subject::ChannelDisabled { channel: ChannelId("d".to_owned()), at: at(0) };
    channel.progress.waiting = vec![
        Waiting { subject: disabled.clone(), failed: 0, due: at(0) },
        of("a", 1, 0),
        of("b", 1, 2 * day),
        of("b", 2, nine),
        of("a", 2, nine),
        of("a", 3, nine + 1),
    ];
    let due = |channel: &Channel, now, most| {
        let digest = channel.digest_due(at(now), most)?;
        Some((digest.at.as_second(), digest.notices.iter().map(ToString::to_string).collect::<Vec<_>>()))
    };
    assert_eq!(
        due(&channel, nine, 7),
        Some((nine, vec!["a/1/0".to_owned(), "a/2/0".to_owned()])),
        "b waits in order"
    );
    assert_eq!(due(&channel, day + nine, 7).map(|(_, notices)| notices.len()), Some(3));
    assert_eq!(
        due(&channel, nine, 6).map(|(_, notices)| notices.len()),
        Some(5),
        "no more are read: all of it"
    );
    assert_eq!(channel.waits_until(at(nine)), Some(at(day + nine)));
    let digest = channel.digest_due(at(nine), 7).expect("it is due");
    let round = channel.progress.round;
    channel.gather(&digest, at(nine));
    let gathered = Subject::Digest(Box::new(digest.clone()));
    let left: Vec<&Subject> = channel.progress.waiting.iter().map(|each| &each.subject).collect();
    let [b1, b2, a3] = [("b", 1), ("b", 2), ("a", 3)].map(|(org, entry)| Subject::Notice(notice(org, entry)));
    assert_eq!(left, [&disabled, &gathered, &b1, &b2, &a3]);
    assert_eq!(channel.progress.round, round + 1, "who began before was overtaken");
    assert_eq!(due(&channel, nine, 7), None, "there is one a day");
    channel.setup.hours = None;
    assert_eq!((channel.digest_due(at(nine), 1), channel.waits_until(at(nine))), (None, None));
}

#[test]
fn two_secrets_sign_while_one_takes_the_place_of_the_other() {
    let mut channel = channel();
    channel.rotate("one".to_owned(), at(0));
    channel.rotate("two".to_owned(), at(100));
    assert_eq!(channel.secrets_at(at(99)).collect::<Vec<_>>(), ["two", "one"]);
    assert_eq!(channel.secrets_at(at(100)).collect::<Vec<_>>(), ["two"]);
    channel.rotate("three".to_owned(), at(300));
    assert_eq!(channel.secrets_at(at(200)).collect::<Vec<_>>(), ["three", "two"], "one ended before");
    assert!(!format!("{channel:?}").contains("three"));
}
