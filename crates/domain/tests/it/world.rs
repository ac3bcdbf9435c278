//! One org and the rules: commands in, answers out, entries applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::{
    Actor, Balance, Catalog, CloseDenial, CloseMonth, Closed, Context, Entry, MeterId, Moments, OrgCommand,
    OrgDecision, OrgId, OrgState, PartKey, PlanId, PutOrg, Quantity, Record, SetPlan, Timestamp, TopUp,
    TopUpExpiry, TopUpStart, UsageKey, Use, Wants, Zone, apply, balance, decide, touched,
};

/// The number of October 2026.
pub(crate) const OCTOBER: i32 = 2026 * 12 + 9;

/// How long a key is remembered.
pub(crate) const KEY_KEEP_SECS: i64 = 35 * 86_400;

/// One org with everything at hand, and what it was decided to write.
pub(crate) struct World {
    catalog: Catalog,
    pub(crate) state: OrgState,
    pub(crate) entries: Vec<Entry>,
}

pub(crate) fn meter(id: &str) -> MeterId {
    MeterId::new(id).expect("an id")
}

pub(crate) fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).expect("a quantity")
}

pub(crate) fn key(text: &str) -> UsageKey {
    UsageKey::new(text).expect("an id")
}

/// A usage without a user.
pub(crate) fn usage(key: UsageKey, of: &str, amount: &str) -> Use {
    Use {
        user: None,
        path: None,
        meter: meter(of),
        quantity: quantity(amount),
        key,
        occurred_at: None,
        properties: BTreeMap::new(),
    }
}

/// A top-up of tokens that has no key and can be burned at once.
pub(crate) fn top_up(amount: &str, expiry: TopUpExpiry) -> OrgCommand {
    OrgCommand::TopUp(TopUp {
        meter: meter("tokens"),
        amount: quantity(amount),
        key: None,
        expiry,
        start: TopUpStart::Now,
        priority: 0,
        reason: None,
        metadata: std::collections::BTreeMap::new(),
    })
}

/// What decisions at a moment go by.
fn context<'a>(catalog: &'a Catalog, moments: &'a Moments) -> Context<'a> {
    Context {
        catalog,
        catalog_version: 1,
        catalog_since: Timestamp::UNIX_EPOCH,
        moments,
        key_keep_secs: KEY_KEEP_SECS,
        actor: &Actor::Local,
    }
}

impl World {
    /// An org in Berlin that has had the plan `team` since October 2026 began in UTC.
    pub(crate) fn new(catalog: &str) -> Self {
        let org = OrgId::new("acme").expect("an id");
        let catalog = Catalog::from_toml(catalog).expect("a catalog");
        let state = OrgState::new(org, None);
        let mut world = Self { catalog, state, entries: Vec::new() };
        let zone = Some(Zone::new("Europe/Berlin").expect("a zone"));
        world.tell("2026-10-01T00:00:00Z", &OrgCommand::Put(PutOrg { name: None, zone, metadata: None }));
        let plan = PlanId::new("team").expect("an id");
        world.tell("2026-10-01T00:00:00Z", &OrgCommand::SetPlan(SetPlan::now(plan)));
        world
    }

    /// What a view of the org goes by.
    pub(crate) fn context<'a>(&'a self, moments: &'a Moments) -> Context<'a> {
        Context {
            catalog: &self.catalog,
            catalog_version: 1,
            catalog_since: Timestamp::UNIX_EPOCH,
            moments,
            key_keep_secs: KEY_KEEP_SECS,
            actor: &Actor::Local,
        }
    }

    /// Decides a command, applies what is decided, and says what the caller is told.
    pub(crate) fn tell(&mut self, at: &str, command: &OrgCommand) -> OrgDecision {
        let moments = Moments::new(at.parse().expect("a time"));
        let outcome = loop {
            match decide(&self.state, &context(&self.catalog, &moments), command) {
                Ok(outcome) => break outcome,
                Err(wants) => self.load(wants),
            }
        };
        if let Some(entry) = outcome.entry {
            touched(&self.state, &entry).expect("deciding loads what applying changes");
            apply(&mut self.state, &entry);
            self.entries.push(entry);
        }
        outcome.decision
    }

    fn load(&mut self, wants: Wants) {
        for key in wants.0 {
            assert!(!self.state.holds(&key), "what is loaded is wanted again: {key:?}");
            let record = self.written(&key);
            self.state.put(key, record);
        }
    }

    /// Puts a question, after loading what it lacks.
    pub(crate) fn ask<T>(&self, question: impl Fn(&OrgState) -> T) -> T {
        let mut state = self.state.clone();
        loop {
            match state.ask(&question) {
                Ok(answer) => return answer,
                Err(wants) => wants.0.into_iter().for_each(|key| {
                    let record = self.written(&key);
                    state.put(key, record);
                }),
            }
        }
    }

    /// The balance at a moment.
    pub(crate) fn balance(&self, at: &str) -> Balance {
        let moments = Moments::new(at.parse().expect("a time"));
        self.ask(|state| balance(state, &context(&self.catalog, &moments))).expect("the org is there")
    }

    fn written(&self, key: &PartKey) -> Option<Record> {
        let PartKey::Entry(number) = key else { return None };
        let entry = self.entries.iter().find(|entry| entry.number == *number)?;
        Some(Record::Entry(Arc::new(entry.clone())))
    }

    /// Uses some of a meter with a model, under a key made of these words; whether it may.
    pub(crate) fn uses(&mut self, at: &str, of: &str, amount: &str, model: &str) -> bool {
        let key = key(&format!("{at} {of} {amount} {model}"));
        let properties = BTreeMap::from([("model".to_owned(), model.to_owned())]);
        let usage = Use { properties, ..usage(key, of, amount) };
        matches!(self.tell(at, &OrgCommand::Use(usage)), OrgDecision::Use(Ok(_)))
    }

    pub(crate) fn close(&mut self, at: &str, month: i32) -> Result<Closed, CloseDenial> {
        match self.tell(at, &OrgCommand::CloseMonth(CloseMonth { month })) {
            OrgDecision::Close(result) => result,
            other => panic!("{other:?}"),
        }
    }
}
