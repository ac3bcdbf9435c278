//! Decimals as JSON of other systems writes them, read exactly.

use tollgate_domain::Amount;

/// A number times a power of ten, rounded to a billionth; `None` where it is below zero or no number. It may be a text in JSON.
pub(crate) fn shifted(json: &str, tens: i32) -> Option<Amount> {
    let text = json.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(json).trim();
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok().filter(|digits| *digits >= 0)?;
    // Billionths are the digits by this power of ten.
    let shift = exponent.parse::<i32>().ok()?.checked_add(tens)?.checked_add(9)?;
    let power = shift.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let ten = 10_i128.checked_pow(power.unsigned_abs());
    let billionths = match (power >= 0, ten) {
        (true, ten) => digits.checked_mul(ten?)?,
        (false, Some(ten)) => digits.checked_add(ten / 2)? / ten,
        (false, None) => 0,
    };
    Some(Amount::from_billionths(billionths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shifted_exactly_and_rounded_once() {
        for (json, tens, wanted) in [
            ("12.5", -2, Some("0.125")),
            ("\"12.5\"", -2, Some("0.125")),
            ("1e-3", -2, Some("0.00001")),
            ("0.00000015", -2, Some("0.000000002")),
            ("0.00000014", -2, Some("0.000000001")),
            ("2.5e-06", 6, Some("2.5")),
            ("0", -2, Some("0")),
            ("-1", -2, None),
            ("null", -2, None),
            ("\"many\"", -2, None),
            ("1e99", -2, None),
            ("1e-99", -2, Some("0")),
            ("1e99999999999", 0, None),
        ] {
            assert_eq!(shifted(json, tens).map(|amount| amount.to_string()).as_deref(), wanted, "{json}");
        }
    }
}
