//! Catalogs that are taken, and what is said of those that are not.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn the_default_catalog_has_the_plans_of_reports_and_the_one_of_the_billing_api() {
    let catalog = Catalog::from_toml(DEFAULT).expect("the default catalog");
    let reports = MeterId::new("reports").expect("an id");
    let found: Vec<_> = catalog
        .plans
        .iter()
        .map(|plan| {
            let amount = plan.allowance(&reports).map(|allowance| allowance.amount.to_string());
            (plan.id.as_str(), amount.unwrap_or_default(), plan.trial_days, plan.deprecated)
        })
        .collect();
    let wanted = [
        ("ultimate", "1000".to_owned(), None, false),
        ("enterprise", "500".to_owned(), None, false),
        ("basic", "100".to_owned(), None, false),
        ("lite", "20".to_owned(), None, true),
        ("trial", "10".to_owned(), Some(14), false),
        ("pro", String::new(), None, false),
    ];
    assert_eq!(found, wanted);
    assert_eq!(catalog.compat.billing.plan.as_ref().map(PlanId::as_str), Some("pro"));
}

#[test]
fn a_wrong_catalog_says_where() {
    let meters = "[[meters]]\nid = \"m\"\nname = \"M\"\nunit = \"u\"\n";
    let plan = "[[plans]]\nid = \"p\"\nname = \"P\"\n";
    let allowance = |line: &str| format!("{meters}{plan}[[plans.allowances]]\n{line}\n");
    let meter = |number| format!("[[meters]]\nid = \"m{number}\"\nname = \"M\"\nunit = \"u\"\n");
    let too_many: String = (0..1_001).map(meter).collect();
    for (text, says) in [
        (String::new(), "missing field `meters`"),
        (format!("{meters}{meters}{plan}"), "meters: 'm' appears twice"),
        (format!("{meters}{plan}{plan}"), "plans: 'p' appears twice"),
        (format!("{meters}{plan}color = 1\n"), "unknown field `color`"),
        (format!("{meters}{plan}trial_days = 0\n"), "trial_days must be at least 1"),
        (allowance("meter = \"x\"\namount = 1"), "meter 'x' is not in the catalog"),
        (allowance("meter = \"m\"\namount = 0.5"), "written as text"),
        (allowance("meter = \"m\"\namount = -1"), "must not be negative"),
        (allowance("meter = \"m\"\namount = \"1e99\""), "more than 15 digits"),
        (format!("[notices]\nthresholds = [0]\n{meters}{plan}"), "between 1 and 100"),
        (
            format!("{meters}{plan}notices = {{ thresholds = [101] }}\n"),
            "notices.thresholds: each must be between 1 and 100",
        ),
        (format!("{meters}{plan}notices = {{ quiet = true }}\n"), "unknown field `quiet`"),
        (format!("unknown_meters = \"some\"\n{meters}{plan}"), "unknown variant `some`"),
        (
            format!("[compat.billing]\nplan = \"x\"\n{meters}{plan}"),
            "compat.billing: plan 'x' is not in the catalog",
        ),
        (format!("[compat.billing]\nplan = \"p\"\n{meters}{plan}retired = true\n"), "plan 'p' is retired"),
        (
            format!("[compat.portkey]\nmax_tokens = 0\n{meters}{plan}"),
            "max_tokens must be from 1 to 4294967295",
        ),
        (
            format!("[compat.portkey]\nexpires_in = 86401\n{meters}{plan}"),
            "expires_in must be from 1 to 86400",
        ),
        (format!("[compat.portkey]\norg_key = \"\"\n{meters}{plan}"), "org_key must be a line"),
        (format!("[compat.portkey]\non_expiry = \"keep\"\n{meters}{plan}"), "unknown variant `keep`"),
        (
            format!("[compat.stripe]\nmeters = {{ calls = \"x\" }}\n{meters}{plan}"),
            "compat.stripe: meters: 'calls': meter 'x' is not in the catalog",
        ),
        (
            format!("[compat.lago]\nmetrics = {{ calls = {{ meter = \"x\" }} }}\n{meters}{plan}"),
            "compat.lago: metrics: 'calls': meter 'x' is not in the catalog",
        ),
        (format!("[compat.bling]\n{meters}{plan}"), "unknown field `bling`"),
        (format!("meters = []\n{plan}"), "meters: between 1 and 1000 are needed"),
        (format!("plans = []\n{meters}"), "plans: between 1 and 1000 are needed"),
        (format!("{too_many}{plan}"), "meters: between 1 and 1000 are needed"),
        (format!("# {}\n{meters}{plan}", "x".repeat(1 << 20)), "larger than 1048576 bytes"),
        (
            format!(
                "{meters}{plan}limits = [{{ meter = \"m\", scope = \"org\", window = \"day\", amount = 0 }}]\n"
            ),
            "a limit must be at least 1",
        ),
        (
            format!("{meters}{plan}[[events]]\ntype = \"t\"\nmeter = \"x\"\n"),
            "meter 'x' is not in the catalog",
        ),
    ] {
        let error = Catalog::from_toml(&text).expect_err(&text).0;
        assert!(error.contains(says), "{text}\n{error}");
    }
}

/// A catalog with two meters by model and region, of one of which overage is allowed, and a plan with these prices.
fn priced(price: &str) -> String {
    format!(
        r#"
        [[meters]]
        id = "m"
        name = "M"
        unit = "u"
        properties = ["model", "region"]
        [[meters]]
        id = "plain"
        name = "Plain"
        unit = "u"
        properties = ["model", "region"]
        [[plans]]
        id = "p"
        name = "P"
        allowances = [{{ meter = "plain", amount = 5, enforcement = "soft" }}, {{ meter = "m", amount = 5 }}]
        prices = [{price}]
        "#
    )
}

#[test]
fn a_price_is_read_with_all_its_fields() {
    let text = priced(
        r#"{ name = "Calls", meter = "m", model = "volume", included = 3, discount_percent = "2.5", minimum = 1,
             maximum = "9.5", where = { model = "a" }, from = "2026-10", until = "2027-01",
             tiers = [{ up_to = "0.5", unit_price = "0.00000015", flat_fee = 2 }, { unit_price = 0 }] },
           { meter = "plain", model = "package", package_size = "0.1", package_price = 3, quantity = "overage" },
           { model = "flat", flat_fee = 7 }"#,
    );
    let catalog = Catalog::from_toml(&text).expect("a catalog");
    let amount = |text: &str| Amount::parse(text).expect("an amount");
    let [volume, package, flat] = catalog.plans[0].prices.as_slice() else { panic!("three prices") };
    let tier = |up_to, unit_price: &str, flat_fee: &str| Tier {
        up_to,
        unit_price: amount(unit_price),
        flat_fee: amount(flat_fee),
    };
    let wanted = Price {
        name: Some("Calls".to_owned()),
        meter: Some(MeterId::new("m").expect("an id")),
        matches: BTreeMap::from([("model".to_owned(), "a".to_owned())]),
        model: Model::Volume {
            tiers: vec![tier(Some(amount("0.5")), "0.00000015", "2"), tier(None, "0", "0")],
        },
        portion: Portion::All,
        included: amount("3"),
        discount_percent: amount("2.5"),
        minimum: Some(amount("1")),
        maximum: Some(amount("9.5")),
        months: Months { from: Period::parse_month("2026-10"), until: Period::parse_month("2027-01") },
    };
    assert_eq!(*volume, wanted);
    assert_eq!(package.model, Model::Package { size: amount("0.1"), price: amount("3") });
    assert_eq!((package.portion, package.months), (Portion::Overage, Months::default()));
    assert_eq!((&flat.meter, &flat.model), (&None, &Model::Flat { fee: amount("7") }));
    let names = catalog.plans[0].prices.iter().map(|price| price.model.name()).collect::<Vec<_>>();
    assert_eq!(names, ["volume", "package", "flat"]);
}

#[test]
fn meters_say_how_they_count() {
    for (fields, wanted) in [
        ("", Ok(Aggregation::Sum)),
        (r#"aggregation = "sum""#, Ok(Aggregation::Sum)),
        (r#"aggregation = "count""#, Ok(Aggregation::Count)),
        (r#"aggregation = "max""#, Ok(Aggregation::Max)),
        (r#"aggregation = "last""#, Ok(Aggregation::Last)),
        (r#"aggregation = "unique", unique_by = "user""#, Ok(Aggregation::Unique(UniqueBy::User))),
        (
            r#"aggregation = "unique", unique_by = "device""#,
            Ok(Aggregation::Unique(UniqueBy::Property("device".to_owned()))),
        ),
        (r#"windows = ["hour", "minute", "week"], unknown_properties = "reject""#, Ok(Aggregation::Sum)),
        (
            r#"windows = ["day"]"#,
            Err("meter 'm': windows: \"minute\", \"hour\" and \"week\" may stand there"),
        ),
        (r#"windows = ["hour", "hour"]"#, Err("meter 'm': windows: 'hour' appears twice")),
        (r#"unknown_properties = "drop""#, Err("unknown variant `drop`")),
        (r#"aggregation = "mean""#, Err("unknown variant `mean`")),
        (r#"aggregation = "unique""#, Err("meter 'm': unique_by must say what is counted")),
        (r#"unique_by = "user""#, Err("unique_by needs aggregation = \"unique\"")),
        (r#"aggregation = "unique", unique_by = "a", properties = ["a"]"#, Err("is one of its properties")),
        (r#"aggregation = "unique", unique_by = """#, Err("unique_by must be a line")),
        (r#"properties = ["a", "b", "c", "d", "e"]"#, Err("meter 'm': properties: at most 4")),
        (r#"properties = ["a", "a"]"#, Err("meter 'm': properties: 'a' appears twice")),
        (r#"properties = [""]"#, Err("meter 'm': a property must be a line")),
        ("color = 1", Err("unknown field `color`")),
    ] {
        let joint = if fields.is_empty() { "" } else { ", " };
        let text = format!(
            "meters = [{{ id = 'm', name = 'M', unit = 'u'{joint}{fields} }}]\nplans = [{{ id = 'p', name = 'P' }}]"
        );
        match (Catalog::from_toml(&text), wanted) {
            (Ok(catalog), Ok(wanted)) => assert_eq!(catalog.meters[0].aggregation, wanted, "{text}"),
            (Err(error), Err(says)) => assert!(error.0.contains(says), "{text}\n{error}"),
            (found, wanted) => panic!("{text}\n{found:?}\n{wanted:?}"),
        }
    }
}

#[test]
fn a_wrong_price_says_where() {
    let tiers = |tiers: &str| format!(r#"{{ meter = "m", model = "volume", tiers = [{tiers}] }}"#);
    let unit = |more: &str| format!(r#"{{ meter = "m", model = "per_unit", unit_price = 1, {more} }}"#);
    let fee = |more: &str| format!(r#"{{ model = "flat", flat_fee = 1, {more} }}"#);
    for (price, says) in [
        (r#"{ meter = "m" }"#.to_owned(), "missing field `model`"),
        (r#"{ meter = "m", model = "free" }"#.to_owned(), "unknown variant `free`"),
        (unit("color = 1"), "unknown field `color`"),
        (r#"{ meter = "m", model = "per_unit" }"#.to_owned(), "the model 'per_unit' needs unit_price"),
        (
            r#"{ meter = "m", model = "package", package_size = 1 }"#.to_owned(),
            "'package' needs package_price",
        ),
        (r#"{ meter = "m", model = "graduated" }"#.to_owned(), "'graduated' needs tiers"),
        (r#"{ model = "flat" }"#.to_owned(), "'flat' needs flat_fee"),
        (unit("flat_fee = 1"), "the model 'per_unit' has no flat_fee"),
        (unit("tiers = []"), "the model 'per_unit' has no tiers"),
        (r#"{ model = "per_unit", unit_price = 1 }"#.to_owned(), "'per_unit' needs a meter"),
        (fee("included = 1"), "without a meter has no included"),
        (fee("minimum = 1"), "without a meter has no minimum"),
        (fee("maximum = 1"), "without a meter has no maximum"),
        (fee(r#"where = { model = "a" }"#), "without a meter has no where"),
        (fee(r#"quantity = "overage""#), "without a meter has no quantity"),
        (r#"{ meter = "m", model = "per_unit", unit_price = 0.5 }"#.to_owned(), "written as text"),
        (
            r#"{ meter = "m", model = "per_unit", unit_price = "0.0000000001" }"#.to_owned(),
            "has more than 9 digits after the point",
        ),
        (
            r#"{ meter = "m", model = "per_unit", unit_price = -1 }"#.to_owned(),
            "unit_price must not be negative",
        ),
        (unit("included = -1"), "included must not be negative"),
        (unit("minimum = -1"), "minimum must not be negative"),
        (unit("maximum = -1"), "maximum must not be negative"),
        (unit("discount_percent = -1"), "discount_percent must not be negative"),
        (unit(r#"discount_percent = "100.1""#), "discount_percent must be between 0 and 100"),
        (unit("minimum = 2, maximum = 1"), "minimum must not be greater than maximum"),
        (
            r#"{ meter = "m", model = "package", package_size = 0, package_price = 1 }"#.to_owned(),
            "package_size must be greater than zero",
        ),
        (unit(r#"from = "2026-13""#), "'2026-13' is not a month such as 2026-10"),
        (unit(r#"from = "2026-10", until = "2026-10""#), "from must be before until"),
        (unit(r#"quantity = "some""#), "unknown variant `some`"),
        (unit(r#"quantity = "overage""#), "price 1: quantity = \"overage\" needs an allowance of 'm'"),
        (unit(r#"name = """#), "plan 'p': price 1: name must be a line"),
        (
            unit(r#"where = { color = "red" }"#),
            "plan 'p': price 1: where: 'color' is not among the properties",
        ),
        (unit(&format!(r#"where = {{ model = "{}" }}"#, "x".repeat(257))), "at most 256 characters"),
        (unit("where = { model = 4 }"), "expected a string"),
        (
            r#"{ meter = "x", model = "flat", flat_fee = 1 }"#.to_owned(),
            "plan 'p': price 1: meter 'x' is not in the catalog",
        ),
        (tiers(""), "tiers: between 1 and 100 are needed"),
        (tiers(&"{ unit_price = 1 }, ".repeat(101)), "tiers: between 1 and 100 are needed"),
        (tiers("{ up_to = 1, unit_price = 1 }"), "tier 1: the last tier must have no up_to"),
        (tiers("{ unit_price = 1 }, { unit_price = 1 }"), "tier 1: only the last tier has no up_to"),
        (tiers("{ up_to = 0, unit_price = 1 }, { unit_price = 1 }"), "tier 1: up_to must be greater than 0"),
        (
            tiers("{ up_to = 5, unit_price = 1 }, { up_to = 5, unit_price = 1 }, { unit_price = 1 }"),
            "tier 2: up_to must be greater than 5",
        ),
        (tiers("{ up_to = 5 }, { unit_price = 1 }"), "tier 1: unit_price or flat_fee is needed"),
        (tiers("{ unit_price = -1 }"), "tier 1: unit_price must not be negative"),
        (tiers("{ flat_fee = -1 }"), "tier 1: flat_fee must not be negative"),
        (tiers("{ price = 1 }"), "unknown field `price`"),
    ] {
        let error = Catalog::from_toml(&priced(&price)).expect_err(&price).0;
        assert!(error.contains(says), "{price}\n{error}");
    }
    let text = format!("currency = 'usd'\n{}", priced(""));
    let error = Catalog::from_toml(&text).expect_err("not a currency").0;
    assert!(error.contains("'usd' is not a currency"), "{error}");
    let many = priced(&"{ model = 'flat', flat_fee = 1 }, ".repeat(1001));
    let error = Catalog::from_toml(&many).expect_err("too many").0;
    assert!(error.contains("plan 'p': prices: at most 1000"), "{error}");
}

#[test]
fn usage_has_one_price_in_each_month() {
    let unit = |meter: &str, more: &str| {
        format!(r#"{{ meter = "{meter}", model = "per_unit", unit_price = 1, {more} }}"#)
    };
    let (a, b) = (r#"where = { model = "a" }"#, r#"where = { model = "b" }"#);
    let (x, ax) = (r#"where = { region = "x" }"#, r#"where = { model = "a", region = "x" }"#);
    let and = |one: &str, two: &str| format!("{one}, {two}");
    let (old, new) = (r#"until = "2026-10""#, r#"from = "2026-10""#);
    let later = r#"from = "2026-11""#;
    let same = Some("the same usage in the same months");
    let both = Some(r#"plan 'p': price 2 and price 1: usage with model = "a", region = "x" would have both"#);
    for (prices, wanted) in [
        (vec![unit("m", ""), unit("m", "")], same),
        (vec![unit("m", ""), unit("plain", "")], None),
        (vec![unit("m", a), unit("m", a)], same),
        (vec![unit("m", ""), unit("m", a), unit("m", b)], None),
        (vec![unit("m", old), unit("m", new)], None),
        (vec![unit("m", old), unit("m", later)], None),
        (vec![unit("m", ""), unit("m", new)], same),
        (vec![unit("m", later), unit("m", new)], same),
        (vec![unit("m", a), unit("m", x)], both),
        (vec![unit("m", a), unit("m", x), unit("m", ax)], None),
        (vec![unit("m", a), unit("m", x), unit("plain", ax)], both),
        (vec![unit("m", a), unit("m", x), unit("m", r#"where = { model = "b", region = "x" }"#)], both),
        (vec![unit("m", a), unit("m", x), unit("m", &and(ax, new))], both),
        (vec![unit("m", &and(a, later)), unit("m", &and(x, new)), unit("m", &and(ax, new))], None),
        (vec![unit("m", &and(a, old)), unit("m", &and(x, new))], None),
        (vec![unit("m", &and(a, new)), unit("m", b), unit("m", &and(a, old))], None),
    ] {
        let text = priced(&prices.join(", "));
        let error = Catalog::from_toml(&text).err().map(|error| error.0);
        match (&error, wanted) {
            (None, None) => {}
            (Some(error), Some(says)) if error.contains(says) => {}
            _ => panic!("{prices:?}\n{error:?}"),
        }
    }
}

#[test]
fn all_faults_are_told_at_once_each_with_its_line() {
    for (text, wanted) in [
        // What is no TOML.
        ("currency = \n[[meters]\n", &["line 1: ", "line 2: "][..]),
        // What cannot be read: fields, values, items of items.
        (
            "color = 1\nsize = 2\ncurrency = \"USD\"\n[[meters]]\nid = \"m\"\nunit = 5\n[[meters]]\nid = \"n\"\n\
             [[plans]]\nid = \"p\"\nname = \"P\"\nweight = 1\n[[plans.prices]]\nmodel = \"flat\"\n\
             [[plans.allowances]]\nmeter = \"m\"\namount = 0.5\n[[events]]\ntype = \"t\"\n",
            &[
                "line 1: unknown field `color`",
                "line 2: unknown field `size`",
                "line 6: invalid type: integer `5`",
                "line 7: missing field `name`",
                "line 12: unknown field `weight`",
                "line 13: a price of the model 'flat' needs flat_fee",
                "line 17: invalid type: floating point `0.5`",
                "line 18: missing field `meter`",
            ],
        ),
        // What can be read and is wrong.
        (
            "[notices]\nthresholds = [0]\n[[meters]]\nid = \"tokens\"\nname = \"\"\nunit = \"u\"\n\
             [[meters]]\nid = \"tokens\"\nname = \"M\"\nunit = \"u\"\n\
             [[plans]]\nid = \"p\"\nname = \"P\"\ntrial_days = 0\n\
             [[plans.prices]]\nmodel = \"flat\"\nflat_fee = 1\n\
             [[plans.prices]]\nmeter = \"token\"\nmodel = \"per_unit\"\nunit_price = 1\n\
             [[events]]\ntype = \"t\"\nmeter = \"x\"\n",
            &[
                "notices.thresholds: each must be between 1 and 100",
                "line 3: meter 'tokens': name must be",
                "line 7: meters: 'tokens' appears twice",
                "line 11: plan 'p': trial_days must be at least 1",
                "line 18: plan 'p': price 2: meter 'token' is not in the catalog; did you mean 'tokens'?",
                "line 22: event 't': meter 'x' is not in the catalog",
            ],
        ),
    ] {
        let error = Catalog::from_toml(text).expect_err(text).0;
        let told: Vec<&str> = error.lines().collect();
        let as_wanted = told.iter().zip(wanted).all(|(line, wanted)| line.starts_with(wanted));
        assert!(as_wanted && told.len() == wanted.len(), "{error}");
    }
}

/// How long it takes to refuse a text.
fn refused_in(text: &str) -> Duration {
    let begin = Instant::now();
    Catalog::from_toml(text).expect_err("a wrong catalog");
    begin.elapsed()
}

#[test]
fn a_catalog_four_times_as_long_does_not_take_sixteen_times_as_long() {
    let meters = |items: usize| -> String {
        (0..items).map(|id| format!("[[meters]]\nid = \"{id}\"\nname = \"M\"\nunit = \"u\"\n")).collect()
    };
    let plan = "[[plans]]\nid = \"p\"\nname = \"P\"\n";
    let many: [(&str, &dyn Fn(usize) -> String); 7] = [
        ("meters without fields", &|items| "[[meters]]\n".repeat(items)),
        ("plans without fields", &|items| format!("{}{}", meters(1), "[[plans]]\n".repeat(items))),
        ("models without fields", &|items| format!("{}{plan}{}", meters(1), "[[models]]\n".repeat(items))),
        ("unknown fields", &|items| (0..items).map(|field| format!("f{field} = 1\n")).collect()),
        ("lines that are no TOML", &|items| "x\n".repeat(items)),
        ("meters that are there twice", &|items| format!("{}{}{plan}", meters(items / 2), meters(items / 2))),
        ("allowances of unknown meters", &|items| {
            let allowances = |id| format!("[[plans.allowances]]\nmeter = \"m{id}\"\namount = 1\n");
            format!("{}{plan}{}", meters(100), (0..items).map(allowances).collect::<String>())
        }),
    ];
    for (what, text) in many {
        let texts = [3_000, 12_000].map(text);
        let mut least = [Duration::MAX; 2];
        // Other work on the machine makes a time longer, and none shorter: what is quadratic stays so in every round.
        let is_linear = (0..20).any(|_| {
            for (least, text) in least.iter_mut().zip(&texts) {
                *least = refused_in(text).min(*least);
            }
            least[1] < least[0] * 10
        });
        assert!(is_linear, "{what}: {least:?} for four times as many");
    }
}

#[test]
fn of_many_faults_the_first_are_told_and_that_there_are_more() {
    for text in ["[[meters]]\n".repeat(100), "x\n".repeat(100), "[[plans]]\n".repeat(100)] {
        let error = Catalog::from_toml(&text).expect_err(&text).0;
        let told: Vec<&str> = error.lines().collect();
        assert_eq!(told.len(), 51, "{error}");
        assert!(told.iter().take(50).all(|line| line.starts_with("line ")), "{error}");
        assert_eq!(told.last(), Some(&"there is more; at most 50 faults are told at once"));
    }
}

#[test]
fn every_changed_field_is_told_with_its_old_and_new_value() {
    let old = r#"
        currency = "USD"
        [[meters]]
        id = "m"
        name = "M"
        unit = "u"
        properties = ["model"]
        [[meters]]
        id = "gone"
        name = "G"
        unit = "u"
        [[plans]]
        id = "p"
        name = "P"
        allowances = [{ meter = "m", amount = 100 }]
        limits = [{ meter = "m", scope = "user", window = "day", amount = 5 }]
        [[plans.prices]]
        meter = "m"
        model = "graduated"
        where = { model = "a" }
        tiers = [{ up_to = 10, unit_price = "0.50" }, { unit_price = "0.2" }]
        [[plans.prices]]
        model = "flat"
        flat_fee = 9
        [[events]]
        type = "t"
        meter = "m"
        quantity = "$.q"
    "#;
    let new = r#"
        currency = "EUR"
        [compat.billing]
        plan = "p"
        [[plans]]
        id = "fresh"
        name = "F"
        [[plans]]
        id = "p"
        name = "P"
        deprecated = true
        allowances = [{ meter = "m", amount = "150", enforcement = "soft" }]
        limits = [{ meter = "m", scope = "user", window = "month", amount = 5 }]
        [[plans.prices]]
        meter = "m"
        model = "graduated"
        where = { model = "a" }
        tiers = [{ up_to = 10, unit_price = "0.5" }, { unit_price = "0.1" }]
        [[plans.prices]]
        model = "flat"
        flat_fee = 10
        [[meters]]
        id = "m"
        name = "M"
        unit = "u"
        properties = ["model", "region"]
        [[events]]
        type = "t"
        meter = "m"
        quantity = "$.n"
    "#;
    let lines = changes(old, new);
    assert_eq!(
        lines,
        [
            "+ compat: billing: plan: p",
            "~ currency: USD → EUR",
            "~ event t m: quantity: $.q → $.n",
            "- meter gone",
            "~ meter m: properties: [\"model\"] → [\"model\", \"region\"]",
            "+ plan fresh",
            "~ plan p: allowance m: amount: 100 → 150",
            "+ plan p: allowance m: enforcement: soft",
            "+ plan p: deprecated: true",
            "- plan p: limit m user day: { amount = 5, meter = \"m\", scope = \"user\", window = \"day\" }",
            "+ plan p: limit m user month: { amount = 5, meter = \"m\", scope = \"user\", window = \"month\" }",
            "~ plan p: price 1: tier 2: unit_price: 0.2 → 0.1",
            "~ plan p: price 2: flat_fee: 9 → 10",
        ]
    );
    assert_eq!(changes(old, old), [""; 0]);
    assert_eq!(changes("a = ", old), [""; 0]);
}

#[test]
fn the_id_most_like_another_is_found() {
    let catalog = Catalog::from_toml(DEFAULT).expect("the default catalog");
    for (text, meter, plan) in [
        ("report", Some("reports"), None),
        ("Reprots", Some("reports"), None),
        ("basc", None, Some("basic")),
        ("ENTERPRISE", None, Some("enterprise")),
        ("xyz", None, None),
    ] {
        assert_eq!(catalog.nearest_meter(text).map(MeterId::as_str), meter, "{text}");
        assert_eq!(catalog.nearest_plan(text).map(PlanId::as_str), plan, "{text}");
    }
}

#[test]
fn the_example_with_all_fields_is_a_catalog() {
    let page = include_str!("../../../../docs/catalog.md");
    let (_, from) = page.split_once("```toml\n").expect("an example");
    let (example, _) = from.split_once("```").expect("its end");
    let catalog = Catalog::from_toml(example).expect("a catalog");
    assert_eq!((catalog.plans[0].prices.len(), catalog.plans[0].currency(&catalog).code()), (1, "EUR"));
}

#[test]
fn what_is_declared_takes_the_place_of_what_was_created() {
    let at = crate::Timestamp::UNIX_EPOCH;
    let created: Vec<CreatedMeter> = ["m", "seats"]
        .iter()
        .map(|id| CreatedMeter { id: MeterId::new(id).expect("an id"), at, sink: None })
        .collect();
    let text = "[[meters]]\nid = \"m\"\nname = \"M\"\nunit = \"call\"\n[[plans]]\nid = \"p\"\nname = \"P\"\n";
    let declared = Catalog::from_toml(text).expect("a catalog");
    let in_force = declared.with_created(&created);
    let found: Vec<_> =
        in_force.meters.iter().map(|meter| (meter.id.as_str(), meter.unit.as_str())).collect();
    assert_eq!(found, [("m", "call"), ("seats", "unit")]);
    assert_eq!(Catalog { meters: declared.meters.clone(), ..in_force }, declared, "nothing else changes");
}
