//! `tollgate portkey push`: what remains of an organization, as the usage limit of a key.
//!
//! Portkey counts by itself what a key spends, and does not tell. So a push sets the limit to what remains here and has Portkey
//! count from zero again. Where the limit is right already nothing is pushed, and what Portkey counted stays counted.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tollgate_api::{BalanceReply, MeterBalanceReply, ScopeName};
use tollgate_domain::{Amount, Timestamp};
use ureq::http::Method;

use super::gateway::{Gateway, Key, UsageLimits};
use super::{GatewayArgs, MoneyArgs, Session};
use crate::client::{Route, Sent};
use crate::failure::Failure;
use crate::output::read_reply;
use crate::table::{Field, pairs};

/// The expiry of a key of an organization with too little left for a limit: nobody else gives a key this one.
const BLOCKED: &str = "2000-01-01T00:00:00Z";

/// `tollgate portkey push`
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The organization.
    org: String,
    /// The id of the key in Portkey, not the key itself.
    key: String,
    #[command(flatten)]
    money: MoneyArgs,
    /// What the key is limited by.
    #[arg(long, default_value = "cost")]
    limit_by: LimitBy,
    /// Push only where the limit changes by so much or more.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    step: u64,
    /// Push also where the limit is right already: what Portkey counted since the last push is forgiven.
    #[arg(long)]
    force: bool,
    /// Only show what would be pushed.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

/// What a key is limited by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LimitBy {
    /// USD: whole ones.
    Cost,
    /// Tokens, where the units of the meter are those.
    Tokens,
}

impl LimitBy {
    const fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Tokens => "tokens",
        }
    }

    /// The least that Portkey takes.
    const fn least(self) -> u64 {
        match self {
            Self::Cost => 1,
            Self::Tokens => 100,
        }
    }
}

/// How a key stands, or should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// It has none.
    Unlimited,
    /// It may use so much.
    Of(u64),
    /// It may use nothing.
    Blocked,
}

impl Limit {
    /// As a table and JSON name it.
    fn text(self) -> String {
        match self {
            Self::Unlimited => "unlimited".to_owned(),
            Self::Of(amount) => amount.to_string(),
            Self::Blocked => "blocked".to_owned(),
        }
    }

    /// That of what remains; `None` where it is too large for a limit.
    fn of(remaining: Option<Amount>, args: &PushArgs) -> Option<Self> {
        let Some(remaining) = remaining else { return Some(Self::Unlimited) };
        let one = Amount::from_whole(1).billionths();
        let worth = match args.limit_by {
            LimitBy::Cost => args.money.unit_worth.billionths(),
            LimitBy::Tokens => one,
        };
        let whole = remaining.at_least_zero().billionths().checked_mul(worth)? / one / one;
        let whole = u64::try_from(whole).ok()?;
        Some(if whole < args.limit_by.least() { Self::Blocked } else { Self::Of(whole) })
    }

    /// That of a key in Portkey.
    fn now(key: &Key, by: LimitBy) -> Self {
        if is_blocked(key) {
            return Self::Blocked;
        }
        let limits = key.usage_limits.as_ref().filter(|limits| limits.kind == by.name());
        let limit = limits.and_then(|limits| whole(&limits.credit_limit));
        limit.map_or(Self::Unlimited, Self::Of)
    }

    /// Whether it is far enough from another one to be pushed.
    const fn differs(self, other: Self, step: u64) -> bool {
        match (self, other) {
            (Self::Of(one), Self::Of(other)) => one.abs_diff(other) >= step,
            (Self::Unlimited, Self::Unlimited) | (Self::Blocked, Self::Blocked) => false,
            _ => true,
        }
    }

    /// What Portkey is sent for it.
    fn body(self, key: &Key, by: LimitBy) -> Value {
        let mut members: Vec<(&str, Value)> = match self {
            Self::Blocked => return json!({"expires_at": BLOCKED}),
            Self::Unlimited => vec![("usage_limits", Value::Null)],
            Self::Of(amount) => {
                let alert = key.usage_limits.as_ref().and_then(|limits| whole(&limits.alert_threshold));
                let mut limits = vec![("type", json!(by.name())), ("credit_limit", amount.into())];
                limits.extend(
                    alert.filter(|alert| *alert <= amount).map(|alert| ("alert_threshold", alert.into())),
                );
                vec![("usage_limits", object(limits)), ("reset_usage", true.into())]
            }
        };
        if is_blocked(key) {
            members.push(("expires_at", Value::Null));
        }
        object(members)
    }
}

fn object(members: Vec<(&str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A whole number, as which some write a float; what is none is another limit than any of ours.
fn whole(number: &Value) -> Option<u64> {
    number.as_u64().or_else(|| number.as_f64()?.to_string().parse().ok())
}

/// Whether a key was blocked by a push. Portkey may write the time in another way.
fn is_blocked(key: &Key) -> bool {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    key.expires_at.as_deref().and_then(time).is_some_and(|at| Some(at) == time(BLOCKED))
}

/// What may still be used: of the credit, and of each limit on the whole organization; `None`: nothing says how much.
fn remaining(line: &MeterBalanceReply) -> Option<Amount> {
    let limits = line.limits.iter().filter(|limit| matches!(limit.scope, ScopeName::Org)).map(|limit| {
        let [used, held] =
            [limit.used, limit.held].map(|amount| amount.map_or(Amount::ZERO, |amount| amount.0));
        limit.amount.0 - used - held
    });
    limits.chain(line.remaining.map(|remaining| remaining.0)).min()
}

pub(super) fn push(session: &mut Session, args: &PushArgs) -> Result<(), Failure> {
    let gateway = Gateway::new(&args.gateway)?;
    let route = Route::v1(&["orgs", &args.org, "balance"]).with("users_limit", Some("0"));
    let balance: BalanceReply = read_reply(&session.ask(Method::GET, &route, &Sent::Nothing)?)?;
    let meter = &args.money.meter;
    let line = balance.meters.get(meter).ok_or_else(|| {
        Failure::Usage(format!("meter: {} has neither credit nor usage of '{meter}'", args.org))
    })?;
    let remaining = remaining(line);
    let wanted = Limit::of(remaining, args)
        .ok_or_else(|| Failure::Other("what remains is too large for a limit of Portkey".to_owned()))?;
    let key = gateway.key(&args.key)?;
    let now = Limit::now(&key, args.limit_by);
    let renews = key.usage_limits.as_ref().is_some_and(UsageLimits::renews);
    let pushes = args.force || wanted.differs(now, args.step) || (renews && matches!(wanted, Limit::Of(_)));
    if pushes && !args.dry_run {
        gateway.change_key(&args.key, &wanted.body(&key, args.limit_by))?;
    }
    let told = json!({
        "org": args.org, "meter": meter, "remaining": remaining.map(tollgate_api::Decimal), "key": args.key, "name": key.name,
        "limit_by": args.limit_by.name(), "was": now.text(), "limit": wanted.text(), "pushed": pushes && !args.dry_run,
    });
    if session.output.is_json() {
        return session.output.text(&told.to_string());
    }
    let pushed = match (pushes, args.dry_run) {
        (true, true) => "not yet: this is a dry run",
        (true, false) => "yes",
        (false, _) => "no: it is right already",
    };
    session.output.text(&pairs(vec![
        ("org", (&args.org).into()),
        ("meter", meter.into()),
        ("remaining", remaining.map(tollgate_api::Decimal).into()),
        ("key", (&args.key).into()),
        ("name", Field::from(&key.name)),
        ("limit was", now.text().into()),
        ("limit", wanted.text().into()),
        ("pushed", pushed.into()),
    ]))
}
