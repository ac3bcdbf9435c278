//! Random trees of holds, the domain beside an oracle of their own: nested, captured in parts and beyond, released, left to
//! expire, with a crash between any two steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tollgate_domain::{
    Actor, Amount, Capture, Catalog, Context, Denial, EndedBy, Entry, HoldDenial, HoldRefused, LimitPath,
    LimitScope, MeterId, Moments, OnExpiry, OrgCommand, OrgDecision, OrgId, OrgState, PartKey, PlanId,
    Quantity, Record, RecordKey, Scope, ScopePath, SetLimit, SetPlan, Source, TakeHold, TopUp, TopUpExpiry,
    TopUpStart, UsageKey, Use, UserId, Wants, Window, apply, decide, touched,
};
use tollgate_storage::codec::{Stored, decode, encode};
use tollgate_testing::hold;
use tollgate_testing::holds::{At, KnownHold, No, Oracle, Room, minute_of};
use tollgate_testing::invariants::{Books, ledger};

/// Trees of one run.
const TREES: u64 = 10_000;

const CATALOG: &str = r#"currency = "USD"

[[meters]]
id = "tokens"
name = "Tokens"
unit = "token"

[[plans]]
id = "pro"
name = "Pro"
allowances = [{ meter = "tokens", amount = 40 }]
"#;

fn meter() -> MeterId {
    MeterId::new("tokens").expect("an id")
}

fn amount(tenths: u32) -> Amount {
    Amount::from_billionths(i128::from(tenths) * 100_000_000)
}

/// An org in a store that keeps images and entries, and in memory, where it may be lost at any time.
struct Org {
    catalog: Arc<Catalog>,
    state: OrgState,
    image: BTreeMap<RecordKey, Record>,
    keys: BTreeMap<PartKey, Record>,
    entries: Vec<Entry>,
}

impl Org {
    fn new() -> Self {
        Self::under(CATALOG)
    }

    fn under(catalog: &str) -> Self {
        let catalog = Arc::new(Catalog::from_toml(catalog).expect("a catalog"));
        let id = OrgId::new("acme").expect("an id");
        let (image, keys) = (BTreeMap::new(), BTreeMap::new());
        Self { catalog, state: OrgState::of(id, None), image, keys, entries: Vec::new() }
    }

    fn load(&mut self, wants: Wants) {
        for key in wants.0 {
            let record = match &key {
                PartKey::Entry(number) => {
                    let place = usize::try_from(*number).expect("few entries") - 1;
                    self.entries.get(place).map(|entry| Record::Entry(Arc::new(entry.clone())))
                }
                PartKey::Key(..) => self.keys.get(&key).cloned(),
                key => self.image.get(&key.clone().of(self.state.id())).cloned(),
            };
            self.state.put(key, record);
        }
    }

    /// Decides as an engine does: what has expired ends first.
    fn decide(&mut self, at: Timestamp, command: &OrgCommand) -> OrgDecision {
        while self.state.has_due_hold(at) {
            self.decide_one(at, &OrgCommand::Expire);
        }
        self.decide_one(at, command)
    }

    fn decide_one(&mut self, at: Timestamp, command: &OrgCommand) -> OrgDecision {
        let (catalog, moments) = (Arc::clone(&self.catalog), Moments::new(at));
        let context = Context {
            catalog: &catalog,
            catalog_version: 1,
            catalog_since: Timestamp::UNIX_EPOCH,
            moments: &moments,
            key_keep_secs: 86_400,
            actor: &Actor::Local,
        };
        let outcome = loop {
            match decide(&self.state, &context, command) {
                Ok(outcome) => break outcome,
                Err(wants) => self.load(wants),
            }
        };
        if let Some(entry) = outcome.entry {
            assert_eq!(touched(&self.state, &entry), Ok(()), "deciding loads what applying changes");
            apply(&mut self.state, &entry);
            if let Some((space, key, record)) = entry.made_key() {
                self.keys.insert(PartKey::Key(space, key.clone()), Record::Key(Arc::new(record)));
            }
            self.entries.push(entry);
        }
        self.state.forget_facts();
        outcome.decision
    }

    /// Writes the image, if it is time, and loses what is in memory.
    fn crash(&mut self, saved: bool) {
        if saved {
            self.image.extend(self.state.take_changed().into_iter().map(|(key, record)| {
                let record = match record {
                    Record::Org(org) => Record::Org(Arc::new(through_bytes(org.as_ref()))),
                    record => record,
                };
                (key, record)
            }));
        }
        let id = self.state.id().clone();
        let head = self.image.get(&RecordKey::Org(id.clone())).cloned();
        self.state = OrgState::of(id, head);
        let since = usize::try_from(self.state.version()).expect("few entries");
        for entry in self.entries.split_off(since) {
            while let Err(wants) = touched(&self.state, &entry) {
                self.load(wants);
            }
            apply(&mut self.state, &entry);
            self.entries.push(entry);
        }
        self.state.forget_facts();
    }
}

fn through_bytes<T: Stored>(value: &T) -> T {
    let mut bytes = Vec::new();
    encode(value, &mut bytes);
    decode(&bytes).expect("what was encoded")
}

/// One tree: what is asked of the org, and of the oracle.
struct Tree {
    rng: fastrand::Rng,
    at: Timestamp,
    org: Org,
    oracle: Oracle,
    /// The number of each hold of the oracle.
    numbers: Vec<u64>,
    asked: u64,
    /// Commands that were answered, and what the answer was but for being a replay.
    told: Vec<(OrgCommand, OrgDecision)>,
    nested: usize,
    ended: [usize; 3],
}

impl Tree {
    fn new(seed: u64) -> Self {
        let at = "2026-11-02T00:00:07Z".parse().expect("a time");
        let (team, run) = (amount(280), amount(150));
        let room = Room { credit: amount(600), minute: amount(300), user: amount(250), team, run };
        let rng = fastrand::Rng::with_seed(seed);
        let (org, oracle) = (Org::new(), Oracle::new(room));
        let mut tree = Self {
            rng,
            at,
            org,
            oracle,
            numbers: Vec::new(),
            asked: 0,
            told: Vec::new(),
            nested: 0,
            ended: [0; 3],
        };
        let limit = |scope, window, amount| {
            OrgCommand::SetLimit(SetLimit { meter: meter(), scope, window, amount: Some(amount) })
        };
        let on = |path| LimitScope::Path(LimitPath::new(path).expect("a path"));
        let top_up = |priority| {
            OrgCommand::TopUp(TopUp {
                meter: meter(),
                amount: Quantity::new(amount(100)).expect("a quantity"),
                key: None,
                expiry: TopUpExpiry::Never,
                start: TopUpStart::Now,
                priority,
                reason: None,
                metadata: BTreeMap::new(),
            })
        };
        for command in [
            OrgCommand::SetPlan(SetPlan::now(PlanId::new("pro").expect("an id"))),
            limit(LimitScope::Org, Window::Minute, room.minute),
            limit(LimitScope::EachUser, Window::Lifetime, room.user),
            limit(on("*"), Window::Lifetime, room.team),
            limit(on("t0/*"), Window::Minute, room.run),
            limit(on("t1/*"), Window::Minute, room.run),
            top_up(50),
            top_up(150),
        ] {
            tree.org.decide(at, &command);
        }
        tree
    }

    fn usage(&mut self) -> (Use, (u8, At)) {
        self.asked += 1;
        let user = self.rng.u8(..3);
        let team = (self.rng.u8(..4) > 0).then(|| self.rng.u8(..2));
        let place = At { team, run: team.and_then(|_| self.rng.bool().then(|| self.rng.u8(..2))) };
        let quantity = amount(self.rng.u32(1..120));
        let path = match (place.team, place.run) {
            (None, _) => None,
            (Some(team), None) => Some(format!("t{team}")),
            (Some(team), Some(run)) => Some(format!("t{team}/r{run}")),
        };
        let usage = Use {
            user: Some(UserId::new(&format!("u{user}")).expect("an id")),
            path: path.map(|path| ScopePath::new(&path).expect("a path")),
            meter: meter(),
            quantity: Quantity::new(quantity).expect("a quantity"),
            key: UsageKey::new(&format!("k{}", self.asked)).expect("an id"),
            occurred_at: None,
            properties: BTreeMap::new(),
        };
        (usage, (user, place))
    }

    fn step(&mut self) -> Result<(), String> {
        self.at += SignedDuration::from_millis(self.rng.i64(0..20_000));
        if self.rng.u8(..3) == 0 {
            let saved = self.rng.bool();
            self.org.crash(saved);
        }
        self.oracle.expire(self.at);
        let known = self.oracle.holds.len();
        match self.rng.u8(..16) {
            0..2 => self.use_()?,
            2..8 => self.hold()?,
            8..13 if known > 0 => self.capture()?,
            13 if known > 0 => self.release()?,
            14 if !self.told.is_empty() => self.again()?,
            _ => {}
        }
        self.compare()
    }

    fn use_(&mut self) -> Result<(), String> {
        let (usage, by) = self.usage();
        let wanted = self.oracle.use_(self.at, by, usage.quantity.amount());
        let command = OrgCommand::Use(usage);
        let answer = self.org.decide(self.at, &command);
        let found = match &answer {
            OrgDecision::Use(Ok(_)) => Ok(()),
            OrgDecision::Use(Err(denied)) => Err(no(&denied.denial)?),
            other => return Err(format!("{other:?}")),
        };
        hold!(found == wanted, "{command:?}: the oracle says {wanted:?}, the domain {found:?}");
        Ok(())
    }

    fn hold(&mut self) -> Result<(), String> {
        let (mut usage, (user, place)) = self.usage();
        let known = self.oracle.holds.len();
        let parent = (known > 0 && self.rng.u8(..3) > 0).then(|| self.rng.usize(..known));
        if parent.is_some() {
            usage.user = None;
        }
        let on_expiry = [OnExpiry::Release, OnExpiry::Charge][self.rng.usize(..2)];
        let secs = self.rng.u32(1..150);
        let overrun = amount(self.rng.u32(..60).saturating_sub(30));
        let wanted = self.oracle.hold(
            self.at,
            KnownHold {
                parent,
                user,
                place,
                quantity: usage.quantity.amount(),
                overrun,
                on_expiry,
                expires_at: self.at + SignedDuration::from_secs(secs.into()),
                minute: minute_of(self.at),
                captured: (Amount::ZERO, Amount::ZERO),
                ended: None,
                gave_back: Amount::ZERO,
            },
        );
        let within = parent.map(|place| self.numbers[place]);
        let command = OrgCommand::Hold(TakeHold { usage, within, secs, overrun, on_expiry });
        let answer = self.org.decide(self.at, &command);
        let found = match &answer {
            OrgDecision::Hold(Ok(taken)) => {
                hold!(!taken.replayed, "{command:?} is no replay");
                self.numbers.push(taken.hold.number);
                self.nested += usize::from(parent.is_some());
                Ok(self.numbers.len() - 1)
            }
            OrgDecision::Hold(Err(HoldRefused::Gate(denied))) => Err(no(&denied.denial)?),
            OrgDecision::Hold(Err(HoldRefused::NoParent)) => Err(No::Parent),
            OrgDecision::Hold(Err(HoldRefused::ParentReached(_))) => Err(No::ParentReached),
            other => return Err(format!("{other:?}")),
        };
        hold!(found == wanted, "{command:?}: the oracle says {wanted:?}, the domain {found:?}");
        if found.is_ok() {
            self.told.push((command, answer));
        }
        Ok(())
    }

    fn capture(&mut self) -> Result<(), String> {
        let place = self.rng.usize(..self.numbers.len());
        let (number, last) = (self.numbers[place], self.rng.bool());
        self.asked += 1;
        let part = (!last).then(|| UsageKey::new(&format!("k{}", self.asked)).expect("an id"));
        let quantity = amount(self.rng.u32(u32::from(!last)..80));
        let wanted = self.oracle.capture(place, quantity, last);
        let command = OrgCommand::Capture(Capture { hold: number, quantity: Some(quantity), part });
        let answer = self.org.decide(self.at, &command);
        let found = match &answer {
            OrgDecision::Capture(Ok(captured)) if captured.replayed => {
                // The last capture of so much was made before.
                hold!(last && wanted == Err(No::Ended), "{command:?} is no replay");
                return Ok(());
            }
            OrgDecision::Capture(Ok(captured)) => {
                hold!(captured.quantity == quantity, "{captured:?} of {quantity}");
                Ok(())
            }
            OrgDecision::Capture(Err(HoldDenial::Ended(_))) => Err(No::Ended),
            OrgDecision::Capture(Err(HoldDenial::MoreThanHeld { .. })) => Err(No::TooMuch),
            other => return Err(format!("{other:?}")),
        };
        hold!(found == wanted, "{command:?}: the oracle says {wanted:?}, the domain {found:?}");
        if found.is_ok() {
            self.told.push((command, answer));
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), String> {
        let place = self.rng.usize(..self.numbers.len());
        let wanted = self.oracle.release(place);
        let answer = self.org.decide(self.at, &OrgCommand::Release(self.numbers[place]));
        let found = match &answer {
            OrgDecision::Release(Ok(_)) => Ok(()),
            OrgDecision::Release(Err(HoldDenial::Ended(_))) => Err(No::Ended),
            other => return Err(format!("{other:?}")),
        };
        hold!(found == wanted, "the oracle says {wanted:?}, the domain {found:?}");
        Ok(())
    }

    /// Sends something again that was accepted: nothing changes, whatever came of the hold since.
    fn again(&mut self) -> Result<(), String> {
        let (command, first) = self.told[self.rng.usize(..self.told.len())].clone();
        let before = self.org.entries.len();
        let due = self.org.state.has_due_hold(self.at);
        let again = self.org.decide(self.at, &command);
        hold!(due || self.org.entries.len() == before, "{command:?} again made an entry");
        let same = match (&first, &again) {
            (OrgDecision::Hold(Ok(first)), OrgDecision::Hold(Ok(again))) => {
                again.replayed && again.hold.number == first.hold.number && again.standing == first.standing
            }
            (OrgDecision::Capture(Ok(first)), OrgDecision::Capture(Ok(again))) => {
                again.replayed
                    && (again.quantity, again.entry, again.standing)
                        == (first.quantity, first.entry, first.standing)
            }
            _ => false,
        };
        hold!(same, "{command:?} was answered {first:?}\nnow it is {again:?}");
        Ok(())
    }

    /// Each hold, what is used and what is held is what the oracle says.
    fn compare(&mut self) -> Result<(), String> {
        while self.org.state.has_due_hold(self.at) {
            self.org.decide_one(self.at, &OrgCommand::Expire);
        }
        let known = self.org.state.org().ok_or("the org is there")?;
        for (place, number) in self.numbers.iter().enumerate() {
            let wanted = &self.oracle.holds[place];
            let open = known.hold(*number);
            hold!(open.is_some() == wanted.ended.is_none(), "hold {number} is {open:?}, wanted {wanted:?}");
            let Some(open) = open else { continue };
            let found = (open.free(), open.captured, open.overran);
            let wanted = (self.oracle.free(place), wanted.captured.0 + wanted.captured.1, wanted.captured.1);
            hold!(found == wanted, "hold {number} has {found:?}, wanted {wanted:?}");
        }
        Ok(())
    }

    /// When all holds have ended nothing is held, what they took is what was captured, and the books are right.
    fn finish(&mut self) -> Result<(), String> {
        self.at += SignedDuration::from_hours(1);
        self.oracle.expire(self.at);
        self.compare()?;
        let (used, held) = self.oracle.sums();
        hold!(held.is_zero(), "the oracle still holds {held}");
        let known = self.org.state.org().ok_or("the org is there")?;
        hold!(known.holds.is_none(), "something is held: {:?}", known.holds);
        for (place, number) in self.numbers.iter().enumerate() {
            let hold = loop {
                match self.org.state.ask(|state| state.hold(*number).map(std::borrow::Cow::into_owned)) {
                    Ok(hold) => break hold.ok_or("a hold that ended is known")?,
                    Err(wants) => self.org.load(wants),
                }
            };
            let wanted = &self.oracle.holds[place];
            let by = hold.end.map(|end| end.by);
            hold!(by == wanted.ended, "hold {number} ended by {by:?}, wanted {wanted:?}");
            let captured = wanted.captured.0 + wanted.captured.1;
            hold!(hold.captured == captured, "hold {number} captured {}, wanted {captured}", hold.captured);
            let place =
                [EndedBy::Capture, EndedBy::Release, EndedBy::Expiry].iter().position(|of| Some(*of) == by);
            self.ended[place.ok_or("an end")?] += 1;
        }
        self.org.crash(true);
        while let Err(wants) = self.org.state.ask(|state| state.account(&meter()).is_some()) {
            self.org.load(wants);
        }
        let account = self.org.state.account(&meter()).cloned().unwrap_or_default();
        let month = self.org.state.org().ok_or("the org is there")?.zone.period_at(Window::Month, self.at);
        let counted = self.org.state.counter(&meter(), &Scope::Org, month);
        hold!(counted.value == used, "{} was counted, {used} was used", counted.value);
        let grants: Amount = account.grants.iter().map(|grant| grant.burned).sum();
        let burned = account.allowance_burned(month.number) + grants;
        let overage = counted.extras().overage;
        hold!(burned + overage == used, "{burned} was burned and {overage} is beyond, of {used}");
        hold!(overage == self.oracle.overage, "{overage} is beyond credit, wanted {}", self.oracle.overage);
        self.check_books()
    }

    /// What every ledger keeps to.
    fn check_books(&self) -> Result<(), String> {
        let id = self.org.state.id().clone();
        let ledgers = BTreeMap::from([(id, self.org.entries.clone())]);
        let records = self.org.image.clone().into_iter().collect();
        let catalogs = [Arc::clone(&self.org.catalog)];
        ledger::check(&Books {
            ledgers: &ledgers,
            system: &[],
            catalogs: &catalogs,
            records: &records,
            key_keep_secs: 86_400,
            all_hard: true,
        })
    }
}

fn no(denial: &Denial) -> Result<No, String> {
    match denial {
        Denial::OutOfCredit(_) | Denial::OrgLimitReached(_) => Ok(No::Org),
        Denial::PathLimitReached(_) => Ok(No::Path),
        Denial::UserLimitReached(_) => Ok(No::User),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn random_trees_of_holds_are_as_the_oracle_says() {
    let (mut nested, mut ended) = (0, [0; 3]);
    for seed in 0..TREES {
        let mut tree = Tree::new(seed);
        let steps = tree.rng.usize(5..30);
        let run = (0..steps).try_for_each(|_| tree.step()).and_then(|()| tree.finish());
        if let Err(error) = run {
            panic!("tree {seed}: {error}");
        }
        nested += tree.nested;
        ended.iter_mut().zip(tree.ended).for_each(|(sum, ended)| *sum += ended);
    }
    assert!(nested > 1_000, "{nested} holds were carved out of others");
    assert!(ended.iter().all(|ended| *ended > 1_000), "captured, released and expired: {ended:?}");
}

/// Which credit pays is known when it is held: what is captured burns that, though other credit would burn first by now.
#[test]
fn what_is_captured_burns_what_was_reserved() {
    let mut tree = Tree::new(7);
    let (mut usage, _) = tree.usage();
    usage.path = None;
    usage.quantity = Quantity::new(amount(200)).expect("a quantity");
    let take =
        TakeHold { usage, within: None, secs: 60, overrun: Amount::ZERO, on_expiry: OnExpiry::Release };
    let taken = tree.org.decide(tree.at, &OrgCommand::Hold(take));
    let OrgDecision::Hold(Ok(taken)) = taken else { panic!("{taken:?}") };
    let capture = Capture { hold: taken.hold.number, quantity: Some(amount(150)), part: None };
    let captured = tree.org.decide(tree.at, &OrgCommand::Capture(capture));
    let OrgDecision::Capture(Ok(captured)) = captured else { panic!("{captured:?}") };
    assert_eq!(captured.standing.held, Amount::ZERO);
    let burns = match &tree.org.entries.last().expect("an entry").kind {
        tollgate_domain::EntryKind::Used(used) => used.burns.clone(),
        other => panic!("{other:?}"),
    };
    let burned: Vec<_> = burns.iter().map(|burn| (burn.source, burn.amount)).collect();
    assert_eq!(
        burned.first(),
        Some(&(Source::Grant(7), amount(100))),
        "the top-up of priority 50 burns first"
    );
    assert_eq!(burned.iter().map(|(_, amount)| *amount).sum::<Amount>(), amount(150));
}

/// A hold took more than there was, and credit came after it: what is captured counts when it was held, and is paid for by now.
#[test]
fn the_answer_of_a_capture_has_the_debt_that_later_credit_paid() {
    let mut org = Org::under(&CATALOG.replace("amount = 40", "amount = 40, enforcement = \"overdraft\""));
    let at = |secs: i64| Timestamp::from_second(1_800_000_000 + secs).expect("a time");
    let plan = SetPlan::now(PlanId::new("pro").expect("an id"));
    let set = org.decide(at(0), &OrgCommand::SetPlan(plan));
    assert!(matches!(set, OrgDecision::Change(Ok(_))), "{set:?}");
    let usage = Use {
        user: None,
        path: None,
        meter: meter(),
        quantity: Quantity::new(amount(410)).expect("a quantity"),
        key: UsageKey::new("held").expect("a key"),
        occurred_at: None,
        properties: BTreeMap::new(),
    };
    let take =
        TakeHold { usage, within: None, secs: 60, overrun: Amount::ZERO, on_expiry: OnExpiry::Release };
    let taken = org.decide(at(1), &OrgCommand::Hold(take));
    let OrgDecision::Hold(Ok(taken)) = taken else { panic!("{taken:?}") };
    assert_eq!(taken.standing.remaining, Some(-amount(10)));
    let top_up = TopUp {
        meter: meter(),
        amount: Quantity::new(amount(140)).expect("a quantity"),
        key: None,
        expiry: TopUpExpiry::Never,
        start: TopUpStart::Now,
        priority: 50,
        reason: None,
        metadata: BTreeMap::new(),
    };
    let topped_up = org.decide(at(2), &OrgCommand::TopUp(top_up));
    assert!(matches!(topped_up, OrgDecision::TopUp(Ok(_))), "{topped_up:?}");
    let capture = Capture { hold: taken.hold.number, quantity: None, part: None };
    let captured = org.decide(at(3), &OrgCommand::Capture(capture));
    let OrgDecision::Capture(Ok(captured)) = captured else { panic!("{captured:?}") };
    let standing = captured.standing;
    assert_eq!(
        (standing.granted, standing.used, standing.remaining),
        (amount(400), amount(400), Some(Amount::ZERO))
    );
}
