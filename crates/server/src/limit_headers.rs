//! What the gate's answers say of limits: in header fields, and in denials what was asked and when to come back.

use std::fmt::Write;

use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};
use tollgate_api::Problem;
use tollgate_domain::{
    Amount, Denial, Denied, MeterId, OrgId, Policy, Quantity, ReachedLimit, Timestamp, Window,
};

use crate::app::App;
use crate::convert::{denial_problem, with_suggestion};
use crate::reply::problem_response;

/// An item of `RateLimit-Policy` and `RateLimit`.
struct Item {
    user: bool,
    /// `None` is the org's credit.
    window: Option<Window>,
    amount: Amount,
    remaining: Amount,
    resets_at: Option<Timestamp>,
}

impl From<&Policy> for Item {
    fn from(policy: &Policy) -> Self {
        let window = policy.period.map(|period| period.window);
        let Policy { user, amount, remaining, resets_at, .. } = *policy;
        Self { user, window, amount, remaining, resets_at }
    }
}

impl Item {
    /// The limit, or the credit, that decided against a usage.
    fn of_denial(denial: &Denial) -> Option<Self> {
        let limit = denial.limit()?;
        let is_credit = matches!(denial, Denial::OutOfCredit(_));
        Some(Self {
            user: limit.user.is_some(),
            window: limit.window.filter(|_| !is_credit),
            amount: limit.amount,
            remaining: limit.remaining(),
            resets_at: limit.resets_at,
        })
    }
}

/// `RateLimit-Policy` and `RateLimit`, an item for the credit and for each limit that a usage went by.
pub(crate) fn of_allowed(headers: &mut HeaderMap, policies: &[Policy], now: Timestamp) {
    let items: Vec<Item> = policies.iter().map(Item::from).collect();
    write_headers(headers, &items, now);
}

/// `RateLimit-Policy` and `RateLimit`, of the limit or the credit that decided against a usage.
pub(crate) fn of_denied(headers: &mut HeaderMap, denial: &Denial, now: Timestamp) {
    let items: Vec<Item> = Item::of_denial(denial).into_iter().collect();
    write_headers(headers, &items, now);
}

/// A denial at the gate as a problem: with what was asked, and with 429 where waiting up to a day helps.
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

/// Whether a limit leaves room for a quantity within a day by itself. A quantity above the limit never fits.
fn waiting_helps(limit: &ReachedLimit, counted: Quantity) -> bool {
    let soon = matches!(limit.window, Some(Window::Minute | Window::Hour | Window::Day));
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

fn write_headers(headers: &mut HeaderMap, items: &[Item], now: Timestamp) {
    if items.is_empty() {
        return;
    }
    let (mut policy_text, mut state_text) = (String::new(), String::new());
    for item in items {
        if !policy_text.is_empty() {
            policy_text.push_str(", ");
            state_text.push_str(", ");
        }
        let scope = if item.user { "user" } else { "org" };
        let dash = if item.window.is_some() { "-" } else { "" };
        let name = item.window.map_or("", Window::name);
        let _ = write!(policy_text, "\"{scope}{dash}{name}\";q={}", floor(item.amount));
        if let Some(secs) = item.window.and_then(fixed_secs) {
            let _ = write!(policy_text, ";w={secs}");
        }
        let _ = write!(state_text, "\"{scope}{dash}{name}\";r={}", floor(item.remaining));
        if let Some(resets_at) = item.resets_at {
            let _ = write!(state_text, ";t={}", secs_until(resets_at, now));
        }
    }
    for (name, text) in [("ratelimit-policy", policy_text), ("ratelimit", state_text)] {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}

/// Whole seconds, rounded up: who comes back then does not come too early.
fn secs_until(at: Timestamp, now: Timestamp) -> i64 {
    let nanos = at.as_nanosecond().saturating_sub(now.as_nanosecond()).max(0);
    i64::try_from(nanos.saturating_add(999_999_999) / 1_000_000_000).unwrap_or(i64::MAX)
}

/// Whole units, rounded down; the header knows no decimals.
fn floor(amount: Amount) -> i128 {
    amount.billionths().div_euclid(1_000_000_000)
}

const fn fixed_secs(window: Window) -> Option<u32> {
    match window {
        Window::Minute => Some(60),
        Window::Hour => Some(3_600),
        Window::Day => Some(86_400),
        Window::Month | Window::Lifetime | Window::Segment => None,
    }
}
