//! Calls of language models: priced by the catalog before anything is decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollgate_api::{
    CALL_TOKENS_MAX, CallRequest, Code, HoldId, PositiveDecimal, Problem, PropertyValue, shortened,
};
use tollgate_domain::catalog::{NoPrice, PricedBy};
use tollgate_domain::{Amount, Catalog, PRICED_AS, PRICED_BY, Quantity};
use tollgate_engine::CatalogInForce;

use crate::app::App;
use crate::native::catalog::text_of;
use crate::native::usage::{properties, properties_and};
use crate::reply::Failure;

/// What [`PRICED_AS`] says of a call that the catalog lets through without a price.
const NOTHING: &str = "(nothing)";

/// The quantity and the properties of a usage: as they are given, or as a call makes them. Few usages have a call: the
/// catalog is looked at for those alone.
pub(crate) fn content(
    in_force: impl FnOnce() -> CatalogInForce,
    quantity: Option<PositiveDecimal>,
    call: Option<&CallRequest>,
    given: BTreeMap<String, PropertyValue>,
) -> Result<(Quantity, BTreeMap<String, String>), Failure> {
    let Some(call) = call else {
        return Ok((quantity.map_or(Quantity::ONE, |quantity| quantity.0), properties(given)?));
    };
    if quantity.is_some() {
        return Err(one_of_both());
    }
    let CatalogInForce { catalog, version, .. } = in_force();
    let (amount, by) = price(&catalog, call)?;
    let quantity = Quantity::new(amount).map_err(|_| invalid("call", "has no tokens"))?;
    let mut notes = BTreeMap::new();
    let mut note = |name: &str, value: String| notes.insert(name.to_owned(), PropertyValue(value));
    note("model", call.model.clone());
    for (name, tokens) in call.tokens().into_iter().filter(|(_, tokens)| *tokens > 0) {
        note(name, tokens.to_string());
    }
    if call.tier.unwrap_or_default() != Default::default() {
        note("tier", call.call().tier.name().to_owned());
    }
    note(PRICED_BY, format!("catalog {version}"));
    match by {
        PricedBy::Itself => {}
        PricedBy::Another(other) => drop(note(PRICED_AS, other)),
        PricedBy::Nobody => drop(note(PRICED_AS, NOTHING.to_owned())),
    }
    Ok((quantity, properties_and(given, notes)?))
}

/// What the call of a capture costs: by the catalog that priced its hold, so that a capture that is sent again after
/// another catalog came into force is the same.
pub(crate) async fn of_capture(app: &App, id: &HoldId, call: &CallRequest) -> Result<Amount, Failure> {
    let in_force = app.engine.catalog();
    let hold = app.engine.hold(&id.org, id.number).await?;
    let by =
        hold.as_ref().and_then(|hold| hold.properties.get(PRICED_BY)?.strip_prefix("catalog ")?.parse().ok());
    let catalog = match by {
        Some(version) if version != in_force.version => {
            let text = text_of(app, version).await?;
            let parsed = tokio::task::spawn_blocking(move || Catalog::from_toml(&text)).await;
            let failed = |error: String| {
                Failure::from(Problem::new(Code::Internal, "the server failed")).caused_by(error)
            };
            let catalog = parsed.map_err(|error| failed(error.to_string()))?;
            Arc::new(catalog.map_err(|error| failed(error.to_string()))?)
        }
        _ => in_force.catalog,
    };
    price(&catalog, call).map(|(amount, _)| amount)
}

fn price(catalog: &Catalog, call: &CallRequest) -> Result<(Amount, PricedBy), Failure> {
    for (name, tokens) in call.tokens() {
        if tokens > CALL_TOKENS_MAX {
            return Err(invalid(&format!("call.{name}"), &format!("must be at most {CALL_TOKENS_MAX}")));
        }
    }
    let model = shortened(&call.model);
    let refuse =
        |field: &str, detail: String| Err(Problem::new(Code::NoPrice, detail).on_field(field).into());
    match catalog.price_of(&call.call()) {
        Ok(priced) => Ok((priced.amount, priced.by)),
        Err(NoPrice::Model) => {
            refuse("call.model", format!("the catalog has no price of the model '{model}'"))
        }
        Err(NoPrice::Tier) => {
            let tier = call.call().tier.name();
            refuse(
                "call.tier",
                format!("the catalog has no price of the model '{model}' in the tier '{tier}'"),
            )
        }
        Err(NoPrice::Output) => refuse(
            "call.output_tokens",
            format!("the catalog has no price of answers of the model '{model}'"),
        ),
        Err(NoPrice::Tokens) => Err(invalid(
            "call",
            "the parts of a prompt or an answer must not be more than its input_tokens or output_tokens",
        )),
    }
}

/// A quantity and a call were given.
pub(crate) fn one_of_both() -> Failure {
    invalid("quantity", "is made of the call; give the one or the other")
}

fn invalid(field: &str, text: &str) -> Failure {
    Problem::new(Code::InvalidField, format!("{field}: {text}")).on_field(field).into()
}
