//! Every reply against the oracle.
//!
//! The ledger of an org fixes the order of everything that made an entry: the oracle follows it, entry by entry, at the
//! entry's own time and under its own catalog. A reply that made an entry must be the oracle's answer there. A reply
//! that made none must be the oracle's answer at some moment between request and reply: at one of the org's versions,
//! one of the times the engine's clock showed (or that of the entry before, where the clock was a little behind it), and
//! one of the catalogs it had in force. What is unsent must be what the ledger says at one of those versions, and the
//! list of all orgs must have all that is not usage.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use tollgate_domain::{
    Actor, Amount, Balance, Catalog, CloseMonth, Closed, EndedBy, Entry, EntryKind, HoldRefused,
    MeterBalance, OrgCommand, OrgDecision, OrgId, PlanTime, Quantity, SetPlan, Settle, TakeHold, Timestamp,
    Zone,
};

use super::log::{Ask, Attempt, Happened, Reply, UnsentOf};
use super::state::Found;
use crate::hold;
use crate::oracle::Oracle;

/// Checks every reply of a run.
pub(super) fn check(found: &Found, happened: &Happened, key_keep_secs: i64) -> Result<(), String> {
    let mut oracle = Oracle::new(key_keep_secs);
    found.catalogs_in_time().for_each(|(at, catalog)| oracle.follow_catalog(at, catalog));
    let mut by_org: BTreeMap<&OrgId, Vec<(usize, &Attempt)>> = BTreeMap::new();
    for (number, attempt) in happened.attempts.iter().enumerate() {
        by_org.entry(&attempt.org).or_default().push((number, attempt));
    }
    for (org, attempts) in by_org {
        let entries = found.ledgers.get(org).map_or(&[][..], Vec::as_slice);
        let commits = happened.commits.get(org).map_or(&[][..], Vec::as_slice);
        hold!(
            entries.len() == commits.len(),
            "{org}: {} entries were committed, the ledger has {}",
            commits.len(),
            entries.len()
        );
        let mut story = Story::new(org, happened, found, commits, &attempts)?;
        for (index, entry) in entries.iter().enumerate() {
            story.replies_at(&oracle, index)?;
            story.entry(&mut oracle, entry, commits[index])?;
            count_unsent(&mut story.unsent, entry);
        }
        story.replies_at(&oracle, entries.len())?;
        let held = oracle.history(org).map_or(Amount::ZERO, |history| history.all_held());
        hold!(held.is_zero(), "{org}: {held} is held after all holds have ended");
    }
    Ok(())
}

/// What was asked of one org.
struct Story<'a> {
    org: &'a OrgId,
    happened: &'a Happened,
    found: &'a Found,
    /// Which reply says that it made an entry.
    claims: BTreeMap<u64, (usize, &'a Attempt)>,
    /// Replies that made no entry, and at which of the org's versions they may have been decided.
    others: Vec<Other<'a>>,
    /// Requests of which nobody knows what became.
    open: Vec<(usize, &'a Attempt)>,
    /// What is unsent so far.
    unsent: UnsentOf,
}

/// A reply that made no entry.
struct Other<'a> {
    number: usize,
    attempt: &'a Attempt,
    from: usize,
    until: usize,
    explained: bool,
}

impl<'a> Story<'a> {
    fn new(
        org: &'a OrgId,
        happened: &'a Happened,
        found: &'a Found,
        commits: &[u64],
        attempts: &[(usize, &'a Attempt)],
    ) -> Result<Self, String> {
        let (mut claims, mut others, mut open) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (number, attempt) in attempts {
            match &attempt.reply {
                Reply::NotDone => continue,
                Reply::Unknown => {
                    open.push((*number, *attempt));
                    continue;
                }
                Reply::Decision(decision) => {
                    if let Some(entry) = promised(decision) {
                        let before = claims.insert(entry, (*number, *attempt));
                        hold!(
                            before.is_none(),
                            "{org}: entry {entry} answers two requests: {before:?} and {number} {attempt:?}"
                        );
                        continue;
                    }
                }
                Reply::Balance(_) | Reply::Unsent(_) | Reply::Listed(_) => {}
            }
            let replied = attempt.replied.unwrap_or(u64::MAX);
            let from = commits.partition_point(|commit| *commit <= attempt.sent);
            let until = commits.partition_point(|commit| *commit <= replied);
            others.push(Other { number: *number, attempt, from, until, explained: false });
        }
        Ok(Self { org, happened, found, claims, others, open, unsent: UnsentOf::new() })
    }

    /// Which replies are the oracle's at a version, and whether any would have had to be by now.
    fn replies_at(&mut self, oracle: &Oracle, version: usize) -> Result<(), String> {
        let mut others = std::mem::take(&mut self.others);
        for other in others.iter_mut().filter(|other| !other.explained && other.from <= version) {
            other.explained = self.explains(oracle, version, other);
            hold!(
                other.explained || other.until > version,
                "{}: no version from {} to {version} explains the reply to request {}: {:?}\nat {version}: {:#?}",
                self.org,
                other.from,
                other.number,
                other.attempt,
                self.answers(oracle, other.attempt)
            );
        }
        others.retain(|other| !other.explained);
        self.others = others;
        Ok(())
    }

    fn explains(&self, oracle: &Oracle, version: usize, other: &Other<'_>) -> bool {
        match (&other.attempt.ask, &other.attempt.reply) {
            (Ask::Balance, Reply::Balance(reply)) => self.balance(oracle, version, reply.as_deref()),
            (Ask::Unsent, Reply::Unsent(unsent)) => self.unsent == *unsent,
            (Ask::Listed, Reply::Listed(listed)) => self.lists(version, *listed),
            (Ask::Command(command), Reply::Decision(decision)) => {
                let reply = without_steps(decision);
                // What has expired ends before anything is answered.
                let moments = self.moments(oracle, other.attempt).into_iter();
                moments.filter(|(at, _)| !oracle.has_due_hold(*at, self.org)).any(|(at, catalog)| {
                    let (answer, accepted) = oracle.answer(&catalog, at, self.org, command);
                    !accepted && answer == reply
                })
            }
            _ => false,
        }
    }

    /// What the oracle would say at a version, for the report.
    fn answers(&self, oracle: &Oracle, attempt: &Attempt) -> Vec<(Timestamp, OrgDecision)> {
        let Ask::Command(command) = &attempt.ask else { return Vec::new() };
        let moments = self.moments(oracle, attempt).into_iter();
        moments.map(|(at, catalog)| (at, oracle.answer(&catalog, at, self.org, command).0)).collect()
    }

    /// The times and catalogs at which an attempt may have been decided, the latest first.
    fn moments(&self, oracle: &Oracle, attempt: &Attempt) -> Vec<(Timestamp, Arc<Catalog>)> {
        let clock = &self.happened.clocks[attempt.engine];
        let replied = attempt.replied.unwrap_or(u64::MAX);
        let from = clock.partition_point(|(stamp, _)| *stamp <= attempt.sent).saturating_sub(1);
        let until = clock.partition_point(|(stamp, _)| *stamp <= replied);
        let (first, last) = attempt.catalogs;
        let catalogs: Vec<_> =
            (first..=last).rev().filter_map(|version| self.found.catalog(version)).collect();
        let shown = clock[from..until].iter().map(|(_, at)| *at);
        let mut times: Vec<Timestamp> = shown.map(|at| oracle.time_of(self.org, at)).collect();
        times.dedup();
        let with_catalogs =
            |at: Timestamp| catalogs.iter().map(move |catalog| (at, Arc::clone(catalog))).collect::<Vec<_>>();
        times.into_iter().rev().flat_map(with_catalogs).collect()
    }

    /// A list may lack usage, and nothing else.
    fn lists(&self, version: usize, listed: u64) -> bool {
        let entries = self.found.ledgers.get(self.org).map_or(&[][..], Vec::as_slice);
        let lacks = usize::try_from(listed).ok().and_then(|listed| entries.get(listed..version));
        lacks.is_some_and(|lacks| {
            let is_usage = |entry: &Entry| {
                matches!(
                    entry.kind,
                    EntryKind::Used(_)
                        | EntryKind::Reversed { .. }
                        | EntryKind::Refused { .. }
                        | EntryKind::Held(_)
                        | EntryKind::HoldEnded(_)
                )
            };
            lacks.iter().all(is_usage)
        })
    }

    /// A balance says of which version it is: that which it will be once all that has expired is ended.
    fn balance(&self, oracle: &Oracle, version: usize, reply: Option<&(u64, Balance)>) -> bool {
        let Some((of, balance)) = reply else { return version == 0 };
        // It shows what has expired as ended, which the next entries will do.
        if usize::try_from(*of) != Ok(version + oracle.due_holds(balance.at, self.org)) {
            return false;
        }
        // It is never of a moment a little before the latest entry.
        let is_in_time = oracle.time_of(self.org, balance.at) == balance.at;
        // Which catalog it went by is not told: one of those there were.
        is_in_time
            && oracle.history(self.org).is_some()
            && self.found.catalogs.iter().any(|catalog| {
                balance.meters.iter().all(|(meter, shown)| {
                    oracle
                        .standing(catalog, balance.at, self.org, meter, None)
                        .is_none_or(|standing| shows(shown, &standing))
                })
            })
    }

    /// The oracle makes the entry, too, and the reply that goes with it is the oracle's.
    fn entry(&mut self, oracle: &mut Oracle, entry: &Entry, committed: u64) -> Result<(), String> {
        let (org, number) = (self.org, entry.number);
        let catalog = self
            .found
            .catalog(entry.catalog)
            .ok_or_else(|| format!("{org}: no catalog of entry {number}: {entry:?}"))?;
        if expires(entry) {
            return self.settled(oracle, &catalog, entry, &OrgCommand::Expire);
        }
        hold!(!oracle.has_due_hold(entry.at, org), "{org}: a hold had expired, and was not ended: {entry:?}");
        if matches!(entry.kind, EntryKind::Refused { .. }) {
            hold!(!self.claims.contains_key(&number), "{org}: a refusal answers a request: {entry:?}");
            return self.refused(oracle, &catalog, entry);
        }
        if let EntryKind::Shipped { shipment, day, lines } = &entry.kind {
            let settle = Settle { shipment: *shipment, day: *day, lines: lines.clone() };
            return self.settled(oracle, &catalog, entry, &OrgCommand::Settle(settle));
        }
        if let (EntryKind::BillClosed(bill), Actor::Closing) = (&entry.kind, &entry.actor) {
            let close = CloseMonth { month: bill.rated.month.number };
            return self.settled(oracle, &catalog, entry, &OrgCommand::CloseMonth(close));
        }
        let claimed = self.claims.remove(&number);
        let attempt = match claimed {
            Some((_, attempt)) => attempt,
            None => self.take_open(oracle, &catalog, entry, committed)?,
        };
        let Ask::Command(command) = &attempt.ask else {
            return Err(format!("{org}: a question made entry {number}"));
        };
        let fits = could_make(entry, command) && starts_as_asked(oracle, org, entry, command);
        hold!(fits, "{org}: entry {entry:?} is claimed for {attempt:?}");
        hold!(
            attempt.sent <= committed,
            "{org}: entry {number} was committed before its request: {attempt:?}"
        );
        if let Some(replied) = attempt.replied.filter(|_| claimed.is_some()) {
            hold!(
                committed <= replied,
                "{org}: entry {number} was answered before it was durable: {attempt:?}"
            );
            let in_time = self.moments(oracle, attempt).iter().any(|(at, _)| *at == entry.at);
            hold!(in_time, "{org}: entry {number} is of no time between request and reply: {attempt:?}");
        }
        let answer = oracle.decide(&catalog, entry.at, org, command);
        hold!(
            promised(&answer) == Some(number),
            "{org}: entry {entry:?}\nof {attempt:?}\nthe oracle says {answer:#?}"
        );
        if let (Some(_), Reply::Decision(reply)) = (claimed, &attempt.reply) {
            hold!(
                without_steps(reply) == answer,
                "{org}: entry {number} at {}\n{command:?}\nthe oracle says {answer:#?}\nthe reply {reply:#?}",
                entry.at
            );
        }
        agrees(oracle, org, entry, &answer)
            .map_err(|error| format!("{org}: {error}: {entry:?}\nthe oracle: {answer:?}"))
    }

    /// A shipment is settled by the engines themselves: the processor says whether rightly. So are months closed and holds ended
    /// that have expired: as the oracle does it.
    fn settled(
        &self,
        oracle: &mut Oracle,
        catalog: &Arc<Catalog>,
        entry: &Entry,
        command: &OrgCommand,
    ) -> Result<(), String> {
        let (org, number) = (self.org, entry.number);
        hold!(!self.claims.contains_key(&number), "{org}: entry {number} answers a request: {entry:?}");
        let answer = oracle.decide(catalog, entry.at, org, command);
        let made = match &answer {
            OrgDecision::Expire(expired) => Some(number).filter(|_| *expired),
            answer => promised(answer),
        };
        hold!(made == Some(number), "{org}: {entry:?}\nthe oracle says {answer:#?}");
        agrees(oracle, org, entry, &answer)
            .map_err(|error| format!("{org}: {error}: {entry:?}\nthe oracle: {answer:?}"))
    }

    /// A refusal is written down for somebody who was refused.
    fn refused(&self, oracle: &mut Oracle, catalog: &Arc<Catalog>, entry: &Entry) -> Result<(), String> {
        let org = self.org;
        let matters = !entry.notices.is_empty() || !entry.settled.is_empty();
        hold!(matters, "{org}: a refusal that changes nothing is written down: {entry:?}");
        let attempts = self.happened.attempts.iter().filter(|attempt| attempt.org == *org);
        let explained = attempts.filter(|attempt| !matches!(attempt.reply, Reply::NotDone)).any(|attempt| {
            let Ask::Command(command) = &attempt.ask else { return false };
            could_make(entry, command) && {
                let answer = oracle.answer(catalog, entry.at, org, command).0;
                let EntryKind::Refused { reason, .. } = &entry.kind else { return false };
                let denied = match &answer {
                    OrgDecision::Use(Err(denied)) | OrgDecision::Hold(Err(HoldRefused::Gate(denied))) => {
                        denied
                    }
                    _ => return false,
                };
                denied.denial.code() == reason
            }
        });
        hold!(explained, "{org}: nobody was refused as the ledger says: {entry:?}");
        let meter = entry.kind.meter().ok_or("a refusal is on a meter")?;
        oracle.note_refusal(catalog, entry.at, org, meter);
        Ok(())
    }

    /// A request without an answer that made an entry: it fits, and the oracle makes the entry for it.
    fn take_open(
        &mut self,
        oracle: &Oracle,
        catalog: &Arc<Catalog>,
        entry: &Entry,
        committed: u64,
    ) -> Result<&'a Attempt, String> {
        let place = self.open.iter().position(|(_, attempt)| {
            let Ask::Command(command) = &attempt.ask else { return false };
            attempt.sent <= committed
                && could_make(entry, command)
                && starts_as_asked(oracle, self.org, entry, command)
                && promised(&oracle.answer(catalog, entry.at, self.org, command).0) == Some(entry.number)
        });
        match place {
            // A change that makes anew what was so before cannot be told from the same change by somebody else.
            Some(place)
                if matches!(
                    entry.kind,
                    EntryKind::Used(_)
                        | EntryKind::ToppedUp(_)
                        | EntryKind::Held(_)
                        | EntryKind::HoldEnded(_)
                ) =>
            {
                Ok(self.open.remove(place).1)
            }
            Some(place) => Ok(self.open[place].1),
            None => {
                let alike = self.happened.attempts.iter().enumerate().filter(|(_, attempt)| {
                    attempt.org == *self.org
                        && matches!(&attempt.ask, Ask::Command(command) if could_make(entry, command))
                });
                Err(format!(
                    "{}: nobody who may have made it asked for {entry:?}, committed at {committed}\nwho asked: {:#?}",
                    self.org,
                    alike.collect::<Vec<_>>()
                ))
            }
        }
    }
}

/// What an entry makes of what is unsent.
fn count_unsent(unsent: &mut UnsentOf, entry: &Entry) {
    let (counted, sign) = match &entry.kind {
        EntryKind::Used(counted) => (counted, 1),
        EntryKind::Reversed { used, .. } => (used, -1),
        EntryKind::Shipped { day, lines, .. } => {
            for (sku, amount) in lines {
                *unsent.entry((*day, sku.clone())).or_default() -= *amount;
            }
            unsent.retain(|_, amount| !amount.is_zero());
            return;
        }
        _ => return,
    };
    if let (Some(sku), Some(day)) = (&counted.sink, counted.day()) {
        let amount = Amount::from_billionths(counted.quantity.amount().billionths() * sign);
        *unsent.entry((day, sku.clone())).or_default() += amount;
    }
    unsent.retain(|_, amount| !amount.is_zero());
}

/// The entry that a decision says it made.
fn promised(decision: &OrgDecision) -> Option<u64> {
    match decision {
        OrgDecision::Use(result) => {
            result.as_ref().ok().filter(|allowed| !allowed.replayed).map(|allowed| allowed.entry)
        }
        OrgDecision::Record(result) => {
            result.as_ref().ok().filter(|recorded| !recorded.duplicate).map(|recorded| recorded.entry)
        }
        OrgDecision::Reverse(result) => {
            result.as_ref().ok().filter(|reversed| !reversed.replayed).map(|reversed| reversed.entry)
        }
        OrgDecision::Void(result) => {
            result.as_ref().ok().filter(|voided| !voided.replayed).and_then(|voided| voided.entry)
        }
        OrgDecision::TopUp(result) => {
            result.as_ref().ok().filter(|topped_up| !topped_up.replayed).map(|topped_up| topped_up.entry)
        }
        OrgDecision::Change(result) => result.as_ref().ok().and_then(|changed| changed.entry),
        OrgDecision::Close(result) => result.as_ref().ok().and_then(|closed| closed.entry),
        OrgDecision::Hold(result) => {
            result.as_ref().ok().filter(|taken| !taken.replayed).map(|taken| taken.hold.number)
        }
        OrgDecision::Capture(result) => {
            result.as_ref().ok().filter(|captured| !captured.replayed).map(|captured| captured.entry)
        }
        OrgDecision::Release(result) => {
            let ended = result.as_ref().ok().filter(|ended| !ended.replayed);
            ended.and_then(|ended| ended.hold.end).map(|end| end.entry)
        }
        OrgDecision::Check(_) | OrgDecision::Expire(_) => None,
    }
}

/// Whether an entry ended a hold whose time was over.
fn expires(entry: &Entry) -> bool {
    let sum = match &entry.kind {
        EntryKind::Used(used) => used.captured.and_then(|captured| captured.ends),
        EntryKind::HoldEnded(ended) => Some(ended.ends),
        _ => None,
    };
    sum.is_some_and(|sum| sum.by == EndedBy::Expiry)
}

/// The oracle gives no steps of a check, and no versions of the catalog in a bill.
fn without_steps(decision: &OrgDecision) -> OrgDecision {
    let mut decision = decision.clone();
    if let OrgDecision::Check(checked) = &mut decision {
        checked.steps.clear();
    }
    crate::oracle::without_versions(&mut decision);
    crate::oracle::without_reserves(&mut decision);
    decision
}

/// Whether a command could have made an entry, by its content.
fn could_make(entry: &Entry, command: &OrgCommand) -> bool {
    match (&entry.kind, command) {
        (EntryKind::Used(used), OrgCommand::Use(usage) | OrgCommand::Record(usage)) => {
            used.recorded == matches!(command, OrgCommand::Record(_))
                && used.captured.is_none()
                && used.user == usage.user
                && used.meter == usage.meter
                && (used.quantity == usage.quantity || used.quantity == Quantity::ONE)
                && used.key == usage.key
                && used.occurred_at == usage.occurred_at
                && used.properties == usage.properties
        }
        (EntryKind::Used(used), OrgCommand::Capture(capture)) => {
            used.captured.is_some_and(|captured| {
                captured.hold == capture.hold && captured.ends.is_none() == capture.part.is_some()
            }) && capture.part.as_ref().is_none_or(|part| used.key == *part)
                && capture.quantity.is_none_or(|quantity| quantity == used.quantity.amount())
        }
        (EntryKind::Held(held), OrgCommand::Hold(take)) => {
            let (hold, usage) = (&held.hold, &take.usage);
            let named = usage.user.is_none() && take.within.is_some() || hold.user == usage.user;
            let path = hold.path.as_ref().map(|along| &along.path);
            let expires_at = hold.made_at + SignedDuration::from_secs(take.secs.into());
            named
                && (hold.expires_at == expires_at || take.within.is_some() && hold.expires_at < expires_at)
                && (usage.path.is_none() && take.within.is_some() || path == usage.path.as_ref())
                && hold.key == usage.key
                && hold.meter == usage.meter
                && hold.quantity == usage.quantity
                && hold.properties == usage.properties
                && hold.parent == take.within
                && hold.overrun == take.overrun
                && hold.on_expiry == take.on_expiry
        }
        (EntryKind::HoldEnded(ended), OrgCommand::Capture(capture)) => {
            ended.hold == capture.hold && capture.part.is_none() && ended.ends.by == EndedBy::Capture
        }
        (EntryKind::HoldEnded(ended), OrgCommand::Release(number)) => {
            ended.hold == *number && ended.ends.by == EndedBy::Release
        }
        (
            EntryKind::Refused { user, meter, quantity, .. },
            OrgCommand::Use(usage) | OrgCommand::Hold(TakeHold { usage, .. }),
        ) => *user == usage.user && *meter == usage.meter && *quantity == usage.quantity,
        (EntryKind::Reversed { used, .. }, OrgCommand::Reverse(reverse)) => used.key == reverse.key,
        (EntryKind::Put { name, zone, metadata }, OrgCommand::Put(put)) => {
            (put.name.as_ref().is_none_or(|put| put == name))
                && put.zone.as_ref().is_none_or(|put| put == zone)
                && put.metadata.as_ref().is_none_or(|put| put == metadata)
        }
        (EntryKind::PlanSet { plan, .. }, OrgCommand::SetPlan(set)) => *plan == set.plan,
        (EntryKind::PlanSet { plan, .. }, OrgCommand::Welcome(welcome)) => {
            plan.is_some() && welcome.plan == *plan
        }
        (EntryKind::PlanCalledOff, OrgCommand::SetPlan(_) | OrgCommand::CallOffPlan) => true,
        (EntryKind::Put { name, zone, .. }, OrgCommand::Welcome(welcome)) => {
            welcome.plan.is_none() && name.is_none() && *zone == Zone::UTC
        }
        (EntryKind::LimitSet { meter, scope, window, amount }, OrgCommand::SetLimit(set)) => {
            *meter == set.meter && *scope == set.scope && *window == set.window && *amount == set.amount
        }
        (EntryKind::ThresholdsSet { thresholds }, OrgCommand::SetThresholds(set)) => thresholds == set,
        (EntryKind::Voided(voided), OrgCommand::Void(void)) => {
            voided.key == void.key && voided.reason == void.reason
        }
        (EntryKind::ToppedUp(made), OrgCommand::TopUp(top_up)) => {
            made.meter == top_up.meter
                && made.grant.key == top_up.key
                && made.grant.amount == top_up.amount.amount()
                && made.grant.reason == top_up.reason
                && made.metadata == top_up.metadata
        }
        (EntryKind::BillClosed(bill), OrgCommand::CloseMonth(close)) => {
            bill.rated.month.number == close.month
        }
        _ => false,
    }
}

/// A plan that was set starts when the oracle says that it was asked for; only setting the one in force calls off what was
/// scheduled.
fn starts_as_asked(oracle: &Oracle, org: &OrgId, entry: &Entry, command: &OrgCommand) -> bool {
    match (&entry.kind, command) {
        (EntryKind::PlanSet { since, at_once, .. }, OrgCommand::SetPlan(SetPlan { from, .. })) => {
            *at_once == (*from == PlanTime::Now) && oracle.takes_effect(entry.at, org, *from) == Some(*since)
        }
        (EntryKind::PlanCalledOff, OrgCommand::SetPlan(set)) => {
            oracle.plan_at(entry.at, org) == set.plan.as_ref()
        }
        _ => true,
    }
}

/// What an entry remembers of its answer is the oracle's answer; of what answers nobody, how the org stands after it.
fn agrees(oracle: &Oracle, org: &OrgId, entry: &Entry, answer: &OrgDecision) -> Result<(), &'static str> {
    let same = match (&entry.kind, answer) {
        (EntryKind::Used(used), OrgDecision::Capture(Ok(captured))) => {
            used.standing == captured.standing && used.quantity.amount() == captured.quantity
        }
        (EntryKind::Held(held), OrgDecision::Hold(Ok(taken))) => held.standing == taken.standing,
        (EntryKind::HoldEnded(ended), OrgDecision::Capture(Ok(captured))) => {
            ended.standing == captured.standing
        }
        (EntryKind::HoldEnded(ended), OrgDecision::Release(Ok(_)) | OrgDecision::Expire(_)) => {
            oracle.ended(org, ended.hold).is_some_and(|(end, left)| {
                (end.entry, end.by, left) == (entry.number, ended.ends.by, ended.amount)
            })
        }
        (EntryKind::Used(used), OrgDecision::Expire(_)) => {
            let hold = used.captured.map_or(0, |captured| captured.hold);
            let captured = oracle.history(org).and_then(|history| history.captured_by(entry.number));
            oracle.ended(org, hold).is_some_and(|(end, _)| end.entry == entry.number)
                && captured == Some(used.quantity.amount())
        }
        (EntryKind::Shipped { .. }, _) => true,
        (EntryKind::Used(used), OrgDecision::Use(Ok(allowed))) => used.standing == allowed.standing,
        (EntryKind::Used(used), OrgDecision::Record(Ok(_))) => used.recorded,
        (EntryKind::ToppedUp(made), OrgDecision::TopUp(Ok(topped_up))) => {
            made.standing == topped_up.standing && made.grant.expires_at == topped_up.expires_at
        }
        (EntryKind::Voided(made), OrgDecision::Void(Ok(voided))) => {
            made.standing == voided.standing && made.amount() == voided.amount
        }
        (EntryKind::Reversed { entry, .. }, OrgDecision::Reverse(Ok(reversed))) => {
            *entry == reversed.reversed_entry
        }
        (
            EntryKind::Put { .. }
            | EntryKind::PlanSet { .. }
            | EntryKind::PlanCalledOff
            | EntryKind::LimitSet { .. }
            | EntryKind::ThresholdsSet { .. },
            answer,
        ) => matches!(answer, OrgDecision::Change(Ok(_))),
        (EntryKind::BillClosed(bill), OrgDecision::Close(Ok(closed))) => {
            let written = Closed { entry: closed.entry, bill: Arc::clone(bill) };
            without_steps(&OrgDecision::Close(Ok(written))) == *answer
        }
        _ => false,
    };
    if same { Ok(()) } else { Err("the entry says otherwise than the oracle") }
}

/// Whether a balance shows what the oracle reckons.
pub(super) fn shows(shown: &MeterBalance, standing: &tollgate_domain::Standing) -> bool {
    shown.used == standing.used
        && shown.held == standing.held
        && shown.remaining == standing.remaining
        && shown.allowance + shown.topped_up == standing.granted
}
