//! Rules of Rust sources.

use super::Finding;

/// A file tells one story.
const LINES_MAX: usize = 700;
/// The opening of a library says its purpose, what it leaves out, where to start.
const OPENING_LINES_MIN: usize = 5;

/// What may not stand in a source, and why. Each is written in two parts so that this list does not find itself.
const BANNED: [(&str, &str); 7] = [
    (concat!("TO", "DO"), "unfinished work is not kept in comments: do it, or write an issue"),
    (concat!("FIX", "ME"), "unfinished work is not kept in comments: mend it, or write an issue"),
    (concat!("XX", "X"), "unfinished work is not kept in comments: mend it, or write an issue"),
    (concat!("todo", "!("), "unfinished code does not land"),
    (concat!("unimplemented", "!("), "unfinished code does not land"),
    (concat!("#[ig", "nore"), "a test that does not run proves nothing"),
    (concat!("thread::", "sleep"), "wait for a condition, not for time"),
];

/// Every rule on one source.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX {
        let rule = format!("{lines} lines: a file tells one story, in at most {LINES_MAX}");
        findings.push(Finding::new(path, LINES_MAX + 1, rule));
    }
    for (index, line) in text.lines().enumerate() {
        for (word, reason) in BANNED {
            if stands_alone(line, word) {
                findings.push(Finding::new(path, index + 1, format!("`{word}`: {reason}")));
            }
        }
    }
    if path.starts_with("crates/") && path.ends_with("src/lib.rs") {
        let opening = text.lines().take_while(|line| line.starts_with("//!")).count();
        if opening < OPENING_LINES_MIN {
            let rule = format!(
                "a library opens with at least {OPENING_LINES_MIN} lines of `//!`: purpose, what is deliberately \
                 absent, where to start reading"
            );
            findings.push(Finding::new(path, 1, rule));
        }
    }
    findings
}

/// Whether `word` stands in the line, not as a part of a longer word.
fn stands_alone(line: &str, word: &str) -> bool {
    let joins = |text: Option<char>| text.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    let starts_with_letter = joins(word.chars().next());
    let ends_with_letter = joins(word.chars().next_back());
    line.match_indices(word).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let after = rest.strip_prefix(word).and_then(|rest| rest.chars().next());
        !(starts_with_letter && joins(before.chars().next_back()) || ends_with_letter && joins(after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_words_are_found_where_they_stand_alone() {
        for (word, _) in BANNED {
            let text = format!("fn fine() {{}}\n    // {word} later\n");
            let findings = check("crates/a/src/b.rs", &text);
            assert_eq!(findings.len(), 1, "{word}");
            assert_eq!((findings[0].path.as_str(), findings[0].line), ("crates/a/src/b.rs", 2));
            let longer = format!("let A{word}B = 1;");
            assert!(check("b.rs", &longer).is_empty(), "{longer}");
        }
    }

    #[test]
    fn a_file_has_its_length() {
        assert!(check("a.rs", &"x\n".repeat(LINES_MAX)).is_empty());
        assert_eq!(check("a.rs", &"x\n".repeat(LINES_MAX + 1))[0].line, LINES_MAX + 1);
    }

    #[test]
    fn a_library_has_an_opening() {
        let text = |lines: usize| format!("{}\npub mod a;\n", "//! x\n".repeat(lines));
        assert!(check("crates/a/src/lib.rs", &text(5)).is_empty());
        assert_eq!(check("crates/a/src/lib.rs", &text(4)).len(), 1);
        assert!(check("crates/a/src/other.rs", &text(0)).is_empty());
    }
}
