//! What happens in a golden folder: a little of everything that is stored. Steps are only added; then the folder of the version
//! that is not yet released is written anew.

use serde_json::{Value, json};
use tollgate_e2e::{Result, Server};

/// 2026-10-20T12:00Z.
pub(super) const OCTOBER_SECS: i64 = 1_792_497_600;
/// 2026-11-02T09:00Z.
pub(super) const NOVEMBER_SECS: i64 = 1_793_610_000;
/// An hour later.
pub(super) const LAST_SECS: i64 = NOVEMBER_SECS + 3_600;
/// Two hours later: the hold is still open.
pub(super) const OPENED_SECS: i64 = NOVEMBER_SECS + 7_200;

/// What is asked of the data.
pub(super) const PATHS: [&str; 15] = [
    "/v1/catalog",
    "/v1/catalog/versions",
    "/v1/channels",
    "/v1/notices?limit=100",
    "/v1/orgs",
    "/v1/orgs/acme",
    "/v1/orgs/acme/balance",
    "/v1/orgs/acme/bill?month=2026-10",
    "/v1/orgs/acme/bill?month=2026-11",
    "/v1/orgs/acme/holds",
    "/v1/orgs/acme/ledger?order=oldest&limit=100",
    "/v1/orgs/acme/limits",
    "/v1/orgs/acme/top-ups",
    "/v1/orgs/acme/usage?meter=tokens&window=month&from=2026-10-01&to=2026-11-30&group_by=model",
    "/v1/orgs/globex/balance",
];

/// Figures worked out by hand.
pub(super) fn figures() -> Vec<(&'static str, &'static str, Value)> {
    let balance = "/v1/orgs/acme/balance";
    let bill = "/v1/orgs/acme/bill?month=2026-10";
    vec![
        // 20 a month and 25.5 for ever, less 15 in November.
        (balance, "/meters/reports/remaining", json!(30.5)),
        (balance, "/meters/reports/lifetime", json!(35)),
        (balance, "/meters/tokens/held", json!(400)),
        (balance, "/meters/tokens/remaining", json!(600)),
        ("/v1/orgs/globex/balance", "/meters/reports/remaining", json!(8)),
        (bill, "/status", json!("closed")),
        (bill, "/number", json!(1)),
        // 31.00 × 12/31 days, 500 tokens × 0.01, 3 seats × 5.00.
        (bill, "/total", json!("32.00")),
        ("/v1/orgs/acme/bill?month=2026-11", "/total", json!("31.00")),
        ("/v1/orgs/acme/ledger?order=oldest&limit=100", "/entries/14/kind", json!("limit_set")),
        ("/v1/notices?limit=100", "/notices/0/kind", json!("first_denial")),
        ("/v1/notices?limit=100", "/notices/8/kind", json!("bill_closed")),
        ("/v1/notices?limit=100", "/notices/11/kind", json!("trial_ending")),
    ]
}

/// A call and the status it is answered with.
pub(super) struct Step(&'static str, &'static str, u16, Value);

/// Makes the calls.
pub(super) fn told(server: &Server, steps: &[Step]) -> Result<()> {
    let mut client = server.client();
    for Step(method, path, status, body) in steps {
        let reply = client.call(method, path, Some(body))?;
        let said = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status, *status, "{method} {path}: {said}");
    }
    Ok(())
}

fn usage(status: u16, user: &str, quantity: u32, key: &str) -> Step {
    let body = json!({"org": "acme", "user": user, "meter": "reports", "quantity": quantity, "key": key});
    Step("POST", "/v1/usage", status, body)
}

pub(super) fn october() -> Vec<Step> {
    let catalog = json!({
        "currency": "USD",
        "notices": {"thresholds": [80, 100]},
        "meters": [
            {"id": "reports", "name": "Reports", "unit": "report"},
            {"id": "tokens", "name": "Tokens", "unit": "token", "properties": ["model"]},
            {"id": "seats", "name": "Seats", "unit": "seat", "aggregation": "max"},
        ],
        "plans": [
            {
                "id": "team",
                "name": "Team",
                "allowances": [
                    {"meter": "reports", "amount": 20},
                    {"meter": "tokens", "amount": 1000, "enforcement": "soft"},
                    {"meter": "seats", "amount": 0, "enforcement": "none"},
                ],
                "limits": [{"meter": "reports", "scope": "user", "window": "month", "amount": 15}],
                "prices": [
                    {"model": "flat", "flat_fee": 31},
                    {"meter": "tokens", "model": "per_unit", "quantity": "overage", "unit_price": "0.01"},
                    {"meter": "seats", "model": "per_unit", "unit_price": 5},
                ],
            },
            {"id": "trial", "name": "Trial", "trial_days": 14, "allowances": [{"meter": "reports", "amount": 10}]},
        ],
    });
    let records = json!([
        {"org": "acme", "meter": "tokens", "quantity": 1500, "key": "tokens-1", "properties": {"model": "large"}},
        {"org": "acme", "meter": "seats", "quantity": 3, "key": "seats-1"},
        {"org": "acme", "meter": "seats", "quantity": 2, "key": "seats-2"},
    ]);
    let top_up = json!({"meter": "reports", "amount": "25.5", "expires_at": "never", "key": "payment-1"});
    vec![
        Step("PUT", "/v1/catalog", 200, catalog),
        Step("POST", "/v1/channels", 201, json!({"name": "log", "kind": "log"})),
        Step("PUT", "/v1/orgs/acme", 200, json!({"name": "Acme", "time_zone": "Europe/Berlin"})),
        Step("PUT", "/v1/orgs/acme/plan", 200, json!({"plan": "team"})),
        Step("PUT", "/v1/orgs/globex/plan", 200, json!({"plan": "trial"})),
        usage(200, "ada", 12, "report-1"),
        usage(403, "ada", 4, "report-2"),
        usage(200, "ben", 8, "report-3"),
        usage(402, "ben", 1, "report-4"),
        Step("POST", "/v1/orgs/acme/top-ups", 200, top_up),
        Step("POST", "/v1/usage/batch", 200, records),
    ]
}

pub(super) fn november() -> Vec<Step> {
    let hold = json!({
        "org": "acme", "user": "ada", "meter": "tokens", "quantity": 400, "key": "hold-1", "expires_in": 86_400,
    });
    vec![
        Step("POST", "/v1/orgs/acme/bill/close", 200, json!({"month": "2026-10"})),
        usage(200, "ada", 1, "report-5"),
        Step("POST", "/v1/usage/reversals", 200, json!({"org": "acme", "key": "report-5"})),
        Step("POST", "/v1/holds", 200, hold),
    ]
}

pub(super) fn last() -> Vec<Step> {
    let trial = json!({"org": "globex", "meter": "reports", "quantity": 2, "key": "trial-1"});
    let limit = json!({"meter": "reports", "scope": "user", "user": "ben", "amount": 30});
    vec![
        usage(200, "ben", 15, "report-6"),
        Step("POST", "/v1/usage", 200, trial),
        Step("PUT", "/v1/orgs/acme/limits", 200, limit),
    ]
}
