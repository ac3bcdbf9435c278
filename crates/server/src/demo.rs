//! The demonstration: some plausible weeks of several dozens of organizations, told through the same commands as any
//! other.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use tollgate_domain::catalog::PRIORITY_DEFAULT;
use tollgate_domain::{
    Actor, Amount, ChangeChannel, ChannelChange, ChannelId, ChannelSetup, Filter, IdError, LimitScope,
    MeterId, OnExpiry, OrgCommand, OrgId, PlanId, PlanTime, PutOrg, Quantity, ReadTo, SetLimit, SetPlan,
    SystemCommand, TakeHold, Target, Timestamp, TopUp, TopUpExpiry, TopUpStart, UsageKey, Use, UserId,
    Window, Zone,
};
use tollgate_engine::Clock;

use crate::Settings;
use crate::app::App;
use crate::serve::{ServeError, assemble};

/// The catalog of the demonstration.
pub(crate) const CATALOG: &str = include_str!("demo.toml");

/// Days of history: more than two months, so that each month has one to be compared with.
const DAYS: i64 = 66;

/// Hours of a day at which usage is told.
const HOURS: [i64; 3] = [9, 13, 17];

/// One made-up organization.
struct Cast {
    id: &'static str,
    name: &'static str,
    zone: &'static str,
    plan: &'static str,
    users: &'static [&'static str],
    /// Reports on a working day; a tenth of it at weekends.
    a_day: i64,
    /// By how many percent that grows from each day to the next.
    growth: i64,
    user_limit: Option<i64>,
    /// Days before now at which it appears.
    days: i64,
}

/// Those with a story of their own.
const CAST: [Cast; 6] = [
    Cast {
        id: "acme",
        name: "Acme Research",
        zone: "Europe/London",
        plan: "enterprise",
        users: &["ada", "ben", "cleo", "dev", "eve"],
        a_day: 21,
        growth: 0,
        user_limit: Some(120),
        days: DAYS,
    },
    Cast {
        id: "globex",
        name: "Globex Compliance",
        zone: "America/New_York",
        plan: "ultimate",
        users: &["hank", "frank", "gina"],
        a_day: 30,
        growth: 1,
        user_limit: None,
        days: DAYS,
    },
    Cast {
        id: "initech",
        name: "Initech",
        zone: "America/Chicago",
        plan: "basic",
        users: &["peter", "samir", "michael"],
        a_day: 7,
        growth: 0,
        user_limit: Some(40),
        days: DAYS,
    },
    Cast {
        id: "hooli",
        name: "Hooli Legal",
        zone: "Asia/Tokyo",
        plan: "lite",
        users: &["gavin"],
        a_day: 1,
        growth: 0,
        user_limit: None,
        days: 64,
    },
    Cast {
        id: "umbrella",
        name: "Umbrella (on trial)",
        zone: "Europe/Berlin",
        plan: "trial",
        users: &["alice"],
        a_day: 2,
        growth: 0,
        user_limit: None,
        days: 6,
    },
    Cast {
        id: "wonka",
        name: "Wonka Confectionery",
        zone: "Europe/Zurich",
        plan: "basic",
        users: &["charlie", "violet"],
        a_day: 5,
        growth: 2,
        user_limit: None,
        days: DAYS,
    },
];

/// The names of the others: each has one of a few habits.
const OTHERS: [(&str, &str); 32] = [
    ("aperture", "Aperture Labs"),
    ("bluth", "Bluth Homes"),
    ("cyberdyne", "Cyberdyne Systems"),
    ("dunder", "Dunder Paper"),
    ("ecorp", "E Corp"),
    ("fabrikam", "Fabrikam"),
    ("gringotts", "Gringotts"),
    ("hanso", "Hanso Foundation"),
    ("ingen", "InGen"),
    ("jupiter", "Jupiter Mining"),
    ("kinetic", "Kinetic Freight"),
    ("lumon", "Lumon"),
    ("massive", "Massive Dynamic"),
    ("nakatomi", "Nakatomi Trading"),
    ("oceanic", "Oceanic Air"),
    ("pied-piper", "Pied Piper"),
    ("quark", "Quark & Partners"),
    ("rekall", "Rekall"),
    ("soylent", "Soylent Foods"),
    ("tyrell", "Tyrell"),
    ("uplink", "Uplink Telecom"),
    ("vandelay", "Vandelay Imports"),
    ("wayne", "Wayne Enterprises"),
    ("xanadu", "Xanadu Travel"),
    ("yoyodyne", "Yoyodyne"),
    ("zorin", "Zorin Industries"),
    ("monarch", "Monarch Solutions"),
    ("virtucon", "Virtucon"),
    ("weyland", "Weyland"),
    ("zenith", "Zenith Optics"),
    ("orbit", "Orbit City Works"),
    ("sirius", "Sirius Cybernetics"),
];

const ZONES: [&str; 5] =
    ["Europe/Berlin", "America/New_York", "Asia/Singapore", "Europe/London", "America/Sao_Paulo"];
const PLANS: [(&str, i64); 4] = [("basic", 4), ("enterprise", 17), ("ultimate", 38), ("basic", 3)];
const USERS: [&str; 6] = ["ana", "bo", "chris", "dana", "emil", "fay"];
const MODELS: [&str; 3] = ["large", "medium", "small"];

fn cast() -> Vec<Cast> {
    let others = OTHERS.iter().zip(0_i64..).map(|((id, name), place)| {
        let zone = at(&ZONES, place);
        let (plan, a_day) = at(&PLANS, place);
        Cast {
            id,
            name,
            zone,
            plan,
            users: USERS.get(..usize::try_from(2 + place % 5).unwrap_or(2)).unwrap_or(&USERS),
            a_day: a_day + place % 3,
            growth: if place % 7 == 3 { 1 } else { 0 },
            user_limit: (place % 6 == 1).then_some(60),
            days: DAYS - (place * 5) % 40,
        }
    });
    CAST.into_iter().chain(others).collect()
}

fn at<T: Copy + Default, const N: usize>(list: &[T; N], place: i64) -> T {
    let length = i64::try_from(N).unwrap_or(1);
    usize::try_from(place.rem_euclid(length))
        .ok()
        .and_then(|place| list.get(place))
        .copied()
        .unwrap_or_default()
}

/// Fills an empty store and closes it.
pub(crate) async fn fill(settings: &Settings) -> Result<(), ServeError> {
    let now = Clock::System.now();
    let start = Timestamp::from_second(now.as_second() - DAYS * 86_400).unwrap_or(now);
    let clock = Clock::manual(start);
    let app = assemble(settings.clone(), clock.clone()).await?;
    let cast = cast();
    let midnight = start.as_second() - start.as_second().rem_euclid(86_400);
    for day in 0..=DAYS {
        for hour in HOURS {
            let second = midnight + day * 86_400 + hour * 3_600;
            if second >= now.as_second() {
                break;
            }
            clock.set(Timestamp::from_second(second).unwrap_or(now));
            let present = cast.iter().zip(0_i64..).filter(|(cast, _)| day >= DAYS - cast.days);
            // All of them at once: they share the syncs of their commits.
            try_join_all(present.map(|(cast, place)| play(&app, cast, place, day, hour))).await?;
        }
    }
    clock.set(now);
    hold_and_tell(&app, now).await?;
    app.engine.shutdown().await?;
    Ok(())
}

/// Work that is under way at this moment, and somebody who hears of what happens.
async fn hold_and_tell(app: &App, now: Timestamp) -> Result<(), ServeError> {
    let org = id(OrgId::new("acme"))?;
    for (number, quantity) in [(1, 40_000), (2, 12_500), (3, 96_000)] {
        let user = CAST.first().and_then(|cast| cast.users.get(number % cast.users.len().max(1)));
        let usage = usage("tokens", quantity, user, &format!("run-{number}"), BTreeMap::new())?;
        let hold = TakeHold {
            usage,
            within: None,
            secs: 3_600 * u32::try_from(number).unwrap_or(1),
            overrun: Amount::ZERO,
            on_expiry: OnExpiry::Release,
        };
        submit(app, &org, OrgCommand::Hold(hold)).await?;
    }
    let kinds = ["limit_reached", "on_track_to_run_out"].map(str::to_owned);
    let setup = ChannelSetup {
        name: "Operators".to_owned(),
        target: Target::Log,
        filter: Filter { kinds: kinds.into(), ..Filter::default() },
        enabled: true,
        hours: None,
    };
    // Its notices are those that come from now on.
    let read = ReadTo { since: Some(now), ..ReadTo::default() };
    let change = ChannelChange::Make { setup, secret: None, read };
    let change = Box::new(ChangeChannel { id: ChannelId("0123456789abcdef".to_owned()), change });
    let made = app.engine.submit_system(&Actor::System, SystemCommand::ChangeChannel(change)).await;
    made.map(drop).map_err(|error| ServeError::Store(error.to_string()))
}

/// A third of a day of one organization.
async fn play(app: &App, cast: &Cast, place: i64, day: i64, hour: i64) -> Result<(), ServeError> {
    let org = id(OrgId::new(cast.id))?;
    let since = day - (DAYS - cast.days);
    if since == 0 && hour == HOURS[0] {
        begin(app, cast, &org).await?;
    }
    happen(app, cast, &org, since, hour).await?;
    let weekend = (app.engine.clock().now().as_second() / 86_400 + 3) % 7 >= 5;
    let usual = cast.a_day * (100 + cast.growth * since) / 100;
    // No two days are alike, and each is the same in every demonstration.
    let unlike = usual * (75 + (day * 37 + place * 11) % 50) / 100;
    let a_day = if weekend { unlike / 10 } else { unlike };
    let reports = a_day / 3 + i64::from((day + place) % 3 == hour % 3);
    for number in 0..reports {
        let pick = day * 31 + hour * 7 + number * 3 + place;
        let users = i64::try_from(cast.users.len() + 1).unwrap_or(1);
        let user =
            usize::try_from(pick % users).ok().and_then(|pick| cast.users.get(pick)).or(cast.users.first());
        let usage = usage("reports", 1, user, &format!("report-{day}-{hour}-{number}"), BTreeMap::new())?;
        submit(app, &org, OrgCommand::Use(usage)).await?;
    }
    if reports > 0 && !matches!(cast.plan, "trial" | "lite") {
        let model = at(&MODELS, day + place);
        let tokens = reports * (31_000 + (day * 7_919 + place * 613) % 9_000);
        let properties = BTreeMap::from([("model".to_owned(), model.to_owned())]);
        let usage = usage("tokens", tokens, cast.users.first(), &format!("tokens-{day}-{hour}"), properties)?;
        submit(app, &org, OrgCommand::Use(usage)).await?;
        if cast.plan != "basic" {
            let calls = reports * (97 + (day * 13 + place) % 40);
            let usage =
                self::usage("api_call", calls, None, &format!("calls-{day}-{hour}"), BTreeMap::new())?;
            submit(app, &org, OrgCommand::Use(usage)).await?;
        }
    }
    Ok(())
}

/// An organization appears.
async fn begin(app: &App, cast: &Cast, org: &OrgId) -> Result<(), ServeError> {
    let zone = Zone::new(cast.zone).map_err(|error| ServeError::Store(error.to_string()))?;
    let put = PutOrg { name: Some(Some(cast.name.to_owned())), zone: Some(zone), metadata: None };
    submit(app, org, OrgCommand::Put(put)).await?;
    submit(app, org, OrgCommand::SetPlan(SetPlan::now(id(PlanId::new(cast.plan))?))).await?;
    if let Some(limit) = cast.user_limit {
        let amount = Some(Amount::from_whole(limit));
        let meter = id(MeterId::new("reports"))?;
        let set = SetLimit { meter, scope: LimitScope::EachUser, window: Window::Month, amount };
        submit(app, org, OrgCommand::SetLimit(set)).await?;
    }
    Ok(())
}

/// What happens to some of them once.
async fn happen(app: &App, cast: &Cast, org: &OrgId, since: i64, hour: i64) -> Result<(), ServeError> {
    if cast.id == "initech" && hour == 13 && since % 20 == 19 {
        let top_up = TopUp {
            meter: id(MeterId::new("reports"))?,
            amount: Quantity::new(Amount::from_whole(25)).unwrap_or(Quantity::ONE),
            key: None,
            expiry: TopUpExpiry::EndOfMonth,
            start: TopUpStart::Now,
            priority: PRIORITY_DEFAULT,
            reason: Some("goodwill until the upgrade".to_owned()),
            metadata: BTreeMap::new(),
        };
        submit(app, org, OrgCommand::TopUp(top_up)).await?;
    }
    if cast.id == "wonka" && hour == 17 && since == DAYS - 3 {
        let set = SetPlan { plan: Some(id(PlanId::new("enterprise"))?), from: PlanTime::NextMonth };
        submit(app, org, OrgCommand::SetPlan(set)).await?;
    }
    Ok(())
}

fn usage(
    meter: &str,
    quantity: i64,
    user: Option<&&str>,
    key: &str,
    properties: BTreeMap<String, String>,
) -> Result<Use, ServeError> {
    Ok(Use {
        user: user.map(|user| id(UserId::new(user))).transpose()?,
        path: None,
        meter: id(MeterId::new(meter))?,
        quantity: Quantity::new(Amount::from_whole(quantity)).unwrap_or(Quantity::ONE),
        key: id(UsageKey::new(key))?,
        occurred_at: None,
        properties,
    })
}

async fn submit(app: &App, org: &OrgId, command: OrgCommand) -> Result<(), ServeError> {
    let submitted = app.engine.submit(&Actor::System, org.clone(), command).await;
    submitted.map(|_| ()).map_err(|error| ServeError::Store(error.to_string()))
}

fn id<T>(id: Result<T, IdError>) -> Result<T, ServeError> {
    id.map_err(|error| ServeError::Store(error.to_string()))
}
