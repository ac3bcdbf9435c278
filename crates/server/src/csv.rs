//! Tables of comma-separated values (RFC 4180).

/// A text in a cell. What a spreadsheet would take for a formula gets an apostrophe before it.
pub(crate) fn cell(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{guard}{}\"", text.replace('"', "\"\""));
    }
    format!("{guard}{text}")
}

/// A row of cells that are written already.
pub(crate) fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = cells.into_iter().collect::<Vec<_>>().join(",");
    text.push_str("\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_are_no_formulas() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("-1,2", "\"'-1,2\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), wanted);
        }
        assert_eq!(row(["a", "", "b"]), "a,,b\r\n");
    }
}
