//! Amounts and money: what each operation gives, at its edges.

use serde::Deserialize;
use tollgate_domain::{Amount, AmountError, Currency, Exact, Money};

fn amount(text: &str) -> Amount {
    Amount::parse(text).expect("an amount")
}

fn money(code: &str, minor: i128) -> Money {
    Money { currency: Currency::new(code).expect("a code"), minor }
}

#[test]
fn amounts_add_up() {
    for (left, right, sum, difference) in [
        ("0", "0", "0", "0"),
        ("1.5", "0.25", "1.75", "1.25"),
        ("0.25", "1.5", "1.75", "-1.25"),
        ("-2", "3", "1", "-5"),
        ("0.000000001", "-0.000000001", "0", "0.000000002"),
        ("999999999999999", "0.999999999", "999999999999999.999999999", "999999999999998.000000001"),
    ] {
        let [left, right, sum, difference] = [left, right, sum, difference].map(amount);
        assert_eq!((left + right, left - right), (sum, difference), "{left} and {right}");
        let (mut added, mut taken) = (left, left);
        added += right;
        taken -= right;
        assert_eq!((added, taken), (sum, difference), "{left} and {right}, in place");
        assert_eq!(-(-left), left);
        assert_eq!(left - left, Amount::ZERO);
        assert_eq!(Amount::ZERO - left, -left);
        assert_eq!([left, right, left].into_iter().sum::<Amount>(), sum + left);
    }
}

#[test]
fn an_amount_knows_its_sign_and_whether_it_is_whole() {
    for (text, positive, zero, at_least_zero, whole) in [
        ("0", false, true, "0", Some(0)),
        ("0.000000001", true, false, "0.000000001", None),
        ("-0.000000001", false, false, "0", None),
        ("7", true, false, "7", Some(7)),
        ("-7", false, false, "0", Some(-7)),
        ("7.5", true, false, "7.5", None),
    ] {
        let number = amount(text);
        assert_eq!((number.is_positive(), number.is_zero()), (positive, zero), "{text}");
        assert_eq!(number.at_least_zero(), amount(at_least_zero), "{text}");
        assert_eq!(number.as_whole(), whole, "{text}");
        assert_eq!(Amount::from_billionths(number.billionths()), number, "{text}");
    }
    let largest = Amount::from_whole(i64::MAX);
    assert_eq!(largest.as_whole(), Some(i64::MAX));
    assert_eq!((largest + Amount::from_whole(1)).as_whole(), None, "more than fits");
}

#[test]
fn shares_of_an_amount_are_rounded_down() {
    for (text, numerator, denominator, share) in [
        ("10", 80, 100, "8"),
        ("1", 1, 3, "0.333333333"),
        ("-1", 1, 3, "-0.333333334"),
        ("0.000000001", 1, 2, "0"),
        ("-0.000000001", 1, 2, "-0.000000001"),
        ("6", 1, 5, "1.2"),
        ("5", 0, 7, "0"),
        ("5", 7, 0, "0"),
        ("0", 7, 0, "0"),
    ] {
        let found = amount(text).scale_floor(numerator, denominator);
        assert_eq!(found, amount(share), "{text} × {numerator} ÷ {denominator}");
    }
    let most = Amount::from_billionths(i128::MAX);
    assert_eq!(most.scale_floor(i64::MAX, 1), most, "it saturates");
}

#[test]
fn exponents_move_the_point() {
    for (text, shown) in [
        ("1e-9", Ok("0.000000001")),
        ("10e-10", Ok("0.000000001")),
        ("1e14", Ok("100000000000000")),
        ("0.1e15", Ok("100000000000000")),
        ("1e000000003", Ok("1000")),
        ("12.50e-1", Ok("1.25")),
        ("-25e+1", Ok("-250")),
        ("0.000e5", Ok("0")),
        ("1e15", Err(AmountError::TooLarge(15))),
        ("1e999999", Err(AmountError::TooLarge(15))),
        ("1e1000000", Err(AmountError::TooLarge(15))),
        ("1.5e-9", Err(AmountError::TooFine)),
        ("1e-999999", Err(AmountError::TooFine)),
        ("1e-1000000", Err(AmountError::TooFine)),
        ("1e--1", Err(AmountError::NotANumber)),
        ("1e1.5", Err(AmountError::NotANumber)),
        ("1e5e5", Err(AmountError::NotANumber)),
        ("1.2.3", Err(AmountError::NotANumber)),
        ("a.5", Err(AmountError::NotANumber)),
        ("5.a", Err(AmountError::NotANumber)),
        ("--1", Err(AmountError::NotANumber)),
    ] {
        let read = Amount::parse(text).map(|read| read.to_string());
        assert_eq!(read, shown.map(str::to_owned), "{text}");
    }
}

#[test]
fn money_of_one_currency_adds_up_and_of_two_does_not() {
    assert_eq!(Money::zero(Currency::USD), money("USD", 0));
    assert_eq!(money("JPY", 5).checked_add(money("JPY", -7)), Some(money("JPY", -2)));
    assert_eq!(money("JPY", 5).checked_sub(money("JPY", -7)), Some(money("JPY", 12)));
    assert_eq!(money("EUR", 5).checked_sub(money("EUR", 5)), Some(money("EUR", 0)));
    assert_eq!(money("EUR", 5).checked_sub(money("USD", 5)), None);
    assert_eq!(money("USD", i128::MIN).checked_sub(money("USD", 1)), None);
}

#[test]
fn money_is_written_with_the_digits_of_its_minor_unit() {
    for (code, minor, number, shown) in [
        ("USD", 0, "0.00", "0.00 USD"),
        ("USD", 1_005, "10.05", "10.05 USD"),
        ("USD", -5, "-0.05", "-0.05 USD"),
        ("USD", -1_200, "-12.00", "-12.00 USD"),
        ("JPY", 1_000, "1000", "1000 JPY"),
        ("JPY", -1, "-1", "-1 JPY"),
        ("KWD", 1, "0.001", "0.001 KWD"),
        ("CLF", 12_345, "1.2345", "1.2345 CLF"),
    ] {
        let money = money(code, minor);
        assert_eq!((money.number().as_str(), money.to_string().as_str()), (number, shown));
        assert_eq!(format!("{:?}", money.currency), code);
    }
}

#[test]
fn a_currency_is_its_code_in_files() {
    #[derive(Debug, PartialEq, Eq, Deserialize)]
    struct Priced {
        currency: Currency,
    }
    let yen = Priced { currency: Currency::new("JPY").expect("a code") };
    assert_eq!(toml::from_str("currency = \"JPY\""), Ok(yen));
    assert!(toml::from_str::<Priced>("currency = \"yen\"").is_err());
}

#[test]
fn exact_amounts_keep_every_digit_until_they_are_rounded() {
    let exact = |text| Exact::of(amount(text)).expect("fits");
    let product = |quantity, price| Exact::product(amount(quantity), amount(price));
    assert_eq!(product("3", "0.0049"), Some(exact("0.0147")));
    assert_eq!(
        product("0.000000001", "0.000000001").map(|tiny| tiny.to_string()).as_deref(),
        Some("0.000000000000000001")
    );
    assert_eq!(product("-1", "1"), None);
    assert_eq!(product("1", "-1"), None);
    assert_eq!(exact("0.1").checked_add(exact("0.2")), Some(exact("0.3")));
    for (text, shown) in [("0", "0"), ("3", "3"), ("12.5", "12.5"), ("0.0049", "0.0049")] {
        assert_eq!(exact(text).to_string(), shown);
    }
    for (text, code, round) in [
        ("10", "USD", true),
        ("10.05", "USD", true),
        ("10.005", "USD", false),
        ("1.5", "JPY", false),
        ("15", "JPY", true),
        ("0.001", "KWD", true),
        ("0.0001", "KWD", false),
    ] {
        let currency = Currency::new(code).expect("a code");
        assert_eq!(exact(text).is_round(currency), round, "{text} {code}");
    }
}
