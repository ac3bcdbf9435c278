//! The system: what its commands are answered, and what its entries make of its records.

use tollgate_domain::limits::{CHANNELS_MAX, CREATED_METERS_MAX, SHIPMENT_LINES_MAX};
use tollgate_domain::{
    Actor, Amount, ApiKey, ApiKeyId, ApplyCatalog, Attempt, AttemptResult, Catalog, ChangeChannel,
    ChannelChange, ChannelId, ChannelSetup, Digest, Filter, MakeShipment, MeterId, NewMeter, NoticeRef,
    OrgCommand, OrgDecision, OrgId, PlanId, ReadTo, Record, RecordKey, Replay, Reverse, RevokeApiKey, Role,
    Round, Settle, ShipmentId, ShipmentLine, Sku, Subject, SystemCommand, SystemDenial, SystemRecords,
    Target, Timestamp, apply_system, decide_system, read_by_system, touched_by_system,
};

use crate::world::{World, key, meter, usage};

struct TheSystem {
    records: SystemRecords,
}

impl TheSystem {
    fn new() -> Self {
        let mut records = SystemRecords::default();
        records.put(RecordKey::System, None);
        Self { records }
    }

    /// Decides a command and applies what is decided; the version of the catalog, and whether there was an entry.
    fn tell(&mut self, at: &str, command: &SystemCommand) -> Result<(u32, bool), SystemDenial> {
        for key in read_by_system(command) {
            self.records.put(key, None);
        }
        let at: Timestamp = at.parse().expect("a time");
        let outcome = decide_system(&self.records, at, &Actor::Local, command);
        let Some(entry) = outcome.entry else { return outcome.decision.map(|version| (version, false)) };
        let at_hand = touched_by_system(&entry).iter().all(|key| self.records.holds(key));
        assert!(at_hand, "deciding needs what applying does");
        assert_eq!((entry.number, entry.at), (self.records.system().version + 1, at));
        apply_system(&mut self.records, &entry);
        outcome.decision.map(|version| (version, true))
    }
}

const FIRST: &str = "2026-10-01T00:00:00Z";
const SECOND: &str = "2026-10-02T00:00:00Z";

fn api_key(id: &str) -> ApiKey {
    ApiKey {
        id: ApiKeyId(id.to_owned()),
        name: "reports".to_owned(),
        hash: [7; 32],
        role: Role::Read,
        org: None,
        created_at: FIRST.parse().expect("a time"),
        revoked_at: None,
    }
}

fn revoke(id: &ApiKeyId) -> SystemCommand {
    SystemCommand::RevokeApiKey(RevokeApiKey { id: id.clone(), admin_besides: false })
}

#[test]
fn the_last_key_that_makes_others_stays() {
    let mut system = TheSystem::new();
    let acme = OrgId::new("acme").expect("an id");
    for (id, role, org) in [
        ("first", Role::Admin, None),
        ("second", Role::Admin, None),
        ("bound", Role::Admin, Some(acme)),
        ("lesser", Role::Manage, None),
    ] {
        let made = ApiKey { role, org, ..api_key(id) };
        assert_eq!(system.tell(FIRST, &SystemCommand::MakeApiKey(made)), Ok((0, true)));
    }
    let id = |id: &str| ApiKeyId(id.to_owned());
    assert_eq!(system.tell(SECOND, &revoke(&id("first"))), Ok((0, true)));
    assert_eq!(system.tell(SECOND, &revoke(&id("first"))), Ok((0, false)), "it is gone already");
    assert_eq!(system.tell(SECOND, &revoke(&id("second"))), Err(SystemDenial::LastAdminKey));
    assert_eq!(system.tell(SECOND, &revoke(&id("bound"))), Ok((0, true)));
    assert_eq!(system.tell(SECOND, &revoke(&id("lesser"))), Ok((0, true)));
    let besides = SystemCommand::RevokeApiKey(RevokeApiKey { id: id("second"), admin_besides: true });
    assert_eq!(system.tell(SECOND, &besides), Ok((0, true)));
    let third = ApiKey { role: Role::Admin, ..api_key("third") };
    assert_eq!(system.tell(SECOND, &SystemCommand::MakeApiKey(third)), Ok((0, true)));
    assert_eq!(system.tell(SECOND, &revoke(&id("third"))), Err(SystemDenial::LastAdminKey));
}

#[test]
fn an_api_key_is_made_once_and_revoked_once() {
    let mut system = TheSystem::new();
    let (made, id) = (api_key("0123456789abcdef"), ApiKeyId("0123456789abcdef".to_owned()));
    let other = ApiKeyId("f".to_owned());
    assert_eq!(system.tell(FIRST, &SystemCommand::MakeApiKey(made.clone())), Ok((0, true)));
    assert_eq!(system.records.api_key(&id), Some(&made));
    let again = ApiKey { name: "another".to_owned(), ..made.clone() };
    assert_eq!(system.tell(SECOND, &SystemCommand::MakeApiKey(again)), Err(SystemDenial::ApiKeyExists));
    assert_eq!(system.tell(SECOND, &revoke(&other)), Err(SystemDenial::UnknownApiKey));
    assert_eq!(system.tell(SECOND, &revoke(&id)), Ok((0, true)));
    let revoked_at = Some(SECOND.parse().expect("a time"));
    let revoked = ApiKey { revoked_at, ..made };
    assert_eq!(system.records.api_key(&id), Some(&revoked));
    assert_eq!(system.tell("2026-10-03T00:00:00Z", &revoke(&id)), Ok((0, false)));
    assert_eq!(system.records.api_key(&id), Some(&revoked), "it stays as it was");
}

fn catalog(meters: &[(&str, &str)], plans: &[&str]) -> String {
    let meters = meters.iter().map(|(id, aggregation)| {
        format!(
            "[[meters]]\nid = \"{id}\"\nname = \"{id}\"\nunit = \"unit\"\naggregation = \"{aggregation}\"\n"
        )
    });
    let plans = plans.iter().map(|id| format!("[[plans]]\nid = \"{id}\"\nname = \"{id}\"\n"));
    meters.chain(plans).collect()
}

#[test]
fn a_catalog_comes_into_force_under_the_next_version() {
    let mut system = TheSystem::new();
    let text = catalog(&[("tokens", "sum")], &["team"]);
    let check = SystemCommand::CheckCatalog(ApplyCatalog::new(text.clone()));
    assert_eq!(system.tell(FIRST, &check), Ok((0, false)), "a check changes nothing");
    for version in 1..=2 {
        let apply = SystemCommand::ApplyCatalog(ApplyCatalog::new(text.clone()));
        assert_eq!(system.tell(FIRST, &apply), Ok((version, true)));
        assert_eq!(system.records.catalog(version).map(|catalog| catalog.text.clone()), Some(text.clone()));
    }
    let wrong = SystemCommand::ApplyCatalog(ApplyCatalog::new("meters = 7".to_owned()));
    assert!(matches!(system.tell(SECOND, &wrong), Err(SystemDenial::Catalog(_))));
    assert_eq!(system.tell(SECOND, &check), Ok((2, false)), "the one before stays in force");
}

#[test]
fn a_catalog_keeps_the_plans_that_orgs_have_and_how_its_meters_count() {
    let mut system = TheSystem::new();
    let former =
        Catalog::from_toml(&catalog(&[("tokens", "sum"), ("seats", "max")], &["team"])).expect("a catalog");
    let in_use = |plan: &str| (PlanId::new(plan).expect("an id"), OrgId::new("acme").expect("an id"));
    let mut told = |text: String| {
        let plans_in_use = vec![in_use("team"), in_use("trial")];
        let apply = ApplyCatalog { text, plans_in_use, former_meters: former.meters.to_vec(), after: None };
        system.tell(FIRST, &SystemCommand::ApplyCatalog(apply))
    };
    let meters = [("tokens", "sum"), ("seats", "max")];
    assert_eq!(told(catalog(&meters, &["team", "trial", "other"])), Ok((1, true)));
    assert_eq!(told(catalog(&meters, &["team"])), Err(SystemDenial::PlansInUse(vec![in_use("trial")])));
    let both = vec![in_use("team"), in_use("trial")];
    assert_eq!(told(catalog(&meters, &["other"])), Err(SystemDenial::PlansInUse(both)));
    let plans = ["team", "trial"];
    assert_eq!(told(catalog(&[("other", "sum")], &plans)), Ok((2, true)), "a meter may go");
    assert_eq!(told(catalog(&[("tokens", "count"), ("seats", "max")], &plans)), Ok((3, true)), "both add up");
    for changed in [("tokens", "max"), ("seats", "sum"), ("seats", "last")] {
        let told = told(catalog(&[changed], &plans));
        assert!(matches!(told, Err(SystemDenial::Catalog(_))), "{changed:?}: {told:?}");
    }
}

fn meters(numbers: impl IntoIterator<Item = usize>) -> Vec<MeterId> {
    numbers.into_iter().map(|number| meter(&format!("m{number}"))).collect()
}

#[test]
fn a_meter_is_created_once_and_only_so_many_are() {
    let mut system = TheSystem::new();
    for (wanted, created) in [
        (meters([1, 2, 1]), 2),
        (meters([2, 1]), 0),
        (meters([2, 3]), 1),
        (Vec::new(), 0),
        (meters(0..CREATED_METERS_MAX + 5), CREATED_METERS_MAX - 3),
        (meters([CREATED_METERS_MAX + 4, 3]), 0),
    ] {
        let before = system.records.system().created_meters.len();
        let told =
            system.tell(FIRST, &SystemCommand::CreateMeters(wanted.iter().map(NewMeter::from).collect()));
        assert_eq!(told, Ok((0, created > 0)), "the version of the catalog stays");
        let after = system.records.system().created_meters.len();
        assert_eq!(after - before, created, "{:?}", wanted.first());
    }
    let system = system.records.system();
    assert_eq!((system.version, system.created_meters.len()), (3, CREATED_METERS_MAX));
    let first: Vec<_> = system.created_meters.iter().take(4).map(|created| created.id.clone()).collect();
    assert_eq!(first, meters([1, 2, 3, 0]));
}

fn sku(unit: &str) -> Sku {
    Sku { product: "a".to_owned(), unit: unit.to_owned() }
}

fn line(of: &str, amount: i64) -> ShipmentLine {
    let org = OrgId::new("acme").expect("an id");
    ShipmentLine { org, sku: sku(of), amount: Amount::from_whole(amount) }
}

fn shipment(after: u64, lines: Vec<ShipmentLine>) -> MakeShipment {
    MakeShipment { id: ShipmentId::new("s").expect("an id"), after, day: 20_000, lines }
}

#[test]
fn a_shipment_is_made_when_the_one_before_it_was_sent() {
    let mut system = TheSystem::new();
    let make = |after| SystemCommand::MakeShipment(shipment(after, vec![line("b", 3)]));
    let sent = SystemCommand::ShipmentSent;
    let moved = Err(SystemDenial::ShipmentsMoved);
    for (command, told, open) in [
        (sent(0), Ok((0, false)), None),
        (make(1), moved.clone(), None),
        (make(0), Ok((0, true)), Some(1)),
        (make(0), moved.clone(), Some(1)),
        (make(1), moved.clone(), Some(1)),
        (sent(2), Ok((0, false)), Some(1)),
        (sent(1), Ok((0, true)), None),
        (sent(1), Ok((0, false)), None),
        (make(0), moved.clone(), None),
        (make(2), moved, None),
        (make(1), Ok((0, true)), Some(2)),
    ] {
        assert_eq!(system.tell(FIRST, &command), told, "{command:?}");
        assert_eq!(system.records.system().open_shipment(), open, "{command:?}");
    }
    let Some(Record::Shipment(made)) = system.records.get(&RecordKey::Shipment) else {
        panic!("there is one")
    };
    assert_eq!((made.number, made.day, made.lines.as_slice()), (2, 20_000, [line("b", 3)].as_slice()));
}

#[test]
fn a_shipment_takes_as_many_lines_as_it_may_have() {
    let lines = |count: usize| (0..count).map(|number| line(&format!("{number:04}"), 1)).collect();
    let most = SystemCommand::MakeShipment(shipment(0, lines(SHIPMENT_LINES_MAX)));
    assert_eq!(TheSystem::new().tell(FIRST, &most), Ok((0, true)));
}

/// 2026-10-02.
const DAY: i32 = 20_728;

#[test]
fn an_org_takes_a_shipment_off_what_is_unsent_once() {
    let mut world = World::new(
        r#"
        [[meters]]
        id = "a:b"
        name = "Ab"
        unit = "b"
        sink = { product = "a", unit = "b" }
        [[plans]]
        id = "team"
        name = "Team"
        allowances = [{ meter = "a:b", amount = 100 }]
        "#,
    );
    let uses = |world: &mut World, text: &str, amount: &str| {
        let told = world.tell("2026-10-02T12:00:00Z", &OrgCommand::Use(usage(key(text), "a:b", amount)));
        assert!(matches!(told, OrgDecision::Use(Ok(_))), "{told:?}");
    };
    let unsent = |world: &World| {
        let amounts = world.state.unsent(DAY).filter(|amounts| !amounts.is_empty());
        amounts.map(|amounts| amounts.iter().map(|(_, amount)| amount).sum::<Amount>())
    };
    let settle = |world: &mut World, shipment: u64, amount: i64| {
        let day = DAY;
        let lines = vec![(sku("b"), Amount::from_whole(amount))];
        match world.tell("2026-10-03T00:00:00Z", &OrgCommand::Settle(Settle { shipment, day, lines })) {
            OrgDecision::Change(Ok(changed)) => changed.entry.is_some(),
            other => panic!("{other:?}"),
        }
    };
    let whole = |amount| Some(Amount::from_whole(amount));
    assert_eq!(unsent(&world), None);
    uses(&mut world, "one", "5");
    uses(&mut world, "two", "4");
    assert_eq!(unsent(&world), whole(9));
    assert!(settle(&mut world, 1, 5));
    assert_eq!(unsent(&world), whole(4));
    assert!(!settle(&mut world, 1, 4), "it has settled this one");
    assert_eq!(unsent(&world), whole(4));
    assert!(settle(&mut world, 3, 4));
    assert_eq!(unsent(&world), None);
    assert!(!settle(&mut world, 2, 4), "it has settled a later one");
    world.tell("2026-10-03T00:00:00Z", &OrgCommand::Reverse(Reverse { key: key("two") }));
    assert_eq!(unsent(&world), whole(-4), "the next shipment puts it right");
}

fn channel_change(id: &str, change: ChannelChange) -> SystemCommand {
    SystemCommand::ChangeChannel(Box::new(ChangeChannel { id: ChannelId(id.to_owned()), change }))
}

fn make_channel(id: &str) -> SystemCommand {
    let setup = ChannelSetup {
        name: "ops".to_owned(),
        target: Target::Log,
        filter: Filter::default(),
        enabled: true,
        hours: None,
    };
    channel_change(id, ChannelChange::Make { setup, secret: None, read: ReadTo::default() })
}

#[test]
fn a_channel_moves_on_by_rounds_that_nobody_overtook() {
    let mut system = TheSystem::new();
    let id = ChannelId("a".to_owned());
    let notice = NoticeRef { org: OrgId::new("acme").expect("an id"), entry: 2, index: 0 };
    let deliver = |round, result| {
        let (subject, at) = (Subject::Notice(notice.clone()), FIRST.parse().expect("a time"));
        let attempt = Attempt { subject, at, result, status: None, millis: 1, reply: String::new() };
        let read = (round == 0).then(|| (ReadTo::default(), vec![notice.clone()]));
        let told = vec![ChannelId("b".to_owned())];
        SystemCommand::Deliver(Box::new(Round {
            channel: id.clone(),
            round,
            read,
            attempts: vec![attempt],
            told,
        }))
    };
    let other = NoticeRef { entry: 9, ..notice.clone() };
    let digest = |notices| Digest { at: FIRST.parse().expect("a time"), notices };
    let failed = AttemptResult::Failed { next: SECOND.parse().expect("a time") };
    let (done, moved) = (Ok((0, true)), Err(SystemDenial::ChannelMoved));
    for (command, told) in [
        (deliver(0, failed), Err(SystemDenial::UnknownChannel)),
        (make_channel("a"), done.clone()),
        (make_channel("a"), Err(SystemDenial::ChannelExists)),
        (make_channel("b"), done.clone()),
        (deliver(1, failed), moved.clone()),
        (deliver(0, failed), done.clone()),
        (deliver(0, failed), moved.clone()),
        (channel_change("a", ChannelChange::Replay(Replay::One(notice.clone()))), done.clone()),
        (deliver(1, failed), moved),
        (channel_change("a", ChannelChange::Gather(digest(vec![other]))), Err(SystemDenial::ChannelMoved)),
        (
            channel_change("c", ChannelChange::Gather(digest(vec![notice.clone()]))),
            Err(SystemDenial::UnknownChannel),
        ),
        (deliver(2, AttemptResult::Gone), done.clone()),
    ] {
        assert_eq!(system.tell(FIRST, &command), told, "{command:?}");
    }
    let known = |system: &TheSystem, id: &str| system.records.channel(&ChannelId(id.to_owned())).cloned();
    let gone = known(&system, "a").expect("it is there");
    assert_eq!((gone.progress.attempts, gone.is_live()), (2, false));
    let told = known(&system, "b").expect("it is there").progress.waiting;
    let at = FIRST.parse().expect("a time");
    assert_eq!(told[0].subject, Subject::ChannelDisabled { channel: id.clone(), at });
    assert_eq!(system.tell(FIRST, &channel_change("a", ChannelChange::Remove)), done);
    assert_eq!((known(&system, "a"), system.records.system().channels.len()), (None, 1));
    let left = system.records.changed().filter(|(key, record)| {
        matches!(key, RecordKey::Delivery(of, _) if *of == id) && !record.is_nothing()
    });
    assert_eq!(left.count(), 0, "its log goes with it");
}

#[test]
fn there_are_so_many_channels_and_one_server_delivers() {
    let mut system = TheSystem::new();
    for number in 0..CHANNELS_MAX {
        assert_eq!(system.tell(FIRST, &make_channel(&number.to_string())), Ok((0, true)));
    }
    assert_eq!(system.tell(FIRST, &make_channel("more")), Err(SystemDenial::TooManyChannels));
    let claim = |holder: &str, until: &str| SystemCommand::ClaimDelivery {
        holder: holder.to_owned(),
        until: until.parse().expect("a time"),
    };
    for (at, command, told) in [
        (FIRST, claim("a", SECOND), Ok((0, true))),
        (FIRST, claim("b", SECOND), Err(SystemDenial::DeliveryClaimed)),
        (FIRST, claim("a", SECOND), Ok((0, true))),
        (SECOND, claim("b", SECOND), Ok((0, true))),
    ] {
        assert_eq!(system.tell(at, &command), told, "{at} {command:?}");
    }
}
