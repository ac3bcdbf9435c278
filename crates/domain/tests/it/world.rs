//! One org and the rules: commands in, answers out, entries applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_domain::{
    Actor, Balance, Catalog, CloseDenial, CloseMonth, Closed, Context, Entry, MeterId, Moments, OrgCommand,
    OrgDecision, OrgId, PlanId, PutOrg, Quantity, Record, RecordKey, Records, SetPlan, Timestamp, TopUp,
    TopUpExpiry, TopUpStart, UsageKey, Use, Zone, apply, balance, decide, missing, touched,
};

/// The number of October 2026.
pub(crate) const OCTOBER: i32 = 2026 * 12 + 9;

/// How long a key is remembered.
pub(crate) const KEY_KEEP_SECS: i64 = 35 * 86_400;

/// One org with everything at hand, and what it was decided to write.
pub(crate) struct World {
    catalog: Catalog,
    pub(crate) records: Records,
    pub(crate) org: OrgId,
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
        let mut records = Records::default();
        let catalog = Catalog::from_toml(catalog).expect("a catalog");
        records.put(RecordKey::Org(org.clone()), None);
        let mut world = Self { catalog, records, org, entries: Vec::new() };
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
        let context = context(&self.catalog, &moments);
        let mut is_last = false;
        loop {
            let mut keys = Vec::new();
            let last = missing(&self.records, &context, &self.org, command, &mut keys);
            if keys.is_empty() {
                break;
            }
            assert!(!is_last, "after the last loading {keys:?} are needed");
            assert!(keys.iter().all(|key| !self.records.holds(key)), "what is at hand is needed again");
            is_last = last;
            for key in keys {
                let record = self.written(&key);
                self.records.put(key, record);
            }
        }
        let outcome = decide(&self.records, &context, &self.org, command);
        if let Some(entry) = outcome.entry {
            let absent = touched(&self.records, &self.org, &entry);
            assert_eq!(absent, [], "deciding needs what applying does");
            apply(&mut self.records, &self.org, &entry);
            self.entries.push(entry);
        }
        outcome.decision
    }

    /// The balance at a moment.
    pub(crate) fn balance(&self, at: &str) -> Balance {
        let moments = Moments::new(at.parse().expect("a time"));
        balance(&self.records, &context(&self.catalog, &moments), &self.org).expect("the org is there")
    }

    fn written(&self, key: &RecordKey) -> Option<Record> {
        let RecordKey::Entry(_, number) = key else { return None };
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
