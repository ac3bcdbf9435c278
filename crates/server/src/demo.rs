//! The demonstration: a plausible month of several organizations, told through the same commands as any other.

use std::collections::BTreeMap;

use tollgate_domain::catalog::PRIORITY_DEFAULT;
use tollgate_domain::{
    Actor, Amount, IdError, LimitScope, MeterId, OrgCommand, OrgId, PlanId, PutOrg, Quantity, SetLimit,
    SetPlan, Timestamp, TopUp, TopUpExpiry, TopUpStart, UsageKey, Use, UserId, Window, Zone,
};
use tollgate_engine::Clock;

use crate::Settings;
use crate::app::App;
use crate::serve::{ServeError, assemble};

/// Days of history.
const DAYS: i64 = 30;

/// One made-up organization.
struct Cast {
    id: &'static str,
    name: &'static str,
    zone: &'static str,
    plan: &'static str,
    users: &'static [&'static str],
    /// Reports on a working day; a tenth of it at weekends.
    a_day: i64,
    user_limit: Option<i64>,
    /// Days after the beginning at which it appears.
    from_day: i64,
}

const CAST: &[Cast] = &[
    Cast {
        id: "acme",
        name: "Acme Research",
        zone: "Europe/London",
        plan: "enterprise",
        users: &["ada", "ben", "cleo", "dev", "eve"],
        a_day: 21,
        user_limit: Some(120),
        from_day: 0,
    },
    Cast {
        id: "globex",
        name: "Globex Compliance",
        zone: "America/New_York",
        plan: "ultimate",
        users: &["hank", "frank", "gina"],
        a_day: 30,
        user_limit: None,
        from_day: 0,
    },
    Cast {
        id: "initech",
        name: "Initech",
        zone: "America/Chicago",
        plan: "basic",
        users: &["peter", "samir", "michael"],
        a_day: 7,
        user_limit: Some(40),
        from_day: 0,
    },
    Cast {
        id: "hooli",
        name: "Hooli Legal",
        zone: "Asia/Tokyo",
        plan: "lite",
        users: &["gavin"],
        a_day: 1,
        user_limit: None,
        from_day: 2,
    },
    Cast {
        id: "umbrella",
        name: "Umbrella (on trial)",
        zone: "Europe/Berlin",
        plan: "trial",
        users: &["alice"],
        a_day: 2,
        user_limit: None,
        from_day: 24,
    },
];

/// Fills an empty store and closes it.
pub(crate) async fn fill(settings: &Settings) -> Result<(), ServeError> {
    let now = Clock::System.now();
    let start = Timestamp::from_second(now.as_second() - DAYS * 86_400).unwrap_or(now);
    let clock = Clock::manual(start);
    let app = assemble(settings.clone(), clock.clone()).await?;
    for day in 0..=DAYS {
        for hour in 8..18 {
            let at = start.as_second() - start.as_second().rem_euclid(86_400) + day * 86_400 + hour * 3_600;
            if at >= now.as_second() {
                break;
            }
            clock.set(Timestamp::from_second(at).unwrap_or(now));
            for (place, cast) in (0_i64..).zip(CAST) {
                if day >= cast.from_day {
                    play(&app, cast, place, day, hour).await?;
                }
            }
        }
    }
    app.engine.shutdown().await?;
    Ok(())
}

/// One hour of one organization.
async fn play(app: &App, cast: &Cast, place: i64, day: i64, hour: i64) -> Result<(), ServeError> {
    let org = id(OrgId::new(cast.id))?;
    let reports = id(MeterId::new("reports"))?;
    if day == cast.from_day && hour == 8 {
        let zone = Zone::new(cast.zone).map_err(|error| ServeError::Store(error.to_string()))?;
        submit(
            app,
            &org,
            OrgCommand::Put(PutOrg {
                name: Some(Some(cast.name.to_owned())),
                zone: Some(zone),
                metadata: None,
            }),
        )
        .await?;
        submit(app, &org, OrgCommand::SetPlan(SetPlan::now(id(PlanId::new(cast.plan))?))).await?;
        if let Some(limit) = cast.user_limit {
            let amount = Some(Amount::from_whole(limit));
            let scope = LimitScope::EachUser;
            let set = SetLimit { meter: reports.clone(), scope, window: Window::Month, amount };
            submit(app, &org, OrgCommand::SetLimit(set)).await?;
        }
    }
    if cast.id == "initech" && hour == 12 && day % 20 == 19 {
        let top_up = TopUp {
            meter: reports.clone(),
            amount: Quantity::new(Amount::from_whole(25)).unwrap_or(Quantity::ONE),
            key: None,
            expiry: TopUpExpiry::EndOfMonth,
            start: TopUpStart::Now,
            priority: PRIORITY_DEFAULT,
            reason: Some("goodwill until the upgrade".to_owned()),
            metadata: std::collections::BTreeMap::new(),
        };
        submit(app, &org, OrgCommand::TopUp(top_up)).await?;
    }
    let weekend = (app.engine.clock().now().as_second() / 86_400 + 4) % 7 >= 5;
    let a_day = if weekend { cast.a_day / 10 } else { cast.a_day };
    // The reports of a day are spread over its hours; some hours get one more.
    let count = (a_day * (hour - 7) / 10) - (a_day * (hour - 8) / 10);
    for number in 0..count {
        let pick =
            (day * 31 + hour * 7 + number * 3 + place) % i64::try_from(cast.users.len() + 1).unwrap_or(1);
        let user = cast.users.get(usize::try_from(pick).unwrap_or_default()).or(cast.users.first());
        let Some(user) = user else { continue };
        let usage = Use {
            user: Some(id(UserId::new(user))?),
            meter: reports.clone(),
            quantity: Quantity::ONE,
            key: id(UsageKey::new(&format!("report-{day}-{hour}-{number}")))?,
            occurred_at: None,
            properties: BTreeMap::new(),
        };
        submit(app, &org, OrgCommand::Use(usage)).await?;
    }
    Ok(())
}

async fn submit(app: &App, org: &OrgId, command: OrgCommand) -> Result<(), ServeError> {
    let submitted = app.engine.submit(&Actor::System, org.clone(), command).await;
    submitted.map(|_| ()).map_err(|error| ServeError::Store(error.to_string()))
}

fn id<T>(id: Result<T, IdError>) -> Result<T, ServeError> {
    id.map_err(|error| ServeError::Store(error.to_string()))
}
