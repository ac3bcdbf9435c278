//! Money: currencies, exact amounts before they are rounded, and what is owed afterwards.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer};

use crate::Amount;

/// Billionths of billionths in one: a quantity times a price is a whole number of these.
const ATTO: u128 = 1_000_000_000_000_000_000;

/// Billionths in one.
const BILLION: u128 = 1_000_000_000;

/// A percentage with nine decimals divides by this.
const PERCENTAGES: u128 = 100_000_000_000;

/// The days of any month divide this: 28, 29, 30 and 31.
const DAYS: u128 = 377_580;

/// Parts of an `ATTO` that are kept: one percentage, and one share of a month's days, leave no rest.
const RESTS: u128 = PERCENTAGES * DAYS;

/// A currency, by its code of three letters (ISO 4217): `USD`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// Why a text is not a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a currency: three capital letters as in ISO 4217, such as USD")]
pub struct CurrencyError;

/// Currencies whose minor unit is not a hundredth: the column "Minor unit" of table A.1 of ISO 4217.
const MINOR_DIGITS: [(u32, &str); 3] = [
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
    (4, "CLF UYW"),
];

impl Currency {
    /// The US dollar.
    pub const USD: Self = Self(*b"USD");

    /// Checks and takes a code.
    ///
    /// # Errors
    /// [`CurrencyError`] when it is not three letters from A to Z. Whether the code is in use is not known here.
    pub fn new(code: &str) -> Result<Self, CurrencyError> {
        let letters: [u8; 3] = code.as_bytes().try_into().map_err(|_| CurrencyError)?;
        if letters.iter().all(u8::is_ascii_uppercase) { Ok(Self(letters)) } else { Err(CurrencyError) }
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Digits after the point of the smallest amount that is paid: 2 for USD, 0 for JPY, 3 for KWD.
    #[must_use]
    pub fn minor_digits(self) -> u32 {
        let listed = MINOR_DIGITS.iter().find(|(_, codes)| codes.split(' ').any(|code| code == self.code()));
        listed.map_or(2, |(digits, _)| *digits)
    }
}

impl Default for Currency {
    fn default() -> Self {
        Self::USD
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::parse(deserializer, "the code of a currency", Self::new)
    }
}

/// What is owed: a whole number of the currency's minor unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    /// In which currency.
    pub currency: Currency,
    /// How many of its minor unit: cents of USD, yen of JPY.
    pub minor: i128,
}

impl Money {
    /// Nothing.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self { currency, minor: 0 }
    }

    /// The sum; `None` if it cannot be kept or the currencies differ.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let minor = self.minor.checked_add(other.minor).filter(|_| self.currency == other.currency)?;
        Some(Self { minor, ..self })
    }

    /// The difference; `None` if it cannot be kept or the currencies differ.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        let minor = self.minor.checked_sub(other.minor).filter(|_| self.currency == other.currency)?;
        Some(Self { minor, ..self })
    }

    /// The number alone, with all digits of the minor unit: `10.00`.
    #[must_use]
    pub fn number(self) -> String {
        let sign = if self.minor < 0 { "-" } else { "" };
        let digits = self.currency.minor_digits();
        let unit = 10_u128.pow(digits);
        let (whole, fraction) = (self.minor.unsigned_abs() / unit, self.minor.unsigned_abs() % unit);
        if digits == 0 {
            return format!("{sign}{whole}");
        }
        let width = usize::try_from(digits).unwrap_or_default();
        format!("{sign}{whole}.{fraction:0width$}")
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.number(), self.currency)
    }
}

/// An amount of money before it is rounded, exact also where a percentage or a share of a month's days was taken of it;
/// never negative, below 3 × 10^20.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exact {
    /// Billionths of billionths.
    atto: u128,
    /// Parts of the next one, of [`RESTS`]: what a percentage or a share of days leaves.
    rest: u128,
}

impl Exact {
    /// Nothing.
    pub const ZERO: Self = Self { atto: 0, rest: 0 };

    /// Builds an amount from its [`Self::parts`]; `None` if the second is not less than one.
    #[must_use]
    pub fn from_parts(atto: u128, rest: u128) -> Option<Self> {
        (rest < RESTS).then_some(Self { atto, rest })
    }

    /// Whole billionths of billionths, and the fraction of the next one, in units private to this type.
    #[must_use]
    pub const fn parts(self) -> (u128, u128) {
        (self.atto, self.rest)
    }

    /// A quantity times the price of one; `None` if one is negative or the product cannot be kept.
    #[must_use]
    pub fn product(quantity: Amount, price: Amount) -> Option<Self> {
        let [quantity, price] = [quantity, price].map(|amount| u128::try_from(amount.billionths()).ok());
        Some(Self { atto: quantity?.checked_mul(price?)?, rest: 0 })
    }

    /// An amount of money; `None` if it is negative or cannot be kept.
    #[must_use]
    pub fn of(amount: Amount) -> Option<Self> {
        Self::product(Amount::from_whole(1), amount)
    }

    /// The sum; `None` if it cannot be kept.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let rest = self.rest + other.rest;
        let atto = self.atto.checked_add(other.atto)?.checked_add(rest / RESTS)?;
        Some(Self { atto, rest: rest % RESTS })
    }

    /// What a discount of so many percent leaves; more than 100 leave nothing.
    ///
    /// Exact for an amount that no other percentage was taken of, which is all that rating needs.
    pub(crate) fn less_percent(self, percent: Amount) -> Self {
        let kept = PERCENTAGES.saturating_sub(percent.billionths().max(0).unsigned_abs());
        self.part(kept, PERCENTAGES)
    }

    /// The share of some days of a month that has so many; all of it for as many or more.
    ///
    /// Exact for an amount that no other share was taken of, which is all that rating needs.
    pub(crate) fn of_days(self, days: u32, month: u32) -> Self {
        self.part(days.min(month).into(), month.into())
    }

    /// A fraction that is not above one.
    fn part(self, kept: u128, of: u128) -> Self {
        assert!(kept <= of && RESTS.is_multiple_of(of), "a percentage, or days of a month");
        // (whole × of + part) × kept ÷ of, where neither product exceeds the amount or 10^22.
        let (whole, part) = (self.atto / of, self.atto % of);
        let (from_rest, lost) = (self.rest * kept / of, self.rest * kept % of);
        assert!(lost == 0, "one percentage and one share of days alone are taken of an amount");
        let rest = part * kept % of * (RESTS / of) + from_rest;
        Self { atto: whole * kept + part * kept / of + rest / RESTS, rest: rest % RESTS }
    }

    /// Rounds to the currency's minor unit; what lies in the middle goes to the even one.
    #[must_use]
    pub fn round_half_even(self, currency: Currency) -> Money {
        let step = ATTO / 10_u128.pow(currency.minor_digits());
        let (minor, part) = (self.atto / step, self.atto % step);
        let up = match (part, self.rest).cmp(&(step / 2, 0)) {
            Ordering::Less => false,
            Ordering::Equal => minor % 2 == 1,
            Ordering::Greater => true,
        };
        // A step is at least 10^14, so a whole number of them fits.
        let minor = i128::try_from(minor).unwrap_or(i128::MAX) + i128::from(up);
        Money { currency, minor }
    }

    /// Whether it is a whole number of the currency's minor unit.
    #[must_use]
    pub fn is_round(self, currency: Currency) -> bool {
        self.rest == 0 && self.atto.is_multiple_of(ATTO / 10_u128.pow(currency.minor_digits()))
    }
}

impl fmt::Display for Exact {
    /// All digits that are not zero: `0.0049`; the first 29 where days of a month make a fraction without end.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:018}{:011}", self.atto % ATTO, self.rest / DAYS);
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() { "" } else { "." };
        write!(formatter, "{}{point}{digits}", self.atto / ATTO)
    }
}

impl Exact {
    /// The number alone, with at least the digits of the currency's minor unit: `10.00`, `0.0049`.
    #[must_use]
    pub fn number(self, currency: Currency) -> String {
        if self.is_round(currency) { self.round_half_even(currency).number() } else { self.to_string() }
    }
}

const _: () = assert!(ATTO == BILLION * BILLION, "a quantity and a price are billionths each");
const _: () = assert!(
    DAYS.is_multiple_of(28) && DAYS.is_multiple_of(29) && DAYS.is_multiple_of(30) && DAYS.is_multiple_of(31),
    "a share of any month"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        Amount::parse(text).expect("an amount")
    }

    fn exact(text: &str) -> Exact {
        Exact::of(amount(text)).expect("fits")
    }

    #[test]
    fn currencies_have_their_minor_units() {
        for (code, digits) in [
            ("USD", 2),
            ("EUR", 2),
            ("MGA", 2),
            ("CLP", 0),
            ("JPY", 0),
            ("KRW", 0),
            ("VND", 0),
            ("XOF", 0),
            ("BHD", 3),
            ("JOD", 3),
            ("KWD", 3),
            ("OMR", 3),
            ("TND", 3),
            ("CLF", 4),
        ] {
            assert_eq!(Currency::new(code).map(Currency::minor_digits), Ok(digits), "{code}");
        }
        for code in ["", "usd", "US", "USDT", "U$D", "ÄÖ"] {
            assert_eq!(Currency::new(code), Err(CurrencyError), "{code}");
        }
    }

    #[test]
    fn rounds_half_to_even() {
        for (code, text, wanted) in [
            ("USD", "0", "0.00 USD"),
            ("USD", "0.004999999", "0.00 USD"),
            ("USD", "0.005", "0.00 USD"),
            ("USD", "0.005000001", "0.01 USD"),
            ("USD", "0.015", "0.02 USD"),
            ("USD", "0.025", "0.02 USD"),
            ("USD", "0.995", "1.00 USD"),
            ("USD", "999999999999999.995", "1000000000000000.00 USD"),
            ("JPY", "0.5", "0 JPY"),
            ("JPY", "1.5", "2 JPY"),
            ("JPY", "2.5", "2 JPY"),
            ("JPY", "2.500000001", "3 JPY"),
            ("KWD", "0.0005", "0.000 KWD"),
            ("KWD", "0.0015", "0.002 KWD"),
            ("KWD", "1.2345", "1.234 KWD"),
        ] {
            let currency = Currency::new(code).expect("a currency");
            assert_eq!(exact(text).round_half_even(currency).to_string(), wanted, "{text} {code}");
        }
        assert_eq!(Money { currency: Currency::USD, minor: -5 }.to_string(), "-0.05 USD");
    }

    #[test]
    fn a_percentage_leaves_no_digit_out() {
        let percent = |amount: &str, percent: &str| exact(amount).less_percent(self::amount(percent));
        assert_eq!(percent("10", "10"), exact("9"));
        assert_eq!(percent("10", "0"), exact("10"));
        assert_eq!(percent("10", "100"), Exact::ZERO);
        let tiny = Exact::product(amount("0.000000001"), amount("0.000000001")).expect("fits");
        assert_eq!(tiny.to_string(), "0.000000000000000001");
        let less = tiny.less_percent(amount("0.000000001"));
        assert_eq!(less.to_string(), "0.00000000000000000099999999999");
        // Half a cent, and the smallest part there is more: the part decides.
        let half = exact("0.005");
        let more = half.checked_add(less).expect("fits");
        assert_eq!(half.round_half_even(Currency::USD).minor, 0);
        assert_eq!(more.round_half_even(Currency::USD).minor, 1);
        let largest = Exact { atto: u128::MAX, rest: 0 };
        assert!(largest.less_percent(amount("0.000000001")) < largest);
        assert_eq!(largest.less_percent(Amount::ZERO), largest);
    }

    #[test]
    fn a_share_of_days_is_exact_and_shares_add_up() {
        let fee = exact("49");
        assert_eq!(fee.of_days(12, 30).to_string(), "19.6");
        assert_eq!(fee.of_days(0, 31), Exact::ZERO);
        assert_eq!(fee.of_days(31, 31), fee);
        let third = fee.of_days(12, 31);
        assert!(third.to_string().starts_with("18.967741935483870967741935"), "{third}");
        for of in 28..=31 {
            for days in 0..=of {
                let (one, two) = (fee.of_days(days, of), fee.of_days(of - days, of));
                assert_eq!(one.checked_add(two), Some(fee), "{days} of {of}");
                let less = one.less_percent(amount("12.345678901"));
                assert_eq!(
                    less,
                    fee.less_percent(amount("12.345678901")).of_days(days, of),
                    "{days} of {of}"
                );
            }
        }
        let largest = Exact { atto: u128::MAX, rest: 0 };
        assert!(largest.of_days(30, 31) < largest);
    }

    #[test]
    fn what_cannot_be_kept_is_none() {
        let huge = amount("999999999999999.999999999");
        assert_eq!(Exact::product(huge, huge), None);
        assert!(Exact::product(huge, amount("100000")).is_some());
        assert_eq!(Exact::of(amount("-1")), None);
        let largest = Exact { atto: u128::MAX, rest: RESTS - 1 };
        assert_eq!(largest.checked_add(Exact { atto: 0, rest: 1 }), None);
        let cents = |currency, minor| Money { currency, minor };
        assert_eq!(cents(Currency::USD, i128::MAX).checked_add(cents(Currency::USD, 1)), None);
        let euro = Currency::new("EUR").expect("a currency");
        assert_eq!(cents(Currency::USD, 1).checked_add(cents(euro, 1)), None);
    }
}
