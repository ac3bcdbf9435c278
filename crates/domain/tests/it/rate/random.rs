//! Random prices and usage: the same bill as numbers of any size make of them, however the usage was cut.

use num_bigint::BigInt;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use tollgate_domain::catalog::{Model, Months, Portion, Price, Tier};
use tollgate_domain::{Currency, Exact, Share, Unbilled};

const BILLION: i128 = 1_000_000_000;

// ---- what is drawn --------------------------------------------------------------------------------------------------

/// Mostly small numbers of few digits, so that edges and middles are met; now and then any number that can be written.
fn any_amount() -> impl Strategy<Value = Amount> {
    let step = select(vec![BILLION, BILLION / 2, BILLION / 100, BILLION / 1000, 1]);
    prop_oneof![
        8 => (0_i128..40, step).prop_map(|(number, step)| Amount::from_billionths(number * step)),
        4 => (0_i128..40_000).prop_map(|number| Amount::from_billionths(number * (BILLION / 1000))),
        1 => (0_i128..1_000_000 * BILLION).prop_map(Amount::from_billionths),
        1 => (0_i128..1_000_000_000_000_000 * BILLION).prop_map(Amount::from_billionths),
    ]
}

fn any_tiers() -> impl Strategy<Value = Vec<Tier>> {
    let tier = (1_i128..20_000, any_amount(), any_amount());
    vec(tier, 1..5).prop_map(|drawn| {
        let count = drawn.len();
        let mut end = Amount::ZERO;
        let tiers = (1..).zip(drawn).map(|(number, (length, unit_price, flat_fee))| {
            end += Amount::from_billionths(length * (BILLION / 1000));
            Tier { up_to: (number < count).then_some(end), unit_price, flat_fee }
        });
        tiers.collect()
    })
}

fn any_model() -> impl Strategy<Value = Model> {
    prop_oneof![
        any_amount().prop_map(|fee| Model::Flat { fee }),
        any_amount().prop_map(|unit_price| Model::PerUnit { unit_price }),
        (any_amount(), any_amount())
            .prop_map(|(size, price)| Model::Package { size: size.max(Amount::from_billionths(1)), price }),
        any_tiers().prop_map(|tiers| Model::Graduated { tiers }),
        any_tiers().prop_map(|tiers| Model::Volume { tiers }),
    ]
}

fn any_price(matches: &[(&str, &str)]) -> BoxedStrategy<Price> {
    let matches = properties(matches);
    let included = prop_oneof![Just(Amount::ZERO), any_amount()];
    let discount = prop_oneof![Just(Amount::ZERO), (0..=100 * BILLION).prop_map(Amount::from_billionths)];
    let bounds = (any::<Option<()>>(), any_amount(), any::<Option<()>>(), any_amount());
    let portion = select(vec![Portion::All, Portion::Overage]);
    let drawn = (any_model().boxed(), included, discount, bounds, portion);
    drawn
        .prop_map(move |(model, included, discount_percent, (has_least, least, has_most, more), portion)| {
            Price {
                name: None,
                meter: Some(meter("m")),
                matches: matches.clone(),
                model,
                portion,
                included,
                discount_percent,
                minimum: has_least.map(|()| least),
                maximum: has_most.map(|()| least + more),
                months: Months::default(),
            }
        })
        .boxed()
}

/// Some of five prices, no two of which take the same usage with equal right.
fn any_prices() -> impl Strategy<Value = Vec<Price>> {
    let all = [
        any_price(&[]),
        any_price(&[("model", "a")]),
        any_price(&[("model", "b")]),
        any_price(&[("model", "a"), ("region", "x")]),
        any_price(&[("model", "c"), ("region", "x")]),
    ];
    (all, any::<[bool; 5]>(), any::<bool>()).prop_map(|(prices, kept, turned)| {
        let mut prices: Vec<_> =
            prices.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(p, _)| p).collect();
        if turned {
            prices.reverse();
        }
        prices
    })
}

fn any_group() -> impl Strategy<Value = UsageGroup> {
    let model = select(vec![None, Some("a"), Some("b"), Some("c")]);
    let region = select(vec![None, Some("x"), Some("y")]);
    (model, region, any_amount(), any_amount()).prop_map(|(model, region, quantity, overage)| {
        let named = [("model", model), ("region", region)];
        let named: Vec<_> = named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        UsageGroup { properties: properties(&named), quantity, overage: overage.min(quantity) }
    })
}

fn any_currency() -> impl Strategy<Value = Currency> {
    select(vec!["USD", "JPY", "KWD", "CLF"]).prop_map(|code| Currency::new(code).expect("a currency"))
}

// ---- the same, the slow way -----------------------------------------------------------------------------------------

fn big(number: i128) -> BigInt {
    BigInt::from(number)
}

/// An amount in billionths.
fn billionths(amount: Amount) -> BigInt {
    big(amount.billionths())
}

/// How far a number goes beyond an edge.
fn beyond(number: &BigInt, edge: &BigInt) -> BigInt {
    (number - edge).max(big(0))
}

/// How many packages are begun.
fn begun(quantity: &BigInt, size: Amount) -> BigInt {
    (quantity + billionths(size) - big(1)) / billionths(size)
}

/// What a model makes of so many billionths above zero, in billionths of billionths.
fn made(model: &Model, quantity: &BigInt) -> BigInt {
    let once = |amount: Amount| billionths(amount) * big(BILLION);
    let sum = match model {
        Model::Flat { fee } => once(*fee),
        Model::PerUnit { unit_price } => billionths(*unit_price) * quantity,
        Model::Package { size, price } => begun(quantity, *size) * once(*price),
        // Everything at the first price, and at each edge the difference to the next for what lies beyond it.
        Model::Graduated { tiers } => {
            let (mut sum, mut edge, mut price) = (big(0), big(0), big(0));
            for tier in tiers {
                let rest = beyond(quantity, &edge);
                let fee = if rest > big(0) { once(tier.flat_fee) } else { big(0) };
                sum += rest * (billionths(tier.unit_price) - price) + fee;
                price = billionths(tier.unit_price);
                edge = billionths(tier.up_to.unwrap_or_default());
            }
            sum
        }
        // The first tier, or as many further as there are edges below the quantity.
        Model::Volume { tiers } => {
            let is_below = |tier: &&Tier| tier.up_to.is_some_and(|edge| billionths(edge) < *quantity);
            let tier = &tiers[tiers.iter().filter(is_below).count()];
            billionths(tier.unit_price) * quantity + once(tier.flat_fee)
        }
    };
    if *quantity > big(0) { sum } else { big(0) }
}

/// What one price makes of so many billionths in a share of a month: before the discount, in billionths of billionths
/// times the days of the month, and what is owed, in minor units.
fn owed(price: &Price, quantity: &BigInt, currency: Currency, fees: Share) -> (BigInt, BigInt) {
    let hundred = big(100 * BILLION);
    let days = |days: u32| big(days.into());
    let is_fee = matches!(price.model, Model::Flat { .. });
    // Where something is used, its fee is that of one day at least.
    let part = match price.meter {
        _ if !is_fee => days(fees.of),
        Some(_) => days(fees.days.max(1)),
        None => days(fees.days),
    };
    let subtotal = made(&price.model, &beyond(quantity, &billionths(price.included))) * part;
    // From here on in parts of 10^29, times the days of the month.
    let mut amount = &subtotal * (&hundred - billionths(price.discount_percent));
    let fine = |bound: Amount, of: u32| billionths(bound) * big(BILLION) * &hundred * days(of);
    if let Some(least) = price.minimum {
        amount = amount.max(fine(least, fees.days));
    }
    if let Some(most) = price.maximum {
        amount = amount.min(fine(most, fees.days.max(1)));
    }
    let unit = big(10).pow(29 - currency.minor_digits()) * days(fees.of);
    let (minor, twice_the_rest) = (&amount / &unit, (&amount % &unit) * big(2));
    let is_odd = &minor % big(2) == big(1);
    let up = twice_the_rest > unit || (twice_the_rest == unit && is_odd);
    (subtotal, minor + big(i128::from(up)))
}

/// Whether every number on the way can be kept: billionths of billionths in 128 bits, packages as amounts.
fn can_be_kept(price: &Price, quantity: &BigInt, subtotal: &BigInt) -> bool {
    let packages = match price.model {
        Model::Package { size, .. } => begun(&beyond(quantity, &billionths(price.included)), size),
        _ => big(0),
    };
    *subtotal <= BigInt::from(u128::MAX) && packages * big(BILLION) <= big(i128::MAX)
}

/// The price of a group: among those that take it, the one that asks for the most.
fn price_of<'a>(prices: &'a [Price], group: &UsageGroup) -> Option<&'a Price> {
    let mut by_need: Vec<_> = prices.iter().collect();
    by_need.sort_by_key(|price| std::cmp::Reverse(price.matches.len()));
    by_need
        .into_iter()
        .find(|price| price.matches.iter().all(|asked| group.properties.iter().any(|held| held == asked)))
}

// ---- both compared --------------------------------------------------------------------------------------------------

fn catalog(currency: Currency, prices: Vec<Price>) -> Catalog {
    const TEXT: &str = "
        meters = [{ id = 'm', name = 'M', unit = 'm', properties = ['model', 'region'] }]
        plans = [{ id = 'p', name = 'P' }]
    ";
    thread_local! {
        static READ: Catalog = Catalog::from_toml(TEXT).expect("a catalog");
    }
    let catalog = READ.with(Clone::clone);
    let mut plan = catalog.plans[0].clone();
    (plan.currency, plan.prices) = (Some(currency), prices);
    Catalog { plans: vec![plan].into(), ..catalog }
}

fn rate_groups(catalog: &Catalog, batches: &[Vec<UsageGroup>]) -> Result<RatedSegment, RateError> {
    rate_share(catalog, batches, Share::WHOLE)
}

fn rate_share(
    catalog: &Catalog,
    batches: &[Vec<UsageGroup>],
    fees: Share,
) -> Result<RatedSegment, RateError> {
    let usage: Vec<_> =
        batches.iter().map(|groups| MeterUsage { meter: meter("m"), groups: groups.clone() }).collect();
    let terms = Terms { fees, ..Terms::of_month(catalog, 7, &catalog.plans[0], month("2026-10")) };
    rate(&terms, &usage)
}

fn check_price(catalog: &Catalog, quantity: Amount) -> Result<(), TestCaseError> {
    let plan = &catalog.plans[0];
    let price = &plan.prices[0];
    let (subtotal, wanted) = owed(price, &billionths(quantity), plan.currency(catalog), Share::WHOLE);
    let kept = can_be_kept(price, &billionths(quantity), &subtotal);
    let rated =
        rate_groups(catalog, &[vec![UsageGroup { quantity, overage: quantity, ..UsageGroup::default() }]]);
    let Ok(rated) = rated else {
        prop_assert!(!kept, "refused: {rated:?}");
        return Ok(());
    };
    prop_assert!(kept, "not refused: {rated:?}");
    prop_assert_eq!(big(rated.total.minor), wanted, "{:?}", rated);
    if let Some(line) = rated.lines.first() {
        prop_assert_eq!(parsed(line.subtotal), subtotal);
        let parts = line.parts.iter().map(|part| part.amount);
        prop_assert_eq!(parts.map(parsed).sum::<BigInt>(), parsed(line.subtotal));
        prop_assert_eq!(line.quantity - line.included, line.billable);
    }
    Ok(())
}

/// Reads what is shown of an amount without a discount, in billionths of billionths.
fn parsed(exact: Exact) -> BigInt {
    let text = exact.to_string();
    let (whole, digits) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{digits:0<18}").parse().expect("digits")
}

/// The usage itself, each part alone and in another order, each part cut in two, and all of a group in one.
fn cuts(events: &[UsageGroup], order: &[u32]) -> Vec<Vec<Vec<UsageGroup>>> {
    let mut shuffled: Vec<_> = events.iter().zip(order).collect();
    shuffled.sort_by_key(|(_, place)| **place);
    let shuffled: Vec<_> = shuffled.into_iter().map(|(event, _)| event.clone()).collect();
    let halves = shuffled.iter().map(|event| {
        let part = |amount: Amount| Amount::from_billionths(amount.billionths() / 3);
        let one = UsageGroup {
            properties: event.properties.clone(),
            quantity: part(event.quantity),
            overage: part(event.overage),
        };
        let rest = UsageGroup {
            properties: event.properties.clone(),
            quantity: event.quantity - one.quantity,
            overage: event.overage - one.overage,
        };
        vec![rest, one]
    });
    let mut summed: BTreeMap<_, (Amount, Amount)> = BTreeMap::new();
    for event in events {
        let sum = summed.entry(event.properties.clone()).or_default();
        *sum = (sum.0 + event.quantity, sum.1 + event.overage);
    }
    let summed = summed.into_iter().map(|(properties, (quantity, overage))| UsageGroup {
        properties,
        quantity,
        overage,
    });
    vec![
        vec![events.to_vec()],
        shuffled.iter().map(|event| vec![event.clone()]).collect(),
        halves.collect(),
        vec![summed.collect()],
    ]
}

proptest! {
    // Eight quantities each: 104,000 lines.
    #![proptest_config(ProptestConfig::with_cases(13_000))]

    #[test]
    fn a_line_is_what_the_slow_way_says(
        price in any_price(&[]), currency in any_currency(), quantities in vec(any_amount(), 8),
    ) {
        let catalog = catalog(currency, vec![price]);
        for quantity in quantities {
            check_price(&catalog, quantity)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn a_bill_is_the_same_however_usage_was_cut(
        prices in any_prices(), currency in any_currency(),
        events in vec(any_group(), 0..12), order: [u32; 12],
    ) {
        let catalog = catalog(currency, prices);
        let prices = &catalog.plans[0].prices;
        let [first, others @ ..] = &cuts(&events, &order)[..] else { unreachable!() };
        let rated = rate_groups(&catalog, first);
        for other in others {
            prop_assert_eq!(&rate_groups(&catalog, other), &rated);
        }
        let Ok(rated) = rated else { return Ok(()) };
        let mut total = big(0);
        for price in prices {
            let taken = events.iter().filter(|event| price_of(prices, event) == Some(price));
            let quantity = taken.map(|event| match price.portion {
                Portion::All => billionths(event.quantity),
                Portion::Overage => billionths(event.overage),
            });
            total += owed(price, &quantity.sum(), currency, Share::WHOLE).1;
        }
        prop_assert_eq!(big(rated.total.minor), total);
        prop_assert_eq!(rated.total.minor, rated.lines.iter().map(|line| line.amount.minor).sum::<i128>());
        // Everything stands on the bill: in a line, included, or unpriced.
        let shown = |list: &[Unbilled]| list.iter().map(|unbilled| unbilled.quantity).sum::<Amount>();
        let in_lines: Amount = rated.lines.iter().map(|line| line.quantity).sum();
        let used: Amount = events.iter().map(|event| event.quantity).sum();
        prop_assert_eq!(in_lines + shown(&rated.included) + shown(&rated.unpriced), used);
        let untaken = events.iter().filter(|event| price_of(prices, event).is_none());
        let unpriced: Amount =
            untaken.map(|event| if prices.is_empty() { event.overage } else { event.quantity }).sum();
        prop_assert_eq!(shown(&rated.unpriced), unpriced);
    }

    #[test]
    fn fees_and_bounds_of_some_days_are_what_exact_numbers_say(
        prices in any_prices(), currency in any_currency(), events in vec(any_group(), 0..6),
        (days, of) in (28_u32..=31).prop_flat_map(|of| (0..=of, Just(of))),
    ) {
        let catalog = catalog(currency, prices);
        let (prices, fees) = (&catalog.plans[0].prices, Share { days, of });
        let Ok(rated) = rate_share(&catalog, std::slice::from_ref(&events), fees) else { return Ok(()) };
        let mut total = big(0);
        for price in prices {
            let taken = events.iter().filter(|event| price_of(prices, event) == Some(price));
            let quantity = taken.map(|event| match price.portion {
                Portion::All => billionths(event.quantity),
                Portion::Overage => billionths(event.overage),
            });
            total += owed(price, &quantity.sum(), currency, fees).1;
        }
        prop_assert_eq!(big(rated.total.minor), total, "{:?}", rated);
    }
}
