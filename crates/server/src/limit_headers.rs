//! What the gate's answers say of limits: in header fields, and in denials what was asked and when to come back.

use axum::response::Response;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};
use tollgate_api::Problem;
use tollgate_domain::{
    Amount, Denial, Denied, MeterId, OrgId, Policy, PolicyScope, Quantity, ReachedLimit, Timestamp, Window,
};

use crate::app::App;
use crate::convert::{denial_problem, with_suggestion};
use crate::reply::problem_response;

static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// An item of `RateLimit-Policy` and `RateLimit`.
#[derive(Clone, Copy)]
struct Item {
    scope: PolicyScope,
    /// `None` is the org's credit.
    window: Option<Window>,
    amount: Amount,
    remaining: Amount,
    resets_at: Option<Timestamp>,
}

impl From<&Policy> for Item {
    fn from(policy: &Policy) -> Self {
        let Policy { scope, window, amount, remaining, resets_at, .. } = *policy;
        Self { scope, window, amount, remaining, resets_at }
    }
}

impl Item {
    /// The limit, or the credit, that decided against a usage.
    fn of_denial(denial: &Denial) -> Option<Self> {
        let limit = denial.limit()?;
        let is_credit = matches!(denial, Denial::OutOfCredit(_));
        Some(Self {
            scope: scope_of(limit),
            window: limit.window.filter(|_| !is_credit),
            amount: limit.amount,
            remaining: limit.remaining(),
            resets_at: limit.resets_at,
        })
    }
}

/// Whose limit it is. A path is told by how many names it has: a header holds no more than letters and digits of it.
pub(crate) fn scope_of(limit: &ReachedLimit) -> PolicyScope {
    match (&limit.user, &limit.path) {
        (Some(_), _) => PolicyScope::User,
        (None, Some(path)) => PolicyScope::Path(path.depth()),
        (None, None) => PolicyScope::Org,
    }
}

/// `RateLimit-Policy` and `RateLimit`, an item for the credit and for each limit that a usage went by.
pub(crate) fn of_allowed(headers: &mut HeaderMap, policies: &[Policy], now: Timestamp) {
    write_headers(headers, policies.iter().map(Item::from), now);
}

/// `RateLimit-Policy` and `RateLimit`, of the limit or the credit that decided against a usage.
pub(crate) fn of_denied(headers: &mut HeaderMap, denial: &Denial, now: Timestamp) {
    write_headers(headers, Item::of_denial(denial).into_iter(), now);
}

/// A denial at the gate as a problem: with what was asked, and with 429 where waiting helps.
pub(crate) fn gate_problem(
    app: &App,
    denied: &Denied,
    org: &OrgId,
    meter: &MeterId,
    asked: Quantity,
) -> Problem {
    let catalog = app.engine.catalog().catalog;
    let mut problem = with_suggestion(denial_problem(denied, org, meter), &catalog, meter.as_str());
    problem.quantity = Some(asked.amount().into());
    let Some(limit) = denied.denial.limit() else { return problem };
    let is_credit = matches!(denied.denial, Denial::OutOfCredit(_));
    let of_credit = denied.standing.and_then(|standing| standing.remaining).filter(|_| is_credit);
    let left = of_credit.map_or_else(|| limit.remaining(), Amount::at_least_zero);
    problem.detail = format!("{} asked, {left} left: {}", asked.amount(), problem.detail);
    let counted = catalog.meter(meter).map_or(asked, |meter| meter.counts(asked));
    if !is_credit && waiting_helps(limit, counted) {
        problem.status = 429;
    }
    problem
}

/// A month of the calendar is never shorter.
const MONTH_HOURS: u16 = 28 * 24;

/// Whether a limit leaves room for a quantity by itself, within a window that is shorter than a month. A quantity above the
/// limit never fits.
fn waiting_helps(limit: &ReachedLimit, counted: Quantity) -> bool {
    let soon = match limit.window {
        Some(Window::Minute | Window::Hour | Window::Day | Window::Week | Window::WeekFrom(_)) => true,
        Some(Window::Rolling(hours) | Window::FirstUse(hours)) => hours.get() < MONTH_HOURS,
        _ => false,
    };
    soon && limit.resets_at.is_some() && counted.amount() <= limit.amount
}

/// A denial at the gate as a response of the native API.
pub(crate) fn gate_refusal(problem: Problem, denial: &Denial, now: Timestamp) -> Response {
    let waits = problem.status == 429;
    let mut response = problem_response(problem);
    let headers = response.headers_mut();
    of_denied(headers, denial, now);
    if let Some(resets_at) = denial.limit().and_then(|limit| limit.resets_at).filter(|_| waits) {
        headers.insert(RETRY_AFTER, HeaderValue::from(secs_until(resets_at, now)));
    }
    response
}

/// Writes both fields into one buffer, which they share.
fn write_headers(headers: &mut HeaderMap, items: impl Iterator<Item = Item> + Clone, now: Timestamp) {
    let mut text = Vec::with_capacity(128);
    for item in items.clone() {
        item.write_name(&mut text, 0);
        write_number(&mut text, ";q=", floor(item.amount));
        if let Some(secs) = item.window.and_then(fixed_secs) {
            write_number(&mut text, ";w=", secs.into());
        }
    }
    let policies = text.len();
    for item in items {
        item.write_name(&mut text, policies);
        write_number(&mut text, ";r=", floor(item.remaining));
        if let Some(resets_at) = item.resets_at {
            write_number(&mut text, ";t=", secs_until(resets_at, now).into());
        }
    }
    if policies == 0 {
        return;
    }
    let mut text = Bytes::from(text);
    let policies = text.split_to(policies);
    for (name, text) in [(&RATELIMIT_POLICY, policies), (&RATELIMIT, text)] {
        if let Ok(value) = HeaderValue::from_maybe_shared(text) {
            headers.insert(name, value);
        }
    }
}

impl Item {
    /// Its name, after a comma if it is not the first since a place in the text.
    fn write_name(self, text: &mut Vec<u8>, since: usize) {
        if text.len() > since {
            text.extend_from_slice(b", ");
        }
        match self.scope {
            PolicyScope::Org => text.extend_from_slice(b"\"org"),
            PolicyScope::User => text.extend_from_slice(b"\"user"),
            PolicyScope::Path(depth) => {
                text.extend_from_slice(b"\"path-");
                text.extend_from_slice(itoa::Buffer::new().format(depth).as_bytes());
            }
        }
        if let Some(window) = self.window {
            text.push(b'-');
            text.extend_from_slice(window.name().as_bytes());
        }
        text.push(b'"');
    }
}

fn write_number(text: &mut Vec<u8>, name: &str, number: i128) {
    let mut buffer = itoa::Buffer::new();
    // Most fit, and are written faster.
    let digits = match i64::try_from(number) {
        Ok(number) => buffer.format(number),
        Err(_) => buffer.format(number),
    };
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(digits.as_bytes());
}

/// Whole seconds, rounded up: who comes back then does not come too early.
pub(crate) fn secs_until(at: Timestamp, now: Timestamp) -> i64 {
    let wait = at.duration_since(now);
    if wait.is_negative() { 0 } else { wait.as_secs().saturating_add(i64::from(wait.subsec_nanos() > 0)) }
}

/// Whole units, rounded down; the header knows no decimals.
pub(crate) fn floor(amount: Amount) -> i128 {
    const UNIT: i64 = 1_000_000_000;
    // Most fit, and are divided faster.
    match i64::try_from(amount.billionths()) {
        Ok(billionths) => billionths.div_euclid(UNIT).into(),
        Err(_) => amount.billionths().div_euclid(UNIT.into()),
    }
}

fn fixed_secs(window: Window) -> Option<u32> {
    match window {
        Window::Minute => Some(60),
        Window::Hour => Some(3_600),
        Window::Day => Some(86_400),
        // One in which the clocks change is an hour longer or shorter, as a day is.
        Window::Week | Window::WeekFrom(_) => Some(604_800),
        Window::Rolling(hours) | Window::FirstUse(hours) => Some(hours.secs()),
        Window::Month | Window::PlanMonth | Window::MonthFrom(_) | Window::Lifetime | Window::Segment => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fields_tell_of_every_limit() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let amount = |text: &str| Amount::parse_sum(text).expect("an amount");
        let credit = Item {
            scope: PolicyScope::Org,
            window: None,
            amount: amount("45"),
            remaining: amount("-0.5"),
            resets_at: None,
        };
        let minute = Item {
            scope: PolicyScope::User,
            window: Some(Window::Minute),
            amount: amount("12345678901234.9"),
            remaining: amount("999999999999999.999999999"),
            resets_at: Some(at("2026-11-21T00:01:00Z")),
        };
        let over = Item { resets_at: Some(at("2026-11-21T00:00:00Z")), ..minute };
        let now = at("2026-11-21T00:00:30.000000001Z");
        let written = |items: Vec<Item>| {
            let mut headers = HeaderMap::new();
            write_headers(&mut headers, items.into_iter(), now);
            let text =
                |name| headers.get(name).map(|value: &HeaderValue| value.to_str().map(str::to_owned).ok());
            (text("ratelimit-policy").flatten(), text("ratelimit").flatten())
        };
        assert_eq!(written(vec![]), (None, None));
        let policy = r#""org";q=45, "user-minute";q=12345678901234;w=60"#;
        let path = Item { scope: PolicyScope::Path(3), ..minute };
        let policies = r#""path-3-minute";q=12345678901234;w=60"#;
        assert_eq!(written(vec![path]).0.as_deref(), Some(policies));
        for (second, secs) in [(minute, 30), (over, 0)] {
            let state = format!(r#""org";r=-1, "user-minute";r=999999999999999;t={secs}"#);
            assert_eq!(written(vec![credit, second]), (Some(policy.to_owned()), Some(state)));
        }
    }
}
