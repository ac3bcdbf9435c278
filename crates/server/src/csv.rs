//! Tables of comma-separated values (RFC 4180).

use std::borrow::Cow;
use std::fmt::Display;

/// How texts begin that a spreadsheet would take for a formula; some take the wide forms of Japanese keyboards, too.
const FORMULA_BEGINS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// Nothing.
    #[default]
    Empty,
    /// What somebody wrote. What a spreadsheet would take for a formula gets an apostrophe before it.
    Text(Cow<'a, str>),
    /// What was made here, written as it is: a number, a time, a word of ours.
    Plain(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    /// What somebody wrote.
    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// What was made here.
    pub(crate) fn plain(value: impl Display) -> Self {
        Self::Plain(value.to_string().into())
    }

    /// The same, if there is any.
    pub(crate) fn maybe(value: Option<impl Display>) -> Self {
        value.map_or(Self::Empty, Self::plain)
    }

    fn write(&self, into: &mut String) {
        let (text, guard) = match self {
            Self::Empty => return,
            Self::Text(text) => (text, text.starts_with(FORMULA_BEGINS)),
            Self::Plain(text) => (text, false),
        };
        let guard = if guard { "'" } else { "" };
        if text.contains([',', '"', '\n', '\r']) {
            into.extend(["\"", guard, &text.replace('"', "\"\""), "\""]);
        } else {
            into.extend([guard, text]);
        }
    }
}

/// A table: a row of names, then rows of as many cells.
pub(crate) struct Table(String);

impl Table {
    /// The row of names.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut table = Self(String::new());
        table.row(names.into_iter().map(Cell::text));
        table
    }

    /// Adds a row.
    pub(crate) fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) {
        for (index, cell) in cells.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            cell.write(&mut self.0);
        }
        self.0.push_str("\r\n");
    }

    /// The whole table.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_texts_hold_no_formulas() {
        for (cell, wanted) in [
            (Cell::text("plain"), "plain"),
            (Cell::text("a,b"), "\"a,b\""),
            (Cell::text("say \"a\""), "\"say \"\"a\"\"\""),
            (Cell::text("two\r\nlines"), "\"two\r\nlines\""),
            (Cell::text("=1+1"), "'=1+1"),
            (Cell::text("-x,y"), "\"'-x,y\""),
            (Cell::text("＝1+1"), "'＝1+1"),
            (Cell::text("＠SUM(A1)"), "'＠SUM(A1)"),
            (Cell::text("\n=1+1"), "\"'\n=1+1\""),
            (Cell::text(""), ""),
            (Cell::plain("-2.00"), "-2.00"),
            (Cell::maybe(Some(7)), "7"),
            (Cell::maybe(None::<u8>), ""),
            (Cell::Empty, ""),
        ] {
            let mut text = String::new();
            cell.write(&mut text);
            assert_eq!(text, wanted);
        }
    }

    #[test]
    fn rows_have_as_many_cells_as_names() {
        let mut table = Table::new(["name", "amount"]);
        table.row([Cell::text("a,b"), Cell::plain(-1)]);
        assert_eq!(table.into_text(), "name,amount\r\n\"a,b\",-1\r\n");
    }
}
