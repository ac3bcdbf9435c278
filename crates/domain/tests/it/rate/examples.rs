//! The price lists under `examples/catalogs`, with bills worked out by hand.

use super::*;

const LLM_API: &str = include_str!("../../../../../examples/catalogs/llm-api.toml");
const OBJECT_STORAGE: &str = include_str!("../../../../../examples/catalogs/object-storage.toml");
const MESSAGING: &str = include_str!("../../../../../examples/catalogs/messaging.toml");

/// Rates a month and compares each line's description and amount, and the total.
fn check(text: &str, plan: &str, in_month: &str, usage: &[MeterUsage], lines: &[(&str, &str)], total: &str) {
    let catalog = Catalog::from_toml(text).expect("a catalog");
    let rated = rated(&catalog, plan, in_month, usage).expect("can be counted");
    let found: Vec<_> =
        rated.lines.iter().map(|line| (line.description.clone(), line.amount.to_string())).collect();
    let wanted: Vec<_> =
        lines.iter().map(|(name, money)| ((*name).to_owned(), format!("{money} USD"))).collect();
    let how: Vec<_> = rated.lines.iter().map(|line| line.arithmetic.as_str()).collect();
    assert_eq!(found, wanted, "{}", how.join("\n"));
    assert_eq!(rated.total.number(), total);
    assert_eq!(rated.unpriced, []);
}

#[test]
fn a_model_api() {
    let large = [("model", "gpt-4o")];
    let small = [("model", "gpt-4o-mini")];
    let batch = [("model", "gpt-4o"), ("mode", "batch")];
    let live = [("model", "gpt-4o"), ("mode", "live")];
    check(
        LLM_API,
        "pay_as_you_go",
        "2025-06",
        &[
            usage("input_tokens", &large, "12000000"),
            usage("input_tokens", &live, "345678"),
            usage("cached_input_tokens", &large, "2000000"),
            usage("output_tokens", &large, "1234567"),
            usage("input_tokens", &small, "100000001"),
            usage("cached_input_tokens", &small, "1"),
            usage("output_tokens", &small, "33333"),
            usage("input_tokens", &batch, "1000000"),
        ],
        &[
            // (12,000,000 + 345,678) × 2.50 ÷ 10^6 = 30.864195
            ("Input tokens, model gpt-4o", "30.86"),
            // 2,000,000 × 1.25 ÷ 10^6
            ("Cached input tokens, model gpt-4o", "2.50"),
            // 1,234,567 × 10 ÷ 10^6 = 12.34567
            ("Output tokens, model gpt-4o", "12.35"),
            // 100,000,001 × 0.15 ÷ 10^6 = 15.00000015
            ("Input tokens, model gpt-4o-mini", "15.00"),
            // 1 × 0.075 ÷ 10^6 = 0.000000075
            ("Cached input tokens, model gpt-4o-mini", "0.00"),
            // 33,333 × 0.60 ÷ 10^6 = 0.0199998
            ("Output tokens, model gpt-4o-mini", "0.02"),
            // 1,000,000 × 2.50 ÷ 10^6, and half of it
            ("Input tokens, mode batch, model gpt-4o", "1.25"),
        ],
        // 30.86 + 2.50 + 12.35 + 15.00 + 0.00 + 0.02 + 1.25
        "61.98",
    );
}

#[test]
fn an_object_storage() {
    check(
        OBJECT_STORAGE,
        "standard",
        "2024-06",
        &[
            usage("storage", &[("region", "us-east-1")], "599000"),
            usage("storage", &[("region", "us-east-2")], "1000"),
            usage("storage", &[("region", "eu-central-1")], "51200.5"),
            usage("traffic", &[], "20000"),
            usage("requests", &[("class", "write")], "1234567"),
            usage("requests", &[("class", "read")], "98765432"),
        ],
        &[
            // 51,200 × 0.023 + 460,800 × 0.022 + 88,000 × 0.021 = 1,177.60 + 10,137.60 + 1,848.00
            ("Storage", "13163.20"),
            // 51,200 × 0.0245 + 0.5 × 0.0235 = 1,254.40 + 0.01175
            ("Storage, region eu-central-1", "1254.41"),
            // 19,900 beyond the free 100: 10,240 × 0.09 + 9,660 × 0.085 = 921.60 + 821.10
            ("Traffic to the internet", "1742.70"),
            // 1,234,567 × 0.005 ÷ 1,000 = 6.172835
            ("Requests, class write", "6.17"),
            // 98,765,432 × 0.0004 ÷ 1,000 = 39.5061728
            ("Requests, class read", "39.51"),
        ],
        // 13,163.20 + 1,254.41 + 1,742.70 + 6.17 + 39.51
        "16205.99",
    );
}

#[test]
fn messaging() {
    let emails = |quantity: &str, overage: &str| {
        let group =
            UsageGroup { properties: BTreeMap::new(), quantity: amount(quantity), overage: amount(overage) };
        MeterUsage { meter: meter("emails"), groups: vec![group] }
    };
    let to = |country: &str, quantity: &str| usage("text_messages", &[("country", country)], quantity);
    check(
        MESSAGING,
        "foundation",
        "2024-06",
        &[emails("63500", "13500"), to("US", "150001"), to("DE", "1000"), to("FR", "1")],
        &[
            ("Foundation, a month", "35.00"),
            // 13,500 beyond the allowance are 14 packages begun: 14 × 1.30
            ("E-mails beyond the credit", "18.20"),
            // One more than 150,000: all of them at 0.0077 = 1,155.0077
            ("Text messages, country US", "1155.01"),
            // 1,001 × 0.07
            ("Text messages", "70.07"),
        ],
        // 35.00 + 18.20 + 1,155.01 + 70.07
        "1278.28",
    );
    check(
        MESSAGING,
        "foundation",
        "2024-06",
        &[emails("50000", "0"), to("US", "150000")],
        // 150,000 × 0.0079; the minimum of the other countries is owed without a message
        &[
            ("Foundation, a month", "35.00"),
            ("Text messages, country US", "1185.00"),
            ("Text messages", "10.00"),
        ],
        "1230.00",
    );
    check(
        MESSAGING,
        "scale",
        "2024-10",
        &[emails("100001", "1"), to("US", "10001")],
        // One e-mail begins a package; 10,001 × 0.05 = 500.05 is more than the most that is owed.
        &[("Scale, a month", "90.00"), ("E-mails beyond the credit", "1.10"), ("Text messages", "500.00")],
        "591.10",
    );
    check(MESSAGING, "scale", "2024-09", &[], &[("Scale, a month", "80.00")], "80.00");
}

#[test]
fn every_example_is_rated_here() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/catalogs");
    let files = std::fs::read_dir(folder).expect("the examples are there");
    let mut names: Vec<_> =
        files.map(|file| file.expect("can be read").file_name().into_string().expect("a name")).collect();
    names.sort();
    assert_eq!(names, ["llm-api.toml", "messaging.toml", "object-storage.toml"]);
}
