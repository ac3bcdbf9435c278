//! Texts that only certain words or characters make up, as the OpenAPI document describes them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use utoipa::openapi::RefOr;

use serde::Deserializer;
use serde::de::{DeserializeOwned, IntoDeserializer, Visitor};
use tollgate_domain::Amount;
use tollgate_domain::catalog::units;
use tollgate_domain::limits::PATH_CHARS_MAX;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// Any text but control characters.
pub(crate) const NO_CONTROL_CHARACTERS: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$";

/// The schema of ids: of organizations, users, meters, plans and keys.
#[derive(Clone, Copy, Debug)]
pub enum Id {}

impl PartialSchema for Id {
    fn schema() -> RefOr<Schema> {
        text("1 to 128 characters, none of them a control character.", 128)
    }
}

impl ToSchema for Id {}

/// The schema of a line for people.
#[derive(Clone, Copy, Debug)]
pub enum Line {}

impl PartialSchema for Line {
    fn schema() -> RefOr<Schema> {
        text("A line of 1 to 256 characters, none of them a control character.", 256)
    }
}

impl ToSchema for Line {}

/// The schema of paths below an organization.
#[derive(Clone, Copy, Debug)]
pub enum PathName {}

impl PartialSchema for PathName {
    fn schema() -> RefOr<Schema> {
        let about = "1 to 8 names with `/` between them, at most 200 characters in all. A name has 1 to 128 characters, none of them \
                     a control character or `*`.";
        path(about, &format!("^{PATH_NAME}(/{PATH_NAME}){{0,7}}$"), "research/agent-7/run-42")
    }
}

impl ToSchema for PathName {}

/// The schema of the paths that limits are on.
#[derive(Clone, Copy, Debug)]
pub enum LimitPathName {}

impl PartialSchema for LimitPathName {
    fn schema() -> RefOr<Schema> {
        let about = "A path; its last name may be `*`, for each by itself.";
        let pattern =
            format!("^(\\*|{PATH_NAME}(/{PATH_NAME}){{0,6}}(/\\*)?|{PATH_NAME}(/{PATH_NAME}){{7}})$");
        path(about, &pattern, "research/*")
    }
}

impl ToSchema for LimitPathName {}

/// A name of a path.
const PATH_NAME: &str = "[^\\u0000-\\u001f\\u007f-\\u009f/*]{1,128}";

fn path(about: &str, pattern: &str, example: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .min_length(Some(1))
        .max_length(Some(PATH_CHARS_MAX))
        .pattern(Some(pattern))
        .examples([example])
        .into()
}

/// The schema of the names of windows.
#[derive(Clone, Copy, Debug)]
pub enum WindowName {}

impl PartialSchema for WindowName {
    fn schema() -> RefOr<Schema> {
        let about = "A window: `minute` and `hour` of UTC; `day`, `week` from Monday on and `month` of the organization's \
                     calendar; `lifetime`; `plan_month`: a month from the day of month on which the organization's plan \
                     began, `month_from_15`: from a given day; `week_from_sunday`: a week from that day on; \
                     `rolling_5h`, `rolling_7d`: the last hours or days at any moment; `first_use_5h`, `first_use_7d`: so \
                     long from the first use on, which the first use after that begins anew. At most 366 days.";
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(about))
            .pattern(Some(
                "^(minute|hour|day|week|month|lifetime|plan_month|month_from_([1-9]|[12][0-9]|3[01])\
                 |week_from_(monday|tuesday|wednesday|thursday|friday|saturday|sunday)\
                 |(rolling|first_use)_[1-9][0-9]{0,3}[hd])$",
            ))
            .examples(["month", "rolling_5h"])
            .into()
    }
}

impl ToSchema for WindowName {}

/// The schema of months.
#[derive(Clone, Copy, Debug)]
pub enum Month {}

impl PartialSchema for Month {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A month of the calendar."))
            .pattern(Some("^[0-9]{4}-(0[1-9]|1[0-2])$"))
            .examples(["2026-10"])
            .into()
    }
}

impl ToSchema for Month {}

/// The schema of days.
#[derive(Clone, Copy, Debug)]
pub enum Day {}

impl PartialSchema for Day {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A day of the calendar."))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)))
            .examples(["2026-10-31"])
            .into()
    }
}

impl ToSchema for Day {}

/// The schema of the header `Idempotency-Key`.
#[derive(Clone, Copy, Debug)]
pub enum HeaderKey {}

impl PartialSchema for HeaderKey {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("1 to 128 visible characters of ASCII or spaces, bare or in quotes."))
            .pattern(Some("^(\"[ !#-~]{1,128}\"|[!#-~]([ !#-~]{0,126}[!#-~])?)$"))
            .into()
    }
}

impl ToSchema for HeaderKey {}

/// The schema of a time, or the word `never`.
#[derive(Clone, Copy, Debug)]
pub enum TimeOrNever {}

impl PartialSchema for TimeOrNever {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let time = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        OneOfBuilder::new().item(time).item(text().enum_values(Some(["never"]))).into()
    }
}

impl ToSchema for TimeOrNever {}

fn text(description: &str, characters_max: usize) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .min_length(Some(1))
        .max_length(Some(characters_max))
        .pattern(Some(NO_CONTROL_CHARACTERS))
        .into()
}

/// A number with its digits in groups of three: `1,234,567.5`.
#[must_use]
pub fn grouped(number: impl fmt::Display) -> String {
    let text = number.to_string();
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("−", rest));
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let digits = whole.chars().count();
    let mut grouped = String::from(sign);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (digits - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

/// So many of something that is named in the singular: `1 call`, `2 calls`.
#[must_use]
pub fn counted(number: impl TryInto<i64> + fmt::Display + Copy, one: &str) -> String {
    format!("{number} {}", noun(number, one))
}

/// The noun of so many, in the singular or in the plural.
#[must_use]
pub fn noun(number: impl TryInto<i64>, one: &str) -> Cow<'_, str> {
    units(one, Amount::from_whole(number.try_into().unwrap_or(i64::MAX)))
}

/// Reads one of the words of an enum. Serde would also take an object with the word as its only member.
pub(crate) fn word<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    struct WordVisitor<T>(PhantomData<T>);
    impl<T: DeserializeOwned> Visitor<'_> for WordVisitor<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a word")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            T::deserialize(text.into_deserializer())
        }
    }
    deserializer.deserialize_str(WordVisitor(PhantomData))
}

/// The same of a member that may be left out.
pub(crate) fn given_word<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    word(deserializer).map(Some)
}

/// The names of what an API key may do.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum RoleName {
    /// Use, check, take back.
    Ingest,
    /// Read everything of the organizations.
    Read,
    /// Both, and set plans, limits, names, top-ups.
    Manage,
    /// Everything, the catalog and API keys too.
    Admin,
}

/// Which end of a list comes first.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum OrderName {
    /// The newest.
    Newest,
    /// The oldest.
    Oldest,
}

/// The windows that usage over time is told in.
#[derive(Clone, Copy, Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum SeriesWindow {
    /// Minutes, of meters that count them.
    Minute,
    /// Hours, of meters that count them.
    Hour,
    /// Days.
    Day,
    /// Weeks, of meters that count them.
    Week,
    /// Months.
    Month,
}
