//! What nobody has heard of before usage names it: meters, and orgs.

use tollgate_api::{Code, Problem};
use tollgate_domain::catalog::{NewcomerSettings, UnknownMeters};
use tollgate_domain::limits::CREATED_METERS_MAX;
use tollgate_domain::{
    Actor, MeterId, NewMeter, OrgCommand, OrgDecision, OrgId, RecordDenial, Recorded, Sku, Use, Welcome,
};

use crate::app::App;
use crate::convert::{config_problem, conflict};
use crate::reply::Failure;

/// By which way usage comes in, once it has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The native API, and compatible APIs whose meters come from the catalog.
    Native,
    /// A compatible API whose callers choose meter names.
    Compat,
}

/// Creates the meters that usage names and the catalog lacks, where the catalog's `unknown_meters` lets it: durable
/// when it answers. Gives back those for which there is no room any more.
pub(crate) async fn create_meters(
    app: &App,
    actor: &Actor,
    way: Way,
    meters: impl IntoIterator<Item = impl Into<NewMeter>>,
) -> Result<Vec<MeterId>, Failure> {
    let creates = match app.engine.catalog().declared.unknown_meters {
        UnknownMeters::Reject => false,
        UnknownMeters::Compat => way == Way::Compat,
        UnknownMeters::Create => true,
    };
    if creates { Ok(app.engine.create_meters(actor, meters).await?) } else { Ok(Vec::new()) }
}

/// There is no room for another meter.
pub(crate) fn no_room(meter: &MeterId) -> Problem {
    let detail = format!(
        "{CREATED_METERS_MAX} meters were created by usage, and there may be no more: declare '{meter}' in the catalog"
    );
    Problem::new(Code::TooMany, detail).on_field("meter")
}

/// Records a usage from a compatible API; creates its meter, which is sent to the sink as a SKU if one is given, and
/// its org if they do not exist.
pub(crate) async fn record(
    app: &App,
    actor: &Actor,
    org: &OrgId,
    usage: &Use,
    sink: Option<&Sku>,
    newcomers: &NewcomerSettings,
) -> Result<Result<Recorded, RecordDenial>, Failure> {
    let meter = NewMeter { id: usage.meter.clone(), sink: sink.cloned() };
    if let Some(meter) = create_meters(app, actor, Way::Compat, [meter]).await?.first() {
        return Err(no_room(meter).into());
    }
    #[cfg(feature = "otlp")]
    crate::telemetry::note_record(app, org, &usage.key);
    let first = record_once(app, actor, org, usage).await?;
    if first != Err(RecordDenial::UnknownOrg) {
        return Ok(first);
    }
    let welcome = OrgCommand::Welcome(Welcome { plan: newcomers.plan.clone() });
    match app.engine.submit(actor, org.clone(), welcome).await? {
        OrgDecision::Change(Ok(_)) => record_once(app, actor, org, usage).await,
        OrgDecision::Change(Err(denial)) => Err(config_problem(&denial, org).into()),
        _ => Err(conflict()),
    }
}

async fn record_once(
    app: &App,
    actor: &Actor,
    org: &OrgId,
    usage: &Use,
) -> Result<Result<Recorded, RecordDenial>, Failure> {
    match app.engine.submit(actor, org.clone(), OrgCommand::Record(usage.clone())).await? {
        OrgDecision::Record(result) => Ok(result),
        _ => Err(conflict()),
    }
}
