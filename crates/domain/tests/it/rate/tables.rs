//! One price at a time, at and around every edge.

use super::*;
use tollgate_domain::catalog::Portion;
use tollgate_domain::{Bound, Currency, Exact, Money, PriceRef};

/// A catalog of the plan `p` with the meter `m`, counted by model and region, and these prices.
fn catalog(currency: &str, prices: &[&str]) -> Catalog {
    let prices: Vec<_> = prices.iter().map(|price| format!("[[plans.prices]]\n{price}\n")).collect();
    let text = format!(
        r#"
        currency = "{currency}"
        [[meters]]
        id = "m"
        name = "Messages"
        unit = "message"
        properties = ["model", "region"]
        [[plans]]
        id = "p"
        name = "Plan"
        allowances = [{{ meter = "m", amount = 10, enforcement = "soft" }}]
        {}"#,
        prices.join("\n").replace("; ", "\n")
    );
    Catalog::from_toml(&text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// The total of one price for a quantity, and the arithmetic of its line if there is one.
fn check(currency: &str, price: &str, quantity: &str) -> (String, String) {
    let catalog = catalog(currency, &[&format!("meter = \"m\"; {price}")]);
    let rated = rated(&catalog, "p", "2026-10", &[usage("m", &[], quantity)]).expect("can be counted");
    let arithmetic = rated.lines.first().map(|line| line.arithmetic.clone()).unwrap_or_default();
    assert!(rated.lines.len() <= 1 && rated.unpriced.is_empty());
    (rated.total.number(), arithmetic)
}

fn check_all(currency: &str, price: &str, cases: &[(&str, &str)]) {
    for (quantity, wanted) in cases {
        let (total, arithmetic) = check(currency, price, quantity);
        assert_eq!(total, *wanted, "{price}: {quantity}\n{arithmetic}");
    }
}

#[test]
fn per_unit() {
    let cent = r#"model = "per_unit"; unit_price = "0.01""#;
    check_all(
        "USD",
        cent,
        &[("0", "0.00"), ("1", "0.01"), ("0.5", "0.00"), ("1.5", "0.02"), ("1234.5", "12.34")],
    );
    let included = r#"model = "per_unit"; unit_price = "0.01"; included = 200"#;
    check_all(
        "USD",
        included,
        &[
            ("199", "0.00"),
            ("200", "0.00"),
            ("201", "0.01"),
            ("200.5", "0.00"),
            ("200.500000001", "0.01"),
            ("1200", "10.00"),
        ],
    );
    // A price of 0.15 for a million.
    let token = r#"model = "per_unit"; unit_price = "0.00000015""#;
    check_all(
        "USD",
        token,
        &[
            ("1", "0.00"),
            ("33333", "0.00"),
            ("33334", "0.01"),
            ("1e6", "0.15"),
            ("999999999999999", "150000000.00"),
        ],
    );
    check_all(
        "JPY",
        r#"model = "per_unit"; unit_price = "0.5""#,
        &[("1", "0"), ("2", "1"), ("3", "2"), ("5", "2")],
    );
    check_all(
        "KWD",
        r#"model = "per_unit"; unit_price = "0.0005""#,
        &[("1", "0.000"), ("3", "0.002"), ("5", "0.002")],
    );
}

#[test]
fn packages() {
    let price = r#"model = "package"; package_size = 100; package_price = 5"#;
    check_all(
        "USD",
        price,
        &[
            ("0", "0.00"),
            ("0.000000001", "5.00"),
            ("99", "5.00"),
            ("100", "5.00"),
            ("100.000000001", "10.00"),
            ("101", "10.00"),
            ("200", "10.00"),
        ],
    );
    let included = r#"model = "package"; package_size = "0.5"; package_price = "0.1"; included = 1"#;
    check_all("USD", included, &[("1", "0.00"), ("1.5", "0.10"), ("1.51", "0.20"), ("3", "0.40")]);
}

#[test]
fn graduated_at_every_edge() {
    let price = r#"model = "graduated"; tiers = [{ up_to = 10, unit_price = 1, flat_fee = 5 }, { up_to = 20, unit_price = "0.5" }, { unit_price = "0.1", flat_fee = 2 }]"#;
    check_all(
        "USD",
        price,
        &[
            ("0", "0.00"),
            ("0.01", "5.01"),
            ("9", "14.00"),
            ("10", "15.00"),
            ("10.01", "15.00"), // 15.005, to the even cent
            ("10.03", "15.02"), // 15.015
            ("11", "15.50"),
            ("19", "19.50"),
            ("20", "20.00"),
            ("20.000000001", "22.00"),
            ("21", "22.10"),
            ("1000", "120.00"),
        ],
    );
}

#[test]
fn volume_at_every_edge() {
    let price = r#"model = "volume"; tiers = [{ up_to = 10, unit_price = 1, flat_fee = 5 }, { up_to = 20, unit_price = "0.5" }, { unit_price = "0.1", flat_fee = 2 }]"#;
    check_all(
        "USD",
        price,
        &[
            ("0", "0.00"),
            ("1", "6.00"),
            ("10", "15.00"),
            ("10.000000001", "5.00"),
            ("11", "5.50"),
            ("20", "10.00"),
            ("20.000000001", "4.00"),
            ("21", "4.10"),
            ("1000", "102.00"),
        ],
    );
}

#[test]
fn fees() {
    check_all(
        "USD",
        r#"model = "flat"; flat_fee = "9.99""#,
        &[("0", "0.00"), ("0.1", "9.99"), ("1000", "9.99")],
    );
    check_all("USD", r#"model = "flat"; flat_fee = 9; included = 5"#, &[("5", "0.00"), ("5.1", "9.00")]);
    let catalog = catalog(
        "USD",
        &[
            r#"model = "flat"; flat_fee = 49"#,
            r#"model = "flat"; flat_fee = 20; discount_percent = 50; name = "Support""#,
        ],
    );
    let rated = rated(&catalog, "p", "2026-10", &[]).expect("can be counted");
    let lines: Vec<_> = rated.lines.iter().map(|line| line.arithmetic.as_str()).collect();
    assert_eq!(
        lines,
        ["Plan, a month: a fee of 49.00 USD", "Support: a fee of 20.00 USD; less 50 % = 10.00 USD"]
    );
    assert_eq!(rated.total.to_string(), "59.00 USD");
}

#[test]
fn the_discount_comes_before_the_minimum_and_the_maximum() {
    let minimum = r#"model = "per_unit"; unit_price = 1; discount_percent = 50; minimum = 20"#;
    check_all("USD", minimum, &[("0", "20.00"), ("30", "20.00"), ("40", "20.00"), ("41", "20.50")]);
    let maximum = r#"model = "per_unit"; unit_price = 1; discount_percent = 50; maximum = 20"#;
    check_all(
        "USD",
        maximum,
        &[("0", "0.00"), ("39", "19.50"), ("40", "20.00"), ("41", "20.00"), ("1e9", "20.00")],
    );
    let both = r#"model = "per_unit"; unit_price = 1; minimum = "2.005"; maximum = "2.015""#;
    check_all("USD", both, &[("0", "2.00"), ("2.01", "2.01"), ("3", "2.02")]);
    // A third off in nine decimals leaves 0.66666666700000…; no digit is lost before the one rounding.
    let third = r#"model = "per_unit"; unit_price = 1; discount_percent = "33.333333333""#;
    check_all("USD", third, &[("1", "0.67"), ("0.0075", "0.01"), ("0.007499999", "0.00")]);
    check_all("USD", r#"model = "per_unit"; unit_price = 1; discount_percent = 100"#, &[("5", "0.00")]);
}

#[test]
fn a_bound_is_named_only_where_it_took_the_place_of_the_amount() {
    let price = r#"meter = "m"; model = "per_unit"; unit_price = 1; minimum = 5; maximum = 8"#;
    let catalog = catalog("USD", &[price]);
    let (least, most) = (Bound::Minimum(Amount::from_whole(5)), Bound::Maximum(Amount::from_whole(8)));
    for (quantity, wanted) in
        [("4.9", Some(least)), ("5", None), ("6", None), ("8", None), ("8.000000001", Some(most))]
    {
        let rated = rated(&catalog, "p", "2026-10", &[usage("m", &[], quantity)]).expect("can be counted");
        assert_eq!(rated.lines[0].bound, wanted, "{quantity}");
    }
}

#[test]
fn a_line_says_how_it_came_about() {
    let tiers = r#"tiers = [{ up_to = 1000, unit_price = "0.01", flat_fee = 5 }, { unit_price = "0.008" }]"#;
    for (price, quantity, wanted) in [
        (
            r#"model = "per_unit"; unit_price = "0.01"; included = 200"#.to_owned(),
            "1200",
            "1,200 messages − 200 included = 1,000 × 0.01 USD = 10.00 USD",
        ),
        (
            r#"model = "per_unit"; unit_price = "0.01"; included = 200"#.to_owned(),
            "150",
            "150 messages, all included = 0.00 USD",
        ),
        (
            r#"model = "per_unit"; unit_price = "0.0049"; discount_percent = 10; minimum = 2"#.to_owned(),
            "1",
            "1 message × 0.0049 USD = 0.0049 USD; less 10 % = 0.00441 USD; at least 2.00 USD",
        ),
        (
            r#"model = "per_unit"; unit_price = "0.0049""#.to_owned(),
            "1000001.5",
            "1,000,001.5 messages × 0.0049 USD = 4900.00735 USD; rounded 4900.01 USD",
        ),
        (
            r#"model = "package"; package_size = 1000; package_price = 5"#.to_owned(),
            "12001",
            "12,001 messages: 13 × 1,000 at 5 USD = 65.00 USD",
        ),
        (
            format!(r#"model = "graduated"; {tiers}"#),
            "1500",
            "1,500 messages: 1,000 × 0.01 USD + 5.00 USD + 500 × 0.008 USD = 19.00 USD",
        ),
        (format!(r#"model = "volume"; {tiers}"#), "1500", "1,500 messages: 1,500 × 0.008 USD = 12.00 USD"),
        (
            format!(r#"model = "volume"; {tiers}; maximum = 7"#),
            "900",
            "900 messages: 900 × 0.01 USD + 5.00 USD = 14.00 USD; at most 7.00 USD",
        ),
        (
            r#"model = "graduated"; tiers = [{ flat_fee = 3 }]; minimum = 1"#.to_owned(),
            "8",
            "8 messages: 3.00 USD = 3.00 USD",
        ),
        (
            r#"model = "per_unit"; unit_price = 1; minimum = 4"#.to_owned(),
            "0",
            "0 messages = 0.00 USD; at least 4.00 USD",
        ),
        (r#"model = "flat"; flat_fee = 4"#.to_owned(), "3", "3 messages: a fee of 4.00 USD"),
    ] {
        assert_eq!(check("USD", &price, quantity).1, wanted);
    }
}

#[test]
fn a_line_holds_every_number() {
    let price = r#"meter = "m"; model = "graduated"; included = 100; discount_percent = 10; minimum = 20; tiers = [{ up_to = 1000, unit_price = "0.01", flat_fee = 5 }, { unit_price = "0.008" }]; where = { model = "a" }"#;
    let catalog = catalog("EUR", &[r#"model = "flat"; flat_fee = 1; until = "2026-10""#, price]);
    let rated =
        rated(&catalog, "p", "2026-10", &[usage("m", &[("model", "a")], "1600")]).expect("can be counted");
    let [line] = rated.lines.as_slice() else { panic!("one line: {rated:?}") };
    let euro = Currency::new("EUR").expect("a currency");
    let plan = PlanId::new("p").expect("an id");
    assert_eq!(line.price, PriceRef { catalog: 7, plan, number: 2 });
    assert_eq!((line.meter.clone(), line.portion), (Some(meter("m")), Portion::All));
    assert_eq!((line.description.as_str(), line.model.as_str()), ("Messages, model a", "graduated"));
    assert_eq!(line.properties, properties(&[("model", "a")]));
    let numbers = [line.quantity, line.included, line.billable, line.discount_percent];
    assert_eq!(numbers, [1600, 100, 1500, 10].map(Amount::from_whole));
    let parts: Vec<_> = line
        .parts
        .iter()
        .map(|part| {
            let end = part.to.map(|to| to.to_string()).unwrap_or_default();
            format!(
                "{}–{end}: {} × {} + {} = {}",
                part.from, part.units, part.unit_price, part.flat_fee, part.amount
            )
        })
        .collect();
    assert_eq!(parts, ["0–1000: 1000 × 0.01 + 5 = 15", "1000–: 500 × 0.008 + 0 = 4"]);
    let exact = |text: &str| Exact::of(amount(text)).expect("fits");
    assert_eq!((line.subtotal, line.discounted, line.exact), (exact("19"), exact("17.1"), exact("20")));
    assert_eq!(line.bound, Some(Bound::Minimum(Amount::from_whole(20))));
    assert_eq!((line.amount, rated.total), (Money { currency: euro, minor: 2000 }, line.amount));
}

#[test]
fn each_part_says_what_it_is_made_of() {
    let part = |quantity: &str, units: &str, unit_price: &str, flat_fee: &str| {
        let [quantity, units, unit_price, flat_fee] = [quantity, units, unit_price, flat_fee].map(amount);
        (quantity, units, unit_price, flat_fee)
    };
    for (price, quantity, wanted) in [
        (r#"model = "flat"; flat_fee = 7"#, "3", part("3", "0", "0", "7")),
        (r#"model = "per_unit"; unit_price = "0.5""#, "3", part("3", "3", "0.5", "0")),
        (r#"model = "package"; package_size = 2; package_price = 5"#, "3", part("3", "2", "5", "0")),
        (
            r#"model = "volume"; tiers = [{ unit_price = "0.5", flat_fee = 2 }]"#,
            "3",
            part("3", "3", "0.5", "2"),
        ),
    ] {
        let catalog = catalog("USD", &[&format!("meter = \"m\"; {price}")]);
        let rated = rated(&catalog, "p", "2026-10", &[usage("m", &[], quantity)]).expect("can be counted");
        let parts = rated.lines.iter().flat_map(|line| &line.parts);
        let parts: Vec<_> =
            parts.map(|part| (part.quantity, part.units, part.unit_price, part.flat_fee)).collect();
        assert_eq!(parts, [wanted], "{price}");
    }
}

#[test]
fn the_price_that_names_the_most_properties_takes_the_usage() {
    let price = |cents: u32, more: &str| {
        format!("meter = \"m\"; model = \"per_unit\"; unit_price = \"0.0{cents}\"; {more}")
    };
    let all = [
        price(1, ""),
        price(2, r#"where = { model = "a" }"#),
        price(3, r#"where = { region = "x" }"#),
        price(4, r#"where = { model = "a", region = "x" }"#),
        price(5, r#"where = { model = "b", region = "" }"#),
        price(6, r#"where = { model = "b", region = "x" }"#),
    ];
    let catalog = catalog("USD", &all.each_ref().map(String::as_str));
    for (group, wanted) in [
        (vec![], 1),
        (vec![("model", "c")], 1),
        (vec![("model", "a")], 2),
        (vec![("model", "A")], 1),
        (vec![("model", "a"), ("region", "y")], 2),
        (vec![("region", "x")], 3),
        (vec![("model", "c"), ("region", "x")], 3),
        (vec![("model", "a"), ("region", "x")], 4),
        (vec![("model", "b")], 1),
        (vec![("model", "b"), ("region", "")], 5),
        (vec![("model", "a"), ("region", "x"), ("color", "red")], 4),
    ] {
        let rated = rated(&catalog, "p", "2026-10", &[usage("m", &group, "100")]).expect("can be counted");
        let numbers: Vec<_> = rated.lines.iter().map(|line| line.price.number).collect();
        assert_eq!((numbers, rated.total.minor), (vec![wanted], i128::from(wanted) * 100), "{group:?}");
    }
}

#[test]
fn groups_of_one_price_are_one_quantity() {
    let tiers =
        r#"meter = "m"; model = "graduated"; tiers = [{ up_to = 100, unit_price = 1 }, { unit_price = 0 }]"#;
    let catalog = catalog("USD", &[tiers]);
    let usage =
        [usage("m", &[("model", "a")], "80"), usage("m", &[("model", "b")], "80"), usage("m", &[], "1")];
    let rated = rated(&catalog, "p", "2026-10", &usage).expect("can be counted");
    assert_eq!(rated.total.to_string(), "100.00 USD");
    assert_eq!(rated.lines.iter().map(|line| line.quantity.to_string()).collect::<Vec<_>>(), ["161"]);
}

#[test]
fn usage_that_no_price_takes_is_shown() {
    let catalog =
        catalog("USD", &[r#"meter = "m"; model = "per_unit"; unit_price = 1; where = { model = "a" }"#]);
    let usage = [
        usage("m", &[("model", "b"), ("color", "red")], "2"),
        usage("m", &[("model", "b")], "3"),
        usage("m", &[("model", "a")], "4"),
        usage("m", &[("model", "c")], "0"),
        usage("other", &[], "5"),
    ];
    let rated = rated(&catalog, "p", "2026-10", &usage).expect("can be counted");
    let [unpriced] = rated.unpriced.as_slice() else { panic!("one: {:?}", rated.unpriced) };
    assert_eq!(unpriced.properties, properties(&[("model", "b")]));
    assert_eq!((unpriced.quantity, rated.total.minor), (Amount::from_whole(5), 400));
}

#[test]
fn overage_alone_is_billed_if_so_wanted() {
    let price = r#"meter = "m"; model = "per_unit"; unit_price = "0.5"; quantity = "overage""#;
    let catalog = catalog("USD", &[price]);
    let group = |quantity: &str, overage: &str| UsageGroup {
        properties: BTreeMap::new(),
        quantity: amount(quantity),
        overage: amount(overage),
    };
    for (groups, lines) in [
        (vec![group("10", "0")], vec![]),
        (vec![group("13", "3")], vec!["3 messages beyond the credit × 0.5 USD = 1.50 USD"]),
        (
            vec![group("10", "0"), group("3", "2.5")],
            vec!["2.5 messages beyond the credit × 0.5 USD = 1.25 USD"],
        ),
    ] {
        let usage = [MeterUsage { meter: meter("m"), groups }];
        let rated = rated(&catalog, "p", "2026-10", &usage).expect("can be counted");
        assert_eq!(rated.lines.iter().map(|line| line.arithmetic.as_str()).collect::<Vec<_>>(), lines);
    }
}

#[test]
fn a_price_is_in_force_from_a_month_until_another() {
    let price =
        |unit: u32, more: &str| format!("meter = \"m\"; model = \"per_unit\"; unit_price = {unit}; {more}");
    let prices = [
        price(1, r#"until = "2026-10""#),
        price(2, r#"from = "2026-10"; until = "2027-01""#),
        price(3, r#"from = "2027-02""#),
    ];
    let catalog = catalog("USD", &prices.each_ref().map(String::as_str));
    for (in_month, wanted) in [
        ("1999-01", 100),
        ("2026-09", 100),
        ("2026-10", 200),
        ("2026-12", 200),
        ("2027-01", 0),
        ("2027-02", 300),
    ] {
        let rated = rated(&catalog, "p", in_month, &[usage("m", &[], "1")]).expect("can be counted");
        assert_eq!(rated.total.minor, wanted, "{in_month}");
    }
}

#[test]
fn what_cannot_be_counted_is_an_error() {
    let price = r#"meter = "m"; model = "per_unit"; unit_price = "999999999999999.999999999""#;
    let catalog = catalog("USD", &[price]);
    let largest = "999999999999999.999999999";
    let rate_of = |quantities: &[Amount]| {
        let groups =
            quantities.iter().map(|quantity| UsageGroup { quantity: *quantity, ..UsageGroup::default() });
        rated(&catalog, "p", "2026-10", &[MeterUsage { meter: meter("m"), groups: groups.collect() }])
    };
    let reference = PriceRef { catalog: 7, plan: PlanId::new("p").expect("an id"), number: 1 };
    assert_eq!(rate_of(&[amount(largest)]), Err(RateError::TooLarge(reference)));
    // The largest price of the largest quantity that can still be counted is exact to the last digit.
    let counted = rate_of(&[amount("340000")]).expect("can be counted");
    assert_eq!(counted.lines[0].subtotal.to_string(), "339999999999999999999.99966");
    assert_eq!(counted.total.to_string(), "340000000000000000000.00 USD");
    let most = Amount::from_billionths(i128::MAX);
    assert_eq!(rate_of(&[most, amount("1")]), Err(RateError::TooMuch(meter("m"))));
    assert_eq!(rate_of(&[amount("-1")]), Err(RateError::Negative(meter("m"))));
    let below = UsageGroup { overage: amount("-1"), ..UsageGroup::default() };
    let below = [MeterUsage { meter: meter("m"), groups: vec![below] }];
    assert_eq!(rated(&catalog, "p", "2026-10", &below), Err(RateError::Negative(meter("m"))));
    let day = Period::parse_day("2026-10-01").expect("a day");
    let terms = Terms::of_month(&catalog, 7, &catalog.plans[0], day);
    assert_eq!(rate(&terms, &[]), Err(RateError::NotAMonth(day)));
    let says =
        RateError::TooLarge(PriceRef { catalog: 7, plan: PlanId::new("p").expect("an id"), number: 1 });
    assert_eq!(says.to_string(), "price 1 of plan 'p' makes more money than can be counted");
}
