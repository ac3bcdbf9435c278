//! Rules of the public pages: what they point to exists.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{File, Finding};

/// Pages that must exist.
const REQUIRED: [&str; 2] = ["README.md", "ARCHITECTURE.md"];
/// What the README must name: the one command that runs every test.
const TEST_COMMAND: &str = "cargo xtask test";

/// Whether a page is written for readers of the project.
pub(super) fn is_public(path: &str) -> bool {
    path.starts_with("docs/") || !path.contains('/')
}

/// The pages that must exist, and what the README must say.
pub(super) fn check_required(pages: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for required in REQUIRED {
        match pages.iter().find(|page| page.path == required) {
            None => findings.push(Finding::new(required, 1, "this page must exist")),
            Some(page) if required == "README.md" && !page.text.contains(TEST_COMMAND) => {
                findings.push(Finding::new(
                    required,
                    1,
                    format!("must name the test command, `{TEST_COMMAND}`"),
                ));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Links of a page to local files that do not exist.
pub(super) fn check_links(path: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let folder = Path::new(path).parent().unwrap_or_else(|| Path::new(""));
    let mut findings = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            for target in targets(line) {
                let is_there =
                    local(&target).is_none_or(|file| inside(folder, file).is_some_and(|file| exists(&file)));
                if !is_there {
                    let rule = format!("the link to `{target}` leads nowhere");
                    findings.push(Finding::new(path, index + 1, rule));
                }
            }
        }
    }
    findings
}

/// Tests and checks that `ARCHITECTURE.md` names as guards of its invariants and that no source has.
///
/// An invariant is a line that begins with `- *`; it goes on until a blank line or the next one. A name in backticks is that of
/// a function if it has an underscore and no slash, dot or blank; modules may stand before it.
pub(super) fn check_guards(path: &str, text: &str, functions: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_invariant = false;
    for (index, line) in text.lines().enumerate() {
        let is_new_paragraph = line.trim().is_empty() || line.starts_with(['-', '#']);
        in_invariant = line.starts_with("- *") || (in_invariant && !is_new_paragraph);
        let code = line.split('`').skip(1).step_by(2).filter(|_| in_invariant);
        for named in code {
            let name = named.rsplit("::").next().unwrap_or_default();
            let is_function = name.contains('_')
                && named
                    .chars()
                    .all(|character| character.is_ascii_alphanumeric() || "_:".contains(character));
            if is_function && !functions.contains(name) {
                findings.push(Finding::new(path, index + 1, format!("there is no test or check `{named}`")));
            }
        }
    }
    findings
}

/// The names of all functions of a source.
pub(super) fn functions(source: &str) -> impl Iterator<Item = String> {
    source.lines().filter_map(|line| {
        let (_, rest) = line.split_once("fn ")?;
        let name: String = rest
            .chars()
            .take_while(|character| character.is_ascii_alphanumeric() || *character == '_')
            .collect();
        (!name.is_empty()).then_some(name)
    })
}

/// Where the links of a line lead: `[text](target "title")` and `[name]: target`, but not within `code`.
fn targets(line: &str) -> Vec<String> {
    // Every second piece between backticks is code.
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let first_word =
        |text: &str| text.split_whitespace().next().unwrap_or_default().trim_matches(['<', '>']).to_owned();
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let mut targets: Vec<String> = inline.map(|(target, _)| first_word(target)).collect();
    if let Some((_, target)) = prose.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
        targets.push(first_word(target));
    }
    targets
}

/// The file that a link leads to, if it leads to one of ours.
fn local(target: &str) -> Option<&str> {
    let file = target.split('#').next().unwrap_or_default();
    let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
    (!is_elsewhere && !file.is_empty()).then_some(file)
}

/// The path from the root; nothing if it leaves the repository.
fn inside(folder: &Path, file: &str) -> Option<PathBuf> {
    let (mut path, file) = match file.strip_prefix('/') {
        Some(from_root) => (PathBuf::new(), from_root),
        None => (folder.to_owned(), file),
    };
    for part in Path::new(file).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_links_lead_somewhere() {
        let exists =
            |path: &Path| ["README.md", "docs/a.md", "docs"].iter().any(|there| Path::new(there) == path);
        let check = |line: &str| check_links("docs/b.md", line, exists).len();
        for fine in [
            "no link",
            "[a](a.md), [r](../README.md#part \"title\") and [d](../docs/)",
            "[self](#part) [web](https://example.org/x.md) [mail](mailto:a@example.org)",
            "`[code](nowhere.md)`",
            "```\n[code](nowhere.md)\n```",
            "[a]: <a.md>",
            "[root](/README.md)",
        ] {
            assert_eq!(check(fine), 0, "{fine}");
        }
        for wrong in ["[x](x.md)", "![x](x.png)", "[a](../a.md)", "[a](../../README.md)", "[x]: x.md"] {
            assert_eq!(check(wrong), 1, "{wrong}");
        }
        let found = check_links("docs/b.md", "fine\n\n[a](a.md) [x](x.md) [y](y.md)\n", exists);
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn guards_of_invariants_are_functions() {
        let source = "    #[test]\n    fn it_holds() {\nasync fn so_does_this(a: u8) {\n";
        let functions = functions(source).collect();
        let check = |text: &str| check_guards("ARCHITECTURE.md", text, &functions).len();
        for fine in [
            "- *It holds.* `it_holds`, `module::so_does_this`",
            "- *It holds.* The invariants in `testing/src/it_is_gone/`, `gone_file.rs`, `cargo xtask gone_too`",
            "`turn_up` outside of an invariant",
            "- *It holds.* `it_holds`\n\nLater: `not_there`",
            "- *It holds.* `it_holds`\n- `not_there` is not a guard",
        ] {
            assert_eq!(check(fine), 0, "{fine}");
        }
        for wrong in
            ["- *It holds.* `it_held`", "- *It holds, and this is long.*\n  `it_holds`, `module::it_held`"]
        {
            assert_eq!(check(wrong), 1, "{wrong}");
        }
    }

    #[test]
    fn the_readme_names_the_test_command() {
        let page = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let architecture = page("ARCHITECTURE.md", "");
        let check = |readme: &str| check_required(&[page("README.md", readme), architecture.clone()]).len();
        assert_eq!(check("Run `cargo xtask test`."), 0);
        assert_eq!(check("Run the tests."), 1);
        assert_eq!(check_required(&[]).len(), 2);
    }
}
