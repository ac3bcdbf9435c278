//! Engines on one store: batches, meters that usage creates, and months that close by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tollgate_domain::limits::CREATED_METERS_MAX;
use tollgate_domain::{
    Actor, ApplyCatalog, Bill, MeterId, OrgCommand, OrgDecision, OrgId, PlanId, PutOrg, Quantity,
    RecordDenial, Reverse, SetPlan, SignedDuration, SystemCommand, Timestamp, TopUp, TopUpExpiry, TopUpStart,
    UsageKey, Use, Welcome, Zone, catalog,
};
use tollgate_engine::{Clock, Closing, Engine, EngineOptions};
use tollgate_storage::MemoryStore;

const GRACE: SignedDuration = SignedDuration::from_hours(5 * 24);

/// Some engines on one store, at the same time.
struct Replicas {
    runtime: Runtime,
    store: Arc<MemoryStore>,
    clock: Clock,
    engines: Vec<Engine<MemoryStore>>,
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn org(name: &str) -> OrgId {
    OrgId::new(name).expect("an id")
}

fn meters(names: &[&str]) -> Vec<MeterId> {
    names.iter().map(|name| MeterId::new(name).expect("an id")).collect()
}

impl Replicas {
    fn start(engines: usize, at: &str) -> Self {
        let mut replicas = Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .build()
                .expect("a runtime"),
            store: Arc::new(MemoryStore::default()),
            clock: Clock::manual(time(at)),
            engines: Vec::new(),
        };
        (0..engines).for_each(|_| replicas.one_more());
        replicas
    }

    fn one_more(&mut self) {
        let options = EngineOptions { clock: self.clock.clone(), ..EngineOptions::default() };
        let engine = self.runtime.block_on(Engine::start(Arc::clone(&self.store), options));
        self.engines.push(engine.expect("an engine starts"));
    }

    fn at(&self, at: Timestamp) {
        self.clock.set(at);
    }

    fn ask(&self, engine: usize, org: &OrgId, command: OrgCommand) -> OrgDecision {
        self.runtime
            .block_on(self.engines[engine].submit(&Actor::Local, org.clone(), command))
            .expect("a decision")
    }

    fn apply(&self, engine: usize, text: &str) {
        let apply = ApplyCatalog::new(text.to_owned());
        let applied = self.engines[engine].submit_system(&Actor::Local, SystemCommand::ApplyCatalog(apply));
        self.runtime.block_on(applied).expect("a decision").expect("a catalog");
    }

    fn create(&self, engine: usize, names: &[&str]) -> Vec<MeterId> {
        let meters = meters(names);
        self.runtime
            .block_on(self.engines[engine].create_meters(&Actor::Local, &meters))
            .expect("they are created")
    }

    fn created(&self, engine: usize) -> Vec<String> {
        let created = self.engines[engine].catalog().created_meters;
        created.iter().map(|created| created.id.to_string()).collect()
    }

    fn record(
        &self,
        engine: usize,
        to: &OrgId,
        meter: &str,
        key: &str,
        at: &str,
    ) -> Result<(), RecordDenial> {
        let usage = Use {
            user: None,
            path: None,
            meter: MeterId::new(meter).expect("an id"),
            quantity: Quantity::parse("100").expect("a quantity"),
            key: UsageKey::new(key).expect("a key"),
            occurred_at: Some(time(at)),
            properties: BTreeMap::new(),
        };
        match self.ask(engine, to, OrgCommand::Record(usage)) {
            OrgDecision::Record(result) => result.map(|_| ()),
            other => panic!("{other:?}"),
        }
    }

    fn customer(&self, name: &str, zone: &str) -> OrgId {
        let org = org(name);
        let zone = Some(Zone::new(zone).expect("a zone"));
        self.ask(0, &org, OrgCommand::Put(PutOrg { name: None, zone, metadata: None }));
        let plan = PlanId::new("pro").expect("an id");
        self.ask(0, &org, OrgCommand::SetPlan(SetPlan::now(plan)));
        org
    }

    fn look(&self, engine: usize) -> Closing {
        self.runtime.block_on(self.engines[engine].close_due(GRACE, None)).expect("a look")
    }

    /// The labels and counts of the months that one look closed.
    fn closes(&self, engine: usize) -> Vec<(String, u64)> {
        self.look(engine).closed.into_iter().collect()
    }

    fn bill(&self, org: &OrgId, month: i32) -> Arc<Bill> {
        let bill = self.runtime.block_on(self.engines[0].bill(org, Some(month))).expect("a look");
        bill.expect("the org is known").1.expect("a bill")
    }
}

#[test]
fn a_usage_is_taken_back_in_the_batch_that_counts_it() {
    let replicas = Replicas::start(1, "2026-11-02T10:00:00Z");
    let acme = replicas.customer("acme", "UTC");
    let key = UsageKey::new("once").expect("a key");
    let usage = OrgCommand::Record(Use {
        user: None,
        path: None,
        meter: MeterId::new("api_call").expect("an id"),
        quantity: Quantity::ONE,
        key: key.clone(),
        occurred_at: Some(time("2026-11-02T09:00:00Z")),
        properties: BTreeMap::new(),
    });
    let reverse = || OrgCommand::Reverse(Reverse { key: key.clone() });
    let batch = [usage, reverse(), reverse()].map(|command| (acme.clone(), command)).to_vec();
    let batch = replicas.engines[0].submit_batch(&Actor::Local, batch);
    match replicas.runtime.block_on(batch).expect("decisions").as_slice() {
        [
            OrgDecision::Record(Ok(counted)),
            OrgDecision::Reverse(Ok(reversed)),
            OrgDecision::Reverse(Ok(again)),
        ] => {
            assert_eq!((reversed.reversed_entry, reversed.replayed), (counted.entry, false));
            assert_eq!((again.entry, again.replayed), (reversed.entry, true));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_clock_that_steps_back_by_little_takes_no_credit_away() {
    let replicas = Replicas::start(1, "2026-11-02T10:00:00Z");
    let acme = org("acme");
    let at = |millis: i64| time("2026-11-02T10:00:00Z") + SignedDuration::from_millis(millis);
    let lite = PlanId::new("lite").expect("an id");
    replicas.ask(0, &acme, OrgCommand::Welcome(Welcome { plan: Some(lite) }));
    let usage = |key: &str, quantity: &str| Use {
        user: None,
        path: None,
        meter: MeterId::new("reports").expect("an id"),
        quantity: Quantity::parse(quantity).expect("a quantity"),
        key: UsageKey::new(key).expect("a key"),
        occurred_at: None,
        properties: BTreeMap::new(),
    };
    let top_up = TopUp {
        meter: MeterId::new("reports").expect("an id"),
        amount: Quantity::parse("5").expect("a quantity"),
        key: None,
        expiry: TopUpExpiry::Never,
        start: TopUpStart::Now,
        priority: 0,
        reason: None,
        metadata: BTreeMap::new(),
    };
    let is_allowed =
        |key: &str, quantity: &str| match replicas.ask(0, &acme, OrgCommand::Use(usage(key, quantity))) {
            OrgDecision::Use(result) => result.is_ok(),
            other => panic!("{other:?}"),
        };
    assert!(is_allowed("all of the plan", "20"));
    replicas.ask(0, &acme, OrgCommand::TopUp(top_up));
    for (clock, allowed) in [(-5_000, true), (-2_000, true), (-5_001, false), (1, true)] {
        replicas.at(at(clock));
        assert_eq!(is_allowed(&format!("at {clock}"), "1"), allowed, "at {clock} ms");
    }
}

const fn month(year: i32, month: i32) -> i32 {
    year * 12 + month - 1
}

#[test]
fn a_meter_that_one_engine_created_is_there_for_all() {
    let mut replicas = Replicas::start(2, "2026-11-02T10:00:00Z");
    assert_eq!(replicas.create(0, &["gpu", "gpu", "api_call"]), []);
    assert_eq!(replicas.created(0), ["gpu"], "what the catalog has is not created");
    assert_eq!(replicas.created(1), [""; 0], "the other does not know yet");
    // It asks for the same and another: one is there, one is new.
    assert_eq!(replicas.create(1, &["gpu", "disk"]), []);
    assert_eq!(replicas.created(1), ["gpu", "disk"]);
    let acme = replicas.customer("acme", "UTC");
    replicas.record(1, &acme, "disk", "d-1", "2026-11-02T09:00:00Z").expect("counted");
    replicas.one_more();
    assert_eq!(replicas.created(2), ["gpu", "disk"], "a start finds them");
    replicas.record(2, &acme, "disk", "d-2", "2026-11-02T09:00:00Z").expect("counted");
}

#[test]
fn engines_that_create_the_same_meters_at_once_create_each_once() {
    let replicas = Replicas::start(3, "2026-11-02T10:00:00Z");
    for round in 0..20 {
        let names: Vec<String> = (0..5).map(|number| format!("m-{round}-{number}")).collect();
        let names: Vec<MeterId> = names.iter().map(|name| MeterId::new(name).expect("an id")).collect();
        let lacking = replicas.runtime.block_on(async {
            let [first, second, third] =
                [0, 1, 2].map(|engine| replicas.engines[engine].create_meters(&Actor::Local, &names));
            tokio::join!(first, second, third)
        });
        assert!(matches!(&lacking, (Ok(a), Ok(b), Ok(c)) if [a, b, c].iter().all(|left| left.is_empty())));
    }
    replicas.create(0, &["the-last"]);
    let mut created = replicas.created(0);
    assert_eq!(created.len(), 101);
    created.sort();
    created.dedup();
    assert_eq!(created.len(), 101, "none was created twice");
}

#[test]
fn what_another_engine_brought_into_force_is_followed() {
    let replicas = Replicas::start(2, "2026-11-02T10:00:00Z");
    let follow =
        |engine: usize| replicas.runtime.block_on(replicas.engines[engine].follow()).expect("it is followed");
    assert_eq!(follow(1), 0);
    let text = format!("{}\n[[meters]]\nid = \"new\"\nname = \"N\"\nunit = \"n\"\n", catalog::DEFAULT);
    replicas.apply(0, &text);
    replicas.create(0, &["gpu"]);
    assert_eq!(replicas.engines[1].catalog().version, 0, "nobody has told it");
    let version = follow(1);
    let [first, second] = [0, 1].map(|engine| replicas.engines[engine].catalog());
    assert_eq!((second.version, second.since), (1, first.since));
    assert_eq!(second.catalog, first.catalog);
    assert_eq!(replicas.created(1), ["gpu"]);
    assert_eq!(follow(1), version, "nothing moved");
    let key = tollgate_domain::ApiKeyId("a".repeat(16));
    let made = tollgate_domain::ApiKey {
        id: key,
        hash: [1; 32],
        name: "key".to_owned(),
        role: tollgate_domain::Role::Read,
        org: None,
        created_at: Timestamp::UNIX_EPOCH,
        revoked_at: None,
    };
    let make = replicas.engines[0].submit_system(&Actor::Local, SystemCommand::MakeApiKey(made));
    replicas.runtime.block_on(make).expect("a decision").expect("a key");
    assert_eq!(follow(1), version + 1, "every change of the system moves it");
}

#[test]
fn there_is_room_for_so_many_and_a_catalog_makes_room() {
    let replicas = Replicas::start(1, "2026-11-02T10:00:00Z");
    let names: Vec<MeterId> =
        (0..CREATED_METERS_MAX + 2).map(|n| MeterId::new(&format!("m{n:04}")).expect("an id")).collect();
    let lacking = replicas
        .runtime
        .block_on(replicas.engines[0].create_meters(&Actor::Local, &names))
        .expect("an answer");
    assert_eq!(lacking, names[CREATED_METERS_MAX..]);
    assert_eq!(replicas.create(0, &["m0001", "another"]), meters(&["another"]));
    let declared =
        format!("{}\n[[meters]]\nid = \"another\"\nname = \"A\"\nunit = \"a\"\n", catalog::DEFAULT);
    replicas.apply(0, &declared);
    assert_eq!(replicas.create(0, &["m0001", "another"]), [], "what is declared needs no room");
    replicas.apply(0, catalog::DEFAULT);
    assert_eq!(replicas.create(0, &["m0001", "another"]), meters(&["another"]));
}

#[test]
fn a_month_closes_when_it_has_been_over_for_the_grace_in_the_zone_of_the_org() {
    for (zone, begun, label, end) in [
        ("UTC", "2026-11-02T10:00:00Z", "2026-11", "2026-12-01T00:00:00Z"),
        ("Pacific/Auckland", "2026-11-02T10:00:00Z", "2026-11", "2026-11-30T11:00:00Z"),
        ("America/New_York", "2026-11-02T10:00:00Z", "2026-11", "2026-12-01T05:00:00Z"),
        // Summer time begins or ends within the month.
        ("Europe/Berlin", "2026-10-02T10:00:00Z", "2026-10", "2026-10-31T23:00:00Z"),
        ("Europe/Berlin", "2026-03-02T10:00:00Z", "2026-03", "2026-03-31T22:00:00Z"),
        ("America/New_York", "2026-03-02T10:00:00Z", "2026-03", "2026-04-01T04:00:00Z"),
        // Between the end of the month and that of the grace.
        ("America/New_York", "2026-10-02T10:00:00Z", "2026-10", "2026-11-01T04:00:00Z"),
        ("Australia/Lord_Howe", "2027-03-02T10:00:00Z", "2027-03", "2027-03-31T13:00:00Z"),
        ("Asia/Kathmandu", "2026-11-02T10:00:00Z", "2026-11", "2026-11-30T18:15:00Z"),
    ] {
        let replicas = Replicas::start(1, begun);
        let acme = replicas.customer("acme", zone);
        let due = time(end) + GRACE;
        replicas.at(due - SignedDuration::from_secs(1));
        assert_eq!(replicas.closes(0), [], "{zone} {label}: not yet");
        replicas.at(due);
        assert_eq!(replicas.closes(0), [(label.to_owned(), 1)], "{zone} {label}");
        assert_eq!(replicas.closes(0), [], "{zone} {label}: once");
        let bills =
            replicas.runtime.block_on(replicas.engines[0].org(&acme)).expect("a look").expect("known");
        assert_eq!(bills.bills, 1, "{zone} {label}");
    }
}

#[test]
fn months_close_in_order_and_what_comes_late_is_on_the_next_bill() {
    let replicas = Replicas::start(1, "2026-08-20T00:00:00Z");
    let acme = replicas.customer("acme", "Europe/Berlin");
    replicas.record(0, &acme, "api_call", "august", "2026-08-20T00:00:00Z").expect("counted");
    replicas.at(time("2026-11-05T00:00:00Z"));
    assert_eq!(
        replicas.closes(0),
        [("2026-08".to_owned(), 1), ("2026-09".to_owned(), 1)],
        "October has its grace"
    );
    for (number, of) in (1..).zip([month(2026, 8), month(2026, 9)]) {
        assert_eq!(replicas.bill(&acme, of).number, Some(number));
    }
    assert_eq!(replicas.bill(&acme, month(2026, 8)).total.number(), "1.00");
    // Late, by a month that is closed, and by one that has its grace still.
    replicas.record(0, &acme, "api_call", "september", "2026-09-30T21:59:59Z").expect("counted");
    replicas.record(0, &acme, "api_call", "october", "2026-10-31T22:59:59Z").expect("counted");
    assert_eq!(replicas.bill(&acme, month(2026, 9)).total.number(), "0.00", "a closed bill stays");
    replicas.at(time("2026-11-06T00:00:00Z"));
    assert_eq!(replicas.closes(0), [("2026-10".to_owned(), 1)]);
    let october = replicas.bill(&acme, month(2026, 10));
    assert_eq!((october.number, october.total.number().as_str()), (Some(3), "2.00"));
    let adjusted: Vec<_> =
        october.adjustments.iter().map(|item| (item.month.label(), item.amount.number())).collect();
    assert_eq!(adjusted, [("2026-09".to_owned(), "1.00".to_owned())]);
}

#[test]
fn engines_and_restarts_close_each_month_once() {
    const ORGS: usize = 700;
    let mut replicas = Replicas::start(2, "2026-09-20T00:00:00Z");
    for number in 0..ORGS {
        let plan = Some(PlanId::new("pro").expect("an id"));
        replicas.ask(0, &org(&format!("org-{number}")), OrgCommand::Welcome(Welcome { plan }));
    }
    replicas.at(time("2026-11-10T00:00:00Z"));
    // The first look gets as far as it may, and its engine is never heard of again.
    let first = replicas.look(0);
    assert!(first.next.is_some(), "more orgs than one look takes");
    let begun: u64 = first.closed.values().sum();
    replicas.engines.remove(0);
    replicas.one_more();
    let sum = replicas.runtime.block_on(async {
        let pass = async |engine: &Engine<MemoryStore>| {
            let (mut closed, mut cursor) = (0, None);
            loop {
                let closing = engine.close_due(GRACE, cursor.as_ref()).await.expect("a look");
                closed += closing.closed.values().sum::<u64>();
                cursor = closing.next;
                if cursor.is_none() {
                    return closed;
                }
            }
        };
        let (one, other) = tokio::join!(pass(&replicas.engines[0]), pass(&replicas.engines[1]));
        one + other
    });
    assert_eq!(begun + sum, 2 * 700, "each month of each org, by whichever engine");
    for number in [0, 350, 699] {
        let org = org(&format!("org-{number}"));
        let known = replicas.runtime.block_on(replicas.engines[0].org(&org)).expect("a look").expect("known");
        assert_eq!((known.bills, known.billed_until), (2, Some(month(2026, 10))));
    }
}

#[test]
fn what_has_nothing_to_bill_is_left_alone_and_old_months_close_in_order() {
    let replicas = Replicas::start(1, "2024-01-10T00:00:00Z");
    let old = replicas.customer("old", "UTC");
    replicas.ask(0, &org("free"), OrgCommand::SetPlan(SetPlan::now(PlanId::new("basic").expect("an id"))));
    replicas.ask(0, &org("without"), OrgCommand::Put(PutOrg { name: None, zone: None, metadata: None }));
    replicas.at(time("2026-11-10T00:00:00Z"));
    let closed = replicas.closes(0);
    assert_eq!(closed.len(), 34, "{closed:?}");
    assert_eq!(closed.first(), Some(&("2024-01".to_owned(), 1)));
    assert_eq!(closed.last(), Some(&("2026-10".to_owned(), 1)));
    assert_eq!(replicas.bill(&old, month(2026, 10)).number, Some(34));
}
