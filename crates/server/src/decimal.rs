//! Decimals of other systems: with more digits than an amount keeps, as a JSON number or a text.

use rust_decimal::Decimal;
use tollgate_domain::Amount;

/// Digits after the point of an amount.
const AMOUNT_DIGITS: u32 = 9;

/// Reads a JSON number, or a JSON text with one in it; exactly, up to 28 digits.
pub(crate) fn read(json: &str) -> Option<Decimal> {
    let text = json.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(json).trim();
    match text.contains(['e', 'E']) {
        true => Decimal::from_scientific(text).ok(),
        false => text.parse().ok(),
    }
}

/// An amount, exactly.
pub(crate) fn of_amount(amount: Amount) -> Option<Decimal> {
    Decimal::try_from_i128_with_scale(amount.billionths(), AMOUNT_DIGITS).ok()
}

/// The smallest whole number that is not below `numerator` ÷ `denominator`; exact where the quotient is not.
pub(crate) fn divided_up(numerator: Decimal, denominator: Decimal) -> Option<Decimal> {
    let whole = numerator.checked_div(denominator)?.trunc();
    let is_all = whole.checked_mul(denominator)? >= numerator;
    if is_all { Some(whole) } else { whole.checked_add(Decimal::ONE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        read(text).expect("a decimal")
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for (json, wanted) in [
            ("0.1", Some("0.1")),
            ("\"0.10\"", Some("0.10")),
            ("1.5e-7", Some("0.00000015")),
            ("12E2", Some("1200")),
            ("\"x\"", None),
            ("\"\"", None),
            ("null", None),
            ("{}", None),
            ("1e99", None),
        ] {
            assert_eq!(read(json).map(|read| read.to_string()).as_deref(), wanted, "{json}");
        }
    }

    #[test]
    fn quotients_are_rounded_up_once() {
        for (numerator, denominator, wanted) in [
            ("10", "5", "2"),
            ("10.000000000000000001", "5", "3"),
            ("1", "3", "1"),
            ("0.07", "0.01", "7"),
            ("2", "0.3", "7"),
        ] {
            assert_eq!(
                divided_up(decimal(numerator), decimal(denominator)),
                Some(decimal(wanted)),
                "{numerator}"
            );
        }
        assert_eq!(divided_up(Decimal::ONE, Decimal::ZERO), None);
        assert_eq!(of_amount(Amount::from_billionths(35_000_000_001)), Some(decimal("35.000000001")));
    }
}
