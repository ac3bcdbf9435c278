//! Exact decimal amounts: a whole number of billionths.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

use crate::limits::{QUANTITY_FRACTION_DIGITS_MAX, QUANTITY_INTEGER_DIGITS_MAX, SUM_INTEGER_DIGITS_MAX};

/// Billionths in one.
const SCALE: i128 = 1_000_000_000;

/// What an exponent that is too long to be read counts as: beyond what any digits make up for, and far enough from the end
/// to add the length of a text.
const EXPONENT_MAX: i64 = i64::MAX / 4;

/// What the power of ten of a number that fits stays within, either way.
const POWER_MAX: i64 = 64;

/// An exact decimal with nine digits after the point, positive or negative.
///
/// Sums cannot overflow in practice: the largest [`Quantity`] fits 10^14 times; arithmetic is checked all the same,
/// in release builds too (`overflow-checks` is on).
///
/// Aligned as its halves are: records are full of amounts, and padding to 16 bytes makes them a third larger and their
/// memory slower to come by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(8))]
pub struct Amount(i128);

/// Why a text is not an amount or a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not decimal digits with at most one point and an exponent.
    #[error("is not a decimal number")]
    NotANumber,
    /// Written with zeros in front, as no JSON number is.
    #[error("must not begin with a zero that is followed by a digit")]
    LeadingZero,
    /// More digits before the point than can be kept.
    #[error("has more than {0} digits before the point")]
    TooLarge(usize),
    /// More digits after the point than can be kept.
    #[error("has more than {QUANTITY_FRACTION_DIGITS_MAX} digits after the point")]
    TooFine,
    /// Zero or below where a quantity must be positive.
    #[error("must be greater than zero")]
    NotPositive,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// A whole number.
    #[must_use]
    pub fn from_whole(whole: i64) -> Self {
        Self(i128::from(whole) * SCALE)
    }

    /// From billionths.
    #[must_use]
    pub const fn from_billionths(billionths: i128) -> Self {
        Self(billionths)
    }

    /// In billionths.
    #[must_use]
    pub const fn billionths(self) -> i128 {
        self.0
    }

    /// The whole number this is, if it is one and fits.
    #[must_use]
    pub fn as_whole(self) -> Option<i64> {
        if self.0 % SCALE == 0 { i64::try_from(self.0 / SCALE).ok() } else { None }
    }

    /// Zero if negative.
    #[must_use]
    pub fn at_least_zero(self) -> Self {
        self.max(Self::ZERO)
    }

    /// Whether this is greater than zero.
    #[must_use]
    pub fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Whether this is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// This times `numerator` ÷ `denominator`, rounded down to a billionth; for forecasts and thresholds, not money.
    ///
    /// Saturates far beyond any amount that can be reached; a denominator of zero gives zero.
    #[must_use]
    pub fn scale_floor(self, numerator: i64, denominator: i64) -> Self {
        if denominator == 0 {
            return Self::ZERO;
        }
        Self(self.0.saturating_mul(i128::from(numerator)).div_euclid(i128::from(denominator)))
    }

    /// Whether this is at least `numerator` ÷ `denominator` of a whole, rounded down to a billionth as by
    /// [`Self::scale_floor`].
    #[must_use]
    pub fn is_share_of(self, whole: Self, numerator: i64, denominator: i64) -> bool {
        // Without a division, where the products fit: floor(w × n ÷ d) ≤ s means w × n < (s + 1) × d.
        let share = whole.0.checked_mul(i128::from(numerator));
        let beyond = self.0.checked_add(1).and_then(|more| more.checked_mul(i128::from(denominator)));
        match (share, beyond) {
            (Some(share), Some(beyond)) if denominator > 0 => share < beyond,
            _ => self >= whole.scale_floor(numerator, denominator),
        }
    }

    /// Reads a decimal: digits, an optional point with digits, an optional exponent, an optional sign.
    ///
    /// # Errors
    /// [`AmountError`] when the text is not a number or has more digits than a quantity may; trailing zeros do not count.
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        Self::parse_within(text, QUANTITY_INTEGER_DIGITS_MAX)
    }

    /// Reads a decimal that may be a sum of many quantities.
    ///
    /// # Errors
    /// [`AmountError`] when the text is not a number or has more digits than an amount keeps; trailing zeros do not count.
    pub fn parse_sum(text: &str) -> Result<Self, AmountError> {
        Self::parse_within(text, SUM_INTEGER_DIGITS_MAX)
    }

    fn parse_within(text: &str, integer_digits_max: usize) -> Result<Self, AmountError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, text.get(1..).unwrap_or_default()),
            Some(_) => (false, text),
            None => return Err(AmountError::NotANumber),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let has_point = mantissa.contains('.');
        let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() > 1 && whole.starts_with('0') && digits_only(whole) {
            return Err(AmountError::LeadingZero);
        }
        if whole.is_empty()
            || (has_point && fraction.is_empty())
            || !digits_only(whole)
            || !digits_only(fraction)
        {
            return Err(AmountError::NotANumber);
        }
        let magnitude = billionths(whole, fraction, exponent, integer_digits_max)?;
        Ok(Self(if negative { -magnitude } else { magnitude }))
    }
}

/// The exponent of a number, at most [`EXPONENT_MAX`] either way.
fn parse_exponent(text: &str) -> Result<i64, AmountError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AmountError::NotANumber);
    }
    // They are digits, so what cannot be read is too many of them.
    let magnitude = digits.parse::<i64>().unwrap_or(EXPONENT_MAX).min(EXPONENT_MAX);
    Ok(if negative { -magnitude } else { magnitude })
}

/// Billionths of `whole.fraction × 10^exponent`, refused unless exact and within the digits allowed.
fn billionths(
    whole: &str,
    fraction: &str,
    exponent: i64,
    integer_digits_max: usize,
) -> Result<i128, AmountError> {
    let trailing = fraction.trim_end_matches('0');
    let digits: String = format!("{whole}{trailing}");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(0);
    }
    let trimmed = significant.trim_end_matches('0');
    let zeros = significant.len() - trimmed.len();
    let too_long = AmountError::TooLarge(integer_digits_max);
    // Value = trimmed × 10^power.
    let power = exponent + i64::try_from(zeros).map_err(|_| too_long)?
        - i64::try_from(trailing.len()).map_err(|_| too_long)?;
    let length = i64::try_from(trimmed.len()).map_err(|_| too_long)?;
    let fraction_digits = i64::try_from(QUANTITY_FRACTION_DIGITS_MAX).map_err(|_| too_long)?;
    let integer_digits = i64::try_from(integer_digits_max).map_err(|_| too_long)?;
    if power.saturating_add(length) > integer_digits {
        return Err(too_long);
    }
    if power < -fraction_digits {
        return Err(AmountError::TooFine);
    }
    debug_assert!(power.abs() <= POWER_MAX, "the digit limits bound the power");
    let mantissa: i128 = trimmed.parse().map_err(|_| too_long)?;
    let shift = u32::try_from(power + fraction_digits).map_err(|_| too_long)?;
    Ok(mantissa * 10_i128.pow(shift))
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let scale = SCALE.unsigned_abs();
        let (whole, fraction) = (magnitude / scale, magnitude % scale);
        if fraction == 0 {
            return write!(formatter, "{sign}{whole}");
        }
        let digits = format!("{fraction:09}");
        write!(formatter, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Amount {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Neg for Amount {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        self.0 -= other.0;
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// How much one usage takes: an [`Amount`] greater than zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(Amount);

impl Quantity {
    /// One.
    pub const ONE: Self = Self(Amount(SCALE));

    /// From an amount.
    ///
    /// # Errors
    /// [`AmountError::NotPositive`] for zero and below.
    pub fn new(amount: Amount) -> Result<Self, AmountError> {
        if amount.is_positive() { Ok(Self(amount)) } else { Err(AmountError::NotPositive) }
    }

    /// Reads a positive decimal of at most 15 digits before the point and 9 after.
    ///
    /// # Errors
    /// [`AmountError`].
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        Self::new(Amount::parse(text)?)
    }

    /// As an amount.
    #[must_use]
    pub const fn amount(self) -> Amount {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_without_dividing() {
        let mut random = fastrand::Rng::with_seed(3);
        let ends = [i128::MIN, -1, 0, 1, i128::MAX / 100, i128::MAX];
        for _ in 0..20_000 {
            let whole =
                Amount(if random.u8(..4) == 0 { ends[random.usize(..6)] } else { random.i128(-500..500) });
            let (numerator, denominator) = (random.i64(-3..120), random.i64(0..120));
            let near = whole.scale_floor(numerator, denominator);
            let used = Amount(near.0.saturating_add(random.i128(-2..=2)));
            let wanted = used >= near;
            assert_eq!(used.is_share_of(whole, numerator, denominator), wanted, "{used:?} {whole:?}");
        }
    }

    #[test]
    fn reads_and_writes_decimals_exactly() {
        for (text, shown) in [
            ("1", "1"),
            ("0.1", "0.1"),
            ("1.500", "1.5"),
            ("999999999999999.999999999", "999999999999999.999999999"),
            ("1e3", "1000"),
            ("1.5E+2", "150"),
            ("25e-1", "2.5"),
            ("-0.000000001", "-0.000000001"),
            ("0", "0"),
            ("0e999999999999", "0"),
            ("1.0000000000", "1"),
            ("1000e-3", "1"),
        ] {
            assert_eq!(Amount::parse(text).map(|amount| amount.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_keep() {
        use AmountError::{LeadingZero, NotANumber, NotPositive, TooFine, TooLarge};
        for (text, error) in [
            ("", NotANumber),
            ("-", NotANumber),
            ("+1", NotANumber),
            (".5", NotANumber),
            ("5.", NotANumber),
            ("1e", NotANumber),
            ("1e+", NotANumber),
            ("NaN", NotANumber),
            ("Infinity", NotANumber),
            ("1_000", NotANumber),
            ("0x10", NotANumber),
            ("01", LeadingZero),
            ("-00", LeadingZero),
            ("00.5", LeadingZero),
            ("01e3", LeadingZero),
            (" 1", NotANumber),
            ("1,5", NotANumber),
            ("١", NotANumber),
            ("1e400", TooLarge(15)),
            ("1e99999999999999999999", TooLarge(15)),
            ("1000000000000000", TooLarge(15)),
            ("1e-10", TooFine),
            ("0.0000000001", TooFine),
            ("1e-99999999999999999999", TooFine),
            ("0", NotPositive),
            ("-1", NotPositive),
        ] {
            assert_eq!(Quantity::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_sum_may_be_larger_than_a_quantity() {
        let most = "99999999999999999999999999999.999999999";
        for text in ["1999999999999998", "1000000000000000", most, &format!("-{most}")] {
            assert_eq!(Amount::parse_sum(text).map(|sum| sum.to_string()), Ok(text.to_owned()));
            assert_eq!(Amount::parse(text), Err(AmountError::TooLarge(15)), "{text}");
        }
        assert_eq!(Amount::parse_sum("1e29"), Err(AmountError::TooLarge(29)));
    }
}
