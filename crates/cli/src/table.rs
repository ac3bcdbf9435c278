//! Tables for people: columns set apart by spaces, so that they are as good to read as to cut and grep.

use comfy_table::{Cell, CellAlignment, Table, presets};
use tollgate_api::Decimal;

/// One cell of a table.
pub(crate) enum Field {
    /// Text, to the left.
    Text(String),
    /// A number, to the right.
    Number(String),
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Field {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&Option<String>> for Field {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone().unwrap_or_else(nothing))
    }
}

impl From<bool> for Field {
    fn from(truth: bool) -> Self {
        Self::Text(if truth { "yes" } else { "no" }.to_owned())
    }
}

impl From<u64> for Field {
    fn from(number: u64) -> Self {
        Self::Number(number.to_string())
    }
}

impl From<Decimal> for Field {
    fn from(number: Decimal) -> Self {
        Self::Number(number.0.to_string())
    }
}

impl From<Option<Decimal>> for Field {
    fn from(number: Option<Decimal>) -> Self {
        Self::Number(number.map_or_else(nothing, |number| number.0.to_string()))
    }
}

/// A time, to the second: what a person looks for is not in the fractions.
pub(crate) fn time(text: &str) -> Field {
    match text.split_once('.') {
        Some((second, rest)) if rest.ends_with('Z') => Field::Text(format!("{second}Z")),
        _ => text.into(),
    }
}

/// A time, if there is one.
pub(crate) fn time_or(text: Option<&String>, otherwise: &str) -> Field {
    text.map_or_else(|| otherwise.into(), |text| time(text))
}

/// What stands where there is no value.
fn nothing() -> String {
    "-".to_owned()
}

impl Field {
    fn cell(self) -> Cell {
        match self {
            Self::Text(text) => Cell::new(printable(&text)),
            Self::Number(text) => Cell::new(printable(&text)).set_alignment(CellAlignment::Right),
        }
    }
}

/// The text without control characters: what callers named must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// Rows under headings; `empty` in their place when there are none.
pub(crate) fn rows(headings: &[&str], rows: Vec<Vec<Field>>, empty: &str) -> String {
    if rows.is_empty() {
        return format!("{empty}\n");
    }
    let mut table = bare();
    table.set_header(headings.iter().map(|heading| Cell::new(heading.to_uppercase())));
    let numbers: Vec<bool> = (0..headings.len())
        .map(|index| rows.iter().all(|row| matches!(row.get(index), Some(Field::Number(_)))))
        .collect();
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(Field::cell)));
    for (column, number) in table.column_iter_mut().zip(numbers) {
        if number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    trimmed(&table)
}

/// Names and values, a line each.
pub(crate) fn pairs(pairs: Vec<(&str, Field)>) -> String {
    let mut table = bare();
    table.add_rows(pairs.into_iter().map(|(name, value)| {
        let (Field::Text(value) | Field::Number(value)) = value;
        vec![Cell::new(name), Cell::new(printable(&value))]
    }));
    trimmed(&table)
}

/// Parts of an answer, set apart by empty lines.
pub(crate) fn parts(parts: Vec<String>) -> String {
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// The table's lines without the padding at both ends.
fn trimmed(table: &Table) -> String {
    let lines = table.lines();
    lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use tollgate_domain::Amount;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal(Amount::parse(text).expect("an amount"))
    }

    #[test]
    fn numbers_stand_to_the_right_and_nothing_is_a_dash() {
        let table = rows(
            &["org", "used", "plan"],
            vec![
                vec!["acme".into(), decimal("1000").into(), (&Some("basic".to_owned())).into()],
                vec!["b".into(), decimal("2.5").into(), (&None).into()],
                vec!["ü".into(), Field::from(None::<Decimal>), true.into()],
            ],
            "none",
        );
        assert_eq!(table, "ORG   USED  PLAN\nacme  1000  basic\nb      2.5  -\nü        -  yes\n");
    }

    #[test]
    fn times_are_shown_to_the_second() {
        for (text, shown) in [
            ("2026-11-21T05:54:40.105252356Z", "2026-11-21T05:54:40Z"),
            ("2026-11-21T05:54:40Z", "2026-11-21T05:54:40Z"),
            ("v1.2", "v1.2"),
        ] {
            assert_eq!(pairs(vec![("at", time(text))]), format!("at  {shown}\n"));
        }
        assert_eq!(pairs(vec![("at", time_or(None, "never"))]), "at  never\n");
    }

    #[test]
    fn an_empty_table_says_so() {
        assert_eq!(rows(&["org"], Vec::new(), "no organizations"), "no organizations\n");
    }

    #[test]
    fn names_do_not_steer_the_terminal() {
        assert_eq!(pairs(vec![("name", "a\u{1b}[31mb\nc".into())]), "name  a\u{fffd}[31mb\u{fffd}c\n");
    }

    #[test]
    fn parts_are_set_apart() {
        assert_eq!(parts(vec!["a\n".to_owned(), String::new(), "b\n".to_owned()]), "a\n\nb\n");
    }
}
