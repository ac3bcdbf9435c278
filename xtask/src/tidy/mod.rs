//! `tidy`: the rules of this repository that no lint knows. Each finding names the file, the line and the rule.

mod docs;
mod manifests;
mod source;
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::Result;
use crate::process::root;

/// Folders that hold no sources of ours.
const SKIPPED: [&str; 2] = ["target", "node_modules"];

/// Data of every release is kept here, for tests that open it; all of it together may take so much.
const RELEASED_DATA: &str = "crates/e2e/golden";
const RELEASED_DATA_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// A rule broken at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// Counted from one.
    line: usize,
    rule: String,
}

impl Finding {
    fn new(path: &str, line: usize, rule: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule: rule.into() }
    }
}

/// A text file of the repository, by its path from the root.
#[derive(Clone, Debug)]
pub(crate) struct File {
    path: String,
    text: String,
}

/// Checks every rule.
pub(crate) fn run() -> Result<()> {
    let root = root()?;
    let mut findings = Vec::new();
    let mut functions = BTreeSet::new();
    for file in files(&root, "rs")? {
        findings.extend(source::check(&file.path, &file.text));
        findings.extend(words::check_comments(&file.path, &file.text));
        functions.extend(docs::functions(&file.text));
    }
    let manifests: Vec<File> =
        files(&root, "toml")?.into_iter().filter(|file| file.path.ends_with("Cargo.toml")).collect();
    for file in &manifests {
        findings.extend(manifests::check(&file.path, &file.text)?);
    }
    let pages: Vec<File> =
        files(&root, "md")?.into_iter().filter(|file| docs::is_public(&file.path)).collect();
    findings.extend(docs::check_required(&pages));
    for page in &pages {
        findings.extend(words::check_page(&page.path, &page.text));
        findings.extend(docs::check_links(&page.path, &page.text, |target| root.join(target).exists()));
        if page.path == "ARCHITECTURE.md" {
            findings.extend(docs::check_guards(&page.path, &page.text, &functions));
        }
    }
    let released = bytes_below(&root.join(RELEASED_DATA))?;
    if released > RELEASED_DATA_BYTES_MAX {
        let rule =
            format!("{released} bytes: at most {RELEASED_DATA_BYTES_MAX}; keep less data of each release");
        findings.push(Finding::new(RELEASED_DATA, 1, rule));
    }
    if findings.is_empty() {
        return Ok(());
    }
    for Finding { path, line, rule } in &findings {
        eprintln!("{path}:{line}: {rule}");
    }
    Err(format!("tidy: {} findings", findings.len()).into())
}

/// How much all files of a folder are.
fn bytes_below(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        sum += if kind.is_dir() { bytes_below(&path)? } else { entry.metadata()?.len() };
    }
    Ok(sum)
}

/// Every file below `root` with this extension, in order of its path; hidden folders hold none of ours.
fn files(root: &Path, extension: &str) -> Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with('.') || SKIPPED.contains(&name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text =
                    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                found.push(File { path: path.strip_prefix(root)?.display().to_string(), text });
            }
        }
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_data_is_there_and_small() {
        let bytes = bytes_below(&root().expect("a root").join(RELEASED_DATA)).expect("a folder");
        assert!((1..=RELEASED_DATA_BYTES_MAX).contains(&bytes), "{bytes}");
    }
}
