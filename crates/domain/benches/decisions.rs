//! Decisions in process, on one core: what a usage costs when its org is in memory, without any queue, disk or network.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a benchmark, run by hand"
)]

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tollgate_domain::{
    Actor, Catalog, Context, Distance, MeterId, Moments, OrgCommand, OrgId, OrgState, PartKey, PlanId,
    PutOrg, Quantity, Record, SetPlan, Timestamp, UsageKey, Use, UserId, apply, decide,
};

const CATALOG: &str = r#"
currency = "USD"

[[meters]]
id = "reports"
name = "Reports"
unit = "report"

[[plans]]
id = "team"
name = "Team"

[[plans.allowances]]
meter = "reports"
amount = 1000000000

[[plans.limits]]
meter = "reports"
scope = "user"
window = "month"
amount = 100000000
"#;

/// The allocator of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Usages of one round, so that keys are new.
const ROUND: u64 = 1_000;

/// Usages for which memory is read ahead together, as the engine does.
const TOGETHER: usize = 64;

/// Orgs in memory, each with a plan, a limit on users, and users that used something.
struct Orgs {
    catalog: Catalog,
    orgs: Vec<OrgState>,
    places: HashMap<OrgId, usize, foldhash::fast::RandomState>,
    users: Vec<UserId>,
    meter: MeterId,
    moments: Moments,
    made: u64,
}

impl Orgs {
    fn new(count: usize, users: usize) -> Self {
        let at: Timestamp = "2026-11-28T12:00:00Z".parse().expect("a time");
        let mut orgs = Self {
            catalog: Catalog::from_toml(CATALOG).expect("a catalog"),
            orgs: Vec::new(),
            places: HashMap::default(),
            users: (0..users).map(|user| UserId::new(&format!("user-{user}")).expect("an id")).collect(),
            meter: MeterId::new("reports").expect("an id"),
            moments: Moments::new(at),
            made: 0,
        };
        for place in 0..count {
            let id = OrgId::new(&format!("org-{place:07}")).expect("an id");
            orgs.orgs.push(OrgState::new(id.clone(), None));
            orgs.places.insert(id, place);
            let plan = PlanId::new("team").expect("an id");
            orgs.tell(place, &OrgCommand::Put(PutOrg { name: None, zone: None, metadata: None }));
            orgs.tell(place, &OrgCommand::SetPlan(SetPlan::now(plan)));
            for user in 0..users {
                let usage = orgs.usage(user);
                orgs.tell(place, &usage);
            }
        }
        orgs
    }

    /// A usage of a user, under a key of its own.
    fn usage(&mut self, user: usize) -> OrgCommand {
        self.made += 1;
        OrgCommand::Use(Use {
            user: Some(self.users[user].clone()),
            path: None,
            meter: self.meter.clone(),
            quantity: Quantity::ONE,
            key: UsageKey::new(&format!("{:016x}", self.made)).expect("an id"),
            occurred_at: None,
            properties: BTreeMap::new(),
        })
    }

    fn tell(&mut self, place: usize, command: &OrgCommand) {
        let context = Context {
            catalog: &self.catalog,
            catalog_version: 1,
            catalog_since: Timestamp::UNIX_EPOCH,
            moments: &self.moments,
            key_keep_secs: 35 * 86_400,
            actor: &Actor::Local,
        };
        let state = &mut self.orgs[place];
        if let Some(PartKey::Key(space, key)) = command.named_key() {
            state.put_key(space, key, None);
        }
        let outcome = loop {
            match decide(state, &context, command) {
                Ok(outcome) => break outcome,
                Err(wants) => wants.0.into_iter().for_each(|key: PartKey| state.put(key, None::<Record>)),
            }
        };
        if let Some(entry) = &outcome.entry {
            apply(state, entry);
            state.forget_facts();
        }
        black_box(outcome);
    }

    /// What is measured: a function of its own, so that a profiler can be told to count nothing else.
    #[inline(never)]
    fn tell_all(&mut self, usages: &[(OrgId, OrgCommand)]) {
        for usages in usages.chunks(TOGETHER) {
            let places: Vec<_> = usages.iter().map(|(org, _)| self.places[org]).collect();
            let each = || places.iter().zip(usages);
            for distance in Distance::ALL {
                each().for_each(|(place, (_, command))| {
                    black_box(self.orgs[*place].warm(command, distance));
                });
            }
            each().for_each(|(place, (_, command))| self.tell(*place, command));
        }
    }

    /// A round of usages, of orgs and users in an order that caches cannot follow.
    fn usages(&mut self) -> Vec<(OrgId, OrgCommand)> {
        let place = |among: usize, lot: u64| usize::try_from(lot % among as u64).expect("a place");
        let (orgs, users) = (self.orgs.len(), self.users.len());
        let usage = |_| {
            let lot = self.made.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            (self.orgs[place(orgs, lot)].id().clone(), self.usage(place(users, lot >> 24)))
        };
        (0..ROUND).map(usage).collect()
    }
}

fn decisions(criterion: &mut Criterion) {
    // The first lie in the caches of any processor, so that they show what a decision reckons, and the last in none.
    for (count, users) in [(100, 10), (10_000, 10), (1_000_000, 1)] {
        let orgs = OnceCell::new();
        let orgs = || orgs.get_or_init(|| RefCell::new(Orgs::new(count, users))).borrow_mut();
        let mut group = criterion.benchmark_group(format!("{count} orgs of {users} users"));
        group.throughput(Throughput::Elements(ROUND));
        group.bench_function("use", |bencher| {
            bencher.iter_batched_ref(
                || orgs().usages(),
                |usages| orgs().tell_all(usages),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
