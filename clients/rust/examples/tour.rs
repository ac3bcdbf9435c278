//! The tour of the README in Rust, then holds, the batcher and the layer, against a server whose address is the argument.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that checks says what it did, or panics"
)]

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};
use tollgate_client::{
    Batcher, BatcherOptions, Caller, Client, Decision, Error as Failed, Hold, HoldDecision, ModelCall,
    Reason, TollgateLayer, TopUp, Usage, operations,
};
use tower_service::Service;

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let url = std::env::args().nth(1).ok_or("usage: tour URL")?;
    let gate = Client::builder().url(url).build()?;
    tour(&gate).await?;
    holds(&gate).await?;
    calls(&gate).await?;
    batches(&gate).await?;
    layer(&gate).await?;
    println!("done");
    Ok(())
}

fn reports(user: &str) -> Usage {
    Usage::new("acme", "reports").user(user)
}

async fn tour(gate: &Client) -> Outcome {
    gate.set_plan("acme", "lite").await?;
    let first = gate.require(&reports("ada").key("report-1")).await?;
    assert!(!first.replayed);
    assert_eq!(first.remaining.ok_or("credit")?, 19);
    let again = gate.require(&reports("ada").key("report-1")).await?;
    assert!(again.replayed);
    assert_eq!(again.remaining.ok_or("credit")?, 19);

    let limit = json!({"meter": "reports", "scope": "user", "amount": 15});
    let _: Value = gate.request(http::Method::PUT, "/v1/orgs/acme/limits", Some(&limit)).await?;
    let Decision::Denied(denied) = gate.try_use(&reports("ada").quantity(15).key("report-2")).await? else {
        return Err("there is a limit".into());
    };
    assert_eq!((denied.status, &denied.reason), (403, &Reason::UserLimitReached));
    let limit = denied.limit.ok_or("the limit")?;
    assert_eq!(limit.user.as_deref(), Some("ada"));
    assert_eq!(limit.remaining, 14);

    gate.require(&reports("ada").quantity(14)).await?;
    let order = reports("ben").quantity(10).key("report-4");
    match gate.require(&order).await {
        Err(Failed::Denied(denied)) => {
            assert_eq!((denied.status, denied.reason), (402, Reason::OrgLimitReached));
        }
        other => return Err(format!("there is not enough credit: {other:?}").into()),
    }
    gate.top_up("acme", &TopUp::new("reports", 25).key("goodwill-1")).await?;
    assert_eq!(gate.require(&order).await?.remaining.ok_or("credit")?, 20);
    assert_eq!(gate.check(&reports("ben").quantity(6)).await?["allowed"], false);
    gate.reverse("acme", "report-4").await?;
    assert_eq!(left(gate, "acme").await?, 30);
    match gate.try_use(&reports("ben").quantity(-1)).await {
        Err(Failed::Api(wrong)) => {
            assert_eq!((wrong.status, wrong.field.as_deref()), (422, Some("quantity")));
        }
        other => return Err(format!("less than nothing: {other:?}").into()),
    }
    Ok(())
}

async fn left(gate: &Client, org: &str) -> Result<u64, Box<dyn Error>> {
    let balance = gate.balance(org).await?;
    balance["meters"]["reports"]["remaining"].as_u64().ok_or_else(|| balance.to_string().into())
}

/// Asks again until it is so: what is given back on the way out is given back by a task.
async fn until(gate: &Client, org: &str, wanted: u64) -> Outcome {
    for _ in 0..1_000 {
        if left(gate, org).await? == wanted {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(format!("{org} has {} left, and not {wanted}", left(gate, org).await?).into())
}

async fn holds(gate: &Client) -> Outcome {
    let hold = |quantity: u8, key: &str| Hold::new("acme", "reports", quantity).user("cal").key(key);
    let mut held = gate.hold(&hold(10, "run-1")).await?.require()?;
    assert_eq!(left(gate, "acme").await?, 20);
    let mut step = gate.hold(&hold(4, "run-1/a").within(&held)).await?.require()?;
    step.capture_part(1).await?;
    step.capture(2).await?;
    // More than is held is refused, and the hold stays open.
    assert!(matches!(held.capture(11).await, Err(Failed::Api(problem)) if problem.code == "more_than_held"));
    let captured = held.capture(3).await?;
    assert_eq!(captured.hold.state, "captured");
    assert_eq!(left(gate, "acme").await?, 24);

    // One that goes out of scope is given back.
    {
        let held = gate.hold(&hold(9, "run-2")).await?.require()?;
        let of_acme = [("org", "acme"), ("limit", "10")];
        let open: Value = gate.call(&operations::LIST_HOLDS, &of_acme, None::<&Value>).await?;
        assert_eq!(open["holds"].as_array().map(Vec::len), Some(1));
        assert_eq!(open["holds"][0]["hold"], held.id());
    }
    until(gate, "acme", 24).await?;
    let HoldDecision::Denied(denied) = gate.hold(&hold(20, "run-3")).await? else {
        return Err("there is no room".into());
    };
    assert_eq!(denied.reason, Reason::UserLimitReached);
    Ok(())
}

async fn calls(gate: &Client) -> Outcome {
    let reply: Value = gate.call(&operations::GET_CATALOG, &[], None::<&Value>).await?;
    let mut catalog = reply["catalog"].clone();
    for (list, item) in [
        ("meters", json!({"id": "usd", "name": "US dollars", "unit": "USD"})),
        ("plans", json!({"id": "calls", "name": "Calls", "allowances": [{"meter": "usd", "amount": 1}]})),
    ] {
        catalog[list].as_array_mut().ok_or("a list")?.push(item);
    }
    catalog["models"] = json!([{"id": "small", "rates": [{"input": 1, "output": 2}]}]);
    let _: Value = gate.call(&operations::PUT_CATALOG, &[], Some(&catalog)).await?;
    gate.set_plan("initech", "calls").await?;
    let (most, cost) = (ModelCall::new("small", 1_000, 100_000), ModelCall::new("small", 1_000, 500));
    let mut held = gate.hold(&Hold::for_call("initech", "usd", most)).await?.require()?;
    assert_eq!(held.item().quantity, "0.201");
    assert_eq!(held.capture_call(&cost).await?.captured, "0.002");
    assert_eq!(gate.require(&Usage::new("initech", "usd").call(cost)).await?.quantity, "0.002");
    Ok(())
}

async fn batches(gate: &Client) -> Outcome {
    let options =
        BatcherOptions { batch_max: 10, wait: Duration::from_millis(10), ..BatcherOptions::default() };
    let batcher = Batcher::new(gate.clone(), options);
    for number in 0..25 {
        batcher.add(Usage::new("acme", "reports").key(format!("late-{number}"))).await?;
    }
    batcher.add(Usage::new("acme", "reports").key("late-0")).await?;
    batcher.flush().await?;
    batcher.add(Usage::new("acme", "repots").key("wrong")).await?;
    let recorded = batcher.close().await?;
    assert_eq!((recorded.counted, recorded.duplicates), (25, 1));
    let codes: Vec<&str> = recorded.rejected.iter().map(|rejection| rejection.code.as_str()).collect();
    assert_eq!(codes, ["unknown_meter"]);
    Ok(())
}

async fn layer(gate: &Client) -> Outcome {
    gate.set_plan("globex", "trial").await?;
    let identify = |parts: &http::request::Parts| {
        let org = parts.headers.get("x-org")?.to_str().ok()?;
        Some(Caller::new(org))
    };
    let mut app = axum::Router::new()
        .route("/", get(async || "worked"))
        .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR))
        .layer(TollgateLayer::new(gate.clone(), "reports", identify));
    let mut page = async |path: &str, org: &str, key: Option<&str>| -> Result<Response, Box<dyn Error>> {
        let mut request = Request::builder().uri(path);
        if !org.is_empty() {
            request = request.header("x-org", org);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        Ok(app.call(request.body(Body::empty())?).await?)
    };
    let free = page("/", "", None).await?;
    assert_eq!(to_bytes(free.into_body(), 100).await?, "worked", "nobody is counted who is not identified");
    for _ in 0..3 {
        assert_eq!(page("/", "globex", Some("page-1")).await?.status(), 200);
    }
    until(gate, "globex", 9).await?;
    assert_eq!(page("/broken", "globex", None).await?.status(), 500);
    until(gate, "globex", 9).await?;
    for _ in 0..9 {
        assert_eq!(page("/", "globex", None).await?.status(), 200);
    }
    let refused = page("/", "globex", None).await?;
    assert_eq!(refused.status(), 402);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let problem: Value = serde_json::from_slice(&to_bytes(refused.into_body(), 10_000).await?)?;
    assert_eq!(problem["code"], "trial_ended");
    Ok(())
}
