//! Rules of words: the field's own terms, one spelling, short sentences. They hold for pages, and the words hold for the
//! comments of sources.

use super::Finding;

/// No page is harder to read than this school grade (Flesch and Kincaid).
const GRADE_MAX: f64 = 10.0;
/// A page with fewer words has no grade: a single long word would decide it.
const GRADED_WORDS_MIN: f64 = 100.0;
/// No sentence has more words.
const SENTENCE_WORDS_MAX: usize = 45;

/// Words of our own, and what others call it. Written in two parts so that this list does not find itself.
const OURS: [(&str, &str); 9] = [
    (concat!("ho", "use"), "system"),
    (concat!("do", "or"), "compatible API"),
    (concat!("do", "ors"), "compatible APIs"),
    (concat!("fol", "ds"), "checkpoints"),
    (concat!("what ", "waits"), "queued requests"),
    (concat!("whatever ", "waits"), "queued requests"),
    (concat!("told ", "so"), "say who is notified"),
    (concat!("how an org ", "stands"), "an org's balance"),
    (concat!("fol", "ded"), "saved by a checkpoint"),
];

/// Spellings of another country, and ours.
const SPELLINGS: [(&str, &str); 24] = [
    (concat!("catal", "ogue"), "catalog"),
    (concat!("organi", "sation"), "organization"),
    (concat!("organi", "sations"), "organizations"),
    (concat!("behavi", "our"), "behavior"),
    (concat!("lice", "nce"), "license"),
    (concat!("col", "our"), "color"),
    (concat!("hon", "our"), "honor"),
    (concat!("fav", "our"), "favor"),
    (concat!("cen", "tre"), "center"),
    (concat!("serial", "ise"), "serialize"),
    (concat!("serial", "ised"), "serialized"),
    (concat!("initial", "ise"), "initialize"),
    (concat!("initial", "ised"), "initialized"),
    (concat!("recogn", "ise"), "recognize"),
    (concat!("author", "ised"), "authorized"),
    (concat!("unauthor", "ised"), "unauthorized"),
    (concat!("normal", "ise"), "normalize"),
    (concat!("optim", "ise"), "optimize"),
    (concat!("anal", "yse"), "analyze"),
    (concat!("cancel", "led"), "canceled"),
    (concat!("label", "led"), "labeled"),
    (concat!("mode", "lling"), "modeling"),
    (concat!("whil", "st"), "while"),
    (concat!("defe", "nce"), "defense"),
];

/// Every rule on a page.
pub(super) fn check_page(path: &str, text: &str) -> Vec<Finding> {
    let sentences = sentences(text);
    let mut findings: Vec<Finding> =
        prose_lines(text).flat_map(|(at, line)| words(path, at, &line)).collect();
    for (at, sentence) in &sentences {
        let count = spoken(sentence).count();
        if count > SENTENCE_WORDS_MAX {
            let rule = format!("a sentence of {count} words: at most {SENTENCE_WORDS_MAX}; make two of it");
            findings.push(Finding::new(path, *at, rule));
        }
    }
    let grade = grade(sentences.iter().map(|(_, sentence)| sentence.as_str()));
    if grade > GRADE_MAX {
        let rule = format!("reading grade {grade:.1}: at most {GRADE_MAX}; shorter sentences, plainer words");
        findings.push(Finding::new(path, 1, rule));
    }
    findings
}

/// The words of a source's comments.
pub(super) fn check_comments(path: &str, text: &str) -> Vec<Finding> {
    let comments = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//"));
    comments.flat_map(|(index, line)| words(path, index + 1, &without_code(line))).collect()
}

/// Words that have a better one.
fn words(path: &str, at: usize, line: &str) -> Vec<Finding> {
    let line = format!(" {} ", spaced(line));
    let known = OURS.iter().chain(&SPELLINGS);
    let found = known.filter(|(word, _)| line.contains(&format!(" {word} ")));
    found.map(|(word, better)| Finding::new(path, at, format!("`{word}`: say `{better}`"))).collect()
}

/// A line in lower case with one blank between its words and nothing else.
fn spaced(line: &str) -> String {
    let letters = |character: char| if character.is_alphanumeric() { character } else { ' ' };
    // A word joined by a hyphen to another is another word.
    let kept = line.to_lowercase().replace('-', "_hyphen_");
    let text: String = kept.chars().map(letters).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace(" hyphen ", "-")
}

/// The prose of a page, line by line: no code, no headings of tables of contents, no HTML.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then(|| (index + 1, without_code(line)))
    })
}

/// A line with `code` replaced by a word and links by their texts.
fn without_code(line: &str) -> String {
    let prose = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let mut out = String::new();
    let mut rest = prose.as_str();
    while let Some((before, after)) = rest.split_once("](") {
        out.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    out + rest
}

/// The sentences of paragraphs and list items, each with its first line; a semicolon or a middle dot ends one, too. Tables and headings
/// have none.
fn sentences(text: &str) -> Vec<(usize, String)> {
    let mut sentences = Vec::new();
    let (mut begun, mut open) = (1, String::new());
    let mut last_line = 0;
    for (at, line) in prose_lines(text) {
        let line = line.trim();
        let item = line
            .trim_start_matches(|character: char| character.is_ascii_digit() || "-*.".contains(character));
        let is_item = item.len() < line.len() && item.starts_with(' ');
        let is_apart =
            line.is_empty() || line.starts_with(['|', '#', '<', '>']) || is_item || at > last_line + 1;
        if is_apart {
            sentences.extend(take(&mut open).map(|sentence| (begun, sentence)));
        }
        last_line = at;
        if line.starts_with(['|', '#', '<', '>']) {
            continue;
        }
        for word in item.split_whitespace() {
            if open.is_empty() {
                begun = at;
            }
            open.push_str(word);
            open.push(' ');
            if word.trim_end_matches(['"', '\'', ')', '*', '_']).ends_with(['.', '!', '?', ';', '·']) {
                sentences.extend(take(&mut open).map(|sentence| (begun, sentence)));
            }
        }
    }
    sentences.extend(take(&mut open).map(|sentence| (begun, sentence)));
    sentences
}

fn take(open: &mut String) -> Option<String> {
    let sentence = std::mem::take(open);
    (spoken(&sentence).count() > 2).then_some(sentence)
}

/// The words of a sentence that one would say.
fn spoken(sentence: &str) -> impl Iterator<Item = &str> {
    let words = sentence.split(|character: char| !character.is_alphabetic() && character != '\'');
    words.filter(|word| word.starts_with(char::is_alphabetic))
}

/// The school grade of Flesch and Kincaid: by words a sentence and syllables a word. Zero for a short page.
fn grade<'a>(sentences: impl Iterator<Item = &'a str>) -> f64 {
    let (mut count, mut words, mut syllables) = (0.0, 0.0, 0.0);
    for sentence in sentences {
        count += 1.0;
        for word in spoken(sentence) {
            words += 1.0;
            syllables += syllables_of(word);
        }
    }
    if words < GRADED_WORDS_MIN {
        return 0.0;
    }
    0.39 * words / count + 11.8 * syllables / words - 15.59
}

/// About how many syllables a word has: its groups of vowels, but for a silent `e` or `ed` at the end.
fn syllables_of(word: &str) -> f64 {
    let word = word.to_lowercase();
    let is_vowel = |character: char| "aeiouy".contains(character);
    let mut groups: f64 = 0.0;
    let mut in_group = false;
    for character in word.chars() {
        if is_vowel(character) && !in_group {
            groups += 1.0;
        }
        in_group = is_vowel(character);
    }
    let silent_e = word.ends_with('e') && !word.ends_with("le");
    let silent_ed = word.ends_with("ed") && !word.ends_with("ted") && !word.ends_with("ded");
    if silent_e || silent_ed {
        groups -= 1.0;
    }
    groups.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        check_page("a.md", text).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn words_with_a_better_one_are_found_in_prose_only() {
        for (word, _) in OURS.iter().chain(&SPELLINGS) {
            assert_eq!(found(&format!("Fine.\n\nThis {word}, here.\n")), [3], "{word}");
            assert_eq!(found(&format!("A `{word}` in code\n\n```\nthis {word}\n```\n")), [0; 0], "{word}");
            assert_eq!(
                check_comments("a.rs", &format!("let {word};\n  /// This {word}.\n")).len(),
                1,
                "{word}"
            );
        }
        let hyphen = format!("An in-{} team.", OURS[0].0);
        assert_eq!(found(&hyphen), [0; 0], "a part of another word");
    }

    #[test]
    fn long_sentences_are_found_where_they_begin() {
        let long = "word ".repeat(SENTENCE_WORDS_MAX + 1);
        assert_eq!(found(&format!("Short one here.\n{long}\n")), [2]);
        let lines = format!("- {}\n- {}\n", "word ".repeat(30), "word ".repeat(30));
        assert_eq!(found(&lines), [0; 0], "each item by itself");
        assert_eq!(found(&format!("| {long} |\n# {long}\n")), [0; 0], "no sentences");
    }

    #[test]
    fn hard_pages_have_a_high_grade() {
        let plain = "The cat sat on the mat, and we saw it. ".repeat(20);
        assert_eq!(found(&plain), [0; 0]);
        let hard = "Institutional considerations necessitate comprehensive reorganization of administrative \
                    responsibilities. "
            .repeat(20);
        assert_eq!(found(&hard), [1]);
        assert_eq!(
            found("Institutional considerations necessitate reorganization."),
            [0; 0],
            "too short to say"
        );
    }
}
